"""Doubles of Riemann over TCP and UDP, which record what they get: there is no other here.

They read with Google's protobuf, from a description of the messages that is made here.
"""

import socket
import socketserver
import struct
import threading

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_TYPES = descriptor_pb2.FieldDescriptorProto
# As in proto.proto of riemann-client for Java.
_MESSAGES = {
    "Attribute": [("key", 1, _TYPES.TYPE_STRING, ""), ("value", 2, _TYPES.TYPE_STRING, "")],
    "Event": [
        ("time", 1, _TYPES.TYPE_INT64, ""),
        ("state", 2, _TYPES.TYPE_STRING, ""),
        ("service", 3, _TYPES.TYPE_STRING, ""),
        ("host", 4, _TYPES.TYPE_STRING, ""),
        ("description", 5, _TYPES.TYPE_STRING, ""),
        ("tags", 7, _TYPES.TYPE_STRING, "many"),
        ("ttl", 8, _TYPES.TYPE_FLOAT, ""),
        ("attributes", 9, _TYPES.TYPE_MESSAGE, "many Attribute"),
        ("time_micros", 10, _TYPES.TYPE_INT64, ""),
        ("metric_sint64", 13, _TYPES.TYPE_SINT64, ""),
        ("metric_d", 14, _TYPES.TYPE_DOUBLE, ""),
        ("metric_f", 15, _TYPES.TYPE_FLOAT, ""),
    ],
    "Msg": [
        ("ok", 2, _TYPES.TYPE_BOOL, ""),
        ("error", 3, _TYPES.TYPE_STRING, ""),
        ("events", 6, _TYPES.TYPE_MESSAGE, "many Event"),
    ],
}


def _make_msg():
    file = descriptor_pb2.FileDescriptorProto(
        name="riemann_for_tests.proto", package="riemann_for_tests", syntax="proto2"
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind, rest in fields:
            is_many, _, of = rest.partition(" ")
            label = _TYPES.LABEL_REPEATED if is_many else _TYPES.LABEL_OPTIONAL
            added = message.field.add(name=field, number=number, type=kind, label=label)
            if of:
                added.type_name = f".riemann_for_tests.{of}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("riemann_for_tests.Msg"))


Msg = _make_msg()


def events_of(data):
    """Return the events of a message, as dicts; a field that is not known is an error."""
    message = Msg.FromString(data)
    assert message.SerializeToString() == data
    return [
        {field.name: _plain(field.name, value) for field, value in event.ListFields()}
        for event in message.events
    ]


def _plain(name, value):
    if name == "attributes":
        return {pair.key: pair.value for pair in value}
    return list(value) if name == "tags" else value


def frame(data):
    """Return *data* as it goes over TCP."""
    return struct.pack(">I", len(data)) + data


OK = frame(Msg(ok=True).SerializeToString())


class _Connection(socketserver.BaseRequestHandler):
    def setup(self):
        self.server.connections += 1

    def handle(self):
        while header := self.read(4):
            (length,) = struct.unpack(">I", header)
            data = self.read(length)
            if data is None:
                return
            step = self.server.script.pop(0) if self.server.script else None
            events = events_of(data)
            if step in ("reset", "close"):
                if step == "reset":
                    linger = struct.pack("ii", 1, 0)
                    self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                return
            if step == "silence":
                self.server.is_over.wait(60)
                return
            if step == "drip":
                self.request.sendall(struct.pack(">I", 4_096))
                while not self.server.is_over.wait(0.02):
                    self.request.sendall(b"\0")
                return
            if isinstance(step, bytes):
                self.server.messages.append(events)
                self.request.sendall(step)
                if step != OK:
                    return
                continue
            poison = self.server.poison
            if poison and any(poison in event["description"] for event in events):
                answer = Msg(ok=False, error="it is poison").SerializeToString()
                self.request.sendall(frame(answer))
                continue
            self.server.messages.append(events)
            self.request.sendall(OK)
            if step == "last":
                return

    def read(self, count):
        data = b""
        while len(data) < count:
            try:
                part = self.request.recv(count - len(data))
            except OSError:
                return None
            if not part:
                return None
            data += part
        return data


class RiemannServer(socketserver.ThreadingTCPServer):
    """Answers that all is well, unless its script says how the next messages go wrong.

    ``"reset"``, ``"close"``: the connection ends without an answer.  ``"last"``: it ends after it.
    ``"silence"``, ``"drip"``: no answer, or one that never ends.  Bytes: another answer.
    """

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self, *script):
        super().__init__(("127.0.0.1", 0), _Connection)
        self.script = list(script)
        self.poison = None
        self.messages = []
        self.connections = 0
        self.is_over = threading.Event()
        self.port = self.server_address[1]
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self._thread.start()

    def handle_error(self, request, client_address):
        """Connections are cut in these tests."""

    @property
    def descriptions(self):
        """The descriptions of all events."""
        return [event["description"] for message in self.messages for event in message]

    def __exit__(self, *args):
        self.is_over.set()
        self.shutdown()
        self._thread.join(60)
        super().__exit__(*args)


class DatagramServer:
    """Records datagrams."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(30)
        self.port = self.socket.getsockname()[1]

    def receive(self):
        """Return the events of the next datagram, and its length."""
        data = self.socket.recv(65_536)
        return events_of(data), len(data)

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.socket.close()

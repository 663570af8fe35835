"""Servers that hold us to a contract: strict, with Tornado, in a thread of their own.

What they are asked is checked against the documentation of the tracker they stand for; whatever is
not in it is answered 400 and kept in `violations`.  A script of faults says how requests go wrong.
"""

import asyncio
import contextlib
import json
import socket
import struct
import threading
from collections import deque
from typing import ClassVar

import tornado.httpserver
import tornado.netutil
import tornado.web

LIMIT = 60.0  # seconds


class ContractServer:
    """A server in a thread; `fault` says how the next requests of a kind go wrong.

    A fault is a status with headers and a body; or ``"reset"``: the connection is cut; ``"lost"``:
    what is asked is done, then the connection is cut; ``"drip"``: an answer that never ends.
    """

    routes = ()
    published = None
    """What is published of the interface; None if nothing is."""

    def __init__(self):
        self.requests = []
        self.violations = []
        self.issues = []
        self.labels = []
        self.faults = {}
        self.is_over = threading.Event()
        self._is_up = threading.Event()
        self._thread = threading.Thread(target=self._run, name="contract server")
        self._thread.start()
        assert self._is_up.wait(LIMIT)

    def _run(self):
        asyncio.run(self._serve())

    async def _serve(self):
        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        application = tornado.web.Application(
            [(path, handler, {"contract": self}) for path, handler in self.routes],
            default_handler_class=Unknown,
            default_handler_args={"contract": self},
            log_function=lambda handler: None,
        )
        server = tornado.httpserver.HTTPServer(application)
        sockets = tornado.netutil.bind_sockets(0, "127.0.0.1")
        server.add_sockets(sockets)
        self.url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
        self._is_up.set()
        await self._end.wait()
        server.stop()
        await server.close_all_connections()

    def close(self):
        """End it, and say what was asked that should not have been."""
        self.is_over.set()
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(LIMIT)
        assert not self._thread.is_alive()
        assert self.violations == []

    def fault(self, method, *faults):
        """Have the next requests with *method* go wrong."""
        self.faults.setdefault(method, deque()).extend(faults)

    def count(self, method, ending):
        """Return how often *method* was asked for of a path that ends so."""
        return sum(one[0] == method and one[1].endswith(ending) for one in self.requests)


class ContractHandler(tornado.web.RequestHandler):
    """Base of what answers: checks, then follows the script, then does what is asked."""

    operations: ClassVar = {}
    """What is published of each method: method and path, as they are there."""

    def initialize(self, contract):
        self.contract = contract

    def set_default_headers(self):
        self.clear_header("Server")

    def expect(self, condition, what):
        """Note *what* is wrong with the request unless *condition* holds."""
        if not condition:
            text = f"{self.request.method} {self.request.uri}: {what}"
            self.contract.violations.append(text)
            raise tornado.web.HTTPError(400, reason="contract")

    def write_error(self, status_code, **options):
        self.finish(json.dumps({"message": self._reason}))

    async def prepare(self):
        request = self.request
        self.contract.requests.append((request.method, request.path, request.body))
        self.check_headers()
        self.body = None
        if request.body:
            self.expect(
                request.headers.get("Content-Type", "").startswith("application/json"), "no JSON"
            )
            self.body = json.loads(request.body)
        self.check_published(self.contract.published)
        script = self.contract.faults.get(request.method)
        self.step = script.popleft() if script else None
        if self.step == "reset":
            self.cut()
        elif self.step == "drip":
            await self.drip()
        elif isinstance(self.step, tuple):
            status, headers, body = self.step
            self.set_status(status)
            for name, value in headers.items():
                self.set_header(name, value)
            self.finish(json.dumps(body))

    def check_headers(self):
        """Check what every request has to have."""

    def check_published(self, published):
        """Check that the request is as it is published."""
        if published is None:
            return
        operation = self.operations.get(self.request.method)
        self.expect(operation is not None, "no such operation is published")
        arguments = {name: self.get_query_argument(name) for name in self.request.query_arguments}
        for fault in published.faults_of_request(operation, arguments, self.body):
            self.expect(False, fault)

    def cut(self):
        """End the connection, with a reset."""
        stream = self.detach()
        linger = struct.pack("ii", 1, 0)
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        stream.close()

    async def drip(self):
        """Answer a byte at a time, for ever."""
        stream = self.detach()
        with contextlib.suppress(tornado.iostream.StreamClosedError):
            await stream.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while not self.contract.is_over.is_set():
                await stream.write(b"x")
                await asyncio.sleep(0.02)
        stream.close()

    def answer(self, status, value=None):
        """Answer, unless the answer is to be lost; it is as it is published."""
        published = self.contract.published
        if published is not None:
            operation = self.operations[self.request.method]
            self.contract.violations += published.faults_of_answer(operation, status, value)
        if self.step == "lost":
            self.cut()
            return
        self.set_status(status)
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.finish(json.dumps(value))


class Unknown(ContractHandler):
    """Whatever is in no documentation."""

    def prepare(self):
        self.contract.violations.append(f"{self.request.method} {self.request.uri}: unknown")
        raise tornado.web.HTTPError(404)

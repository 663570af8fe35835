"""Records through a broker, by way of kombu; with Logbook at the other end too."""

import gc
import json
import os
import select
import socket
import ssl
import subprocess
import sys
import threading
import time
import uuid
from urllib.parse import urlsplit

import kombu
import pytest
import trustme

from sprockets._support.optional import MissingDependency
from sprockets.logbook import Flags, Logger, Processor, TestHandler
from sprockets.logbook.delivery import Retry, Spool
from sprockets.logbook.queues._broker_subscriber import ClosedError
from sprockets.logbook.queues._kombu import (
    MessageQueueHandler,
    MessageQueueSubscriber,
    RabbitMQHandler,
    RabbitMQSubscriber,
)
from sprockets.logbook.queues._wire import MalformedRecordError
from tests.services import rabbitmq_url, redis_url, require

log = Logger("payments")
SOAK = os.environ.get("SPROCKETS_SOAK") == "1"
BOTH = pytest.mark.parametrize("kind", [MessageQueueHandler, MessageQueueSubscriber])


@pytest.fixture(name="uri")
def _uri():
    return rabbitmq_url()


@pytest.fixture(name="name")
def _name(uri):
    name = f"test-{uuid.uuid4().hex}"
    yield name
    with kombu.Connection(uri) as connection:
        for suffix in ("", "-dead"):
            connection.default_channel.queue_delete(name + suffix)
            connection.default_channel.exchange_delete(name + suffix)


@pytest.fixture(name="closing")
def _closing():
    """What is given to this function is closed after the test."""
    things = []

    def closing(thing):
        things.append(thing)
        return thing

    yield closing
    for thing in reversed(things):
        thing.close()


@pytest.fixture(name="handler")
def _handler(uri, name, closing):
    return closing(MessageQueueHandler(uri, name))


@pytest.fixture(name="subscriber")
def _subscriber(uri, name, closing):
    return closing(MessageQueueSubscriber(uri, name))


def put(uri, name, *bodies, **options):
    with kombu.Connection(uri) as connection:
        queue = connection.SimpleQueue(name)
        for body in bodies:
            options.setdefault("content_type", "application/json")
            queue.producer.publish(body, content_encoding="utf-8", **options)
        queue.close()


def length(uri, name):
    with kombu.Connection(uri) as connection:
        return connection.default_channel.queue_declare(name, passive=True).message_count


def wait_until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "this takes too long"
        time.sleep(0.01)


def messages_of(subscriber, count, seconds=30.0):
    """Return the messages of so many records, each acknowledged."""
    deadline = time.monotonic() + seconds
    found = []
    while len(found) < count:
        assert time.monotonic() < deadline, f"only {len(found)} of {count} came"
        try:
            record = subscriber.recv(1)
        except ConnectionError:
            continue
        if record is not None:
            found.append(record.message)
            subscriber.acknowledge(record)
    return found


class Proxy:
    """Passes bytes on to a server, until it is cut."""

    def __init__(self, uri, context=None):
        parts = urlsplit(uri)
        self.target = parts.hostname, parts.port or 5672
        self.context = context
        self.listener = None
        self.pairs = []
        self.port = 0
        self.mend()

    def mend(self):
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()

    def accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        server = None
        try:
            if self.context is not None:
                client = self.context.wrap_socket(client, server_side=True)
            server = socket.create_connection(self.target)
            self.pairs.append((client, server))
            while True:
                pending = [client] if self.context is not None and client.pending() else []
                for source in pending or select.select([client, server], [], [])[0]:
                    data = source.recv(65536)
                    if not data:
                        return
                    (server if source is client else client).sendall(data)
        except (OSError, ValueError):
            return
        finally:
            for end in (client, server):
                if end is not None:
                    end.close()

    def cut(self):
        """Break all connections, and take no new ones."""
        # Wakes the thread that accepts; closing alone does not.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        pairs, self.pairs = self.pairs, []
        for pair in pairs:
            for end in pair:
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue

    def close(self):
        try:
            self.cut()
        except OSError:
            return

    def uri(self, uri):
        parts = urlsplit(uri)
        userinfo = parts.netloc.rpartition("@")[0]
        return parts._replace(netloc=f"{userinfo}@127.0.0.1:{self.port}").geturl()


@pytest.fixture(name="proxy")
def _proxy(uri, closing):
    return closing(Proxy(uri))


# -- making them


@BOTH
@pytest.mark.rule("KQ-1")
def test_without_kombu_both_say_what_to_install(kind, monkeypatch):
    """The error is a RuntimeError, as in Logbook."""
    monkeypatch.setitem(sys.modules, "kombu", None)
    with pytest.raises(RuntimeError, match=r"sprockets\.http\[kombu\]") as caught:
        kind("memory://")
    assert isinstance(caught.value, MissingDependency)


@BOTH
@pytest.mark.rule("KQ-2")
@pytest.mark.parametrize(
    ("uri", "text"), [(None, "needs a uri"), ("", "needs a uri"), ("carrier-pigeon://x", "pigeon")]
)
def test_a_uri_that_is_none_is_refused(kind, uri, text):
    """None, which the signature allows, too."""
    with pytest.raises(ValueError, match=text):
        kind(uri)


def test_rabbitmq_is_another_name_for_the_same():
    """The classes had these names once."""
    assert (RabbitMQHandler, RabbitMQSubscriber) == (MessageQueueHandler, MessageQueueSubscriber)


def test_options_that_mean_nothing_are_refused():
    """With what was given."""
    with pytest.raises(ValueError, match="'never'"):
        MessageQueueSubscriber("memory://", acknowledge="never")
    with pytest.raises(ValueError, match="timeout must be more than 0 seconds, got 0"):
        MessageQueueHandler("memory://", timeout=0)
    with pytest.raises(ValueError, match="max_unacknowledged must be at least 1"):
        MessageQueueSubscriber("memory://", max_unacknowledged=0)


# -- what is sent


@pytest.mark.rule("KQ-3")
def test_a_record_is_one_persistent_message_of_json(uri, name, handler):
    """Just as Logbook has it: kombu decodes it without knowing what it is."""
    with handler.contextbound():
        log.warning("Zu spät für {}", "Jörg", extra={"order": 7})
    assert handler.flush()
    with kombu.Connection(uri) as connection:
        queue = connection.SimpleQueue(name)
        message = queue.get(timeout=5)
        message.ack()
        queue.close()
    facts = message.payload
    assert (facts["channel"], facts["level"], facts["message"]) == (
        "payments",
        13,
        "Zu spät für Jörg",
    )
    assert facts["extra"] == {"order": 7}
    assert facts["information_pulled"] is facts["heavy_initialized"] is True
    assert message.properties["delivery_mode"] == 2
    assert (message.content_type, message.content_encoding) == ("application/json", "utf-8")
    assert message.headers == {}
    assert message.properties["message_id"] == facts["record_id"]


@pytest.mark.rule("KQ-3")
def test_an_override_of_export_record_is_what_is_sent(closing):
    """It may add facts and leave some out; the name is added."""

    class Shorter(MessageQueueHandler):
        def export_record(self, record):
            facts = super().export_record(record)
            del facts["thread_name"]
            return {**facts, "host": "vega"}

    name = uuid.uuid4().hex
    handler = closing(Shorter("memory://", name))
    subscriber = closing(MessageQueueSubscriber("memory://", name))
    with handler.contextbound():
        log.info("hello")
    record = subscriber.recv(10)
    assert (record.host, record.thread_name, record.message) == ("vega", None, "hello")
    assert record.record_id.endswith("-1")


@pytest.mark.rule("KQ-4")
def test_many_threads_share_a_handler(uri, name, closing, subscriber):
    """Even one that delivers where it is called: the channel is used by one at a time."""
    handler = closing(MessageQueueHandler(uri, name, immediate=True))

    def work(number):
        with handler.contextbound():
            for index in range(50):
                log.info("{}-{}", number, index)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = messages_of(subscriber, 200)
    assert sorted(found) == sorted(f"{n}-{i}" for n in range(4) for i in range(50))


def test_a_handler_that_logs_to_itself_while_it_sends_is_stopped(uri, name, closing):
    """Without the engine that would never end."""
    handler = closing(MessageQueueHandler(uri, name, immediate=True))
    errors = []
    handler.handle_error = lambda record, exc_info: errors.append(exc_info[1])
    connect = handler._connect

    def chatty():
        log.info("connecting")
        return connect()

    handler._connect = chatty
    with handler.contextbound():
        log.info("hello")
    assert [str(error) for error in errors] == ["MessageQueueHandler logs to itself while it sends"]
    assert length(uri, name) == 1


# -- closing


@pytest.mark.rule("KQ-5")
def test_closing_closes_the_connection_too(uri, name):
    """And closing twice is closing once."""
    handler = MessageQueueHandler(uri, name)
    subscriber = MessageQueueSubscriber(uri, name)
    assert handler.queue is None
    with handler.contextbound():
        log.info("hello")
    assert subscriber.recv(10).message == "hello"
    connections = [handler.queue.channel.connection, subscriber.queue.channel.connection]
    assert all(connection.connected for connection in connections)
    for thing in (handler, subscriber):
        assert thing.is_connected
        thing.close()
        thing.close()
        assert not thing.is_connected
    assert not any(connection.connected for connection in connections)


@pytest.mark.rule("KQ-5")
def test_what_nobody_holds_closes_its_connection(uri, name):
    """Handler and subscriber; collecting them does not take long."""
    handler = MessageQueueHandler(uri, name, immediate=True)
    subscriber = MessageQueueSubscriber(uri, name)
    with handler.contextbound():
        log.info("hello")
    with TestHandler():
        log.info("the logger, too, has something else to think of")
    assert subscriber.recv(10).message == "hello"
    connections = [handler.queue.channel.connection, subscriber.queue.channel.connection]
    del handler, subscriber
    gc.collect()
    wait_until(lambda: not any(connection.connected for connection in connections))


def test_what_is_closed_neither_sends_nor_receives(uri, name, subscriber, handler):
    """A record is dropped and counted; a call that receives is an error."""
    handler.close()
    with handler.contextbound():
        log.info("too late")
    assert handler.statistics()["dropped"] == {"closed": 1}
    subscriber.close()
    assert subscriber.is_ended
    with pytest.raises(ClosedError):
        subscriber.recv(0)


def test_closing_ends_a_thread_that_receives(subscriber):
    """It waits for no message."""
    controller = subscriber.dispatch_in_background()
    wait_until(lambda: subscriber.is_connected)
    subscriber.close()
    wait_until(lambda: not controller.running)
    controller.stop()


# -- receiving


@pytest.mark.rule("KQ-6")
def test_when_nothing_comes_it_is_none(handler, subscriber):
    """At once, or after the seconds; and what is there is found at once."""
    assert subscriber.recv(0) is None
    assert subscriber.recv(0.05) is None
    assert subscriber.dispatch_once(0.05) is False
    with handler.contextbound():
        log.info("one")
        log.info("two")
    assert handler.flush()
    assert subscriber.recv(10).message == "one"
    assert subscriber.recv(0).message == "two"
    assert subscriber.recv(0) is None
    with pytest.raises(ValueError, match="-1"):
        subscriber.recv(-1)


@pytest.mark.rule("KQ-6")
def test_what_waits_is_found_without_waiting(handler, uri, name, closing):
    """Also by the first call."""
    with handler.contextbound():
        log.info("one")
    assert handler.flush()
    assert closing(MessageQueueSubscriber(uri, name)).recv(0).message == "one"


@pytest.mark.rule("KQ-6")
@pytest.mark.parametrize("timeout", [0, 0.1, None])
def test_a_lost_connection_is_not_an_empty_queue(uri, name, proxy, closing, timeout):
    """It is an error, without the password; and once the broker is back, none."""
    subscriber = closing(MessageQueueSubscriber(proxy.uri(uri), name))
    assert subscriber.recv(0) is None
    proxy.cut()
    with pytest.raises(ConnectionError, match=f"127.0.0.1:{proxy.port}") as caught:
        for _ in range(3):
            subscriber.recv(timeout)
    assert "guest:guest" not in str(caught.value)
    proxy.mend()
    put(uri, name, b'{"level": 12, "message": "back"}')
    assert messages_of(subscriber, 1) == ["back"]
    assert subscriber.statistics()["reconnects"] == 1


POISON = [
    b"\xff\xfe",
    b"not JSON",
    b"[1, 2]",
    b'{"level": "WARNING"}',
    b'{"level": 12, "extra": 7}',
    b'{"level": 12, "time": "yesterday"}',
    b"[" * 10_000,
]


@pytest.mark.rule("KQ-7", "M24")
@pytest.mark.parametrize("body", POISON, ids=range(len(POISON)))
def test_what_is_no_record_is_rejected_and_the_queue_goes_on(uri, name, subscriber, body):
    """It is an error of the call that receives it, and never comes again."""
    letters = []
    subscriber.dead_letter = lambda data, error: letters.append(
        data.encode() if isinstance(data, str) else data
    )
    put(uri, name, body)
    with pytest.raises(MalformedRecordError):
        subscriber.recv(10)
    assert letters == [body]
    assert subscriber.statistics()["malformed"] == 1
    subscriber.close()
    assert length(uri, name) == 0


@pytest.mark.rule("M24", "KQ-7")
def test_a_poisonous_message_costs_nothing_but_itself(uri, name, handler, subscriber, capsys):
    """One dead letter; the thousand after it are dispatched in the background."""
    put(uri, name, b"\x80\x04]", content_type="application/x-python-serialize")
    inner = TestHandler()
    letters = []
    subscriber.dead_letter = lambda data, error: letters.append(data)
    controller = subscriber.dispatch_in_background(inner)
    with handler.contextbound():
        for number in range(1_000):
            log.info("{}", number)
    wait_until(lambda: len(inner.records) == 1_000)
    controller.stop()
    assert [record.message for record in inner.records] == [str(n) for n in range(1_000)]
    assert letters == [b"\x80\x04]"]
    assert capsys.readouterr().err.count("not JSON in UTF-8") >= 1


def test_dead_letters_go_to_a_queue_if_there_is_one(uri, name, closing):
    """With what was wrong in a header; the original is acknowledged then."""
    subscriber = closing(MessageQueueSubscriber(uri, name, dead_letters=f"{name}-dead"))
    put(uri, name, b"not JSON", b'{"level": 12, "message": "fine"}', b"nor this")
    for _ in range(2):
        with pytest.raises(MalformedRecordError):
            while True:
                subscriber.recv(10)
    subscriber.close()
    assert length(uri, name) == 0
    with kombu.Connection(uri) as connection:
        queue = connection.SimpleQueue(f"{name}-dead")
        messages = [queue.get(timeout=5) for _ in range(2)]
        for message in messages:
            message.ack()
        queue.close()
    assert [message.payload for message in messages] == [b"not JSON", b"nor this"]
    assert "not JSON in UTF-8" in messages[0].headers["error"]
    assert messages[0].headers["queue"] == name


# -- when the broker may forget


def test_what_was_received_is_forgotten_by_default(handler, subscriber, uri, name):
    """As with Logbook: the message is acknowledged when it has become a record."""
    with handler.contextbound():
        log.info("hello")
    assert subscriber.recv(10).message == "hello"
    subscriber.close()
    assert length(uri, name) == 0


def test_what_was_not_dispatched_comes_again(handler, uri, name, closing):
    """With acknowledge="dispatched": to another subscriber, if this one dies."""
    with handler.contextbound():
        for number in range(10):
            log.info("{}", number)
    assert handler.flush()
    first = closing(MessageQueueSubscriber(uri, name, acknowledge="dispatched"))
    inner = TestHandler()
    with inner.contextbound():
        for _ in range(3):
            assert first.dispatch_once(10)
    assert first.recv(10).message == "3"
    assert first.statistics()["unacknowledged"] == 1
    first.close()
    second = closing(MessageQueueSubscriber(uri, name, acknowledge="dispatched"))
    assert messages_of(second, 7) == [str(number) for number in range(3, 10)]
    assert [record.message for record in inner.records] == ["0", "1", "2"]


def test_a_record_whose_handler_fails_has_been_dispatched(handler, uri, name, closing):
    """The failure leaves the call, and the record does not come again."""
    subscriber = closing(MessageQueueSubscriber(uri, name, acknowledge="dispatched"))

    def fail(record):
        raise LookupError(record.message)

    with handler.contextbound():
        log.info("bad")
    with Flags(errors="raise").contextbound(), Processor(fail).contextbound():
        with TestHandler().contextbound(), pytest.raises(LookupError):
            subscriber.dispatch_once(10)
    subscriber.close()
    assert length(uri, name) == 0


def test_so_many_may_be_unacknowledged_and_no_more(handler, uri, name, closing):
    """Else a subscriber that forgets to acknowledge would wait for ever, and not say why."""
    subscriber = closing(
        MessageQueueSubscriber(uri, name, acknowledge="dispatched", max_unacknowledged=2)
    )
    with handler.contextbound():
        for number in range(3):
            log.info("{}", number)
    first = subscriber.recv(10)
    subscriber.recv(10)
    with pytest.raises(RuntimeError, match="acknowledge"):
        subscriber.recv(10)
    subscriber.acknowledge(first)
    assert subscriber.recv(10).message == "2"


def test_what_is_held_while_the_connection_breaks_is_not_returned_twice(
    handler, uri, name, proxy, closing
):
    """It comes again, is recognised, and acknowledged with the first."""
    subscriber = closing(MessageQueueSubscriber(proxy.uri(uri), name, acknowledge="dispatched"))
    with handler.contextbound():
        log.info("one")
        log.info("two")
    assert handler.flush()
    first = subscriber.recv(10)
    proxy.cut()
    proxy.mend()
    assert messages_of(subscriber, 1) == ["two"]
    wait_until(lambda: subscriber.recv(0) or subscriber.statistics()["duplicates"] >= 1)
    subscriber.acknowledge(first)
    assert subscriber.recv(0.2) is None
    subscriber.close()
    assert length(uri, name) == 0


def test_the_same_record_sent_twice_is_received_once(uri, name, subscriber):
    """By its name; another without a name is another record."""
    named = b'{"level": 12, "message": "named", "record_id": "5c0f-7"}'
    nameless = b'{"level": 12, "message": "nameless"}'
    put(uri, name, named, named, nameless, nameless)
    assert messages_of(subscriber, 3) == ["named", "nameless", "nameless"]
    assert subscriber.recv(0) is None
    assert subscriber.statistics()["duplicates"] == 1


# -- outages


@pytest.mark.rule("M27")
def test_an_outage_costs_no_record_and_no_order(uri, name, proxy, closing, tmp_path):
    """The log calls go on; what may come twice is one batch, and has the same names."""
    count = 10_000 if SOAK else 3_000
    handler = closing(
        MessageQueueHandler(
            proxy.uri(uri),
            name,
            capacity=1_000,
            spool=Spool(tmp_path / "spool"),
            retry=Retry(initial=0.05, maximum=0.2),
        )
    )
    took = []
    with handler.contextbound():
        for number in range(count):
            if number == 500:
                wait_until(lambda: handler.statistics()["delivered"])
                proxy.cut()
            if number == 2_500:
                wait_until(lambda: handler.statistics()["failed"])
                proxy.mend()
            begun = time.perf_counter()
            log.info("{}", number)
            took.append(time.perf_counter() - begun)
    wait_until(lambda: handler.statistics()["delivered"] == count, 60)
    assert handler.statistics()["accepted"] == count
    # Nothing that waits for a connection would be as fast as this.
    assert sorted(took)[int(count * 0.999)] < 0.1
    assert length(uri, name) <= count + 100
    subscriber = closing(MessageQueueSubscriber(uri, name))
    assert messages_of(subscriber, count) == [str(number) for number in range(count)]
    assert subscriber.recv(0.2) is None
    assert subscriber.statistics()["duplicates"] <= 100


@pytest.mark.rule("M27")
def test_a_subscriber_in_the_background_outlives_an_outage(
    uri, name, handler, proxy, closing, capsys
):
    """It reports it once, and goes on when the broker is back."""
    subscriber = closing(MessageQueueSubscriber(proxy.uri(uri), name, acknowledge="dispatched"))
    inner = TestHandler()
    controller = subscriber.dispatch_in_background(inner)
    with handler.contextbound():
        log.info("before")
        wait_until(lambda: inner.has_info("before"))
        proxy.cut()
        wait_until(lambda: "Error" in capsys.readouterr().err)
        log.info("meanwhile")
        for _ in range(3):
            subscriber._closing.wait(0.1)
        assert capsys.readouterr().err == ""
        proxy.mend()
        wait_until(lambda: inner.has_info("meanwhile"))
    controller.stop()
    assert len(inner.records) == 2


def test_a_broker_that_confirms_nothing_gets_it_again(uri, name, closing, subscriber):
    """After the time-out, by a new connection."""
    handler = closing(
        MessageQueueHandler(uri, name, timeout=0.3, retry=Retry(initial=0.01, maximum=0.05))
    )
    connect = handler._connect
    silenced = []

    def deaf():
        link = connect()
        if not silenced:
            silenced.append(link)
            link._confirms._on_ack = None
            link.queue.channel.events["basic_ack"].clear()
        return link

    handler._connect = deaf
    with handler.contextbound():
        log.info("hello")
    assert messages_of(subscriber, 1) == ["hello"]
    wait_until(lambda: handler.statistics()["delivered"] == 1)
    assert subscriber.recv(0.2) is None
    assert subscriber.statistics()["duplicates"] == 1


def test_a_queue_that_vanishes_is_made_again(uri, name, handler, closing):
    """What nobody keeps comes back to the sender, which connects anew and makes the queue."""
    with handler.contextbound():
        log.info("lost with the queue")
        assert handler.flush()
        with kombu.Connection(uri) as connection:
            connection.default_channel.queue_delete(name)
        log.info("kept")
    assert handler.flush(10)
    assert handler.statistics()["failed"] == 1
    assert messages_of(closing(MessageQueueSubscriber(uri, name)), 1) == ["kept"]


def test_a_full_queue_that_refuses_is_an_outage(uri, name, closing):
    """The broker says no to each; nothing is dropped, and it goes on when there is room."""
    arguments = {"x-max-length": 3, "x-overflow": "reject-publish"}
    handler = closing(
        MessageQueueHandler(
            uri,
            name,
            queue_arguments=arguments,
            retry=Retry(initial=0.01, maximum=0.05),
        )
    )
    subscriber = closing(MessageQueueSubscriber(uri, name, queue_arguments=arguments))
    with handler.contextbound():
        for number in range(20):
            log.info("{}", number)
    wait_until(lambda: handler.statistics()["failed"] >= 2)
    assert handler.statistics()["dropped"] == {}
    found = messages_of(subscriber, 20)
    assert sorted(found, key=int) == [str(number) for number in range(20)]
    assert handler.flush(10)


@pytest.mark.skipif(not SOAK, reason="stops the broker; set SPROCKETS_SOAK=1")
@pytest.mark.rule("M27")
def test_a_broker_that_stops_and_starts_costs_no_record(uri, name, closing):
    """Not only the connection breaks: what it had taken is on its disk."""
    handler = closing(MessageQueueHandler(uri, name, retry=Retry(initial=0.1, maximum=0.5)))
    subscriber = closing(MessageQueueSubscriber(uri, name, acknowledge="dispatched"))
    with handler.contextbound():
        for number in range(2_000):
            log.info("{}", number)
            if number == 500:
                subprocess.run(["rabbitmqctl", "stop_app"], check=True, capture_output=True)
            if number == 1_500:
                subprocess.run(["rabbitmqctl", "start_app"], check=True, capture_output=True)
    assert handler.flush(60)
    assert messages_of(subscriber, 2_000, 60) == [str(number) for number in range(2_000)]


# -- processes, and encryption


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_connects_for_itself(uri, name, handler, subscriber):
    """And leaves its parent's connections alone: they are of use afterwards."""
    with handler.contextbound():
        log.info("parent 1")
        assert subscriber.recv(10).message == "parent 1"
        child = os.fork()
        if child == 0:
            status = 1
            try:
                log.info("child")
                handler.close()
                subscriber.close()
                gc.collect()
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        assert subscriber.recv(10).message == "child"
        log.info("parent 2")
        assert subscriber.recv(10).message == "parent 2"
    assert subscriber.statistics()["reconnects"] == 0
    assert handler.statistics()["failed"] == 0


def test_records_are_encrypted_and_the_broker_is_verified(uri, name, closing, subscriber, tmp_path):
    """An unknown authority is an outage; with its certificate it works."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    proxy = closing(Proxy(uri, context))
    secure = proxy.uri(uri).replace("amqp://", "amqps://")
    stranger = closing(MessageQueueSubscriber(secure, name))
    with pytest.raises(ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
        stranger.recv(0)
    tls = {
        "ca_certs": str(tmp_path / "ca.pem"),
        "cert_reqs": ssl.CERT_REQUIRED,
        "server_hostname": None,
    }
    handler = closing(MessageQueueHandler(secure, name, tls=tls))
    with handler.contextbound():
        log.info("secret")
    assert messages_of(subscriber, 1) == ["secret"]


def test_a_short_process_loses_nothing(uri, name, subscriber):
    """What it logged last is delivered before it ends."""
    script = f"""
from sprockets.logbook import Logger
from sprockets.logbook.queues._kombu import MessageQueueHandler

with MessageQueueHandler({uri!r}, {name!r}):
    for number in range(200):
        Logger("short").info("{{}}", number)
"""
    subprocess.run([sys.executable, "-P", "-c", script], check=True, timeout=60)
    assert messages_of(subscriber, 200) == [str(number) for number in range(200)]


# -- other transports, and Logbook


@pytest.mark.parametrize("acknowledge", ["received", "dispatched"])
def test_redis_is_a_broker_too(acknowledge, closing):
    """There is a confirmation in each answer, and an envelope of kombu's own."""
    uri, name = redis_url(), f"test-{uuid.uuid4().hex}"
    handler = closing(MessageQueueHandler(uri, name))
    subscriber = closing(MessageQueueSubscriber(uri, name, acknowledge=acknowledge))
    with handler.contextbound():
        for number in range(20):
            log.info("{}", number)
    assert messages_of(subscriber, 20) == [str(number) for number in range(20)]
    assert subscriber.recv(0) is None


LOGBOOK = pytest.importorskip("logbook", reason="Logbook is not installed")


def close_theirs(thing):
    """Close the connection as well, which Logbook forgets."""
    connection = thing.queue.channel.connection.client
    thing.close()
    connection.release()


def same_facts(one, other):
    """Whether two records, of whichever library, tell the same."""
    names = ("channel", "level", "message", "lineno", "filename", "process", "formatted_exception")
    for name in names:
        assert getattr(one, name) == getattr(other, name), name
    assert one.time.replace(tzinfo=None) == other.time.replace(tzinfo=None)
    return dict(one.extra) == dict(other.extra)


def test_logbook_receives_what_we_send(uri, name, handler):
    """The peer is the real one."""
    require(LOGBOOK, "Logbook is not installed")
    from logbook.queues import MessageQueueSubscriber as Theirs

    theirs = Theirs(uri, name)
    with handler.contextbound():
        try:
            {}["schlüssel"]
        except KeyError:
            log.exception("Rückzahlung für {user} ☃", user="Jörg", extra={"tags": ["a", "ü"]})
        log.warning("Charged {0} to {account}", 12, account="A-1")
    assert handler.flush()
    records = [theirs.recv(), theirs.recv()]
    close_theirs(theirs)
    assert [record.message for record in records] == ["Rückzahlung für Jörg ☃", "Charged 12 to A-1"]
    assert [record.level_name for record in records] == ["ERROR", "WARNING"]
    assert records[0].formatted_exception.endswith("KeyError: 'schlüssel'")
    assert records[0].extra["tags"] == ["a", "ü"]
    assert (records[1].channel, records[1].filename) == ("payments", __file__)
    assert list(records[1].args) == [12]


def test_we_receive_what_logbook_sends(uri, name, subscriber):
    """Its records have no names, and lack nothing else."""
    from logbook import Logger as TheirLogger
    from logbook import TestHandler as TheirTestHandler
    from logbook.queues import MessageQueueHandler as Theirs

    theirs = Theirs(uri, name, bubble=True)
    kept = TheirTestHandler()
    with kept.applicationbound(), theirs.applicationbound():
        try:
            {}["schlüssel"]
        except KeyError:
            TheirLogger("billing").exception("Rückzahlung für {}", "Jörg")
        TheirLogger("billing").warning("Charged {0}", 12, extra={"order": 7})
    close_theirs(theirs)
    for sent in kept.records:
        record = subscriber.recv(10)
        padded = json.loads(json.dumps(sent.time.microsecond))
        if padded >= 100_000:  # Logbook writes fewer digits for the others
            assert same_facts(record, sent)
        assert (record.message, record.channel) == (sent.message, "billing")
        assert record.formatted_exception == sent.formatted_exception

"""Records through NATS JetStream, with a server of our own to stop and start."""

import asyncio
import base64
import concurrent.futures
import gc
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time

import nats
import pytest
import trustme

from sprockets._support.optional import MissingDependency
from sprockets.logbook import Flags, Logger, Processor, TestHandler
from sprockets.logbook.delivery import Retry, Spool
from sprockets.logbook.queues._broker_subscriber import ClosedError
from sprockets.logbook.queues._nats import JetStreamHandler, JetStreamSubscriber
from sprockets.logbook.queues._nats_puller import Puller
from sprockets.logbook.queues._wire import MalformedRecordError
from tests.services import require

log = Logger("payments")
SOAK = os.environ.get("SPROCKETS_SOAK") == "1"
BOTH = pytest.mark.parametrize("kind", [JetStreamHandler, JetStreamSubscriber])


class Server:
    """A NATS server whose streams are in a folder of the test."""

    def __init__(self, folder, scheme="nats", config=""):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        self.path = folder / "nats.conf"
        self.path.write_text(
            f'listen: "127.0.0.1:{self.port}"\n'
            f'jetstream: {{store_dir: "{folder / "streams"}"}}\n{config}\n'
        )
        self.process = None

    def start(self):
        self.process = subprocess.Popen(
            ["nats-server", "-c", str(self.path)], stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 20.0
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1.0).close()
            except OSError:
                assert time.monotonic() < deadline, "nats-server does not start"
                time.sleep(0.02)
            else:
                return self

    def stop(self, how=signal.SIGTERM):
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(20.0)
            self.process = None

    def ask(self, work, **options):
        """Return what *work* returns, called with a client and its JetStream."""

        async def run():
            client = await nats.connect(self.url, **options)
            try:
                return await work(client, client.jetstream())
            finally:
                await client.close()

        return asyncio.run(run())

    def publish(self, subject, *bodies, headers=None):
        async def work(client, stream):
            for body in bodies:
                await stream.publish(subject, body, headers=headers)

        self.ask(work)

    def waiting(self, stream="logging"):
        """Return how many messages a stream keeps."""

        async def work(client, jetstream):
            return (await jetstream.stream_info(stream)).state.messages

        return self.ask(work)


@pytest.fixture(name="make_server")
def _make_server(tmp_path):
    require(shutil.which("nats-server"), "no nats-server is installed")
    made = []

    def make(**options):
        folder = tmp_path / f"nats-{len(made)}"
        folder.mkdir()
        made.append(Server(folder, **options))
        return made[-1].start()

    yield make
    for server in made:
        server.stop(signal.SIGKILL)


@pytest.fixture(name="server")
def _server(make_server):
    return make_server()


@pytest.fixture(name="closing")
def _closing(make_server):  # before the servers go
    things = []

    def closing(thing):
        things.append(thing)
        return thing

    yield closing
    for thing in reversed(things):
        thing.close()


@pytest.fixture(name="handler")
def _handler(server, closing):
    return closing(JetStreamHandler(server.url, retry=Retry(initial=0.05, maximum=0.2)))


@pytest.fixture(name="subscriber")
def _subscriber(server, closing):
    return closing(JetStreamSubscriber(server.url, retry_pause=0.01))


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


# -- making them


@BOTH
def test_without_nats_both_say_what_to_install(kind, monkeypatch):
    """As every optional library."""
    monkeypatch.setitem(sys.modules, "nats", None)
    with pytest.raises(MissingDependency, match=r"sprockets\.http\[nats\]"):
        kind()


@BOTH
@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"stream": "a.b"}, "the name of a stream"),
        ({"stream": ""}, "the name of a stream"),
        ({"subject": "logs.>"}, "wildcards"),
        ({"timeout": 0}, "timeout must be"),
        ({"url": []}, "no url"),
    ],
)
def test_what_nats_would_not_take_is_refused(kind, options, text):
    """Before anything is sent."""
    with pytest.raises(ValueError, match=text):
        kind(**options)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"durable": "a b"}, "the name of a consumer"),
        ({"prefetch": 0}, "prefetch must be at least 1"),
        ({"max_deliveries": 0}, "max_deliveries must be at least 1"),
    ],
)
def test_options_of_a_subscriber_are_looked_at_too(options, text):
    """With what was given."""
    with pytest.raises(ValueError, match=text):
        JetStreamSubscriber(**options)


# -- there and back


def test_records_arrive_in_order_with_all_their_facts(handler, subscriber):
    """Each once; and what is not there is not waited for."""
    assert subscriber.recv(0) is None
    with handler.contextbound():
        try:
            {}["schlüssel"]
        except KeyError:
            log.exception("Rückzahlung für {user} ☃", user="Jörg", extra={"tags": ["a", "ü"]})
        for number in range(250):
            log.info("{}", number)
    assert handler.flush(10)
    record = subscriber.recv(0)
    assert (record.message, record.channel) == ("Rückzahlung für Jörg ☃", "payments")
    assert record.formatted_exception.endswith("KeyError: 'schlüssel'")
    assert record.extra["tags"] == ["a", "ü"]
    assert record.record_id.endswith("-1")
    subscriber.acknowledge(record)
    assert messages_of(subscriber, 250) == [str(number) for number in range(250)]
    assert subscriber.recv(0) is None
    assert subscriber.recv(0.05) is None
    assert subscriber.dispatch_once(0.05) is False
    with pytest.raises(ValueError, match="-1"):
        subscriber.recv(-1)


def test_what_comes_later_is_found_without_waiting(handler, subscriber):
    """Time and again: a call that does not wait asks anew."""
    with handler.contextbound():
        for number in range(5):
            log.info("{}", number)
            assert handler.flush(10)
            wait_until(
                lambda: (record := subscriber.recv(0)) and not subscriber.acknowledge(record)
            )
    assert subscriber.statistics()["received"] == 5


def test_the_message_is_json_and_has_the_name_of_the_record(server, handler):
    """Anything that speaks NATS can read it."""
    with handler.contextbound():
        log.warning("hello")
    assert handler.flush(10)

    async def work(client, stream):
        return await stream.get_msg("logging", 1)

    message = server.ask(work)
    facts = json.loads(message.data)
    assert (facts["message"], facts["level"], facts["information_pulled"]) == ("hello", 13, True)
    assert message.headers["Nats-Msg-Id"] == facts["record_id"]


def test_what_is_sent_twice_is_kept_once(server, handler, subscriber):
    """The server leaves out what it knows by its name."""
    handler.deliver([b'{"level":12,"message":"one","record_id":"5c0f-1"}'] * 2)
    assert server.waiting() == 1
    handler.disconnect()


def test_what_the_server_does_not_know_any_more_the_subscriber_does(server, handler, subscriber):
    """After its window, say."""
    with handler.contextbound():
        log.info("first")
    assert messages_of(subscriber, 1) == ["first"]
    body = b'{"level":12,"message":"again","record_id":"5c0f-1"}'
    server.publish("logging", body, body)
    assert messages_of(subscriber, 1) == ["again"]
    assert subscriber.recv(0.2) is None
    assert subscriber.statistics()["duplicates"] == 1
    wait_until(lambda: server.waiting() == 0)


def test_subscribers_with_the_same_name_share_what_comes(server, handler, closing):
    """Each record goes to one of them."""
    subscribers = [closing(JetStreamSubscriber(server.url, prefetch=5)) for _ in range(2)]
    with handler.contextbound():
        for number in range(100):
            log.info("{}", number)
    assert handler.flush(10)
    with concurrent.futures.ThreadPoolExecutor() as pool:

        def work(subscriber):
            found = []
            while (record := subscriber.recv(0.5)) is not None:
                found.append(int(record.message))
                subscriber.acknowledge(record)
            return found

        found = list(pool.map(work, subscribers))
    assert sorted(found[0] + found[1]) == list(range(100))


# -- acknowledging


def test_what_is_dispatched_is_gone_from_the_stream(server, handler, subscriber):
    """And not before."""
    inner = TestHandler()
    with handler.contextbound():
        log.info("hello")
    assert handler.flush(10)
    with inner.contextbound():
        assert subscriber.dispatch_once(10)
    assert inner.has_info("hello")
    wait_until(lambda: server.waiting() == 0)


def test_what_was_not_acknowledged_comes_again_soon(server, handler, subscriber, closing):
    """Closing gives back what was received, and what was fetched ahead."""
    with handler.contextbound():
        for number in range(3):
            log.info("{}", number)
    assert handler.flush(10)
    assert subscriber.recv(10).message == "0"
    assert subscriber.statistics()["unacknowledged"] == 1
    subscriber.close()
    other = closing(JetStreamSubscriber(server.url))
    assert sorted(messages_of(other, 3, 10)) == ["0", "1", "2"]


def test_what_takes_long_is_not_given_to_another(server, handler, closing):
    """While this process lives, the server hears that it is still at it."""
    slow = closing(JetStreamSubscriber(server.url, patience=0.6))
    other = closing(JetStreamSubscriber(server.url))
    with handler.contextbound():
        log.info("long")
    record = slow.recv(10)
    assert other.recv(1.5) is None
    slow.acknowledge(record)
    wait_until(lambda: server.waiting() == 0)


def test_what_cannot_be_dispatched_comes_again_and_then_is_a_dead_letter(server, handler, closing):
    """As often as it may; what comes after it does not wait for it."""
    letters = []
    subscriber = closing(
        JetStreamSubscriber(
            server.url, max_deliveries=3, retry_pause=0.01, dead_letters="logging.dead"
        )
    )
    subscriber.dead_letter = lambda data, error: letters.append((json.loads(data), error))
    tries = []

    def fail(record):
        tries.append(record.message)
        if record.message == "bad":
            raise LookupError("no such thing")

    with handler.contextbound():
        for message in ("bad", "good", "better"):
            log.info(message)
    assert handler.flush(10)
    with Flags(errors="raise").contextbound(), Processor(fail).contextbound():
        with TestHandler().contextbound():
            while not letters or len(tries) < 5:
                try:
                    assert subscriber.dispatch_once(10)
                except LookupError:
                    continue
    assert sorted(tries) == ["bad"] * 3 + ["better", "good"]
    assert [facts["message"] for facts, _ in letters] == ["bad"]
    assert "delivered 3 times: no such thing" in str(letters[0][1])
    assert subscriber.statistics()["dead"] == 1
    wait_until(lambda: server.waiting() == 0)

    async def work(client, stream):
        return await stream.get_msg("logging-dead", 1)

    letter = server.ask(work)
    assert json.loads(letter.data)["message"] == "bad"
    assert letter.headers["Error"].startswith("DeliveriesExceededError: delivered 3 times")
    assert letter.headers["Subject"] == "logging"


def test_a_record_that_processes_die_of_is_not_dispatched_for_ever(server, handler, closing):
    """The server counts; a process that did not live to tell has tried as well."""
    with handler.contextbound():
        log.info("deadly")
    assert handler.flush(10)

    async def work(client, stream):
        pull = await stream.pull_subscribe("logging", "logging", stream="logging")
        for _ in range(2):
            (message,) = await pull.fetch(1, timeout=10)
            await message.nak()

    first = JetStreamSubscriber(server.url, max_deliveries=2)
    first.recv(0)
    first.close()
    server.ask(work)
    subscriber = closing(JetStreamSubscriber(server.url, max_deliveries=2))
    letters = []
    subscriber.dead_letter = lambda data, error: letters.append(data)
    wait_until(lambda: subscriber.recv(0.1) is None and letters)
    assert len(letters) == 1
    assert subscriber.statistics()["received"] == 0
    wait_until(lambda: server.waiting() == 0)


def test_a_record_may_be_given_back(server, handler, subscriber):
    """By who called recv; it comes again."""
    with handler.contextbound():
        log.info("hello")
    record = subscriber.recv(10)
    subscriber.reject(record, LookupError("not now"))
    again = subscriber.recv(10)
    assert again is not record
    assert again.message == "hello"
    subscriber.acknowledge(again)
    subscriber.acknowledge(again)
    assert subscriber.statistics()["unacknowledged"] == 0


def test_so_many_may_be_unacknowledged_and_no_more(server, handler, closing):
    """Else a subscriber that forgets to acknowledge would wait for ever, and not say why."""
    subscriber = closing(JetStreamSubscriber(server.url, max_unacknowledged=1))
    with handler.contextbound():
        log.info("1")
        log.info("2")
    first = subscriber.recv(10)
    with pytest.raises(RuntimeError, match="acknowledge"):
        subscriber.recv(10)
    subscriber.acknowledge(first)
    assert subscriber.recv(10).message == "2"


@pytest.mark.rule("M24")
def test_a_poisonous_message_costs_nothing_but_itself(server, handler, subscriber, capsys):
    """One dead letter; the thousand after it are dispatched in the background."""
    with pytest.raises(MalformedRecordError):
        subscriber.recv(0)  # makes the stream
        server.publish("logging", b"\x80\x04]")
        subscriber.recv(10)
    server.publish("logging", b"[1, 2]")
    letters = []
    subscriber.dead_letter = lambda data, error: letters.append(data)
    inner = TestHandler()
    controller = subscriber.dispatch_in_background(inner)
    with handler.contextbound():
        for number in range(1_000):
            log.info("{}", number)
    wait_until(lambda: len(inner.records) == 1_000)
    controller.stop()
    assert [record.message for record in inner.records] == [str(n) for n in range(1_000)]
    assert letters == [b"[1, 2]"]
    assert subscriber.statistics()["malformed"] == 2
    assert "MalformedRecordError" in capsys.readouterr().err
    wait_until(lambda: server.waiting() == 0)


# -- outages


@pytest.mark.rule("M27")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_an_outage_costs_no_record_and_no_order(server, closing, tmp_path, how):
    """The log calls go on; what was under way is kept once, by its name."""
    count = 10_000 if SOAK else 3_000
    handler = closing(
        JetStreamHandler(
            server.url,
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
                server.stop(how)
            if number == 2_500:
                wait_until(lambda: handler.statistics()["failed"])
                server.start()
            begun = time.perf_counter()
            log.info("{}", number)
            took.append(time.perf_counter() - begun)
    wait_until(lambda: handler.statistics()["delivered"] == count, 60)
    # Nothing that waits for a connection would be as fast as this.
    assert sorted(took)[int(count * 0.999)] < 0.1
    subscriber = closing(JetStreamSubscriber(server.url))
    found = messages_of(subscriber, count)
    assert subscriber.recv(0.2) is None
    assert found == [str(number) for number in range(count)]


@pytest.mark.rule("M27")
def test_a_subscriber_in_the_background_outlives_an_outage(server, handler, subscriber, capsys):
    """It reports it once, and goes on when the server is back."""
    inner = TestHandler()
    controller = subscriber.dispatch_in_background(inner)
    with handler.contextbound():
        log.info("before")
        wait_until(lambda: inner.has_info("before"))
        server.stop()
        wait_until(lambda: "ConnectionError" in capsys.readouterr().err)
        for _ in range(3):
            subscriber._closing.wait(0.1)
        assert "subscriber" not in capsys.readouterr().err
        server.start()
        log.info("after")
        wait_until(lambda: inner.has_info("after"))
    controller.stop()
    assert subscriber.statistics()["reconnects"] == 1
    assert len(inner.records) == 2


def test_who_asks_for_a_record_hears_of_an_outage(server, subscriber):
    """With the address, and without the password."""
    assert subscriber.recv(0) is None
    server.stop()
    for timeout in (0, 0.1, None):
        with pytest.raises(ConnectionError, match=f"127.0.0.1:{server.port}"):
            for _ in range(3):
                subscriber.recv(timeout)
    server.start()
    wait_until(lambda: messages_or_none(subscriber) is None)


def messages_or_none(subscriber):
    try:
        return subscriber.recv(0.1)
    except ConnectionError as error:
        return error


def test_a_stream_that_vanishes_is_made_again(server, handler, subscriber):
    """The sender hears that nobody keeps it, and connects anew."""
    with handler.contextbound():
        log.info("lost with the stream")
        assert handler.flush(10)

        async def work(client, stream):
            await stream.delete_stream("logging")

        server.ask(work)
        log.info("kept")
    wait_until(lambda: handler.statistics()["delivered"] == 2)
    assert messages_of(subscriber, 1) == ["kept"]


def test_a_stream_that_is_not_to_be_made_is_waited_for(server, closing):
    """With create=False, somebody else makes it, as it should be."""
    handler = closing(
        JetStreamHandler(server.url, create=False, retry=Retry(initial=0.05, maximum=0.1))
    )
    with handler.contextbound():
        log.info("hello")
        wait_until(lambda: handler.statistics()["failed"] >= 1)

    async def work(client, stream):
        await stream.add_stream(name="logging", subjects=["logging"], max_bytes=1 << 20)

    server.ask(work)
    assert messages_of(closing(JetStreamSubscriber(server.url)), 1) == ["hello"]


def test_what_is_too_large_is_a_dead_letter_and_the_others_are_not(server, closing, subscriber):
    """For the server, and for the stream."""
    letters = []

    class Keeping(JetStreamHandler):
        def dead_letter(self, item, error):
            letters.append((len(item), str(error)))

    async def work(client, stream):
        await stream.add_stream(
            name="logging", subjects=["logging"], retention="workqueue", max_msg_size=50_000
        )

    server.ask(work)
    handler = closing(Keeping(server.url, retry=Retry(initial=0.05, maximum=0.1)))
    with handler.contextbound():
        for message in ("one", "x" * 1_100_000, "two", "y" * 40_000, "three"):
            log.info("{}", message, extra={"again": [message] * 2})
    assert messages_of(subscriber, 3) == ["one", "two", "three"]
    wait_until(lambda: len(letters) == 2)
    assert "max_payload" in letters[0][1] or "max_payload" in letters[1][1]
    assert "too large for the stream" in letters[0][1] + letters[1][1]
    wait_until(lambda: handler.statistics()["delivered"] == 3)
    assert handler.statistics()["dead"] == 2


# -- who may


def test_without_the_password_nobody_gets_in(make_server, closing):
    """It is in no text; with it, by URL or argument, it works."""
    server = make_server(config='authorization: {user: "logger", password: "s3cret"}')
    stranger = closing(JetStreamSubscriber(server.url.replace("//", "//logger:wr0ng@")))
    with pytest.raises(ConnectionError, match="(?i)authorization") as caught:
        stranger.recv(0)
    assert "wr0ng" not in str(caught.value)
    handler = closing(JetStreamHandler(server.url.replace("//", "//logger:s3cret@")))
    with handler.contextbound():
        log.info("hello")
    known = {"user": "logger", "password": "s3cret"}
    subscriber = closing(JetStreamSubscriber(server.url, connect=known))
    assert messages_of(subscriber, 1) == ["hello"]


def test_records_are_encrypted_and_the_server_is_verified(make_server, closing, tmp_path):
    """An unknown authority is an outage; with its certificate it works."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    server = make_server(
        scheme="tls",
        config=f'tls: {{cert_file: "{tmp_path / "cert.pem"}", key_file: "{tmp_path / "key.pem"}"}}',
    )
    stranger = closing(JetStreamSubscriber(server.url))
    with pytest.raises(ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
        stranger.recv(0)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    handler = closing(JetStreamHandler(server.url, tls=context))
    with handler.contextbound():
        log.info("secret")
    subscriber = closing(JetStreamSubscriber(server.url, tls=context))
    assert messages_of(subscriber, 1) == ["secret"]


def test_a_file_of_credentials_is_read(server, closing, tmp_path):
    """One that is missing is said so, by the error of each try."""
    subscriber = closing(JetStreamSubscriber(server.url, credentials=tmp_path / "none.creds"))
    with pytest.raises(ConnectionError, match=r"none\.creds"):
        subscriber.recv(0)


def jwt(issuer, subject, name, **claims):
    """Return a token in which *issuer*, a pair of keys, says something of *subject*."""

    def part(facts):
        return base64.urlsafe_b64encode(json.dumps(facts).encode()).rstrip(b"=")

    text = b".".join(
        [
            part({"typ": "JWT", "alg": "ed25519-nkey"}),
            part(
                {
                    "jti": name,
                    "iat": int(time.time()),
                    "iss": issuer.public_key.decode(),
                    "sub": subject.public_key.decode(),
                    "name": name,
                    "nats": {"version": 2, **claims},
                }
            ),
        ]
    )
    return b".".join([text, base64.urlsafe_b64encode(issuer.sign(text)).rstrip(b"=")]).decode()


def creds(token, seed):
    """Return what a file of credentials contains."""
    return (
        f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed.decode()}\n------END USER NKEY SEED------\n"
    )


def test_who_has_credentials_is_let_in(make_server, closing, tmp_path):
    """A token of the account, and the key it is about; another account's key is of no use."""
    nkeys = pytest.importorskip("nkeys")

    def pair(prefix):
        seed = bytes(nkeys.encode_seed(os.urandom(32), prefix))
        return nkeys.from_seed(bytearray(seed)), seed

    operator, _ = pair(nkeys.PREFIX_BYTE_OPERATOR)
    system, _ = pair(nkeys.PREFIX_BYTE_ACCOUNT)
    account, _ = pair(nkeys.PREFIX_BYTE_ACCOUNT)
    user, seed = pair(nkeys.PREFIX_BYTE_USER)
    stranger, strange_seed = pair(nkeys.PREFIX_BYTE_USER)
    names = "subs data payload imports exports conn leaf mem_storage disk_storage streams consumer"
    limits = dict.fromkeys(names.split(), -1)
    of_account = {"type": "account", "limits": {**limits, "wildcards": True}}
    # The system's account has no streams.
    of_system = {"type": "account", "limits": dict.fromkeys(names.split()[:7], -1)}
    accounts = "\n".join(
        f"{keys.public_key.decode()}: {jwt(operator, keys, name, **claims)}"
        for keys, name, claims in (
            (system, "SYS", of_system),
            (account, "shop", of_account),
        )
    )
    server = make_server(
        config=f"operator: {jwt(operator, operator, 'op', type='operator')}\n"
        f"system_account: {system.public_key.decode()}\n"
        f"resolver: MEMORY\nresolver_preload: {{\n{accounts}\n}}"
    )
    of_user = {"type": "user", "subs": -1, "data": -1, "payload": -1}
    good, bad = tmp_path / "good.creds", tmp_path / "bad.creds"
    good.write_text(creds(jwt(account, user, "logger", **of_user), seed))
    bad.write_text(creds(jwt(stranger, stranger, "stranger", **of_user), strange_seed))

    refused = closing(JetStreamSubscriber(server.url, credentials=bad))
    with pytest.raises(ConnectionError, match="(?i)authorization"):
        refused.recv(0)
    handler = closing(JetStreamHandler(server.url, credentials=good))
    with handler.contextbound():
        log.info("hello")
    subscriber = closing(JetStreamSubscriber(server.url, credentials=good))

    assert messages_of(subscriber, 1) == ["hello"]


# -- loops, processes, the end


@pytest.mark.parametrize("immediate", [False, True])
def test_the_loop_of_the_application_is_left_alone(server, closing, subscriber, immediate):
    """A record logged within it goes by another; no task appears in it."""
    handler = closing(JetStreamHandler(server.url, immediate=immediate))

    async def application():
        before = asyncio.all_tasks()
        with handler.contextbound():
            log.info("hello")
        record = subscriber.recv(10)
        subscriber.acknowledge(record)
        assert asyncio.all_tasks() == before
        return record.message

    assert asyncio.run(application()) == "hello"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_connects_for_itself(handler, subscriber):
    """And leaves its parent's connections alone: they are of use afterwards."""
    with handler.contextbound():
        log.info("parent 1")
        assert messages_of(subscriber, 1) == ["parent 1"]
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
        assert messages_of(subscriber, 1) == ["child"]
        log.info("parent 2")
        assert messages_of(subscriber, 1) == ["parent 2"]
    assert subscriber.statistics()["reconnects"] == 0
    assert handler.statistics()["failed"] == 0


def test_a_process_with_a_child_ends_without_a_word(server, subscriber):
    """Both deliver what they logged last, and neither complains of the other's connection."""
    script = f"""
import os
from sprockets.logbook import Logger
from sprockets.logbook.queues._nats import JetStreamHandler

handler = JetStreamHandler({server.url!r})
with handler.applicationbound():
    Logger("short").info("first")
    handler.flush(10)
    who = "child" if os.fork() == 0 else "parent"
    for number in range(100):
        Logger("short").info("{{}} {{}}", who, number)
if who == "parent":
    assert os.wait()[1] == 0
"""
    run = subprocess.run(
        # That the process which forks has threads is what this is about.
        [sys.executable, "-P", "-X", "dev", "-W", "ignore:This process", "-c", script],
        check=True,
        timeout=60,
        capture_output=True,
        text=True,
    )
    # Python's own remark on a step that took a while is none of ours.
    words = [line for line in run.stderr.splitlines() if not line.startswith("Executing <")]
    assert words == []
    expected = ["first", *(f"{who} {n}" for who in ("child", "parent") for n in range(100))]
    assert sorted(messages_of(subscriber, 201)) == sorted(expected)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_what_is_logged_last_is_delivered(server, subscriber, host):
    """Even if nothing was before, and the interpreter starts no threads any more."""
    script = f"""
import atexit
from sprockets.logbook import Logger
from sprockets.logbook.queues._nats import JetStreamHandler

handler = JetStreamHandler("nats://{host}:{server.port}")
handler.push_application()
atexit.register(lambda: Logger("short").info("last"))
"""
    run = subprocess.run(
        [sys.executable, "-P", "-X", "dev", "-c", script],
        check=True,
        timeout=60,
        capture_output=True,
        text=True,
    )
    assert run.stderr == ""
    assert messages_of(subscriber, 1, 10) == ["last"]


def test_what_is_closed_neither_sends_nor_receives(handler, subscriber):
    """A record is dropped and counted; a call that receives is an error."""
    with handler.contextbound():
        log.info("hello")
        assert messages_of(subscriber, 1) == ["hello"]
        handler.close()
        handler.close()
        log.info("too late")
    assert handler.statistics()["dropped"] == {"closed": 1}
    subscriber.close()
    subscriber.close()
    assert subscriber.is_ended
    assert not subscriber.is_connected
    with pytest.raises(ClosedError):
        subscriber.recv(0)


def test_what_nobody_holds_ends_its_thread(server):
    """The connection goes with it."""
    subscriber = JetStreamSubscriber(server.url)
    assert subscriber.recv(0) is None
    source = subscriber._source
    assert isinstance(source, Puller)
    thread = source._loop._thread
    assert thread.is_alive()
    del subscriber, source
    gc.collect()
    wait_until(lambda: not thread.is_alive())

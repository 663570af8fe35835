"""Records through a Redis stream: none is lost, whoever goes away, and each is dealt with once."""

import contextlib
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import weakref

import pytest
import redis
import trustme

from sprockets.logbook import Flags, Handler, Logger, TestHandler
from sprockets.logbook.delivery import Retry, Spool
from sprockets.logbook.queues._redis_streams import RedisStreamHandler, RedisStreamSubscriber
from sprockets.logbook.queues._subscriber import ClosedError

log = Logger("orders")
SOAK = os.environ.get("SPROCKETS_SOAK") == "1"
AT_ONCE = Retry(initial=0.01, maximum=0.05)


class Counting(Handler):
    """Keeps the messages, and says when there are enough; raises for what is poison."""

    def __init__(self, wanted=sys.maxsize):
        super().__init__()
        self.messages = []
        self.wanted = wanted
        self.is_enough = threading.Event()
        self.poisoned = 0

    def emit(self, record):
        if "poison" in record.message:
            self.poisoned += 1
            raise RuntimeError("poison")
        self.messages.append(record.message)
        if len(self.messages) >= self.wanted:
            self.is_enough.set()


@pytest.fixture(name="make_handler")
def _make_handler(redis_server):
    with contextlib.ExitStack() as stack:

        def make(**options):
            handler = RedisStreamHandler(redis_server.url, **{"retry": AT_ONCE, **options})
            stack.callback(handler.close, 1.0)
            return handler

        yield make


@pytest.fixture(name="make_subscriber")
def _make_subscriber(redis_server):
    with contextlib.ExitStack() as stack:

        def make(consumer=None, **options):
            subscriber = RedisStreamSubscriber(
                redis_server.url, consumer=consumer, **{"timeout": 2.0, **options}
            )
            stack.callback(subscriber.close)
            return subscriber

        yield make


@pytest.fixture(name="client")
def _client(redis_server):
    with redis_server.client() as client:
        yield client


ALL_PENDING = ("logging", "sprockets", "-", "+", 1_000)


def received(subscriber, timeout=1.0):
    """Return the messages of what comes, acknowledged, until nothing does."""
    messages = []
    while (record := subscriber.recv(timeout)) is not None:
        messages.append(record.message)
        subscriber.acknowledge(record)
    return messages


def log_numbers(handler, count, first=0):
    with handler.contextbound():
        for number in range(first, first + count):
            log.info("{}", number)


def pending(client, group="sprockets"):
    return client.xpending("logging", group)["pending"]


def wait_until(condition, timeout=15.0):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# -- there and back


def test_a_record_comes_with_all_its_facts(make_handler, make_subscriber):
    """Exception, custom fields, and where and when it was logged."""
    handler, subscriber = make_handler(), make_subscriber()
    kept = TestHandler()
    with kept.contextbound(), handler.contextbound():
        handler.bubble = True
        try:
            raise KeyError("x")
        except KeyError:
            log.exception("{} of {name}", 3, name="ada")
    assert handler.flush(5.0)

    record = subscriber.recv(5.0)

    (sent,) = kept.records
    for name in ("channel", "level", "message", "time", "process", "thread_name", "lineno"):
        assert getattr(record, name) == getattr(sent, name)
    assert record.exception_name == "builtins.KeyError"
    assert (list(record.args), record.kwargs) == ([3], {"name": "ada"})


def test_an_entry_is_one_field_of_json(make_handler, client):
    """That any client can read; its id names the sender and counts."""
    handler = make_handler()
    log_numbers(handler, 2)
    assert handler.flush(5.0)

    entries = [fields for _, fields in client.xrange("logging")]
    assert [list(fields) for fields in entries] == [["record"], ["record"]]
    ids = [json.loads(fields["record"])["record_id"].split("-") for fields in entries]
    assert [number for _, number in ids] == ["1", "2"]
    assert ids[0][0] == ids[1][0]


def test_a_record_that_is_passed_on_keeps_its_name(make_handler, make_subscriber):
    """So that its copies are known for what they are, however far they went."""
    first, second = make_handler(), make_handler(stream="second")
    log_numbers(first, 1)
    assert first.flush(5.0)
    subscriber = make_subscriber()
    with second.contextbound():
        record = subscriber.recv(5.0)
        name = record.record_id
        second.handle(record)
    assert second.flush(5.0)

    with_subscriber = RedisStreamSubscriber(subscriber._connection._url, "second")
    assert with_subscriber.recv(5.0).record_id == name
    with_subscriber.close()


def test_a_record_is_acknowledged_once_it_was_dispatched(make_handler, make_subscriber, client):
    """And not before: in the handler it is still pending."""
    handler, subscriber = make_handler(), make_subscriber()
    log_numbers(handler, 1)
    assert handler.flush(5.0)
    seen = []
    taking = Handler()
    taking.emit = lambda record: seen.append(pending(client))
    with taking.contextbound():
        assert subscriber.dispatch_once(5.0)

    assert seen == [1]
    assert pending(client) == 0
    assert subscriber.dispatch_once(0) is False


def test_recv_alone_acknowledges_nothing(make_handler, make_subscriber, client):
    """Only the user does, once, for what came from here."""
    handler, subscriber = make_handler(), make_subscriber()
    log_numbers(handler, 1)
    assert handler.flush(5.0)
    record = subscriber.recv(5.0)

    assert pending(client) == 1
    subscriber.acknowledge(record)
    assert pending(client) == 0
    subscriber.acknowledge(record)


def test_each_record_goes_to_one_of_a_group_and_to_each_group(
    make_handler, make_subscriber, client
):
    """Which may begin with the first entry there is, or with the next."""
    handler = make_handler()
    one, two = make_subscriber("one", batch_size=10), make_subscriber("two", batch_size=10)
    other = make_subscriber(group="other")
    late = make_subscriber(group="late", start="new")
    log_numbers(handler, 1)
    assert handler.flush(5.0)
    assert late.recv(0) is None
    log_numbers(handler, 39, first=1)
    assert handler.flush(5.0)
    numbers = [str(number) for number in range(40)]

    shared = [[], []]
    for _ in range(20):
        for messages, subscriber in zip(shared, (one, two), strict=True):
            record = subscriber.recv(1.0)
            messages.append(record.message)
            subscriber.acknowledge(record)

    assert sorted(shared[0] + shared[1], key=int) == numbers
    assert shared[0] == sorted(shared[0], key=int)
    assert received(other, 0) == numbers
    assert received(late, 0) == numbers[1:]


def test_the_stream_is_kept_short(make_handler, make_subscriber, client):
    """What was not read in time is missing, and counted."""
    handler = make_handler(max_length=100)
    subscriber = make_subscriber(batch_size=1)
    log_numbers(handler, 1)
    assert handler.flush(5.0)
    assert received(subscriber, 0) == ["0"]
    log_numbers(handler, 2_000, first=1)
    assert handler.flush(5.0)

    assert 100 <= client.xlen("logging") <= 300
    assert len(received(subscriber, 0)) + 1 + subscriber.statistics()["gaps"] == 2_001


def test_a_stream_may_be_without_limit(make_handler, client):
    """Where somebody else looks after it."""
    handler = make_handler(max_length=None)
    log_numbers(handler, 500)
    assert handler.flush(5.0)
    assert client.xlen("logging") == 500


# -- arguments


@pytest.mark.parametrize("kind", [RedisStreamHandler, RedisStreamSubscriber])
def test_a_missing_library_is_said_to_be_missing(kind, monkeypatch):
    """With the words that install it."""
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(RuntimeError, match=rf"{kind.__name__} needs 'redis'"):
        kind()


@pytest.mark.parametrize(
    ("kind", "options", "text"),
    [
        (RedisStreamHandler, {"url": "http://x"}, "redis://"),
        (RedisStreamHandler, {"max_length": 0}, "max_length"),
        (RedisStreamHandler, {"timeout": 0}, "timeout"),
        (RedisStreamSubscriber, {"url": "http://x"}, "redis://"),
        (RedisStreamSubscriber, {"start": "last"}, "start must be"),
        (RedisStreamSubscriber, {"claim_after": 0}, "claim_after"),
        (RedisStreamSubscriber, {"max_deliveries": 1}, "max_deliveries"),
        (RedisStreamSubscriber, {"batch_size": 0}, "batch_size"),
    ],
    ids=lambda value: str(value),
)
def test_what_makes_no_sense_is_refused(kind, options, text):
    """Before anybody is connected to."""
    with pytest.raises(ValueError, match=text):
        kind(**options)


@pytest.mark.rule("SC-2")
def test_waiting_is_as_long_as_was_asked_for(make_subscriber):
    """Not at all, or some time; never below."""
    subscriber = make_subscriber()
    with pytest.raises(ValueError, match="timeout"):
        subscriber.recv(-1)
    assert subscriber.recv(0) is None
    before = time.monotonic()
    assert subscriber.recv(0.3) is None
    assert 0.29 < time.monotonic() - before < 2.0


def test_a_password_and_tls(make_redis_server, tmp_path, capfd):
    """The server is verified, by the authority that was named; nobody reads the password."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    ca, crt, key = (str(tmp_path / name) for name in ("ca.pem", "crt.pem", "key.pem"))
    authority.cert_pem.write_to_path(ca)
    certificate.cert_chain_pems[0].write_to_path(crt)
    certificate.private_key_pem.write_to_path(key)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = make_redis_server("--tls-port", str(port), "--tls-cert-file", crt, "--tls-key-file",
                               key, "--tls-auth-clients", "no", "--requirepass", "s3cret")  # fmt: skip
    url = f"rediss://:s3cret@127.0.0.1:{port}/0"
    handler = RedisStreamHandler(url, connection={"ssl_ca_certs": ca}, retry=AT_ONCE)
    stranger = RedisStreamHandler(url, retry=AT_ONCE)
    guessing = RedisStreamHandler(f"redis://:guess@127.0.0.1:{server.port}", retry=AT_ONCE)
    with Flags(errors="print").applicationbound():
        log_numbers(handler, 1)
        log_numbers(stranger, 1)
        log_numbers(guessing, 1)
        assert handler.flush(5.0)
        assert stranger.flush(0.3) is guessing.flush(0.3) is False
        stranger.close(0)
        guessing.close(0)
    subscriber = RedisStreamSubscriber(url, connection={"ssl_ca_certs": ca})
    assert received(subscriber, 0.5) == ["0"]
    subscriber.close()
    handler.close()

    told = capfd.readouterr().err
    assert "certificate" in told.lower()
    assert "s3cret" not in told + repr(handler) + repr(subscriber)


# -- the server goes away


@pytest.mark.rule("M27")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_all_arrive_in_order_across_an_outage(
    how, redis_server, make_handler, make_subscriber, tmp_path
):
    """Without a log call that waits; what was added twice is left out, and counted.

    The control is a client that tries once: it loses.
    """
    count, pause = (10_000, 15.0) if SOAK else (2_000, 0.5)
    handler = make_handler(spool=Spool(tmp_path / "spool"), policy="spill", capacity=200)
    subscriber = make_subscriber()
    own = redis_server.client()
    counting = Counting(count)
    controller = subscriber.dispatch_in_background(counting)
    waits, lost = [], 0
    with handler.contextbound(), own, Flags(errors="silent").applicationbound():
        for number in range(count):
            if number == count // 4:
                redis_server.stop(how)
            if number == count // 2:
                time.sleep(pause)
            if number == 3 * count // 4:
                redis_server.start()
            before = time.perf_counter()
            log.info("{}", number)
            waits.append(time.perf_counter() - before)
            try:
                own.xadd("own", {"number": number})
            except redis.RedisError:
                lost += 1
        assert handler.flush(30.0)
        assert counting.is_enough.wait(30.0)
    controller.stop()

    assert counting.messages == [str(number) for number in range(count)]
    counts, came = handler.statistics(), subscriber.statistics()
    assert counts["accepted"] == counts["delivered"] == count
    assert (came["received"], came["gaps"], came["malformed"]) == (count, 0, 0)
    assert came["duplicates"] <= 100
    assert came["outages"] >= 1
    assert lost >= count // 4
    # Far more than a busy machine takes, and less than any time-out.
    assert sorted(waits)[int(count * 0.999) - 1] < 1.0


def test_a_batch_that_is_added_twice_is_left_out_once(
    redis_server, make_handler, make_subscriber, client
):
    """As after an answer that was lost: here somebody adds it again."""
    handler = make_handler()
    log_numbers(handler, 100)
    assert handler.flush(5.0)
    for _, fields in client.xrange("logging"):
        client.xadd("logging", fields)

    subscriber = make_subscriber()
    assert received(subscriber, 0) == [str(number) for number in range(100)]
    assert subscriber.statistics()["duplicates"] == 100
    assert pending(client) == 0


def test_what_is_old_and_never_came_is_no_duplicate(make_handler, make_subscriber, client):
    """As what a thread was slow to send, or what is taken over from a consumer that died."""
    handler = make_handler()
    log_numbers(handler, 50)
    assert handler.flush(5.0)
    entries = [fields for _, fields in client.xrange("logging")]
    client.xtrim("logging", 0, approximate=False)
    for fields in reversed(entries):
        client.xadd("logging", fields)

    subscriber = make_subscriber()
    assert received(subscriber, 0) == [str(number) for number in reversed(range(50))]
    assert subscriber.statistics()["duplicates"] == 0


def test_an_answer_that_is_lost_makes_no_record_come_twice(
    redis_server, make_handler, make_subscriber
):
    """The server has added the batch, and the connection is cut before it says so."""
    proxy = CuttingProxy(redis_server.port)
    handler = RedisStreamHandler(f"redis://127.0.0.1:{proxy.port}", retry=AT_ONCE, batch_wait=0.05)
    with handler.contextbound(), Flags(errors="silent").applicationbound():
        log.info("first")
        assert handler.flush(5.0)
        proxy.swallow = 1
        log.info("second")
        log.info("third")
        assert handler.flush(10.0)
    handler.close()
    subscriber = make_subscriber()

    assert received(subscriber, 0) == ["first", "second", "third"]
    assert subscriber.statistics()["duplicates"] >= 1
    proxy.close()


class CuttingProxy:
    """Stands between client and server, and cuts the connection instead of passing an answer on."""

    def __init__(self, port):
        self.target = ("127.0.0.1", port)
        self.swallow = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                far = socket.create_connection(self.target)
                for source, sink, back in ((near, far, False), (far, near, True)):
                    threading.Thread(
                        target=self._copy, args=(source, sink, back), daemon=True
                    ).start()

    def _copy(self, source, sink, is_answer):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if is_answer and self.swallow:
                    self.swallow -= 1
                    break
                sink.sendall(data)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def close(self):
        self.listener.close()


def test_a_server_that_is_full_is_waited_for(redis_server, make_handler, client):
    """It is an outage, not a fault of the records."""
    handler = make_handler(retry=Retry(initial=0.01, maximum=0.02, attempts=2))
    client.config_set("maxmemory", "1")
    with Flags(errors="silent").applicationbound():
        log_numbers(handler, 300)
        wait_until(lambda: handler.statistics()["failed"] > 5)
        client.config_set("maxmemory", "0")
        assert handler.flush(10.0)

    numbers = [json.loads(f["record"])["message"] for _, f in client.xrange("logging")]
    assert numbers == [str(number) for number in range(300)]


def test_a_server_that_has_lost_everything_begins_anew(make_handler, make_subscriber, client):
    """The group is made again, from the first entry that there is, even by who began with new."""
    handler, subscriber = make_handler(), make_subscriber(start="new")
    assert subscriber.recv(0) is None
    log_numbers(handler, 1)
    assert handler.flush(5.0)
    assert received(subscriber, 0) == ["0"]
    client.flushall()
    log_numbers(handler, 2, first=1)
    assert handler.flush(5.0)

    assert received(subscriber, 1.0) == ["1", "2"]


def test_a_subscriber_may_be_there_before_the_server(
    redis_server, make_handler, make_subscriber, capfd
):
    """It says so once, in a minute, and waits as long as it was asked to."""
    redis_server.stop()
    subscriber = make_subscriber()
    with Flags(errors="print").contextbound():
        for _ in range(20):
            assert subscriber.recv(0.02) is None
    redis_server.start()
    handler = make_handler()
    log_numbers(handler, 1)
    assert handler.flush(5.0)

    assert received(subscriber, 1.5) == ["0"]
    assert subscriber.statistics()["outages"] == 1
    assert capfd.readouterr().err.count("Traceback (most recent call last)") <= 3


# -- consumers that die


CONSUMER = """
import os, sys, time
from sprockets.logbook import Handler
from sprockets.logbook.queues._redis_streams import RedisStreamSubscriber
url, consumer, poison, path = sys.argv[1:5]
file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
class Writing(Handler):
    def emit(self, record):
        if record.message == poison:
            os.kill(os.getpid(), 9)
        os.write(file, record.message.encode() + b"\\n")
        time.sleep(0.001)
subscriber = RedisStreamSubscriber(url, consumer=consumer, claim_after=0.3, max_deliveries=3)
with Writing().contextbound():
    print("ready", flush=True)
    while subscriber.dispatch_once(1.5):
        pass
subscriber.close()
"""


def consume(server, consumer, path, poison=""):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CONSUMER), server.url, consumer, poison, str(path)],
        stdout=subprocess.PIPE,
    )


def lines(path):
    return path.read_text().split() if path.exists() else []


def test_a_consumer_that_is_killed_loses_nothing(redis_server, make_handler, tmp_path, client):
    """In the middle of its work; another one takes over what it had.

    The control is a consumer that acknowledges by receiving: what it had fetched is gone.
    """
    count = 10_000 if SOAK else 1_000
    handler = make_handler()
    log_numbers(handler, count)
    assert handler.flush(10.0)
    client.xgroup_create("logging", "control", "0")
    client.xreadgroup("control", "c", {"logging": ">"}, count=100, noack=True)
    path = tmp_path / "lines"
    with consume(redis_server, "a", path) as first:
        wait_until(lambda: len(lines(path)) > count // 4)
        first.kill()
    seen = len(lines(path))
    assert seen < count
    with consume(redis_server, "b", path) as second:
        wait_until(lambda: len(set(lines(path))) == count, timeout=60.0)
        assert second.wait(20.0) == 0

    assert set(lines(path)) == {str(number) for number in range(count)}
    assert len(lines(path)) - count <= 100
    assert pending(client) == 0
    assert client.xautoclaim("logging", "control", "d", 0)[1] == []


def test_what_kills_its_readers_is_a_dead_letter_and_its_neighbours_are_not(
    redis_server, make_handler, tmp_path, client
):
    """One after the other dies of it, until it has been tried as often as it may be."""
    handler = make_handler()
    log_numbers(handler, 60)
    assert handler.flush(10.0)
    path = tmp_path / "lines"
    for attempt in range(3):
        with consume(redis_server, "same", path, poison="30") as process:
            assert process.wait(20.0) == -signal.SIGKILL, attempt
    with consume(redis_server, "same", path, poison="30") as process:
        assert process.wait(20.0) == 0

    assert set(lines(path)) == {str(number) for number in range(60)} - {"30"}
    ((_, dead),) = client.xrange("logging:dead")
    assert json.loads(dead["record"])["message"] == "30"
    assert dead["dead_deliveries"] == "3"
    assert "tried 3 times" in dead["dead_reason"]
    assert pending(client) == 0


def test_what_a_handler_never_takes_is_one_dead_letter_and_the_rest_goes_on(
    make_handler, make_subscriber, client, capfd
):
    """A thousand records behind it are not held up.  Without a limit, it would come for ever."""
    handler = make_handler()
    subscriber = make_subscriber(claim_after=0.1, max_deliveries=3)
    given_up = []
    subscriber.dead_letter = lambda data, error: given_up.append((data, error))
    with handler.contextbound():
        log.info("poison")
    log_numbers(handler, 1_000)
    assert handler.flush(10.0)
    counting = Counting(1_000)
    with Flags(errors="raise").applicationbound():
        controller = subscriber.dispatch_in_background(counting)
        assert counting.is_enough.wait(30.0)
        wait_until(lambda: client.xlen("logging:dead") == 1)
        wait_until(lambda: pending(client) == 0)
        controller.stop()

    assert counting.messages == [str(number) for number in range(1_000)]
    assert counting.poisoned == 3
    counts = subscriber.statistics()
    assert (counts["dead"], counts["malformed"], counts["duplicates"]) == (1, 0, 0)
    ((data, error),) = given_up
    assert b"poison" in data
    assert "never acknowledged" in str(error)
    assert "never acknowledged" in capfd.readouterr().err


def test_the_control_of_poison_comes_again(make_handler, make_subscriber, client):
    """As often as it may: with a limit that is far away it is no dead letter."""
    handler = make_handler()
    subscriber = make_subscriber(claim_after=0.02, max_deliveries=10_000)
    with handler.contextbound():
        log.info("poison")
    assert handler.flush(5.0)
    counting = Counting()
    with Flags(errors="raise").contextbound(), counting.contextbound():
        while counting.poisoned < 10:
            with contextlib.suppress(RuntimeError):
                subscriber.dispatch_once(0.05)

    assert client.xlen("logging:dead") == 0
    assert pending(client) == 1


REASONS = (b"not JSON", b"without the field", b"not JSON", b"level")


def test_what_is_no_record_is_a_dead_letter_at_once(
    redis_server, make_handler, make_subscriber, client, capfd
):
    """Whatever it is; what is wrong with it is said, and what comes behind it comes."""
    handler = make_handler()
    client.xadd("logging", {"record": "{"})
    client.xadd("logging", {"something": "else"})
    client.xadd("logging", {"record": b'{"\xff', "dead_reason": "mine"})
    client.xadd("logging", {"record": json.dumps({"level": "high"})})
    log_numbers(handler, 1)
    assert handler.flush(5.0)
    subscriber = make_subscriber(dead_stream="graveyard")

    assert received(subscriber, 0) == ["0"]
    with redis_server.client(decode_responses=False) as raw:
        buried = [fields for _, fields in raw.xrange("graveyard")]
    assert [fields.get(b"something") for fields in buried] == [None, b"else", None, None]
    assert all(text in fields[b"dead_reason"] for text, fields in zip(REASONS, buried, strict=True))
    assert subscriber.statistics()["malformed"] == subscriber.statistics()["dead"] == 4
    assert "level" in str(subscriber.last_malformed[1])
    assert pending(client) == 0
    assert "Malformed" in capfd.readouterr().err


def test_two_consumers_do_not_take_each_others_work(make_handler, make_subscriber, client):
    """What was fetched and waits its turn is kept alive; what is not, is taken over for good."""
    handler = make_handler()
    log_numbers(handler, 30)
    assert handler.flush(5.0)
    busy, other = (make_subscriber(name, claim_after=100.0) for name in ("busy", "other"))

    def time_passes():
        ids = [each["message_id"] for each in client.xpending_range(*ALL_PENDING)]
        client.xclaim("logging", "sprockets", "busy", 0, ids, idle=200_000, justid=True)
        busy._cleaned_at = other._cleaned_at = float("-inf")

    busy.acknowledge(busy.recv(1.0))
    assert other.recv(0) is None
    time_passes()
    record = busy.recv(0)
    assert other.recv(0) is None
    busy.acknowledge(record)
    busy._settle()
    time_passes()

    assert received(other, 0) == [str(number) for number in range(2, 30)]
    assert busy.recv(0) is None
    assert busy.statistics()["received"] == 2


def test_closing_gives_to_others_at_once_what_nobody_has_tried(
    make_handler, make_subscriber, client
):
    """They do not have to wait, and it does not count as tried."""
    handler = make_handler()
    log_numbers(handler, 10)
    assert handler.flush(5.0)
    first, second = make_subscriber("a", claim_after=1000.0), make_subscriber("b", claim_after=0.1)
    first.acknowledge(first.recv(1.0))
    first.close()
    first.close()

    assert all(
        each["times_delivered"] <= 1
        for each in client.xpending_range("logging", "sprockets", "-", "+", 20)
    )
    assert received(second, 0.5) == [str(number) for number in range(1, 10)]
    assert second.statistics()["claimed"] == 9
    assert first.is_ended
    with pytest.raises(ClosedError):
        first.recv(0)


def test_a_consumer_that_has_nothing_leaves_nothing(make_handler, make_subscriber, client):
    """The group forgets it, so that consumers of old processes do not pile up."""
    handler, subscriber = make_handler(), make_subscriber("passing")
    log_numbers(handler, 3)
    assert handler.flush(5.0)
    assert len(received(subscriber, 0)) == 3
    assert [each["name"] for each in client.xinfo_consumers("logging", "sprockets")] == ["passing"]
    subscriber.close()

    assert client.xinfo_consumers("logging", "sprockets") == []


def test_what_was_trimmed_before_it_was_acknowledged_is_counted(
    make_handler, make_subscriber, client
):
    """It cannot come again."""
    handler = make_handler()
    log_numbers(handler, 5)
    assert handler.flush(5.0)
    dying = make_subscriber("dying")
    assert dying.recv(1.0) is not None
    client.xtrim("logging", 2, approximate=False)
    subscriber = make_subscriber("heir", claim_after=0.01)
    time.sleep(0.05)  # so that they are idle for long enough, by the server's clock

    assert received(subscriber, 0.5) == ["3", "4"]
    assert subscriber.statistics()["trimmed"] == 3
    assert pending(client) == 0


def test_stop_ends_a_thread_and_close_the_loop(make_subscriber):
    """Even one that waits for ever."""
    subscriber = make_subscriber()
    ended = threading.Event()

    def loop():
        with contextlib.suppress(ClosedError):
            subscriber.dispatch_forever()
        ended.set()

    threading.Thread(target=loop, daemon=True).start()
    wait_until(lambda: subscriber._is_joined)
    subscriber.close()
    assert ended.wait(5.0)


def test_a_subscriber_that_nobody_holds_goes(make_redis_server):
    """With its connections."""
    server = make_redis_server()
    subscriber = RedisStreamSubscriber(server.url)
    assert subscriber.recv(0) is None
    reference = weakref.ref(subscriber)
    del subscriber
    gc.collect()
    assert reference() is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_sends_under_its_own_name_and_receives_nothing(
    make_handler, make_subscriber
):
    """What the parent has fetched is the parent's."""
    handler, subscriber = make_handler(), make_subscriber()
    log_numbers(handler, 2)
    assert handler.flush(5.0)
    assert subscriber.recv(1.0).message == "0"
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            try:
                subscriber.recv(0)
            except ClosedError:
                subscriber.close()
                log_numbers(handler, 1, first=2)
                status = 0 if handler.flush(5.0) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

    senders = set()
    for expected in ("1", "2"):
        record = subscriber.recv(2.0)
        assert record.message == expected
        senders.add(record.record_id.split("-")[0])
    assert len(senders) == 2

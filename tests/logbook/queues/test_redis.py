"""Records in a Redis list, as its other readers know them; a real server, which goes away."""

import gc
import json
import os
import platform
import sys
import threading
import time
import weakref
from datetime import UTC, datetime, timedelta

import pytest
import redis

from sprockets.logbook import Flags, Logger, set_datetime_format
from sprockets.logbook.delivery import Retry
from sprockets.logbook.queues._redis import RedisHandler

log = Logger("orders")
SOAK = os.environ.get("SPROCKETS_SOAK") == "1"
AT_ONCE = Retry(initial=0.01, maximum=0.05)


@pytest.fixture(name="make")
def _make(redis_server):
    made = []

    def make(**options):
        made.append(RedisHandler(port=redis_server.port, **{"retry": AT_ONCE, **options}))
        return made[-1]

    yield make
    for handler in made:
        handler.close(1.0)


@pytest.fixture(name="pushed")
def _pushed(redis_server):
    """Return what is in a list, as objects."""
    with redis_server.client() as client:
        yield lambda key="redis": [json.loads(item) for item in client.lrange(key, 0, -1)]


def wait_until(condition, timeout=10.0):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# -- the object


def test_an_object_has_four_fields_and_those_of_the_call(make, pushed):
    """Extra fields and keyword arguments come beside them."""
    handler = make(extra_fields={"service": "shop"}, flush_time=0)
    with handler.contextbound():
        log.warning("{} of {user}", 3, user="ada")

    assert handler.flush(5.0)
    (fields,) = pushed()
    moment = datetime.fromisoformat(fields.pop("time"))
    assert moment.tzinfo is None
    assert abs(moment - datetime.now(UTC).replace(tzinfo=None)) < timedelta(minutes=1)
    assert fields == {
        "message": "3 of ada",
        "host": platform.node(),
        "level": "WARNING",
        "service": "shop",
        "user": "ada",
    }


def test_the_time_is_the_true_instant_whatever_people_are_shown(make, pushed):
    """Local time, shown on a console, does not move a record."""
    handler = make(flush_time=0)
    set_datetime_format("local")
    with handler.contextbound():
        log.info("x")

    assert handler.flush(5.0)
    moment = datetime.fromisoformat(pushed()[0]["time"])
    assert abs(moment - datetime.now(UTC).replace(tzinfo=None)) < timedelta(minutes=1)


def test_later_fields_replace_earlier_ones(make, pushed):
    """The four are no exception."""
    handler = make(extra_fields={"host": "extra", "level": "extra"}, flush_time=0)
    with handler.contextbound():
        log.info("x", level="call")

    assert handler.flush(5.0)
    assert (pushed()[0]["host"], pushed()[0]["level"]) == ("extra", "call")


@pytest.mark.rule("RH-3")
def test_the_message_is_formatted(make, pushed):
    """Positional arguments are in it; keyword arguments are fields, too."""
    handler = make(flush_time=0)
    with handler.contextbound():
        log.info("hello {0} {name}", 1, name="ada")

    assert handler.flush(5.0)
    assert pushed()[0]["message"] == "hello 1 ada"
    assert pushed()[0]["name"] == "ada"


@pytest.mark.rule("RH-4")
def test_what_json_does_not_have_is_null(make, pushed):
    """The record arrives nevertheless, infinities included, as strict JSON."""
    handler = make(extra_fields={"where": object()}, flush_time=0)
    with handler.contextbound():
        log.info("x", what=object(), much=float("inf"), text="\ud800")

    assert handler.flush(5.0)
    fields = pushed()[0]
    assert (fields["where"], fields["what"], fields["much"]) == (None, None, None)
    assert fields["text"] == "\ud800"


def test_records_bubble_unless_told_otherwise(make):
    """Unlike with every other handler."""
    assert make().bubble is True
    assert make(bubble=False).bubble is False


# -- the constructor


@pytest.mark.rule("RH-1")
def test_a_missing_library_is_said_to_be_missing(monkeypatch):
    """With the words that install it."""
    monkeypatch.setitem(sys.modules, "redis", None)

    with pytest.raises(RuntimeError, match=r"pip install 'sprockets.http\[redis\]'"):
        RedisHandler()


@pytest.mark.rule("RH-1")
def test_a_server_that_is_not_there_is_found_out_at_once(redis_server):
    """The client's own error leaves the constructor."""
    redis_server.stop()

    with pytest.raises(redis.ConnectionError):
        RedisHandler(port=redis_server.port)


@pytest.mark.rule("RH-2")
def test_a_wrong_password_is_called_that(make_redis_server):
    """A missing one, too; the right one does, and its absence can be spelled in two ways."""
    server = make_redis_server("--requirepass", "secret")

    with pytest.raises(redis.RedisError, match="password is apparently wrong"):
        RedisHandler(port=server.port, password="guess")
    for none in (None, False):
        with pytest.raises(redis.RedisError, match="wants a password"):
            RedisHandler(port=server.port, password=none)
    handler = RedisHandler(port=server.port, password="secret")
    assert handler.redis.ping()
    handler.close()


@pytest.mark.rule("RH-2")
def test_a_password_that_nobody_wants_is_no_connection_error_of_the_network(redis_server):
    """The server has none, and refuses ours."""
    with pytest.raises(redis.RedisError, match="password is apparently wrong"):
        RedisHandler(port=redis_server.port, password="guess")


@pytest.mark.rule("RH-6")
def test_another_way_to_push_is_refused():
    """Before anybody is connected to."""
    with pytest.raises(ValueError, match="push_method must be 'rpush' or 'lpush', got 'push'"):
        RedisHandler(push_method="push")


@pytest.mark.parametrize(
    "options", [{"flush_threshold": 0}, {"flush_time": -1}, {"timeout": 0}], ids=str
)
def test_numbers_out_of_their_range_are_refused(options):
    """Each says what it is."""
    with pytest.raises(ValueError, match=next(iter(options))):
        RedisHandler(**options)


# -- collecting


@pytest.mark.rule("RH-5")
def test_records_are_pushed_together_when_there_are_enough(make, redis_server, pushed):
    """With one command, without waiting for the time."""
    handler = make(flush_threshold=3, flush_time=3600)
    with handler.contextbound():
        log.info("1")
        log.info("2")
        assert [json.loads(item)["message"] for item in handler.queue] == ["1", "2"]
        assert pushed() == []
        log.info("3")
        wait_until(lambda: len(pushed()) == 3)

    assert handler.flush(5.0)
    assert handler.queue == []
    with redis_server.client() as client:
        assert client.info("commandstats")["cmdstat_rpush"]["calls"] == 1


@pytest.mark.rule("RH-5")
def test_records_are_pushed_when_it_is_time(make, pushed):
    """By a thread that does not keep the program from ending."""
    before = set(threading.enumerate())
    handler = make(flush_time=0.05)
    with handler.contextbound():
        log.info("1")
        wait_until(lambda: len(pushed()) == 1)

    assert all(thread.daemon for thread in set(threading.enumerate()) - before)


@pytest.mark.rule("RH-6")
@pytest.mark.parametrize(("method", "expected"), [("rpush", "12345"), ("lpush", "54321")])
def test_the_oldest_is_at_one_end(method, expected, make, pushed):
    """Across batches, too."""
    handler = make(push_method=method, flush_threshold=2)
    with handler.contextbound():
        for number in range(1, 6):
            log.info("{}", number)

    assert handler.flush(5.0)
    assert "".join(fields["message"] for fields in pushed()) == expected


@pytest.mark.rule("RH-7")
def test_the_key_is_that_of_the_moment(make, pushed):
    """What is pushed after it was changed is in the other list."""
    handler = make(key="a", flush_time=3600)
    with handler.contextbound():
        log.info("x")
        handler.key = "b"
        assert handler.flush(5.0)

    assert (len(pushed("a")), len(pushed("b"))) == (0, 1)


@pytest.mark.rule("RH-8")
def test_without_buffering_what_waits_is_pushed_and_then_every_record_at_once(make, pushed):
    """When the log call is over, the record is there."""
    handler = make(flush_time=3600)
    with handler.contextbound():
        log.info("1")
        log.info("2")
        handler.disable_buffering()
        assert len(pushed()) == 2
        for number in range(3, 8):
            log.info("{}", number)
            assert len(pushed()) == number

    assert handler.flush_threshold == 1
    assert [fields["message"] for fields in pushed()] == list("1234567")


@pytest.mark.rule("RH-9")
def test_close_pushes_and_ends_everything(make, redis_server, pushed):
    """The connection, and the thread; closing twice is closing once."""
    handler = make(flush_time=3600)
    with handler.contextbound():
        log.info("x")

    assert handler.close() is True
    assert handler.close() is True
    assert len(pushed()) == 1
    with redis_server.client() as client:
        wait_until(lambda: len(client.client_list()) <= 2)
    wait_until(lambda: not handler.delivery._state.is_running)


@pytest.mark.rule("RH-9", "RH-11")
def test_a_handler_that_nobody_holds_pushes_and_goes(make_redis_server):
    """Its thread does not keep it."""
    server = make_redis_server()
    handler = RedisHandler(port=server.port, flush_time=0.05)
    with handler.contextbound():
        log.info("x")
    reference = weakref.ref(handler)
    del handler

    with server.client() as client:
        wait_until(lambda: client.llen("redis") == 1)
    wait_until(lambda: gc.collect() is not None and reference() is None)


# -- when pushing fails


@pytest.mark.rule("RH-10")
def test_an_unbuffered_push_that_fails_is_an_error_of_the_call(make, redis_server, pushed):
    """The record is pushed later nevertheless, and meanwhile no other call waits."""
    handler = make()
    handler.disable_buffering()
    redis_server.stop()
    with handler.contextbound(), Flags(errors="raise").contextbound():
        with pytest.raises(ConnectionError):
            log.info("1")
        before = time.perf_counter()
        for number in range(2, 12):
            log.info("{}", number)
        assert time.perf_counter() - before < 0.9  # ten waits of a second would be ten
        redis_server.start()
        assert handler.flush(10.0)

    assert [fields["message"] for fields in pushed()] == [str(n) for n in range(1, 12)]


@pytest.mark.rule("RH-10")
def test_what_waits_is_bounded_and_the_oldest_goes_first(make, redis_server, pushed):
    """And is counted."""
    handler = make(flush_threshold=2, flush_time=0, capacity=5)
    assert make(flush_threshold=200).delivery.capacity == 2000
    assert make(flush_threshold=2).delivery.capacity == 1000
    redis_server.stop()
    with handler.contextbound(), Flags(errors="silent").applicationbound():
        for number in range(20):
            log.info("{}", number)
        redis_server.start()
        assert handler.flush(10.0)

    counts = handler.statistics()
    assert counts["accepted"] == 20
    assert counts["dropped"]["full"] == 20 - counts["delivered"] > 0
    assert [fields["message"] for fields in pushed()][-5:] == ["15", "16", "17", "18", "19"]


@pytest.mark.rule("RH-10", "M27")
def test_an_outage_costs_nothing_and_nobody_a_moment(make, redis_server, pushed):
    """The thread goes on, whatever it met, and the order is kept.

    A client of one's own, the control, loses what it pushes meanwhile.
    """
    count, pause = (10_000, 15.0) if SOAK else (2_000, 0.5)
    handler = make(flush_time=0.01, capacity=count)
    own = redis_server.client()
    waits, lost = [], 0
    with handler.contextbound(), own:
        for number in range(count):
            if number == count // 4:
                redis_server.stop()
            if number == count // 2:
                time.sleep(pause)
            if number == 3 * count // 4:
                redis_server.start()
            before = time.perf_counter()
            log.info("{}", number)
            waits.append(time.perf_counter() - before)
            try:
                own.rpush("own", number)
            except redis.RedisError:
                lost += 1
    assert handler.flush(20.0)

    seen = [int(fields["message"]) for fields in pushed()]
    assert list(dict.fromkeys(seen)) == list(range(count))
    assert len(seen) - count <= handler.flush_threshold
    assert handler.statistics()["delivered"] == count
    assert lost >= count // 4
    assert sorted(waits)[int(count * 0.999) - 1] < 0.05


@pytest.mark.rule("RH-10")
def test_a_failure_of_the_thread_is_reported(make, redis_server, pushed, capfd):
    """In a line, with what the server says; here the list is none."""
    handler = make(retry=Retry(initial=0.01, attempts=2), flush_time=0)
    with redis_server.client() as client:
        client.set("redis", "x")
    with handler.contextbound(), Flags(errors="print").applicationbound():
        log.info("x")
        assert handler.flush(5.0)
        handler.key = "list"
        log.info("y")
        assert handler.flush(5.0)

    assert "WRONGTYPE" in capfd.readouterr().err
    assert handler.statistics()["dead"] == 1
    assert [fields["message"] for fields in pushed("list")] == ["y"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_has_a_connection_of_its_own(make, pushed):
    """Even if the parent was in the middle of a push."""
    handler = make(flush_time=0.001)
    with handler.contextbound():
        log.info("parent")
        assert handler.flush(5.0)
        with handler.lock:
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    log.info("child")
                    status = 0 if handler.flush(5.0) else 2
                finally:
                    os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        log.info("parent again")
        assert handler.flush(5.0)

    assert [fields["message"] for fields in pushed()] == ["parent", "child", "parent again"]

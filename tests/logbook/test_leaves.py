"""What everything else stands on: levels, clock, JSON-safe data, callers, fork, helpers, threads."""

import asyncio
import contextvars
import enum
import gc
import os
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprockets.logbook import (
    Fields,
    Flags,
    Logger,
    TestHandler,
    _caller,
    _clock,
    _fork,
    get_level_name,
    lookup_level,
    set_datetime_format,
)
from sprockets.logbook import helpers as h
from sprockets.logbook.base import level_name_property
from sprockets.logbook.concurrency import (
    ContextThread,
    ContextThreadPoolExecutor,
    carry_context,
    enable_gevent,
    greenlet_get_ident,
    is_gevent_enabled,
    new_fine_grained_lock,
    thread_get_ident,
    thread_get_name,
)

LEVELS = {
    "CRITICAL": 15, "ERROR": 14, "WARNING": 13, "NOTICE": 12, "INFO": 11, "DEBUG": 10, "TRACE": 9,
    "NOTSET": 0,
}  # fmt: skip


# -- levels


@pytest.mark.rule("LV-1", "LV-2", "LV-3", "D-01")
def test_names_and_numbers_of_levels():
    """Numbers stand for themselves, names are upper case, and the two are inverse."""
    assert {name: lookup_level(name) for name in LEVELS} == LEVELS
    assert {get_level_name(level): level for level in LEVELS.values()} == LEVELS
    assert [lookup_level(level) for level in (99, 0, -1, True)] == [99, 0, -1, True]


@pytest.mark.rule("LV-2", "LV-3")
@pytest.mark.parametrize("name", ["error", "FOO", None, 1.5, [], ""])
def test_an_unknown_level_is_a_lookup_error_that_says_so(name):
    """It names what was given, and what is known."""
    with pytest.raises(LookupError, match="^unknown level name .*known: CRITICAL"):
        lookup_level(name)
    with pytest.raises(LookupError, match="^unknown level"):
        get_level_name(37)


@pytest.mark.rule("LV-4", "LV-5", "P-F13")
def test_a_level_can_be_read_and_set_by_name():
    """Names and numbers alike."""

    class Thing:
        level = 0
        level_name = level_name_property()

    thing = Thing()
    thing.level_name = "WARNING"
    assert (thing.level, thing.level_name) == (13, "WARNING")
    thing.level_name = 14
    assert thing.level_name == "ERROR"
    thing.level = 37
    with pytest.raises(LookupError):
        _ = thing.level_name


# -- time


@pytest.fixture(name="in_zone")
def _in_zone(monkeypatch):
    def set_zone(name):
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield set_zone
    monkeypatch.undo()
    time.tzset()


@pytest.fixture(autouse=True)
def _utc_again():
    yield
    set_datetime_format("utc")


def shown():
    """Return the time that a record shows."""
    with TestHandler() as handler:
        Logger("time").info("x")
    handler.close()
    return handler.records[0].time


@pytest.mark.rule("TM-1", "TM-4", "HE-13")
def test_records_show_naive_utc_unless_told_otherwise(in_zone):
    """The choice counts for the whole process, from the next record on."""
    in_zone("Asia/Kathmandu")
    before = datetime.now(UTC).replace(tzinfo=None)
    utc = shown()
    set_datetime_format("local")
    local = shown()
    thread_shown = []
    thread = threading.Thread(target=lambda: thread_shown.append(shown()))
    thread.start()
    thread.join()

    assert before <= utc <= datetime.now(UTC).replace(tzinfo=None)
    offset = timedelta(hours=5, minutes=45)
    assert offset <= local - utc < offset + timedelta(seconds=60)
    assert thread_shown[0] >= local
    assert h.datetime_utcnow() >= utc


@pytest.mark.rule("TM-2")
def test_a_callable_gives_records_their_time():
    """What it gives is kept, aware or not; it is called once at registration."""
    moments = iter([datetime(2000, 1, 1), datetime(2001, 1, 1, tzinfo=UTC), datetime(2002, 1, 1)])
    set_datetime_format(lambda: next(moments))

    assert shown() == datetime(2001, 1, 1, tzinfo=UTC)
    assert shown() == datetime(2002, 1, 1)


@pytest.mark.rule("TM-2", "TM-3")
def test_what_cannot_give_a_time_is_refused_and_changes_nothing():
    """The error says what was given and what could have been."""
    set_datetime_format("local")
    with pytest.raises(ValueError, match="Invalid callable value"):
        set_datetime_format(lambda: "noon")
    for wrong in (None, "gmt", 5, ["utc"]):
        with pytest.raises(ValueError, match=r"pass 'utc', 'local'"):
            set_datetime_format(wrong)
    assert _clock.is_local


def test_a_clock_that_breaks_costs_no_record(capsys):
    """It is reported, and the record has the system's time."""
    broken = iter([datetime(2000, 1, 1)])
    set_datetime_format(lambda: next(broken))
    with TestHandler() as handler, Flags(errors="silent"):
        Logger("time").info("x")

    assert handler.records[0].moment is not None
    handler.close()


@pytest.mark.rule("TM-5", "TM-6")
def test_the_source_is_read_when_it_is_needed():
    """Nobody keeps a copy; nothing warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        set_datetime_format(lambda: datetime(2000, 1, 1))
        assert _clock.now() == datetime(2000, 1, 1)
        set_datetime_format("utc")
        assert _clock.now().year > 2000
        assert h.datetime_utcfromtimestamp(0) == datetime(1970, 1, 1)


SPECS = [
    "%Y-%m-%d %H:%M:%S.%f%z",
    "%H:%M",
    "%f",
    "%f-%f %S",
    "",
    "%%f %f",
    "%j %U %p",
    "%s%%",
    "%-d",
]


@settings(max_examples=200, deadline=None)
@given(moment=st.integers(-62135596800_000_000, 253402214400_000_000), spec=st.sampled_from(SPECS))
def test_a_compiled_time_is_the_formatted_time(moment, spec):
    """For every moment and layout, and twice in a row."""
    expected = format(_clock.datetime_of(moment), spec)

    render = _clock.time_renderer(spec)
    assert render(moment) == render(moment) == expected


@pytest.mark.parametrize("zone", ["America/St_Johns", "Asia/Kathmandu", "UTC"])
def test_a_compiled_time_follows_a_change_of_format(zone, in_zone):
    """A text that was kept for UTC is not shown as local time."""
    in_zone(zone)
    moment, render = 1_700_000_000_123_456, _clock.time_renderer("%H:%M:%S.%f")
    for source in ("utc", "local", "utc"):
        set_datetime_format(source)
        assert render(moment) == format(_clock.datetime_of(moment), "%H:%M:%S.%f")
    assert _clock.local_moment_of(_clock.datetime_of(moment, local=True)) == moment


@pytest.mark.rule("TM-9", "TM-10", "HE-1", "HE-2", "X-03")
@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2000, 1, 1), "2000-01-01T00:00:00Z"),
        (datetime(2000, 1, 1, 12, 0, 0, 1234), "2000-01-01T12:00:00.001234Z"),
        (datetime(1, 1, 1, 0, 0, 0, 4), "0001-01-01T00:00:00.000004Z"),
        (datetime(2000, 1, 1, 12, tzinfo=timezone(timedelta(hours=1))), "2000-01-01T11:00:00Z"),
    ],
)
def test_times_are_written_in_utc_with_all_their_digits(moment, text):
    """Six of them, or none; upstream lost the leading zeros."""
    assert h.format_iso8601(moment) == text
    assert h.parse_iso8601(h.format_iso8601()).year > 2000


@pytest.mark.rule("TM-11", "TM-12", "HE-3", "HE-4", "X-04")
@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2000-01-01T00:00:00Z", datetime(2000, 1, 1)),
        ("2000-01-01T00:00:00", datetime(2000, 1, 1)),
        ("2000-01-01T00:00Z", datetime(2000, 1, 1)),
        ("20000101T10:00:00", datetime(2000, 1, 1, 10)),
        ("2000-0101T10:00:00Z", datetime(2000, 1, 1, 10)),
        ("2000-01-01T12:00:00+01:30", datetime(2000, 1, 1, 10, 30)),
        ("2000-01-01T12:00:00-01:00", datetime(2000, 1, 1, 13)),
        ("2000-01-01T12:00:00.5-00:30", datetime(2000, 1, 1, 12, 30, 0, 500000)),
        ("2000-01-01T00:00:00.12Z", datetime(2000, 1, 1, 0, 0, 0, 120000)),
        ("2000-01-01T12:00:00.123456789Z", datetime(2000, 1, 1, 12, 0, 0, 123456)),
        ("2000-01-01", datetime(2000, 1, 1)),
        ("2000-01", datetime(2000, 1, 1)),
        ("2000", datetime(2000, 1, 1)),
        ("20000102", datetime(2000, 1, 2)),
    ],
)
def test_times_are_read_as_naive_utc(text, moment):
    """What is missing has its least value, what is too fine is cut off."""
    assert h.parse_iso8601(text) == moment


@pytest.mark.rule("TM-11", "HE-4", "HE-5")
@pytest.mark.parametrize(
    "text",
    [
        "", "foo", "2000-01-01T12:00:00Z\n", "2000-01-01T12:00:00.Z", "2000-01-01 12:00:00",
        "2000-01-01T12:00:00+0100", "2000-01-01T12Z", "2000-01-01T24:00:00", "2000-01-01T00:00:60",
        "2000-13-01", "٢٠٠٠-01-01", "2000-01-01Z", "2000-01-01T00:00:00+25:00",
    ],
)  # fmt: skip
def test_what_is_no_time_is_a_value_error(text):
    """Also digits of other scripts and a line break at the end."""
    with pytest.raises(ValueError):
        h.parse_iso8601(text)
    with pytest.raises(TypeError):
        h.parse_iso8601(None)


@given(moment=st.datetimes(timezones=st.sampled_from([None, UTC, timezone(timedelta(hours=-3.5))])))
def test_what_is_written_is_read(moment):
    """Every moment survives, microseconds included."""
    try:
        utc = moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)
    except OverflowError:
        return
    assert h.parse_iso8601(h.format_iso8601(moment)) == utc
    assert _clock.datetime_of(_clock.moment_of(moment), local=False) == utc
    assert _clock.iso8601(_clock.moment_of(moment)).endswith(f".{utc.microsecond:06d}Z")


# -- JSON-safe data


class Number(enum.IntEnum):
    ONE = 1


class Bogus:
    def __str__(self):
        return "bogus"


@pytest.mark.rule("TM-7", "HE-7", "HE-6")
def test_the_vectors_of_json_safe_data():
    """What JSON has stays, keys become text, the rest becomes ``None``."""
    key = Bogus()
    data = [
        None,
        "foo",
        "jäger",
        1,
        datetime(2000, 1, 1),
        {"jäger1": 1, key: 3, "invalid": object()},
        object(),
    ]

    assert h.to_safe_json(data) == [
        None, "foo", "jäger", 1, "2000-01-01T00:00:00Z", {"jäger1": 1, "bogus": 3, "invalid": None}, None,
    ]  # fmt: skip
    assert h.to_safe_json([object(), {1: object(), "a": 1}]) == [None, {"1": None, "a": 1}]
    assert h.to_safe_json({None: 1, True: 2, 1.5: 3, (1, 2): 4, b"k": 5, 2: 6, "2": 7}) == {
        "None": 1, "True": 2, "1.5": 3, "(1, 2)": 4, "b'k'": 5, "2": 7,
    }  # fmt: skip


@pytest.mark.rule("TM-7")
@pytest.mark.parametrize(
    "value",
    [b"x", {1}, frozenset(), date(2000, 1, 1), Decimal(1), 1j, range(3), ValueError(), type],
)
def test_what_json_lacks_becomes_none(value):
    """At any depth."""
    assert h.to_safe_json((value, [value])) == (None, [None])


@pytest.mark.rule("HE-8", "Y-05")
def test_subclasses_of_plain_types_become_plain():
    """Enum members and the like."""
    for value, kind in (
        (Number.ONE, int),
        (type("S", (str,), {})("x"), str),
        (type("F", (float,), {})(1), float),
    ):
        assert type(h.to_safe_json(value)) is kind
    assert h.to_safe_json(True) is True


@pytest.mark.rule("TM-8", "HE-9", "Y-06")
def test_a_container_inside_itself_becomes_none_there():
    """The same one side by side is copied twice; very deep ones end somewhere."""
    cycle = {"a": []}
    cycle["a"].append(cycle)
    shared = [1]
    deep = []
    for _ in range(10_000):
        deep = [deep]

    assert h.to_safe_json(cycle) == {"a": [None]}
    assert h.to_safe_json([shared, shared]) == [[1], [1]]
    assert isinstance(h.to_safe_json(deep), list)


@pytest.mark.rule("HE-10")
def test_broken_keys_and_values_cost_nothing_else():
    """The input stays as it is."""

    class Evil:
        def __str__(self):
            raise RuntimeError

    data = {Evil(): 1, "a": [1]}
    assert h.to_safe_json(data) == {"Evil": 1, "a": [1]}
    assert data["a"] == [1]


# -- helpers


@pytest.mark.rule("HE-12")
def test_a_cached_property_is_worked_out_once():
    """Assigning replaces, deleting resets, the class gives the descriptor."""
    calls = []

    class Thing:
        @h.cached_property
        def value(self):
            """The doc."""
            calls.append(1)
            return len(calls)

        other = h.cached_property(lambda self: 7, name="other", doc="Seven.")

    thing = Thing()
    assert (thing.value, thing.value, vars(thing)) == (1, 1, {"value": 1})
    del thing.value
    assert thing.value == 2
    thing.value = 9
    assert (thing.value, thing.other) == (9, 7)
    assert isinstance(Thing.value, h.cached_property)
    assert (Thing.value.__doc__, Thing.other.__doc__) == ("The doc.", "Seven.")


@pytest.mark.rule("TM-13")
def test_rename_replaces(tmp_path):
    """What had the name is gone."""
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    h.rename(tmp_path / "a", tmp_path / "b")

    assert (tmp_path / "b").read_text() == "a"
    assert h.can_rename_open_file is True
    with pytest.raises(FileNotFoundError):
        h.rename(tmp_path / "a", tmp_path / "b")


@pytest.mark.rule("TM-14", "HE-11")
@pytest.mark.parametrize(
    ("argv", "name"),
    [(["/usr/bin/my_app.py"], "My_App.Py"), (["-c"], "-C"), ([""], "Python"), ([], "Python")],
)
def test_an_application_is_called_as_its_file(argv, name, monkeypatch):
    """In title case; ``Python`` where there is none."""
    monkeypatch.setattr(sys, "argv", argv)
    assert h.get_application_name() == name


# -- callers


def places():
    """Return frames with the line and place that each has at one moment."""
    frame = sys._getframe(1)
    return frame.f_lineno, _caller.place_of(frame)


@pytest.mark.rule("LR-40")
def test_a_place_is_the_line_that_the_frame_said():
    """For calls over several lines, comprehensions, lambdas, ``with``, and generated code."""
    found = [
        places(),
        (
            places(
                *[],
            )
        ),
        *[places() for _ in range(1)],
        (lambda: places())(),
    ]

    class Manager:
        def __enter__(self):
            found.append(self.outer())

        def __exit__(self, *exc_info):
            found.append(self.outer())

        def outer(self):
            frame = sys._getframe(2)
            return frame.f_lineno, _caller.place_of(frame)

    with Manager():
        found.append(places())
    namespace = {"places": places}
    exec(compile("\n\nx = places()", "<generated>", "exec"), namespace)
    found.append(namespace["x"])

    for line, place in found:
        assert _caller.locate(*place).lineno == line
    assert _caller.locate(*found[-1][1]).filename == "<generated>"
    assert _caller.locate(*found[0][1]).filename == os.path.abspath(__file__)
    assert _caller.locate(found[0][1][0], -1).lineno == found[0][1][0].co_firstlineno


def test_what_is_remembered_of_places_is_bounded():
    """Programs that generate code do not fill the memory."""
    for number in range(_caller._MAX_CACHED + 100):
        code = compile(f"x = {number}", f"<{number}>", "exec")
        assert _caller.locate(code, 0).filename == f"<{number}>"

    assert len(_caller._locations) <= _caller._MAX_CACHED


# -- fork


class Owner:
    def __init__(self, calls, name, wait=None):
        self.calls, self.name, self.wait = calls, name, wait

    def before_fork(self):
        self.calls.append(("before", self.name))

    def after_fork_in_parent(self):
        self.calls.append(("parent", self.name))

    def after_fork_in_child(self):
        self.calls.append(("child", self.name))


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_owners_of_locks_are_told_of_a_fork_in_order_and_back():
    """The newest comes to rest first, as wrappers take their locks; in the child each starts anew."""
    calls = []
    first, second, gone = (Owner(calls, name) for name in ("first", "second", "gone"))
    for owner in (first, second, gone):
        _fork.hold_at_fork(owner)
    del gone, owner
    gc.collect()
    reading, writing = os.pipe()

    pid = os.fork()
    if not pid:
        os.write(writing, repr((calls, _fork.pid == os.getpid())).encode())
        os._exit(0)
    os.waitpid(pid, 0)

    in_child = os.read(reading, 10_000).decode()
    os.close(reading)
    os.close(writing)
    before = [("before", "second"), ("before", "first")]
    assert in_child == repr(([*before, ("child", "first"), ("child", "second")], True))
    assert calls == [*before, ("parent", "first"), ("parent", "second")]
    assert _fork.process_id() == os.getpid()


# -- threads and contexts


@pytest.mark.rule("CN-1")
@pytest.mark.parametrize(
    ("function", "result"),
    [(enable_gevent, None), (is_gevent_enabled, False), (new_fine_grained_lock, ...)],
)
def test_the_switches_of_old_warn_and_do_nothing(function, result):
    """They exist, at the caller's line."""
    with pytest.warns(
        DeprecationWarning, match=rf"^{function.__name__}\(\) is deprecated, "
    ) as caught:
        found = function()

    assert caught[0].filename == __file__
    if result is not ...:
        assert found is result
    else:
        with found, found:
            pass


@pytest.mark.rule("CN-2")
def test_idents_are_those_of_the_thread():
    """Without gevent they are one."""
    assert thread_get_ident() == greenlet_get_ident() == threading.get_ident()
    assert thread_get_name() == threading.current_thread().name


def test_every_way_into_another_thread_can_carry_the_context():
    """A hundred requests at once, each by executor, thread, task and callback: all ids right."""
    log = Logger("request")

    async def request(number):
        with Fields(request_id=number):
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(None, log.info, "executor {}", number)
            thread = ContextThread(target=log.info, args=("thread {}", number))
            thread.start()
            await asyncio.to_thread(thread.join)
            await asyncio.create_task(asyncio.to_thread(log.info, "task {}", number))
            called = asyncio.Event()
            loop.call_soon(lambda: (log.info("callback {}", number), called.set()))
            await called.wait()

    async def main():
        asyncio.get_running_loop().set_default_executor(ContextThreadPoolExecutor(8))
        await asyncio.gather(*(request(number) for number in range(100)))

    with TestHandler().applicationbound() as handler:
        asyncio.run(main())

    found = [
        (int(record.message.split()[1]), record.extra["request_id"]) for record in handler.records
    ]
    handler.close()
    assert len(found) == 400
    assert [said for said, stamped in found if said != stamped] == []


def test_a_carried_function_may_run_in_several_threads_at_once():
    """Each call has a copy of its own, and its result and errors come through."""
    variable = contextvars.ContextVar("variable", default=0)
    barrier = threading.Barrier(4)

    def work(number, *, fail=False):
        """Do it."""
        barrier.wait(5)
        before = variable.get()
        variable.set(number)
        if fail:
            raise KeyError(number)
        return before

    variable.set(7)
    carried = carry_context(work)
    assert carried.__doc__ == "Do it."
    with ThreadPoolExecutor(4) as executor:
        futures = [executor.submit(carried, number, fail=number == 3) for number in range(4)]
        assert [future.result() for future in futures[:3]] == [7, 7, 7]
        with pytest.raises(KeyError):
            futures[3].result()
    with ContextThreadPoolExecutor(2) as executor:
        assert list(executor.map(lambda _: variable.get(), range(3))) == [7, 7, 7]

"""Records read and written at speed: the short way means what the long one does."""

import json
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprockets.logbook import Flags, Handler, Logger
from sprockets.logbook.queues import _batches
from sprockets.logbook.queues._arrivals import Arrivals
from sprockets.logbook.queues._batches import decode, decode_lines, split_batch
from sprockets.logbook.queues._ordinary import encode_line, encode_whole, facts_of
from sprockets.logbook.queues._wire import (
    MAX_BYTES,
    MAX_DEPTH,
    MalformedRecordError,
    decode_record,
    encode_record,
)

log = Logger("payments")


@pytest.fixture(autouse=True, params=["with orjson", "without"], scope="module")
def _both_ways_of_reading(request):
    quick = _batches._quick_loads
    if request.param == "without":
        _batches._quick_loads = None
    elif quick is None:
        pytest.skip("orjson is not installed")
    _batches._tails.clear()
    yield
    _batches._quick_loads = quick


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=8,
)


@settings(deadline=None)
@given(
    text=st.text(),
    args=st.lists(JSON, max_size=3),
    kwargs=st.dictionaries(st.sampled_from(["a", "b"]), JSON),
    extra=st.dictionaries(st.text(), JSON, max_size=3),
    channel=st.none() | st.text(),
    fails=st.booleans(),
)
def test_the_short_way_means_the_same_as_the_long_one(text, args, kwargs, extra, channel, fails):
    """Whatever is logged, a line of a batch is read as the full JSON of the record is."""
    written = []

    class Both(Handler):
        def emit(self, record):
            # The long way last: it works out what the short one does not need.
            written.extend((encode_line(record, "a-1"), encode_whole(record, "a-1")))
            written.append(facts_of(record))
            written.append(record.to_dict(json_safe=True))
            written.append(encode_record(record, "a-1"))

    template = text.replace("{", "").replace("}", "") + "{}" * len(args)
    exc_info = ValueError(text) if fails else None
    with Both().contextbound():
        Logger(channel).info(template, *args, extra=extra, exc_info=exc_info, **kwargs)
    line, whole, facts, exported, full = written

    for data in (line, full, whole):
        (short,) = decode_lines(data)
        long = decode_record(full)
        assert described(short) == described(long)
        assert described(decode(data)) == described(long)
    assert described(decode_record(line)) == described(long)
    assert json.loads(whole) == json.loads(full)
    assert whole.isascii()
    assert facts == exported
    assert described(decode(facts)) == described(decode_record(exported))


def described(record):
    own = {name: value for name, value in vars(record).items() if name not in ("_time", "_moment")}
    return {**own, "moment": record.moment, "time": record.time}


@settings(deadline=None)
@given(values=st.dictionaries(st.sampled_from(sorted(decode_record({"level": 9}).__dict__)), JSON))
def test_whatever_a_peer_sends_the_short_way_is_no_laxer(values):
    """Facts of any kind are taken, or refused, as the long way does."""
    facts = {"time": "2026-11-21T01:37:55.893569Z", "level": 13, "message": "m", "msg": "m"}
    line = json.dumps({**facts, "record_id": "a-1", **values}).encode()

    for spelled in (line, _with_its_tail(line)):
        _check_against_the_long_way(spelled)


def _with_its_tail(line):
    """Return *line* with what we write last at its end."""
    facts = json.loads(line)
    tail = {name: facts.pop(name) for name in list(facts) if name in _batches._TAIL_KINDS}
    return json.dumps({**facts, "process": 1, **tail}, separators=(",", ":")).encode()


def _check_against_the_long_way(line):
    (decoded,) = decode_lines(line)
    try:
        expected = decode_record(line)
    except ValueError as error:
        expected = error
    if isinstance(expected, ValueError):
        assert isinstance(decoded, tuple)
        assert str(decoded[1]) == str(expected)
    else:
        assert described(decoded) == described(expected)


@pytest.mark.parametrize(
    "time_text",
    [
        "2026-11-21T01:37:55.89356Z",
        "2026-11-21T01:37:55.893569+",
        "2026-13-21T01:37:55.893569Z",
        "2026-11-21T01:37:55.8\uff193569Z",
        "x" * 27,
        "²" * 27,
    ],
)
def test_a_time_in_another_form_is_read_the_long_way(time_text):
    """Or refused, with the long way's reason."""
    facts = {"time": time_text, "level": 13, "message": "m", "msg": "m", "record_id": "a-1"}
    line = json.dumps(facts).encode()
    (decoded,) = decode_lines(line)

    try:
        expected = decode_record(line)
    except ValueError:
        assert isinstance(decoded, tuple)
    else:
        assert decoded.time == expected.time


def test_what_is_too_deep_is_refused_on_the_short_way_too():
    """Deep values would harm those who write them out again."""
    deep = "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)
    line = (
        f'{{"time":"2026-11-21T01:37:55.893569Z","level":13,"message":"m","msg":"m",'
        f'"args":{deep},"record_id":"a-1"}}'
    ).encode()

    ((_, error),) = decode_lines(line)

    assert "nested" in str(error)


@settings(deadline=None)
@given(lines=st.lists(st.binary(max_size=20)), most=st.integers(1, 5), size=st.integers(1, 40))
def test_pieces_of_a_batch_are_the_batch(lines, most, size):
    """In order, complete, and within both bounds unless a line alone is too long."""
    pieces = list(split_batch(lines, most, size))

    assert [line for _, piece in pieces for line in piece] == lines
    count = 0
    for end, piece in pieces:
        count += len(piece)
        assert end == count
        assert 1 <= len(piece) <= most
        assert len(piece) == 1 or sum(map(len, piece)) <= size


@settings(deadline=None)
@given(numbers=st.lists(st.integers(1, 30)))
def test_arrivals_are_told_apart_exactly(numbers):
    """As a set would, in whatever order; gaps are what is missing between lowest and highest."""
    arrivals = Arrivals()
    seen = set()
    for number in numbers:
        assert arrivals.admit(f"sender-{number}") is (number not in seen)
        seen.add(number)

    missing = set(range(min(seen, default=0), max(seen, default=0))) - seen
    assert arrivals.statistics() == {
        "duplicates": len(numbers) - len(seen),
        "gaps": len(missing),
    }


def test_the_memory_of_arrivals_is_bounded():
    """The sender that was silent longest is forgotten, and so is the lowest of too many runs."""
    arrivals = Arrivals(senders=2)
    for name in ("a", "b", "a", "c"):
        arrivals.admit(f"{name}-{len(name)}")
    for number in range(10, 5010, 2):
        assert arrivals.admit(f"c-{number}")

    assert arrivals.statistics()["gaps"] == 5008 - 2501
    assert arrivals.admit("b-1")
    assert not arrivals.admit("c-5008")
    assert arrivals.admit("c-10")
    assert arrivals.admit("nothing") is not arrivals.admit("nothing")
    assert arrivals.admit(None)


def test_an_ordinary_record_takes_the_short_way_in_both_directions(monkeypatch):
    """That is what there is a short way for."""
    written = []

    class Keeping(Handler):
        def emit(self, record):
            written.extend((encode_line(record, "a-1"), encode_whole(record, "a-1")))
            written.append(facts_of(record))

    monkeypatch.setattr("sprockets.logbook.queues._ordinary.encode_record", None)
    monkeypatch.setattr("sprockets.logbook.record.LogRecord.to_dict", None)
    monkeypatch.setattr("sprockets.logbook.queues._batches.decode_record", None)
    with Keeping().contextbound():
        log.info("{} {where}", 7, where="here", extra={"user": "ann"})
    line, whole, facts = written

    found = [*decode_lines(line), decode(whole), decode(facts)]

    assert [record.message for record in found] == ["7 here"] * 3
    assert [record.func_name for record in found] == [found[0].func_name] * 3


class Odd(str):
    """Text of a kind of its own."""


@pytest.mark.parametrize(
    "write",
    [
        lambda: log.info(Odd("odd")),
        lambda: log.info(b"bytes"),
        lambda: log.info("far out", frame_correction=1),
        lambda: log.info("x" * 2_000_000),
        lambda: log.info("{}", 10**30),
        lambda: log.info("{}", float("nan")),
        lambda: log.info("{}", "\udc80"),
        lambda: log.info("{}", [[1.5, {"a": 10**30}]]),
        lambda: log.info("12345678901234567890 {}", 0.1),
        lambda: log.info("fails", exc_info=ValueError("no")),
        lambda: log.info("", extra={"process": 1, "record_id": "x"}),
    ],
)
def test_what_is_not_ordinary_arrives_as_well(write):
    """The long way, or with nothing lost on the short one."""
    pairs = []

    class Both(Handler):
        def emit(self, record):
            short = encode_line(record, "a-1"), encode_whole(record, "a-1")
            pairs.extend((data, encode_record(record, "a-1")) for data in short)

    with Both().contextbound():
        write()

    for data, full in pairs:
        (decoded,) = decode_lines(data)
        assert described(decoded) == described(decode(full)) == described(decode_record(full))


def test_a_message_that_cannot_be_formatted_is_an_error_or_sent_with_a_note():
    """A batch is for those who keep to it; whole records go to others as well."""
    found = []

    class Trying(Handler):
        def emit(self, record):
            with pytest.raises(TypeError, match="Could not format"):
                encode_line(record, "a-1")
            with pytest.raises(TypeError, match="Could not format"):
                facts_of(record)
            found.append(decode(encode_whole(record, "a-1")))

    with Trying().contextbound(), Flags(errors="silent"):
        log.info("{} and {}", 1)

    assert found[0].message.startswith("{} and {} [could not be formatted: IndexError")
    assert found[0].thread_name == threading.current_thread().name


def test_what_a_processor_adds_goes_along():
    """Names that are not a record's own."""
    (record,) = make_records("one")
    record.request = 7
    (decoded,) = decode_lines(encode_line(record, "a-1"))

    assert decoded.request == 7


def make_records(*messages):
    class Keeping(Handler):
        def emit(self, record):
            record.keep_open = True
            made.append(record)

    made = []
    with Keeping().contextbound():
        for message in messages:
            log.info(message)
    return made


def lines_of(count):
    records = make_records(*map(str, range(count)))
    return [encode_line(record, f"a-{number}") for number, record in enumerate(records, 1)]


def test_a_batch_is_read_in_order_whatever_is_among_it():
    """Ordinary lines, long ones, and what is none."""
    lines = lines_of(6)
    (odd,) = make_records("odd")
    odd.request = 7
    lines[2] = encode_line(odd, "a-3")
    lines[4] = b"no record"

    found = list(decode_lines(b"\n".join(lines)))

    assert found[4][0] == b"no record"
    assert [record.message for record in found if not isinstance(record, tuple)] == [
        "0", "1", "odd", "3", "5"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "hostile",
    [
        [b'{"extra":{"a":1,"process":2}}', b"{},{}"],
        [b'{"level":11},{"level":11,"process":1}', b'{"level":11,"args":[1', b'2],"process":1}'],
        [b'{"level":11,"args":[' + b"[" * 60, b"]" * 60 + b'],"process":1}', b"{},{}"],
        [b',"process":1}', b"[", b"]"],
    ],
)
def test_lines_that_only_make_sense_together_make_none(hostile):
    """What a peer sends that means harm: no other record suffers, and nothing breaks."""
    good = lines_of(2)

    found = list(decode_lines(b"\n".join([good[0], *hostile, good[1]])))

    assert len(found) == len(hostile) + 2
    assert found[0].message == "0"
    assert found[-1].message == "1"


def test_the_memory_of_ends_of_lines_is_bounded():
    """A peer may invent as many as it likes."""
    line = lines_of(1)[0]
    head, process, _ = line.rpartition(b',"process":')
    for number in range(3 * _batches._MAX_TAILS):
        (record,) = decode_lines(b"%b%b%d}" % (head, process, number))
        assert record.process == number

    assert len(_batches._tails) <= _batches._MAX_TAILS


def test_a_batch_beyond_the_bound_of_a_record_is_read_line_by_line():
    """And the line that is too long is refused."""
    line = lines_of(1)[0]
    long = line.replace(b'"message":"0"', b'"message":"%b"' % (b"x" * MAX_BYTES))

    found = list(decode_lines(b"\n".join([line, long])))

    assert found[0].message == "0"
    assert isinstance(found[1][1], MalformedRecordError)


@settings(deadline=None)
@given(runs=st.lists(st.tuples(st.integers(1, 30), st.integers(0, 8))))
def test_a_run_of_arrivals_is_admitted_as_one_by_one(runs):
    """Or not at all, and then nothing has changed."""
    arrivals, slow = Arrivals(), Arrivals()
    for first, count in runs:
        ids = [f"sender-{number}" for number in range(first, first + count)]
        before = arrivals.statistics()
        if arrivals.admit_run(ids):
            assert all(slow.admit(record_id) for record_id in ids)
        else:
            assert arrivals.statistics() == before
            assert [arrivals.admit(name) for name in ids] == [slow.admit(name) for name in ids]
        assert arrivals.statistics() == slow.statistics()


@pytest.mark.parametrize(
    "ids",
    [[], [None], ["a"], ["a-x"], ["a-1", "b-2"], ["a-1", None], ["a-01", "a-2"], ["a-2", "a-1"],
     ["-1"], ["a-" + "1" * 30], [7]],
)  # fmt: skip
def test_what_is_no_run_is_not_admitted_as_one(ids):
    """Then each is looked at by itself."""
    assert not Arrivals().admit_run(ids)

"""The JSON of a record between processes, in both directions, and whatever else may come."""

import contextlib
import json
import math
import os
import pickle
import threading
from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprockets.logbook import (
    CRITICAL,
    DEBUG,
    TRACE,
    Flags,
    Logger,
    LogRecord,
    Processor,
    StringFormatter,
    TestHandler,
)
from sprockets.logbook._dispatcher import dispatch_record
from sprockets.logbook.queues._arrivals import Arrivals
from sprockets.logbook.queues._wire import (
    MAX_BYTES,
    MalformedRecordError,
    RecordIds,
    decode_record,
    encode_record,
)

log = Logger("payments")

SAMPLE_A = r"""{"channel": "payments", "msg": "Charged {0} to {account}", "args": [12],
"kwargs": {"account": "A-1"}, "level": 13, "extra": {}, "frame_correction": 0, "process": 16163,
"heavy_initialized": true, "time": "2026-11-21T01:37:55.893569Z", "message": "Charged 12 to A-1",
"lineno": 11, "thread": 140102835403648, "exception_name": null, "func_name": "charge",
"exception_message": null, "process_name": null, "module": "app", "greenlet": 140102835403648,
"filename": "/srv/app/app.py", "thread_name": "MainThread", "formatted_exception": null,
"information_pulled": true}"""
SAMPLE_B = r"""{"channel": "payments", "msg": "R\u00fcckzahlung f\u00fcr {user} fehlgeschlagen \u2603",
"args": [], "kwargs": {"user": "J\u00f6rg"}, "level": 14, "extra": {"ip": "127.0.0.1",
"when": "2024-01-02T03:04:05.60000Z", "tags": ["a", "\u00fc"], "nested": {"1": [1.5, null, null]}},
"frame_correction": 0, "process": 16163, "heavy_initialized": true,
"time": "2026-11-21T01:37:55.894293Z",
"message": "R\u00fcckzahlung f\u00fcr J\u00f6rg fehlgeschlagen \u2603", "lineno": 19,
"thread": 140102835403648, "exception_name": "builtins.KeyError", "func_name": "refund",
"exception_message": "'schl\u00fcssel'", "process_name": null, "module": "app",
"greenlet": 140102835403648, "filename": "/srv/app/app.py", "thread_name": "MainThread",
"formatted_exception": "Traceback (most recent call last):\n  File \"/srv/app/app.py\", line 16, in refund\n    {}[\"schl\u00fcssel\"]\n    ~~^^^^^^^^^^^^^\nKeyError: 'schl\u00fcssel'",
"information_pulled": true}"""

FIELDS = json.loads(SAMPLE_A).keys()


def record_of(write, **flags):
    """Return the record that *write* logs."""
    with TestHandler() as handler, Flags(**flags):
        write()
    return handler.records[0]


def sent(write, **flags):
    """Return what goes over the wire of the record that *write* logs."""
    found = []

    class Sending(TestHandler):
        def emit(self, record):
            found.append(encode_record(record))

    with Sending(), Flags(errors="raise", **flags):
        write()
    return found[0]


def facts_of(write, **flags):
    return json.loads(sent(write, **flags))


def minimal(**facts):
    return json.dumps({"level": 11, **facts})


# -- what is sent


@pytest.mark.rule("WF-1", "WF-2", "WF-5", "WF-6")
def test_a_record_is_one_object_in_ascii_with_all_fields():
    """Nothing before it, nothing behind it, and the level is a number."""
    data = sent(lambda: log.warning("{} ☃ 𝄞 {user}", "\udc80", user="Jörg"))

    assert data.isascii()
    assert b"\\ud834\\udd1e" in data
    facts = json.loads(data)
    assert facts.keys() == FIELDS
    assert facts["level"] == 13
    assert facts["message"] == "\udc80 ☃ 𝄞 Jörg"
    assert facts["process"] == os.getpid()


@pytest.mark.rule("WF-7", "WF-8")
def test_what_json_lacks_becomes_null_but_not_in_the_message():
    """The message was formatted before."""
    odd = object()
    facts = facts_of(lambda: log.info("{}", odd, extra={"odd": odd, "fine": (1, "a")}))

    assert facts["args"] == [None]
    assert facts["extra"] == {"odd": None, "fine": [1, "a"]}
    assert facts["message"] == str(odd)


@pytest.mark.rule("WF-9")
@pytest.mark.parametrize(
    ("msg", "on_the_wire", "message"),
    [
        (ValueError("boom"), "boom", "boom"),
        (b"b\xfcb", "b\ufffdb", "b\ufffdb"),
        (12, 12, "12"),
        ([1, "a"], [1, "a"], "[1, 'a']"),
        (None, None, None),
    ],
)
def test_a_message_that_is_no_text_arrives_as_its_text(msg, on_the_wire, message):
    """Numbers and the like keep their form beside it."""
    facts = facts_of(lambda: log.error(msg))

    assert facts["msg"] == on_the_wire
    assert facts["message"] == message


@pytest.mark.rule("WF-10", "WF-15")
def test_infinities_are_sent_as_null_and_read_as_they_come():
    """Ours can be read by everybody, and we read those of Python's."""
    facts = facts_of(lambda: log.info("x", extra={"nan": math.nan, "inf": math.inf}))
    assert facts["extra"] == {"nan": None, "inf": None}

    record = decode_record('{"level": 11, "extra": {"nan": NaN, "inf": -Infinity}}')
    assert math.isnan(record.extra["nan"])
    assert record.extra["inf"] == -math.inf


@pytest.mark.rule("WF-12")
def test_without_introspection_the_place_is_null():
    """And the record is sent like any other."""
    facts = facts_of(lambda: log.info("x"), introspection=False)

    assert [facts[name] for name in ("func_name", "module", "filename", "lineno")] == [None] * 4


@pytest.mark.rule("WF-13")
def test_a_traceback_that_there_is_not_is_null():
    """``exc_info=True`` without an exception does no harm."""
    facts = facts_of(lambda: log.info("x", exc_info=True))

    names = ("exception_name", "exception_message", "formatted_exception")
    assert [facts[name] for name in names] == [None] * 3


@pytest.mark.rule("WF-14")
def test_the_time_is_utc_with_six_digits():
    """Whatever zone the record's time has."""
    record = LogRecord("x", DEBUG, "y")
    record.time = datetime.fromisoformat("2024-05-06T12:00:00.000004+02:00")
    record.heavy_initialized = True

    assert json.loads(encode_record(record))["time"] == "2024-05-06T10:00:00.000004Z"


def test_it_is_what_a_record_exports():
    """The fast way and ``to_dict`` say the same."""
    record = record_of(
        lambda: log.warning("{} {a}", 1, a="b", extra={"k": [1, {"n": None}], 2: "ü"})
    )
    record.request = "r-1"

    exported = json.loads(json.dumps(record.to_dict(json_safe=True)))
    del exported["keep_open"]
    exported.pop("late", None)
    assert json.loads(encode_record(record)) == exported


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # Lone surrogates too.
    | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(
    channel=st.none() | st.text(),
    level=st.sampled_from((9, 10, 11, 12, 13, 14, 15)),
    msg=st.text(st.characters()),
    extra=st.dictionaries(st.text(st.characters()), json_values),
    time=st.datetimes(),
)
def test_a_record_survives_the_journey(channel, level, msg, extra, time):
    """Everything that JSON has comes back as it was, the microsecond included."""
    record = LogRecord(channel, level, msg, extra=extra)
    record.time = time
    record.heavy_initialized = True

    found = decode_record(encode_record(record))

    assert (found.channel, found.level, found.msg, found.message) == (channel, level, msg, msg)
    assert found.extra == extra
    assert found.time == time
    assert encode_record(found) == encode_record(decode_record(encode_record(found)))


# -- what is received


@pytest.mark.rule("WF-18", "WF-20", "WF-21", "WF-25")
def test_sample_a_of_logbook():
    """As Logbook 1.10.1 sends it."""
    record = decode_record(SAMPLE_A)

    assert record.channel == "payments"
    assert record.level_name == "WARNING"
    assert record.message == "Charged 12 to A-1"
    assert record.time == datetime(2026, 11, 21, 1, 37, 55, 893569)
    assert list(record.args) == [12]
    assert record.extra["nope"] == ""
    assert record.dispatcher is None
    assert record.heavy_initialized
    assert record.information_pulled


@pytest.mark.rule("WF-21")
def test_sample_b_of_logbook():
    """With an exception, and all sorts of extra data."""
    record = decode_record(SAMPLE_B.encode())

    assert record.message == "Rückzahlung für Jörg fehlgeschlagen ☃"
    assert record.level_name == "ERROR"
    assert record.exception_shortname == "KeyError"
    assert record.extra["nested"] == {"1": [1.5, None, None]}
    assert record.extra["tags"] == ["a", "ü"]
    assert record.extra["when"] == "2024-01-02T03:04:05.60000Z"
    assert record.exc_info is None
    text = StringFormatter("{record.message}")(record, TestHandler())
    assert text.endswith("KeyError: 'schlüssel'")


@pytest.mark.rule("WF-3", "WF-4", "WF-15")
def test_order_whitespace_and_escapes_carry_no_meaning():
    """Raw UTF-8, any order, any whitespace, unknown fields."""
    facts = json.loads(SAMPLE_B)
    turned = dict(reversed(facts.items())) | {"unknown": {"deep": [1]}}
    text = json.dumps(turned, ensure_ascii=False, indent=3)

    record = decode_record(text.encode())

    assert record.unknown == {"deep": [1]}
    assert record.message == facts["message"]


@pytest.mark.rule("WF-18")
def test_the_message_is_taken_verbatim():
    """Its template may be of another kind than ours."""
    record = decode_record(minimal(msg="value %s of {0.x}", args=["a"], message="value a"))

    assert record.message == "value a"


@pytest.mark.rule("WF-19")
@pytest.mark.parametrize("facts", [{}, {"message": None}])
def test_a_message_that_is_missing_is_formatted(facts):
    """On first use."""
    assert decode_record(minimal(msg="{} {a}", args=[1], kwargs={"a": 2}, **facts)).message == "1 2"


@pytest.mark.rule("WF-17", "WF-20")
def test_what_is_missing_is_nothing_of_ours():
    """Not our thread, our process or our place."""
    record = decode_record(minimal())
    names = ("thread", "thread_name", "greenlet", "process", "process_name", "filename", "lineno")
    names += ("func_name", "module", "time", "channel", "formatted_exception")

    assert {name: getattr(record, name) for name in names} == dict.fromkeys(names)
    assert (record.args, record.kwargs, record.extra) == ((), {}, {})


@pytest.mark.rule("WF-22")
@pytest.mark.parametrize(("old", "new"), [(n, n + 9) for n in range(1, 7)])
def test_levels_of_old_peers_are_translated(old, new):
    """And ``from_dict`` leaves them alone."""
    assert decode_record(minimal(level=old)).level == new
    assert LogRecord.from_dict({"level": old}).level == old


@pytest.mark.parametrize(
    ("level", "taken"), [(7, TRACE), (8, TRACE), (16, CRITICAL), (10**9, CRITICAL)]
)
def test_levels_that_nobody_knows_become_the_nearest(level, taken):
    """So that every layout can name them."""
    assert decode_record(minimal(level=level)).level == taken


@pytest.mark.rule("WF-23")
def test_names_of_the_class_are_not_replaced():
    """Custom attributes travel, methods do not."""
    names = [name for name in dir(LogRecord) if not name.startswith("_")]
    hostile = dict.fromkeys(names, "evil") | {"_moment": 1, "__class__": "x", "keep_open": True}
    for name in ("level", "args", "kwargs", "extra", "time"):
        hostile.pop(name, None)

    record = decode_record(minimal(**hostile, tenant="blue"))

    assert record.tenant == "blue"
    assert callable(record.close)
    assert callable(record.to_dict)
    assert record.level_name == "INFO"
    assert record.keep_open is False
    assert record.late is False
    assert record.dispatcher is None
    assert type(record) is LogRecord
    record.close()


@pytest.mark.rule("WF-24")
def test_a_received_record_is_processed_here_and_stays_the_senders():
    """Processors add to it; time and process stay; it can be sent on."""
    record = decode_record(SAMPLE_A)

    with TestHandler() as seen, Processor(lambda record: record.extra.update(site="b")):
        dispatch_record(record)

    assert seen.records == [record]
    assert record.process == 16163
    onward = json.loads(encode_record(record))
    assert onward["extra"] == {"site": "b"}
    assert onward["time"] == "2026-11-21T01:37:55.893569Z"


# -- whatever else may come

DEEP = b"[" * 100_000
HOSTILE = {
    "empty": b"",
    "not UTF-8": b'{"level": 11, "msg": "\xff"}',
    "UTF-16": '{"level": 11}'.encode("utf-16"),
    "a pickle": pickle.dumps({"level": 11}),
    "an array": b"[]",
    "text": b'"level"',
    "null": b"null",
    "half": SAMPLE_A[:200].encode(),
    "two": b'{"level": 11}{"level": 11}',
    "deep": DEEP,
    "deep inside": b'{"level": 11, "extra": ' + b'{"a":' * 500 + b"1" + b"}" * 501,
    "deeper than an encoder goes": b'{"level": 11, "x": ' + DEEP + b"]" * 100_000 + b"}",
    "no level": b'{"msg": "x"}',
    "level null": b'{"level": null}',
    "level NaN": b'{"level": NaN}',
    "level true": b'{"level": true}',
    "level 1.5": b'{"level": 11.5}',
    "level by name": b'{"level": "INFO"}',
    "level below 0": b'{"level": -1}',
    "a huge number": b'{"level": 11, "lineno": ' + b"9" * 10_000 + b"}",
    "extra is an array": b'{"level": 11, "extra": [1]}',
    "args is text": b'{"level": 11, "args": "abc"}',
    "kwargs is an array": b'{"level": 11, "kwargs": [["a", 1]]}',
    "time is a number": b'{"level": 11, "time": 12}',
    "time is another day": b'{"level": 11, "time": "2024-02-30T00:00:00Z"}',
    "time before time": b'{"level": 11, "time": "0001-01-01T00:00:00+23:59"}',
    "too many fields": json.dumps({"level": 11} | {f"f{n}": n for n in range(1000)}).encode(),
    "too large": b'{"level": 11, "msg": "' + b"x" * MAX_BYTES + b'"}',
    "a number": 12,
    "nothing": None,
    "an object": object(),
    "names that are no text": {"level": 11, 1: 2},
    "a mapping that is deep": {"level": 11, "extra": {"a": [[]]}},
}
inner = HOSTILE["a mapping that is deep"]["extra"]["a"][0]
for _ in range(200):
    inner.append([inner2 := []])
    inner = inner2


@pytest.mark.rule("WF-16", "WF-17", "M24")
@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_is_no_record_is_said_to_be_none(data):
    """One kind of error, a ``ValueError``, with a text of reasonable length."""
    with pytest.raises(MalformedRecordError) as caught:
        decode_record(data)

    assert isinstance(caught.value, ValueError)
    assert 0 < len(str(caught.value)) < 600


def test_a_mapping_that_contains_itself_or_the_same_many_times_takes_no_time():
    """A queue that pickles can deliver those."""
    itself = {"level": 11}
    itself["extra"] = {"self": itself}
    with pytest.raises(MalformedRecordError):
        decode_record(itself)

    many = []
    for _ in range(50):
        many = [many, many]
    assert decode_record({"level": 11, "extra": {"many": many}}).level == 11


class Trap:
    """Runs code when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_is_never_run(tmp_path):
    """It is just bytes that are no JSON."""
    for protocol in range(6):
        with pytest.raises(MalformedRecordError):
            decode_record(pickle.dumps(Trap(tmp_path / "trap"), protocol))

    assert list(tmp_path.iterdir()) == []


def use(record):
    """Do with *record* what handlers do."""
    record.pull_information()
    assert isinstance(record.level_name, str)
    with Flags(errors="silent"):
        StringFormatter(
            "{record.time} {record.level_name} {record.channel} {record.thread_name} "
            "{record.message} {record.extra[x]} {record.process} {record.lineno} "
            "{record.exception_shortname}"
        )(record, TestHandler())
        with TestHandler():
            dispatch_record(record)
        encode_record(record)
    record.close()


@given(
    st.dictionaries(
        st.sampled_from(sorted(FIELDS)) | st.text(max_size=5) | st.sampled_from(dir(LogRecord)),
        json_values,
    ),
    st.integers(-2, 20),
)
def test_any_object_is_a_record_that_can_be_used_or_malformed(facts, level):
    """Whatever its fields are."""
    for data in (json.dumps({"level": level} | facts), {"level": level} | facts):
        try:
            record = decode_record(data)
        except MalformedRecordError:
            continue
        with contextlib.suppress(TypeError):  # a template that does not fit its arguments
            use(record)


@given(st.binary(max_size=200) | st.text(st.characters(), max_size=200))
@settings(max_examples=300)
def test_any_bytes_are_a_record_or_malformed(data):
    """And nothing else happens."""
    with pytest.raises(MalformedRecordError):
        decode_record(data)


@given(st.integers(0, len(SAMPLE_B)), st.binary(max_size=4), st.integers(0, 10))
@settings(max_examples=500)
def test_a_record_that_was_damaged_is_a_record_or_malformed(at, wrong, length):
    """Bytes replaced anywhere."""
    data = SAMPLE_B.encode()
    try:
        record = decode_record(data[:at] + wrong + data[at + length :])
    except MalformedRecordError:
        return
    use(record)


# -- which record it is


def test_a_record_keeps_the_name_that_it_came_with():
    """A collector passes it on unchanged."""
    record = record_of(lambda: log.info("x"))

    first = decode_record(encode_record(record, "s-1"))
    second = decode_record(encode_record(first, "t-9"))

    assert first.record_id == second.record_id == "s-1"


def test_names_count_from_one_and_differ_between_senders():
    """Also of threads."""
    ids, others = RecordIds(), RecordIds()
    found = []
    threads = [
        threading.Thread(target=lambda: found.extend(ids.next() for _ in range(500)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(found, key=lambda name: int(name[17:])) == [
        f"{ids.sender}-{n}" for n in range(1, 2001)
    ]
    assert ids.sender != others.sender
    assert len(ids.sender) == 16


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_child_is_another_sender():
    """And counts from one again."""
    ids = RecordIds()
    ids.next()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, ids.next().encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with open(reading) as pipe:
        name = pipe.read()

    assert name.endswith("-1")
    assert not name.startswith(ids.sender)
    assert ids.next() == f"{ids.sender}-2"


@given(st.data())
def test_each_is_admitted_once_and_gaps_are_those_that_never_came(data):
    """In whatever order, however often, as the plain sets say."""
    count = data.draw(st.integers(1, 30))
    numbers = data.draw(st.lists(st.integers(1, count), max_size=80))
    arrivals = Arrivals(from_the_first=True)
    seen = set()
    duplicates = 0

    for number in numbers:
        assert arrivals.admit(f"s-{number}") is (number not in seen)
        duplicates += number in seen
        seen.add(number)

    gaps = max(seen) - len(seen) if seen else 0
    assert arrivals.statistics() == {"duplicates": duplicates, "gaps": gaps}


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(1, 10**6)), max_size=200))
def test_memory_for_arrivals_is_bounded(names):
    """However many senders there are, and however far apart their numbers."""
    arrivals = Arrivals(senders=3, window=5)
    for sender, number in names:
        arrivals.admit(f"{sender}-{number}")
        arrivals.admit(f"other {sender} {number}")

    assert len(arrivals._numbers) <= 3
    assert len(arrivals._others) <= 5
    for numbers in arrivals._numbers.values():
        assert len(numbers.starts) == len(numbers.ends) <= 1_000
    assert arrivals.statistics()["gaps"] >= 0


@pytest.mark.parametrize("name", [None, 12, ["a"], {}])
def test_what_is_no_name_is_always_new(name):
    """Records of others have none."""
    arrivals = Arrivals()

    assert arrivals.admit(name)
    assert arrivals.admit(name)


def test_names_of_another_kind_are_admitted_once():
    """Their gaps cannot be known."""
    arrivals = Arrivals()

    assert arrivals.admit("01HZ-ulid")
    assert not arrivals.admit("01HZ-ulid")
    assert arrivals.admit("s-" + "9" * 100)
    assert arrivals.statistics() == {"duplicates": 1, "gaps": 0}

"""Line formatters: Elastic Common Schema and logfmt; one record is one line, and comes back."""

import io
import json
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sprockets.logbook import (
    FingersCrossedHandler,
    Flags,
    Handler,
    Logger,
    LogRecord,
    StreamHandler,
)
from sprockets.logbook._ecs import ECSFormatter
from sprockets.logbook._logfmt import FIELDS, LogfmtFormatter

log = Logger("till")

SEPARATORS = frozenset("\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029\x1b\0")
FORMATTERS = [
    ECSFormatter(),
    ECSFormatter(
        service_name="shop '{}'\n",
        service_version="1",
        environment="test",
        labels={"a.b": 1},
        origin=False,
    ),
    LogfmtFormatter(),
    LogfmtFormatter(FIELDS),
    LogfmtFormatter(["extra", "exception"]),
]
TEXT = st.text(max_size=12) | st.text(
    st.characters(categories=["Cc", "Cs", "Zl", "Zp", "Cf", "Ll"])
)
VALUE = TEXT | st.integers() | st.floats() | st.booleans() | st.none() | st.lists(TEXT, max_size=2)


class Evil:
    """Cannot be shown."""

    def __str__(self):
        raise RuntimeError

    __repr__ = __str__


evil = Evil()


class ByRecord(Handler):
    """Formats by way of a record, never by that of the facts alone."""

    def __init__(self, formatter):
        super().__init__()
        self.formatter = formatter
        self.lines = []

    def emit(self, record):
        self.lines.append(self.format(record))


def lines_of(formatter, *calls):
    """Return the lines of *calls*, checked to be the same both ways where time plays no part."""
    stream = io.StringIO(newline="")
    handler = StreamHandler(stream)
    handler.formatter = formatter
    by_record = ByRecord(formatter)
    with handler, Flags(errors="raise"):
        for call in calls:
            call()
    with by_record, Flags(errors="raise"):
        for call in calls:
            call()
    written = stream.getvalue()
    assert written.endswith("\n")
    lines = written[:-1].split("\n")
    assert len(lines) == len(calls) == len(by_record.lines)
    for line in (*lines, *by_record.lines):
        assert not SEPARATORS.intersection(line)
        line.encode("utf-8")
    return lines, by_record.lines


def parse_logfmt(line):
    """Parse a line of logfmt, strictly: pairs, single spaces between, nothing else."""
    pairs = []
    at = 0
    while at < len(line):
        if pairs:
            assert line[at] == " ", (line, at)
            at += 1
        start = at
        while line[at] != "=":
            assert line[at].isprintable()
            assert line[at] not in ' "', (line, at)
            at += 1
        name = line[start:at]
        assert name
        at += 1
        if line[at : at + 1] == '"':
            value, length = json.JSONDecoder().raw_decode(line[at:])
            at += length
        else:
            start = at
            while at < len(line) and line[at] != " ":
                assert line[at].isprintable()
                assert line[at] not in '"=\\', (line, at)
                at += 1
            value = line[start:at]
            assert value
        pairs.append((name, value))
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def joined(text):
    """Return *text* with the halves of surrogate pairs put together, as JSON reads them."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def fail():
    """Log an exception whose text would like to be two lines."""
    try:
        raise ValueError("no\nprice\u2028\x1b[31m")
    except ValueError:
        log.exception("failed {}", "\n")


# -- both


@settings(max_examples=100, deadline=None)
@given(
    message=TEXT,
    channel=TEXT | st.none(),
    extra=st.dictionaries(TEXT, VALUE, max_size=4),
    formatter=st.sampled_from(FORMATTERS),
)
def test_whatever_is_logged_a_record_is_one_line(message, channel, extra, formatter):
    """By way of a record and without one; with an exception too."""
    logger = Logger(channel)
    formatted = [
        lambda: logger.info(message, extra=extra),
        lambda: logger.info("{}", message, extra={**extra, "": message, "a": evil}),
        fail,
    ]

    lines, others = lines_of(formatter, *formatted)

    if "time" not in getattr(formatter, "fields", ["time"]):
        assert lines == others


@pytest.mark.parametrize("formatter", FORMATTERS)
def test_a_line_without_a_record_is_the_one_with_it(formatter):
    """Only time and place differ, for the calls are two."""

    def facts(line):
        found = json.loads(line) if line.startswith("{") else parse_logfmt(line)
        return {name: value for name, value in found.items() if name not in ("@timestamp", "time")}

    lines, others = lines_of(
        formatter, fail, lambda: log.notice("x", extra={"k": "v", "request_id": "7"})
    )

    assert [facts(line) for line in lines] == [facts(line) for line in others]
    assert formatter.line_source() is not None


@pytest.mark.parametrize("base", [ECSFormatter, LogfmtFormatter])
def test_a_subclass_that_formats_by_itself_is_asked(base, stream):
    """There is no short way around it."""
    formatter = type("Own", (base,), {"__call__": lambda self, record, handler: "own"})()
    handler = StreamHandler(stream)
    handler.formatter = formatter
    with handler:
        log.info("x")

    assert formatter.line_source() is None
    assert stream.getvalue() == "own\n"


@pytest.mark.parametrize("formatter", FORMATTERS)
def test_an_exception_that_was_held_back_is_still_told(formatter, stream):
    """A record out of a buffer has its traceback as text only."""
    handler = StreamHandler(stream)
    handler.formatter = formatter
    buffer = FingersCrossedHandler(handler, action_level="CRITICAL")
    with buffer:
        fail()
        log.critical("now")

    assert "ValueError" in stream.getvalue().split("\n")[0]


@pytest.mark.parametrize("formatter", FORMATTERS)
def test_levels_and_times_that_are_unknown_cost_no_line(formatter):
    """A level of one's own is its number."""
    record = LogRecord("x", 99, "m")

    line = formatter(record, None)

    assert "level" not in line or '"99"' in line or "level=99" in line


# -- Elastic Common Schema


@settings(max_examples=100, deadline=None)
@given(message=TEXT, extra=st.dictionaries(TEXT, VALUE, max_size=4))
def test_an_ecs_line_gives_back_what_was_logged(message, extra):
    """Strict JSON in ASCII, each name once, labels without containers."""

    def unique(pairs):
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    (line, *_), _ = lines_of(ECSFormatter(), lambda: log.warning(message, extra=extra))

    assert line.isascii()
    facts = json.loads(line, object_pairs_hook=unique, parse_constant=pytest.fail)
    assert facts["message"] == joined(message)
    assert facts["log.level"] == "warning"
    assert facts["log.logger"] == "till"
    labels = facts.get("labels", {})
    assert all(value is None or isinstance(value, (str, int, float)) for value in labels.values())
    for name, value in extra.items():
        if isinstance(value, str) and name.isalnum():
            assert labels[name] == joined(value)


def test_an_ecs_line_uses_the_names_of_the_schema():
    """Dotted, the three that must come first in front."""
    formatter = ECSFormatter(service_name="shop", service_version="1.2", environment="production")

    (line,), _ = lines_of(formatter, fail)

    facts = json.loads(line)
    assert list(facts)[:3] == ["@timestamp", "log.level", "message"]
    assert facts["error.type"].endswith("ValueError")
    assert facts["error.message"].startswith("no\nprice")
    assert facts["error.stack_trace"].startswith("Traceback (most recent call last):\n")
    assert facts["log.origin.file.name"] == __file__
    assert facts["log.origin.function"] == "fail"
    assert (facts["service.name"], facts["service.version"]) == ("shop", "1.2")
    assert facts["service.environment"] == "production"
    assert facts["process.thread.name"] == "MainThread"


def test_custom_fields_go_where_the_schema_has_a_place_for_them():
    """What would be in the way of a field of the schema is a label."""
    extra = {
        "request_id": "r1",
        "trace_id": "ab" * 16,
        "url.path": "/x",
        "log.level": "forged",
        "log": "label",
        "message.x": 1,
        "a..b": 2,
        "user": {"name": "ann"},
        "log_level": "second",
    }

    (line,), _ = lines_of(ECSFormatter(), lambda: log.info("m", extra=extra))

    facts = json.loads(line)
    assert (facts["http.request.id"], facts["trace.id"]) == ("r1", "ab" * 16)
    assert facts["url.path"] == "/x"
    assert facts["log.level"] == "info"
    assert facts["labels"] == {
        "log_level": "forged",
        "log": "label",
        "message_x": 1,
        "a__b": 2,
        "user": '{"name":"ann"}',
        "log_level_": "second",
    }


def test_a_field_of_the_schema_is_a_value_or_an_object_and_nothing_is_invented():
    """Elasticsearch refuses a record where it is both; what is not known is null."""
    extra = {"url.path": "/x", "url.path.raw": "/X", "url": 1, "request_id": None}

    (line,), _ = lines_of(ECSFormatter(), lambda: log.info("m", extra=extra))

    facts = json.loads(line)
    assert facts["url.path"] == "/x"
    assert facts["labels"] == {"url_path_raw": "/X", "url": 1}
    assert facts["http.request.id"] is None


# -- logfmt


@settings(max_examples=120, deadline=None)
@given(message=TEXT, extra=st.dictionaries(TEXT, TEXT, max_size=4))
def test_a_logfmt_line_gives_back_what_was_logged(message, extra):
    """All text comes back; names come back where they can be names."""
    (line,), (other,) = lines_of(
        LogfmtFormatter(["level", "msg", "extra"]), lambda: log.info(message, extra=extra)
    )

    assert line == other
    facts = parse_logfmt(line)
    assert facts["level"] == "info"
    assert facts["msg"] == joined(message)
    assert list(facts.values())[2:] == [joined(text) for text in extra.values()]
    for name in extra:
        if name and set(name) <= set(string.ascii_letters) - {"level", "msg"}:
            assert name in facts or f"{name}_" in facts


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("apple", "apple"),
        ("two words", '"two words"'),
        ("", '""'),
        ('a"b', '"a\\"b"'),
        ("a\\b", '"a\\\\b"'),
        ("a=b", '"a=b"'),
        ("Äpfel", "Äpfel"),
        ("Äpfel\nBirnen", '"Äpfel\\nBirnen"'),
        ("\x85", '"\\u0085"'),
        (None, "null"),
        (True, "true"),
        (1.5, "1.5"),
        ({"a": [1]}, '"{\\"a\\":[1]}"'),
    ],
)
def test_values_are_bare_where_they_can_be(value, written):
    """Quotes cost readers' eyes."""
    (line,), _ = lines_of(LogfmtFormatter(["extra"]), lambda: log.info("x", extra={"k": value}))

    assert line == f"k={written}"


def test_a_traceback_is_one_value():
    """With the line breaks it had."""
    (line,), _ = lines_of(LogfmtFormatter(), fail)

    facts = parse_logfmt(line)
    assert facts["exception_message"].startswith("no\nprice")
    assert facts["traceback"].startswith("Traceback (most recent call last):\n")


def test_names_are_cleaned_and_never_come_twice():
    """A custom field takes no other's place."""
    extra = {"level": 1, "a b": 2, "a_b": 3, "": 4, 'x="': 5}

    (line,), _ = lines_of(LogfmtFormatter(["level", "extra"]), lambda: log.info("m", extra=extra))

    assert line == "level=info level_=1 a_b=2 a_b_=3 _=4 x__=5"


@pytest.mark.parametrize(
    ("fields", "text"),
    [(["nope"], "unknown field 'nope'; known: time, level"), (["msg", "msg"], "comes twice")],
)
def test_wrong_fields_are_refused(fields, text):
    """The error names those there are."""
    with pytest.raises(ValueError, match=text):
        LogfmtFormatter(fields)

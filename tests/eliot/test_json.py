"""JSON: what becomes of every kind of value, at once or with care."""

import dataclasses
import datetime as dt
import decimal
import enum
import json
import os
import pathlib
import subprocess
import sys
import threading
import uuid
from collections import OrderedDict, deque, namedtuple
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprockets.eliot.json import (
    _CONVERSIONS_MAX,
    EliotJSONEncoder,
    _encode_carefully,
    encode,
    json_default,
)

# One of each kind that an encoder might treat in its own way, lone surrogates included.
ANY_TEXT = st.text(
    st.sampled_from(
        'aZ7 "\\/\b\n\r\t\x00\x1b\x7f\x85é✓\u2028\ufeff\uffff😀\ud800\udbff\udc80\udfff'
    ),
    max_size=6,
)
NATURAL = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=8,
)  # fmt: skip


def decoded(value, **options):
    """Return what a reader gets for *value* as a field."""
    return json.loads(encode({"field": value}, **options))["field"]


# -- natural forms


@pytest.mark.rule("E14.1")
def test_a_message_is_compact_utf8_without_escapes_on_one_line():
    """Byte for byte: no blanks, no escapes of what UTF-8 has, no line break."""
    message = {"text": 'café ✓ "q"\n', "items": [1, "a", {"k": []}], "flag": True, "nothing": None}

    line = encode(message)

    assert line == (
        '{"text":"café ✓ \\"q\\"\\n","items":[1,"a",{"k":[]}],"flag":true,"nothing":null}'.encode()
    )


@given(st.dictionaries(ANY_TEXT, NATURAL, max_size=4))
def test_what_json_has_comes_back(message):
    """As from the standard library's own encoder, on one line, and the same from both of ours."""
    line = encode(message)

    assert json.loads(line) == json.loads(json.dumps(message))
    assert b"\n" not in line
    assert _encode_carefully(message, json_default).encode("utf-8", "backslashreplace") == line


@pytest.mark.rule("E14.13")
@given(st.lists(ANY_TEXT, unique=True), st.booleans())
def test_members_keep_their_order(names, is_careful):
    """Whichever encoder writes them."""
    message = dict.fromkeys(names, float("nan") if is_careful else 1)
    expected = [json.loads(json.dumps(name)) for name in names]

    pairs = json.loads(encode(message), object_pairs_hook=list)

    assert [name for name, _ in pairs] == expected


class Text(str):
    __slots__ = ()

    def __str__(self):
        return "not me"


class Number(int):
    def __repr__(self):
        return "not me"


class Ratio(float):
    def __repr__(self):
        return "not me"


@pytest.mark.parametrize("other", [1, float("nan")], ids=["at once", "with care"])
def test_subclasses_have_the_form_of_their_base(other):
    """Text, numbers and containers of one's own are what they are."""
    message = {
        "text": Text("t"),
        "number": Number(3),
        "ratio": Ratio(0.5),
        "ordered": OrderedDict(a=1),
        "other": other,
        Text("key"): (1, [2]),
    }

    line = encode(message)

    assert line.startswith(b'{"text":"t","number":3,"ratio":0.5,"ordered":{"a":1},"other":')
    assert line.endswith(b',"key":[1,[2]]}')


# -- what the quick encoder refuses


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), Ratio("nan")])
def test_numbers_that_are_not_finite_are_null(value):
    """JSON has no form for them."""
    assert encode({"a": [value], "b": 1.5}) == b'{"a":[null],"b":1.5}'


@pytest.mark.rule("E14.12", "M49")
def test_integers_of_any_size_are_written():
    """Digit by digit, as far as Python reads them; longer ones as hexadecimal text."""
    long = 7**6000

    assert encode({"n": 2**65}) == b'{"n":36893488147419103232}'
    assert encode({"n": -(10**4000)}) == b'{"n":-1' + b"0" * 4000 + b"}"
    assert int(decoded(long), 16) == long
    assert int(next(iter(json.loads(encode({long: 1})))), 16) == long


@pytest.mark.rule("E14.12", "M49")
def test_lone_surrogates_are_escaped():
    """They come back as they were; in values, keys and types."""
    line = encode({"a\udcff": ["\ud800", "\\\udc80"]})

    assert line == b'{"a\\udcff":["\\ud800","\\\\\\udc80"]}'
    assert json.loads(line) == {"a\udcff": ["\ud800", "\\\udc80"]}


@pytest.mark.rule("E14.12", "M49")
@pytest.mark.parametrize("depth", [200, 2_000, 20_000])
def test_nesting_has_no_limit(depth):
    """As deep as memory goes, in lists and dicts."""
    value = "core"
    for _ in range(depth):
        value = {"a": [value]}

    line = encode({"v": value, "after": 1})

    assert line == b'{"v":' + b'{"a":[' * depth + b'"core"' + b"]}" * depth + b',"after":1}'


@pytest.mark.rule("E14.11", "M49")
@pytest.mark.parametrize(
    ("key", "name"),
    [
        (1, "1"),
        (1.5, "1.5"),
        (None, "null"),
        (True, "true"),
        ((1, "a"), "(1, 'a')"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (b"raw", "b'raw'"),
        (frozenset(), "frozenset()"),
        (decimal.Decimal("1.0"), "1.0"),
    ],
)
def test_keys_become_text(key, name):
    """The same text whether or not something else in the message needs care."""
    assert json.loads(encode({key: "v"})) == {name: "v"}
    assert json.loads(encode({key: "v", "x": float("nan")})) == {name: "v", "x": None}


def test_a_key_that_cannot_be_shown_is_still_written():
    """With a text that says so."""

    class Broken:
        def __str__(self):
            raise ValueError("no")

    assert list(json.loads(encode({Broken(): 1}))) == ["eliot: unknown, str() raised exception"]


@pytest.mark.rule("E14.12")
@pytest.mark.parametrize("json_default", [json_default, repr])
def test_a_message_that_contains_itself_is_refused_and_the_text_says_where(json_default):
    """First and second place, by keys."""
    inner = {"name": "x"}
    inner["again"] = [0, {"deep": inner}]

    with pytest.raises(ValueError) as caught:
        encode({"a": [inner]}, json_default)

    assert str(caught.value) == (
        "cannot write a message that contains itself as JSON: the dict at message['a'][0] comes"
        " again at message['a'][0]['again'][1]['deep']; log a part of it, or its repr()"
    )
    assert caught.value.__context__ is None


def test_a_cycle_is_found_at_its_first_turn():
    """A large text beside it is not written a thousand times first."""
    seen = []
    message = {"large": object()}
    message["self"] = message

    with pytest.raises(ValueError, match="contains itself"):
        encode(message, lambda o: seen.append(o) or "text")

    assert len(seen) <= 2


def test_the_same_value_twice_is_no_cycle():
    """Next to each other, it is just written twice."""
    shared = [float("nan")]

    assert encode({"a": shared, "b": {"c": shared}, "d": [shared, shared]}) == (
        b'{"a":[null],"b":{"c":[null]},"d":[[null],[null]]}'
    )


@dataclasses.dataclass
class Node:
    name: str
    next: object = None


@pytest.mark.rule("E14.12")
def test_a_cycle_through_converted_values_is_refused():
    """Here of a data class."""
    node = Node("a")
    node.next = [node]

    with pytest.raises(ValueError, match=r"the Node at message\['n'\] comes again at message\['n'\]\['next'\]\[0\]"):  # fmt: skip
        encode({"n": node})


def test_converted_values_may_be_nested_deeply_as_well():
    """A list of two thousand links."""
    node = None
    for _ in range(2_000):
        node = Node("n", node)

    assert encode({"n": node}).count(b'"name":"n"') == 2_000


def test_a_conversion_without_end_is_refused():
    """Rather than running until memory is used up."""
    with pytest.raises(ValueError, match=f"{_CONVERSIONS_MAX:,} conversions at message"):
        encode({"x": object()}, lambda o: [object()])
    with pytest.raises(ValueError, match="comes again at"):
        encode({"x": object()}, lambda o: o)


def test_after_a_refusal_the_next_message_is_written():
    """What the quick encoder was in the middle of is forgotten."""
    shared = {"k": [1]}

    def fail(o):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode({"s": shared, "x": [shared, object()]}, fail)
    for _ in range(3):
        assert encode({"s": [shared, float("nan")]}) == b'{"s":[{"k":[1]},null]}'
        assert encode({"s": [shared]}) == b'{"s":[{"k":[1]}]}'


def test_a_value_that_logs_itself_while_it_is_written_is_no_cycle():
    """As a signal handler may do, or another thread, with something that both messages share."""
    inner_lines = []

    class Nosy:
        def __repr__(self):
            if not inner_lines:
                inner_lines.append(None)
                inner_lines[0] = encode({"inner": shared})
            return "nosy"

    shared = {"a": [Nosy()]}

    line = encode({"outer": shared})

    assert line == b'{"outer":{"a":["nosy"]}}'
    assert inner_lines == [b'{"inner":{"a":["nosy"]}}']


def test_threads_may_encode_the_same_objects():
    """Also where one of them is interrupted in the middle."""
    barrier = threading.Barrier(4, timeout=10)

    class Meeting:
        def __repr__(self):
            barrier.wait()
            return "met"

    shared = {"a": [Meeting(), 1]}
    lines = []

    def work():
        lines.append(encode({"s": shared}))

    # Each meets the others inside the shared list, at most twice: at once and with care.
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(15)
    barrier.abort()

    assert len(lines) == 4
    assert set(map(json.dumps, map(json.loads, lines))) <= {
        '{"s": {"a": ["met", 1]}}',
        '{"s": {"a": ["eliot: unknown, str() raised exception", 1]}}',
    }


def test_a_dict_that_another_thread_changes_is_written():
    """In the middle of a message that needs care."""
    changing = {"first": float("nan"), "second": 2}

    def change(o):
        changing[len(changing)] = o
        return "changed"

    assert json.loads(encode({"d": changing, "x": object()}, change)) == {
        "d": {"first": None, "second": 2},
        "x": "changed",
    }


# -- what JSON has no form for


class Colour(enum.Enum):
    RED = "red"


class Size(enum.IntEnum):
    LARGE = 3


class Word(enum.StrEnum):
    YES = "yes"


class Mode(enum.Flag):
    READ = 1


class Shape(enum.Enum):
    SQUARE = pathlib.PurePosixPath("square")


Pair = namedtuple("Pair", "left right")
MOMENT = dt.datetime(2024, 1, 1, 12, 0, 0, 5)
ZONE = dt.timezone(dt.timedelta(hours=5, minutes=30))


@pytest.mark.parametrize("other", [1, float("nan")], ids=["at once", "with care"])
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (MOMENT, "2024-01-01T12:00:00.000005"),
        (MOMENT.replace(tzinfo=ZONE), "2024-01-01T12:00:00.000005+05:30"),
        (MOMENT.replace(microsecond=0), "2024-01-01T12:00:00"),
        (MOMENT.date(), "2024-01-01"),
        (MOMENT.time(), "12:00:00.000005"),
        (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (Colour.RED, "red"),
        (Size.LARGE, 3),
        (Word.YES, "yes"),
        (Mode.READ, 1),
        (Shape.SQUARE, "square"),
        (Node("n", [Node("m")]), {"name": "n", "next": [{"name": "m", "next": None}]}),
        (pathlib.Path("/a/b"), os.path.join(os.sep, "a", "b")),
        ({7}, [7]),
        (3 - 4j, {"real": 3, "imag": -4}),
        (Pair(1, "r"), [1, "r"]),
        (b"raw", "b'raw'"),
        (frozenset({1}), "frozenset({1})"),
        (decimal.Decimal("1.50"), "Decimal('1.50')"),
        (dt.timedelta(days=1), "datetime.timedelta(days=1)"),
        (ValueError("why"), "ValueError('why')"),
        (deque([1]), "deque([1])"),
        (Fraction(1, 3), "Fraction(1, 3)"),
        (range(3), "range(0, 3)"),
        (Node, repr(Node)),
        (int, "<class 'int'>"),
    ],
)
@pytest.mark.rule("E14.14")
def test_values_without_a_form_have_one_here(value, expected, other):
    """The table of values, with either encoder."""
    line = encode({"field": [value], "other": other})

    assert json.loads(line)["field"] == [expected]


class Unshowable:
    def __repr__(self):
        raise RuntimeError("no")


class HalfMade:
    def __repr__(self):
        return 5


@dataclasses.dataclass
class Hollow:
    name: str

    def __repr__(self):
        return "hollow"


def test_what_cannot_even_be_shown_is_written_as_a_text_that_says_so():
    """The rest of the message is there."""
    assert decoded([Unshowable(), HalfMade(), 1]) == [
        "eliot: unknown, str() raised exception",
        "eliot: unknown, str() raised exception",
        1,
    ]


def test_what_has_no_end_is_shown():
    """A value whose conversion and text call themselves again and again."""

    @dataclasses.dataclass
    class Endless:
        def __getattribute__(self, name):
            return getattr(self, name)

        name: str

        def __repr__(self):
            return repr(self)

    assert decoded([Endless("x"), 1]) == ["eliot: unknown, str() raised exception", 1]


def test_what_cannot_be_taken_apart_is_shown():
    """A data class without its field, a moment whose zone fails, an object that hides its class."""

    class BadZone(dt.tzinfo):
        def utcoffset(self, moment):
            raise RuntimeError("no")

        def __repr__(self):
            return "bad"

    class Hiding:
        @property
        def __class__(self):
            raise RuntimeError("no")

        def __repr__(self):
            return "hiding"

    hollow = Hollow("x")
    del hollow.name

    assert decoded([hollow, Hiding()]) == ["hollow", "hiding"]
    assert "tzinfo=bad" in decoded(MOMENT.replace(tzinfo=BadZone()))


def test_a_proxy_is_not_taken_for_what_it_says_it_is():
    """It says that it is text, and the encoders do not choke on it."""

    class Proxy:
        __class__ = str

        def __repr__(self):
            return "proxy"

    assert decoded([Proxy(), float("nan"), {Proxy(): 1}]) == ["proxy", None, {"proxy": 1}]


# -- json_default of one's own


@pytest.mark.rule("E14.10")
def test_a_default_of_ones_own_is_asked_first_and_may_ask_ours():
    """It gets what JSON lacks, and only that."""
    asked = []

    def default(o):
        asked.append(o)
        return "money" if isinstance(o, decimal.Decimal) else json_default(o)

    value = [decimal.Decimal(1), 3j, "text", 5, None]

    assert decoded(value, json_default=default) == [
        "money",
        {"real": 0, "imag": 3},
        "text",
        5,
        None,
    ]
    assert asked == [decimal.Decimal(1), 3j]


@pytest.mark.rule("E14.10")
@pytest.mark.parametrize("error", [ValueError, TypeError, KeyError, RuntimeError, RecursionError])
def test_what_a_default_of_ones_own_raises_comes_out(error):
    """Whatever its type, with the text it had."""

    def default(o):
        raise error("mine")

    with pytest.raises(error, match="mine"):
        encode({"x": object()}, default)


def test_the_old_encoder_class_knows_the_same():
    """For programs that subclass it."""
    text = json.dumps({"a": {5}, "b": MOMENT, "c": b"x"}, cls=EliotJSONEncoder)

    assert json.loads(text) == {"a": [5], "b": "2024-01-01T12:00:00.000005", "c": "b'x'"}


# -- without the C encoder


def test_without_the_c_encoder_lines_are_the_same():
    """As on an interpreter that has none."""
    code = """
import sys
sys.modules["_json"] = None
from sprockets.eliot import json
import json.encoder
assert json.encoder.c_make_encoder is None
from sprockets.eliot.json import encode
sys.stdout.buffer.write(encode({"a": [1, 2.5, None, True, "é\\x07\\"\\udc80"], "n": float("nan"), "s": {1}}))
"""
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, check=False)

    assert done.stderr == b""
    assert done.stdout == encode(
        {"a": [1, 2.5, None, True, 'é\x07"\udc80'], "n": float("nan"), "s": {1}}
    )


# -- other libraries


@pytest.mark.rule("E14.9", "E0.1")
def test_other_libraries_are_not_imported():
    """Neither by importing this module, nor by encoding what nobody knows."""
    code = """
import sys
from sprockets.eliot.json import encode
encode({"x": object(), "y": 3j, "z": float("nan")})
print(sorted({"numpy", "pydantic", "pandas", "polars", "twisted", "tornado", "orjson"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)  # fmt: skip

    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.rule("E14.9")
def test_a_library_that_is_still_being_imported_does_no_harm(monkeypatch):
    """Its module is there, its names are not."""
    for name in ("numpy", "pydantic.main", "pandas", "polars"):
        monkeypatch.setitem(sys.modules, name, type(sys)(name))

    assert decoded([b"x", {1}]) == ["b'x'", [1]]


def test_numpy():
    """Scalars are numbers, arrays are nested; large ones are cut and say so."""
    numpy = pytest.importorskip("numpy", reason="NumPy is not installed")
    grid = numpy.arange(6).reshape(2, 3)
    large = numpy.arange(10_001).reshape(73, 137)

    assert decoded(
        [
            numpy.int64(5),
            numpy.uint64(2**64 - 1),
            numpy.float32(0.5),
            numpy.float64(0.25),
            numpy.bool_(True),
            numpy.complex128(1j),
            numpy.str_("t"),
            numpy.float64("nan"),
            numpy.longdouble(0.5),
            numpy.clongdouble(2j),
            numpy.bytes_(b"b"),
            numpy.datetime64("2024-01-01T00:00:00.000000001", "ns"),
            numpy.timedelta64(3, "D"),
        ]
    ) == [
        5,
        2**64 - 1,
        0.5,
        0.25,
        True,
        {"real": 0, "imag": 1},
        "t",
        None,
        0.5,
        {"real": 0, "imag": 2},
        "b'b'",
        "2024-01-01T00:00:00.000000001",
        "3 days",
    ]
    assert decoded([grid, numpy.array(7), numpy.array([]), numpy.array(["a", 3j], object)]) == [
        [[0, 1, 2], [3, 4, 5]],
        7,
        [],
        ["a", {"real": 0, "imag": 3}],
    ]
    assert decoded(numpy.array([1, float("inf")])) == [1, None]
    assert decoded(numpy.zeros(10_000)) == [0] * 10_000
    assert decoded(large) == {"array_start": list(range(10_000)), "original_shape": [73, 137]}
    assert json.loads(encode({numpy.int64(3): 1})) == {"3": 1}


def test_pydantic():
    """Models are objects of their fields, with values of Python that are converted in turn."""
    pydantic = pytest.importorskip("pydantic", reason="Pydantic is not installed")

    class Item(pydantic.BaseModel):
        name: str
        tags: set[str]

    class Order(pydantic.BaseModel):
        at: dt.datetime
        items: list[Item]

        @pydantic.field_serializer("at")
        def _fail(self, at):
            if at.year == 1999:
                raise ValueError("no")
            return at

    order = Order(at=MOMENT, items=[Item(name="a", tags={"x"})])
    failing = Order(at=MOMENT.replace(year=1999), items=[])

    assert decoded(order) == {
        "at": "2024-01-01T12:00:00.000005",
        "items": [{"name": "a", "tags": ["x"]}],
    }
    assert decoded(failing) == repr(failing)
    assert decoded(Order) == repr(Order)


def test_pandas():
    """Series are arrays, frames arrays of records."""
    pandas = pytest.importorskip("pandas", reason="Pandas is not installed")
    stamp = pandas.Timestamp("2024-01-01T00:00:00.000000001", tz="UTC")

    assert decoded(
        [
            stamp,
            pandas.Series([1, 2]),
            pandas.DataFrame({"a": [1, 2], "b": ["x", None]}),
            pandas.Interval(0, 5, closed="left"),
            pandas.Period("2024-01", freq="M"),
        ]
    ) == [
        "2024-01-01T00:00:00.000000001+00:00",
        [1, 2],
        [{"a": 1, "b": "x"}, {"a": 2, "b": None}],
        {"left": 0, "right": 5, "closed": "left"},
        "2024-01",
    ]


def test_polars():
    """Series are arrays, frames arrays of records."""
    polars = pytest.importorskip("polars", reason="Polars is not installed")

    assert decoded([polars.Series([1, None]), polars.DataFrame({"a": [1], "b": [MOMENT]})]) == [
        [1, None],
        [{"a": 1, "b": "2024-01-01T12:00:00.000005"}],
    ]

"""Text in messages: formatting as str.format does, bounds, escapes."""

from __future__ import annotations

import datetime as dt
import random
import unicodedata
from collections import Counter, OrderedDict, defaultdict, deque
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePosixPath
from types import SimpleNamespace
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprockets.logbook import _text
from sprockets.logbook._text import (
    MAX_MESSAGE,
    cut,
    escape_block,
    escape_line,
    format_message,
    safe_repr,
    safe_str,
)

DISK = SimpleNamespace(name="sda", parts=["sda1", "sda2"], sizes={"sda1": 12, "0": "zero"})
MOMENT = dt.datetime(2024, 2, 29, 12, 30, tzinfo=dt.UTC)


class Point(NamedTuple):
    """Something with attributes, indexes and a repr of its own."""

    x: int
    y: int


class Padded:
    """Something that writes itself in its own way."""

    def __format__(self, spec: str) -> str:
        return f"<{spec}>"

    def __str__(self) -> str:
        return "padded"


class Broken:
    """Something without a text."""

    def __repr__(self) -> str:
        raise ZeroDivisionError("no text")

    __str__ = __repr__


# --- the same as str.format ---------------------------------------------------------------------

WORKING = [
    ("{}", (1,), {}),
    ("{} and {}", ("one", 2.5), {}),
    ("{0} {0} {1}", ("a", "b"), {}),
    ("{1} {0}", ("a", "b"), {}),
    ("100 % of {} and {!r}", ("%s", "it's"), {}),
    ("{name} {0}", (1,), {"name": "x"}),
    ("{0.name} {0.parts}", (DISK,), {}),
    ("{0.parts[1]} {0.sizes[sda1]}", (DISK,), {"unused": 1}),
    ("{disk.name} {disk.parts[0]}", (), {"disk": DISK}),
    ("{a[b]} {a[c d]} {a[0]}", (), {"a": {"b": 1, "c d": 2, 0: 3}}),
    ("{a[_id]}", (), {"a": {"_id": 7}}),
    ("{0[0]} {0[1]} {0.x}", (Point(1, 2),), {}),
    ("{.x} {.y}", (Point(1, 2), Point(3, 4)), {}),
    ("{[0]} {[k]}", ([5], {"k": 6}), {}),
    ("{0!r:>10}|{0!s:<10}|{1!a:^12}", ("x", "ü"), {}),
    ("{:>{width}}|{:{}.{}f}", ("x", 2.5, 8, 3), {"width": 9}),
    ("{0:{1}}", ("x", ">5"), {}),
    ("{:%Y-%m-%d %H:%M}", (MOMENT,), {}),
    ("{0:%Y}-{0.month:02d}", (MOMENT,), {}),
    ("{{}} {{{}}} }}{{", ("x",), {}),
    ("{:,} {:+d} {:#x} {:08b} {:e} {:.1%}", (1234567, 5, 255, 5, 0.5, 0.125), {}),
    ("{:x} {:o} {:c}", (255, 8, 65), {}),
    ("{} {} {}", (None, True, 1j), {}),
    ("{} {!r}", (b"bytes", bytearray(b"b")), {}),
    ("{} {} {}", ([1, "a"], {"k": (1,)}, {3}), {}),
    ("{} {}", (frozenset(), set()), {}),
    ("{} {!r} {!s} {:spec}", (Padded(), SimpleNamespace(a=1), Padded(), Padded()), {}),
    ("{} {:.3f}", (Decimal("1e-5"), Decimal("2.5")), {}),
    ("{} {}", (Fraction(1, 3), PurePosixPath("/etc")), {}),
    ("{} {}", (MOMENT, dt.timedelta(days=1)), {}),
    ("{} {} {}", (Counter("aab"), deque([1]), OrderedDict(a=1)), {}),
    ("{}", (defaultdict(list, a=[1]),), {}),
    ("{:>1000}", ("x",), {}),
    ("{:.5}", ("precision",), {}),
    ("no field", ("unused",), {}),
    ("", ("unused",), {}),
    ("{ 0}", (), {" 0": "spaced"}),
    ("{0}", (10**4000,), {}),
]


@pytest.mark.parametrize(("template", "args", "kwargs"), WORKING)
def test_what_str_format_writes_is_written(template, args, kwargs):
    """Every harmless feature of format strings gives the text that str.format gives."""
    expected = template.format(*args, **kwargs)

    first, cached = (format_message(template, args, kwargs) for _ in range(2))

    assert first == cached == expected


FAILING = [
    ("{", (1,), {}),
    ("}", (1,), {}),
    ("{0", (1,), {}),
    ("{} {}", (1,), {}),
    ("{2}", (1, 2), {}),
    ("{name}", (1,), {"other": 1}),
    ("{name}", (), {}),
    ("{} {0}", (1, 2), {}),
    ("{0} {}", (1, 2), {}),
    ("{0.missing}", (DISK,), {}),
    ("{0[9]}", ([1],), {}),
    ("{0[k]}", ([1],), {}),
    ("{0[k]}", ({},), {}),
    ("{!x}", (1,), {}),
    ("{!}", (1,), {}),
    ("{!r:>{}:{}}", (1, 2, 3), {}),
    ("{:{:{}}}", (1, 2, 3), {}),
    ("{:d}", ("x",), {}),
    ("{:>5}", ([1],), {}),
    ("{:5}", ({},), {}),
    ("{:5}", (None,), {}),
    ("{.}", (1,), {}),
    ("{[]}", ([1],), {}),
    ("{[0}", ([1],), {}),
    ("{0]}", ([1],), {}),
    ("{99999999999999999999999}", (1,), {}),
    ("{:c}", (-1,), {}),
    ("{}", (10**5000,), {}),
    ("{0.{1}}", (DISK, "name"), {}),
]


@pytest.mark.parametrize(("template", "args", "kwargs"), FAILING)
def test_what_str_format_refuses_is_refused_alike(template, args, kwargs):
    """An error of the template or its arguments is the class of error that str.format raises."""
    with pytest.raises(Exception) as theirs:  # any class, as long as it is the same
        template.format(*args, **kwargs)

    with pytest.raises(theirs.type):
        format_message(template, args, kwargs)


pieces = st.sampled_from(
    [
        *("{}", "{0}", "{1}", "{name}", "{!r}", "{0!s}", "{1!a}", "{name!r:>8}", "{:>8}"),
        *("{:5}", "{0:.2f}", "{:d}", "{:x}", "{:{}}", "{:{name}}", "{0:>{1}}", "{{", "}}"),
        *(
            "{0.name}",
            "{name.name}",
            "{.real}",
            "{[a]}",
            "{name[a]}",
            "{0[0]}",
            "{",
            "}",
            "%",
            "%s",
        ),
        *("{:%H:%M}", "{:,}", "{:s}", "{2}", "{other}", "\n", "ü", "\ud800", " "),
    ]
)
# No text or bytes where an index may meet them: we refuse what str.format takes apart.
values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.decimals(),
    st.datetimes(),
    st.lists(st.integers() | st.text(max_size=5), max_size=3),
    st.dictionaries(st.sampled_from(["a", "b"]), st.floats(), max_size=2),
    st.tuples(st.binary(max_size=3), st.sets(st.integers(), max_size=1)),
    st.sampled_from([DISK, Point(1, 2), Padded(), Fraction(1, 3), PurePosixPath("/etc")]),
)


@given(
    parts=st.lists(pieces | st.text(max_size=3), max_size=6),
    args=st.lists(values, max_size=4).map(tuple),
    kwargs=st.dictionaries(st.sampled_from(["name", "other"]), values),
)
def test_templates_of_all_kinds_come_out_as_from_str_format(parts, args, kwargs):
    """A template either gives the text str.format gives, or both refuse it."""
    template = "".join(parts)
    try:
        expected = template.format(*args, **kwargs)
    except Exception:  # whatever it is, we raise something too
        with pytest.raises(Exception):  # noqa: B017  # their order of looking differs from ours
            format_message(template, args, kwargs)
    else:
        try:
            ours = format_message(template, args, kwargs)
        except ValueError as refusal:
            assert "refused" in str(refusal)  # noqa: PT017  # a width made of an argument
        else:
            assert ours == expected


@given(
    literals=st.lists(st.text().map(lambda text: text.replace("{", "").replace("}", ""))),
    values=st.lists(st.text() | st.integers() | st.floats() | st.none() | values),
)
def test_plain_templates_come_out_as_from_str_format(literals, values):
    """Any text around any number of {} is kept, percent signs included."""
    template = "{}".join(literals)
    args = tuple((values * 50)[: max(len(literals) - 1, 0)]) if values else ()
    if len(args) < len(literals) - 1:
        args = ("x",) * (len(literals) - 1)

    assert format_message(template, args, {}) == template.format(*args)


def test_bytes_are_shown_as_bytes_without_a_warning():
    """Bytes in a message are shown by their repr."""
    assert format_message("{} {}", (b"\xff", 1), {}) == "b'\\xff' 1"


def test_a_str_subclass_is_a_template_like_any_other():
    """A template may be a subclass of str; its own methods are not asked."""

    class Markup(str):
        __slots__ = ()

        def format(self, *args, **kwargs):
            raise AssertionError

    for template in ("{0} {0.real}", "{0:>2}", "{}{}"):
        expected = template.format(1, 2)
        assert format_message(Markup(template), (1, 2), {}) == expected


def test_the_templates_remembered_are_bounded():
    """However many templates there are, only so many are kept, and no long ones."""
    for number in range(3_000):
        format_message(f"{number} {{}}", (1,), {})
    format_message("x" * 2_000 + "{}", (1,), {})

    assert len(_text._forms) <= 1_024
    assert len(_text._percents) <= len(_text._forms)
    assert max(map(len, _text._forms)) <= 1_024


def test_ten_thousand_random_messages_raise_nothing_but_exceptions():
    """Any template with any arguments gives at most 64 kB of text or an ordinary exception."""
    chance = random.Random(20_240_229)  # not for secrets
    alphabet = "{{{{}}}}}}0123456789.[]!:rsa_<>^dfx%naeY \n\x00ü\u2028\ud800\U0001f600"
    arguments = ["text", "{0}", "\udfff", 5, -1.5, None, [1], {"a": 1}, DISK, Padded(), Broken()]
    written = 0

    for _ in range(10_000):
        template = "".join(chance.choices(alphabet, k=chance.randrange(24)))
        args = tuple(chance.choices(arguments, k=chance.randrange(4)))
        kwargs = dict(zip("nae", chance.choices(arguments, k=chance.randrange(3)), strict=False))
        try:
            message = format_message(template, args, kwargs)
        except Exception:  # what may happen; anything else fails the test
            continue
        assert len(message) <= MAX_MESSAGE
        written += 1

    assert written > 100


# --- bounds -------------------------------------------------------------------------------------


def test_a_long_message_is_cut_and_says_so():
    """A message over the limit ends in a mark that says how much is missing."""
    message = format_message("{} {}", ("a" * 50_000, "b" * 50_000), {})

    kept, mark = message.split(" … ")
    missing = int(mark.removeprefix("[").removesuffix(" characters cut]"))
    assert len(message) <= MAX_MESSAGE
    assert len(kept) + missing == 100_001


@given(text=st.text(min_size=1).map(lambda text: text * 50), limit=st.integers(40, 200))
def test_a_cut_text_counts_what_it_lacks(text, limit):
    """What a cut text shows and what it says is missing make up the whole."""
    shortened = cut(text, limit)

    if len(text) <= limit:
        assert shortened == text
    else:
        kept, _, mark = shortened.rpartition(" … [")
        assert len(shortened) <= limit
        assert text.startswith(kept)
        assert len(kept) + int(mark.split()[0]) == len(text)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (dict.fromkeys(range(5_000), 1), "{0: 1, 1: 1, "),
        (list(range(5_000)), "[0, 1, 2, "),
        (tuple(range(5_000)), "(0, 1, 2, "),
        (set(range(5_000)), "{0, 1, 2, "),
        (frozenset(range(5_000)), "frozenset({0, 1, 2, "),
        (deque(range(5_000)), "deque([0, 1, 2, "),
        (dict.fromkeys(range(5_000)).keys(), "dict_keys([0, 1, 2, "),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_large_container_is_shown_in_part(value, shown):
    """Of a container with more than a thousand items, the first are shown and the rest counted."""
    message = format_message("{}", (value,), {})

    assert message.startswith(shown)
    assert "… 4000 more" in message
    assert len(message) < 20_000


def test_a_large_container_inside_another_is_shown_in_part():
    """It does not help to hide a large container in a small one."""
    message = format_message("{!r}", ({"inner": [list(range(5_000))]},), {})

    assert message.startswith("{'inner': [[0, 1, 2, ")
    assert message.endswith("… 4002 more]]}")


def test_a_subclass_that_is_written_like_its_base_is_bounded_like_it():
    """A subclass of dict is large just as a dict is."""

    class Config(dict):
        def items(self):
            raise AssertionError

    message = format_message("{}", (Config.fromkeys(range(5_000)),), {})

    assert "… 4000 more}" in message


def test_lists_that_multiply_are_written_in_bounds():
    """Thirty lists, each twice in the next, would make a gigabyte."""
    laughs: list[object] = ["ha"]
    for _ in range(30):
        laughs = [laughs, laughs]

    assert len(format_message("{}", (laughs,), {})) < 20_000


def test_a_container_within_itself_is_shown_as_python_shows_it():
    """A cycle ends where it begins."""
    ring: list[object] = [1]
    ring.append({"ring": ring})

    assert format_message("{}", (ring,), {}) == str(ring)


def test_a_deep_container_is_shown_eight_deep():
    """Nesting beyond the eighth level is left out, where repr would exhaust the stack."""
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]

    assert format_message("{}", (deep,), {}) == "[" * 8 + "[…]" + "]" * 8
    while deep:  # Taken apart by hand: the interpreter's own way recurses.
        deep = deep.pop()  # type: ignore[assignment]


def test_text_inside_a_container_is_cut():
    """A long text does not become short by standing in a list."""
    message = format_message("{}", (["x" * 100_000, 1],), {})

    assert message.startswith("['xxx")
    assert message.endswith("characters cut], 1]")
    assert len(message) < 1_100


# --- reprs that never fail ----------------------------------------------------------------------


@given(values | st.text() | st.binary())
def test_the_safe_repr_of_the_usual_is_its_repr(value):
    """For what is small and well behaved, safe_repr is repr and safe_str is str."""
    assert safe_repr(value) == repr(value)
    if not isinstance(value, bytes):
        assert safe_str(value) == str(value)


@pytest.mark.parametrize("limit", [40, 100, 1_000])
@pytest.mark.parametrize(
    "value",
    [
        *("x" * 5_000, b"x" * 5_000, list(range(5_000)), {"k": "v" * 5_000}, ["x" * 400] * 400),
        *([Broken()] * 900, 10**3_000, 10**5_000, SimpleNamespace(a="x" * 5_000)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_safe_texts_stay_within_their_limit(value, limit):
    """Whatever the object, its text has at most the characters asked for."""
    assert len(safe_repr(value, limit)) <= limit
    assert len(safe_str(value, limit)) <= limit


def test_an_object_without_a_text_is_named():
    """An object whose repr raises is described by its class and the error."""
    text = safe_repr(Broken())

    assert text.startswith("<Broken object at 0x")
    assert text.endswith("its text raised ZeroDivisionError>")
    assert safe_str(Broken()).startswith("<Broken object at 0x")


def test_one_broken_item_does_not_hide_the_others():
    """In a container only the item without a text is replaced."""
    text = safe_repr({"good": 1, "bad": Broken(), "also good": 2})

    assert text.startswith("{'good': 1, 'bad': <Broken object at ")
    assert text.endswith(", 'also good': 2}")


def test_an_int_too_long_to_write_is_described():
    """An int with more digits than Python writes is described by its size."""
    assert safe_repr(1 << 20_000) == "<int of 20001 bits>"


def test_the_class_of_a_broken_object_may_be_broken_too():
    """A metaclass that raises wherever it can does not make safe_repr raise."""

    class Evil(type):
        def __getattribute__(cls, name):
            raise ZeroDivisionError(name)

        def __hash__(cls):
            raise ZeroDivisionError

        def __eq__(cls, other):
            raise ZeroDivisionError

    class Bad(metaclass=Evil):
        def __repr__(self):
            raise ValueError

    assert isinstance(safe_repr(Bad()), str)
    assert isinstance(safe_str(Bad()), str)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_the_wish_to_stop_passes(error):
    """KeyboardInterrupt and SystemExit are nobody's to swallow."""

    class Stopping:
        def __repr__(self):
            raise error

    with pytest.raises(error):
        safe_repr(Stopping())
    with pytest.raises(error):
        safe_str(Stopping())
    with pytest.raises(error):
        format_message("{}", (Stopping(),), {})


def _room() -> int:
    """Return how many more calls fit on the stack."""
    try:
        return 1 + _room()
    except RecursionError:
        return 0


def test_a_stack_that_is_full_does_not_make_it_raise():
    """Where hardly a frame is left, a text without details is returned rather than an error."""

    def descend(left):
        return descend(left - 1) if left else (safe_repr(Broken()), safe_str(Broken()))

    room = _room()
    for left in range(4, 40):
        texts = descend(room - left)
        assert all(
            text == "<object without a repr>" or text.startswith("<Broken object at ")
            for text in texts
        )


# --- escapes ------------------------------------------------------------------------------------


def _is_unsafe(character: str) -> bool:
    return unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} or (
        unicodedata.bidirectional(character)
        in {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"}
    )


def test_every_character_is_escaped_or_kept_by_its_category():
    """Over all of Unicode: controls, separators, surrogates and writing directions are escaped."""
    for code in range(0x110000):
        character = chr(code)
        escaped = escape_line(character)
        assert (escaped != character) == _is_unsafe(character), hex(code)
        assert escaped.isascii() or escaped == character


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a\nb\tc\rd", r"a\nb\tc\rd"),
        ("\x00\x1b[31m\x7f\x85", r"\x00\x1b[31m\x7f\x85"),
        ("\u2028\u2029\u202e\u2066", r"\u2028\u2029\u202e\u2066"),
        ("\ud800", r"\ud800"),
        ("\\n stays, as do \xa0, é, 漢, 🙂, \ue000", "\\n stays, as do \xa0, é, 漢, 🙂, \ue000"),
    ],
)
def test_what_a_line_escapes(text, escaped):
    """Escapes are those of Python; a backslash is no escape by itself."""
    assert escape_line(text) == escaped


@given(st.text(st.characters() | st.sampled_from("\n\t\r\x1b\ud800"), min_size=1))
def test_an_escaped_line_is_one_line_that_can_be_encoded(text):
    """An escaped text never has a second line and always has an encoding."""
    escaped = escape_line(text)

    assert len(escaped.splitlines()) <= 1
    assert escaped.encode()
    assert escape_line(escaped) == escaped


@given(st.text(st.characters() | st.sampled_from("\n\t\r\x1b\ud800")))
def test_a_block_keeps_its_line_feeds_and_tabs(text):
    """An escaped block differs from an escaped line by its line feeds and tabs only."""
    block = escape_block(text)

    assert block.count("\n") == text.count("\n")
    assert block.replace("\n", r"\n").replace("\t", r"\t") == escape_line(text)

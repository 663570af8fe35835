"""Messages made by attackers: no private name is reached, no memory filled, no time wasted."""

from __future__ import annotations

import datetime as dt
import sys
import tracemalloc
from collections.abc import Iterator
from decimal import Decimal
from itertools import product
from types import MappingProxyType, SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprockets.logbook._text import MAX_MESSAGE, format_message

SECRET = API_KEY = "hunter2"  # it is what the attackers are after


class Watched:
    """An object that knows which private names it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.public = SimpleNamespace(name="inner")
        self.mapping = {"key": self.public, "__class__": "shadow"}
        self.items = [self.public]
        self._private = SECRET
        self.__mangled = SECRET

    def __getattribute__(self, name: str) -> object:
        if name.startswith("_"):
            object.__getattribute__(self, "asked").append(name)
        return object.__getattribute__(self, name)

    def __getitem__(self, key: object) -> object:
        return SECRET

    def method(self) -> None:
        """Something bound."""


def function(argument: str = SECRET) -> Iterator[str]:
    """Be a generator with a frame, globals and a default worth stealing."""
    yield argument


async def coroutine() -> None:
    """Be a coroutine with a frame."""


async def async_generator() -> object:
    """Be an asynchronous generator with a frame."""
    yield SECRET


PRIVATE = """
    __class__ __dict__ __init__ __globals__ __builtins__ __subclasses__ __mro__ __bases__ __base__
    __reduce__ __reduce_ex__ __getattribute__ __getattr__ __setattr__ __doc__ __module__
    __init_subclass__ __subclasshook__ __code__ __closure__ __defaults__ __kwdefaults__ __func__
    __self__ __wrapped__ __weakref__ __slots__ __annotations__ __import__ __loader__ __spec__
    __traceback__ __context__ __cause__ __name__ __qualname__ __call__ __format__ __str__ __ _
    _private _Watched__mangled _mangled __mangled
""".split()  # noqa: SIM905  # a list of names is easier to read so
INTERNAL = """
    f_globals f_locals f_builtins f_back f_code gi_frame gi_code gi_yieldfrom cr_frame cr_code
    cr_await ag_frame ag_code ag_await tb_frame tb_next func_globals func_code func_closure
    func_defaults im_func im_self im_class co_consts co_code co_names co_varnames mro
""".split()  # noqa: SIM905  # likewise
SHAPES = [
    *("{%(root)s.%(name)s}", "{%(root)s.%(name)s!r:>10}", "{%(root)s.public.%(name)s}"),
    *("{%(root)s.%(name)s.__globals__[API_KEY]}", "{%(root)s.mapping[key].%(name)s}"),
    *("{%(root)s.items[0].%(name)s}", "{%(root)s.method.%(name)s}", "{1:{%(root)s.%(name)s}}"),
]
REFUSED = [
    shape % {"root": root, "name": name}
    for shape, root, name in product(SHAPES, ("0", "who"), PRIVATE + INTERNAL)
]
HAND_MADE = [
    "{0.__init__.__globals__[API_KEY]}",
    "{0.__init__.__globals__[SECRET]!r:>50}",
    "{0.__class__.__init__.__globals__[sys].modules[os].environ}",
    "{0.__class__.__mro__[1].__subclasses__}",
    "{0.__class__.__base__.__subclasses__[0]}",
    "{0.method.__func__.__globals__}",
    "{0.method.__self__._private}",
    "{0.public.__class__.__name__}",
    "{who.mapping[key].__class__}",
    "{who.mapping[__class__]}",
    "{who.mapping[__class__].upper}",
    "{who.mapping[key].__dict__[name]}",
    "{0[__class__]}",
    "{0[0]}",
    "{0[secret]}",
    "{0.public[name]}",
    "{function.__globals__}",
    "{function.gi_frame}",
    "{generator.gi_frame.f_globals[SECRET]}",
    "{generator.gi_code}",
    "{generator.gi_running}",
    "{coroutine.cr_frame.f_locals}",
    "{coroutine.cr_origin}",
    "{async_generator.ag_frame}",
    "{frame.f_globals[SECRET]}",
    "{frame.f_back.f_locals}",
    "{frame.f_builtins[eval]}",
    "{frame.f_lineno}",
    "{frame.clear}",
    "{code.co_consts}",
    "{code.co_filename}",
    "{traceback.tb_frame.f_globals}",
    "{traceback.tb_lineno}",
    "{module.SECRET}",
    "{module.sys}",
    "{module.sys.modules}",
    "{module.SimpleNamespace}",
    "{type.mro}",
    "{type.__subclasses__}",
    "{error.__traceback__.tb_frame.f_globals}",
    "{error.__context__}",
    "{proxy[__init__]}",
    "{proxy[method].__globals__}",
    "{0:>300000000}",
    "{0!r:>300000000}",
    "{0!s:*^99999}",
    "{number:01001}",
    "{number:0000000000099999}",
    "{number:.999999999f}",
    "{number:300000000.2f}",
    "{number:,.1001f}",
    "{number:٣٠٠٠٠}",
    "{number:1\N{FULLWIDTH DIGIT ZERO}00000}",
    "{huge:b}",
    "{huge:x}",
    "{big_decimal:f}",
    "{small_decimal:.2f}",
    "{moment:%Y-%m-%d %9999999Y}",
    "{moment:%0300000000d}",
    "{0!r:{width}}",
    "{0!r:>{width}}",
    "{number:.{width}f}",
    "{number:{text}}",
    "{number:{text}.{text}}",
    "{0!r:{long_text}}",
    "{0.{name}}",
    "{0.{1}}",
    "{0[{1}]}",
    "{0.public.{name}}",
    "{{0.__class__}",
    "{0:{1:{2}}}",
    "{0:{1:{2:{3}}}}",
    "{0.}",
    "{0..__class__}",
    "{0.public..name}",
    "{0[}",
    "{0[]}",
    "{0!}",
    "{0!z}",
    "{0!rr}",
    "{",
    "}",
    "{0",
    "{0:{",
    "{0:{}",
    "{!r",
    "{" * 1_000,
    "{0:" * 1_000,
    "{0[" + "[" * 1_000,
    "{0" + "." * 1_000 + "}",
    "{0" + ".public" * 1_000 + "}",
    "{0" + "[0]" * 1_000 + "}",
    "{999999999999}",
    "{99999999999999999999999999}",
    "{-1}",
    "{0.__class__" + "}" * 5,
    "{0._private!a}",
    "{0.\N{LOW LINE}_class__}",
    "{evil}{evil!r}{evil!s}{evil:x}",
    "{recursive}",
    "{os.environ}",
    "{__builtins__}",
    "{self}",
    "{0.__format__.__self__}",
]
PAYLOADS = [*REFUSED, *HAND_MADE]


class EvilText(str):
    """A str that does everything wrong that a str can do."""

    __slots__ = ()

    def __format__(self, spec: str) -> str:
        raise ZeroDivisionError(spec)

    __str__ = __repr__ = lambda self: self  # type: ignore[assignment]  # a str, but not an exact one


class Recursive:
    """An object that logs itself while it is written."""

    def __str__(self) -> str:
        return format_message("<{}>", (self,), {})


@pytest.fixture(name="arguments")
def _arguments() -> Iterator[dict[str, object]]:
    try:
        raise ValueError(SECRET[:2])
    except ValueError as caught:
        error = caught
    running = coroutine()
    yield {
        "who": Watched(),
        "function": function,
        "generator": function(),
        "coroutine": running,
        "async_generator": async_generator(),
        "frame": sys._getframe(),
        "code": function.__code__,
        "traceback": error.__traceback__,
        "module": sys.modules[__name__],
        "type": Watched,
        "error": error,
        "proxy": MappingProxyType(vars(Watched)),
        "number": 1.5,
        "huge": 1 << 10_000_000,
        "big_decimal": Decimal("1e300000000"),
        "small_decimal": Decimal("1e-300000000"),
        "moment": dt.datetime(2024, 2, 29, tzinfo=dt.UTC),
        "width": 300_000_000,
        "text": ">300000000",
        "long_text": "x" * 10_000_000,
        "name": "__class__",
        "evil": EvilText("evil"),
        "recursive": Recursive(),
    }
    running.close()


def test_there_are_five_hundred_payloads():
    """The list is as long as promised, without doubles."""
    assert len(set(PAYLOADS)) >= 500


def test_no_payload_reaches_a_private_name_or_fills_the_memory(arguments):
    """Each payload gives at most 64 kB without a secret, or an ordinary exception."""
    who = Watched()
    arguments["who"] = who

    for payload in PAYLOADS:
        try:
            message = format_message(payload, (who, 1.5, "<", 3), arguments)
        except Exception as error:  # whatever it is, its text tells nothing
            message = str(error)
        assert SECRET not in message, payload
        assert len(message) <= MAX_MESSAGE, payload[:100]

    assert who.asked == []


@pytest.mark.parametrize("root", ["0", "who"])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_private_and_internal_name_is_refused_by_name(arguments, shape, root):
    """The refusal is a ValueError that says which name it is about."""
    for name in PRIVATE + INTERNAL:
        payload = shape % {"root": root, "name": name}
        with pytest.raises(ValueError, match=rf"^refused .*{name}"):
            format_message(payload, (arguments["who"], 1.5), arguments)


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (
            "{0.__class__}",
            "refused private attribute '__class__' in field '0.__class__';"
            " log the value itself as an argument",
        ),
        (
            "{frame.f_globals}",
            "refused internal attribute 'f_globals' in field 'frame.f_globals';"
            " log the value itself as an argument",
        ),
        ("{frame.f_lineno}", "refused attribute 'f_lineno' of a frame"),
        ("{module.SECRET}", "refused attribute 'SECRET' of a module"),
        (
            "{who[k]}",
            "refused index 'k' into a Watched;"
            " a message indexes into mappings, lists and tuples only",
        ),
        (
            "{0:>300000000}",
            "refused number 300000000 in format specification '>300000000';"
            " widths and precisions go up to 1000",
        ),
        (
            "{0:{long_text}}",
            "refused format specification of 65535 characters, at most 1000 are used",
        ),
        ("{huge:x}", "refused to write an int of 10000001 bits"),
        ("{big_decimal:f}", "refused to write a Decimal of the exponent 300000000"),
    ],
)
def test_a_refusal_says_what_and_why(arguments, payload, text):
    """Whoever finds the refusal in the log can mend the message."""
    with pytest.raises(ValueError, match=r"^refused") as caught:
        format_message(payload, ("x",), arguments)

    assert str(caught.value) == text


def test_braces_of_a_user_are_harmless_as_an_argument():
    """A value is never a template, whatever it contains."""
    assert format_message("{}", ("{0.__class__}",), {}) == "{0.__class__}"


def test_a_number_may_be_a_thousand_and_no_more():
    """The limit itself is allowed."""
    assert len(format_message("{:>1000}", ("x",), {})) == 1_000
    assert len(format_message("{:.1000f}", (1.5,), {})) == 1_002
    with pytest.raises(ValueError, match="refused number 1001"):
        format_message("{:>1001}", ("x",), {})


# The values are made by the test: all at once they take more memory than all other tests.
REPEATED = [
    ("{0}" * 300, lambda: "x" * 10_000_000),
    ("{0}" * 300_000, lambda: "x" * 10_000_000),
    ("{0!r}" * 300, lambda: "x" * 10_000_000),
    ("{0!a}" * 300, lambda: "ü" * 10_000_000),
    ("{0!s}" * 300, lambda: b"\xff" * 10_000_000),
    ("{0:>1000}" * 100_000, lambda: "x"),
    ("{0:>{1}}" * 100_000, lambda: "x"),
    ("{0:.1000f}" * 100_000, lambda: 1.5),
    ("{0}" * 12, lambda: ["x" * 4_000_000] * 10),
    ("{0}{0.args}" * 300, lambda: ValueError("x" * 10_000_000)),
    ("x" * 1_000_000 + "{0}", lambda: "x" * 10_000_000),
]


@pytest.mark.parametrize(("template", "make"), REPEATED, ids=range(len(REPEATED)))
def test_a_message_is_bounded_while_it_is_built(template, make):
    """No template and argument make more than a few times the 64 kB, not even for a moment."""
    value = make()
    tracemalloc.start()
    try:
        message = format_message(template, (value, 999), {})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(message) <= MAX_MESSAGE
    assert "characters cut]" in message
    assert peak < 24 * MAX_MESSAGE, peak


class Verbose:
    """An object that is its own attack."""

    def __format__(self, spec: str) -> str:
        return "x" * 10_000_000

    __str__ = __repr__ = lambda self: "x" * 10_000_000  # type: ignore[assignment]  # as short as can be


@pytest.mark.parametrize(
    "template", ["{}", "{!r}", "{!s:>9}", "{!a}", "{:x}", "{0}" * 300, "{} {0}"]
)
def test_an_object_with_too_much_to_say_is_cut(template):
    """What an object says of itself counts like any text."""
    try:
        message = format_message(template, (Verbose(),), {})
    except ValueError as error:
        message = str(error)

    assert len(message) <= MAX_MESSAGE


def test_an_object_that_logs_itself_ends_in_an_exception():
    """Endless recursion in a text is the RecursionError it always was."""
    with pytest.raises(RecursionError):
        format_message("{}", (Recursive(),), {})


def test_a_template_of_megabytes_is_not_even_read():
    """A template over a million characters is refused; text of that size belongs in an argument."""
    with pytest.raises(ValueError, match="template of 3000000 characters, at most 1048576"):
        format_message("{0}" * 1_000_000, (1,), {})


@pytest.mark.parametrize(
    ("template", "make"),
    [
        ("{}", lambda: "x" * 100_000_000),
        ("{!r:>5}", lambda: "x" * 100_000_000),
        ("{}", lambda: b"x" * 100_000_000),
        ("{:>5}", lambda: "x" * 100_000_000),
        ("{}", lambda: dict.fromkeys(range(1_000_000), "value")),
        ("{!s}", lambda: list(range(1_000_000))),
        ("{}", lambda: [dict.fromkeys(range(1_000_000), "value")]),
    ],
    ids=["text", "repr", "bytes", "padded", "dict", "list", "inner dict"],
)
def test_large_arguments_are_never_copied(template, make):
    """A hundred megabytes or a million keys: what is made of them is bounded all the way."""
    value = make()
    tracemalloc.start()
    try:
        message = format_message(template, (value,), {})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(message) <= MAX_MESSAGE
    assert peak < 24 * MAX_MESSAGE, peak


fields = st.builds(
    "{{{}{}{}{}}}".format,
    st.sampled_from(["", "0", "who", "1"]),
    st.lists(
        st.sampled_from(
            [
                *(f".{name}" for name in [*PRIVATE, *INTERNAL]),
                *(".public", ".mapping", "[key]", ".items", "[0]", ".method", "[__class__]"),
            ]
        ),
        max_size=4,
    ).map("".join),
    st.sampled_from(["", "!r", "!s", "!a"]),
    st.sampled_from(["", ":>10", ":{1}", ":9999", ":{who._private}", ":{0.public.__class__}"]),
)


@given(payload=st.lists(fields | st.text(max_size=3), max_size=4).map("".join))
def test_no_generated_payload_reaches_a_private_name(payload):
    """However the pieces of an attack are put together, nothing private is asked for."""
    who = Watched()
    try:
        message = format_message(payload, (who, ">5"), {"who": who})
    except Exception as error:  # whatever it is, its text tells nothing
        message = str(error)

    assert who.asked == []
    assert SECRET not in message
    assert len(message) <= MAX_MESSAGE

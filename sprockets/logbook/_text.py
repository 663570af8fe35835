"""Text: what users and attackers put into messages is data, never code, and of bounded size.

`format_message` is ``str.format`` without its dangers.  It runs once for each record that somebody
reads, so a template is looked at once: the simple ones become a ``%`` template or are handed to
``str.format`` as they are, the others are compiled into parts that are built one after the other
and stop at `MAX_MESSAGE`.
"""

from __future__ import annotations

import datetime as dt

# The parser of str.format, as string.Formatter uses it.
from _string import (  # type: ignore[import-not-found]  # not in typeshed
    formatter_field_name_split,
    formatter_parser,
)
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from itertools import islice
from types import (
    AsyncGeneratorType,
    BuiltinFunctionType,
    CodeType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    MappingProxyType,
    MethodType,
    ModuleType,
    TracebackType,
)

from sprockets.logbook._typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import re

MAX_MESSAGE = 65_536
"""Characters a formatted message has at most."""

MAX_NUMBER = 1_000
"""The largest number a format specification may contain: a width or a precision."""

MAX_TEMPLATE = 1_048_576
"""Characters a template may have; a longer one is refused unread."""

MAX_ITEMS = 1_000
"""Items of containers that are written out; the others are only counted."""

_CACHED_TEMPLATES = 1_024
_CACHED_LENGTH = 1_024
_PLAIN_FIELDS = 12
_PLAIN_TEXT = 4_096
_DEEP = 50
_SHOWN_DEPTH = 8
_ATOM = 1_000
_WITHOUT_REPR = "<object without a repr>"

# Their text is short whatever the value (an int's: sys.get_int_max_str_digits).
_SMALL: frozenset[type] = frozenset(
    {
        bool,
        complex,
        dt.date,
        dt.datetime,
        dt.time,
        dt.timedelta,
        float,
        int,
        type(None),
    }
)

_CUTTABLE: frozenset[type] = frozenset({bytearray, bytes, str})

# Objects whose public attributes lead to code, globals and local variables.
_OPAQUE: tuple[type, ...] = (
    AsyncGeneratorType,
    BuiltinFunctionType,
    CodeType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    MethodType,
    ModuleType,
    TracebackType,
)

# The same by name, for objects that pass such attributes on (compiled code, proxies, wrappers).
# fmt: off
_INTERNALS = frozenset({
    "ag_await", "ag_code", "ag_frame",
    "co_code", "co_consts", "co_names", "co_varnames",
    "cr_await", "cr_code", "cr_frame", "cr_origin",
    "f_back", "f_builtins", "f_code", "f_globals", "f_locals", "f_trace",
    "func_closure", "func_code", "func_defaults", "func_dict", "func_globals",
    "gi_code", "gi_frame", "gi_yieldfrom",
    "im_class", "im_func", "im_self",
    "mro",
    "tb_frame", "tb_next",
})
# fmt: on


# --- escaping -------------------------------------------------------------------------------------

_CONTROLS = "\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff"


# Compiled by the first who needs them: most programs never do, and importing should be quick.
@cache
def _unsafe_in_line() -> re.Pattern[str]:
    import re

    return re.compile(f"[{_CONTROLS}\t\n]")


@cache
def _unsafe_in_block() -> re.Pattern[str]:
    import re

    return re.compile(f"[{_CONTROLS}]")


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape", "surrogatepass").decode("ascii")


def escape_line(text: str) -> str:
    r"""Return *text* with everything that could end or disguise a line as a backslash escape.

    That is the control characters (C0, DEL, C1), the separators U+2028 and U+2029, lone surrogates
    and the controls of writing direction.  A backslash stays as it is: this is for readers, not for
    reading back.

    >>> escape_line("one\ntwo\x1b[31m")
    'one\\ntwo\\x1b[31m'
    """
    if text.isprintable():
        return text
    return _unsafe_in_line().sub(_escape, text)


def escape_block(text: str) -> str:
    r"""Return *text* escaped as by `escape_line`, but with its line feeds and tabs.

    >>> escape_block("one\n\ttwo\r")
    'one\n\ttwo\\r'
    """
    if text.isprintable():
        return text
    return _unsafe_in_block().sub(_escape, text)


# --- bounds ---------------------------------------------------------------------------------------


def cut(text: str, limit: int = MAX_MESSAGE, *, missing: int = 0) -> str:
    """Return *text*, or as much of it as fits into *limit* characters together with a mark.

    Args:
        text: What may be too long.
        limit: Characters the result has at most.
        missing: Characters that were left out behind *text* already; they are counted too.

    >>> cut("x" * 100, limit=40)
    'xxxxxxxxxxxxxxxxx … [83 characters cut]'
    """
    if len(text) <= limit:
        return text
    return _marked(text, len(text) + missing, limit)


def _marked(text: str, total: int, limit: int, *, more: str = "") -> str:
    # The mark with the largest count that can occur decides how much text stays.
    room = len(f" … [{more}{total} characters cut]")
    kept = max(limit - room, 0)
    return f"{text[:kept]} … [{more}{total - kept} characters cut]"[:limit]


class _Shape:
    """How a builtin container is walked and written, whatever a subclass makes of iterating it."""

    __slots__ = ("closing", "iterate", "of_pairs", "opening")

    def __init__(
        self,
        opening: str,
        closing: str,
        iterate: Callable[..., Iterable[object]],
        of_pairs: bool = False,
    ) -> None:
        self.opening = opening
        self.closing = closing
        self.iterate = iterate
        self.of_pairs = of_pairs


_SHAPES: dict[type, _Shape] = {
    dict: _Shape("{", "}", dict.items, of_pairs=True),
    list: _Shape("[", "]", list.__iter__),
    tuple: _Shape("(", ")", tuple.__iter__),
    set: _Shape("{", "}", set.__iter__),
    frozenset: _Shape("frozenset({", "})", frozenset.__iter__),
    Counter: _Shape("Counter({", "})", dict.items, of_pairs=True),
    OrderedDict: _Shape("OrderedDict({", "})", dict.items, of_pairs=True),
    defaultdict: _Shape("defaultdict({", "})", dict.items, of_pairs=True),
    deque: _Shape("deque([", "])", deque.__iter__),
    MappingProxyType: _Shape("mappingproxy({", "})", MappingProxyType.items, of_pairs=True),
    type({}.keys()): _Shape("dict_keys([", "])", iter),
    type({}.values()): _Shape("dict_values([", "])", iter),
    type({}.items()): _Shape("dict_items([", "])", iter),
}
_BASES: tuple[type, ...] = (dict, list, tuple, set, frozenset)


def _shape_of(kind: type) -> _Shape | None:
    """Return the shape of the containers whose text Python itself writes, item by item."""
    shape = _SHAPES.get(kind)
    if shape is None and issubclass(kind, _BASES):
        for base in _BASES:
            if (
                kind.__repr__ is base.__repr__  # type: ignore[comparison-overlap]  # slots compare
                and kind.__str__ is object.__str__
                and kind.__format__ is object.__format__
            ):
                return _SHAPES[base]
    return shape


def _fits(value: object, shape: _Shape) -> bool:
    """Return whether the repr of a container is cheap: few items, little text, not deep.

    Shared items count each time they would be written, so ten lists that contain each other
    twice do not pass for twenty items.
    """
    items = characters = 0
    level = [(value, shape)]
    for _ in range(_DEEP):
        below: list[tuple[object, _Shape]] = []
        for container, how in level:
            # list() runs in C: another thread cannot change the container under it.
            entries = list(islice(how.iterate(container), MAX_ITEMS + 1 - items))
            items += len(entries)
            if items > MAX_ITEMS:
                return False
            if how.of_pairs:
                entries = [part for pair in entries for part in pair]  # type: ignore[attr-defined]
                # pairs
            if _SMALL.issuperset(map(type, entries)):
                continue
            for entry in entries:
                kind = type(entry)
                if kind in _CUTTABLE:
                    characters += len(entry)  # type: ignore[arg-type]  # a str or bytes
                elif kind not in _SMALL and (inner := _shape_of(kind)) is not None:
                    below.append((entry, inner))
        if characters > MAX_MESSAGE:
            return False
        if not below:
            return True
        level = below
    return False


class _Outline:
    """Writes as much of a large container as may be read, and says how much is missing."""

    def __init__(self, limit: int, write_atom: Callable[[object], str]) -> None:
        self.parts: list[str] = []
        self.items = MAX_ITEMS
        self.characters = limit
        self.path: list[int] = []
        self.write_atom = write_atom

    def put(self, text: str) -> None:
        self.parts.append(text)
        self.characters -= len(text)

    def write(self, value: object) -> None:
        shape = _shape_of(type(value))
        if shape is None:
            self.put(cut(self.write_atom(value), max(self.characters, 100)))
        elif id(value) in self.path:
            self.put(f"{shape.opening}...{shape.closing}")
        elif len(self.path) == _SHOWN_DEPTH:
            self.put(f"{shape.opening}…{shape.closing}")
        else:
            self.path.append(id(value))
            self.write_container(value, shape)
            self.path.pop()

    def write_container(self, value: object, shape: _Shape) -> None:
        entries = list(islice(shape.iterate(value), self.items + 1))
        missing = len(value)  # type: ignore[arg-type]  # every shape has a length
        self.put(shape.opening)
        for index, entry in enumerate(entries):
            if index:
                self.put(", ")
            if self.items <= 0 or self.characters <= 0:
                self.put(f"… {missing - index} more")
                break
            self.items -= 1
            if shape.of_pairs:
                pair: tuple[object, object] = entry  # type: ignore[assignment]  # as it says
                self.write(pair[0])
                self.put(": ")
                self.write(pair[1])
            else:
                self.write(entry)
        if len(entries) == 1 and shape.closing == ")":
            self.put(",")
        self.put(shape.closing)


def _repr(value: object, limit: int = MAX_MESSAGE) -> tuple[str, int]:
    """Return the repr of *value*, or a start of it longer than *limit*, and how much that lacks."""
    if type(value) in _CUTTABLE:
        excess = len(value) - limit  # type: ignore[arg-type]  # a str or bytes
        if excess > 0:
            return repr(value[:limit]), excess  # type: ignore[index]  # likewise
    elif (shape := _shape_of(type(value))) is not None and not _fits(value, shape):
        return _outlined(value, limit, _atom), 0
    return _start(repr(value), limit)


def _str(value: object, limit: int = MAX_MESSAGE) -> tuple[str, int]:
    """Return the text of *value*, or a start of it longer than *limit*, and how much that lacks."""
    kind = type(value)
    if kind is str:
        return _start(value, limit)  # type: ignore[arg-type]  # a str
    if kind in _CUTTABLE or _shape_of(kind) is not None:
        return _repr(value, limit)
    return _start(str(value), limit)


def _start(text: str, limit: int = MAX_MESSAGE) -> tuple[str, int]:
    """Return *text*, or so much of it that it is seen to be too long, and how much that lacks."""
    excess = len(text) - limit - 1
    return (text, 0) if excess <= 0 else (text[: limit + 1], excess)


def _outlined(value: object, limit: int, write_atom: Callable[[object], str]) -> str:
    # Leaves room for what closes the containers and counts what is missing in them.
    outline = _Outline(limit - 100, write_atom)
    outline.write(value)
    return "".join(outline.parts)


def _atom(value: object) -> str:
    text, excess = _repr(value, _ATOM)
    return cut(text, _ATOM, missing=excess)


def safe_repr(obj: object, limit: int = 1_000) -> str:
    """Return the repr of *obj* in at most *limit* characters, or a text in its place.

    Never raises, whatever the object does; only what is no `Exception` passes, such as
    `KeyboardInterrupt`.

    >>> safe_repr({"disk": "sda"})
    "{'disk': 'sda'}"
    """
    try:
        text, excess = _repr(obj, limit)
        return cut(text, limit, missing=excess)
    except Exception:  # noqa: BLE001  # the text says it
        try:
            return _repr_of_broken(obj, limit)
        except Exception:  # noqa: BLE001  # no stack or no memory left: no calls from here on
            return _WITHOUT_REPR[:limit]


def safe_str(obj: object, limit: int = MAX_MESSAGE) -> str:
    """Return ``str(obj)`` in at most *limit* characters, or a text in its place; never raises."""
    try:
        text, excess = _str(obj, limit)
        return cut(text, limit, missing=excess)
    except Exception:  # noqa: BLE001  # the text says it
        try:
            return _repr_of_broken(obj, limit)
        except Exception:  # noqa: BLE001  # no stack or no memory left: no calls from here on
            return _WITHOUT_REPR[:limit]


def _repr_of_broken(obj: object, limit: int) -> str:
    """Return what can be said of an object whose text cannot be had."""
    if _shape_of(type(obj)) is not None:
        return cut(_outlined(obj, limit, _broken), limit)
    return cut(_broken(obj), limit)


def _broken(obj: object) -> str:
    try:
        return _atom(obj)
    except Exception as error:  # noqa: BLE001  # the text says it
        if issubclass(type(obj), int):
            return f"<int of {int.bit_length(obj)} bits>"  # type: ignore[arg-type]  # an int
        name = type.__getattribute__(type(obj), "__name__")
        reason = type.__getattribute__(type(error), "__name__")
        return f"<{name} object at {id(obj):#x}, its text raised {reason}>"


# --- messages -------------------------------------------------------------------------------------


class _Field:
    """One replacement field, parsed and found harmless as far as the template tells."""

    __slots__ = ("conversion", "first", "nested", "path", "spec")

    def __init__(
        self,
        first: int | str,
        path: tuple[tuple[bool, int | str], ...],
        conversion: str | None,
        spec: str,
        nested: tuple[_Part, ...] | None,
    ) -> None:
        self.first = first
        self.path = path
        self.conversion = conversion
        self.spec = spec
        self.nested = nested


_Part: TypeAlias = "str | _Field"


class _Form:
    """A template that was looked at."""

    __slots__ = ("fields", "parts", "percent", "plain")

    def __init__(
        self, parts: tuple[_Part, ...], plain: bool, percent: str | None, fields: int
    ) -> None:
        self.parts = parts
        # Whether str.format may have it, when the arguments are small.
        self.plain = plain
        # The same for % and arguments that are text, if all its fields are {}.
        self.percent = percent
        self.fields = fields


# Templates for % in place of {} and {!r}: faster, and the same text for str and all in _SMALL.
_percents: dict[str, str] = {}
_forms: dict[str, _Form] = {}


def format_message(template: str, args: tuple[object, ...], kwargs: Mapping[str, object]) -> str:
    """Return *template* formatted as by ``str.format``, safely and in bounds.

    A field reaches public attributes only, and indexes only into mappings, lists and tuples;
    numbers in a format specification go up to `MAX_NUMBER`.  A result longer than `MAX_MESSAGE`
    is cut, with a mark at its end; large containers are written in part.

    Raises:
        ValueError: The template is malformed, or asks for what is refused.
        Exception: Whatever looking up and formatting the arguments raises.

    >>> format_message("disk {} full, {left:.1f} left", ("sda",), {"left": 0.25})
    'disk sda full, 0.2 left'
    """
    percent = _percents.get(template)
    if percent is not None and not kwargs:
        for arg in args:
            if type(arg) is str:
                if len(arg) > _PLAIN_TEXT:
                    break
            elif type(arg) not in _SMALL:
                break
        else:
            try:
                text = percent % args
            except TypeError:
                # More or fewer arguments than fields; str.format says which.
                return _format(template, args, kwargs)
            return text if len(text) <= MAX_MESSAGE else cut(text)
    return _format(template, args, kwargs)


def _format(template: str, args: tuple[object, ...], kwargs: Mapping[str, object]) -> str:
    form = _forms.get(template)
    if form is None:
        if len(template) > _CACHED_LENGTH:
            return _build(_parse_long(template), args, kwargs)
        form = _learn(str.__str__(template))
    if (
        form.plain
        and (not args or _are_small(args))
        and (not kwargs or _are_small(kwargs.values()))
    ):
        # Not template.format(): a subclass may have its own idea of it.
        text = str.format(template, *args, **kwargs)
        return text if len(text) <= MAX_MESSAGE else cut(text)
    if form.percent is not None and len(args) == form.fields:
        texts = []
        for arg in args:
            if type(arg) in _SMALL:
                texts.append(str(arg))
                continue
            text, excess = _value_text(arg, "")
            if excess:
                break
            texts.append(text)
        else:
            return cut(form.percent % tuple(texts))
    return _build(form.parts, args, kwargs)


def _are_small(values: Iterable[object]) -> bool:
    for value in values:
        kind = type(value)
        if kind is str:
            if len(value) > _PLAIN_TEXT:  # type: ignore[arg-type]  # a str
                return False
        elif kind not in _SMALL:
            return False
    return True


def _learn(template: str) -> _Form:
    """Parse and classify *template*, and remember both."""
    parts = tuple(_parse(template, _Numbering()))
    fields = [part for part in parts if not isinstance(part, str)]
    plain = len(fields) <= _PLAIN_FIELDS and all(map(_is_plain, fields))
    percent = None
    if plain and all(field.first == index and not field.spec for index, field in enumerate(fields)):
        percent = "".join(
            part.replace("%", "%%") if isinstance(part, str) else f"%{part.conversion or 's'}"
            for part in parts
        )
    unconverted = not any(field.conversion for field in fields)
    form = _Form(parts, plain, percent if unconverted else None, len(fields))
    if len(_forms) >= _CACHED_TEMPLATES:
        _forms.clear()
        _percents.clear()
    _forms[template] = form
    if percent is not None:
        _percents[template] = percent
    return form


def _is_plain(field: _Field) -> bool:
    # The digits of an int are limited by the interpreter in base ten only.
    return not field.path and field.nested is None and field.spec[-1:] not in set("boxX")


class _Numbering:
    """Counts the fields ``{}`` of a template, the nested ones among them."""

    def __init__(self) -> None:
        self.next: int | None = 0
        self.used = False

    def number(self, first: int | str) -> int | str:
        """Return the argument that *first* names."""
        if first == "":
            if self.next is None:
                raise ValueError(
                    "cannot switch from manual field specification to automatic field numbering"
                )
            self.used = True
            self.next += 1
            return self.next - 1
        if isinstance(first, int):
            if self.used:
                raise ValueError(
                    "cannot switch from automatic field numbering to manual field specification"
                )
            self.next = None
        return first


def _parse_long(template: str) -> Iterator[_Part]:
    """Return the parts of a long template one by one: only what fits into a message is parsed."""
    if len(template) > MAX_TEMPLATE:
        raise ValueError(
            f"template of {len(template)} characters, at most {MAX_TEMPLATE} are formatted;"
            " pass long text as an argument"
        )
    return _parse(template, _Numbering())


def _parse(template: str, numbering: _Numbering, depth: int = 2) -> Iterator[_Part]:
    if depth == 0:
        raise ValueError("format specification is nested too deeply")
    for literal, name, spec, conversion in formatter_parser(template):
        if literal:
            yield literal
        if name is None:
            continue
        first, rest = formatter_field_name_split(name)
        path = tuple(rest)
        for is_attribute, key in path:
            _check_key(is_attribute, key, name)
        if conversion not in (None, "s", "r", "a"):
            raise ValueError(f"unknown conversion {conversion!r} in field {name!r}")
        number = numbering.number(first)
        nested = None
        if "{" in spec or "}" in spec:
            nested = tuple(_parse(spec, numbering, depth - 1))
        else:
            _check_spec(spec)
        yield _Field(number, path, conversion, spec, nested)


def _check_key(is_attribute: bool, key: int | str, name: str) -> None:
    if is_attribute and isinstance(key, str):
        if key.startswith("_"):
            raise ValueError(
                f"refused private attribute {cut(key, 100)!r} in field {cut(name, 100)!r};"
                " log the value itself as an argument"
            )
        if key in _INTERNALS:
            raise ValueError(
                f"refused internal attribute {key!r} in field {cut(name, 100)!r};"
                " log the value itself as an argument"
            )
    elif isinstance(key, str) and key.startswith("__"):
        raise ValueError(
            f"refused private key {cut(key, 100)!r} in field {cut(name, 100)!r};"
            " log the value itself as an argument"
        )


@cache
def _long_number() -> re.Pattern[str]:
    import re

    return re.compile(r"\d{4,}")


def _check_spec(spec: str) -> None:
    if len(spec) > MAX_NUMBER:
        raise ValueError(
            f"refused format specification of {len(spec)} characters, at most {MAX_NUMBER} are used"
        )
    for digits in _long_number().findall(spec):
        if len(digits.lstrip("0")) > 4 or int(digits) > MAX_NUMBER:
            raise ValueError(
                f"refused number {cut(digits, 40)} in format specification {cut(spec, 100)!r};"
                f" widths and precisions go up to {MAX_NUMBER}"
            )


def _build(parts: Iterable[_Part], args: tuple[object, ...], kwargs: Mapping[str, object]) -> str:
    """Return the message made of *parts*, without building more than about twice its bound."""
    texts: list[str] = []
    length = lost = 0
    more = ""
    for part in parts:
        if length > MAX_MESSAGE:
            more = "at least "
            break
        if isinstance(part, str):
            text = part
        else:
            text, excess = _field_text(part, args, kwargs)
            lost += excess
        texts.append(text)
        length += len(text)
    text = "".join(texts)
    if length > MAX_MESSAGE:
        return _marked(text, length + lost, MAX_MESSAGE, more=more)
    return text


def _field_text(
    field: _Field, args: tuple[object, ...], kwargs: Mapping[str, object]
) -> tuple[str, int]:
    """Return the text of one field, and how many of its characters were left out already."""
    value = _look_up(field, args, kwargs)
    spec = field.spec
    if field.nested is not None:
        spec = _build(field.nested, args, kwargs)
        _check_spec(spec)
    excess = 0
    if field.conversion == "s":
        value, excess = _str(value)
    elif field.conversion is not None:
        value, excess = _repr(value)
        if field.conversion == "a":
            value, _ = _start(value.encode("ascii", "backslashreplace").decode("ascii"))
    text, missing = _value_text(value, spec)
    return text, missing + excess if len(text) > MAX_MESSAGE else 0


def _value_text(value: object, spec: str) -> tuple[str, int]:
    """Return what ``format(value, spec)`` returns, or a start of it, and how much that lacks."""
    kind = type(value)
    if kind is str:
        start, missing = _start(value)  # type: ignore[arg-type]  # a str
        # What a precision cuts is wanted; only what we cut ourselves is missing.
        return (format(start, spec), missing) if spec else (start, missing)
    if not spec and (kind in _CUTTABLE or _shape_of(kind) is not None):
        return _repr(value)
    _check_number(value, spec)
    return _start(format(value, spec))


def _check_number(value: object, spec: str) -> None:
    """Refuse to write out numbers whose digits would fill the memory."""
    kind = type(value)
    if issubclass(kind, int):
        bits = int.bit_length(value)  # type: ignore[arg-type]  # an int
        if bits > MAX_MESSAGE:
            raise ValueError(f"refused to write an int of {bits} bits")
    elif spec and kind.__name__ == "Decimal" and kind.__module__ == "decimal":
        exponent = value.adjusted()  # type: ignore[attr-defined]  # a Decimal
        if abs(exponent) > MAX_MESSAGE:
            raise ValueError(f"refused to write a Decimal of the exponent {exponent}")


def _look_up(field: _Field, args: tuple[object, ...], kwargs: Mapping[str, object]) -> object:
    first = field.first
    if isinstance(first, int):
        if first >= len(args):
            raise IndexError(f"Replacement index {first} out of range for positional args tuple")
        value = args[first]
    else:
        value = kwargs[first]
    for is_attribute, key in field.path:
        kind = type(value)
        if is_attribute:
            if issubclass(kind, _OPAQUE):
                raise ValueError(f"refused attribute {key!r} of a {kind.__name__}")
            value = getattr(value, str(key))
        elif issubclass(kind, (list, tuple)) or issubclass(kind, Mapping):
            value = value[key]  # type: ignore[index]  # one of the three
        else:
            raise ValueError(
                f"refused index {cut(str(key), 100)!r} into a {kind.__name__};"
                " a message indexes into mappings, lists and tuples only"
            )
    return value

"""Arguments: what a constructor takes, whether a table says that, and what it says when it refuses.

The annotations are read as far as they speak of what TOML can say: texts, numbers, truth values,
and words to choose from.  Everything else is for the constructor to judge.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, get_args

from sprockets.logbook._setups._levels import read_level
from sprockets.logbook._setups._problems import Place, Problems, describe_unknown
from sprockets.logbook._setups._tables import Table
from sprockets.logbook._setups._values import Values, Variable, number_of

_UNION: Final = re.compile(r"\s*\|\s*(?![^\[]*\])")
_LITERAL: Final = re.compile(r"""['"]([^'"]*)['"]""")
_KINDS: Final = {
    "a text": ("str", "os.PathLike", "PathLike", "Path"),
    "a number": ("float",),
    "a whole number": ("int",),
    "true or false": ("bool",),
    "an array": ("Iterable", "Sequence", "Collection", "list", "tuple", "set", "frozenset"),
    "a table": ("Mapping", "dict", "Retry", "Spool"),
    "": ("None", "Callable", "ssl.SSLContext", "type"),
}
"""What TOML can say, in words, and the annotations that stand for it; the last cannot be said."""
_KIND_OF: Final = {name: kind for kind, names in _KINDS.items() for name in names}
_DEPTH: Final = 8


class Parameter:
    """A parameter of a constructor.

    Args:
        name: Its name.
        annotation: Its annotation, as a text.
        is_required: Whether it has no default.
        module: The module of the constructor, for the names in the annotation.
    """

    def __init__(self, name: str, annotation: str, is_required: bool, module: str) -> None:
        self.name = name
        self.is_required = is_required
        self.is_level = annotation == "Level"
        self.kinds: set[str] = set()
        self.choices: set[str] = set()
        self.is_known = True
        self._takes_texts = False
        self._add(annotation, module, 0)

    def _add(self, annotation: str, module: str, depth: int) -> None:
        for part in _UNION.split(annotation.strip().strip("\"'")):
            name, _, inside = part.partition("[")
            if re.search(r"\b(str|PathLike|Literal)\b", part):
                self._takes_texts = True
            kind = _KIND_OF.get(name)
            if name == "Spool":
                # Its folder will do.
                self.kinds.add("a text")
            if name == "Literal":
                self.choices.update(_LITERAL.findall(part))
            elif kind is not None:
                self.kinds.add(kind)
            elif inside or depth > _DEPTH:
                self.is_known = False
            else:
                self._look_up(name, module, depth)

    def _look_up(self, name: str, module: str, depth: int) -> None:
        found: Any = sys.modules.get(module)
        for part in name.split("."):
            found = getattr(found, part, None)
        if isinstance(found, str):
            self._add(found, module, depth + 1)
        elif found is not None and str(found).startswith("typing.Literal["):
            self.choices.update(get_args(found))
            self._takes_texts = True
        elif not isinstance(found, type) or found in (object, Any):
            # Only type checkers know it, or it says nothing.
            self.is_known = False

    def convert(self, value: Any) -> Any:
        """Return *value*, variables in it as numbers where it may not be a text."""
        if isinstance(value, Variable):
            return str(value) if self._takes_texts else number_of(value)
        if isinstance(value, tuple):
            return tuple([self.convert(one) for one in value])
        if isinstance(value, dict):
            return {name: self.convert(one) for name, one in value.items()}
        return value

    def objection(self, value: Any) -> str | None:
        """Return what is wrong with *value*; ``None`` if nothing is, as far as can be told."""
        kind = _kind_of(value)
        if not self.is_known or kind is None or kind in self.kinds:
            return None
        if kind == "a whole number" and "a number" in self.kinds:
            return None
        if kind == "a text" and self.choices:
            return None if value in self.choices else describe_unknown("value", value, self.choices)
        wanted = sorted(self.kinds - {""})
        if self.choices:
            wanted.append(f"one of {', '.join(map(repr, sorted(self.choices)))}")
        return f"must be {' or '.join(wanted) or 'left out in a file'}, got {value!r}"


def _kind_of(value: object) -> str | None:
    if isinstance(value, bool):
        return "true or false"
    for kind, types in (
        ("a text", (str, os.PathLike)),
        ("a whole number", int),
        ("a number", float),
        ("an array", tuple),
        ("a table", dict),
    ):
        if isinstance(value, types):
            return kind
    return None


def parameters_of(cls: type) -> dict[str, Parameter]:
    """Return what the constructor of *cls* takes, by name.

    What it passes on to the constructor of a base is looked for there.
    """
    found: dict[str, Parameter] = {}
    is_first = True
    for base in cls.__mro__:
        if "__init__" not in vars(base) or base is object:
            continue
        passes_on = False
        for parameter in list(inspect.signature(vars(base)["__init__"]).parameters.values())[1:]:
            if parameter.kind is parameter.VAR_KEYWORD:
                passes_on = True
            elif parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                # What a base requires is filled in by whoever passes the others on.
                is_required = is_first and parameter.default is parameter.empty
                annotation = parameter.annotation
                if annotation is parameter.empty:
                    annotation = "object"
                elif isinstance(annotation, type):
                    annotation = annotation.__name__
                found.setdefault(
                    parameter.name,
                    Parameter(parameter.name, str(annotation), is_required, base.__module__),
                )
        is_first = False
        if not passes_on:
            break
    return found


def read_arguments(
    cls: type,
    table: Table,
    reserved: Iterable[str],
    given: Iterable[str],
    values: Values,
    problems: Problems,
) -> dict[str, Any]:
    """Return the arguments for *cls* that *table* has.

    Args:
        cls: The class.
        table: Its table.
        reserved: Keys that are not for the constructor.
        given: Names of parameters that it gets from elsewhere.
        values: Puts in what the table refers to.
        problems: Takes what is wrong: unknown keys, those of the wrong kind, and those missing.
    """
    known = parameters_of(cls)
    reserved, given = set(reserved), set(given)
    arguments = {}
    for key, value in table.values.items():
        if key in reserved:
            continue
        parameter = known.get(key)
        if parameter is None or key in given:
            names = known.keys() - given | reserved
            problems.add_unknown(value.place, f"key for {cls.__name__}", key, names)
            continue
        before = len(problems)
        found = parameter.convert(values.resolve(value.raw, value.place))
        if parameter.is_level and len(problems) == before:
            found = read_level(found, value.place, problems)
        if len(problems) > before:
            continue
        objection = parameter.objection(found)
        if objection is not None:
            problems.add(value.place, values.hide(objection))
        arguments[key] = found
    for name, parameter in known.items():
        if parameter.is_required and name not in table.values and name not in given:
            problems.add(table.place.at(name), f"is missing; {cls.__name__} needs it")
    return arguments


def construct(
    make: Callable[..., Any],
    arguments: Mapping[str, Any],
    place: Place,
    values: Values,
    problems: Problems,
) -> Any:
    """Return what *make* makes of *arguments*; what it raises is a problem, and ``None``."""
    try:
        return make(**arguments)
    except Exception as error:  # noqa: BLE001 - told, whatever it is
        problems.add(_blamed(error, arguments, place), values.hide(_text_of(error)))
    return None


def _text_of(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"cannot open {str(error.filename)!r}: {error.strerror}"
    if isinstance(error, (LookupError, OSError, TypeError, ValueError, ImportError)):
        text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
        return text or type(error).__name__
    return f"{type(error).__name__}: {error}"


def _blamed(error: Exception, arguments: Mapping[str, Any], place: Place) -> Place:
    """Return the place of the argument that *error* speaks of, or else that of them all."""
    if isinstance(error, ImportError):
        return place.at("class")
    if isinstance(error, OSError) and error.filename is not None:
        for name, value in arguments.items():
            if isinstance(value, (str, os.PathLike)) and Path(value) == Path(str(error.filename)):
                return place.at(name)
    text = str(error)
    named = {name: re.search(rf"\b{re.escape(name)}\b", text) for name in arguments}
    first = [(match.start(), name) for name, match in named.items() if match is not None]
    if first:
        return place.at(min(first)[1])
    # It may speak of the value rather than of its name.
    for name, value in arguments.items():
        if isinstance(value, (str, int, float)) and value and repr(value) in text:
            return place.at(name)
    return place

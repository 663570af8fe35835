"""Formats: the formatter that a word, or a layout, in a file stands for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final, TypeAlias

from sprockets.logbook._console import should_color
from sprockets.logbook._setups._arguments import construct, read_arguments
from sprockets.logbook._setups._problems import Place, Problems, describe_unknown
from sprockets.logbook._setups._tables import Table, Value
from sprockets.logbook._setups._values import Values
from sprockets.logbook.handlers import Formatter, Handler, StringFormatter

MakeFormatter: TypeAlias = "Callable[[Handler], Formatter]"

_FORMATS: Final = {
    "console": "sprockets.logbook.ConsoleFormatter",
    "ecs": "sprockets.logbook.handlers.ECSFormatter",
    "json": "sprockets.logbook.handlers.JSONFormatter",
    "logfmt": "sprockets.logbook.handlers.LogfmtFormatter",
}


def read_format(
    value: Value, environ: Mapping[str, str], values: Values, problems: Problems
) -> MakeFormatter | None:
    """Return what makes the formatter for a handler.

    Args:
        value: A word, a layout, or a table with a word as ``name`` and the formatter's arguments.
        environ: Where ``NO_COLOR``, ``FORCE_COLOR`` and the like are looked up.
        values: Puts in what *value* refers to.
        problems: Takes what is wrong.
    """
    raw, place = value.raw, value.place
    if isinstance(raw, str):
        text = values.resolve(raw, place)
        if text is None:
            return None
        if text.lower() in _FORMATS:
            return _named(text.lower(), Table(place, {}), environ, values, problems)
        return _layout(text, place, problems)
    if not isinstance(raw, Mapping) or not isinstance(raw.get("name"), str):
        problems.add(place, f"must be the name of a format, a layout, or a table, got {raw!r}")
        return None
    name = raw["name"].lower()
    if name not in _FORMATS:
        problems.add_unknown(place.at("name"), "format", name, _FORMATS)
        return None
    rest = {key: Value(one, place.at(key)) for key, one in raw.items() if key != "name"}
    return _named(name, Table(place, rest), environ, values, problems)


def _layout(text: str, place: Place, problems: Problems) -> MakeFormatter | None:
    if "{" not in text:
        problems.add(
            place,
            f"{describe_unknown('format', text, _FORMATS)}, or a layout such as"
            " '{record.level_name}: {record.message}'",
        )
        return None
    try:
        formatter = StringFormatter(text)
    except (LookupError, ValueError) as error:
        problems.add(place, f"{error}, got {text!r}")
        return None
    return lambda _: formatter


def _named(
    name: str, table: Table, environ: Mapping[str, str], values: Values, problems: Problems
) -> MakeFormatter | None:
    module_name, _, class_name = _FORMATS[name].rpartition(".")
    cls = getattr(import_module(module_name), class_name)
    before = len(problems)
    arguments = read_arguments(cls, table, ["name"], [], values, problems)
    if len(problems) > before:
        return None
    if name == "console" and "color" not in arguments:
        return lambda handler: cls(should_color(getattr(handler, "stream", None), environ))
    formatter: Any = construct(cls, arguments, table.place, values, problems)
    return None if formatter is None else lambda _: formatter

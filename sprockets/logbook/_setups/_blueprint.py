"""Blueprints: what a set-up is to consist of, read and checked, with nothing made yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sprockets.logbook._levels import NOTSET
from sprockets.logbook._processor import Fields, Processor
from sprockets.logbook._setups._arguments import parameters_of, read_arguments
from sprockets.logbook._setups._classes import find_handler, find_processor, handler_names
from sprockets.logbook._setups._formats import MakeFormatter, read_format
from sprockets.logbook._setups._levels import ChannelLevels, RecordFilter, read_filter, read_level
from sprockets.logbook._setups._problems import Place, Problems
from sprockets.logbook._setups._tables import Document, Table, Value
from sprockets.logbook._setups._values import Values, Variable, number_of
from sprockets.logbook.delivery import Retry, Spool
from sprockets.logbook.handlers import Handler, WrapperHandler

STREAMS: Final = ("stderr", "stdout")
SETUP_KEYS: Final = frozenset(
    (
        "blackhole",
        "extends",
        "flags",
        "handlers",
        "level",
        "levels",
        "processors",
        "redirect_logging",
        "redirect_warnings",
    )
)
_SETTINGS: Final = ("level", "bubble", "filter", "format")
_KEYS: Final = frozenset(("class", "extends", "wraps", *_SETTINGS))
_ERRORS: Final = ("print", "raise", "silent")


def takes_stream(cls: type[Handler]) -> bool:
    """Return whether the argument ``stream`` is something to write to, rather than a name."""
    parameter = parameters_of(cls).get("stream")
    return parameter is not None and "a text" not in parameter.kinds


@dataclass
class HandlerPlan:
    """What a handler is to be.

    ``arguments`` are as the file says them: what has to be made of them is made when the handler
    is, so that two plans can be compared.  The settings are ``None`` where the handler decides.
    """

    name: str
    place: Place
    cls: type[Handler]
    arguments: dict[str, Any]
    wraps: str | None = None
    level: int | None = None
    bubble: bool | None = None
    filter: RecordFilter | None = None
    make_formatter: MakeFormatter | None = None

    @property
    def is_wrapper(self) -> bool:
        """Whether its settings are those of the handler that it wraps."""
        return issubclass(self.cls, WrapperHandler)

    def makes_the_same(self, other: HandlerPlan) -> bool:
        """Return whether a handler made for the one plan does for the *other*, once it is set."""
        return (
            self.cls is other.cls
            and self.arguments == other.arguments
            and self.wraps == other.wraps
        )


@dataclass
class ProcessorPlan:
    """What a processor is to be."""

    place: Place
    cls: type[Processor]
    arguments: dict[str, Any]


@dataclass
class Blueprint:
    """What a set-up is to consist of; ``handlers`` has those that others wrap before these."""

    name: str
    place: Place
    handlers: dict[str, HandlerPlan] = field(default_factory=dict)
    stacked: list[str] = field(default_factory=list)
    processors: list[ProcessorPlan] = field(default_factory=list)
    flags: dict[str, Any] = field(default_factory=dict)
    levels: ChannelLevels = field(default_factory=ChannelLevels)
    blackhole: bool = False
    redirect_logging: bool = False
    redirect_warnings: bool = False


class Reader:
    """Reads blueprints from a document.

    Args:
        document: What the files say.
        environ: Where variables are looked up.
        values: Puts them in.
        problems: Takes what is wrong.
    """

    def __init__(
        self, document: Document, environ: Mapping[str, str], values: Values, problems: Problems
    ) -> None:
        self._document = document
        self._environ = environ
        self._values = values
        self._problems = problems

    def choose(self, name: str | None) -> str | None:
        """Return the set-up that is meant by *name*; by none, the only one or ``"default"``."""
        names = self._document.sections["setups"].keys()
        place = Place(self._document.file, "setups")
        if name is not None:
            if name in names:
                return name
            self._problems.add_unknown(place, "set-up", name, names)
        elif len(names) == 1:
            return next(iter(names))
        elif "default" in names:
            return "default"
        else:
            known = ", ".join(sorted(names)) or "none"
            self._problems.add(place, f"say which set-up, none is named 'default'; known: {known}")
        return None

    def read(self, name: str) -> Blueprint:
        """Return the blueprint of the set-up *name*, as far as nothing is wrong."""
        table = self._document.find("setups", name, self._problems)
        assert table is not None
        blueprint = Blueprint(name, table.place)
        for key, value in table.values.items():
            if key not in SETUP_KEYS:
                self._problems.add_unknown(value.place, "key", key, SETUP_KEYS)
        for handler in self._names(table, "handlers"):
            if handler in blueprint.stacked:
                self._problems.add(
                    table.values["handlers"].place, f"{handler!r} is there twice; once is enough"
                )
            elif self._add_handler(blueprint, handler, table.values["handlers"].place, ()):
                blueprint.stacked.append(handler)
        for processor in self._names(table, "processors"):
            plan = self.read_processor(processor, table.values["processors"].place)
            if plan is not None:
                blueprint.processors.append(plan)
        blueprint.flags = self._flags(table)
        blueprint.levels = self._levels(table)
        blueprint.blackhole = self._switch(table, "blackhole")
        blueprint.redirect_logging = self._switch(table, "redirect_logging")
        blueprint.redirect_warnings = self._switch(table, "redirect_warnings")
        return blueprint

    # -- the keys of a set-up

    def _resolved(self, value: Value) -> Any:
        return self._values.resolve(value.raw, value.place)

    def _names(self, table: Table, key: str) -> list[str]:
        value = table.values.get(key)
        if value is None:
            return []
        names = self._resolved(value)
        if isinstance(names, tuple) and all(isinstance(name, str) for name in names):
            return list(names)
        if not isinstance(names, tuple) or None not in names:
            self._problems.add(value.place, f"must be an array of names, got {value.raw!r}")
        return []

    def _switch(self, table: Table, key: str) -> bool:
        value = table.values.get(key)
        if value is None:
            return False
        found = self._resolved(value)
        if isinstance(found, Variable):
            found = number_of(found)
        if not isinstance(found, bool) and found is not None:
            self._problems.add(value.place, f"must be true or false, got {found!r}")
        return found is True

    def _level(self, value: Value) -> int:
        found = self._resolved(value)
        return NOTSET if found is None else read_level(found, value.place, self._problems)

    def _levels(self, table: Table) -> ChannelLevels:
        default = table.values.get("level")
        levels = table.values.get("levels")
        found = {}
        if levels is not None and isinstance(levels.raw, Mapping):
            for channel, level in levels.raw.items():
                found[channel] = self._level(Value(level, levels.place.at(channel)))
        elif levels is not None:
            self._problems.add(
                levels.place, f"must be a table of channels and levels, got {levels.raw!r}"
            )
        return ChannelLevels(NOTSET if default is None else self._level(default), found)

    def _flags(self, table: Table) -> dict[str, Any]:
        value = table.values.get("flags")
        if value is None:
            return {}
        flags = self._resolved(value)
        if not isinstance(flags, dict):
            self._problems.add(value.place, f"must be a table of flags, got {value.raw!r}")
            return {}
        flags = {
            name: number_of(flag) if isinstance(flag, Variable) else flag
            for name, flag in flags.items()
        }
        if flags.get("errors", "print") not in _ERRORS:
            self._problems.add_unknown(
                value.place.at("errors"), "value", str(flags["errors"]), _ERRORS
            )
        if not isinstance(flags.get("introspection", True), bool):
            self._problems.add(
                value.place.at("introspection"),
                f"must be true or false, got {flags['introspection']!r}",
            )
        return flags

    # -- handlers

    def _add_handler(
        self, blueprint: Blueprint, name: str, asked_at: Place, chain: tuple[str, ...]
    ) -> bool:
        if name in chain:
            self._problems.add(asked_at, f"{name!r} wraps itself; one of the chain must not")
            return False
        if name in blueprint.handlers:
            return True
        plan = self.read_handler(name, asked_at)
        if plan is None:
            return False
        if plan.wraps is not None and not self._add_handler(
            blueprint, plan.wraps, plan.place.at("wraps"), (*chain, name)
        ):
            return False
        blueprint.handlers[name] = plan
        return True

    def read_handler(self, name: str, asked_at: Place) -> HandlerPlan | None:
        """Return the plan of the handler *name*, which is asked for *asked_at* some place."""
        table = self._document.find("handlers", name, self._problems)
        if table is None:
            table = self._without_table(name)
        if table is None:
            known = self._document.sections["handlers"].keys()
            self._problems.add_unknown(asked_at, "handler", name, known)
            return None
        kind = table.values.get("class", Value(name, table.place.at("class")))
        if "class" not in table.values and name not in handler_names():
            self._problems.add(
                kind.place,
                f"is missing; known: {', '.join(sorted(handler_names()))}, or a dotted path",
            )
            return None
        cls = find_handler(self._resolved(kind), kind.place, self._problems)
        return None if cls is None else self._plan(name, cls, table)

    def _without_table(self, name: str) -> Table | None:
        if name not in handler_names():
            return None
        place = Place(self._document.file, f"handlers.{name}")
        return Table(place, {"class": Value(name, place.at("class"))})

    def _plan(self, name: str, cls: type[Handler], table: Table) -> HandlerPlan:
        plan = HandlerPlan(name, table.place, cls, {})
        takes_one = "handler" in parameters_of(cls)
        wraps = table.values.get("wraps")
        if wraps is not None:
            plan.wraps = self._wrapped(cls, wraps, takes_one)
        elif takes_one:
            self._problems.add(
                table.place.at("wraps"),
                f"is missing; {cls.__name__} needs the name of the handler that it wraps",
            )
        given = {"handler", *_SETTINGS}
        plan.arguments = read_arguments(cls, table, _KEYS, given, self._values, self._problems)
        self._check_made(plan, table)
        self._read_settings(plan, table, takes_one)
        return plan

    def _wrapped(self, cls: type[Handler], wraps: Value, takes_one: bool) -> str | None:
        name = self._resolved(wraps)
        if not takes_one:
            self._problems.add(wraps.place, f"{cls.__name__} wraps no other handler")
        elif not isinstance(name, str):
            self._problems.add(wraps.place, f"must be the name of a handler, got {wraps.raw!r}")
        else:
            return name
        return None

    def _check_made(self, plan: HandlerPlan, table: Table) -> None:
        """See to the arguments that are more than TOML can say."""
        stream = plan.arguments.get("stream")
        if isinstance(stream, str) and stream not in STREAMS and takes_stream(plan.cls):
            self._problems.add_unknown(table.place.at("stream"), "stream", stream, STREAMS)
        for key, cls in (("retry", Retry), ("spool", Spool)):
            options = plan.arguments.get(key)
            if key == "spool" and isinstance(options, str):
                options = plan.arguments[key] = {"folder": options}
            if key in plan.arguments and not isinstance(options, dict):
                self._problems.add(table.place.at(key), f"must be a table, got {options!r}")
            elif options:
                place = table.place.at(key)
                inner = Table(
                    place, {name: Value(one, place.at(name)) for name, one in options.items()}
                )
                callables = {"classify", "random", "encode", "decode"}
                read_arguments(cls, inner, (), callables, self._values, self._problems)

    def _read_settings(self, plan: HandlerPlan, table: Table, takes_one: bool) -> None:
        for key in _SETTINGS:
            value = table.values.get(key)
            if value is None:
                continue
            if plan.is_wrapper or (takes_one and key == "format"):
                self._problems.add(
                    value.place, f"is that of the handler it wraps; say it at {plan.wraps!r}"
                )
            elif key == "level":
                plan.level = self._level(value)
            elif key == "bubble":
                plan.bubble = self._switch(table, key)
            elif key == "filter":
                plan.filter = read_filter(self._resolved(value), value.place, self._problems)
            else:
                plan.make_formatter = read_format(
                    value, self._environ, self._values, self._problems
                )

    # -- processors

    def read_processor(self, name: str, asked_at: Place) -> ProcessorPlan | None:
        """Return the plan of the processor *name*, which is asked for *asked_at* some place."""
        table = self._document.find("processors", name, self._problems)
        if table is None:
            known = self._document.sections["processors"].keys()
            self._problems.add_unknown(asked_at, "processor", name, known)
            return None
        kind = table.values.get("class")
        if kind is None:
            self._problems.add(table.place.at("class"), "is missing; such as 'fields'")
            return None
        cls = find_processor(self._resolved(kind), kind.place, self._problems)
        if cls is None:
            return None
        if issubclass(cls, Fields):
            arguments = {
                key: self._resolved(value)
                for key, value in table.values.items()
                if key not in ("class", "extends")
            }
        else:
            arguments = read_arguments(
                cls, table, ("class", "extends"), ["callback"], self._values, self._problems
            )
        return ProcessorPlan(table.place, cls, arguments)

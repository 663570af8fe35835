"""Builds: the handlers, processors and flags of a set-up, made from its blueprint."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import replace
from typing import Final

from sprockets.logbook import _failures
from sprockets.logbook._context import NestedSetup, StackedObject
from sprockets.logbook._flags import Flags
from sprockets.logbook._processor import Processor
from sprockets.logbook._setups._arguments import construct, parameters_of
from sprockets.logbook._setups._blueprint import Blueprint, HandlerPlan, takes_stream
from sprockets.logbook._setups._levels import GatedFilter
from sprockets.logbook._setups._problems import Problems
from sprockets.logbook._setups._values import Values
from sprockets.logbook.delivery import Retry, Spool
from sprockets.logbook.handlers import (
    Filter,
    Formatter,
    GroupHandler,
    Handler,
    NullHandler,
    RemoteHandler,
    StreamHandler,
    StringFormatter,
    StringFormatterHandlerMixin,
)

_OURS: Final = "sprockets."


class Part:
    """A handler, what its own settings are, and how many builds have it.

    Args:
        handler: The handler.
        is_wrapper: Whether its settings are those of another.
    """

    level: int
    bubble: bool
    filter: Filter | None
    formatter: Formatter | None

    def __init__(self, handler: Handler, *, is_wrapper: bool) -> None:
        self.handler = handler
        self.holders = 0
        if not is_wrapper:
            self.level = handler.level
            self.bubble = handler.bubble
            self.filter = handler.filter
            self.formatter = handler.formatter

    def close(self) -> bool:
        """Close the handler, and return whether it said that all was delivered."""
        try:
            # A group is a batch, which nobody pops any more.
            if isinstance(self.handler, GroupHandler):
                self.handler.rollover()
            close: Callable[[], object] = self.handler.close
            return close() is not False
        except Exception:  # noqa: BLE001 - reported; the others are to be closed as well
            _failures.report(None, sys.exc_info())  # type: ignore[arg-type]  # never empty here
            return False


class Build:
    """A set-up that was made.

    Args:
        blueprint: What it was made from.
        parts: Its handlers, those that others wrap before these.
        processors: Its processors.
    """

    def __init__(
        self, blueprint: Blueprint, parts: dict[str, Part], processors: list[Processor]
    ) -> None:
        self.blueprint = blueprint
        self.parts = parts
        self.contexts = 0
        self.is_retired = False
        handlers: list[StackedObject] = [NullHandler()] if blueprint.blackhole else []
        handlers += [parts[name].handler for name in blueprint.stacked]
        flags = [Flags(**blueprint.flags)] if blueprint.flags else []
        self.stacks: dict[str, list[StackedObject]] = {
            "flags": [*flags],
            "processors": [*processors],
            "handlers": handlers,
        }
        self.nested = NestedSetup([*flags, *processors, *handlers])
        for part in parts.values():
            part.holders += 1

    def settle(self) -> None:
        """Set level, filter, bubble and formatter of the handlers."""
        gated = set(map(self._base_of, self.blueprint.stacked))
        for name, plan in self.blueprint.handlers.items():
            if not plan.is_wrapper:
                self._set(plan, self.parts[name], is_gated=name in gated)

    def _base_of(self, name: str) -> str:
        plan = self.blueprint.handlers[name]
        return self._base_of(plan.wraps) if plan.is_wrapper and plan.wraps else name

    def _set(self, plan: HandlerPlan, part: Part, *, is_gated: bool) -> None:
        handler = part.handler
        level = part.level if plan.level is None else plan.level
        filter_ = part.filter if plan.filter is None else plan.filter
        levels = self.blueprint.levels
        if is_gated and not handler.blackhole:
            least = max(level, levels.least)
            if any(one > least for one in (levels.default, *levels.levels.values())):
                filter_ = GatedFilter(levels, filter_)
            level = least
        bubble = part.bubble if plan.bubble is None else plan.bubble
        formatter = _formatter_for(plan, part)
        # A change makes everybody look again: nothing that stays is set.
        if handler.level != level:
            handler.level = level
        for name, value in (("filter", filter_), ("bubble", bubble), ("formatter", formatter)):
            if getattr(handler, name) is not value:
                setattr(handler, name, value)

    def retire(self) -> bool:
        """Close what no other build has, those that wrap before what they wrap.

        Returns:
            Whether everything that waited was delivered; closing twice is closing once.
        """
        if self.is_retired:
            return True
        self.is_retired = True
        done = True
        for part in reversed(self.parts.values()):
            part.holders -= 1
            if part.holders == 0:
                done = part.close() and done
        return done


def _formatter_for(plan: HandlerPlan, part: Part) -> Formatter | None:
    if plan.make_formatter is None:
        return part.formatter
    formatter = plan.make_formatter(part.handler)
    if isinstance(formatter, StringFormatter) and isinstance(
        part.handler, StringFormatterHandlerMixin
    ):
        # It may have a kind of its own, as mails do.
        own: Formatter = type(part.handler).formatter_class(formatter.format_string)
        return own
    return formatter


def build(
    blueprint: Blueprint, old: Build | None, values: Values, problems: Problems
) -> Build | None:
    """Return the set-up that *blueprint* describes; ``None`` if there were problems.

    Handlers of *old* that would be made just so are taken over.  Nothing that is in force changes
    before :meth:`Build.settle`; what was made in vain is closed.
    """
    # What was told of a table already, the constructor would say again in other words.
    wrong = {problem.table for problem in problems}
    kept = _reusable(blueprint, old)
    written = _written(old)
    with ExitStack() as made:
        parts: dict[str, Part] = {}
        for name, plan in blueprint.handlers.items():
            if name in kept:
                parts[name] = kept[name]
                continue
            inner = parts.get(plan.wraps) if plan.wraps is not None else None
            if plan.place.table in wrong or (plan.wraps is not None and inner is None):
                # The latter: what it wraps could not be made, which has been told.
                continue
            handler = _make(
                plan, None if inner is None else inner.handler, written, values, problems
            )
            if handler is not None:
                parts[name] = Part(handler, is_wrapper=plan.is_wrapper)
                made.callback(parts[name].close)
        processors = [
            construct(plan.cls, plan.arguments, plan.place, values, problems)
            for plan in blueprint.processors
            if plan.place.table not in wrong
        ]
        if problems:
            return None
        made.pop_all()
    return Build(blueprint, parts, processors)


def try_out(plan: HandlerPlan, values: Values, problems: Problems) -> None:
    """See whether the constructor takes what *plan* gives it, with no trace of it left.

    Only classes of our own are tried, and those only that can wait for the first record before
    they open anything.
    """
    known = parameters_of(plan.cls)
    if not plan.cls.__module__.startswith(_OURS):
        return
    arguments = {key: value for key, value in plan.arguments.items() if key != "spool"}
    if "delay" in known:
        arguments["delay"] = True
    elif not issubclass(plan.cls, (RemoteHandler, StreamHandler)) and plan.wraps is None:
        return
    inner = Handler() if plan.wraps is not None else None
    handler = _make(replace(plan, arguments=arguments), inner, frozenset(), values, problems)
    if handler is not None:
        handler.close()


def _make(
    plan: HandlerPlan,
    inner: Handler | None,
    written: Collection[str],
    values: Values,
    problems: Problems,
) -> Handler | None:
    before = len(problems)
    arguments = dict(plan.arguments)
    if inner is not None:
        arguments["handler"] = inner
    if isinstance(arguments.get("stream"), str) and takes_stream(plan.cls):
        arguments["stream"] = getattr(sys, arguments["stream"])
        if arguments["stream"] is None:
            problems.add(plan.place.at("stream"), "the process has none; name another handler")
    if str(arguments.get("mode", "")).startswith("w") and arguments.get("filename") in written:
        # It was emptied at the start: what has been written since is not to be lost.
        arguments["mode"] = arguments["mode"].replace("w", "a")
    for key, cls in (("retry", Retry), ("spool", Spool)):
        if isinstance(arguments.get(key), dict):
            arguments[key] = construct(cls, arguments[key], plan.place.at(key), values, problems)
    if len(problems) > before:
        return None
    handler: Handler | None = construct(plan.cls, arguments, plan.place, values, problems)
    if handler is None and isinstance(arguments.get("spool"), Spool):
        arguments["spool"].close()
    return handler


def _written(old: Build | None) -> Collection[str]:
    """Return the names of the files that *old* writes."""
    if old is None:
        return ()
    names = [plan.arguments.get("filename") for plan in old.blueprint.handlers.values()]
    return [name for name in names if isinstance(name, str)]


def _reusable(blueprint: Blueprint, old: Build | None) -> dict[str, Part]:
    """Return the handlers of *old* that *blueprint* would make just so.

    One that wraps closes what it wraps: both are kept, or neither.
    """
    if old is None:
        return {}
    plans, old_plans = blueprint.handlers, old.blueprint.handlers
    kept = {
        name
        for name in plans.keys() & old_plans.keys()
        if plans[name].makes_the_same(old_plans[name])
    }
    while True:
        lost = {name for name in kept if plans[name].wraps not in {None, *kept}}
        closed = {plan.wraps for name, plan in old_plans.items() if name not in kept}
        lost |= kept & closed
        if not lost:
            return {name: old.parts[name] for name in kept}
        kept -= lost

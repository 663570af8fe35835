"""Set-ups: where records go, with one call, or said by name in a TOML file.

>>> from io import StringIO
>>> from sprockets.logbook import Logger, setups
>>> with setups.console(stream=(screen := StringIO()), color=False):
...     Logger("shop").warning("{} left", 3)
>>> time, _, line = screen.getvalue().partition(" ")
>>> line.rstrip()
'WARNING  shop: 3 left'

:func:`console`, :func:`json_lines`, :func:`mail`, :func:`tickets` and :func:`request` are ready
made; :func:`all_of` makes one of several.  :func:`load` reads a file:

>>> setup = load({
...     "setups": {"default": {"handlers": ["memory"]}},
...     "handlers": {"memory": {"class": "test", "level": "info"}},
... })
>>> with setup:
...     Logger("shop").info("open")
>>> setup.handlers["memory"].formatted_records
['[INFO] shop: open']
>>> setup.close()
True

Whatever is wrong in a file is told at once, with file, table and key.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from importlib import import_module
from types import MappingProxyType
from weakref import WeakSet

from sprockets.logbook._context import StackedObject
from sprockets.logbook._setups._binding import (
    ForkSafeLock,
    Redirection,
    exchange,
    wait_for_calls,
)
from sprockets.logbook._typing import TYPE_CHECKING, Any, Final
from sprockets.logbook.errors import MisuseError

if TYPE_CHECKING:
    from sprockets.logbook._setups._build import Build
    from sprockets.logbook._setups._bundle import ReadySetup
    from sprockets.logbook._setups._probe import CHANNEL, Probe, probe
    from sprockets.logbook._setups._problems import Problem
    from sprockets.logbook._setups._ready import all_of, console, json_lines, mail, tickets
    from sprockets.logbook._setups._requests import RequestSetup, request
    from sprockets.logbook._setups._tables import Source
    from sprockets.logbook.handlers import Handler

__all__ = [
    "CHANNEL",
    "Probe",
    "Problem",
    "ReadySetup",
    "RequestSetup",
    "Setup",
    "SetupError",
    "Source",
    "all_of",
    "check",
    "console",
    "from_reference",
    "json_lines",
    "load",
    "mail",
    "parse_reference",
    "probe",
    "request",
    "tickets",
]

# Imported when they are first asked for: a program that logs to its console reads no files.
_LAZY: Final = {
    "CHANNEL": "_probe",
    "Probe": "_probe",
    "Problem": "_problems",
    "ReadySetup": "_bundle",
    "RequestSetup": "_requests",
    "Source": "_tables",
    "all_of": "_ready",
    "console": "_ready",
    "json_lines": "_ready",
    "mail": "_ready",
    "probe": "_probe",
    "request": "_requests",
    "tickets": "_ready",
}


def __getattr__(name: str) -> Any:
    """Import what was not yet needed."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(
        import_module(f"sprockets.logbook._setups.{_LAZY[name]}"), name
    )
    return found


class SetupError(ValueError):
    """A file of set-ups, or what stands for one, is wrong.

    Args:
        problems: All that is wrong.
        consequence: What becomes of it.
    """

    problems: tuple[Problem, ...]
    consequence: str

    def __init__(self, problems: Iterable[Problem], consequence: str = "") -> None:
        self.problems = tuple(problems)
        self.consequence = consequence
        super().__init__(self.problems, consequence)

    def __str__(self) -> str:
        lines = [*map(str, self.problems), *filter(None, [self.consequence])]
        return "\n".join(lines)


class Setup(StackedObject):
    """A named set-up, made by :func:`load`: its handlers, processors and flags, bound as one.

    All methods may be called from any thread, but not from a signal handler.  The handlers are the
    set-up's: :meth:`close` closes them.  In a forked child it is as it was, and so are its
    handlers, as far as each of them is made for that.

    Args:
        source: The path of a TOML file, or what such a file would contain.
        name: Which of its set-ups; ``None`` means the only one, or ``"default"``.
        environ: Where variables are looked up; the environment of the process unless given.

    Raises:
        SetupError: Something is wrong; nothing was bound, what was opened is closed.
    """

    name: str

    def __init__(
        self, source: Source, name: str | None = None, environ: Mapping[str, str] | None = None
    ) -> None:
        self._source = source
        self._environ = environ
        self._lock = ForkSafeLock()
        self._is_in_application = False
        self._is_closed = False
        self._redirection = Redirection()
        self._bound: ContextVar[tuple[Build, ...]] = ContextVar(
            "sprockets.logbook.setup", default=()
        )
        self._builds: WeakSet[Build] = WeakSet()
        self._counts = {"reloads": 0, "failed_reloads": 0, "left_open": 0}
        self._build = self._make(source, name, None)
        self.name = self._build.blueprint.name
        self._build.settle()

    def _make(self, source: Source, name: str | None, old: Build | None) -> Build:
        from sprockets.logbook._setups._blueprint import Reader
        from sprockets.logbook._setups._build import build
        from sprockets.logbook._setups._problems import Problems
        from sprockets.logbook._setups._tables import read
        from sprockets.logbook._setups._values import Values

        problems = Problems()
        environ = os.environ if self._environ is None else self._environ
        values = Values(environ, problems)
        document = read(source, values, problems)
        reader = Reader(document, environ, values, problems)
        # Without all the files, what is said to be missing need not be.
        chosen = reader.choose(name) if document.is_complete else None
        blueprint = reader.read(chosen) if chosen is not None else None
        made = None
        if blueprint is not None:
            made = build(blueprint, old, values, problems)
        if made is None:
            stays = f"the set-up {name!r} stays as it was" if old is not None else ""
            raise SetupError(problems, stays)
        self._builds.add(made)
        return made

    def __repr__(self) -> str:
        from sprockets.logbook._setups._tables import MAPPING

        source = MAPPING if isinstance(self._source, Mapping) else os.fspath(self._source)
        return f"<{type(self).__name__} {self.name!r} of {source}>"

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """The handlers by name, those that others wrap included."""
        parts = self._build.parts
        return MappingProxyType({name: part.handler for name, part in parts.items()})

    @property
    def objects(self) -> list[StackedObject]:
        """What is bound, from the one with the least priority to the one with the most."""
        return list(self._build.nested.objects)

    def statistics(self) -> dict[str, int]:
        """Return counts.

        ``reloads`` counts those that came into force, ``failed_reloads`` those that did not;
        ``left_open`` the old set-ups that a log call was still in when its time was over, whose
        handlers are closed when nobody holds them any more.
        """
        return dict(self._counts)

    # -- bound and unbound

    def push_application(self) -> None:
        """Bind to the application: all threads, all tasks.

        Raises:
            AssertionError: It is there already, or closed.
        """
        with self._lock:
            self._check_open()
            if self._is_in_application:
                raise MisuseError(f"{self!r} is bound to the application already")
            exchange(None, self._build.stacks)
            self._is_in_application = True
            self._redirect()

    def pop_application(self) -> None:
        """Unbind from the application, whatever was bound after it.

        Raises:
            AssertionError: It is not bound there.
        """
        with self._lock:
            if not self._is_in_application:
                raise MisuseError(f"{self!r} is not bound to the application")
            self._is_in_application = False
            self._redirect()
            exchange(self._build.stacks, None)

    def push_context(self) -> None:
        """Bind to the current context.

        It has what the set-up is now until it unbinds: a reload is for those that bind later.
        Redirection of stdlib logging and warnings is for the whole process, here as well.
        """
        with self._lock:
            self._check_open()
            made = self._build
            made.nested.push_context()
            made.contexts += 1
            self._bound.set((*self._bound.get(), made))
            self._redirect()

    def pop_context(self) -> None:
        """Unbind from the current context.

        Raises:
            AssertionError: It is not bound there, or something else is on top.
        """
        bound = self._bound.get()
        if not bound:
            raise MisuseError(f"{self!r} is not bound to this context")
        made = bound[-1]
        made.nested.pop_context()
        self._bound.set(bound[:-1])
        with self._lock:
            made.contexts -= 1
            self._redirect()
            is_last = made is not self._build and not made.contexts
        if is_last:
            self._retire(made)

    def _check_open(self) -> None:
        if self._is_closed:
            raise MisuseError(f"{self!r} is closed; load it again")

    def _redirect(self) -> None:
        blueprint = self._build.blueprint
        is_bound = self._is_in_application or any(made.contexts for made in self._builds)
        self._redirection.follow(
            logging=is_bound and blueprint.redirect_logging,
            warnings=is_bound and blueprint.redirect_warnings,
        )

    # -- another one in its place

    def reload(self, source: Source | None = None) -> None:
        """Read the files again, and put what they say now in the place of what they said.

        The new set-up is made completely before anything changes.  Handlers of which nothing but
        level, filter, bubble or format changed are kept, with all that they hold; the others are
        replaced in one step, and the old ones closed when no log call is in them any more, having
        delivered what waits.  No record is lost or written twice.  A file that ``mode = "w"``
        emptied at the start is not emptied again.

        This takes as long as the old handlers take to deliver: call it in a thread where that
        matters.

        Args:
            source: Another file, or other contents, from now on.

        Raises:
            SetupError: Something is wrong; the set-up stays as it was, and says so.
            AssertionError: It is closed.
        """
        with self._lock:
            self._check_open()
            old = self._build
            try:
                made = self._make(self._source if source is None else source, self.name, old)
            except SetupError:
                self._counts["failed_reloads"] += 1
                raise
            self._source = self._source if source is None else source
            made.settle()
            if self._is_in_application:
                exchange(old.stacks, made.stacks)
            self._build = made
            self._redirect()
            self._counts["reloads"] += 1
            is_free = not old.contexts
        if is_free:
            self._retire(old)

    def _retire(self, made: Build) -> None:
        if wait_for_calls():
            made.retire()
        else:
            # Closed by the last who lets go of them.
            self._counts["left_open"] += 1

    def close(self) -> bool:
        """Unbind from the application, deliver what waits, close the handlers; twice is once.

        What a context has bound is closed as well: close it when that is over.

        Returns:
            Whether everything was delivered in time.
        """
        with self._lock:
            if self._is_closed:
                return True
            self._is_closed = True
            if self._is_in_application:
                self.pop_application()
            self._redirection.follow(logging=False, warnings=False)
            builds = list(self._builds)
        wait_for_calls()
        done = [made.retire() for made in builds]
        return all(done)


def load(
    source: Source, name: str | None = None, *, environ: Mapping[str, str] | None = None
) -> Setup:
    """Return a set-up, ready to be bound; its handlers are open.

    Args:
        source: The path of a TOML file, or what such a file would contain.
        name: Which of its set-ups; ``None`` means the only one, or ``"default"``.
        environ: Where variables are looked up; the environment of the process unless given.

    Raises:
        SetupError: Something is wrong; it has all problems, not the first alone.
    """
    return Setup(source, name, environ)


def from_reference(reference: str, *, environ: Mapping[str, str] | None = None) -> Setup:
    """Return the set-up that *reference* names: ``"path.toml:name"``, or ``"path.toml"``.

    Raises:
        SetupError: Something is wrong.
    """
    path, name = parse_reference(reference)
    return load(path, name, environ=environ)


def parse_reference(reference: str) -> tuple[str, str | None]:
    """Return the path and the name in *reference*.

    >>> parse_reference("etc/logging.toml:production")
    ('etc/logging.toml', 'production')
    >>> parse_reference("etc/logging.toml"), parse_reference("C:/logging.toml")
    (('etc/logging.toml', None), ('C:/logging.toml', None))
    """
    path, _, name = reference.rpartition(":")
    if not path or path.isspace() or not name or "/" in name or "\\" in name:
        return reference, None
    return path, name


def check(
    source: Source, name: str | None = None, *, environ: Mapping[str, str] | None = None
) -> list[Problem]:
    """Return all that is wrong in a file of set-ups; nothing is opened, connected or bound.

    Constructors of handlers of our own are called as well, if that has no effect outside; those of
    others are not.  The modules of dotted paths are imported, secrets and variables are looked up.

    Args:
        source: The path of a TOML file, or what such a file would contain.
        name: Which of its set-ups; ``None`` means all, and what none of them uses.
        environ: Where variables are looked up; the environment of the process unless given.
    """
    from sprockets.logbook._setups._blueprint import Reader
    from sprockets.logbook._setups._build import try_out
    from sprockets.logbook._setups._problems import Problems
    from sprockets.logbook._setups._tables import read
    from sprockets.logbook._setups._values import Values

    problems = Problems()
    environ = os.environ if environ is None else environ
    values = Values(environ, problems)
    document = read(source, values, problems)
    reader = Reader(document, environ, values, problems)
    if not document.is_complete:
        return list(problems)
    names = document.sections["setups"].keys() if name is None else [reader.choose(name)]
    plans = {}
    for one in names:
        if one is not None:
            plans.update(reader.read(one).handlers)
    if name is None:
        if not document.sections["setups"]:
            reader.choose(None)
        for other, table in document.sections["handlers"].items():
            plan = reader.read_handler(other, table.place)
            if plan is not None:
                plans[other] = plan
        for other, table in document.sections["processors"].items():
            reader.read_processor(other, table.place)
    wrong = {problem.table for problem in problems}
    for plan in plans.values():
        # Told already; the constructor would say it once more, in other words.
        if plan.place.table not in wrong:
            try_out(plan, values, problems)
    return list(problems)

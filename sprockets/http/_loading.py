"""Loading: what ``module:name`` refers to, imported and called in the process that serves it.

So new workers have new code, and what the environment files say by then.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import logging
import logging.config
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

from tornado import web

from sprockets.http import _environment_file
from sprockets.http._logging import UNSET, LogConfig, _ToStdlibLogging
from sprockets.http._supervisor import EXIT_START
from sprockets.logbook import NullHandler
from sprockets.logbook.base import StackedObject
from sprockets.logbook.compat import RedirectLoggingHandler

EXIT_CONFIG: Final = 78  # EX_CONFIG: what the command was told makes no sense


class CommandError(Exception):
    """The command ends with *status*, and its text is what the user is told, on one line.

    Args:
        text: What is wrong, and what to do.
        status: For whoever started the command.
    """

    def __init__(self, text: str, status: int = EXIT_CONFIG) -> None:
        super().__init__(" ".join(text.split()))
        self.status = status


# -- what the command line names


@dataclass(frozen=True)
class Reference:
    """A thing that a module has, written ``package.module:name``."""

    module: str
    attribute: str

    def __str__(self) -> str:
        return f"{self.module}:{self.attribute}"


def parse_reference(text: str) -> Reference:
    """Return what *text* refers to.

    Raises:
        CommandError: It is not a module, a colon and a name.

    >>> parse_reference("shop.app:make_app")
    Reference(module='shop.app', attribute='make_app')
    """
    module, _, attribute = text.partition(":")
    names = module.split(".")
    if all(name.isidentifier() for name in (*names, attribute)) and names[-1] != "py":
        return Reference(module, attribute)
    hint = ""
    path, dot, _ = module.partition(".py")
    if text.count(":") <= 1 and (dot or os.sep in module):
        name = os.path.normpath(path).replace(os.sep, ".").lstrip(".")
        hint = f"; name the module, not its file: {name}:{attribute or 'make_app'}"
    raise CommandError(
        f"expected a module, one colon and a name, as in package.module:make_app,"
        f" got {text!r}{hint}"
    )


def find_top(reference: Reference) -> None:
    """See whether there is such a module at all, without importing it.

    Raises:
        CommandError: There is none.
    """
    top = reference.module.partition(".")[0]
    try:
        found = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        # What is odd here may be right when it is imported.
        return
    if found is None:
        raise CommandError(
            f"cannot find the module {top!r} of {str(reference)!r}; run the command in the"
            f" directory that has it, or install it for {sys.executable}"
        )


def load(reference: Reference) -> Any:
    """Import the module and return what *reference* says.

    Raises:
        CommandError: There is no such module, it cannot be imported, or it has no such attribute.
            What the module itself raised is the cause.
    """
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(reference.module)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and _is_part(error.name, reference.module):
            raise CommandError(f"cannot find the module of {str(reference)!r}: {error}") from None
        advice = ""
        if isinstance(error, ModuleNotFoundError):
            advice = f"; install what is missing for {sys.executable}"
        raise CommandError(
            f"cannot import {reference.module!r}: {describe_error(error)}{advice}", EXIT_START
        ) from error
    try:
        return getattr(module, reference.attribute)
    except AttributeError:
        place = getattr(module, "__file__", None)
        similar = difflib.get_close_matches(reference.attribute, dir(module), 1)
        raise CommandError(
            f"module {reference.module!r}{f' ({place})' if place else ''} has no"
            f" {reference.attribute!r}{f'; did you mean {similar[0]!r}?' if similar else ''}"
        ) from None


def _is_part(name: str | None, module: str) -> bool:
    return name is not None and (module == name or module.startswith(f"{name}."))


def load_callable(reference: Reference) -> Callable[..., Any]:
    """Import the module and return the function or class that *reference* says.

    Raises:
        CommandError: As for :func:`load`, or it cannot be called.
    """
    found = load(reference)
    if not callable(found):
        kind = "an application" if isinstance(found, web.Application) else describe_kind(found)
        raise CommandError(
            f"{str(reference)!r} is {kind}, not callable; name a function that returns the"
            f" application"
        )
    made: Callable[..., Any] = found
    return made


def make_application(reference: Reference, keywords: Mapping[str, Any]) -> web.Application:
    """Import the factory and return the application it makes of *keywords*.

    Raises:
        CommandError: As for :func:`load_callable`, or it made none.
    """
    factory = load_callable(reference)
    try:
        inspect.signature(factory).bind(**keywords)
    except TypeError as error:
        given = ", ".join(sorted(keywords))
        raise CommandError(
            f"cannot call {str(reference)!r} with the keyword arguments {given}: {error};"
            f" let it take them as **settings",
            EXIT_START,
        ) from None
    except ValueError:
        pass  # nobody knows what it takes, as with some that are written in C
    try:
        made = factory(**keywords)
    except Exception as error:
        raise CommandError(
            f"{str(reference)!r} could not make the application: {describe_error(error)}",
            EXIT_START,
        ) from error
    if not isinstance(made, web.Application):
        if inspect.iscoroutine(made):
            made.close()
        raise CommandError(
            f"{str(reference)!r} returned {describe_kind(made)}, not a tornado.web.Application",
            EXIT_START,
        )
    return made


def load_logging(reference: Reference) -> Any:
    """Import what *reference* says, which is something that logging can be set up with.

    Raises:
        CommandError: As for :func:`load`, or it is something else.
    """
    found = load(reference)
    if isinstance(found, (StackedObject, dict)) or callable(found):
        return found
    raise CommandError(
        f"{str(reference)!r} is {describe_kind(found)}; name a handler or other stacked object, a"
        f" function that returns one, or a dict for logging.config.dictConfig"
    )


def make_logging(given: Any, reference: Reference) -> StackedObject:
    """Return what is to be bound where *given* was found for logging.

    Raises:
        CommandError: A function or a dict does not do what it should; the cause says why.
    """
    if isinstance(given, StackedObject):
        return given
    try:
        if isinstance(given, dict):
            logging.config.dictConfig(given)
            root = logging.getLogger()
            for handler in list(root.handlers):
                # It would lead back to where the records come from.
                if isinstance(handler, RedirectLoggingHandler):
                    root.removeHandler(handler)
            return _ToStdlibLogging()
        made = given()
    except Exception as error:
        raise CommandError(
            f"{str(reference)!r} could not set logging up: {describe_error(error)}", EXIT_START
        ) from error
    if isinstance(made, StackedObject):
        return made
    raise CommandError(
        f"{str(reference)!r} returned {describe_kind(made)}, not a handler or other stacked object"
    )


def describe_kind(thing: object) -> str:
    """Return what kind of thing *thing* is, with its article.

    >>> describe_kind(1), describe_kind(None)
    ('an int', 'None')
    """
    if thing is None:
        return "None"
    kind = type(thing)
    name = kind.__name__
    name = name if kind.__module__ == "builtins" else f"{kind.__module__}.{name}"
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def describe_error(error: BaseException) -> str:
    """Return the class, the text and the place of *error*, all on one line."""
    text = " ".join(str(error).split())
    described = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if isinstance(error, SyntaxError):
        return described  # its text names the place
    frames = traceback.extract_tb(error.__traceback__)
    # Not in the import system, which every failing import ends in.
    frames = traceback.StackSummary(f for f in frames if not f.filename.startswith("<frozen"))
    return f"{described} ({frames[-1].filename}, line {frames[-1].lineno})" if frames else described


# -- the process


class Environment:
    """The environment files of a service, and what its command line puts above them.

    Args:
        paths: The files, from the first to the last.
        overrides: Variables that no file can define otherwise.
        environ: Where all that is defined.
    """

    def __init__(
        self,
        paths: Iterable[str] = (),
        overrides: Mapping[str, str] | None = None,
        environ: MutableMapping[str, str] | None = None,
    ) -> None:
        self.paths: tuple[str, ...] = tuple(paths)
        self._overrides = dict(overrides or {})
        self._environ = os.environ if environ is None else environ
        self._before: dict[str, str | None] = {}

    def apply(self) -> None:
        """Define what the files say now, and nothing that they said the last time.

        Raises:
            CommandError: One of them cannot be read.
        """
        environ = self._environ
        for name, text in self._before.items():
            if text is None:
                environ.pop(name, None)
            else:
                environ[name] = text
        before = dict(environ)
        try:
            for path in self.paths:
                _apply(path, environ)
            environ.update(self._overrides)
        finally:
            self._before = {
                name: before.get(name)
                for name in before.keys() | environ.keys()
                if before.get(name) != environ.get(name)
            }

    def apply_quietly(self) -> bool:
        """Do as :meth:`apply` does, without a record; return whether anything is different now."""
        before = dict(self._environ)
        with NullHandler().contextbound():
            self.apply()
        return before != dict(self._environ)


def _apply(path: str, environ: MutableMapping[str, str]) -> None:
    try:
        _environment_file.apply(path, environ)
    except OSError as error:
        raise CommandError(
            f"cannot read the environment file {path!r}: {error.strerror or error}"
        ) from None
    except ValueError as error:
        raise CommandError(f"cannot read the environment file {path!r}: {error}") from None


class Service:
    """What the command serves, made in the process that serves it.

    Args:
        factory: Makes the application.
        environment: Applied again first, as it may have changed since.
        log_config: What to log with, if it is not the built-in set-up.
        program: How the command calls itself.
    """

    def __init__(
        self,
        factory: Reference,
        environment: Environment,
        log_config: Reference | None = None,
        program: str = "",
    ) -> None:
        self.factory = factory
        self._environment = environment
        self._log_config = log_config
        self._program = program

    @property
    def log_config(self) -> LogConfig:
        """What ``run`` is to be given."""
        return UNSET if self._log_config is None else self._make_logging

    def create(self, **keywords: Any) -> web.Application:
        """Make the application.

        Raises:
            SystemExit: It cannot be found; the user has been told.
            Exception: What its code raised; of that, too.
        """
        try:
            self._refresh()
            return make_application(self.factory, keywords)
        except CommandError as error:
            problem = error
        raise self._explain(problem)

    def _make_logging(self) -> StackedObject:
        assert self._log_config is not None
        try:
            self._refresh()
            return make_logging(load_logging(self._log_config), self._log_config)
        except CommandError as error:
            problem = error
        raise self._explain(problem)

    def _refresh(self) -> None:
        if self._environment.apply_quietly():
            self._environment.apply()  # what changed is worth its records

    def _explain(self, problem: CommandError) -> BaseException:
        """Tell the user, and return what the caller of ours should see."""
        complain(self._program, problem)
        cause = problem.__cause__
        if cause is None:
            # All is said, and a traceback would only show our own code.
            return SystemExit(problem.status)
        return cause.with_traceback(_without_ours(cause.__traceback__))


def _without_ours(trace: TracebackType | None) -> TracebackType | None:
    """Return *trace* from where the code of the application begins."""
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if name not in (__file__, importlib.__file__) and not name.startswith("<frozen"):
            break
        trace = trace.tb_next
    return trace


def complain(program: str, error: BaseException) -> None:
    """Tell the user, on one line of standard error."""
    print(f"{program}: {error}", file=sys.stderr, flush=True)  # noqa: T201  # what a command is for


def look_here_first() -> None:
    """Have modules in the current directory found, and before all others."""
    here = os.getcwd()
    if sys.path[:1] not in ([""], [here]):
        sys.path.insert(0, here)

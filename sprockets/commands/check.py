"""``sprockets check``: is a set-up right, and does what it is sent arrive?"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NoReturn

from sprockets.commands._check_report import Row, to_json, write_table
from sprockets.http._loading import (
    CommandError,
    complain,
    describe_error,
    find_top,
    load_logging,
    look_here_first,
    make_logging,
    parse_reference,
)
from sprockets.logbook import Flags, Handler, NestedSetup, lookup_level, setups
from sprockets.logbook._setups._probe import innermost
from sprockets.logbook.base import StackedObject

EXIT_LOST: Final = 1
"""Something did not arrive, or the set-up could not be opened."""
EXIT_INPUT: Final = 2
"""What the command was told makes no sense, or the file has problems."""

_GRACE: Final = 1.0
_CLOSING: Final = 2.0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise CommandError(f"{message}; see {self.prog} --help", EXIT_INPUT)


class _ProblemsError(Exception):
    """The file of a set-up has problems."""

    def __init__(self, problems: Sequence[setups.Problem], status: int) -> None:
        super().__init__(problems)
        self.problems = problems
        self.status = status


def make_parser(program: str) -> argparse.ArgumentParser:
    """Return the parser for the arguments of the command that is called *program*."""
    parser = _Parser(
        prog=program,
        usage="%(prog)s [options] SETUP",
        description=(
            "Say what is wrong with a set-up; then send one record through each of its handlers,"
            " past levels and filters, and say what became of it.  The records are real: a mail is"
            " a mail."
        ),
        epilog=(
            "SETUP:\n"
            "  logging.toml             the only set-up in a file, or the one named 'default'\n"
            "  logging.toml:production  one of several\n"
            "  package.module:name      a handler or other stacked object, or a function that\n"
            "                           returns one: what 'sprockets run --log-config' takes\n\n"
            "arrived? is 'taken' where the destination does not answer, as with datagrams.\n\n"
            "exit statuses: 0 if all arrived or were taken, 1 if something did not, or the set-up\n"
            "could not be opened, 2 if the arguments or the file make no sense."
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("setup", metavar="SETUP", help="the set-up, see below")
    add("--no-send", action="store_true", help="say what is wrong; open and send nothing")
    add(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="this handler alone; may be repeated",
    )
    add(
        "--level",
        default="notice",
        help="level of the record, raised to the handler's own if that is higher (%(default)s)",
    )
    add(
        "--timeout",
        type=_seconds,
        default=5.0,
        metavar="SECONDS",
        help="how long a record may take to arrive (%(default)g)",
    )
    add("--json", action="store_true", help="one JSON object on standard output")
    return parser


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"expected seconds, more than 0, got {text!r}")
    return seconds


def main(argv: Sequence[str] | None = None, program: str = "sprockets check") -> int:
    """Check the set-up that *argv* names, and return the exit status.

    Args:
        argv: The arguments; those of the process unless given.
        program: What the command is called.
    """
    try:
        arguments = make_parser(program).parse_args(argv)
        return _check(arguments)
    except CommandError as error:
        complain(program, error)
        # What others have statuses of their own for is bad input here.
        return EXIT_LOST if error.status == EXIT_LOST else EXIT_INPUT
    except SystemExit as end:
        # argparse has printed the help.
        return int(end.code or 0)


def _check(arguments: argparse.Namespace) -> int:
    try:
        text = arguments.level.upper()
        level = lookup_level(int(text) if text.isdecimal() else text)
    except LookupError as error:
        raise CommandError(f"argument --level: {error.args[0]}", EXIT_INPUT) from None
    # So that what handlers write to standard output is not in the middle of the answer.
    elsewhere = contextlib.redirect_stdout(sys.stderr) if arguments.json else None
    rows: list[Row] = []
    problems: Sequence[setups.Problem] = ()
    with elsewhere or contextlib.nullcontext():
        try:
            make = _find(arguments.setup)
            if not arguments.no_send:
                rows = _send_all(_open(make, arguments.setup), arguments, level)
            status = EXIT_LOST if any(not row.probe.arrived for row in rows) else 0
        except _ProblemsError as error:
            problems, status = error.problems, error.status
    if arguments.json:
        _say(to_json(arguments.setup, problems, rows, ok=status == 0))
    elif rows:
        write_table(rows, sys.stdout, os.environ)
    elif problems:
        print(*problems, sep="\n", file=sys.stderr)  # noqa: T201  # what a command is for
    else:
        _say(f"nothing is wrong with {arguments.setup}; nothing was sent")
    return status


def _say(text: str) -> None:
    print(text)  # noqa: T201  # what a command is for


# -- the set-up


def _find(reference: str) -> Callable[[], StackedObject]:
    """Return what makes the set-up, having looked for what is wrong with it."""
    if ".toml" in reference:
        path, name = setups.parse_reference(reference)
        problems = setups.check(path, name)
        if problems:
            raise _ProblemsError(problems, EXIT_INPUT)
        return lambda: setups.load(path, name)
    look_here_first()
    place = parse_reference(reference)
    find_top(place)
    found = load_logging(place)
    return lambda: make_logging(found, place)


def _open(make: Callable[[], StackedObject], reference: str) -> StackedObject:
    try:
        return make()
    except setups.SetupError as error:
        raise _ProblemsError(error.problems, EXIT_LOST) from None
    except CommandError as error:
        status = EXIT_LOST if error.__cause__ is not None else EXIT_INPUT
        raise CommandError(str(error), status) from error.__cause__
    except Exception as error:
        raise CommandError(
            f"the set-up {reference} cannot be opened: {describe_error(error)}", EXIT_LOST
        ) from error


def handlers_of(setup: StackedObject) -> dict[str, Handler]:
    """Return the handlers that *setup* binds, by name: those that wrap, not what they wrap.

    One that hands on to several others stands for these.
    """
    found: dict[str, Handler] = {}
    for name, handler in _expanded(_named_handlers(setup)):
        number, free = 1, name
        while free in found:
            number += 1
            free = f"{name}-{number}"
        found[free] = handler
    return found


def _expanded(named: Iterable[tuple[str, Handler]]) -> Iterator[tuple[str, Handler]]:
    """Yield in the place of a handler that has several, each for a reason, each of these."""
    for name, handler in named:
        inner = vars(handler).get("handlers")
        found = [
            (f"{name}/{reason}", other)
            for reason, others in (inner.items() if isinstance(inner, Mapping) else ())
            for other in (others if isinstance(others, list) else [others])
        ]
        if found and all(isinstance(other, Handler) for _, other in found):
            yield from found
        else:
            yield name, handler


def _named_handlers(setup: object) -> Iterator[tuple[str, Handler]]:
    if isinstance(setup, Handler):
        yield type(setup).__name__.removesuffix("Handler").lower() or "handler", setup
    elif isinstance(setup, NestedSetup):
        for part in setup.objects:
            yield from _named_handlers(part)
    elif isinstance(setup, setups.Setup | setups.ReadySetup):
        names = {id(handler): name for name, handler in setup.handlers.items()}
        for part in setup.objects:
            if id(part) in names and isinstance(part, Handler):
                yield names[id(part)], part
            elif not isinstance(part, Handler):
                yield from _named_handlers(part)


# -- the records


def _send_all(setup: StackedObject, arguments: argparse.Namespace, level: int) -> list[Row]:
    # Each handler's failure is in its row; what engines report besides would be told twice.
    with Flags(errors="silent").applicationbound():
        try:
            handlers = _chosen(handlers_of(setup), arguments.only, arguments.setup)
            return _send(handlers, level, arguments.timeout)
        finally:
            _close(setup)


def _chosen(
    handlers: Mapping[str, Handler], only: Sequence[str], reference: str
) -> Mapping[str, Handler]:
    if not handlers:
        raise CommandError(f"{reference} has no handlers, so there is nothing to send", EXIT_INPUT)
    for name in only:
        if name not in handlers:
            similar = difflib.get_close_matches(name, handlers, 1)
            hint = f"; did you mean {similar[0]!r}?" if similar else ""
            raise CommandError(
                f"{reference} has no handler {name!r}; known: {', '.join(handlers)}{hint}",
                EXIT_INPUT,
            )
    return {name: handler for name, handler in handlers.items() if not only or name in only}


def _send(handlers: Mapping[str, Handler], level: int, timeout: float) -> list[Row]:
    """Send all records at once, and wait for those that take longer than they may no longer."""
    probes: dict[str, setups.Probe] = {}

    def send(name: str, handler: Handler) -> None:
        probes[name] = setups.probe(handler, level=level, timeout=timeout)

    begin = time.monotonic()
    threads = [
        threading.Thread(target=send, args=item, name=f"check {item[0]}", daemon=True)
        for item in handlers.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, begin + timeout + _GRACE - time.monotonic()))
    rows = []
    for name, handler in handlers.items():
        found = probes.get(name)
        if found is None:
            waited = time.monotonic() - begin
            detail = f"the log call has not returned after {waited:.1f} s"
            found = setups.Probe(type(innermost(handler)).__name__, False, detail, waited, False)
        rows.append(Row(name, found))
    return rows


def _close(setup: StackedObject) -> None:
    """Let go of all: what has not arrived by now is not waited for."""
    thread = threading.Thread(target=_close_all, args=(setup,), name="check closing", daemon=True)
    thread.start()
    thread.join(_CLOSING)


def _close_all(setup: StackedObject) -> None:
    for part in (*map(innermost, handlers_of(setup).values()), *_parts(setup)):
        with contextlib.suppress(Exception):  # in its row is what matters of it
            close: Any = getattr(part, "close", None)
            if close is not None:
                close(*([0] if hasattr(part, "delivery") else []))


def _parts(setup: StackedObject) -> Iterable[StackedObject]:
    return setup.objects if type(setup) is NestedSetup else [setup]

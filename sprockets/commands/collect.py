"""``sprockets collect``: receive the records of many processes, and write them from one place."""

from __future__ import annotations

import argparse
import faulthandler
import math
import os
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

from sprockets._support.optional import MissingDependency
from sprockets.commands._watching import Renewal, find_command
from sprockets.http._loading import CommandError, complain
from sprockets.http._logging import make_setup
from sprockets.http._notify import Notifier
from sprockets.http._supervisor import EXIT_START, EXIT_UNAVAILABLE, EXIT_UNCLEAN
from sprockets.logbook import setups
from sprockets.logbook._collecting._beats import Watchdog
from sprockets.logbook.base import StackedObject
from sprockets.logbook.collecting import Collector, Source, source_examples, source_from_url
from sprockets.logbook.compat import redirected_logging, redirected_warnings

_VARIABLE: Final = "env:"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise CommandError(f"{message}; see {self.prog} --help")


def make_parser(program: str) -> argparse.ArgumentParser:
    """Return the parser for the arguments of the command that is called *program*."""
    examples = "\n".join(f"  {example}" for example in source_examples())
    parser = _Parser(
        prog=program,
        usage="%(prog)s [options] SOURCE ...",
        description="Receive records from all sources, and write them as a set-up says.",
        epilog=(
            f"sources:\n{examples}\n"
            "  env:VARIABLE, which holds one of these: a password on the command line is seen by"
            " all\n\n"
            "exit statuses: 0 after a clean stop, 69 if a source cannot be opened, 70 if the set-up"
            "\ncannot be, 75 if something had to be cut short, 78 if the arguments or the file of"
            "\nthe set-up make no sense.  SIGTERM and SIGINT stop, SIGHUP reads the set-up again,"
            "\nSIGUSR1 opens log files again and logs the statistics."
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("sources", nargs="*", metavar="SOURCE", help="where records come from, see below")
    add(
        "--setup",
        metavar="FILE[:NAME]",
        help="a file of set-ups, and which of them; without it, JSON lines on standard output",
    )
    add("--check", action="store_true", help="say what is wrong; open and connect nothing")
    add(
        "--statistics-every",
        type=_seconds,
        default=0.0,
        metavar="SECONDS",
        help="log what came so far, again and again",
    )
    add(
        "--drain-timeout",
        type=_seconds,
        default=5.0,
        metavar="SECONDS",
        help="how long the end may take to receive what is under way (%(default)g)",
    )
    add(
        "--heartbeat-timeout",
        type=_seconds,
        default=60.0,
        metavar="SECONDS",
        help="begin anew if a handler has blocked so long (%(default)g); 0 for never",
    )
    add("--threads", type=_threads, metavar="N", help="threads; one for each source by default")
    return parser


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"expected seconds, 0 or more, got {text!r}")
    return seconds


def _threads(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1 on, got {text!r}")
    return int(text)


def main(argv: Sequence[str] | None = None, program: str = "sprockets collect") -> int:
    """Collect as *argv* says until a signal says stop, and return the exit status.

    Args:
        argv: The arguments; those of the process unless given.
        program: What the command is called.
    """
    try:
        arguments = make_parser(program).parse_args(argv)
        sources = _find_sources(arguments.sources)
        if arguments.check:
            return _check(sources, arguments.setup)
        return _collect(sources, arguments, sys.argv[1:] if argv is None else argv)
    except CommandError as error:
        complain(program, error)
        return error.status
    except SystemExit as end:
        # argparse has printed the help.
        return int(end.code or 0)


def _find_sources(texts: Sequence[str]) -> list[Source]:
    if not texts:
        raise CommandError(
            "receive from what? name a source, as in zmq+reliable://127.0.0.1:5555; see --help"
        )
    found: list[Source] = []
    for text in texts:
        name = text.removeprefix(_VARIABLE)
        url = os.environ.get(name, "") if name != text else text
        if not url:
            raise CommandError(f"the environment variable {name!r} of {text} is not set")
        try:
            source = source_from_url(url)
        except ValueError as error:
            raise CommandError(str(error)) from None
        if any(source.name == other.name for other in found):
            raise CommandError(f"{source.name} is there twice")
        found.append(source)
    return found


def _check(sources: Sequence[Source], reference: str | None) -> int:
    """Say what would be done, or what is wrong with it."""
    lines = [f"would collect from {source.name}" for source in sources]
    if reference is None:
        lines.append("into JSON lines on standard output")
    else:
        path, name = setups.parse_reference(reference)
        problems = setups.check(path, name)
        if problems:
            raise CommandError("; ".join(map(str, problems)))
        lines.append(f"into {f'the set-up {name!r}' if name else 'the only set-up'} of {path}")
    print("\n".join(lines))  # noqa: T201  # what the command was asked for
    return 0


def _load(reference: str | None) -> StackedObject:
    if reference is None:
        return make_setup("json")
    try:
        return setups.from_reference(reference)
    except setups.SetupError as error:
        raise CommandError("; ".join(map(str, error.problems))) from None
    except Exception as error:
        raise CommandError(
            f"the set-up {reference} cannot be opened: {type(error).__name__}: {error}", EXIT_START
        ) from error


def _collect(sources: Sequence[Source], arguments: argparse.Namespace, argv: Sequence[str]) -> int:
    setup = _load(arguments.setup)
    limit = arguments.heartbeat_timeout
    renewal = Renewal(find_command(argv), limit)
    watchdog = Watchdog(limit, renewal)
    if not faulthandler.is_enabled() and sys.__stderr__ is not None:
        # So that a process manager that ends it with SIGABRT learns where it was.
        faulthandler.enable(sys.__stderr__, all_threads=True)
    is_clean = True
    try:
        collector = Collector(
            sources,
            setup,
            threads=arguments.threads,
            drain_timeout=arguments.drain_timeout,
            statistics_interval=arguments.statistics_every,
            notifier=Notifier(),
            heart=watchdog,
        )
        renewal.collector = collector
        _open(collector)
        watchdog.start()
        with redirected_logging(), redirected_warnings():
            is_clean = collector.run(signals=True)
    finally:
        renewal.is_last = True
        close = getattr(setup, "close", None)
        if close is not None and close() is False:
            is_clean = False
        watchdog.stop()
    return 0 if is_clean else EXIT_UNCLEAN


def _open(collector: Collector) -> None:
    try:
        collector.open()
    except MissingDependency as error:
        raise CommandError(str(error)) from None
    except Exception as error:
        where = " ".join(getattr(error, "__notes__", ()))
        raise CommandError(
            f"cannot receive: {type(error).__name__}: {error} ({where})", EXIT_UNAVAILABLE
        ) from error

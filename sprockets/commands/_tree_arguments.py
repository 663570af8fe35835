"""The arguments of ``sprockets tree``, and what they mean for the drawing."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from sprockets.commands._log_files import STDIN
from sprockets.eliot._trees._drawing import MIN_WIDTH, Look
from sprockets.eliot._trees._forest import MAX_OPEN
from sprockets.eliot._trees._times import parse_duration, parse_moment

_SIGNS: Final = "✔✘○·├─└│→…µ"


def make_parser(program: str) -> argparse.ArgumentParser:
    """Return the parser for the arguments of the command that is called *program*."""
    parser = argparse.ArgumentParser(
        prog=program,
        usage="%(prog)s [options] [FILE ...]",
        description="Draw what tasks and requests did, as trees, from logs of JSON lines: messages"
        " of actions and records, also mixed. Several files are read as one log, in the order of"
        " time; gzip is unpacked. Without a file, standard input is read.",
        epilog="The exit status is 0 if something was drawn, 1 if nothing matched, 2 if the"
        " arguments make no sense or a file could not be read.",
    )
    add = parser.add_argument
    add("files", nargs="*", metavar="FILE", help="a log; - is standard input")
    add(
        *("-f", "--follow"),
        action="store_true",
        help="go on as the logs grow, also when they are rotated",
    )
    group = parser.add_argument_group("which trees")
    add = group.add_argument
    add("--request", metavar="ID", help="those of this request")
    add("--task", metavar="UUID", help="the task whose id begins so")
    add("--type", metavar="GLOB", help="with an action of this type, such as 'http:*'")
    add(
        "--status",
        choices=("succeeded", "failed", "started"),
        help="with an action (of this type) that failed or was only started; succeeded:"
        " without such, or with one of this type that succeeded",
    )
    add(
        "--min-duration",
        type=_argument(parse_duration),
        metavar="TIME",
        help="with an action (of this type and status) that took so long, such as 0.5 or 500ms",
    )
    add("--since", metavar="WHEN", help="that were there then or later: a date, 10:00, 2h (ago)")
    add("--until", metavar="WHEN", help="that began before then")
    add("--last", type=_argument(_count), metavar="N", help="the last N of them")
    group = parser.add_argument_group("what is shown of them")
    add = group.add_argument
    add("--summary", action="store_true", help="a table: the types of actions, and their times")
    add("--json", action="store_true", help="one JSON object a line")
    fields = group.add_mutually_exclusive_group()
    fields.add_argument(
        "--fields", metavar="GLOBS", help="only these fields, such as 'user,order_*'"
    )
    fields.add_argument("--no-fields", action="store_true", help="no fields")
    add("--absolute", action="store_true", help="times of the clock, not since the start")
    add("--utc", action="store_true", help="UTC, not local time")
    add("--wide", action="store_true", help="lines as long as they are, nothing left out")
    add("--width", type=_argument(_count), metavar="N", help="columns of a line")
    add("--ascii", action="store_true", help="draw with ASCII only")
    add("--color", choices=("auto", "always", "never"), default="auto", help="on a terminal: auto")
    parser.add_argument(
        "--max-open",
        type=_argument(_positive),
        default=MAX_OPEN,
        metavar="N",
        help="messages of unfinished tasks that are held in memory (%(default)s)",
    )
    return parser


def _argument(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return *parse* for argparse, which keeps the text of its own kind of error only."""

    def parse_argument(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parse_argument


def _count(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"not a number: {text!r}")
    return int(text)


def _positive(text: str) -> int:
    number = _count(text)
    if not number:
        raise ValueError("must be at least 1")
    return number


def read_arguments(argv: Sequence[str] | None, program: str) -> argparse.Namespace:
    """Return the arguments, with moments as seconds since the epoch.

    Raises:
        SystemExit: They make no sense, which has been said; or help was asked for.
    """
    parser = make_parser(program)
    options = parser.parse_args(argv)
    now = datetime.now(UTC)
    for name in ("since", "until"):
        text = getattr(options, name)
        if text is not None:
            try:
                setattr(options, name, parse_moment(text, now, is_utc=options.utc))
            except ValueError as error:
                parser.error(f"argument --{name}: {error}")
    if options.task is not None:
        options.task = options.task.partition("@")[0]
    if options.width is not None and options.width < MIN_WIDTH:
        parser.error(f"argument --width: must be at least {MIN_WIDTH}")
    if options.follow and options.summary:
        parser.error("a summary needs an end: leave out --follow, or --summary")
    if options.last == 0 and not options.follow:
        parser.error("argument --last: 0 makes sense with --follow only")
    if not options.files:
        if sys.stdin is None or sys.stdin.isatty():
            parser.error("which FILE? (standard input is the terminal)")
        options.files = [STDIN]
    if options.files.count(STDIN) > 1:
        parser.error("standard input can be read once only")
    return options


def _should_color(choice: str, out: TextIO, environ: Mapping[str, str]) -> bool:
    if choice != "auto":
        return choice == "always"
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return True
    return environ.get("TERM") != "dumb" and out.isatty()


def look_of(options: argparse.Namespace, out: TextIO) -> Look:
    """Return what trees are to look like on *out*."""
    try:
        _SIGNS.encode(out.encoding or "utf-8")
        is_ascii = options.ascii
    except (UnicodeError, LookupError):
        is_ascii = True
    fields: tuple[str, ...] | None = () if options.no_fields else None
    if options.fields is not None:
        fields = tuple(filter(None, (each.strip() for each in options.fields.split(","))))
    width = options.width or shutil.get_terminal_size((100, 24)).columns
    return Look(
        width=None if options.wide else width,
        has_colors=_should_color(options.color, out, os.environ),
        is_ascii=is_ascii,
        is_utc=options.utc,
        is_absolute=options.absolute,
        fields=fields,
    )

"""``sprockets tickets``: serve the tickets of a store, or look after them from a terminal."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

from sprockets.http._loading import CommandError, complain

_INTERRUPTED: Final = 130  # 128 + SIGINT, as shells say it
_BROKEN_PIPE: Final = 141  # 128 + SIGPIPE

WORDS: Final[dict[str, str]] = {
    "list": "list tickets",
    "show": "show a ticket, its history and its last occurrence",
    "request": "show all that was counted during a request",
    "solve": "mark tickets as solved",
    "ignore": "ignore tickets, for some time or some occurrences",
    "reopen": "mark tickets as new",
    "assign": "give tickets to somebody",
    "comment": "add a comment to a ticket",
    "merge": "make tickets one",
    "split": "make a ticket of its own of what is like an occurrence",
    "delete": "remove tickets",
    "token": "make, list and remove the tokens of programs",
}
"""The words after ``sprockets tickets``; anything else is the URL of a store to serve."""


def main(argv: Sequence[str] | None = None, program: str = "sprockets tickets") -> int:
    """Do what *argv* says, and return the exit status.

    Args:
        argv: The arguments; those of the process unless given.
        program: What the command is called.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if arguments[:1] in (["-h"], ["--help"], ["help"]):
            print(describe(program))  # noqa: T201  # what was asked for
            return 0
        word = arguments[0] if arguments else ""
        if word in WORDS:
            client = import_module("sprockets.commands._tickets_client")
            status: int = client.run(word, arguments[1:], program)
            sys.stdout.flush()
            return status
        if not arguments:
            raise CommandError(f"serve which store? or {', '.join(WORDS)}; see {program} --help")
        if word == "serve":
            arguments.pop(0)
        serving = import_module("sprockets.commands._tickets_serving")
        return int(serving.run(arguments, program))
    except CommandError as error:
        complain(program, error)
        return error.status
    except SystemExit as end:
        if isinstance(end.code, str):
            complain(program, end)
            return 1
        # argparse has printed the help.
        return end.code or 0
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # At exit, what is left in the buffer would be one more error.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE


def describe(program: str) -> str:
    """Return the help: what can be done, and how to learn more."""
    width = max(map(len, WORDS))
    return "\n".join(
        [
            f"usage: {program} [options] URL",
            f"       {program} WORD ... (--store URL | --api URL)",
            "",
            "Serve the tickets of the store at URL, or look after them from a terminal.",
            "",
            "words:",
            *(f"  {word:{width}}  {summary}" for word, summary in WORDS.items()),
            "",
            f"'{program} serve --help' and '{program} WORD --help' tell more.",
        ]
    )

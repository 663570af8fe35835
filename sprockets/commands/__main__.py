"""The ``sprockets`` command: does what the word after it says."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from typing import Final

from sprockets.commands._registry import COMMANDS

_EXIT_CONFIG: Final = 78  # EX_CONFIG: the command line makes no sense


def main(argv: Sequence[str] | None = None, program: str = "sprockets") -> int:
    """Do what the arguments say, and return the exit status.

    Args:
        argv: The arguments; those of the process unless given.
        program: How the command is called.
    """
    word, *rest = (sys.argv[1:] if argv is None else argv) or [""]
    if word in COMMANDS:
        return COMMANDS[word].load()(rest, f"{program} {word}")
    if word in ("-h", "--help", "help"):
        print(describe(program))  # noqa: T201  # what was asked for
        return 0
    if word == "--version":
        return COMMANDS["run"].load()(["--version"], program)
    known = ", ".join(sorted(COMMANDS))
    if not word:
        text = f"which command? known: {known}"
    else:
        similar = difflib.get_close_matches(word, COMMANDS, 1)
        text = f"unknown command {word!r}; known: {known}"
        text += f"; did you mean {similar[0]!r}?" if similar else ""
    print(f"{program}: {text}", file=sys.stderr)  # noqa: T201  # to whoever typed it
    return _EXIT_CONFIG


def describe(program: str) -> str:
    """Return the help: how the command is called, and which commands there are."""
    width = max(map(len, COMMANDS))
    lines = [f"  {word:{width}}  {COMMANDS[word].summary}" for word in sorted(COMMANDS)]
    return "\n".join(
        [
            f"usage: {program} [--help] [--version] COMMAND ...",
            "",
            "commands:",
            *lines,
            "",
            f"'{program} COMMAND --help' tells more.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main(program="python -m sprockets.commands"))

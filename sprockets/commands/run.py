"""``sprockets run``: serve an application."""

from __future__ import annotations

from collections.abc import Sequence

from sprockets.http import _command


def main(argv: Sequence[str], program: str = "sprockets run") -> int:
    """Serve the application that *argv* names, and return the exit status."""
    return _command.main(argv, program=program)

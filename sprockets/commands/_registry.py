"""The commands there are: a line for each, so that none is imported to list them all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import Final, TypeAlias

#: Takes the arguments and the name to show in its help, and returns the exit status.
Main: TypeAlias = Callable[[Sequence[str], str], int]


@dataclass(frozen=True)
class Command:
    """A word after ``sprockets``.

    Args:
        module: Has a function ``main``, which is called with the arguments after the word, and with
            what the command is called by then, as in ``sprockets run``.
        summary: A line for the list of commands.
    """

    module: str
    summary: str

    def load(self) -> Main:
        """Import the module and return its ``main``."""
        found: Main = import_module(self.module).main
        return found


COMMANDS: Final[Mapping[str, Command]] = MappingProxyType(
    {
        "check": Command(
            "sprockets.commands.check",
            "say what is wrong with a set-up, and what becomes of records",
        ),
        "collect": Command(
            "sprockets.commands.collect", "receive the records of many processes, write them in one"
        ),
        "run": Command("sprockets.commands.run", "serve a Tornado application"),
        "tickets": Command(
            "sprockets.commands.tickets", "serve what failed, how often, since when; look after it"
        ),
        "tree": Command(
            "sprockets.commands.tree", "draw what tasks and requests did, from their logs"
        ),
    }
)

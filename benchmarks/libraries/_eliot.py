"""Eliot: messages as dicts; no levels, no lines of text."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from itertools import repeat

import eliot
from benchmarks.cases import CHANNEL, Case, Emitted, Library, Memory, fail


def _infos(count: int) -> None:
    for _ in repeat(None, count):
        eliot.log_message("order accepted", level="INFO", channel=CHANNEL)


def _failures(count: int) -> None:
    for _ in repeat(None, count):
        try:
            fail()
        except ValueError:
            eliot.write_traceback()


def _do_nothing(_message: object) -> None:
    pass


@contextmanager
def _added(destination: object) -> Iterator[None]:
    eliot.add_destinations(destination)
    try:
        # Outside of one every message would open a task of its own.
        with eliot.start_action(action_type="sale"):
            yield
    finally:
        eliot.remove_destination(destination)


class Eliot(Library):
    """Eliot."""

    name = "Eliot"

    def prepare(self) -> None:
        """Undo what the import set up."""
        # It keeps messages in memory until the first destination is there.
        with _added(_do_nothing):
            pass

    def describe(self) -> str:
        """Return the version."""
        return version("eliot")

    @contextmanager
    def taken(self) -> Iterator[Case]:
        """A destination that does nothing."""
        with _added(_do_nothing):
            yield Case(_infos, Emitted(_do_nothing))

    @contextmanager
    def json(self) -> Iterator[Case]:
        """JSON as it comes: what else it adds belongs to it."""
        sink = Memory()
        with _added(eliot.FileDestination(sink)):
            yield Case(_infos, sink)

    @contextmanager
    def exception(self) -> Iterator[Case]:
        """A traceback in JSON."""
        sink = Memory()
        with _added(eliot.FileDestination(sink)):
            yield Case(_failures, sink)

"""What a library hands to the harness: loops to time, and the means to prove that they log.

A *case* is one library in one row of the table; a *scope* is one library's way to bind something
to a context and log inside.  Nothing here knows a library.
"""

import io
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import ClassVar, TypeAlias

Loop: TypeAlias = Callable[[int], None]

CHANNEL = "shop"
ORDER = 1742
FIELDS: Mapping[str, str] = {"request_id": "c0ffee", "method": "POST", "path": "/orders"}


class Memory(io.StringIO):
    """A text stream that is emptied between rounds, so that it does not grow without bound."""

    def take(self) -> str:
        """Return what was written since the last time, and forget it."""
        text = self.getvalue()
        self.seek(0)
        self.truncate()
        return text


@dataclass
class Disk:
    """A file on disk, emptied between rounds.

    Args:
        path: Its path; writers must append, or they leave a hole where the emptied part was.
    """

    path: Path

    def take(self) -> str:
        """Return what was written since the last time, and empty the file."""
        text = self.path.read_text(encoding="utf-8")
        with self.path.open("r+") as file:
            file.truncate()
        return text


@dataclass
class Seen:
    """What a handler that looks at a record, and keeps nothing else, last saw."""

    last: object = None

    def take(self) -> object:
        """Return what was last seen, and forget it."""
        last, self.last = self.last, None
        return last


@dataclass
class Emitted:
    """Counts the calls of a function that does nothing; costs nothing when nobody counts.

    Args:
        function: Written in Python.
    """

    function: Callable[..., object]

    def count(self, run: Callable[[], object]) -> int:
        """Return how often the function is entered while *run* runs."""
        entered = 0
        code = self.function.__code__  # type: ignore[attr-defined]  # written in Python

        def profile(frame: types.FrameType, event: str, _argument: object) -> None:
            nonlocal entered
            entered += event == "call" and frame.f_code is code

        sys.setprofile(profile)
        try:
            run()
        finally:
            sys.setprofile(None)
        return entered


Sink: TypeAlias = Memory | Disk | Seen | Emitted


@dataclass
class Case:
    """One library in one row.

    Args:
        loop: Makes that many of the calls to be timed.
        sink: Where the records end up; tells what arrived.
        wanted: For rows where nothing may arrive: makes one call that must, to prove that the way
            is open.
        rolled: For rows about files that are rolled over: writes two lines, the second of which is
            due in another file, and returns how many files there are then.
    """

    loop: Loop
    sink: Sink
    wanted: Callable[[], object] | None = None
    rolled: Callable[[], int] | None = None


@dataclass
class Scope:
    """One library's way to bind something to a context.

    Args:
        bind: Binds and unbinds, that many times.
        first: The same, with one record logged inside.
        further: The same, with `FURTHER` more records logged inside.
        log: Logs that many records in whatever context it is called in.
        enter: Returns a new bound thing, to be left bound for long.
        sink: Where the records end up.
    """

    bind: Loop
    first: Loop
    further: Loop
    log: Loop
    enter: Callable[[], AbstractContextManager[object]]
    sink: Sink


FURTHER = 10

# A file of the rows about rolling over ends when it is so large, or the day is over.
MAX_BYTES = 10_000_000
MAX_FILES = 5
# In the proof there is room for one line only, or a second.
ONE_LINE = 80
OVER_A_SECOND = 1.1


def files_of_two_lines(path: Path, log: Callable[[], object], pause: float) -> int:
    """Log twice with *pause* seconds in between; return how many files begin with *path*'s name."""
    log()
    sleep(pause)
    log()
    return len(list(path.parent.glob(f"{path.stem}*")))


def fresh(loop: Loop) -> Loop:
    """Return *loop* with a code object of its own.

    The interpreter adapts code to the types that pass through it; two cases that share a loop would
    spoil each other's inline caches.
    """
    own = types.FunctionType(
        loop.__code__.replace(),  # type: ignore[attr-defined]  # always written in Python
        loop.__globals__,  # type: ignore[attr-defined]
        loop.__name__,
        loop.__defaults__,  # type: ignore[attr-defined]
        loop.__closure__,  # type: ignore[attr-defined]
    )
    own.__kwdefaults__ = loop.__kwdefaults__  # type: ignore[attr-defined]
    return own


def fail() -> None:
    """Raise the exception that the rows with a traceback log: two frames with the caller's."""
    raise ValueError("out of apples")


@contextmanager
def unchanged() -> Iterator[None]:
    """Leave the world as it is; for libraries that need no switch around a round."""
    yield


@dataclass
class Library:
    """A logging library.

    A method named after a row yields its `Case`, one named after a kind of scope its `Scope`; a row
    the library has no method for does not apply to it.

    Args:
        folder: Where rows may write files.
    """

    folder: Path
    name: ClassVar[str] = ""
    # Rows it is known to answer wrongly, and how: timed all the same, and marked.
    faults: ClassVar[Mapping[str, str]] = {}

    def describe(self) -> str:
        """Return the version measured, and what matters about it."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Undo what importing the library set up and the rows do not want."""

    def switched(self) -> AbstractContextManager[None]:
        """Set what is global to the process for the length of one reading."""
        return unchanged()

    def file_named(self, row: str) -> Path:
        """Return the path of a file for *row* that no other library writes to."""
        return self.folder / f"{type(self).__name__}-{row}.log"

    @staticmethod
    @contextmanager
    def nested(enter: Callable[[], AbstractContextManager[object]], depth: int) -> Iterator[None]:
        """Bind *depth* new things, one inside the other."""
        with ExitStack() as stack:
            for _ in range(depth):
                stack.enter_context(enter())
            yield

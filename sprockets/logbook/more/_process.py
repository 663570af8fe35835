"""Programs: one is started for each record."""

from __future__ import annotations

import codecs
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, ClassVar, Final, NamedTuple

from sprockets.logbook import _caller
from sprockets.logbook._levels import NOTSET, Level
from sprockets.logbook._text import cut
from sprockets.logbook.delivery import PermanentError
from sprockets.logbook.handlers._base import Filter
from sprockets.logbook.handlers._remote import RemoteHandler
from sprockets.logbook.record import LogRecord

_caller.register(__file__)

# Linux refuses an argument of more than 128 kB; a character takes up to four bytes.
_MAX_ARGUMENT: Final = 30_000
_SECONDS_TO_DIE: Final = 1.0


class _Call(NamedTuple):
    """A program that is to be started: its arguments, and what it reads."""

    arguments: list[str]
    data: bytes | None


class ExternalApplicationHandler(RemoteHandler):
    """Starts a program for each record, and waits until it has ended.

    Arguments and input are layouts as ``str.format`` has them, with ``record``; a literal brace is
    doubled.  There is no shell, so nothing in a message is one's command; but a message may begin
    with a hyphen, so let what it could be taken for an option end before it (``"--"``).  The exit
    status does not matter.

    The log call takes as long as the program, and *timeout* seconds at most; then the program is
    killed with all that it has started, unless these have made themselves independent, and that is
    an error of the handler.  With *background* the log call does not wait: a thread starts one
    program after the other, and tries again where the system could start none.  To have it
    otherwise, wrap it in `sprockets.logbook.queues.ThreadedWrapperHandler`.

    >>> from sprockets.logbook import Logger
    >>> notify = ExternalApplicationHandler(["logger", "--", "{record.message}"], level="ERROR")

    Args:
        arguments: The program and its arguments.
        stdin_format: Layout of what the program reads; ``None`` gives it nothing to read.
        encoding: Of what it reads.
        level: Least level it is interested in, a number or a name.
        filter: Called with record and handler; the handler takes what it answers true for.
        bubble: Whether records go on to the next handler.
        timeout: Seconds that a program may take; ``None`` is no limit.
        background: Start programs in a thread of the handler.
        **options: Of :class:`RemoteHandler`, for *background*.

    Raises:
        ValueError: There is no program, *arguments* is a single text, or *timeout* is not positive.
        LookupError: There is no such encoding.
    """

    pulls_information: ClassVar[bool] = False  # it is text that goes to the thread

    arguments: tuple[str, ...]
    stdin_format: str | None
    encoding: str
    timeout: float | None

    def __init__(
        self,
        arguments: Sequence[str],
        stdin_format: str | None = None,
        encoding: str = "utf-8",
        level: Level = NOTSET,
        filter: Filter | None = None,
        bubble: bool = False,
        *,
        timeout: float | None = 10.0,
        background: bool = False,
        **options: Any,
    ) -> None:
        if isinstance(arguments, str) or not arguments:
            raise ValueError(
                f"arguments must be a program and its arguments, one by one, got {arguments!r}"
            )
        if timeout is not None and timeout <= 0:
            raise ValueError(f"timeout must be more than 0 seconds, or None, got {timeout!r}")
        codecs.lookup(encoding)
        self.arguments = tuple(arguments)
        self.stdin_format = stdin_format
        self.encoding = encoding
        self.timeout = timeout
        # One at a time: what one of them does to the engine is no other's business.
        options.setdefault("batch_size", 1)
        super().__init__(level, filter, bubble, immediate=not background, **options)
        self.ready(ExternalApplicationHandler)

    def encode(self, record: LogRecord) -> _Call:
        """Return what is to be started for *record*."""
        arguments = [_argument(one.format(record=record)) for one in self.arguments]
        data = None
        if self.stdin_format is not None:
            text = self.stdin_format.format(record=record)
            data = text.encode(self.encoding, "backslashreplace")
        return _Call(arguments, data)

    def size_of(self, item: _Call) -> int:
        """Return about how many bytes *item* takes in memory."""
        return sum(map(len, item.arguments)) + len(item.data or b"")

    def deliver(self, items: list[_Call]) -> None:
        """Start a program for each of *items*, one after the other.

        Raises:
            OSError: The program could not be started, or did not end in time.
            PermanentError: Likewise, in the background, where another try would be of no use.
        """
        for call in items:
            try:
                _run(call, self.timeout)
            except (FileNotFoundError, PermissionError, NotADirectoryError, TimeoutError) as error:
                if self.immediate:
                    raise
                raise PermanentError(f"{type(error).__name__}: {error}", [call]) from error


def _argument(text: str) -> str:
    """Return *text* as the system takes it: not too long, no NUL, in its encoding."""
    text = cut(text, _MAX_ARGUMENT).replace("\0", "\\x00")
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        encoding = sys.getfilesystemencoding()
        text = text.encode(encoding, "backslashreplace").decode(encoding)
    # Escapes are longer than what they stand for.
    return cut(text, _MAX_ARGUMENT)


def _run(call: _Call, timeout: float | None) -> None:
    """Run a program to its end.

    Raises:
        OSError: It could not be started.
        TimeoutError: It did not end in time, and was killed.
    """
    # The program is the one that the handler was made for, and there is no shell.
    process = subprocess.Popen(  # noqa: S603
        call.arguments,
        stdin=subprocess.DEVNULL if call.data is None else subprocess.PIPE,
        # A group of its own, to be killed as a whole; and no terminal to wait for.
        start_new_session=True,
    )
    try:
        process.communicate(call.data, timeout)
    except subprocess.TimeoutExpired:
        _kill(process)
        raise TimeoutError(
            f"{call.arguments[0]!r} did not end within {timeout:g} seconds and was killed"
        ) from None
    except BaseException:
        # Whoever presses Ctrl-C does not wait for it, either.
        _kill(process)
        raise


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill *process* and all that it started, and wait until it is gone."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(OSError):
        process.kill()
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
    # It may be in the system's hands, which no signal reaches; then subprocess reaps it later.
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_SECONDS_TO_DIE)

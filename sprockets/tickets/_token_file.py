"""A file with tokens, read again when it changed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Final, TypeAlias

from sprockets.logbook import Logger
from sprockets.tickets._tokens import Token, parse_tokens

_log: Final = Logger("sprockets.tickets", style="%")

_State: TypeAlias = tuple[int, int, int]


class TokenFile:
    """The tokens of a file, as it is now: who is taken out is not let in any more.

    It has a line for each: name, ``read`` or ``read,write``, SHA-256 of the token; lines that begin
    with ``#`` say nothing.  A file that changed is read when it is next asked for.  One that makes
    no sense, or is gone, changes nothing until it is put right, and is reported once.

    Args:
        path: Of the file.
        interval: Seconds between two looks at it, at least.
        clock: Returns the current time in seconds; never goes backwards.

    Raises:
        OSError: It cannot be read.
        ValueError: A line is not as it must be.
    """

    path: Path

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        interval: float = 1.0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.path = Path(path)
        self._interval = interval
        self._clock = clock
        self._looked_at = clock()
        # Before it is read: a change in between is seen the next time.
        self._state: _State | None = self._stat()
        self._tokens = self._read()

    def __repr__(self) -> str:
        return f"<TokenFile {str(self.path)!r}>"

    def __iter__(self) -> Iterator[Token]:
        now = self._clock()
        if now - self._looked_at >= self._interval:
            self._looked_at = now
            self._look()
        return iter(self._tokens)

    def _look(self) -> None:
        try:
            state = self._stat()
        except OSError as error:
            if self._state is not None:
                self._state = None
                self._complain(error)
            return
        if state == self._state:
            return
        self._state = state
        try:
            self._tokens = self._read()
        except (OSError, ValueError) as error:
            self._complain(error)
        else:
            _log.info("read %d tokens from %s, which changed", len(self._tokens), self.path)

    def _complain(self, error: Exception) -> None:
        reason = getattr(error, "strerror", None) or error
        _log.error("%s: %s; the tokens that it had before are good still", self.path, reason)

    def _stat(self) -> _State:
        found = self.path.stat()
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> tuple[Token, ...]:
        return tuple(parse_tokens(self.path.read_text("utf-8")))

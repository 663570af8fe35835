"""What was not mailed: counted by the calls it came from, until a digest tells it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sprockets.logbook import _caller
from sprockets.logbook._layout import message_of
from sprockets.logbook._text import cut, escape_line
from sprockets.logbook._typing import TYPE_CHECKING, Final
from sprockets.logbook.handlers._mail_message import CRLF

if TYPE_CHECKING:
    from sprockets.logbook.record import LogRecord

_caller.register(__file__)

_MAX_KINDS: Final = 100
"""Kinds of record that a digest lists."""


class Kind:
    """Records of one call that were not mailed.

    Args:
        record: One of them.
        recipients: Who would have got it.
        count: How many they are.
    """

    __slots__ = ("count", "line", "recipients")

    def __init__(self, record: LogRecord, recipients: tuple[str, ...], count: int = 1) -> None:
        self.count = count
        self.recipients = recipients
        place = f"{record.filename}:{record.lineno}"
        message = cut(escape_line(message_of(record)), 200)
        self.line = f"{record.level_name}  {record.channel}  {place}  {message}"


@dataclass(frozen=True)
class Digest:
    """What somebody is told of.

    Args:
        recipients: Who.
        total: Records that were not mailed.
        text: The body of the mail.
    """

    recipients: tuple[str, ...]
    total: int
    text: str


class _Sums:
    """What was not mailed to somebody."""

    def __init__(self) -> None:
        self.total = 0
        self._kinds: dict[str, Kind] = {}
        self._others = 0

    def add(self, key: str, kind: Kind) -> None:
        self.total += kind.count
        known = self._kinds.get(key)
        if known is not None:
            known.count += kind.count
        elif len(self._kinds) < _MAX_KINDS:
            self._kinds[key] = kind
        else:
            self._others += kind.count

    def text(self) -> str:
        kinds = sorted(self._kinds.values(), key=lambda kind: -kind.count)
        lines = [f"{kind.count:>9}  {kind.line}" for kind in kinds]
        if self._others:
            lines.append(f"{self._others:>9}  of other calls")
        return CRLF.join([f"{self.total} log records were not mailed one by one:", "", *lines, ""])


class Withheld:
    """Remembers what was not mailed; whoever calls has a lock for it.

    Args:
        max_untold: Calls whose numbers are remembered beside the digests.
    """

    def __init__(self, max_untold: int) -> None:
        self._max_untold = max_untold
        self.forget()

    def forget(self) -> None:
        """Begin with nothing."""
        self._sums: dict[tuple[str, ...], _Sums] = {}
        self._untold: dict[str, Kind] = {}

    def withhold(self, key: str, kind: Kind) -> None:
        """Have the next digest tell *kind*, whose records hash to *key*."""
        self._sums.setdefault(kind.recipients, _Sums()).add(key, kind)

    def note_untold(self, key: str, make_kind: Callable[[], Kind]) -> None:
        """Count a record whose number the next mail of its call tells, if one comes."""
        kind = self._untold.get(key)
        if kind is not None:
            kind.count += 1
        elif len(self._untold) < self._max_untold:
            self._untold[key] = make_kind()

    def note_told(self, key: str) -> None:
        """Forget those records: a mail tells their number."""
        self._untold.pop(key, None)

    def take(self, *, at_end: bool = False) -> list[Digest]:
        """Return what is to be told, and forget it.

        Args:
            at_end: No mail is going to come any more that could tell other numbers.
        """
        sums, self._sums = self._sums, {}
        if at_end:
            untold, self._untold = self._untold, {}
            for key, kind in untold.items():
                sums.setdefault(kind.recipients, _Sums()).add(key, kind)
        return [Digest(recipients, each.total, each.text()) for recipients, each in sums.items()]

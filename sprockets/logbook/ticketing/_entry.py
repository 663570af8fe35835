"""What a store is given of a record: everything it needs, in a form that survives a spool."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

Event: TypeAlias = Literal["new", "again", "regressed", "woken", "duplicate"]
"""What an occurrence was for its ticket.

``"new"``: its first.  ``"again"``: one more.  ``"regressed"``: it was solved.  ``"woken"``: it was
ignored, for as long or as often as somebody said.  ``"duplicate"``: it is stored already.
"""

_dumps: Final = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Entry:
    """One occurrence on its way into a store.

    Args:
        key: Names the occurrence among all; what comes twice under one key is stored once.  At most
            64 characters of ASCII.
        hash: Logbook's hash, 40 hexadecimal digits.
        time: When it happened, in UTC and without a zone.
        level: Number of its level.
        channel: Name of the logger, ``""`` if it has none.
        location: ``<file name>:<line>``.
        module: Name of the module.
        app_id: Names the application.
        data: The record, as one JSON object in ASCII.
        title: A line that tells people what happened: the exception, or the message.
        fingerprint: ``<version>:<digest>``, under which occurrences are one ticket; ``None`` leaves
            that to the hash.
        request_id: The request during which it happened.
        task_uuid: The tree of actions in which it happened.
        release: Version of the program.
        environment: Where it runs, as in ``"production"``.
        leading: The records that led up to it, oldest first, as one JSON array in ASCII.
    """

    key: str
    hash: str
    time: datetime
    level: int
    channel: str
    location: str
    module: str
    app_id: str
    data: str
    title: str
    fingerprint: str | None = None
    request_id: str | None = None
    task_uuid: str | None = None
    release: str | None = None
    environment: str | None = None
    leading: str | None = None

    def to_bytes(self) -> bytes:
        """Return a form for spools, which :meth:`from_bytes` reads."""
        facts = {name: getattr(self, name) for name in _NAMES}
        # Not strftime(): that writes the year 1 as it is.
        facts["time"] = self.time.isoformat(timespec="microseconds")
        return _dumps(facts).encode("ascii")

    @classmethod
    def from_bytes(cls, line: bytes) -> Entry:
        """Return what :meth:`to_bytes` wrote; fields of a newer release are left aside.

        Raises:
            ValueError: That is not what it wrote.
        """
        facts: dict[str, Any] = json.loads(line)
        try:
            known = {name: facts[name] for name in _NAMES if name in facts}
            return cls(**{**known, "time": datetime.fromisoformat(facts["time"])})
        except (KeyError, TypeError) as error:
            raise ValueError(f"no entry of a ticket: {line[:200]!r}") from error


_NAMES: Final = tuple(field.name for field in fields(Entry))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an entry.

    Args:
        entry: The entry.
        event: What it was for its ticket.
        ticket_id: The ticket.
        count: How many occurrences the ticket has had, this one included.
    """

    entry: Entry
    event: Event
    ticket_id: Any
    count: int

"""One consumer of a group that reads a Redis stream: entries, and no records yet.

The server remembers to whom it gave an entry, and how often, until that is acknowledged.  It counts
what it gave; we want to know what was tried.  So what comes again is taken over without being
counted, and counted when somebody is about to try it: the neighbours of an entry that kills its
readers are not suspected with it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from sprockets.logbook import _caller
from sprockets.logbook.queues._redis_client import RedisConnection

_caller.register(__file__)

Start: TypeAlias = Literal["first", "new"]

_PAGE: Final = 1_000
_DEAD_LENGTH: Final = 100_000


@dataclass(frozen=True)
class Entry:
    """An entry of the stream, and how often it has been given to somebody."""

    id: bytes
    fields: dict[bytes, bytes]
    deliveries: int = 1
    is_again: bool = False


class Consumer:
    """Speaks to the server for one consumer; keeps nothing that the server does not know.

    Args:
        connection: To the server; its errors leave all methods.
        stream: What is read.
        group: Made at the first reading.
        name: Of the consumer, unique within the group.
        start: Where a new group begins.
        claim_after: Seconds after which an entry that was not acknowledged is given to others.
        batch_size: Entries fetched at once at most.
    """

    def __init__(
        self,
        connection: RedisConnection,
        stream: str,
        group: str,
        name: str,
        start: Start,
        claim_after: float,
        batch_size: int,
    ) -> None:
        self._connection = connection
        self._stream = stream
        self._group = group
        self.name = name
        self._start = start
        self._claim_after_ms = max(1, int(claim_after * 1000))
        self._batch_size = batch_size
        self._cursor: bytes | str = "0-0"
        self._was_here = False
        self.trimmed = 0
        """Entries that the stream had forgotten before they were acknowledged."""

    @property
    def _client(self) -> Any:
        return self._connection.client

    def join(self) -> None:
        """Make stream and group, unless they are there."""
        # A group that is gone was lost with the server's data: then everything is new.
        start = "$" if self._start == "new" and not self._was_here else "0"
        try:
            self._client.xgroup_create(self._stream, self._group, start, mkstream=True)
        except self._connection.errors as error:
            if "BUSYGROUP" not in str(error):
                raise
        self._was_here = True

    def read(self, wait: float) -> list[Entry]:
        """Return new entries, waiting for the first for *wait* seconds at most."""
        answer = self._client.xreadgroup(
            self._group,
            self.name,
            {self._stream: ">"},
            count=self._batch_size,
            block=max(1, int(wait * 1000)) if wait > 0 else None,
        )
        return [Entry(id_, fields) for _, entries in answer or () for id_, fields in entries]

    def own(self) -> list[bytes]:
        """Return the entries that this consumer has and has not acknowledged."""
        found: list[bytes] = []
        lowest = "-"
        while True:
            page = self._client.xpending_range(
                self._stream, self._group, lowest, "+", _PAGE, consumername=self.name
            )
            found += [each["message_id"] for each in page]
            if len(page) < _PAGE:
                return found
            lowest = f"({found[-1].decode()}"

    def forgotten(self, ids: Iterable[bytes]) -> set[bytes]:
        """Return those of *ids* that somebody has acknowledged, whoever had them."""
        ids = list(ids)
        pipeline = self._client.pipeline(transaction=False)
        for id_ in ids:
            pipeline.xpending_range(self._stream, self._group, id_, id_, 1)
        answers = pipeline.execute() if ids else []
        return {id_ for id_, pending in zip(ids, answers, strict=True) if not pending}

    def keep(self, ids: Collection[bytes]) -> None:
        """Say that *ids*, which are our own, are still being dealt with."""
        if ids:
            self._client.xclaim(self._stream, self._group, self.name, 0, list(ids), justid=True)

    def claim(self) -> list[bytes]:
        """Take over some of what nobody has acknowledged for so long, and return it."""
        client = self._client
        # With JUSTID redis-py would keep back where to go on, and what was trimmed.
        client.set_response_callback("XAUTOCLAIM", _as_it_is)
        self._cursor, ids, *deleted = client.execute_command(
            "XAUTOCLAIM", self._stream, self._group, self.name, self._claim_after_ms,
            self._cursor, "COUNT", self._batch_size, "JUSTID",
        )  # fmt: skip
        self.trimmed += sum(map(len, deleted))
        found: list[bytes] = ids
        return found

    def fetch(self, ids: Iterable[bytes]) -> list[Entry]:
        """Return the entries called *ids*, which are our own."""
        ids = list(ids)
        pipeline = self._client.pipeline(transaction=False)
        for id_ in ids:
            pipeline.xrange(self._stream, id_, id_)
            pipeline.xpending_range(self._stream, self._group, id_, id_, 1)
        answers = pipeline.execute() if ids else []
        found, gone = [], []
        for id_, entry, pending in zip(ids, answers[::2], answers[1::2], strict=True):
            if not entry:
                gone.append(id_)
            elif pending:
                found.append(Entry(id_, entry[0][1], pending[0]["times_delivered"], is_again=True))
        self.trimmed += len(gone)
        self.acknowledge(gone)
        return found

    def count_delivery(self, id_: bytes) -> bool:
        """Have the server count that *id_* is tried again; return whether there is still need."""
        return bool(self._client.xclaim(self._stream, self._group, self.name, 0, [id_]))

    def acknowledge(self, ids: Collection[bytes]) -> None:
        """Say that *ids* have been dealt with."""
        if ids:
            self._client.xack(self._stream, self._group, *ids)

    def bury(self, entry: Entry, dead_stream: str, reason: str) -> None:
        """Move *entry* to *dead_stream*."""
        fields = {
            **entry.fields,
            b"dead_reason": reason,
            b"dead_entry": entry.id,
            b"dead_deliveries": entry.deliveries,
        }
        pipeline = self._client.pipeline(transaction=True)
        pipeline.xadd(dead_stream, fields, maxlen=_DEAD_LENGTH, approximate=True)
        pipeline.xack(self._stream, self._group, entry.id)
        pipeline.execute()

    def leave(self, ids: Collection[bytes]) -> None:
        """Give *ids*, which nobody has tried, to the next who claims; go, if that was all."""
        if ids:
            self._client.xclaim(
                self._stream, self._group, self.name, 0, list(ids),
                idle=self._claim_after_ms * 2, retrycount=0, justid=True,
            )  # fmt: skip
        elif not self._client.xpending_range(
            self._stream, self._group, "-", "+", 1, consumername=self.name
        ):
            self._client.xgroup_delconsumer(self._stream, self._group, self.name)


def _as_it_is(answer: Any, **_: Any) -> Any:
    return answer

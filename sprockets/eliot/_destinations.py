"""Where messages go: the destinations of this process, and what is done if one of them fails."""

from __future__ import annotations

import os
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable
from threading import RLock
from time import time
from typing import Any, Final, TypeAlias

from sprockets.eliot import _context
from sprockets.eliot._fields import (
    DESTINATION_FAILURE,
    EXCEPTION,
    IDENTITY,
    MESSAGE_TYPE,
    REASON,
    TASK_LEVEL,
    TASK_UUID,
    TIMESTAMP,
    Message,
    describe_message,
    safe_text,
)

Destination: TypeAlias = Callable[[Message], object]

BUFFERED: Final = 1_000
"""Messages that are kept until there is a destination."""


class Destinations:
    """Hands each message to every destination, in the thread that logs, in the order of addition.

    Until the first destination is added, the newest thousand messages are kept for it.

    Thread-safe.  What is added or removed, also by a destination, counts from the next message on.
    """

    def __init__(self) -> None:
        self._start_anew()
        self._destinations: tuple[Destination, ...] = ()
        # Those of _destinations, and while they get what was kept, also the first ones.
        self._registered: tuple[Destination, ...] = ()
        self._is_handing_over = False
        self._buffer: deque[Message] | None = deque()
        self._global_fields: Message = {}
        self._counts: Counter[str] = Counter()
        self.put_line: Callable[[str], None] | None = None
        """Takes a message as its line, where that is all that becomes of a message."""
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._start_anew)

    def _start_anew(self) -> None:
        # A thread that the child does not have may have held the old one.
        self._lock = RLock()

    # -- delivery

    def send(self, message: Message) -> None:
        """Deliver *message*, which becomes ours; what fails is reported, not raised.

        Raises:
            BaseException: What a destination raised and is no `Exception`.
        """
        fields = self._global_fields
        if fields:
            message.update(fields)
        destinations = self._destinations
        if not destinations:
            self._keep(message)
            return
        # As _deliver does, which is not called for what every message goes through.
        failures: list[Exception] | None = None
        for destination in destinations:
            try:
                destination(message)
            except Exception as error:  # noqa: BLE001 - reported when all have had their turn
                failures = [*(failures or ()), error]
        if failures is not None:
            self.report(message, failures)

    def wants_messages(self) -> bool:
        """Return whether what is sent now would be delivered or kept, rather than dropped."""
        return bool(self._destinations) or self._buffer is not None

    def _keep(self, message: Message) -> None:
        with self._lock:
            if self._destinations:  # added meanwhile
                self.send(message)
            elif self._buffer is None:
                self._counts["dropped_without_destination"] += 1
            else:
                if len(self._buffer) >= BUFFERED:
                    self._buffer.popleft()
                    self._counts["dropped_before_first_destination"] += 1
                self._buffer.append(message)

    def report(self, message: Message, failures: list[Exception]) -> None:
        """Log one message for each of *failures*; a failure to deliver that is only counted."""
        text = describe_message(message)
        with self._lock:
            self._counts["failures"] += len(failures)
        for error in failures:
            kind = type(error)
            report: Message = {
                REASON: safe_text(error),
                EXCEPTION: f"{kind.__module__}.{kind.__name__}",
                "message": text,
                TIMESTAMP: time(),
            }
            report[TASK_UUID], report[TASK_LEVEL] = _context.place()
            report[MESSAGE_TYPE] = DESTINATION_FAILURE
            report.update(self._global_fields)
            # A report about a report would not end.
            unreported = len(_deliver(report, self._destinations))
            with self._lock:
                self._counts["failures_unreported"] += unreported

    # -- who gets them

    def _settle(self) -> None:
        """Let what was registered get what comes from now on."""
        registered = self._registered
        self.put_line = None
        self._destinations = registered
        if len(registered) == 1 and not self._global_fields:
            self.put_line = getattr(registered[0], "put_line", None)

    def add(self, *destinations: Destination) -> None:
        """Add *destinations*; the first ones ever added get what was kept for them, in order."""
        if not destinations:
            return
        with self._lock:
            self._registered += destinations
            if self._buffer is None:
                self._settle()
            elif not self._is_handing_over:
                self._hand_over(self._buffer, destinations)

    def _hand_over(self, buffer: deque[Message], first: tuple[Destination, ...]) -> None:
        """Deliver what was kept to *first*, which then get everything."""
        failed: list[tuple[Message, list[Exception]]] = []
        self._is_handing_over = True
        try:
            # What other threads log meanwhile waits; what this one does joins the end.
            while buffer:
                message = buffer.popleft()
                message.update(self._global_fields)
                still = [each for each in first if each in self._registered]
                if errors := _deliver(message, still):
                    failed.append((message, errors))
        finally:
            self._is_handing_over = False
            self._counts["dropped_before_first_destination"] += len(buffer)
            self._settle()
            self._buffer = None
        for message, errors in failed:
            self.report(message, errors)

    def remove(self, destination: Destination) -> None:
        """Remove one registration of what equals *destination*.

        Raises:
            ValueError: There is none.
        """
        with self._lock:
            left = list(self._registered)
            try:
                left.remove(destination)
            except ValueError:
                raise ValueError(
                    f"not a destination: {destination!r}; there are {len(left)} others"
                ) from None
            self._registered = tuple(left)
            if not self._is_handing_over:
                self._settle()

    def add_global_fields(self, **fields: Any) -> None:
        """Add *fields* to every message from now on, and to those that are being kept."""
        refused = IDENTITY.intersection(fields)
        if refused:
            warnings.warn(
                f"global fields cannot replace what identifies a message: {sorted(refused)};"
                " these are left out",
                RuntimeWarning,
                stacklevel=3,
            )
        kept = {name: value for name, value in fields.items() if name not in refused}
        with self._lock:
            self._global_fields = {**self._global_fields, **kept}
            if self._global_fields:
                self.put_line = None

    def statistics(self) -> dict[str, int]:
        """Return what was counted: see :func:`statistics`."""
        with self._lock:
            return {
                "destinations": len(self._registered),
                "buffered": len(self._buffer or ()),
                **{
                    name: self._counts[name]
                    for name in (
                        "dropped_before_first_destination",
                        "dropped_without_destination",
                        "failures",
                        "failures_unreported",
                    )
                },
            }


def _deliver(message: Message, destinations: Iterable[Destination]) -> list[Exception]:
    """Call all *destinations*, and return what they raised."""
    failures: list[Exception] = []
    for destination in destinations:
        try:
            destination(message)
        except Exception as error:  # noqa: BLE001 - the caller counts, and reports
            failures.append(error)
    return failures


destinations = Destinations()
"""Those of this process; all `Logger` instances share them."""

_add = destinations.add


def add_destinations(*destinations: Destination) -> None:
    """Have every message, from the next one on, delivered to *destinations*.

    A destination is called with the message, a dict that it must not change, in the thread that
    logs.  If it raises, that is logged as ``eliot:destination_failure`` and the others get the
    message all the same.

    Up to 1,000 messages logged before the first call ever are kept for the destinations of that
    call; how many there was no room for, :func:`statistics` says.  A process that is forked before
    has them too, for a first call of its own.
    """
    _add(*destinations)


def add_destination(destination: Destination) -> None:
    """Add one destination; deprecated, use `add_destinations`."""
    warnings.warn(
        "add_destination is deprecated, use add_destinations", DeprecationWarning, stacklevel=2
    )
    _add(destination)


def remove_destination(destination: Destination) -> None:
    """Deliver no more messages to *destination*; of equal ones, one is removed.

    Raises:
        ValueError: It is not a destination.
    """
    destinations.remove(destination)


def add_global_fields(**fields: Any) -> None:
    """Add *fields* to every message of this process, over fields of the same name.

    What identifies a message (task, level, time, type, status) stays; such names are left out,
    with a `RuntimeWarning`.
    """
    destinations.add_global_fields(**fields)


def statistics() -> dict[str, int]:
    """Return how many messages did not arrive, since the process began.

    ``destinations``
        How many there are now.
    ``buffered``
        Messages that are kept for the first destination.
    ``dropped_before_first_destination``
        Messages beyond the thousand that are kept.
    ``dropped_without_destination``
        Messages logged after all destinations had been removed.
    ``failures``
        Deliveries that raised; each is reported by a message.
    ``failures_unreported``
        Deliveries of such reports that raised.
    """
    return destinations.statistics()

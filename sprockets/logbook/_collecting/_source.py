"""Sources: subscribers by name, opened when somebody is to receive, and again after an end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic

from sprockets.logbook import _caller
from sprockets.logbook._logger import Logger
from sprockets.logbook.delivery import Retry
from sprockets.logbook.queues._subscriber import ClosedError, SubscriberBase, report_here
from sprockets.logbook.queues._wire import MalformedRecordError

_caller.register(__file__)


def _as_it_is(text: str) -> str:
    return text


@dataclass(frozen=True)
class Source:
    """Where records come from.

    Args:
        name: What it is called in the log, without any password.
        open: Returns a subscriber, which is closed by whoever opened it.  Called again after one
            has ended, or could not be made.
        is_kept: Whether what nobody receives stays where it is, as with a broker; then the end
            need not wait for it.
        hide: Takes secrets out of a text, such as that of an error.
    """

    name: str
    open: Callable[[], SubscriberBase] = field(repr=False)
    is_kept: bool = False
    hide: Callable[[str], str] = field(default=_as_it_is, repr=False)


class Intake:
    """What comes from one source, for one thread at a time.

    Args:
        source: A subscriber, which is its owner's to close, or where to get one.
        log: Told of what fails, and that it works again.
        retry: When to try again.
        clock: Returns the current time in seconds; never goes backwards.
    """

    def __init__(
        self,
        source: Source | SubscriberBase,
        log: Logger,
        retry: Retry,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        if not isinstance(source, (Source, SubscriberBase)):
            raise TypeError(f"{source!r} is neither a subscriber nor a Source")
        given = source if isinstance(source, SubscriberBase) else None
        self.source: Source = (
            Source(f"a {type(source).__name__}", lambda: source)
            if isinstance(source, SubscriberBase)
            else source
        )
        self._is_given = given is not None
        self._subscriber = given
        self._log = log
        self._retry = retry
        self._clock = clock
        self._counts = Counter({"dispatched": 0, "failed": 0, "outages": 0})
        # What was counted before, here or by subscribers that have ended.
        self._offset: Counter[str] = Counter()
        self._received_at_open = 0
        if given is not None:
            self._note_opened(given)
        self._failures = 0
        self._failed_at = 0.0
        self._is_out = False
        self.retry_at: float = float("-inf")
        """When it is tried again, if that is not now."""
        self.is_over: bool = False
        """Whether nothing will ever come from here again."""

    def open(self) -> None:
        """Open the subscriber, if it is not; whatever keeps it from opening is raised."""
        if self._subscriber is None:
            self._subscriber = self.source.open()
            self._note_opened(self._subscriber)

    def _note_opened(self, subscriber: SubscriberBase) -> None:
        before = subscriber.statistics()
        self._received_at_open = before["received"]
        self._offset.subtract(before)
        self._of_subscriber = Counter({"dispatched": 0, "failed": 0})

    def turn(self, timeout: float) -> bool:
        """Receive a record and dispatch it; return whether there may be more at once.

        Never raises.

        Args:
            timeout: Seconds to wait at most.
        """
        if self.is_over or self._clock() < self.retry_at:
            return False
        try:
            self.open()
            subscriber = self._subscriber
            assert subscriber is not None
            is_one = subscriber.dispatch_once(timeout)
        except MalformedRecordError:
            return True  # counted and reported where it came in
        except ClosedError as error:
            self._end(error)
            return False
        except BaseException as error:  # noqa: BLE001 - nothing that a peer sends may end the service
            if not self._was_dispatching():
                self._fail(error)
                return False
            self._count("failed")
            report_here(None)
            return True
        if is_one:
            self._count("dispatched")
            self._recover()
        elif subscriber.is_ended:
            self._end(None)
        elif getattr(subscriber, "is_connected", True) is False:
            self._note_outage()
        else:
            self._recover()
        return is_one

    def _count(self, name: str) -> None:
        self._counts[name] += 1
        self._of_subscriber[name] += 1

    def _was_dispatching(self) -> bool:
        """Whether a record was received that has been counted neither way."""
        if self._subscriber is None:
            return False
        received = self._subscriber.statistics()["received"] - self._received_at_open
        return received > self._of_subscriber["dispatched"] + self._of_subscriber["failed"]

    # -- what fails

    def _fail(self, error: BaseException) -> None:
        now = self._clock()
        self._failures += 1
        if not self._is_out:
            self._is_out = True
            self._counts["outages"] += 1
            self._failed_at = now
        wait = self._retry.delay(self._failures)
        self.retry_at = now + wait
        self._log.error(
            "cannot receive from {}: {}; trying again in {:.1f} s",
            self.source.name,
            self.source.hide(f"{type(error).__name__}: {error}"),
            wait,
        )

    def _note_outage(self) -> None:
        # Such a subscriber connects again by itself, with waits of its own.
        if not self._is_out:
            self._is_out = True
            self._counts["outages"] += 1
            self._failed_at = self._clock()
            self._log.error("no connection to {}; trying again", self.source.name)

    def _end(self, error: BaseException | None) -> None:
        if self._is_given:
            self.is_over = True
            self._log.info("{} has ended", self.source.name)
            return
        self.close()
        self._fail(error or ClosedError("it has ended"))

    def _recover(self) -> None:
        self._failures = 0
        if self._is_out:
            self._is_out = False
            self._log.notice(
                "receiving from {} again, after {:.1f} s",
                self.source.name,
                self._clock() - self._failed_at,
            )

    # -- what users look at

    def statistics(self) -> dict[str, int]:
        """Return what came from here, all subscribers taken together."""
        total = Counter(self._counts)
        total.update(self._offset)
        subscriber = self._subscriber
        if subscriber is not None:
            total.update(subscriber.statistics())
        return dict(total)

    # -- the end

    def close(self) -> None:
        """Close the subscriber, if it was opened here; :meth:`turn` opens another."""
        subscriber = self._subscriber
        if subscriber is None or self._is_given:
            return
        try:
            # First, so that what is acknowledged is counted.
            close = getattr(subscriber, "close", None)
            if close is not None:
                close()
        except Exception:  # noqa: BLE001 - it is gone anyway; reported
            report_here(None)
        self._offset.update(subscriber.statistics())
        # These are its sender's, and come again.
        del self._offset["unacknowledged"]
        self._subscriber = None

    def forget(self) -> None:
        """Let go in a forked child of what the parent opened."""
        if not self._is_given:
            self._subscriber = None

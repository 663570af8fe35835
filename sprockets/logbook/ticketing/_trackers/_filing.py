"""Filing: tickets become issues of trackers, one each, and are kept up to date there."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from time import monotonic
from typing import Any

from sprockets.logbook import _caller, _clock, _fork
from sprockets.logbook._levels import ERROR, Level, lookup_level
from sprockets.logbook.delivery import Retry
from sprockets.logbook.ticketing._backend import BackendBase
from sprockets.logbook.ticketing._entry import Outcome
from sprockets.logbook.ticketing._model import TrackerIssue
from sprockets.logbook.ticketing._trackers._base import Tracker
from sprockets.logbook.ticketing._trackers._comparison import MAX_REMEMBERED
from sprockets.logbook.ticketing._trackers._desk import Desk
from sprockets.logbook.ticketing._trackers._jobs import Job, Manners, Reason
from sprockets.logbook.ticketing._trackers._kinds import make_tracker
from sprockets.logbook.ticketing._trackers._watched import WatchedBackend

_caller.register(__file__)


class Filing:
    """Files an issue for each ticket in each tracker, and tells there what becomes of the ticket.

    Called with what became of records; takes note, and returns at once: what is slow happens in a
    thread for each tracker.  A ticket gets one issue, whatever number of processes, threads and
    machines count on it.  The issue gets a comment when the ticket reaches one of the numbers of
    *comment_at*, is reopened when the ticket regresses, and closed when it is solved.  Of a ticket
    that is solved or ignored no issue is made.

    A tracker that asks for patience gets it; one that cannot be reached is asked again, ever later.
    What it refuses is not tried again before the next of these numbers.  A change that may have
    happened is not repeated blindly: issues are looked for first, comments are left at that.

    Args:
        db: The store, shared by all processes that file in the same trackers; ``None`` means the
            one that :meth:`observe` is called with first.
        trackers: The trackers; let go of by :meth:`close`.
        min_level: Least level of tickets that are filed, a number or a name.
        comment_at: Numbers of occurrences that are told.  The first is told by the issue itself.
        cool_down: Seconds between two comments to one issue, and until what is put off is looked at
            again.
        patience: Seconds after which a filing that another process has begun is taken over; more
            than six times what a request of any of the trackers may take.
        ticket_url: Where people see a ticket, with ``{ticket_id}`` in it.
        retry: When to try again; ``None`` means ``Retry()``.
        drain_timeout: Seconds that :meth:`close` and the end of the program wait.
        clock: Returns the current time in seconds; never goes backwards.
        now: Returns the time in UTC and without a zone.

    Raises:
        ValueError: Two trackers have one name, a number is out of its range, or there is no store
            yet when something is to be told.
        LookupError: There is no such level.
    """

    def __init__(
        self,
        db: BackendBase | None,
        trackers: Iterable[Tracker],
        min_level: Level = ERROR,
        comment_at: Iterable[int] = (1, 10, 100, 1_000),
        cool_down: float = 60.0,
        *,
        patience: float = 300.0,
        ticket_url: str | None = None,
        retry: Retry | None = None,
        drain_timeout: float = 5.0,
        clock: Callable[[], float] = monotonic,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        numbers = tuple(sorted(set(comment_at)))
        if numbers and numbers[0] < 1:
            raise ValueError(f"comment_at must be at least 1 each, got {numbers[0]}")
        if cool_down < 0 or patience <= 0:
            raise ValueError(
                "cool_down must be at least 0 and patience more, "
                f"got {cool_down!r} and {patience!r}"
            )
        known = list(trackers)
        names = [tracker.name for tracker in known]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two trackers are named {name!r}; pass name= to one of them")

        def link(ticket_id: Any) -> str:
            return "" if ticket_url is None else ticket_url.format(ticket_id=ticket_id)

        self.db: BackendBase | None = db
        self.drain_timeout = drain_timeout
        self._comment_at = frozenset(numbers)
        self._manners = Manners(
            lookup_level(min_level), numbers, cool_down, patience, link, clock, now or _utc_now
        )
        self._desks = [
            Desk(db, tracker, self._manners, retry=retry, drain_timeout=drain_timeout)
            for tracker in known
        ]
        self._seen: OrderedDict[Any, None] = OrderedDict()
        _fork.hold_at_fork(self)

    @classmethod
    def of(
        cls,
        trackers: Iterable[Tracker | Mapping[str, Any]],
        db: BackendBase | None = None,
        **options: Any,
    ) -> Filing:
        """Return a filing in *trackers*, some of which may be described.

        Args:
            trackers: Trackers, or their ``kind`` and what that takes: ``"github"``, ``"gitea"``,
                ``"gitlab"``, ``"redmine"`` or ``"trac"``.
            db: The store.
            **options: As for the constructor.

        Raises:
            ValueError: There is no such kind, it takes something else, or two have one name.
        """
        made = [make_tracker(one) if isinstance(one, Mapping) else one for one in trackers]
        return cls(db, made, **options)

    def __repr__(self) -> str:
        return f"<Filing in {', '.join(desk.tracker.name for desk in self._desks) or 'nothing'}>"

    @property
    def trackers(self) -> tuple[Tracker, ...]:
        """The trackers."""
        return tuple(desk.tracker for desk in self._desks)

    def __call__(self, outcomes: Iterable[Outcome]) -> None:
        """Take note of *outcomes*, each of which one process tells; waits for nothing."""
        for outcome in outcomes:
            if outcome.entry.level < self._manners.min_level:
                continue
            job = self._job_for(outcome)
            if job is not None:
                self._put(job)

    def observe(self, db: BackendBase, outcomes: Iterable[Outcome]) -> None:
        """Take note of *outcomes*, as a handler tells them of the store it has; see the call."""
        if self.db is None:
            self._take_store(db)
        self(outcomes)

    def _job_for(self, outcome: Outcome) -> Job | None:
        ticket_id = outcome.ticket_id
        is_seen = ticket_id in self._seen
        if outcome.event == "regressed":
            reason: Reason = "regressed"
        elif outcome.event != "duplicate" and outcome.count in self._comment_at:
            # Of all occurrences, in whatever process, one has this number.
            reason = "count"
        elif is_seen and outcome.event != "woken":
            return None
        else:
            # A duplicate, too: whoever stored it may not have come to telling it.
            reason = "file"
        self._seen[ticket_id] = None
        if len(self._seen) > MAX_REMEMBERED:
            self._seen.popitem(last=False)
        return Job(ticket_id, reason, outcome.count)

    def ticket_solved(self, ticket_id: Any) -> None:
        """Have the issues of a ticket closed that was marked as solved; waits for nothing."""
        self._put(Job(ticket_id, "solved"))

    def ticket_reopened(self, ticket_id: Any) -> None:
        """Have the issues of a ticket reopened that was reopened; waits for nothing."""
        self._put(Job(ticket_id, "reopened"))

    def ticket_merged(self, ticket_id: Any, into: Any) -> None:
        """Have the issues of a ticket closed that became part of *into*; waits for nothing.

        An issue is that of *into* from now on, if there is none of *into* in that tracker.
        """
        self._put(Job(ticket_id, "merged", other=into))

    def ticket_split(self, ticket_id: Any, new_id: Any) -> None:
        """Have issues made of a ticket that was split off *ticket_id*; waits for nothing.

        The issues of that get a comment.
        """
        self._put(Job(new_id, "reopened"))
        self._put(Job(ticket_id, "split", other=new_id))

    def ticket_deleted(self, ticket_id: Any, issues: Iterable[TrackerIssue]) -> None:
        """Have the issues closed of a ticket that was deleted; waits for nothing.

        Args:
            ticket_id: The ticket.
            issues: What the store said of them before.
        """
        self._put(Job(ticket_id, "deleted", issues=tuple(issues)))

    def watch(self, db: BackendBase | None = None) -> BackendBase:
        """Return a store that does what *db* does, and tells what is done with tickets there.

        What people do by it, such as solving tickets, is told to the trackers; it waits for none
        of them.  To close it closes *db*.

        Args:
            db: The store; ``None`` means the one that this has.

        Raises:
            ValueError: There is none.
        """
        if db is None and self.db is None:
            raise ValueError("this has no store yet; pass one")
        if self.db is None:
            self._take_store(db)
        found = self.db if db is None else db
        assert found is not None
        return WatchedBackend(found, self)

    def look(self) -> None:
        """Have trackers told what they were not told; waits for nothing.

        Tickets that were solved or opened again by whoever has no filing, or was gone before it
        could be told, are found by comparing: up to 500 of those that occurred last.  What differs
        two times in a row is told, so ask every minute or so; it costs little if nothing changed.
        """
        if self.db is None:
            return
        for desk in self._desks:
            desk.look()

    def _take_store(self, db: BackendBase | None) -> None:
        self.db = db
        for desk in self._desks:
            if db is not None:
                desk.db = db

    def _put(self, job: Job) -> None:
        if self.db is None:
            raise ValueError("this has no store yet; pass one where it is made, as db")
        for desk in self._desks:
            desk.put(job)

    # -- what users look at

    def statistics(self) -> dict[str, dict[str, Any]]:
        """Return for each tracker, by its name, what became of what it was to be told.

        ``filed``, ``found`` (an issue that was there already), ``commented``, ``reopened``,
        ``closed``, ``adopted`` from a ticket that was merged; ``put_off`` in all, and why:
        ``claimed`` by another process, ``paced`` since there were many in this minute, ``cooling``
        down after the last comment, ``uncertain`` whether it was made; ``unanswered`` comments;
        ``overtaken`` by what happened since; ``skipped`` since there is nothing to file;
        ``limited``: how often the tracker asked for patience; ``refused``: given up, by kind of
        error, and the ``last_refusal``, and how often that could not be told in the history of the
        ticket (``unwritten``); ``delivery``: the counters of the engine; ``waiting``: put off and
        not back yet; ``left``: put off when it was closed.
        """
        return {desk.tracker.name: desk.statistics() for desk in self._desks}

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all so far is told, given up, or put off once more.

        Args:
            timeout: Seconds to wait at most for each tracker; ``None`` means *drain_timeout*.

        Returns:
            Whether it is.
        """
        limit = self.drain_timeout if timeout is None else timeout
        done = [desk.flush(limit) for desk in self._desks]
        return all(done)

    def close(self, timeout: float | None = None) -> bool:
        """Tell what can be told in time, then let go of the trackers; twice is once.

        What is left is told once another process sees the ticket again.

        Args:
            timeout: Seconds to wait at most; ``None`` means *drain_timeout*.

        Returns:
            Whether all was told.
        """
        end = monotonic() + (self.drain_timeout if timeout is None else timeout)
        done = [desk.close(max(end - monotonic(), 0.0)) for desk in self._desks]
        return all(done)

    # -- fork

    def before_fork(self) -> None:
        """Nothing to wait for."""

    def after_fork_in_parent(self) -> None:
        """Nothing to do."""

    def after_fork_in_child(self) -> None:
        """Start anew: what the parent has seen is the parent's to tell."""
        self._seen = OrderedDict()


def _utc_now() -> datetime:
    return _clock.datetime_of(_clock.moment(), local=False).replace(tzinfo=None)

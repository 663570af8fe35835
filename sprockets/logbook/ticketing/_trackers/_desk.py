"""A desk: what is to be told to one tracker, one thing after the other, and each thing once."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import replace
from time import monotonic
from typing import Any, Final

from sprockets.logbook import _fork
from sprockets.logbook.delivery import Delivery, Retry
from sprockets.logbook.ticketing._backend import BackendBase
from sprockets.logbook.ticketing._model import Ticket, TrackerIssue
from sprockets.logbook.ticketing._search import Query
from sprockets.logbook.ticketing._trackers import _errands, _wording
from sprockets.logbook.ticketing._trackers._base import (
    Issue,
    RateLimitedError,
    RefusedError,
    Tracker,
    TrackerError,
    UnansweredError,
)
from sprockets.logbook.ticketing._trackers._comparison import (
    MAX_REMEMBERED,
    Comparison,
    remember,
)
from sprockets.logbook.ticketing._trackers._jobs import DONE_BY_PEOPLE, OPEN, Job, Manners

_CATCH_UP: Final = 100
_MAX_TRIES: Final = 10
_MINUTE: Final = 60.0
_PACE: Final = 10.0
_LAST_TRY: Final = 0.5
_MAX_MERGED: Final = 10


class Desk:
    """Tells one tracker what there is to be told, in a thread of its own.

    That a ticket has one issue for certain, however many processes see its first occurrences, comes
    of this: who files has reserved that in the store; looks whether the tracker has such an issue
    already; makes it only while the reservation is young; and where nobody knows whether it was
    made, leaves it alone for a while, and looks again.

    Args:
        db: The store.
        tracker: The tracker; only this desk talks to it.
        manners: How it is treated.
        retry: When to try again.
        drain_timeout: Seconds that the end of the program waits.
    """

    def __init__(
        self,
        db: BackendBase | None,
        tracker: Tracker,
        manners: Manners,
        *,
        retry: Retry | None = None,
        drain_timeout: float = 5.0,
    ) -> None:
        self._db = db
        self.tracker = tracker
        self.manners = manners
        self.counts: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.last_refusal = ""
        # Of this process: when it reserved, what it made; by ticket.
        self._claimed: OrderedDict[Any, float] = OrderedDict()
        self._made: OrderedDict[Any, Issue] = OrderedDict()
        self._paced_until = float("-inf")
        self._has_caught_up = False
        # Of issues: whether they were opened or closed here.
        self.told: OrderedDict[Any, bool] = OrderedDict()
        self._comparison = Comparison(tracker.name)
        self._is_to_look = False
        self._busy = threading.Lock()
        self.engine = Delivery(
            self._deliver,
            name=tracker.name,
            batch_size=1,
            retry=retry,
            size_of=_size_of,
            drain_timeout=drain_timeout,
            on_dead_letter=self._give_up,
        )
        # What is put off waits there, and comes back all together.
        self.later = Delivery(
            self._bring_back,
            name=f"{tracker.name}, put off",
            batch_size=MAX_REMEMBERED,
            batch_wait=max(manners.cool_down, 0.05),
            size_of=_size_of,
            drain_timeout=drain_timeout,
        )
        _fork.hold_at_fork(self)

    @property
    def db(self) -> BackendBase:
        """The store."""
        assert self._db is not None
        return self._db

    @db.setter
    def db(self, db: BackendBase) -> None:
        self._db = db

    # -- life

    def put(self, job: Job) -> None:
        """Have *job* done; waits for nothing."""
        self.engine.put(job)

    def look(self) -> None:
        """Have tickets compared with their issues; waits for nothing."""
        if not self._is_to_look or not self.engine.statistics()["queued"]:
            # Else the last one is still to come: the tracker is away.
            self._is_to_look = True
            self.engine.put(Job(None, "look"))

    def flush(self, timeout: float) -> bool:
        """Wait until all is done, or is put off again; return whether it is."""
        end = monotonic() + timeout
        engines = (self.engine, self.later, self.engine)
        done = [engine.flush(max(end - monotonic(), 0.0)) for engine in engines]
        return all(done)

    def close(self, timeout: float) -> bool:
        """Do what can be done in *timeout* seconds, then let go; return whether that was all."""
        end = monotonic() + timeout
        is_done = [self.later.close(max(end - monotonic(), 0.0))]
        is_done.append(self.engine.close(max(end - monotonic(), 0.0)))
        # The try under way may be using the store, which is let go of next.
        if self._busy.acquire(timeout=_LAST_TRY):
            self._busy.release()
        self.tracker.disconnect()
        return all(is_done)

    def before_fork(self) -> None:
        """Nothing to wait for."""

    def after_fork_in_parent(self) -> None:
        """Nothing to do."""

    def after_fork_in_child(self) -> None:
        """Start anew: what is reserved is the parent's."""
        self._busy = threading.Lock()
        self._claimed = OrderedDict()
        self._made = OrderedDict()
        self._paced_until = float("-inf")
        self._has_caught_up = False
        self.told = OrderedDict()
        self._comparison = Comparison(self.tracker.name)
        self._is_to_look = False
        self.counts = Counter()
        self.refused = Counter()

    def statistics(self) -> dict[str, Any]:
        """Return what became of the jobs."""
        later = self.later.statistics()
        return {
            **{name: self.counts[name] for name in _COUNTED},
            "refused": dict(self.refused),
            "last_refusal": self.last_refusal,
            "delivery": self.engine.statistics(),
            "waiting": later["queued"],
            "left": sum(later["dropped"].values()),
        }

    # -- in the engine's thread

    def _deliver(self, jobs: list[Any]) -> None:
        with self._busy:
            for job in jobs:
                self.do(job)
            if not self._has_caught_up:
                self._has_caught_up = True
                self._catch_up({job.ticket_id for job in jobs})

    def _bring_back(self, jobs: list[Any]) -> None:
        for job in jobs:
            self.engine.put(job)

    def put_off(self, job: Job, why: str) -> None:
        """Have *job* done later, and count *why*."""
        self.counts["put_off"] += 1
        self.counts[why] += 1
        self.later.put(job)

    def _give_up(self, job: Any, error: BaseException) -> None:
        self.refused[type(error).__name__] += 1
        self.last_refusal = str(error)[:500]
        if job.is_found:
            # To find it again and again would not help.
            self._comparison.note(job.ticket_id, job.reason)
        if job.is_found or job.reason not in DONE_BY_PEOPLE:
            return
        try:
            # Whoever did it looks at the ticket, not at our counts.
            self.db.add_history(
                job.other if job.reason == "merged" else job.ticket_id,
                "refused",
                f"{self.tracker.name}: {self.last_refusal}",
                tracker=self.tracker.name,
                reason=job.reason,
            )
        except Exception:  # noqa: BLE001 - counted above; the store may be what failed
            self.counts["unwritten"] += 1

    def do(self, job: Job) -> None:
        """Do *job*, or put it off; raises what keeps it from being done now.

        Raises:
            RateLimitedError: The tracker wants to be left alone.
            RefusedError: The tracker does not take it.
            OSError: The tracker is not there.
            RuntimeError: The tracker failed.
        """
        try:
            if job.reason in _errands.BY_REASON:
                _errands.BY_REASON[job.reason](self, job)
            elif job.reason == "look":
                self._look()
            else:
                self._do(job)
        except RateLimitedError:
            self.counts["limited"] += 1
            raise

    def _do(self, job: Job) -> None:
        ticket = self.find_ticket(job.ticket_id)
        if ticket is None:
            self.counts["skipped"] += 1
            return
        self._tell(job, ticket)

    def find_ticket(self, ticket_id: Any) -> Ticket | None:
        """Return a ticket; of one that was merged, the one that counts for it now."""
        ticket = self.db.get_ticket(ticket_id)
        for _ in range(_MAX_MERGED):
            if ticket is None or ticket.status.merged_into is None:
                break
            ticket = self.db.get_ticket(ticket.status.merged_into)
        return ticket

    def _tell(self, job: Job, ticket: Ticket) -> None:
        known = self.db.get_issue(ticket.ticket_id, self.tracker.name)
        is_filed = known is not None and known.issue_id is not None
        if not is_filed:
            # What occurs was looked at before; what people open again need not be that bad.
            is_bad = job.reason != "reopened" or ticket.level >= self.manners.min_level
            if job.reason != "solved" and ticket.status.state in OPEN and is_bad:
                self._file(job, ticket)
            elif known is not None:
                # Somebody is filing it: it will have to be closed then.
                self.put_off(job, "claimed")
            else:
                self.counts["skipped"] += 1
            return
        assert known is not None
        if job.reason == "count":
            self._comment(job, ticket, known)
        elif job.reason in ("regressed", "reopened"):
            self._reopen(job, ticket, known)
        elif job.reason == "solved":
            self._close(job, ticket, known)

    # -- one issue

    def _file(self, job: Job, ticket: Ticket) -> None:
        ticket_id = ticket.ticket_id
        clock, patience = self.manners.clock, self.manners.patience
        issue = self._made.get(ticket_id)
        if issue is None:
            if clock() < self._paced_until:
                self.put_off(job, "paced")
                return
            if not self._has_claim(ticket_id):
                self.put_off(job, "claimed")
                return
            marker = _wording.marker_of(ticket)
            issue = self.tracker.find(marker)
            if issue is not None:
                self.counts["found"] += 1
            elif clock() - self._claimed[ticket_id] >= patience / 2:
                # Looking took so long that somebody else may be at it before it is made.
                self.put_off(job, "claimed")
                return
            elif not self._has_slot():
                self.put_off(job, "paced")
                return
            else:
                issue = self._create(job, ticket, marker)
                if issue is None:
                    return
            remember(self._made, ticket_id, issue)
        if not issue.is_open:
            self.tracker.reopen(issue.issue_id, self._text(_wording.regressed_text, ticket))
            self.counts["reopened"] += 1
            issue = replace(issue, is_open=True)
            self._made[ticket_id] = issue
        self.db.save_issue(
            TrackerIssue(
                ticket_id,
                self.tracker.name,
                issue.issue_id,
                issue.url,
                self._reached(ticket.occurrence_count),
                True,
            )
        )
        remember(self.told, issue.issue_id, True)
        self._made.pop(ticket_id, None)
        self._claimed.pop(ticket_id, None)
        self.db.add_history(
            ticket_id,
            "filed",
            issue.url,
            tracker=self.tracker.name,
            issue=issue.issue_id,
            url=issue.url,
        )

    def _create(self, job: Job, ticket: Ticket, marker: str) -> Issue | None:
        text = self._text(_wording.issue_text, ticket)
        try:
            issue = self.tracker.create(marker, _wording.title_of(ticket), text)
        except (RateLimitedError, RefusedError):
            raise
        except Exception as error:
            if isinstance(error, OSError) and not isinstance(error, TrackerError):
                # Nobody was there.
                raise
            # It may be made, or about to be.
            self.last_refusal = str(error)[:500]
            if job.tries >= _MAX_TRIES:
                raise RefusedError(f"given up after {job.tries} tries: {error}") from error
            self.put_off(replace(job, tries=job.tries + 1), "uncertain")
            return None
        self.counts["filed"] += 1
        return issue

    def _has_slot(self) -> bool:
        """Whether another issue may be made in this minute, by all processes together."""
        limit = self.tracker.creations_per_minute
        if limit is None:
            return True
        now, first = self.manners.now(), _fork.process_id() % limit
        for number in range(first, first + limit):
            name = self.name_of("slot", number % limit)
            if self.db.claim(name, now=now, seconds=_MINUTE):
                return True
        # Until then nobody needs to look for issues that cannot be made.
        self._paced_until = self.manners.clock() + _PACE
        return False

    def name_of(self, kind: str, which: object) -> str:
        """Return the name of a piece of work, in the store."""
        text = f"{self.tracker.name}\0{which}".encode("utf-8", "replace")
        return f"tracker {kind} {hashlib.sha1(text, usedforsecurity=False).hexdigest()}"

    def _has_claim(self, ticket_id: Any) -> bool:
        """Whether this process is the one to file it, and is so for a while."""
        manners = self.manners
        now = manners.clock()
        claimed = self._claimed.get(ticket_id)
        if claimed is not None and now - claimed < manners.patience / 2:
            return True
        if self.db.claim_issue(
            ticket_id, self.tracker.name, now=manners.now(), patience=manners.patience
        ):
            remember(self._claimed, ticket_id, now)
            return True
        return False

    # -- what is told of it later

    def _comment(self, job: Job, ticket: Ticket, known: TrackerIssue) -> None:
        # Whoever saw a greater number has it to tell.
        reached = self._reached(ticket.occurrence_count)
        if job.count <= known.commented_at or job.count < reached:
            self.counts["overtaken"] += 1
            return
        name = self.name_of("comment", ticket.ticket_id)
        now, seconds = self.manners.now(), self.manners.cool_down
        if seconds > 0 and not self.db.claim(name, now=now, seconds=seconds):
            self.put_off(job, "cooling")
            return
        assert known.issue_id is not None
        try:
            self.tracker.comment(known.issue_id, self._text(_wording.count_text, ticket))
            self.counts["commented"] += 1
        except UnansweredError as error:
            # Nobody wants to read it twice, so it is not said again.
            self.counts["unanswered"] += 1
            self.last_refusal = str(error)[:500]
        self.save(known, commented_at=job.count)

    def _reopen(self, job: Job, ticket: Ticket, known: TrackerIssue) -> None:
        if ticket.status.state == "solved" or (job.is_found and known.is_open):
            self.counts["overtaken"] += 1
            return
        assert known.issue_id is not None
        if ticket.status.state == "regressed" or job.reason == "regressed":
            text = self._text(_wording.regressed_text, ticket)
        else:
            text = _wording.reopened_text(ticket, self.manners.link(ticket.ticket_id))
        self.tracker.reopen(known.issue_id, text)
        self.counts["reopened"] += 1
        self.save(known, is_open=True)

    def _close(self, job: Job, ticket: Ticket, known: TrackerIssue) -> None:
        if ticket.status.state != "solved" or (job.is_found and not known.is_open):
            self.counts["overtaken"] += 1
            return
        assert known.issue_id is not None
        if not known.is_open:
            # Whoever told something else at the same moment may have written that down.
            found = self.tracker.find(_wording.marker_of(ticket))
            if found is None or not found.is_open or found.issue_id != known.issue_id:
                self.counts["overtaken"] += 1
                return
        text = _wording.solved_text(ticket, self.manners.link(ticket.ticket_id))
        self.tracker.close(known.issue_id, text)
        self.counts["closed"] += 1
        self.save(known, is_open=False)

    def save(
        self, known: TrackerIssue, *, commented_at: int = 0, is_open: bool | None = None
    ) -> None:
        """Store what was told of an issue, and nothing else: other processes tell things, too."""
        if is_open is not None:
            remember(self.told, known.issue_id, is_open)
        self.db.save_issue(
            TrackerIssue(known.ticket_id, known.tracker, None, None, commented_at, is_open)
        )

    def _text(self, wording: Callable[..., Any], ticket: Ticket) -> Any:
        return wording(ticket, ticket.last_occurrence, self.manners.link(ticket.ticket_id))

    def _reached(self, count: int) -> int:
        return max((one for one in self.manners.comment_at if one <= count), default=0)

    # -- what others left

    def _look(self) -> None:
        self._is_to_look = False
        jobs = self._comparison.find(self.db, self.manners.now(), self.name_of("look", ""))
        for job in jobs:
            self.later.put(job)

    def _catch_up(self, known_already: set[Any]) -> None:
        """Look once for issues that a process which is gone had begun to file."""
        query = Query(states=OPEN, min_level=self.manners.min_level)
        for ticket in self.db.get_tickets(limit=_CATCH_UP, query=query):
            known = self.db.get_issue(ticket.ticket_id, self.tracker.name)
            is_begun = known is not None and known.issue_id is None
            if is_begun and ticket.ticket_id not in known_already:
                self.later.put(Job(ticket.ticket_id, "file"))


_COUNTED: Final = (
    "filed",
    "found",
    "commented",
    "reopened",
    "closed",
    "adopted",
    "put_off",
    "claimed",
    "paced",
    "cooling",
    "uncertain",
    "unanswered",
    "overtaken",
    "skipped",
    "limited",
    "unwritten",
)


def _size_of(_: object) -> int:
    return 200

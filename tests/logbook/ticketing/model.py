"""A store of tickets in plain dicts: slow, forgetful, and simple enough to be believed.

It is what other stores are compared with, and what tests use that need some store or other.
"""

import json
import threading
import uuid
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha1

from packaging.version import InvalidVersion, Version

from sprockets.logbook.ticketing._backend import BackendBase
from sprockets.logbook.ticketing._entry import Entry, Outcome
from sprockets.logbook.ticketing._model import (
    FIELDS,
    OCCURRENCE_FIELDS,
    Details,
    HistoryItem,
    Removed,
    Status,
    Ticket,
    TrackerIssue,
)
from sprockets.logbook.ticketing._reading import occurrence
from sprockets.logbook.ticketing._search import EVERYTHING


def _now():
    return datetime.now(UTC).replace(tzinfo=None)


def entry_of(record, data, hash, app_id):
    """Return what a record is counted as that comes without anything beyond Logbook's fields."""
    text = json.dumps(data)
    return Entry(
        key=uuid.uuid4().hex,
        hash=hash,
        time=data_time(record),
        level=record.level,
        channel=record.channel or "",
        location=f"{record.filename or '<unknown>'}:{record.lineno or 0}",
        module=record.module or "<unknown>",
        app_id=app_id,
        data=text,
        title=str(record.message or ""),
    )


def data_time(record):
    """Return the time of *record* in UTC and without a zone."""
    time = record.time
    return time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time


def is_older(release, than, seen):
    """Return whether *release* came before *than*; *seen* are all releases, the oldest first.

    Where one of them is no version, what was seen first is older.
    """
    if release is None:
        return False
    try:
        return Version(release) < Version(than)
    except InvalidVersion:
        pass
    if than in seen:
        return release in seen and seen.index(release) < seen.index(than)
    return None  # it depends on when the ticket was solved


class DictStore(BackendBase):
    """Tickets in dicts, under one lock."""

    def setup_backend(self):
        self.lock = threading.RLock()
        self.clock = self.options.get("clock", _now)
        self.last_id = 0
        self.changes = 0
        self.tickets = {}  # ticket_id -> Logbook's fields
        self.statuses = {}  # ticket_id -> Status
        self.occurrences = {}  # occurrence_id -> Logbook's fields, and "entry"
        self.keys = {}  # key -> occurrence_id
        self.ways = {}  # fingerprint, or hash that was merged or split away -> ticket_id
        self.histories = {}  # item_id -> HistoryItem
        self.hours = {}  # (ticket_id, begin of the hour) -> count
        self.releases = []  # in the order in which they were first seen
        self.seen_when_solved = {}  # ticket_id -> the releases that had been seen then
        self.issues = {}  # (ticket_id, tracker) -> TrackerIssue
        self.claims = {}  # (ticket_id, tracker) -> when
        self.tokens = {}  # digest -> (name, scopes)
        self.work = {}  # name -> until when it is claimed

    _KEPT = (
        "tickets", "statuses", "occurrences", "keys", "ways", "histories", "hours", "releases",
        "seen_when_solved", "issues", "claims", "tokens", "work",
    )  # fmt: skip

    @contextmanager
    def _changing(self):
        """Do all of what follows, or nothing."""
        with self.lock:
            before = deepcopy({name: getattr(self, name) for name in self._KEPT})
            try:
                yield
            except BaseException:
                vars(self).update(before)
                raise
            self.changes += 1

    def _next_id(self):
        self.last_id += 1
        return self.last_id

    # -- writing

    def record_ticket(self, record, data, hash, app_id):
        self.record_entries([entry_of(record, data, hash, app_id)])

    def record_entries(self, entries):
        with self._changing():
            for entry in entries:
                entry.to_bytes()  # or it cannot be stored
            return [self._record(entry) for entry in entries]

    def _record(self, entry):
        if entry.key in self.keys:
            ticket_id = self.occurrences[self.keys[entry.key]]["ticket_id"]
            return Outcome(
                entry, "duplicate", ticket_id, self.tickets[ticket_id]["occurrence_count"]
            )
        ticket_id, is_new = self._ticket_for(entry)
        row, status = self.tickets[ticket_id], self.statuses[ticket_id]
        row["occurrence_count"] += 1
        row["last_occurrence_time"] = max(row["last_occurrence_time"] or entry.time, entry.time)
        event = "new" if is_new else self._what_it_is(entry, ticket_id)
        if event in ("regressed", "woken"):
            self._set_state(ticket_id, "regressed" if event == "regressed" else "new")
        if event != "again":
            self._tell(ticket_id, "", {"new": "created"}.get(event, event))
        self.statuses[ticket_id] = replace(
            self.statuses[ticket_id],
            first_time=min(status.first_time or entry.time, entry.time),
            first_release=status.first_release or entry.release,
            last_release=entry.release or status.last_release,
        )
        if entry.release is not None and entry.release not in self.releases:
            self.releases.append(entry.release)
        occurrence_id = self._next_id()
        self.occurrences[occurrence_id] = {
            "occurrence_id": occurrence_id,
            "ticket_id": ticket_id,
            "time": entry.time,
            "data": entry.data,
            "app_id": entry.app_id,
            "entry": entry,
        }
        self.keys[entry.key] = occurrence_id
        hour = (ticket_id, entry.time.replace(minute=0, second=0, microsecond=0))
        self.hours[hour] = self.hours.get(hour, 0) + 1
        return Outcome(entry, event, ticket_id, row["occurrence_count"])

    def _ticket_for(self, entry):
        """Return the ticket that counts *entry*, and whether it is new."""
        of_hash = self._ticket_of_hash(entry.hash)
        if entry.fingerprint is None:
            return (self._make_ticket(entry), True) if of_hash is None else (of_hash, False)
        found = self.ways.get(entry.fingerprint)
        if found is not None:
            return found, False
        if of_hash is not None and self.statuses[of_hash].fingerprint is None:
            self.ways[entry.fingerprint] = of_hash
            self.statuses[of_hash] = replace(self.statuses[of_hash], fingerprint=entry.fingerprint)
            return of_hash, False
        return self._make_ticket(entry), True

    def _ticket_of_hash(self, record_hash):
        """Return where a hash leads: to the ticket that bears it, unless it was sent elsewhere."""
        if record_hash in self.ways:
            return self.ways[record_hash]
        for ticket_id, row in self.tickets.items():
            if row["record_hash"] == record_hash:
                return self.statuses[ticket_id].merged_into or ticket_id
        return None

    def _make_ticket(self, entry):
        ticket_id = self._next_id()
        record_hash = entry.hash
        if any(row["record_hash"] == record_hash for row in self.tickets.values()):
            record_hash = sha1(f"{entry.fingerprint} {ticket_id}".encode()).hexdigest()
        if entry.fingerprint is not None:
            self.ways[entry.fingerprint] = ticket_id
        self.tickets[ticket_id] = {
            "ticket_id": ticket_id,
            "record_hash": record_hash,
            "level": entry.level,
            "channel": entry.channel,
            "location": entry.location,
            "module": entry.module,
            "last_occurrence_time": None,
            "occurrence_count": 0,
            "solved": False,
            "app_id": entry.app_id,
        }
        self.statuses[ticket_id] = Status(title=entry.title, fingerprint=entry.fingerprint)
        return ticket_id

    def _what_it_is(self, entry, ticket_id):
        status = self.statuses[ticket_id]
        if status.state == "solved":
            if status.solved_in is not None:
                older = is_older(entry.release, status.solved_in, self.releases)
                if older is None:
                    older = entry.release in self.seen_when_solved[ticket_id]
                if older:
                    return "again"
            return "regressed"
        if status.state == "ignored":
            count = self.tickets[ticket_id]["occurrence_count"]
            if status.ignored_until is not None and entry.time >= status.ignored_until:
                return "woken"
            if status.ignored_count is not None and count >= status.ignored_count:
                return "woken"
        return "again"

    def _set_state(self, ticket_id, state, *, solved_in=None, until=None, count=None):
        self.tickets[ticket_id]["solved"] = state == "solved"
        self.statuses[ticket_id] = replace(
            self.statuses[ticket_id],
            state=state,
            solved_in=solved_in,
            ignored_until=until,
            ignored_count=count,
        )

    def _tell(self, ticket_id, actor, action, text="", **facts):
        item_id = self._next_id()
        self.histories[item_id] = HistoryItem(
            item_id, ticket_id, self.clock(), actor, action, text, facts
        )

    # -- reading

    def _ticket(self, ticket_id):
        return Ticket(self, dict(self.tickets[ticket_id]), self.statuses[ticket_id])

    def _occurrence(self, row):
        entry = row["entry"]
        details = Details(
            entry.key,
            entry.request_id,
            entry.task_uuid,
            entry.release,
            entry.environment,
            entry.leading,
        )
        return occurrence(self, {name: row[name] for name in OCCURRENCE_FIELDS}, details)

    def _occurrences_of(self, ticket_id):
        return [row for row in self.occurrences.values() if row["ticket_id"] == ticket_id]

    def _live(self):
        return [
            ticket_id for ticket_id in self.tickets if self.statuses[ticket_id].merged_into is None
        ]

    def _is_live(self, ticket_id):
        return ticket_id in self.tickets and self.statuses[ticket_id].merged_into is None

    def count_tickets(self, query=EVERYTHING):
        with self.lock:
            return sum(self._meets(ticket_id, query) for ticket_id in self._live())

    def get_tickets(self, order_by="-last_occurrence_time", limit=50, offset=0, query=EVERYTHING):
        with self.lock:
            found = [ticket_id for ticket_id in self._live() if self._meets(ticket_id, query)]
            rows = [
                {**self.tickets[one], "first_time": self.statuses[one].first_time} for one in found
            ]
            rows = _page(rows, order_by, (*FIELDS, "first_time"), "ticket_id", limit, offset)
            return [self._ticket(row["ticket_id"]) for row in rows]

    def _meets(self, ticket_id, query):
        row, status = self.tickets[ticket_id], self.statuses[ticket_id]
        entries = [found["entry"] for found in self._occurrences_of(ticket_id)]
        texts = [status.title, row["channel"], row["module"], row["location"]]
        return all(
            [
                not query.states or status.state in query.states,
                not query.levels or row["level"] in query.levels,
                query.min_level is None or row["level"] >= query.min_level,
                not query.channels or any(_fits(row["channel"], one) for one in query.channels),
                not query.releases or any(one.release in query.releases for one in entries),
                not query.environments
                or any(one.environment in query.environments for one in entries),
                not query.app_ids or row["app_id"] in query.app_ids,
                not query.assignees or status.assignee in query.assignees,
                not query.request_ids
                or any(one.request_id in query.request_ids for one in entries),
                query.seen_since is None or row["last_occurrence_time"] >= query.seen_since,
                query.first_since is None or status.first_time >= query.first_since,
                query.min_count is None or row["occurrence_count"] >= query.min_count,
                all(any(text.lower() in one.lower() for one in texts) for text in query.texts),
                not any(self._meets(ticket_id, other) for other in query.excluded),
            ]
        )

    def get_ticket(self, ticket_id):
        with self.lock:
            return self._ticket(ticket_id) if ticket_id in self.tickets else None

    def get_occurrences(self, ticket, order_by="-time", limit=50, offset=0):
        with self.lock:
            rows = self._occurrences_of(getattr(ticket, "ticket_id", ticket))
            rows = _page(rows, order_by, OCCURRENCE_FIELDS, "occurrence_id", limit, offset)
            return [self._occurrence(row) for row in rows]

    def get_occurrence(self, occurrence_id):
        with self.lock:
            row = self.occurrences.get(occurrence_id)
            return None if row is None else self._occurrence(row)

    def find_occurrences(self, *, request_id=None, task_uuid=None, limit=100):
        with self.lock:
            rows = [
                row
                for row in self.occurrences.values()
                if (request_id is not None and row["entry"].request_id == request_id)
                or (task_uuid is not None and row["entry"].task_uuid == task_uuid)
            ]
            rows = _page(rows, "time", OCCURRENCE_FIELDS, "occurrence_id", limit, 0)
            return [self._occurrence(row) for row in rows]

    def get_counts(self, ticket_ids, since, until, step):
        width = {"hour": timedelta(hours=1), "day": timedelta(days=1)}[step]
        midnight = {"hour": 0} if step == "day" else {}
        begin = since.replace(minute=0, second=0, microsecond=0, **midnight)
        number = (until - begin) // width + 1
        with self.lock:
            counts = {ticket_id: [0] * number for ticket_id in ticket_ids}
            for (ticket_id, hour), count in self.hours.items():
                place = (hour - begin) // width
                if ticket_id in counts and 0 <= place < number:
                    counts[ticket_id][place] += count
            return counts

    def get_history(self, ticket_id, limit=100, offset=0):
        with self.lock:
            found = [item for item in self.histories.values() if item.ticket_id == ticket_id]
            return found[::-1][offset : offset + limit]

    def get_values(self, field, limit=100):
        with self.lock:
            if field in ("channel", "app_id"):
                found = {self.tickets[one][field] for one in self._live()}
            elif field == "assignee":
                found = {self.statuses[one].assignee for one in self._live()}
            else:
                found = {getattr(row["entry"], field) for row in self.occurrences.values()}
            return sorted(found - {None, ""})[:limit]

    def get_mark(self):
        return str(self.changes)

    # -- changing

    def solve_ticket(self, ticket_id, *, release=None, actor=""):
        with self._changing():
            if not self._is_live(ticket_id):
                return False
            self._set_state(ticket_id, "solved", solved_in=release)
            self.seen_when_solved[ticket_id] = list(self.releases)
            self._tell(ticket_id, actor, "solved", release or "", release=release)
            return True

    def reopen_ticket(self, ticket_id, *, actor=""):
        with self._changing():
            if not self._is_live(ticket_id):
                return False
            is_somebodys = self.statuses[ticket_id].assignee != ""
            self._set_state(ticket_id, "assigned" if is_somebodys else "new")
            self._tell(ticket_id, actor, "reopened")
            return True

    def ignore_ticket(self, ticket_id, *, until=None, occurrences=None, actor=""):
        with self._changing():
            if not self._is_live(ticket_id):
                return False
            count = self.tickets[ticket_id]["occurrence_count"]
            wanted = None if occurrences is None else count + occurrences
            self._set_state(ticket_id, "ignored", until=until, count=wanted)
            self._tell(ticket_id, actor, "ignored")
            return True

    def assign_ticket(self, ticket_id, assignee, *, actor=""):
        with self._changing():
            if not self._is_live(ticket_id):
                return False
            status = self.statuses[ticket_id]
            state = status.state
            if state in ("new", "assigned"):
                state = "assigned" if assignee else "new"
            self.statuses[ticket_id] = replace(status, assignee=assignee, state=state)
            self._tell(ticket_id, actor, "assigned", assignee, assignee=assignee)
            return True

    def comment_on_ticket(self, ticket_id, text, *, actor=""):
        return self.add_history(ticket_id, "commented", text, actor=actor)

    def add_history(self, ticket_id, action, text="", *, actor="", **facts):
        with self._changing():
            if ticket_id not in self.tickets:
                return False
            self._tell(ticket_id, actor, action, text, **facts)
            return True

    def merge_tickets(self, into, others, *, actor=""):
        others = list(others)
        if into in others:
            raise ValueError(f"ticket {into} cannot be merged into itself")
        with self._changing():
            others = [other for other in others if self._is_live(other)]
            if not others or not self._is_live(into):
                return False
            for other in others:
                self._merge(into, other)
            self._tell(into, actor, "merged", ", ".join(map(str, others)), tickets=others)
            return True

    def _merge(self, into, other):
        row, given = self.tickets[into], self.tickets[other]
        row["occurrence_count"] += given["occurrence_count"]
        given["occurrence_count"] = 0
        row["last_occurrence_time"] = max(
            row["last_occurrence_time"], given["last_occurrence_time"]
        )
        status, theirs = self.statuses[into], self.statuses[other]
        earlier, later = (status, theirs), (status, theirs)
        if theirs.first_time < status.first_time:
            earlier = earlier[::-1]
        self.statuses[into] = replace(
            status,
            first_time=earlier[0].first_time,
            first_release=earlier[0].first_release or earlier[1].first_release,
            last_release=later[0].last_release or later[1].last_release,
        )
        self.statuses[other] = replace(theirs, merged_into=into)
        for found in self._occurrences_of(other):
            found["ticket_id"] = into
        for way in [way for way, end in self.ways.items() if end == other]:
            self.ways[way] = into
        self.ways.setdefault(given["record_hash"], into)
        for of, hour in [place for place in self.hours if place[0] == other]:
            count = self.hours.pop((of, hour))
            self.hours[into, hour] = self.hours.get((into, hour), 0) + count
        for ticket_id, known in self.statuses.items():
            if known.merged_into == other:
                self.statuses[ticket_id] = replace(known, merged_into=into)
        self._choose_fingerprint(into)

    def _choose_fingerprint(self, ticket_id):
        """Keep the fingerprint of a ticket if it leads there, else take the least that does."""
        status = self.statuses[ticket_id]
        ways = [way for way, end in self.ways.items() if end == ticket_id and ":" in way]
        if status.fingerprint not in ways:
            self.statuses[ticket_id] = replace(status, fingerprint=min(ways, default=None))

    def split_ticket(self, ticket_id, occurrence_id, *, actor=""):
        with self._changing():
            start = self.occurrences.get(occurrence_id)
            if start is None or start["ticket_id"] != ticket_id:
                return None
            way = start["entry"].fingerprint or start["entry"].hash
            moved, staying = [], []
            for row in self._occurrences_of(ticket_id):
                of_way = (row["entry"].fingerprint or row["entry"].hash) == way
                (moved if of_way else staying).append(row)
            if not staying:
                return None
            made = self._make_ticket(
                replace(start["entry"], hash=sha1(f"split {start}".encode()).hexdigest())
            )
            self.ways[way] = made
            for row in moved:
                row["ticket_id"] = made
                hour = row["time"].replace(minute=0, second=0, microsecond=0)
                self.hours[ticket_id, hour] -= 1
                self.hours[made, hour] = self.hours.get((made, hour), 0) + 1
            self.tickets[ticket_id]["occurrence_count"] -= len(moved)
            self.tickets[ticket_id]["last_occurrence_time"] = max(row["time"] for row in staying)
            self.tickets[made]["occurrence_count"] = len(moved)
            times = [row["time"] for row in moved]
            self.tickets[made]["last_occurrence_time"] = max(times)
            releases = [row["entry"].release for row in moved if row["entry"].release]
            self.statuses[made] = replace(
                self.statuses[made],
                first_time=min(times),
                first_release=releases[0] if releases else None,
                last_release=releases[-1] if releases else None,
            )
            self._choose_fingerprint(ticket_id)
            self._choose_fingerprint(made)
            self._tell(ticket_id, actor, "split", str(made), ticket=made)
            self._tell(made, actor, "split", str(ticket_id), ticket=ticket_id)
            return made

    def delete_ticket(self, ticket_id):
        with self._changing():
            if ticket_id not in self.tickets:
                return False
            gone = [ticket_id] + [
                other for other, status in self.statuses.items() if status.merged_into == ticket_id
            ]
            for one in gone:
                self._delete(one)
            return True

    def _delete(self, ticket_id):
        del self.tickets[ticket_id], self.statuses[ticket_id]
        for row in self._occurrences_of(ticket_id):
            self._remove_occurrence(row["occurrence_id"])
        self.ways = {way: end for way, end in self.ways.items() if end != ticket_id}
        self.histories = {
            item_id: item for item_id, item in self.histories.items() if item.ticket_id != ticket_id
        }
        for kept in (self.hours, self.issues, self.claims):
            for place in [place for place in kept if place[0] == ticket_id]:
                del kept[place]

    def _remove_occurrence(self, occurrence_id):
        row = self.occurrences.pop(occurrence_id)
        del self.keys[row["entry"].key]

    def apply_retention(self, retention, now=None):
        now = now or self.clock()
        with self._changing():
            old = []
            if retention.max_solved_age is not None:
                old = [
                    one
                    for one in self._live()
                    if self.statuses[one].state == "solved"
                    and self.tickets[one]["last_occurrence_time"] < now - retention.max_solved_age
                ]
            before = len(self.occurrences)
            for ticket_id in old:
                self.delete_ticket(ticket_id)
            if retention.max_age is not None:
                for row in list(self.occurrences.values()):
                    if row["time"] < now - retention.max_age:
                        self._remove_occurrence(row["occurrence_id"])
            if retention.max_per_ticket is not None:
                for ticket_id in self.tickets:
                    rows = sorted(self._occurrences_of(ticket_id), key=_age)
                    first = retention.max_per_ticket // 10
                    newest = retention.max_per_ticket - first
                    for row in rows[first : max(first, len(rows) - newest)]:
                        self._remove_occurrence(row["occurrence_id"])
            if retention.max_occurrences is not None:
                rows = sorted(self.occurrences.values(), key=_age)
                for row in rows[: max(0, len(rows) - retention.max_occurrences)]:
                    self._remove_occurrence(row["occurrence_id"])
            return Removed(before - len(self.occurrences), len(old))

    # -- who does what there is one to do

    def claim(self, name, *, now, seconds):
        with self._changing():
            if name in self.work and now < self.work[name]:
                return False
            self.work[name] = now + timedelta(seconds=seconds)
            return True

    # -- what trackers were told

    def claim_issue(self, ticket_id, tracker, *, now, patience):
        with self._changing():
            if ticket_id not in self.tickets:
                return False
            known = self.issues.get((ticket_id, tracker))
            if known is not None:
                is_void = self.claims[ticket_id, tracker] + timedelta(seconds=patience) < now
                if known.issue_id is not None or not is_void:
                    return False
            self.issues[ticket_id, tracker] = TrackerIssue(ticket_id, tracker)
            self.claims[ticket_id, tracker] = now
            return True

    def save_issue(self, issue):
        with self._changing():
            if issue.ticket_id in self.tickets:
                key = issue.ticket_id, issue.tracker
                known = self.issues.get(key, TrackerIssue(*key))
                self.issues[key] = TrackerIssue(
                    *key,
                    known.issue_id if issue.issue_id is None else issue.issue_id,
                    known.url if issue.url is None else issue.url,
                    max(known.commented_at, issue.commented_at),
                    known.is_open if issue.is_open is None else issue.is_open,
                )
                self.claims.setdefault((issue.ticket_id, issue.tracker), self.clock())

    def get_issue(self, ticket_id, tracker):
        with self.lock:
            return self.issues.get((ticket_id, tracker))

    def get_issues(self, ticket_id):
        with self.lock:
            return [issue for (of, _), issue in sorted(self.issues.items()) if of == ticket_id]

    # -- who may use the interface for programs

    def add_token(self, digest, name, scopes):
        with self._changing():
            self.tokens[digest] = (name, frozenset(scopes))

    def get_token(self, digest):
        with self.lock:
            return self.tokens.get(digest)

    def get_tokens(self):
        with self.lock:
            return sorted(self.tokens.values(), key=lambda token: token[0])

    def remove_token(self, name):
        with self._changing():
            gone = [digest for digest, token in self.tokens.items() if token[0] == name]
            for digest in gone:
                del self.tokens[digest]
            return bool(gone)


def _age(row):
    return row["time"], row["occurrence_id"]


def _fits(channel, pattern):
    """Return whether *channel* is *pattern*, whose stars stand for any text."""
    first, *others = pattern.split("*")
    if not others:
        return channel == pattern
    if not channel.startswith(first):
        return False
    rest = channel[len(first) :]
    *middle, last = others
    for part in middle:
        place = rest.find(part)
        if place < 0:
            return False
        rest = rest[place + len(part) :]
    return rest.endswith(last)


def _page(rows, order_by, fields, id_field, limit, offset):
    """Return a page of *rows*; equals are in the order of their ids, in the same direction."""
    name = order_by.removeprefix("-")
    if not name:
        raise ValueError(f"order_by is {order_by!r}; pass one of {', '.join(fields)}")
    if name not in fields:
        raise KeyError(name)
    rows = sorted(
        rows, key=lambda row: (row[name], row[id_field]), reverse=order_by.startswith("-")
    )
    return rows[offset : offset + limit]

"""Doubles: a tracker in memory that follows a script, a clock that stands still, and entries."""

import json
import threading
import uuid
from collections import deque
from datetime import UTC, datetime, timedelta
from hashlib import sha1

from sprockets.logbook import LogRecord
from sprockets.logbook._levels import lookup_level
from sprockets.logbook.ticketing._entry import Entry
from sprockets.logbook.ticketing._trackers import Issue, Tracker

LIMIT = 60.0  # seconds that a test waits for anything


class FakeClock:
    """Stands still until it is moved."""

    def __init__(self):
        self.seconds = 1_000.0

    def __call__(self):
        return self.seconds

    def now(self):
        """Return the same as a time of day."""
        return datetime(2026, 1, 1) + timedelta(seconds=self.seconds)


class FakeTracker(Tracker):
    """Issues in memory; what is in `script` for a method is raised, before or after it is done.

    An item of the script is an exception, or a pair of an exception and ``"after"``; or a callable
    that is called first.
    """

    def __init__(self, name="fake"):
        super().__init__(name)
        self.issues = {}
        self.calls = []
        self.texts = []
        self.script = {}
        self.lock = threading.Lock()
        self.is_open = True

    def fail(self, method, *items):
        """Have the next calls of *method* go as *items* say."""
        self.script.setdefault(method, deque()).extend(items)

    def _play(self, method, *arguments):
        with self.lock:
            self.calls.append((method, *arguments))
            script = self.script.get(method)
            step = script.popleft() if script else None
        if callable(step) and not isinstance(step, type):
            step()
            return None
        if isinstance(step, tuple):
            return step[0]
        if step is not None:
            raise step
        return None

    def find(self, marker):
        late = self._play("find", marker)
        if late is not None:
            raise late
        for issue_id, issue in sorted(self.issues.items(), key=lambda pair: int(pair[0])):
            if issue["marker"] == marker:
                return Issue(issue_id, self.url(issue_id), issue["is_open"])
        return None

    def create(self, marker, title, text):
        late = self._play("create", marker)
        with self.lock:
            issue_id = str(len(self.issues) + 1)
            self.issues[issue_id] = {
                "marker": marker,
                "title": title,
                "text": text,
                "is_open": True,
                "comments": [],
            }
        if late is not None:
            raise late
        return Issue(issue_id, self.url(issue_id))

    def _change(self, method, issue_id, text, is_open=None):
        late = self._play(method, issue_id)
        issue = self.issues[issue_id]
        self.texts.append(text)
        issue["comments"].append(text.heading)
        if is_open is not None:
            issue["is_open"] = is_open
        if late is not None:
            raise late

    def comment(self, issue_id, text):
        self._change("comment", issue_id, text)

    def reopen(self, issue_id, text):
        self._change("reopen", issue_id, text, True)

    def close(self, issue_id, text):
        self._change("close", issue_id, text, False)

    def url(self, issue_id):
        return f"https://tracker.example/{self.name}/{issue_id}"

    def disconnect(self):
        self.is_open = False

    def count(self, method):
        """Return how often *method* was called."""
        return sum(call[0] == method for call in self.calls)


def entry(where="shop.py:7", level="ERROR", message="no price", *, extra=None, error=None, **facts):
    """Return an entry of a record that was logged at *where*."""
    record = LogRecord("shop", lookup_level(level), message, extra=dict(extra or {}))
    record.heavy_init()
    data = record.to_dict(json_safe=True)
    data["message"] = message
    if error is not None:
        data["formatted_exception"] = error
    return Entry(
        **{
            "key": uuid.uuid4().hex,
            "hash": sha1(where.encode(), usedforsecurity=False).hexdigest(),
            "time": datetime.now(UTC).replace(tzinfo=None),
            "level": record.level,
            "channel": "shop",
            "location": where,
            "module": "shop",
            "app_id": "generic",
            "data": json.dumps(data),
            "title": message.partition("\n")[0],
            **facts,
        }
    )


def marker_of(where="shop.py:7"):
    """Return the marker of what was logged at *where*."""
    return f"lb:{sha1(where.encode(), usedforsecurity=False).hexdigest()}"

"""Redmine, a real one: ``start_redmine.sh`` starts it, ``SPROCKETS_TEST_REDMINE`` says where."""

import hashlib
import json
import os
import re
import urllib.request
import uuid
from urllib.parse import parse_qs, urlsplit

import pytest

from sprockets.logbook.ticketing._trackers import (
    GoneError,
    RedmineTracker,
    RefusedError,
    Text,
    UnauthorisedError,
)
from tests.logbook.ticketing.trackers.storming import assert_one_issue, storm, the_ticket

WILD = "</pre> @admin #1 {{toc}}\n</PRE>\n\nh1. big\n\n<pre><code>!http://x/y.png! [[wiki]]"


class Redmine:
    """Where it is, and what it has; found through the URL: ``http://KEY:@HOST:PORT/PROJECT``."""

    def __init__(self, text):
        parts = urlsplit(text)
        self.url = f"{parts.scheme}://{parts.hostname}:{parts.port}"
        self.key = parts.username
        self.project = parts.path.strip("/")
        self.custom_field = int(parse_qs(parts.query)["custom_field"][0])

    def tracker(self, **options):
        options = {"custom_field": self.custom_field, "timeout": 60.0, **options}
        return RedmineTracker(self.url, self.key, self.project, **options)

    def read(self, path):
        request = urllib.request.Request(self.url + path, headers={"X-Redmine-API-Key": self.key})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read().decode()

    def issue(self, issue_id):
        return json.loads(self.read(f"/issues/{issue_id}.json?include=journals"))["issue"]

    def notes(self, issue_id):
        return [one["notes"] for one in self.issue(issue_id)["journals"] if one["notes"]]

    def count(self, mark):
        path = f"/issues.json?status_id=*&limit=1&cf_{self.custom_field}={mark}"
        return json.loads(self.read(path))["total_count"]


@pytest.fixture(name="redmine", scope="module")
def _redmine():
    """Skips without one, wherever that is: it takes 110 packages of Debian's."""
    text = os.environ.get("SPROCKETS_TEST_REDMINE")
    if not text:
        pytest.skip("no Redmine; run start_redmine.sh and set SPROCKETS_TEST_REDMINE")
    return Redmine(text)


@pytest.fixture(name="mark")
def _mark():
    return f"lb:{hashlib.sha1(uuid.uuid4().bytes).hexdigest()}"


def text_for(mark, body=WILD):
    return Text("It went wrong.", (("Level", "ERROR"),), body, marker=mark)


@pytest.mark.rule("P-R2", "Q-2")
@pytest.mark.parametrize("has_field", [True, False])
def test_the_life_of_an_issue(redmine, mark, has_field):
    """Made, found by the field or by its subject, commented, closed, opened again."""
    tracker = redmine.tracker(**({} if has_field else {"custom_field": None}))

    made = tracker.create(mark, "ValueError: no price\nof #1", text_for(mark))
    assert tracker.find(mark) == made
    assert tracker.find(f"lb:{'0' * 40}") is None
    tracker.comment(made.issue_id, Text("It has occurred 10 times."))
    tracker.close(made.issue_id, Text("The ticket is solved."))
    assert tracker.find(mark) == type(made)(made.issue_id, made.url, False)
    tracker.close(made.issue_id, Text("Solved already."))
    tracker.reopen(made.issue_id, Text("It is back."))
    assert tracker.find(mark) == made

    issue = redmine.issue(made.issue_id)
    ending = "" if has_field else f" [{mark[:11]}]"
    assert issue["subject"] == rf"ValueError: no price\nof #1{ending}"
    assert made.url == f"{redmine.url}/issues/{made.issue_id}"
    assert redmine.notes(made.issue_id) == [
        "It has occurred 10 times.",
        "The ticket is solved.",
        "Solved already.",
        "It is back.",
    ]


def test_what_a_record_says_is_no_markup(redmine, mark):
    """It stands in a block, cannot end it, and is nothing but text on the page."""
    made = redmine.tracker().create(mark, "<b>[[x]]", text_for(mark))

    page = redmine.read(f"/issues/{made.issue_id}")
    shown = re.search(r'<div class="wiki">(.*?)</div>', page, re.DOTALL)[1]
    assert shown.count("<pre") == shown.count("</pre>") == 1
    assert not re.search("<(a|img|h1|code|script)[ >]", shown)
    assert "@admin #1 {{toc}}" in shown


def test_the_longest_text_is_taken(redmine, mark):
    """It is cut, and so is the subject."""
    made = redmine.tracker().create(mark, "é" * 1_000, text_for(mark, "é" * 300_000))

    issue = redmine.issue(made.issue_id)
    assert len(issue["subject"]) <= 255
    assert mark in issue["description"]
    assert len(issue["description"]) <= 60_000


def test_a_wrong_key_is_no_way_in(redmine, mark):
    """The error says so, and not the key."""
    tracker = RedmineTracker(redmine.url, "wrong-key", redmine.project)

    with pytest.raises(UnauthorisedError) as caught:
        tracker.create(mark, "t", text_for(mark))

    assert "wrong-key" not in str(caught.value)


def test_what_redmine_does_not_take_is_refused_with_its_words(redmine, mark):
    """It says 422, and why."""
    with pytest.raises(RefusedError, match="Priority"):
        redmine.tracker(priority_id=9_999).create(mark, "t", text_for(mark))


def test_an_issue_or_a_project_that_is_not_there_is_gone(redmine, mark):
    """There is nothing to comment on, and nowhere to file."""
    with pytest.raises(GoneError):
        redmine.tracker().comment("99999999", Text("Hello?"))
    elsewhere = RedmineTracker(redmine.url, redmine.key, "nowhere")
    with pytest.raises(GoneError):
        elsewhere.find(mark)


@pytest.mark.rule("P-R2", "Q-2")
def test_four_processes_make_one_issue_of_a_thousand_occurrences(redmine, tmp_path):
    """Whoever was first has filed it, and the last number is told."""
    results = storm(
        tmp_path,
        "RedmineTracker",
        redmine.url,
        redmine.key,
        redmine.project,
        custom_field=redmine.custom_field,
    )

    issue, commented = assert_one_issue(tmp_path, results, 1_000)
    # Run again on one Redmine, the one from before is found.
    assert redmine.count(f"lb:{the_ticket(tmp_path)[0].record_hash}") == 1
    assert len(redmine.notes(issue.issue_id)) >= commented
    assert "hunter2" not in redmine.issue(issue.issue_id)["description"]

"""Health: what load balancers, orchestrators and Prometheus servers are told."""

import json
import math
import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado.testing import AsyncHTTPTestCase
from tornado.web import Application as PlainApplication

from sprockets.http import health
from sprockets.http._request_context import Activity
from sprockets.http._scoreboard import BUCKETS, DRAINING, SERVING, STARTING, Scoreboard
from sprockets.http.app import Application

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
SAMPLE = re.compile(
    rf'({NAME})(?:\{{((?:{NAME}="(?:[^"\\\n]|\\["\\n])*",?)*)\}})? ([^ ]+)(?: -?\d+)?'
)


def parse_metrics(text):
    """Read what Prometheus would read, and be as strict as its documentation.

    Returns the kind of each metric, and its samples by name and labels.
    """
    assert text.endswith("\n")
    kinds, helps, samples, family = {}, {}, {}, None
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            family, help = line[7:].split(" ", 1)
            assert help
            assert family not in helps, "a metric comes in one piece"
            helps[family] = help
        elif line.startswith("# TYPE "):
            name, kind = line[7:].split(" ")
            assert name == family, "the type follows the help"
            assert kind in {"counter", "gauge", "histogram"}
            assert name not in kinds
            kinds[name] = kind
        else:
            found = SAMPLE.fullmatch(line)
            assert found, f"no sample: {line!r}"
            name, labels, value = found.groups()
            suffixes = ("_bucket", "_sum", "_count") if kinds[family] == "histogram" else ("",)
            assert name in {family + suffix for suffix in suffixes}
            key = name, tuple(re.findall(rf'({NAME})="((?:[^"\\]|\\.)*)"', labels or ""))
            assert key not in samples, "every sample is there once"
            samples[key] = float(value)
    for name, kind in kinds.items():
        assert (kind == "counter") == name.endswith("_total")
        if kind == "histogram":
            check_histogram(name, samples)
    return kinds, samples


def check_histogram(name, samples):
    buckets = [
        (float(dict(labels)["le"]), value)
        for (each, labels), value in samples.items()
        if each == f"{name}_bucket"
    ]
    assert buckets == sorted(buckets), "bounds and counts grow"
    assert buckets[-1] == (math.inf, samples[f"{name}_count", ()])


def sample(text, name, **labels):
    return parse_metrics(text)[1][f"sprockets_http_{name}", tuple(labels.items())]


def worker(**cells):
    """What a worker is doing whose row says so."""
    activity = Activity()
    activity.row["pid"] = 4711
    for name, value in cells.items():
        activity.row[name] = value
    return activity


# -- readiness


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ({"state": STARTING}, "starting"),
        ({"state": SERVING}, "starting"),
        ({"state": SERVING, "is_ready": 1}, "ready"),
        ({"state": SERVING, "has_failed": 1}, "failed"),
        ({"state": DRAINING}, "draining"),
        ({"state": DRAINING, "is_ready": 1}, "draining"),
        ({"state": DRAINING, "has_failed": 1}, "draining"),
    ],
)
def test_readiness_is_what_the_row_of_the_worker_says(cells, expected):
    """A worker that drains is no longer ready, whatever else it is."""
    assert health.describe_readiness(worker(**cells)) == expected


def test_a_service_that_drains_has_no_ready_worker():
    """The parent says so before the worker has heard of it."""
    activity = worker(state=SERVING, is_ready=1)

    activity.board["state"] = DRAINING

    assert health.describe_readiness(activity) == "draining"


def test_a_server_that_drains_is_not_ready():
    """Also where nobody writes to the row."""
    activity = Activity()
    activity.is_draining = True

    assert health.describe_readiness(activity) == "draining"


def test_without_a_runner_there_is_nothing_to_wait_for():
    """As in a test, or below somebody else's server."""
    assert health.describe_readiness(Activity()) == "ready"


# -- the state of the service


def test_the_state_of_all_workers_is_described():
    """Whoever of them is asked; and it is JSON."""
    board = Scoreboard(3)
    board["state"], board["target"], board["restarts"] = SERVING, 2, 5
    for number, row in enumerate(board.rows[:2]):
        row["pid"] = 100 + number
        row["state"] = SERVING
        row["is_ready"] = 1
        for _ in range(3):
            row.enter()
        row.leave(200, 0.1)
        row.leave(503, 0.2)
        row["connections"] = 4

    found = json.loads(json.dumps(health.describe_service(Activity(board, board.rows[1]))))

    assert (found["state"], found["workers_wanted"], found["restarts"]) == ("serving", 2, 5)
    assert (found["requests"], found["in_flight"], found["connections"]) == (4, 2, 8)
    assert found["responses"] == {"1xx": 0, "2xx": 2, "3xx": 0, "4xx": 0, "5xx": 2}
    assert found["uptime"] is None
    assert [each["pid"] for each in found["workers"]] == [100, 101]
    assert all(each["is_ready"] is True and each["last_beat"] is None for each in found["workers"])
    assert found["logging"]["pid"] == 101


def test_the_uptime_is_that_of_the_service():
    """In seconds."""
    activity = worker()
    activity.board["started_at"] = 1.0

    assert health.describe_service(activity)["uptime"] > 10**9


# -- metrics


def test_metrics_are_what_prometheus_reads():
    """Strictly."""
    activity = worker(state=SERVING, lag=0.25, connections=3)
    activity.board["restarts"] = 2
    for status_code in (200, 201, 404, 500, 0):
        activity.row.enter()
        activity.row.leave(status_code, 0.02)
    activity.row.enter()

    text = health.format_metrics(activity)

    kinds, _ = parse_metrics(text)
    assert kinds["sprockets_http_request_duration_seconds"] == "histogram"
    assert sample(text, "responses_total", status="2xx") == 2
    assert sample(text, "responses_total", status="5xx") == 1
    assert sample(text, "request_duration_seconds_count") == 5
    assert sample(text, "request_duration_seconds_sum") == pytest.approx(0.1)
    assert sample(text, "requests_in_flight") == 1
    assert sample(text, "connections") == 3
    assert sample(text, "worker_restarts_total") == 2
    assert sample(text, "workers", state="serving") == 1
    assert sample(text, "workers", state="starting") == 0
    assert sample(text, "loop_lag_seconds") == 0.25


def test_an_empty_service_has_metrics_too():
    """All of them, and zero: a series that comes later cannot be watched."""
    text = health.format_metrics(Activity())

    assert set(parse_metrics(text)[1].values()) == {0.0}


@given(
    answers=st.lists(st.tuples(st.integers(0, 999), st.floats(0, 1e9)), max_size=20),
    lag=st.floats(0, 1e9),
    count=st.integers(0, 2**62),
)
def test_whatever_was_counted_the_metrics_can_be_read(answers, lag, count):
    """No number is written as none can be, and the buckets add up."""
    activity = worker(lag=lag, state=SERVING)
    activity.board["hung"] = count
    for status_code, seconds in answers:
        activity.row.enter()
        activity.row.leave(status_code, seconds)

    text = health.format_metrics(activity)

    assert sample(text, "request_duration_seconds_count") == len(answers)
    assert sample(text, "workers_hung_total") == float(count)
    assert sample(text, "loop_lag_seconds") == lag
    for bound in BUCKETS:
        below = sum(seconds <= bound for _, seconds in answers)
        assert sample(text, "request_duration_seconds_bucket", le=str(bound)) == below


# -- the handlers


def test_the_routes_can_be_put_below_a_prefix():
    """That a proxy knows."""
    assert [path for path, _ in health.handlers()] == ["/alive", "/ready", "/status", "/metrics"]
    assert [path for path, _ in health.handlers("/_health")] == [
        *("/_health/alive", "/_health/ready", "/_health/status", "/_health/metrics")
    ]


class TestHandlers(AsyncHTTPTestCase):
    """Over HTTP, without a runner."""

    def get_app(self):
        return Application(health.handlers("/_health"))

    def test_alive_says_200_and_is_not_to_be_remembered(self):
        """Neither by a proxy nor by its etag."""
        response = self.fetch("/_health/alive")

        assert response.code == 200
        assert json.loads(response.body) == {"status": "alive", "pid": None}
        assert response.headers["Cache-Control"] == "no-store"
        assert "Etag" not in response.headers

    def test_ready_says_503_once_it_drains(self):
        """With a time to come back."""
        assert self.fetch("/_health/ready").code == 200

        self._app.activity.row["pid"] = os.getpid()
        self._app.activity.row["state"] = DRAINING
        response = self.fetch("/_health/ready")

        assert response.code == 503
        assert json.loads(response.body) == {"status": "draining", "pid": os.getpid()}
        assert response.headers["Retry-After"] == "1"

    def test_status_is_json_and_counts_who_asks_as_in_flight(self):
        """None has ended yet."""
        found = json.loads(self.fetch("/_health/status").body)

        assert found["in_flight"] == 1
        assert found["requests"] == 0

    def test_metrics_have_the_type_that_prometheus_knows(self):
        """Version 0.0.4."""
        response = self.fetch("/_health/metrics")

        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert sample(response.body.decode(), "requests_in_flight") == 1

    def test_any_other_method_gets_an_error_document(self):
        """As everywhere."""
        response = self.fetch("/_health/ready", method="POST", body="")

        assert response.code == 405
        assert json.loads(response.body)["type"] == "HTTPError"


class TestPlainApplication(AsyncHTTPTestCase):
    """Below an application of Tornado's, and a server of Tornado's."""

    def get_app(self):
        return PlainApplication(health.handlers())

    def test_all_of_them_answer_without_a_runner(self):
        """There is little to tell."""
        for path, _ in health.handlers():
            assert self.fetch(path).code == 200

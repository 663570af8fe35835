"""Health: what a load balancer, an orchestrator and a Prometheus server ask.

.. code-block:: python

   from sprockets.http import health
   from sprockets.http.app import Application


   def make_app(**settings):
       return Application([*health.handlers(), ("/", Root)], **settings)

====================  ==============================================================================
``/alive``            200 as long as the loop of the worker that is asked runs
``/ready``            200 once every ``on_start`` callback has returned; 503 before that, if one
                      failed, and from the stop signal on
``/status``           the state of all workers and the counters of the service, as JSON
``/metrics``          the same for Prometheus
====================  ==============================================================================

Answers to these are logged at the debug level, unless they are errors.  Nothing here is secret, but
nothing is meant for strangers either: have the proxy keep them out, or give :func:`handlers` a
prefix that it knows.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from time import monotonic
from typing import Any, Final

from tornado import web

from sprockets.http._request_context import Activity, Exchange
from sprockets.http._scoreboard import BUCKETS, DRAINING, STATES, Row
from sprockets.http.mixins import ErrorLogger, ErrorWriter
from sprockets.logbook import statistics

_RETRY_AFTER: Final = "1"  # seconds


def handlers(prefix: str = "") -> list[tuple[str, type[web.RequestHandler]]]:
    """Return the routes of all health handlers.

    Args:
        prefix: Put before each path, such as ``/_health``.
    """
    return [
        (f"{prefix}/alive", AliveHandler),
        (f"{prefix}/ready", ReadyHandler),
        (f"{prefix}/status", StatusHandler),
        (f"{prefix}/metrics", MetricsHandler),
    ]


def describe_readiness(activity: Activity) -> str:
    """Say whether the process of *activity* wants requests.

    Returns:
        ``ready``, ``starting``, ``draining``, or ``failed`` where an ``on_start`` callback did.
        Without a runner there is nothing to wait for, so it is ``ready``.
    """
    row = activity.row
    if activity.is_draining or DRAINING in (activity.board["state"], row["state"]):
        return "draining"
    if row["is_ready"] or not row["pid"]:
        return "ready"
    return "failed" if row["has_failed"] else "starting"


def describe_service(activity: Activity) -> dict[str, Any]:
    """Return the state of the service and of all its workers, and its counters.

    Args:
        activity: Of any of the workers.
    """
    board = activity.board
    totals = board.totals()
    started_at = board["started_at"]
    return {
        "state": STATES.get(board["state"], "empty"),
        "uptime": time.time() - started_at if started_at else None,
        "generation": board["generation"],
        "restarts": board["restarts"],
        "hung": board["hung"],
        "reloads": board["reloads"],
        "failed_reloads": board["failed_reloads"],
        "requests": totals.requests,
        "in_flight": totals.in_flight,
        "connections": totals.connections,
        "client_gone": totals.client_gone,
        "cut": totals.cut,
        "responses": {f"{kind}xx": totals.by_status[kind] for kind in range(1, 6)},
        "workers_wanted": board["target"],
        "workers": [_describe_worker(row) for row in board.workers()],
        # Of the worker that answers: what it could not log.
        "logging": {"pid": activity.row["pid"], **statistics()},
    }


def _describe_worker(row: Row) -> dict[str, Any]:
    now = monotonic()
    return {
        "pid": row["pid"],
        "state": STATES.get(row["state"], "empty"),
        "is_ready": bool(row["is_ready"]),
        "generation": row["generation"],
        "uptime": now - row["started_at"],
        "in_flight": row.in_flight,
        "connections": row["connections"],
        "loop_lag": row["lag"],
        "loop_lag_max": row["lag_max"],
        "last_beat": now - row["beat_at"] if row["beat_at"] else None,
    }


def format_metrics(activity: Activity) -> str:
    """Return the counters of all workers in Prometheus's text format.

    Source: Prometheus, "Exposition formats", version 0.0.4.
    """
    return "".join(f"{line}\n" for line in _metrics(activity))


def _metrics(activity: Activity) -> Iterator[str]:
    board = activity.board
    totals = board.totals()
    workers = board.workers()

    def simple(name: str, kind: str, help: str, value: float) -> Iterator[str]:
        yield f"# HELP sprockets_http_{name} {help}"
        yield f"# TYPE sprockets_http_{name} {kind}"
        yield f"sprockets_http_{name} {_number(value)}"

    yield "# HELP sprockets_http_responses_total Requests answered, by class of status code."
    yield "# TYPE sprockets_http_responses_total counter"
    for kind in range(1, 6):
        count = totals.by_status[kind]
        yield f'sprockets_http_responses_total{{status="{kind}xx"}} {count}'
    name = "sprockets_http_request_duration_seconds"
    yield f"# HELP {name} Time from a request's head to the end of its answer."
    yield f"# TYPE {name} histogram"
    so_far = 0
    for number, bound in enumerate(BUCKETS):
        so_far += totals.by_duration[number]
        yield f'{name}_bucket{{le="{bound}"}} {so_far}'
    so_far += totals.by_duration[-1]
    yield f'{name}_bucket{{le="+Inf"}} {so_far}'
    yield f"{name}_sum {totals.seconds!r}"
    yield f"{name}_count {so_far}"
    yield from simple("requests_in_flight", "gauge", "Requests being answered.", totals.in_flight)
    yield from simple("connections", "gauge", "Open connections.", totals.connections)
    yield from simple(
        "clients_gone_total",
        "counter",
        "Requests whose client left before the answer.",
        totals.client_gone,
    )
    yield from simple("requests_cut_total", "counter", "Requests cut short by a stop.", totals.cut)
    yield from simple("worker_restarts_total", "counter", "Workers that died.", board["restarts"])
    yield from simple("workers_hung_total", "counter", "Workers killed as hung.", board["hung"])
    yield from simple("reloads_total", "counter", "Rolling restarts.", board["reloads"])
    yield from simple("workers_wanted", "gauge", "Workers there should be.", board["target"])
    yield "# HELP sprockets_http_workers Workers, by state."
    yield "# TYPE sprockets_http_workers gauge"
    for number, state in STATES.items():
        if number:
            count = sum(row["state"] == number for row in workers)
            yield f'sprockets_http_workers{{state="{state}"}} {count}'
    yield from simple(
        "loop_lag_seconds",
        "gauge",
        "How late the slowest event loop is.",
        max((row["lag"] for row in workers), default=0.0),
    )


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


class _HealthHandler(ErrorLogger, ErrorWriter, web.RequestHandler):
    """What the health handlers have in common."""

    access_log_failures_only = True

    @property
    def activity(self) -> Activity:
        """What the process that answers is doing."""
        connection: Any = self.request.connection
        if type(connection) is Exchange:
            return connection.activity
        found: Activity | None = getattr(self.application, "activity", None)
        return found if found is not None else Activity()

    def prepare(self) -> None:
        """Keep proxies from remembering how we were."""
        self.set_header("Cache-Control", "no-store")

    def compute_etag(self) -> None:
        """Have none: every answer is about now."""


class AliveHandler(_HealthHandler):
    """Answers 200 as long as the loop runs."""

    def get(self) -> None:
        """Say so."""
        self.write({"status": "alive", "pid": self.activity.row["pid"] or None})


class ReadyHandler(_HealthHandler):
    """Answers 200 if this process wants requests, and 503 if it does not."""

    def get(self) -> None:
        """Say whether, and why not."""
        status = describe_readiness(self.activity)
        if status != "ready":
            self.set_status(503)
            self.set_header("Retry-After", _RETRY_AFTER)
        self.write({"status": status, "pid": self.activity.row["pid"] or None})


class StatusHandler(_HealthHandler):
    """Answers with the state of all workers and the counters of the service, as JSON."""

    def get(self) -> None:
        """Tell all."""
        self.write(describe_service(self.activity))


class MetricsHandler(_HealthHandler):
    """Answers with the counters of the service in Prometheus's text format."""

    def get(self) -> None:
        """Tell them."""
        self.set_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.write(format_metrics(self.activity))

"""Start our own server as the peers are started.

Usage: ``python -P benchmarks/serving/ours.py --port N [--set NAME=JSON ...]``
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

# Run with -P nothing of ours is on the path; at its end this can shadow nobody.
sys.path.append(str(Path(__file__).resolve().parents[2]))

from tornado import web

import sprockets.http
from benchmarks.serving.servers import WORKERS

LOG_CONFIG = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"format": "%(asctime)s %(process)d %(name)s %(levelname)s %(message)s"}
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"level": "INFO", "handlers": ["stderr"]},
}


def make_app(**settings: Any) -> web.Application:
    """Return the application, imported where it is made: in the worker, as the peers do."""
    from benchmarks.serving import app_tornado

    return app_tornado.make_app(**settings)


def _setting(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    return name, json.loads(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--shutdown-limit", type=float, help="seconds that a stop may take")
    parser.add_argument("--heartbeat-timeout", type=float, help="seconds without a sign of life")
    parser.add_argument(
        "--set",
        dest="settings",
        type=_setting,
        action="append",
        default=[],
        metavar="NAME=JSON",
        help="another setting of sprockets.http.run",
    )
    arguments = parser.parse_args()
    settings: dict[str, Any] = {
        "port": arguments.port,
        "number_of_procs": WORKERS,
        "wait_for_on_start": True,
    }
    if arguments.shutdown_limit is not None:
        settings["shutdown_limit"] = arguments.shutdown_limit
    if arguments.heartbeat_timeout is not None:
        settings["heartbeat_timeout"] = arguments.heartbeat_timeout
        settings["start_timeout"] = arguments.heartbeat_timeout
    sprockets.http.run(make_app, {**settings, **dict(arguments.settings)}, LOG_CONFIG)


if __name__ == "__main__":
    main()

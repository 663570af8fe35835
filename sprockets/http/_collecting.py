"""Whether there is a collector: one process that writes what the parent and all workers log.

It is forked like a worker, by a parent that has no threads, and watched like one.  Workers send
over a unix socket in a private folder, and spool there while nobody listens; the parent has a
channel of its own.  At the end of the service it goes last, when all the others have.
"""

from __future__ import annotations

import dataclasses
from typing import Final

from sprockets.http._collector_folder import CollectorError
from sprockets.http._collector_process import CollectorProcess
from sprockets.http._collector_setup import CollectorConfig, check_config, make_setup
from sprockets.http._cpus import count_cpus
from sprockets.http._logging import UNSET, LogConfig
from sprockets.http._settings import Options

__all__ = [
    "CollectorConfig",
    "CollectorError",
    "CollectorProcess",
    "find_reserve",
    "make_setup",
    "prepare",
]

_LONGEST_RESERVE: Final = 3.0
_RESERVE: Final = 0.1


def prepare(
    collector: CollectorConfig | None, log_config: LogConfig, options: Options
) -> tuple[CollectorProcess | None, LogConfig, Options]:
    """Return the collector if there is to be one, and what to log with and the options are then.

    Args:
        collector: The argument of ``run``, which beats the option.
        log_config: Likewise.
        options: As they were given.

    Raises:
        TypeError: *collector* is nothing that could be bound, or there are both.
    """
    config = options.collector if collector is None else collector
    if config is None:
        return None, log_config, options
    check_config(config)
    if log_config is not UNSET:
        raise TypeError(
            "log_config and collector both say where records go; give one of them, and what"
            " log_config said to the collector"
        )
    count = options.number_of_procs if options.number_of_procs > 0 else count_cpus()
    if options.debug or count == 1:
        return None, lambda: make_setup(config), options
    reserve = find_reserve(options.shutdown_limit)
    process = CollectorProcess(
        config,
        folder=options.collector_folder,
        drain_timeout=options.shutdown_limit,
        start_timeout=options.start_timeout,
        heartbeat_timeout=options.collector_heartbeat_timeout,
    )
    rest = dataclasses.replace(options, shutdown_limit=options.shutdown_limit - reserve)
    return process, process.make_worker_handler, rest


def find_reserve(shutdown_limit: float) -> float:
    """Return the seconds of the time for a stop that are the collector's own."""
    return min(shutdown_limit * _RESERVE, _LONGEST_RESERVE)

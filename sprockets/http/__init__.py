"""Requests: run a Tornado service, and tell its owners what happened and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sprockets.http._unset import UNSET, LogConfig

# Whoever imports this package need not serve anything yet: what that takes is imported by run().
TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from tornado import web

    from sprockets.http import _collecting, runner

__all__ = ["__version__", "run", "version_info"]

version_info: tuple[int, int, int] = (3, 0, 0)
"""Major, minor and micro number of this version."""
__version__: str = ".".join(str(number) for number in version_info)

_MODULES = ("app", "client", "context", "health", "logs", "mixins", "runner", "testing")
"""Public modules that ``import sprockets.http`` alone is enough for."""


if not TYPE_CHECKING:

    def __getattr__(name: str) -> ModuleType:
        if name in _MODULES:
            from importlib import import_module

            return import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def run(
    create_application: Callable[..., web.Application],
    settings: Mapping[str, Any] | None = None,
    log_config: LogConfig = UNSET,
    *,
    collector: _collecting.CollectorConfig | None = None,
) -> None:
    """Serve a Tornado application until a signal says stop.

    Unless there is just one, worker processes are forked, and the application is made in each of
    them, after the fork.  This process supervises them; see :class:`sprockets.http.runner.Runner`
    for the signals it understands and its exit status.

    Args:
        create_application: Called with keyword arguments only: what *settings* holds beyond the
            runner's own options, and always ``debug``.
        settings: Options of the runner, and keyword arguments of the factory.  A missing option is
            looked up in the environment.  ``xheaders`` is true by default: whoever can reach the
            port directly may then claim any address as its own, so turn it off without a proxy.
        log_config: How to log.  A handler or other stacked object is bound for the whole service; a
            function that returns one is called in each worker, so that its files and connections
            are the worker's own; ``"logging.toml:production"`` is a set-up in a file (see
            `sprockets.logbook.setups`), which each worker reads; a dict goes to
            :func:`logging.config.dictConfig`; None leaves logging alone.  Without it the built-in
            set-up writes to standard output, as ``log_format`` says.  In all cases but None the
            messages of actions go the way of the records, unless ``log_actions`` in the settings is
            false.
        collector: Where one more process writes what this one and all workers log, instead of
            *log_config*: ``"logging.toml:production"`` for a set-up in a file, which SIGHUP has
            read again; a handler or other stacked object; or a function that returns one, called
            there.  ``collector`` in the settings, and its variable, name a file.  One process needs
            no other: then it is bound there.

    Raises:
        ValueError: A setting or a variable makes no sense, or this is not the main thread.
        TypeError: *log_config* or *collector* is nothing that could be bound, or both are given.
        SystemExit: The service did not end well.
    """
    import os

    from sprockets.http import _collecting, _sentry, _settings, runner
    from sprockets.http._logging import LogSetup
    from sprockets.http._tickets import tickets_of

    options, keywords = _settings.resolve(settings, os.environ)
    process, log_config, options = _collecting.prepare(collector, log_config, options)
    logs = LogSetup(
        log_config,
        debug=options.debug,
        log_format=options.log_format,
        log_actions=options.log_actions,
        in_parent=None if process is None else process.handler,
        tickets=tickets_of(options, keywords, os.environ),
    )
    logger = runner.get_logger()

    def make_runner() -> runner.Runner:
        application = create_application(**keywords)
        _sentry.initialise(application.settings)
        return runner.Runner(application, options=options)

    runner.serve(make_runner, options, logs, logger, process)

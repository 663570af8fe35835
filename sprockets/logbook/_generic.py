"""What is there without any set-up: a logger for the package's functions, a default handler."""

from __future__ import annotations

import os
from collections.abc import Callable

from sprockets.logbook._logger import ExceptionCatcher, Logger
from sprockets.logbook._typing import Final, TypeAlias
from sprockets.logbook.handlers import StderrHandler


class _GenericLogger(Logger):
    """The logger of the package-level functions; its records refer to no dispatcher."""

    suppress_dispatcher = True


LogFunction: TypeAlias = Callable[..., None]

_log = _GenericLogger("Generic")

trace: LogFunction = _log.trace
debug: LogFunction = _log.debug
info: LogFunction = _log.info
notice: LogFunction = _log.notice
warning: LogFunction = _log.warning
warn: LogFunction = _log.warn
error: LogFunction = _log.error
exception: LogFunction = _log.exception
critical: LogFunction = _log.critical
log: LogFunction = _log.log
catch_exceptions: Callable[..., ExceptionCatcher] = _log.catch_exceptions

_SWITCH: Final = "LOGBOOK_INSTALL_DEFAULT_HANDLER"


def install_default_handler() -> StderrHandler | None:
    """Bind a handler on standard error to the application, unless the environment says not to."""
    if os.environ.get(_SWITCH, "").lower() in ("0", "false", "no", "off"):
        return None
    handler = StderrHandler()
    handler.push_application()
    return handler

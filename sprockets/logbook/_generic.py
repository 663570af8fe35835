"""What is there without any set-up: a logger for the package's functions, a default handler."""

from __future__ import annotations

import os
from typing import Final

from sprockets.logbook._logger import Logger
from sprockets.logbook.handlers import StderrHandler


class _GenericLogger(Logger):
    """The logger of the package-level functions; its records refer to no dispatcher."""

    suppress_dispatcher = True


_log = _GenericLogger("Generic")

trace = _log.trace
debug = _log.debug
info = _log.info
notice = _log.notice
warning = _log.warning
warn = _log.warn
error = _log.error
exception = _log.exception
critical = _log.critical
log = _log.log
catch_exceptions = _log.catch_exceptions

_SWITCH: Final = "LOGBOOK_INSTALL_DEFAULT_HANDLER"


def install_default_handler() -> StderrHandler | None:
    """Bind a handler on standard error to the application, unless the environment says not to."""
    if os.environ.get(_SWITCH, "").lower() in ("0", "false", "no", "off"):
        return None
    handler = StderrHandler()
    handler.push_application()
    return handler

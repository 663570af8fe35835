"""What Tornado logs itself, made fit to be kept.

Its records of errors show the request's URL, secrets in the query included; and it takes a client
that went away in the middle of an answer for an error of the handler's.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from tornado.httputil import HTTPServerRequest
from tornado.iostream import StreamClosedError

from sprockets.http._access_log import scrub_uri
from sprockets.http._request_context import current_request

LOGGERS: Final = ("tornado.application", "tornado.general")
_OF_GONE_CLIENTS: Final = (
    "Cannot send error response after headers written",
    "Failed to flush partial response",
)


class TornadoFilter(logging.Filter):
    """Scrubs URLs, and drops what only says that a client went away."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log *record*, having scrubbed it."""
        if isinstance(record.args, tuple) and record.args:
            record.args = tuple(_scrubbed(argument) for argument in record.args)
        return not _tells_of_gone_client(record)


def _scrubbed(argument: Any) -> Any:
    if isinstance(argument, HTTPServerRequest):
        # The text shows the URL as repr() does, with its backslashes doubled and the like.
        uri = argument.uri or ""
        return _Shown(repr(argument).replace(repr(uri), repr(scrub_uri(uri))))
    if isinstance(argument, str) and ("?" in argument or "@" in argument):
        return " ".join(scrub_uri(word) for word in argument.split(" "))
    return argument


class _Shown(str):
    """A text that is its own representation: for ``%r``."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _tells_of_gone_client(record: logging.LogRecord) -> bool:
    request = current_request()
    if request is None or not (
        request.client_is_gone or (not request.is_over and request.stream.closed())
    ):
        return False
    if record.exc_info and isinstance(record.exc_info[1], StreamClosedError):
        return True
    return record.msg in _OF_GONE_CLIENTS


def install() -> TornadoFilter:
    """Filter what Tornado logs from now on; :func:`remove` takes the filter away."""
    found = TornadoFilter()
    for name in LOGGERS:
        logging.getLogger(name).addFilter(found)
    return found


def remove(found: TornadoFilter) -> None:
    """Take *found* away."""
    for name in LOGGERS:
        logging.getLogger(name).removeFilter(found)

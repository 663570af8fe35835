"""The base of notifiers whose own service is gone: they send by way of a living one."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from datetime import timedelta
from time import monotonic
from typing import Any
from uuid import uuid4

from sprockets.logbook import _caller
from sprockets.logbook._levels import NOTSET, Level
from sprockets.logbook.delivery import Retry
from sprockets.logbook.handlers._base import Filter
from sprockets.logbook.notifiers._apprise_services import RETRY, AppriseServices, notify_type_of
from sprockets.logbook.notifiers._base import Notice, NotificationBaseHandler
from sprockets.logbook.record import LogRecord

_caller.register(__file__)


class TransportedHandler(NotificationBaseHandler):
    """Sends by way of apprise where it is told to, else in a way of its own.

    Args:
        application_name: Who tells; ``None`` means the name of the running program.
        record_limit: Notices per call and window; the next one says how many were left out.
        record_delta: Length of a window, in seconds or as a timedelta; ``None`` means 60 seconds.
        level: Least level it is interested in, a number or a name.
        filter: Called with record and handler; the handler takes what it answers true for.
        bubble: Whether records go on to the next handler.
        transport: URL or URLs of apprise; ``None`` means :meth:`send_by_itself`.
        timeout: Seconds for each service behind the URLs.
        retry: When to try again; ``None`` goes on for some minutes.
        clock: Returns the current time in seconds; never goes backwards.
        **options: Of :class:`RemoteHandler`.
    """

    def __init__(
        self,
        application_name: str | None = None,
        record_limit: int | None = None,
        record_delta: timedelta | float | None = None,
        level: Level = NOTSET,
        filter: Filter | None = None,
        bubble: bool = False,
        *,
        transport: str | Iterable[str] | None = None,
        timeout: float = 15.0,
        retry: Retry | None = None,
        clock: Callable[[], float] = monotonic,
        **options: Any,
    ) -> None:
        self._services: AppriseServices | None = None
        if transport is not None:
            self._services = AppriseServices(
                transport,
                application_name=application_name,
                timeout=timeout,
                needed_by=type(self).__name__,
            )
        super().__init__(
            application_name,
            record_limit,
            record_delta,
            level,
            filter,
            bubble,
            clock=clock,
            retry=retry or RETRY,
            **options,
        )
        self.ready(TransportedHandler)

    def make_notice(self, record: LogRecord, withheld: int = 0) -> Notice:
        """Return the notice about *record*."""
        notice = super().make_notice(record, withheld)
        # The same words twice are two notices.
        notice.facts["id"] = uuid4().hex
        return notice

    def send_notice(self, notice: Notice) -> None:
        """Tell the services behind *transport*, or send *notice* in the handler's own way."""
        if self._services is None:
            self.send_by_itself(notice)
        else:
            kind = notify_type_of(notice.level)
            self._services.send(notice.facts["id"], notice.title, notice.text, kind)

    def send_by_itself(self, notice: Notice) -> None:
        """Send *notice* without *transport*."""
        raise NotImplementedError(f"{type(self).__name__} needs a transport")


def warn_of(name: str, fate: str, instead: str) -> None:
    """Warn, at the line that constructs a handler, that the class *name* is deprecated.

    Args:
        name: Of the class whose constructor calls this.
        fate: What became of the service.
        instead: What to use.
    """
    # This, the constructor, its caller.
    warnings.warn(f"{name} is deprecated: {fate}; use {instead}", DeprecationWarning, stacklevel=3)

"""The notifier for some hundred services: ntfy, Telegram, Matrix, Mastodon, and whatever comes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from time import monotonic
from typing import Any, ClassVar
from uuid import uuid4

from sprockets.logbook import _caller
from sprockets.logbook._levels import NOTSET, Level
from sprockets.logbook.delivery import Retry
from sprockets.logbook.handlers._base import Filter
from sprockets.logbook.helpers import get_application_name
from sprockets.logbook.notifiers._apprise_services import RETRY, AppriseServices, notify_type_of
from sprockets.logbook.notifiers._base import Notice, NotificationBaseHandler
from sprockets.logbook.record import LogRecord

_caller.register(__file__)


class AppriseHandler(NotificationBaseHandler):
    """Sends records to whatever services URLs of apprise stand for, such as ``ntfy://topic``.

    The logging call makes the notice; a thread tells one service after the other, and those that
    fail again, for some minutes.  One that did not answer in time may be told twice.  While one is
    down, notices wait for all of them: what is to be independent gets a handler each.

    Args:
        url_or_urls: One URL, or several: https://github.com/caronc/apprise/wiki.
        application_name: Who tells; ``None`` means the name of the running program.
        record_limit: Notices per call and window; the next one says how many were left out.
        record_delta: Length of a window, in seconds or as a timedelta; ``None`` means 60 seconds.
        level: Least level it is interested in, a number or a name.
        filter: Called with record and handler; the handler takes what it answers true for.
        bubble: Whether records go on to the next handler.
        timeout: Seconds for each service; most give up by themselves after four.
        retry: When to try again; ``None`` goes on for some minutes.
        clock: Returns the current time in seconds; never goes backwards.
        **options: Of :class:`RemoteHandler`.

    Raises:
        MissingDependency: ``apprise`` is not installed, or what one of the services needs is not.
        ValueError: There is no URL, or one that apprise does not understand.  The text shows none.
    """

    max_text: ClassVar[int] = 1_500

    services: list[str]
    """What the services are called, and not where they are."""

    def __init__(
        self,
        url_or_urls: str | Iterable[str],
        application_name: str | None = None,
        record_limit: int | None = None,
        record_delta: timedelta | float | None = None,
        level: Level = NOTSET,
        filter: Filter | None = None,
        bubble: bool = False,
        *,
        timeout: float = 15.0,
        retry: Retry | None = None,
        clock: Callable[[], float] = monotonic,
        **options: Any,
    ) -> None:
        if application_name is None:
            application_name = get_application_name()
        self._services = AppriseServices(
            url_or_urls,
            application_name=application_name,
            timeout=timeout,
            needed_by=type(self).__name__,
        )
        self.services = self._services.names
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
        self.ready(AppriseHandler)

    def get_notify_type(self, record: LogRecord) -> str:
        """Return how services are to show *record*: ``info``, ``warning`` or ``failure``."""
        return notify_type_of(record.level)

    def make_notice(self, record: LogRecord, withheld: int = 0) -> Notice:
        """Return the notice about *record*, with its type."""
        notice = super().make_notice(record, withheld)
        # The same words twice are two notices.
        notice.facts.update(type=self.get_notify_type(record), id=uuid4().hex)
        return notice

    def send_notice(self, notice: Notice) -> None:
        """Tell the services of *notice*, those that were not told yet."""
        facts = notice.facts
        self._services.send(facts["id"], notice.title, notice.text, facts["type"])

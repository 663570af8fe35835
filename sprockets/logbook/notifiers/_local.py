"""The base of notifiers on this machine: quick, and silent where nobody shows anything."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from time import monotonic
from typing import Any, ClassVar

from sprockets.logbook import _caller
from sprockets.logbook._levels import NOTSET, Level
from sprockets.logbook.delivery import PermanentError
from sprockets.logbook.handlers._base import Filter
from sprockets.logbook.notifiers._base import Notice, NotificationBaseHandler
from sprockets.logbook.notifiers._breaker import Breaker, FirstFailure
from sprockets.logbook.record import LogRecord

_caller.register(__file__)


class LocalNotificationHandler(NotificationBaseHandler):
    """Shows notices on this machine; a base for handlers that write :meth:`show`.

    What cannot be shown is not tried again, since news of an hour ago is none: it is counted as
    ``dead`` and ``unshown``.  The first failure is reported, the next are not; after three in a row
    a notice is tried only once a minute, until one is shown.

    Args:
        application_name: Who tells; ``None`` means the name of the running program.
        record_limit: Notices per call and window; the next one says how many were left out.
        record_delta: Length of a window, in seconds or as a timedelta; ``None`` means 60 seconds.
        level: Least level it is interested in, a number or a name.
        filter: Called with record and handler; the handler takes what it answers true for.
        bubble: Whether records go on to the next handler.
        timeout: Seconds that showing a notice may take.
        clock: Returns the current time in seconds; never goes backwards.
        **options: Of :class:`RemoteHandler`.
    """

    max_title: ClassVar[int] = 100
    max_text: ClassVar[int] = 256

    timeout: float

    def __init__(
        self,
        application_name: str | None = None,
        record_limit: int | None = None,
        record_delta: timedelta | float | None = None,
        level: Level = NOTSET,
        filter: Filter | None = None,
        bubble: bool = False,
        *,
        timeout: float = 2.0,
        clock: Callable[[], float] = monotonic,
        **options: Any,
    ) -> None:
        super().__init__(
            application_name,
            record_limit,
            record_delta,
            level,
            filter,
            bubble,
            clock=clock,
            **options,
        )
        self.timeout = timeout
        self._breaker = Breaker(clock=clock)
        self._unshown = 0
        # The engine would tell of failures once a minute, for as long as nobody is at the desktop.
        self._delivery._reports = FirstFailure(self._breaker, clock)
        self.ready(LocalNotificationHandler)

    def show(self, notice: Notice) -> None:
        """Show *notice* within :attr:`timeout`; what it raises says why it cannot."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it shows a notice")

    def emit(self, record: LogRecord) -> None:
        """Make a notice of *record*; of several failures in a row only the first is an error."""
        try:
            super().emit(record)
        except PermanentError:
            if self._breaker.failures == 1:
                raise

    def send_notice(self, notice: Notice) -> None:
        """Show *notice*, unless the last ones could not be shown.

        Raises:
            PermanentError: It was not shown.
        """
        breaker = self._breaker
        if not breaker.admits():
            self._unshown += 1
            raise PermanentError("nothing could be shown of late, so it was not tried")
        try:
            self.show(notice)
        except Exception as error:
            self._unshown += 1
            breaker.failed()
            raise PermanentError(str(error) or type(error).__name__) from error
        breaker.succeeded()

    def statistics(self) -> dict[str, Any]:
        """Return the counts of the delivery, and how many notices are ``unshown``."""
        return {**super().statistics(), "unshown": self._unshown}

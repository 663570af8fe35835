"""Handlers of services that are gone: Boxcar and Notifo."""

from __future__ import annotations

import http.client
import ssl
from base64 import b64encode
from collections.abc import Callable, Iterable
from datetime import timedelta
from importlib import import_module
from time import monotonic, time
from typing import Any, Final

from sprockets.logbook import _caller
from sprockets.logbook._levels import LEVEL_NAMES, NOTSET, Level
from sprockets.logbook.errors import ServiceGoneError
from sprockets.logbook.handlers._base import Filter
from sprockets.logbook.notifiers._base import Notice
from sprockets.logbook.notifiers._posting import FormPost, refusal
from sprockets.logbook.notifiers._transport import TransportedHandler, warn_of
from sprockets.logbook.record import LogRecord

_caller.register(__file__)

_INSTEAD: Final = "PushoverHandler, or AppriseHandler('ntfy://…') and its like"
_HOW: Final = f"use {_INSTEAD}; or pass such a URL as transport="


class BoxcarHandler(TransportedHandler):
    """Sent records to iPhones by way of Boxcar, which ended in February 2019.

    With *transport* it sends them by way of a service that lives.  A subclass whose :attr:`api_url`
    leads to something that understands Boxcar's forms sends them there.

    .. deprecated:: 3.0
       Use :class:`PushoverHandler` or :class:`AppriseHandler`.

    Args:
        email: Name of the account.
        password: Its password.
        record_limit: Notices per call and window; the next one says how many were left out.
        record_delta: Length of a window, in seconds or as a timedelta; ``None`` means 60 seconds.
        level: Least level it is interested in, a number or a name.
        filter: Called with record and handler; the handler takes what it answers true for.
        bubble: Whether records go on to the next handler.
        transport: URL or URLs of apprise.
        timeout: Seconds for a whole request, or for each service.
        connection_class: Makes the connection; ``None`` means that of ``http.client``.
        ssl_context: ``None`` verifies against the certificates of the system.
        clock: Returns the current time in seconds; never goes backwards.
        now: Returns the time in seconds since 1970.
        **options: Of :class:`RemoteHandler`.

    Raises:
        ServiceGoneError: There is neither a *transport* nor another address.
    """

    api_url: str = "https://boxcar.io/notifications/"

    email: str
    password: str

    def __init__(
        self,
        email: str,
        password: str,
        record_limit: int | None = None,
        record_delta: timedelta | float | None = None,
        level: Level = NOTSET,
        filter: Filter | None = None,
        bubble: bool = False,
        *,
        transport: str | Iterable[str] | None = None,
        timeout: float = 15.0,
        connection_class: Callable[..., http.client.HTTPConnection] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        clock: Callable[[], float] = monotonic,
        now: Callable[[], float] = time,
        **options: Any,
    ) -> None:
        warn_of("BoxcarHandler", "Boxcar ended in February 2019", _INSTEAD)
        if transport is None and self.api_url == BoxcarHandler.api_url:
            raise ServiceGoneError(f"Boxcar ended in February 2019; {_HOW}")
        self.email = email
        self.password = password
        self._now = now
        self._service = FormPost(
            self.api_url,
            timeout=timeout,
            connection_class=connection_class,
            ssl_context=ssl_context,
        )
        super().__init__(
            None,
            record_limit,
            record_delta,
            level,
            filter,
            bubble,
            transport=transport,
            timeout=timeout,
            clock=clock,
            **options,
        )
        self.ready(BoxcarHandler)

    def get_screen_name(self, record: LogRecord) -> str:
        """Return who tells of *record*: its level."""
        return LEVEL_NAMES.get(record.level, str(record.level)).title()

    def make_notice(self, record: LogRecord, withheld: int = 0) -> Notice:
        """Return the notice about *record*, with the fields of Boxcar."""
        notice = super().make_notice(record, withheld)
        notice.facts["screen_name"] = self.get_screen_name(record)
        notice.facts["number"] = int(self._now() * 100)
        return notice

    def send_by_itself(self, notice: Notice) -> None:
        """Post *notice* to :attr:`api_url`.

        Raises:
            PermanentError: It is refused for good.
            OSError: Nobody is there, or it is down.
        """
        credentials = b64encode(f"{self.email}:{self.password}".encode()).decode("ascii")
        answer = self._service.post(
            {
                "notification[from_screen_name]": notice.facts["screen_name"],
                "notification[message]": notice.text,
                "notification[from_remote_service_id]": notice.facts["number"],
            },
            {"Authorization": f"Basic {credentials}"},
        )
        if not 200 <= answer.status < 300:
            raise refusal(answer, self._service.host)


class NotifoHandler(TransportedHandler):
    """Sent records to telephones by way of Notifo, which ended in 2013.

    With *transport* it sends them by way of a service that lives; else, where there is a module
    ``notifo``, by that.

    .. deprecated:: 3.0
       Use :class:`PushoverHandler` or :class:`AppriseHandler`.

    Args:
        application_name: Who tells; ``None`` says nothing of it.
        username: Name of the account.
        secret: Its secret.
        record_limit: Notices per call and window; the next one says how many were left out.
        record_delta: Length of a window, in seconds or as a timedelta; ``None`` means 60 seconds.
        level: Least level it is interested in, a number or a name.
        filter: Called with record and handler; the handler takes what it answers true for.
        bubble: Whether records go on to the next handler.
        hide_level: Leave the level out.
        transport: URL or URLs of apprise.
        timeout: Seconds for each service behind them.
        clock: Returns the current time in seconds; never goes backwards.
        **options: Of :class:`RemoteHandler`.

    Raises:
        ServiceGoneError: There is neither a *transport* nor such a module.
    """

    username: str | None
    secret: str | None
    hide_level: bool

    def __init__(
        self,
        application_name: str | None = None,
        username: str | None = None,
        secret: str | None = None,
        record_limit: int | None = None,
        record_delta: timedelta | float | None = None,
        level: Level = NOTSET,
        filter: Filter | None = None,
        bubble: bool = False,
        hide_level: bool = False,
        *,
        transport: str | Iterable[str] | None = None,
        timeout: float = 15.0,
        clock: Callable[[], float] = monotonic,
        **options: Any,
    ) -> None:
        warn_of("NotifoHandler", "Notifo ended in 2013", _INSTEAD)
        self._library: Any = None
        if transport is None:
            try:
                self._library = import_module("notifo")
            except ImportError as error:
                raise ServiceGoneError(f"Notifo ended in 2013; {_HOW}") from error
        self.username = username
        self.secret = secret
        self.hide_level = hide_level
        super().__init__(
            application_name,
            record_limit,
            record_delta,
            level,
            filter,
            bubble,
            transport=transport,
            timeout=timeout,
            clock=clock,
            **options,
        )
        self.application_name = application_name
        self.ready(NotifoHandler)

    def send_by_itself(self, notice: Notice) -> None:
        """Hand *notice* to the module ``notifo``."""
        label = None
        if not self.hide_level:
            label = LEVEL_NAMES.get(notice.level, str(notice.level))
        self._library.send_notification(
            self.username, self.secret, None, notice.text, self.application_name, label, None
        )

"""The notifier for telephones, by way of Pushover."""

from __future__ import annotations

import contextlib
import http.client
import ssl
from collections.abc import Callable
from datetime import timedelta
from time import monotonic, time
from typing import Any, ClassVar, Final

from sprockets.logbook import _caller
from sprockets.logbook._levels import NOTSET, Level
from sprockets.logbook._text import escape_block, escape_line
from sprockets.logbook.delivery import PermanentError, Retry, RetryLater
from sprockets.logbook.handlers._base import Filter
from sprockets.logbook.handlers._http_client import Answer
from sprockets.logbook.notifiers._base import Notice, NotificationBaseHandler
from sprockets.logbook.notifiers._posting import FormPost, error_text, refusal
from sprockets.logbook.record import LogRecord

_caller.register(__file__)

# "messages are currently limited to 1024 4-byte UTF-8 characters, with a title of up to 250
# characters" -- Pushover API
_MAX_MESSAGE: Final = 1_024
_MAX_TITLE: Final = 250
_EMERGENCY: Final = 2
# "your app should not retry the same request sooner than 5 seconds" after a 5xx.
_BACKOFF: Final = Retry(initial=10.0, maximum=300.0)
_LATE: Final = 60.0
"""Seconds after which a message says when it was meant to be sent."""
_PATIENCE: Final = 3_600.0
"""Seconds that messages wait for the service to take more of them."""


class PushoverHandler(NotificationBaseHandler):
    """Sends records to telephones by way of Pushover (https://pushover.net).

    The logging call makes the message; a thread sends it, and again while the service is down.
    What the service refuses is reported with its own words.  Messages beyond the application's
    monthly quota wait if the next one begins within the hour, else they are given up.

    Args:
        application_name: Title of the messages; ``None`` shows the name registered with the key.
        apikey: Key of the application.
        userkey: Key of the user or group that gets the messages.
        device: Name of one of the user's devices; ``None`` means all.
        priority: -2 (silent) to 1 (past quiet hours); 2 has to be confirmed, and needs *retry* and
            *expire*.  Anything else becomes 0.
        sound: Name of a sound; ``None`` means the user's choice.
        record_limit: Messages per call and window; the next one says how many were left out.
        record_delta: Length of a window, in seconds or as a timedelta; ``None`` means 60 seconds.
        level: Least level it is interested in, a number or a name.
        filter: Called with record and handler; the handler takes what it answers true for.
        bubble: Whether records go on to the next handler.
        max_title_len: Characters of a title at most; ``None`` or 0 means those that the service
            takes, which are 250.
        max_message_len: Characters of a message at most; ``None`` or 0 means those that the service
            takes, which are 1,024.
        retry: With priority 2, seconds between two alarms, at least 30.
        expire: With priority 2, seconds after which they end, 10,800 at most.
        api_url: Where the messages go.
        timeout: Seconds for a whole request.
        connection_class: Makes the connection; ``None`` means ``http.client.HTTPSConnection``.
        ssl_context: ``None`` verifies against the certificates of the system.
        backoff: When to try again; ``None`` waits ten seconds first, and five minutes at most.
        clock: Returns the current time in seconds; never goes backwards.
        now: Returns the time in seconds since 1970.
        **options: Of :class:`RemoteHandler`, but for its *retry*, which is *backoff* here.

    Raises:
        ValueError: *retry* or *expire* is outside its range or comes alone, or *api_url* is no
            address.

    Source: https://pushover.net/api, read in 2026.
    """

    api_url: str = "https://api.pushover.net/1/messages.json"

    max_title: ClassVar[int] = _MAX_TITLE
    max_text: ClassVar[int] = _MAX_MESSAGE

    apikey: str | None
    userkey: str | None
    device: str | None
    priority: int
    sound: str | None
    max_title_len: int | None
    max_message_len: int | None
    retry: int | None
    expire: int | None
    title: str | None
    remaining: int | None
    """Messages left of the application's quota, as the last answer said."""

    def __init__(
        self,
        application_name: str | None = None,
        apikey: str | None = None,
        userkey: str | None = None,
        device: str | None = None,
        priority: int = 0,
        sound: str | None = None,
        record_limit: int | None = None,
        record_delta: timedelta | float | None = None,
        level: Level = NOTSET,
        filter: Filter | None = None,
        bubble: bool = False,
        max_title_len: int | None = 100,
        max_message_len: int | None = 512,
        *,
        retry: int | None = None,
        expire: int | None = None,
        api_url: str | None = None,
        timeout: float = 10.0,
        connection_class: Callable[..., http.client.HTTPConnection] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        backoff: Retry | None = None,
        clock: Callable[[], float] = monotonic,
        now: Callable[[], float] = time,
        **options: Any,
    ) -> None:
        if (retry is None) != (expire is None):
            raise ValueError("retry and expire belong together; pass both, or none")
        if retry is not None and retry < 30:
            raise ValueError(f"retry must be at least 30 seconds, got {retry}")
        if expire is not None and not 0 < expire <= 10_800:
            raise ValueError(f"expire must be 1 to 10800 seconds, got {expire}")
        if api_url is not None:
            self.api_url = api_url
        self._service = FormPost(
            self.api_url,
            timeout=timeout,
            connection_class=connection_class,
            ssl_context=ssl_context,
        )
        self.apikey = apikey
        self.userkey = userkey
        self.device = device
        self.retry = retry
        self.expire = expire
        self.priority = self._checked_priority(priority)
        self.sound = sound
        self.max_title_len = max_title_len
        self.max_message_len = max_message_len
        self.title = None
        if application_name is not None:
            title = self._crop(escape_line(application_name), max_title_len)
            self.title = self._crop(title, _MAX_TITLE)
        self.remaining = None
        self._exhausted_until = 0.0
        self._now = now
        super().__init__(
            application_name,
            record_limit,
            record_delta,
            level,
            filter,
            bubble,
            clock=clock,
            retry=backoff or _BACKOFF,
            **options,
        )
        self.application_name = application_name
        self.ready(PushoverHandler)

    # -- what is told

    @staticmethod
    def _crop(message: str, max_len: int | None) -> str:
        """Return *message* in at most *max_len* characters; ``None``, 0 or less is no limit.

        >>> PushoverHandler._crop("0123456789ABC", 10)
        '0123456...'
        """
        if max_len is None or max_len <= 0 or len(message) <= max_len:
            return message
        # Fewer than three have no room for the dots.
        return message[:max_len] if max_len < 3 else f"{message[: max_len - 3]}..."

    def _checked_priority(self, priority: int) -> int:
        if priority == _EMERGENCY and self.retry is not None:
            return priority
        return priority if -2 <= priority <= 1 else 0

    def get_priority(self, record: LogRecord) -> int:
        """Return the priority of *record*'s message."""
        return self.priority

    def make_notice(self, record: LogRecord, withheld: int = 0) -> Notice:
        """Return the message of *record*, with its priority."""
        limit = _MAX_MESSAGE
        if self.max_message_len is not None and self.max_message_len > 0:
            limit = min(self.max_message_len, _MAX_MESSAGE)
        # A message that consists of blanks would be refused.
        text = escape_block(self.make_text(record))
        text = text if text.strip() else escape_line(self.make_title(record))
        more = f"\n(and {withheld} more like it)" if withheld else ""
        if len(more) >= limit:
            more = ""
        facts = {"priority": self._checked_priority(self.get_priority(record)), "at": self._now()}
        text = self._crop(text, limit - len(more)) + more
        return Notice(self.title or "", text, record.level, facts)

    # -- bringing it

    def send_notice(self, notice: Notice) -> None:
        """Send *notice*.

        Raises:
            PermanentError: The service refuses it for good, or the quota is used up.
            RetryLater: The service says when to come again.
            OSError: The service cannot be reached, or is down.
        """
        if not (self.apikey and self.userkey):
            raise PermanentError("PushoverHandler needs an apikey and a userkey")
        now = self._now()
        if now < self._exhausted_until:
            raise self._exhausted(self._exhausted_until - now, "the quota is used up")
        answer = self._service.post(self._fields(notice, now), {"User-Agent": "sprockets.logbook"})
        resets_in = self._note_quota(answer, now)
        if answer.status == 429:
            if resets_in is None:
                resets_in = answer.retry_after(self._now)
            text = f"{self._service.host} answered 429: {error_text(answer)}"
            raise self._exhausted(60.0 if resets_in is None else resets_in, text)
        if answer.status != 200:
            raise refusal(answer, self._service.host)

    def _fields(self, notice: Notice, now: float) -> dict[str, object]:
        fields: dict[str, object] = {
            "token": self.apikey,
            "user": self.userkey,
            "message": notice.text,
            "priority": notice.facts["priority"],
        }
        others = {"title": self.title, "device": self.device, "sound": self.sound}
        fields.update({name: value for name, value in others.items() if value is not None})
        if notice.facts["priority"] == _EMERGENCY:
            fields.update(retry=self.retry, expire=self.expire)
        if now - notice.facts["at"] > _LATE:
            fields["timestamp"] = int(notice.facts["at"])
        return fields

    def _note_quota(self, answer: Answer, now: float) -> float | None:
        """Note what *answer* says of the quota; return in how many seconds the next one begins."""
        with contextlib.suppress(ValueError):
            self.remaining = int(answer.headers.get("x-limit-app-remaining", ""))
        with contextlib.suppress(ValueError):
            resets_at = float(answer.headers.get("x-limit-app-reset", ""))
            if resets_at > now:
                if answer.status == 429 or self.remaining == 0:
                    self._exhausted_until = resets_at
                return resets_at - now
        return None

    @staticmethod
    def _exhausted(seconds: float, text: str) -> Exception:
        if seconds > _PATIENCE:
            return PermanentError(f"{text}; there is a new one in {seconds / 3_600:.0f} hours")
        return RetryLater(max(seconds, 5.0), text)

    def statistics(self) -> dict[str, Any]:
        """Return the counts of the delivery, and the messages ``remaining`` of the quota.

        The latter is ``None`` as long as the service has not said it.
        """
        return {**super().statistics(), "remaining": self.remaining}

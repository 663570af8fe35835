"""Slack: records as messages in a channel."""

from __future__ import annotations

import http.client
import logging
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from threading import RLock
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from sprockets._support.optional import optional
from sprockets.logbook import _caller, _fork
from sprockets.logbook._format import StringFormatterHandlerMixin
from sprockets.logbook._levels import NOTSET, Level
from sprockets.logbook._text import safe_str
from sprockets.logbook.delivery import PartlyDelivered, PermanentError, RetryLater
from sprockets.logbook.handlers._base import Filter
from sprockets.logbook.handlers._http_client import Answer
from sprockets.logbook.handlers._limits import LimitingHandlerMixin
from sprockets.logbook.handlers._remote import RemoteHandler
from sprockets.logbook.more._slack_messages import Pace, cut_escaped, escape, joined

if TYPE_CHECKING:
    import ssl

    from sprockets.logbook.record import LogRecord

_caller.register(__file__)

_EMPTY: Final = "(no text)"
_PATIENCE: Final = 30.0
"""Seconds to wait if Slack wants fewer messages and does not say for how long."""

_LOGIN: Final = "pass the bot token (xoxb-…) of an app that is installed in the workspace"
_CHANNEL: Final = "pass the id of a channel, such as C0123456789, that the app can see"
_HOOK: Final = "make a new incoming web-hook, and pass its address"
_SCOPE: Final = "give the app the scope chat:write, and install it again"
_ADMINISTRATOR: Final = "have an administrator of the workspace allow posting there"
_REMEDIES: Final[Mapping[str, str]] = {
    "access_denied": _ADMINISTRATOR,
    "account_inactive": _LOGIN,
    "action_prohibited": _ADMINISTRATOR,
    "channel_is_archived": "take the channel out of the archive, or choose another",
    "channel_not_found": _CHANNEL,
    "ekm_access_denied": _ADMINISTRATOR,
    "invalid_auth": _LOGIN,
    "invalid_token": _HOOK,
    "is_archived": "take the channel out of the archive, or choose another",
    "missing_scope": _SCOPE,
    "no_active_hooks": _HOOK,
    "no_service": _HOOK,
    "no_service_id": _HOOK,
    "no_team": _HOOK,
    "no_permission": _SCOPE,
    "not_allowed_token_type": _LOGIN,
    "not_authed": _LOGIN,
    "not_in_channel": "invite the app to the channel, or give it the scope chat:write.public",
    "posting_to_general_channel_denied": _ADMINISTRATOR,
    "restricted_action": _ADMINISTRATOR,
    "team_not_found": _HOOK,
    "token_expired": _LOGIN,
    "token_revoked": _LOGIN,
}
"""What to do about errors that are of all messages, and that trying again does not cure."""

_PASSING: Final = frozenset(
    (
        "internal_error",
        "org_login_required",
        "request_timeout",
        "rollup_error",
        "service_unavailable",
        "team_added_to_org",
    )
)
_LIMITED: Final = frozenset(
    ("accesslimited", "message_limit_exceeded", "rate_limited", "ratelimited")
)
_CODE: Final = re.compile(r"[a-z][a-z0-9_]{1,60}")

# What the library tells of its requests, at every try, is ours to tell, and seldom.
_silent: Final = logging.Logger(f"{__name__}.silent", logging.CRITICAL + 1)  # noqa: LOG001 - nobody's


class SlackHandler(RemoteHandler, StringFormatterHandlerMixin, LimitingHandlerMixin):
    """Posts records to a channel of Slack, as an app or through an incoming web-hook.

    A log call hands its text over; a thread posts it, see `RemoteHandler`.  Slack takes about one
    message a second for each channel: what comes meanwhile is joined into the next message.  While
    Slack is away, or wants fewer messages, texts wait; what it refuses for good is given up, and
    reported with what to do about it.

    Texts are shown as they are: nothing in them is a mention or a link.

    Args:
        api_token: Token of the app, ``xoxb-…``; it needs the scope ``chat:write``.
        channel: Id of the channel, or its name.
        level: Least level it is interested in, a number or a name.
        format_string: Layout of a text; ``None`` means :attr:`default_format_string`.
        filter: Called with record and handler; the handler takes what it answers true for.
        bubble: Whether records go on to the next handler.
        base_url: Where Slack is; ``None`` means ``https://slack.com/api/``.
        timeout: Seconds that connecting may take, and each wait for a part of the answer.
        proxy: Address of a proxy; ``None`` means what ``HTTPS_PROXY`` says.
        ssl_context: ``None`` verifies against the certificates of the system.
        mrkdwn: Whether Slack formats texts: ``*bold*``, and code between back-ticks.  Meant for
            layouts; records may do so as well then.
        interval: Seconds between two messages at least, unless :meth:`flush` or :meth:`close`
            waits for them.
        record_limit: Records per call and window; the next one says how many were withheld.
        record_delta: Length of a window, in seconds or as a timedelta; ``None`` means 60 seconds.
        webhook_url: Address of an incoming web-hook, instead of token and channel.
        clock: Returns the current time in seconds; never goes backwards.
        **options: Of `RemoteHandler`; *batch_size*, 1,000 unless given, is how many records a
            message has at most.

    Raises:
        MissingDependency: The library ``slack_sdk`` is not installed.
        ValueError: Token or channel is empty, and there is no web-hook; or an address is none of
            HTTP.
    """

    pulls_information: ClassVar[bool] = False  # it is bytes that go to the thread
    max_length: int = 40_000
    """Characters of a message at most; Slack cuts off what is beyond that."""

    api_token: str | None
    channel: str | None
    slack: Any
    """The library's client: a ``slack_sdk.WebClient``, or a ``slack_sdk.webhook.WebhookClient``."""
    mrkdwn: bool

    def __init__(
        self,
        api_token: str | None,
        channel: str | None,
        level: Level = NOTSET,
        format_string: str | None = None,
        filter: Filter | None = None,
        bubble: bool = False,
        *,
        base_url: str | None = None,
        timeout: float = 10.0,
        proxy: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        mrkdwn: bool = False,
        interval: float = 1.0,
        record_limit: int | None = None,
        record_delta: timedelta | float | None = None,
        webhook_url: str | None = None,
        clock: Callable[[], float] = monotonic,
        **options: Any,
    ) -> None:
        if webhook_url is None and not (api_token and channel):
            missing = "channel" if api_token else "API token"
            raise ValueError(
                f"{type(self).__name__} needs an API token and a channel; no {missing}"
            )
        for address in (base_url, webhook_url):
            if address is not None and not address.startswith(("https://", "http://")):
                # Without saying which: that of a web-hook is a secret.
                raise ValueError("base_url and webhook_url begin with https:// or http://")
        name = type(self).__name__
        self._api_error: type[Exception] = optional(
            "slack_sdk.errors", extra="slack", needed_by=name
        ).SlackApiError
        settings: dict[str, Any] = {
            "timeout": timeout,
            "proxy": proxy,
            "ssl": ssl_context,
            "logger": _silent,
            # It is the engine that tries again.
            "retry_handlers": [],
        }
        if webhook_url is not None:
            module = optional("slack_sdk.webhook", extra="slack", needed_by=name)
            self.slack = module.WebhookClient(webhook_url, **settings)
        else:
            module = optional("slack_sdk.web", extra="slack", needed_by=name)
            if base_url is not None:
                settings["base_url"] = base_url
            self.slack = module.WebClient(api_token, **settings)
        self.api_token = api_token
        self.channel = channel
        self.mrkdwn = mrkdwn
        self._is_hook = webhook_url is not None
        self._pace = Pace(interval, self._is_urgent, clock)
        self._withheld = 0
        self._held_at_fork = False
        RemoteHandler.__init__(self, level, filter, bubble, **{"batch_size": 1_000, **options})
        StringFormatterHandlerMixin.__init__(self, format_string)
        LimitingHandlerMixin.__init__(self, record_limit, record_delta, clock)
        _fork.hold_at_fork(self)
        self.ready(SlackHandler)

    @classmethod
    def from_webhook(
        cls,
        url: str,
        level: Level = NOTSET,
        format_string: str | None = None,
        filter: Filter | None = None,
        bubble: bool = False,
        **options: Any,
    ) -> Self:
        """Return a handler that posts through an incoming web-hook.

        Args:
            url: Its address, which is a secret.
            level: Least level it is interested in, a number or a name.
            format_string: Layout of a text; ``None`` means :attr:`default_format_string`.
            filter: Called with record and handler; the handler takes what it answers true for.
            bubble: Whether records go on to the next handler.
            **options: Of the constructor.

        Raises:
            MissingDependency: The library ``slack_sdk`` is not installed.
        """
        return cls(None, None, level, format_string, filter, bubble, webhook_url=url, **options)

    # -- in the caller's thread

    def emit(self, record: LogRecord) -> None:
        """Have *record* posted, unless there have been too many of its call."""
        withheld, is_admitted = self.check_delivery(record)
        if not is_admitted:
            with self._limit_lock:
                self._withheld += 1
            return
        item = self._encode(record, f"\n({withheld} more like this)" if withheld else "")
        if self.immediate:
            self.deliver([item])
        else:
            self.delivery.put(item)

    def encode(self, record: LogRecord) -> bytes:
        """Return the text of *record* as Slack is sent it, in UTF-8."""
        return self._encode(record, "")

    def _encode(self, record: LogRecord, note: str) -> bytes:
        text = self.format(record)
        text = escape(text if isinstance(text, str) else safe_str(text))
        text = cut_escaped(text, self.max_length - len(note))
        return ((text if text.strip() else _EMPTY) + note).encode()

    def statistics(self) -> dict[str, Any]:
        """Return what became of the records; ``withheld`` counts those beyond *record_limit*."""
        return {**super().statistics(), "withheld": self._withheld}

    # -- in the thread that delivers

    def deliver(self, items: list[Any]) -> None:
        """Post *items* in as few messages as they fit into, one after the other.

        Raises:
            RetryLater: Slack wants fewer messages.
            PermanentError: Slack refuses them for good.
            ValueError: Slack refuses a text, maybe for what it is.
            PartlyDelivered: The first of them are posted.
            OSError: Slack cannot be reached, or has trouble.
        """
        done = 0
        for count, text in joined([item.decode() for item in items], self.max_length):
            try:
                if not self.immediate:
                    self._pace.wait()
                self._post(text)
            except Exception as error:
                if done:
                    raise PartlyDelivered(done, f"after {done}: {safe_str(error)}") from error
                raise
            done += count

    def _is_urgent(self) -> bool:
        """Whether somebody waits for what there is to be posted, or the end has come."""
        state = self._delivery._state
        return bool(state.flushing or state.is_closing)

    def _post(self, text: str) -> None:
        """Post one message.

        Raises:
            Exception: Whatever says whether trying again is of use.
        """
        try:
            if self._is_hook:
                self._post_to_hook(text)
            else:
                self.slack.chat_postMessage(
                    channel=self.channel,
                    text=text,
                    mrkdwn=self.mrkdwn,
                    # Slack would fetch whatever address a record names.
                    unfurl_links=False,
                    unfurl_media=False,
                )
        except self._api_error as error:
            answer = getattr(error, "response", None)
            said = getattr(answer, "data", answer)
            data = said if isinstance(said, dict) else {}
            status, headers = getattr(answer, "status_code", 200), getattr(answer, "headers", {})
            raise _failure(status, headers, data.get("error"), data) from None
        except (http.client.HTTPException, UnicodeError, LookupError) as error:
            raise ConnectionError(f"no proper answer from Slack: {error!r}") from error
        except (AttributeError, TypeError) as error:
            # JSON that is no object, to which the library is not prepared.
            raise RuntimeError(f"no proper answer from Slack: {error!r}") from error

    def _post_to_hook(self, text: str) -> None:
        body = {"text": text, "mrkdwn": self.mrkdwn, "unfurl_links": False, "unfurl_media": False}
        answer = self.slack.send_dict(body)
        text = answer.body.strip()
        if answer.status_code != 200:
            raise _failure(answer.status_code, answer.headers, text)
        if text != "ok":
            raise ConnectionError(f"no proper answer from Slack: {safe_str(text, 200)}")

    # -- fork

    def before_fork(self) -> None:
        """Wait until no other thread is counting."""
        self._held_at_fork = self._limit_lock.acquire(timeout=_fork.time_to_wait())

    def after_fork_in_parent(self) -> None:
        """Let the other threads go on."""
        if self._held_at_fork:
            self._limit_lock.release()

    def after_fork_in_child(self) -> None:
        """Start with a fresh lock."""
        self._limit_lock = RLock()


def _failure(
    status: int,
    headers: Mapping[str, str | None],
    code: object,
    data: Mapping[str, Any] | None = None,
) -> Exception:
    """Return what an answer of Slack's stands for that is not what was asked for.

    Args:
        status: The status code.
        headers: Of the answer.
        code: Slack's word for what is wrong.
        data: What else it says.

    Source: docs.slack.dev, "chat.postMessage", "Errors"; "Rate limits"; "Sending messages using
    incoming webhooks", "Handling errors".
    """
    is_code = isinstance(code, str) and _CODE.fullmatch(code) is not None
    text = f"Slack answered {status}: {safe_str(code, 200)}"
    if status == 429 or (is_code and code in _LIMITED):
        known = {name.lower(): value for name, value in headers.items() if value is not None}
        after = Answer(status, known, b"").retry_after()
        return RetryLater(_PATIENCE if after is None else after, text)
    if status >= 500 or not is_code or code in _PASSING:
        return ConnectionError(text)
    if code == "fatal_error":
        # Slack may have posted it: not for ever.
        return RuntimeError(text)
    remedy = _REMEDIES.get(str(code))
    if remedy is None:
        # It may be about this text alone.
        return ValueError(text)
    scope = (data or {}).get("needed")
    text += f" (it needs the scope {safe_str(scope, 100)})" if scope else ""
    return PermanentError(f"{text}; {remedy}")

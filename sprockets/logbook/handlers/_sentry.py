"""Sentry: records as events, in envelopes over HTTP, without Sentry's SDK."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import urlsplit
from uuid import uuid4

from sprockets.logbook import _caller, _clock
from sprockets.logbook._levels import ERROR, Level
from sprockets.logbook._text import safe_str
from sprockets.logbook.delivery import PartlyDelivered, PermanentError, RetryLater
from sprockets.logbook.handlers._base import BatchReason, Filter
from sprockets.logbook.handlers._http_client import Answer, HTTPClient, Progress
from sprockets.logbook.handlers._plain import jsonable, plain
from sprockets.logbook.handlers._remote import RemoteHandler
from sprockets.logbook.handlers._sentry_event import CLIENT, Event, EventMaker, bare

if TYPE_CHECKING:
    import ssl

    from sprockets.logbook.record import LogRecord

_caller.register(__file__)

BeforeSend: TypeAlias = Callable[[Event, dict[str, Any]], Event | None]

MAX_EVENT: Final = 1_000_000
"""Bytes of an event, as Sentry takes them."""

_CATEGORIES: Final = frozenset(("", "error"))
"""Categories of a rate limit that concern events; the empty one means all."""


@dataclass(frozen=True)
class DSN:
    """Where events go and as whom, taken from the address that Sentry shows for a project.

    >>> dsn = DSN.parse("https://abc@sentry.example.org/errors/7")
    >>> dsn.public_key, dsn.project_id, dsn.envelope_url
    ('abc', '7', 'https://sentry.example.org/errors/api/7/envelope/')
    """

    public_key: str
    project_id: str
    envelope_url: str

    @classmethod
    def parse(cls, text: str) -> DSN:
        """Return what *text* says.

        Raises:
            ValueError: It is no DSN; the error does not repeat it, for it is half a secret.

        Source: develop.sentry.dev, "Parsing the DSN".
        """
        expected = "expected like https://public_key@host/project_id"
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            raise ValueError(f"not a DSN; {expected}") from None
        path, _, project = parts.path.rstrip("/").rpartition("/")
        if parts.scheme not in ("http", "https"):
            raise ValueError(f"a DSN's scheme is http or https, got {parts.scheme!r}; {expected}")
        if not parts.username or not parts.hostname or not project:
            raise ValueError(f"a DSN has a public key, a host and a project id; {expected}")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        place = host if port is None else f"{host}:{port}"
        return cls(
            parts.username, project, f"{parts.scheme}://{place}{path}/api/{project}/envelope/"
        )


class _LimitedError(PermanentError):
    """The server wants no events, for longer than we wait."""


class SentryHandler(EventMaker, RemoteHandler):
    """Sends records to Sentry, or to a server that speaks its protocol, as events.

    An event has the record's message, template, level and channel, its custom fields, and the
    exception with the frames and sources of its traceback.  The records that come with it, as from
    a :class:`FingersCrossedHandler`, are its breadcrumbs.  Values that are named like a secret
    leave the process as ``[Filtered]``.

    Delivery goes on behind the caller's back: see :class:`RemoteHandler`.  A server that asks for
    patience gets it, up to *patience* seconds; beyond that, events are given up without being sent,
    as they are where *before_send* says so or the queue is full, and the server is told of their
    number with the next event.

    Args:
        dsn: Where to; ``None`` means what ``SENTRY_DSN`` says.
        level: Least level that becomes an event, a number or a name.
        filter: Called with record and handler; the handler takes what it answers true for.
        bubble: Whether records go on to the next handler.
        release: Version of the program; ``None`` means ``SENTRY_RELEASE``.
        environment: Where it runs; ``None`` means ``SENTRY_ENVIRONMENT``, or ``production``.
        server_name: ``None`` means the name of this host.
        tags: Of every event.
        tag_names: Custom fields that become tags, so that Sentry can search for them.
        fingerprint: Called with the record; returns what Sentry groups by, ``None`` to leave that
            to Sentry.  A custom field ``fingerprint``, a list, says it for one record.
        before_send: Called in the logging thread with the event and a dict of ``log_record`` and
            ``exc_info``; returns the event to send, ``None`` to send none.
        secret_names: Further parts of names whose values are secret.
        with_locals: Send the local variables of frames, except those that are named like a secret.
            What an object says of itself goes as it is.
        patience: Seconds of a rate limit that are waited for.
        timeout: Seconds for a whole request.
        ssl_context: For ``https``; ``None`` verifies against the certificates of the system.
        environ: Where the variables are looked up; the environment of the process.
        clock: Returns the current time in seconds; never goes backwards.
        **options: Of :class:`RemoteHandler`.

    Raises:
        ValueError: There is no DSN, or it is none.

    Source: develop.sentry.dev, "Envelopes", "Event payloads", "Rate limiting", "Client reports".
    """

    def __init__(
        self,
        dsn: str | None = None,
        level: Level = ERROR,
        filter: Filter | None = None,
        bubble: bool = False,
        *,
        release: str | None = None,
        environment: str | None = None,
        server_name: str | None = None,
        tags: Mapping[str, object] | None = None,
        tag_names: Iterable[str] = ("request_id",),
        fingerprint: Callable[[LogRecord], Iterable[str] | None] | None = None,
        before_send: BeforeSend | None = None,
        secret_names: Iterable[str] = (),
        with_locals: bool = False,
        patience: float = 60.0,
        timeout: float = 10.0,
        ssl_context: ssl.SSLContext | None = None,
        environ: Mapping[str, str] | None = None,
        clock: Callable[[], float] = monotonic,
        **options: Any,
    ) -> None:
        environ = os.environ if environ is None else environ
        text = dsn or environ.get("SENTRY_DSN")
        if not text:
            raise ValueError("SentryHandler needs a DSN; pass one, or set SENTRY_DSN")
        self.dsn: DSN = DSN.parse(text)
        self.release: str | None = release or environ.get("SENTRY_RELEASE") or None
        self.environment: str = environment or environ.get("SENTRY_ENVIRONMENT") or "production"
        self.server_name: str = server_name or socket.gethostname()
        self.tags: dict[str, object] = dict(tags or {})
        self.tag_names: tuple[str, ...] = tuple(tag_names)
        self.fingerprint: Callable[[LogRecord], Iterable[str] | None] | None = fingerprint
        self.before_send: BeforeSend | None = before_send
        self.with_locals: bool = with_locals
        self.patience: float = patience
        self._secret_names = tuple(bare(name) for name in secret_names if bare(name))
        self._clock = clock
        self._limited_until = 0.0
        self._progress = Progress()
        # Why the items that deliver() refused were, by id, until it is called again.
        self._fates: dict[int, str] = {}
        self._discarded: Counter[str] = Counter()
        self._reported: Counter[str] = Counter()
        self.client: HTTPClient = HTTPClient(
            self.dsn.envelope_url,
            {
                "Content-Type": "application/x-sentry-envelope",
                "User-Agent": CLIENT,
                "X-Sentry-Auth": (
                    f"Sentry sentry_version=7, sentry_client={CLIENT}, "
                    f"sentry_key={self.dsn.public_key}"
                ),
            },
            timeout=timeout,
            ssl_context=ssl_context,
        )
        super().__init__(level, filter, bubble, **options)
        self.ready(SentryHandler)

    # -- in the caller's thread

    def emit(self, record: LogRecord) -> None:
        """Have *record* delivered as an event."""
        self._emit_event(record, ())

    def emit_batch(self, records: Iterable[LogRecord], reason: BatchReason) -> None:
        """Have *records* delivered: the significant one as an event, the others with it.

        Records that were merely collected become an event each.
        """
        if reason not in ("escalation", "group"):
            for record in records:
                self._emit_event(record, ())
            return
        batch = list(records)
        if batch:
            record = batch.pop(-1 if reason == "escalation" else 0)
            self._emit_event(record, batch)

    def _emit_event(self, record: LogRecord, related: Iterable[LogRecord]) -> None:
        event = self.make_event(record, related)
        if self.before_send is not None:
            hint = {"log_record": record, "exc_info": record.exc_info}
            try:
                changed = self.before_send(event, hint)
            except Exception:
                # It may be what keeps secrets in: without its word nothing is sent.
                self._discarded["before_send"] += 1
                raise
            if changed is None:
                self._discarded["before_send"] += 1
                return
            event = changed
        item = self._envelope(event)
        if self.immediate:
            self.deliver([item])
        else:
            self.delivery.put(item)

    def encode(self, record: LogRecord) -> bytes:
        """Return the envelope of *record*, without what :attr:`before_send` makes of it."""
        return self._envelope(self.make_event(record))

    # -- envelopes

    def _envelope(self, event: Event) -> bytes:
        payload = _dump(event)
        # What is least needed goes first.
        for name in ("breadcrumbs", "extra", "threads", "exception"):
            if len(payload) <= MAX_EVENT:
                break
            event = {key: value for key, value in event.items() if key != name}
            payload = _dump(event)
        header = _dump({"event_id": event.get("event_id", uuid4().hex)})
        item = _dump({"type": "event", "length": len(payload), "content_type": "application/json"})
        return b"%b\n%b\n%b\n" % (header, item, payload)

    # -- in the thread that delivers

    def deliver(self, items: list[Any]) -> None:
        """Send each of *items* as a request, for an envelope has room for one event.

        Raises:
            PermanentError: Some are refused for good, or the server wants none for too long.
            PartlyDelivered: The first of them are delivered.
            RetryLater: The server says when to come again.
            OSError: The server cannot be reached, or wants no more at present.
            RuntimeError: The server failed.
        """
        refused: list[Any] = []
        reason = ""
        self._fates = {}
        for item in self._progress.pending(items):
            try:
                self._send(item)
            except PermanentError as error:
                refused.append(item)
                reason = str(error)
                is_limited = isinstance(error, _LimitedError)
                self._fates[id(item)] = "ratelimit_backoff" if is_limited else "send_error"
            except Exception as error:
                count = self._progress.prefix(items)
                if count:
                    raise PartlyDelivered(count) from error
                raise
            else:
                self._progress.delivered([item])
        if refused:
            raise PermanentError(reason, refused)
        self._progress.finish()

    def dead_letter(self, item: Any, error: BaseException) -> None:
        """Count what is given up because of *error*, under the reason that Sentry has for it."""
        self._discarded[self._fates.get(id(item), "network_error")] += 1

    def _send(self, item: bytes) -> None:
        wait = self._limited_until - self._clock()
        if wait > 0:
            self._give_up_or_wait(wait)
        report = self._news()
        answer = self.client.post(item + self._report_item(report) if report else item)
        self._note_limits(answer)
        if 200 <= answer.status < 300:
            self._reported.update(report)
            return
        text = f"{self.client.host} answered {answer.status}"
        error_text = answer.headers.get("x-sentry-error")
        if error_text:
            text += f": {safe_str(error_text, 200)}"
        if answer.status == 429:
            self._give_up_or_wait(max(self._limited_until - self._clock(), 0.0))
        after = answer.retry_after()
        if answer.status >= 500 and after is not None:
            raise RetryLater(after, text)
        if answer.status in (408, 502, 503, 504):
            raise ConnectionError(text)
        if answer.status >= 500:
            # It may be the event that the server stumbles over: there is a limit to the tries.
            raise RuntimeError(text)
        raise PermanentError(text)

    def _give_up_or_wait(self, seconds: float) -> None:
        if seconds > self.patience:
            raise _LimitedError(f"{self.client.host} wants no events for {seconds:.0f} seconds")
        raise RetryLater(seconds, f"{self.client.host} wants no events for {seconds:.0f} seconds")

    def _note_limits(self, answer: Answer) -> None:
        """Note until when the server wants no events.

        Source: develop.sentry.dev, "Rate limiting": "Retry-After" counts for 429 without the more
        precise header, and is 60 seconds if it is missing too.
        """
        limits = answer.headers.get("x-sentry-rate-limits")
        seconds = 0.0
        if limits is not None:
            for limit in limits.split(","):
                after, _, rest = limit.strip().partition(":")
                categories = rest.partition(":")[0].strip().lower().split(";")
                if not _CATEGORIES.isdisjoint(categories):
                    with contextlib.suppress(ValueError):
                        seconds = max(seconds, float(after))
        elif answer.status == 429:
            known = answer.retry_after()
            seconds = 60.0 if known is None else known
        if seconds > 0 and seconds < float("inf"):
            self._limited_until = max(self._limited_until, self._clock() + seconds)

    def _news(self) -> Counter[str]:
        """Return how many events were discarded, by reason, that the server was not told of."""
        discarded = Counter(self._discarded)
        dropped = self.delivery.statistics()["dropped"]
        discarded["queue_overflow"] += sum(dropped.values())
        return discarded - self._reported

    def _report_item(self, report: Mapping[str, int]) -> bytes:
        payload = _dump(
            {
                "timestamp": _clock.iso8601(_clock.moment()),
                "discarded_events": [
                    {"reason": reason, "category": "error", "quantity": quantity}
                    for reason, quantity in report.items()
                ],
            }
        )
        return b"%b\n%b\n" % (_dump({"type": "client_report", "length": len(payload)}), payload)

    def statistics(self) -> dict[str, Any]:
        """Return the counters of delivery, and ``discarded``: events given up here, by reason.

        ``before_send`` counts those that were never accepted for delivery; the others are the dead
        ones: ``ratelimit_backoff``, ``send_error`` (refused), ``network_error`` (tried too often).
        """
        return {**super().statistics(), "discarded": dict(self._discarded)}

    def disconnect(self) -> None:
        """Close the connection."""
        client = self.__dict__.get("client")
        if client is not None:
            client.close()


def _dump(value: object) -> bytes:
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":")).encode("ascii")
    except (TypeError, ValueError, RecursionError):
        # Only what before_send put there can be like this.
        return json.dumps(jsonable(plain(value)), separators=(",", ":")).encode("ascii")

"""OpenTelemetry: records as OTLP logs over HTTP, to a collector or whatever else takes them."""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal
from urllib.parse import unquote

from sprockets.logbook import _caller, _clock, _fork
from sprockets.logbook._layout import message_of
from sprockets.logbook._levels import (
    CRITICAL,
    DEBUG,
    ERROR,
    INFO,
    NOTICE,
    NOTSET,
    TRACE,
    WARNING,
    Level,
)
from sprockets.logbook._text import safe_str
from sprockets.logbook.delivery import PartlyDelivered, PermanentError, RetryLater
from sprockets.logbook.handlers._base import Filter
from sprockets.logbook.handlers._http_client import Answer, HTTPClient, Progress
from sprockets.logbook.handlers._otlp_json import JSON
from sprockets.logbook.handlers._otlp_protobuf import Protobuf
from sprockets.logbook.handlers._plain import clean, name_of, plain
from sprockets.logbook.handlers._remote import RemoteHandler
from sprockets.logbook.handlers._trace_ids import trace_of

if TYPE_CHECKING:
    import ssl

    from sprockets.logbook.record import LogRecord

_caller.register(__file__)

DEFAULT_ENDPOINT: Final = "http://localhost:4318/v1/logs"
"""Where a collector on this machine listens."""

MAX_ATTRIBUTES: Final = 128
"""Attributes of a record; others are counted as dropped, as the data model has it."""

SEVERITIES: Final[Mapping[int, int]] = {
    NOTSET: 0,
    TRACE: 1,
    DEBUG: 5,
    INFO: 9,
    NOTICE: 10,
    WARNING: 13,
    ERROR: 17,
    CRITICAL: 21,
}
"""Severity numbers of our levels.

Source: OpenTelemetry logs data model, "Field: SeverityNumber".
"""

_SEVERITY_TEXTS: Final[Mapping[int, str]] = {
    NOTSET: "NOTSET",
    TRACE: "TRACE",
    DEBUG: "DEBUG",
    INFO: "INFO",
    NOTICE: "NOTICE",
    WARNING: "WARNING",
    ERROR: "ERROR",
    CRITICAL: "CRITICAL",
}

_TRACE_FIELDS: Final = ("trace_id", "span_id", "trace_flags")
# "All other 4xx or 5xx response status codes MUST NOT be retried." -- OTLP 1.x, "Failures"
_RETRIED: Final = frozenset((429, 502, 503, 504))
# What may be one item's fault, so that the others are worth another try without it.
_ONES_FAULT: Final = frozenset((400, 413, 422))


def severity_of(level: int) -> int:
    """Return the severity number of *level*; one of your own has that of the next one below.

    >>> severity_of(WARNING), severity_of(99)
    (13, 21)
    """
    known = SEVERITIES.get(level)
    if known is None:
        known = max((number for own, number in SEVERITIES.items() if own <= level), default=0)
    return known


class OTLPHandler(RemoteHandler):
    """Sends records as OTLP logs over HTTP.

    A record becomes a log record of the scope that its channel names, with its message as body, its
    custom fields as attributes, its exception as ``exception.*``, and trace and span id from the
    custom fields of these names, from OpenTelemetry's current span, or from a ``request_id`` of 32
    hexadecimal digits.  Delivery goes on behind the caller's back: see :class:`RemoteHandler`.

    A collector that asks for patience (429, 502, 503, 504) gets it, as long as its ``Retry-After``
    says.  Any other refusal is for good; of a batch that is refused as malformed or too large only
    the records are given up that are refused one by one.

    Args:
        endpoint: Full address, path included.  ``None`` means what
            ``OTEL_EXPORTER_OTLP_LOGS_ENDPOINT`` or ``OTEL_EXPORTER_OTLP_ENDPOINT`` says, or a
            collector on this machine.
        level: Least level it is interested in, a number or a name.
        filter: Called with record and handler; the handler takes what it answers true for.
        bubble: Whether records go on to the next handler.
        service_name: What logs, ``service.name``; ``None`` means ``OTEL_SERVICE_NAME``, or
            ``unknown_service:python``.
        service_version: Its version, ``service.version``.
        environment: Where it runs (production, staging), ``deployment.environment``.
        resource: Further attributes of the resource; they win over all others, these over
            ``OTEL_RESOURCE_ATTRIBUTES``.
        headers: Of each request, such as an API key; added to ``OTEL_EXPORTER_OTLP_HEADERS`` where
            the endpoint comes from the environment.
        encoding: What is sent, JSON or Protocol Buffers.
        compress: Send larger bodies in gzip.
        timeout: Seconds for a whole request.
        ssl_context: For ``https``; ``None`` verifies against the certificates of the system.
        environ: Where the variables are looked up; the environment of the process.
        **options: Of :class:`RemoteHandler`.

    Raises:
        ValueError: The endpoint is no address, or a header is none.

    Source: OTLP specification 1.x, "OTLP/HTTP"; logs data model.
    """

    content_types: ClassVar[Mapping[str, str]] = {
        "json": "application/json",
        "protobuf": "application/x-protobuf",
    }
    pulls_information: ClassVar[bool] = False  # it is bytes that go to the thread

    def __init__(
        self,
        endpoint: str | None = None,
        level: Level = NOTSET,
        filter: Filter | None = None,
        bubble: bool = False,
        *,
        service_name: str | None = None,
        service_version: str | None = None,
        environment: str | None = None,
        resource: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        encoding: Literal["json", "protobuf"] = "json",
        compress: bool = True,
        timeout: float = 10.0,
        ssl_context: ssl.SSLContext | None = None,
        environ: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        if encoding not in self.content_types:
            raise ValueError(f"unknown encoding {encoding!r}; known: json, protobuf")
        environ = os.environ if environ is None else environ
        sent = {}
        if endpoint is None:
            endpoint = _endpoint_of(environ)
            sent.update(_pairs(environ.get("OTEL_EXPORTER_OTLP_HEADERS", "")))
            sent.update(_pairs(environ.get("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "")))
        sent.update(headers or {})
        sent["Content-Type"] = self.content_types[encoding]
        sent.setdefault("User-Agent", "sprockets.logbook-OTLP")
        self.encoding: str = encoding
        self.client: HTTPClient = HTTPClient(
            endpoint,
            sent,
            timeout=timeout,
            ssl_context=ssl_context,
            compress_from=1_024 if compress else None,
        )
        attributes: dict[str, object] = {
            "service.name": "unknown_service:python",
            "host.name": socket.gethostname(),
            "process.runtime.name": platform.python_implementation().lower(),
            "process.runtime.version": platform.python_version(),
            "telemetry.sdk.language": "python",
            "telemetry.sdk.name": "sprockets.logbook",
        }
        attributes.update(_pairs(environ.get("OTEL_RESOURCE_ATTRIBUTES", "")))
        known = {
            "service.name": service_name or environ.get("OTEL_SERVICE_NAME") or None,
            "service.version": service_version,
            "deployment.environment": environment,
            # The name that the conventions have for it now; back ends know one or the other.
            "deployment.environment.name": environment,
        }
        attributes.update({name: value for name, value in known.items() if value is not None})
        attributes.update(resource or {})
        self.resource: dict[str, Any] = plain(attributes)
        self.rejected: int = 0
        """Records that a receiver took and then threw away, as its answers say."""
        self._dialect: JSON | Protobuf = JSON() if encoding == "json" else Protobuf()
        self._progress = Progress()
        super().__init__(level, filter, bubble, **options)
        self.ready(OTLPHandler)

    # -- in the caller's thread

    def encode(self, record: LogRecord) -> bytes:
        """Return *record* as a log record of OTLP, with its scope in front."""
        extra = dict(record.extra)
        trace_id, span_id, flags = trace_of(extra)
        if trace_id and trace_id == str(extra.get("trace_id")).lower():
            for name in _TRACE_FIELDS:
                extra.pop(name, None)
        attributes: dict[str, Any] = {}
        facts = {
            "exception.type": record.exception_name,
            "exception.message": record.exception_message,
            "exception.stacktrace": record.formatted_exception,
            "code.file.path": record.filename,
            "code.line.number": record.lineno,
            "code.function.name": record.func_name,
            "thread.id": record.thread,
            "thread.name": record.thread_name,
        }
        for name, value in facts.items():
            if value is not None:
                attributes[name] = clean(value) if isinstance(value, str) else value
        dropped = 0
        for key, value in extra.items():
            name = name_of(key)
            if len(attributes) >= MAX_ATTRIBUTES:
                dropped += 1
                continue
            while name in attributes:
                name += "_"
            attributes[name] = plain(value)
        moment = record.moment
        now = _clock.moment()
        return self._dialect.item(
            clean(safe_str(record.channel)) if record.channel is not None else "",
            {
                "time": (now if moment is None else moment) * 1_000,
                "observed": now * 1_000,
                "severity": severity_of(record.level),
                "severity_text": _SEVERITY_TEXTS.get(record.level, str(record.level)),
                "body": clean(message_of(record)),
                "attributes": attributes,
                "dropped": dropped,
                "trace_id": trace_id,
                "span_id": span_id,
                "flags": flags,
            },
        )

    # -- in the thread that delivers

    def deliver(self, items: list[Any]) -> None:
        """Send *items* as one request; those that are refused for good are given up one by one.

        Raises:
            PermanentError: Some are refused for good.
            PartlyDelivered: The first of them are delivered.
            RetryLater: The receiver says when to come again.
            OSError: The receiver cannot be reached, or wants no more at present.
        """
        todo = [self._progress.pending(items)]
        refused: list[Any] = []
        reason = ""
        while todo:
            part = todo.pop()
            try:
                if part:
                    self._send(part)
            except PermanentError as error:
                if len(part) > 1 and getattr(error, "is_ones_fault", False):
                    # Half by half, the first half first.
                    middle = len(part) // 2
                    todo += [part[middle:], part[:middle]]
                else:
                    refused += part
                    reason = str(error)
            except Exception as error:
                count = self._progress.prefix(items)
                if count:
                    raise PartlyDelivered(count) from error
                raise
            else:
                self._progress.delivered(part)
        if refused:
            # The others come once more, and are known to be delivered.
            raise PermanentError(reason, refused)
        self._progress.finish()

    def _send(self, items: list[bytes]) -> None:
        resource = {**self.resource, "process.pid": _fork.process_id()}
        answer = self.client.post(self._dialect.request(resource, items))
        if 200 <= answer.status < 300:
            self.rejected += min(self._dialect.rejected(answer.body), len(items))
            return
        text = f"{self.client.host} answered {answer.status}: {_shown(answer)}"
        if answer.status in _RETRIED:
            after = answer.retry_after()
            if after is not None:
                raise RetryLater(after, text)
            raise ConnectionError(text)
        error = PermanentError(text)
        error.is_ones_fault = answer.status in _ONES_FAULT  # type: ignore[attr-defined]  # for us
        raise error

    def statistics(self) -> dict[str, Any]:
        """Return the counters of delivery, and how many of the delivered were ``rejected``.

        A receiver may take a request and keep a part of it only; it says how many it threw away,
        not which.
        """
        return {**super().statistics(), "rejected": self.rejected}

    def disconnect(self) -> None:
        """Close the connection."""
        client = self.__dict__.get("client")
        if client is not None:
            client.close()


def _shown(answer: Answer) -> str:
    return safe_str(answer.body[:200].decode("utf-8", "replace"), 200)


def _endpoint_of(environ: Mapping[str, str]) -> str:
    own = environ.get("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT")
    if own:
        return own
    base = environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    return f"{base.rstrip('/')}/v1/logs" if base else DEFAULT_ENDPOINT


def _pairs(text: str) -> dict[str, str]:
    """Return the pairs of a variable: ``name=value,name=value``, percent-encoded."""
    found = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if equals and name.strip():
            found[unquote(name.strip())] = unquote(value.strip())
    return found

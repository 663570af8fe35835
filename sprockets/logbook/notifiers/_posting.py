"""Forms that are posted to a service, each over a connection of its own and within a deadline."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any
from urllib.parse import urlencode, urlsplit

from sprockets.logbook._text import escape_line
from sprockets.logbook.delivery import PermanentError, RetryLater
from sprockets.logbook.handlers._http_client import MAX_ANSWER, Answer, _Readable, _Reader


class FormPost:
    """Posts forms to one address.

    TLS certificates are verified, redirects are not followed, proxies are not used.

    Args:
        url: ``http`` or ``https``.
        timeout: Seconds for a whole request, from connecting to the last byte of the answer.
        connection_class: Makes the connection, from host, ``timeout`` and, for ``https``,
            ``context``; ``None`` means that of ``http.client``.
        ssl_context: For ``https``; ``None`` verifies against the certificates of the system.
        clock: Returns the current time in seconds; never goes backwards.

    Raises:
        ValueError: *url* is no such address.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 10.0,
        connection_class: Callable[..., http.client.HTTPConnection] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise ValueError(f"not an http or https address: {parts.scheme}://{parts.hostname}")
        self.host = parts.netloc
        self.path = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
        self.timeout = timeout
        self._is_tls = parts.scheme == "https"
        self._connection_class = connection_class
        self._ssl_context = ssl_context
        self._clock = clock

    def post(
        self, fields: Mapping[str, object], headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Post *fields* as a form, and return what the service answers.

        Raises:
            OSError: There is no connection, or no answer in time.
        """
        deadline = self._clock() + self.timeout

        def remaining() -> float:
            seconds = deadline - self._clock()
            if seconds <= 0:
                raise TimeoutError(f"{self.host} did not answer within {self.timeout:g} seconds")
            return seconds

        def make_response(sock: Any, *args: Any, **options: Any) -> http.client.HTTPResponse:
            reader: Any = _Readable(_Reader(sock, remaining))
            return http.client.HTTPResponse(reader, *args, **options)

        connection = self._make_connection()
        try:
            connection.response_class = make_response  # type: ignore[assignment]  # called like it
            sent = {"Content-Type": "application/x-www-form-urlencoded", **(headers or {})}
            connection.request("POST", self.path, urlencode(fields), sent)
            response = connection.getresponse()
            content = response.read(MAX_ANSWER)
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, content)
        except http.client.HTTPException as error:
            raise ConnectionError(f"no proper answer from {self.host}: {error!r}") from error
        finally:
            connection.close()

    def _make_connection(self) -> http.client.HTTPConnection:
        # Looked up each time, so that the classes may be replaced.
        if not self._is_tls:
            make = self._connection_class or http.client.HTTPConnection
            return make(self.host, timeout=self.timeout)
        if self._ssl_context is None:
            self._ssl_context = ssl.create_default_context()
        make = self._connection_class or http.client.HTTPSConnection
        return make(self.host, timeout=self.timeout, context=self._ssl_context)


def refusal(answer: Answer, host: str) -> Exception:
    """Return what to raise of an *answer* that is no success: whether to try again, and the text.

    An error of the service's own (5xx), or that it is busy (408, 429), passes, if it says so after
    ``Retry-After``; any other refusal is for good.
    """
    text = f"{host} answered {answer.status}: {error_text(answer)}"
    if answer.status < 500 and answer.status not in (408, 429):
        return PermanentError(text)
    after = answer.retry_after()
    return ConnectionError(text) if after is None else RetryLater(after, text)


def error_text(answer: Answer) -> str:
    """Return what the service says is wrong: the ``errors`` of its JSON, or how its answer begins.

    >>> error_text(Answer(400, {}, b'{"errors": ["user is unknown", "no message"]}'))
    'user is unknown; no message'
    """
    text = answer.body.decode("utf-8", "replace")
    try:
        errors = json.loads(text)["errors"]
        if isinstance(errors, list) and errors:
            text = "; ".join(map(str, errors))
        elif errors:
            text = str(errors)
    except (ValueError, LookupError, TypeError):
        pass
    return escape_line(text[:200])

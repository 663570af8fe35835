"""HTTP for trackers: any method, answers of some length, and whether a change may have happened."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from time import time
from typing import Any, Final

from sprockets.logbook._text import safe_str
from sprockets.logbook.handlers._http_client import MAX_WAIT, Answer, HTTPClient
from sprockets.logbook.ticketing._trackers._base import (
    FailedError,
    GoneError,
    RateLimitedError,
    RefusedError,
    UnansweredError,
    UnauthorisedError,
)

MAX_REPLY: Final = 8 << 20
"""Bytes of an answer that are read; one that is longer is refused."""

_SAFE: Final = frozenset(("GET", "HEAD"))
_NOBODY_THERE: Final = frozenset((502, 503, 504))


@dataclass(frozen=True)
class Reply(Answer):
    """What a tracker answered.

    Args:
        cookies: What it wants to be sent with the next requests.
    """

    cookies: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The body, as UTF-8 as far as it is that."""
        return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        """Return what the body says.

        Raises:
            RuntimeError: That is no JSON.
        """
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise RuntimeError(f"no JSON: {safe_str(self.text[:200], 200)}") from error


class Caller(HTTPClient):
    """Makes requests to one tracker, each over a connection of its own, within a deadline.

    Seldom is there more than one request in a minute, and a connection that is kept may turn out
    to be dead just when something was to be changed.

    Args:
        url: Where the tracker is; paths of requests are added to its path.
        headers: Of every request.
        timeout: Seconds for a whole request, from connecting to the last byte of the answer.
        ssl_context: For ``https``; ``None`` verifies against the certificates of the system.

    Raises:
        ValueError: *url* is no address, or a header has a line break in it.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        timeout: float = 10.0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(
            url.rstrip("/"),
            {"User-Agent": "sprockets.logbook", **(headers or {})},
            timeout=timeout,
            ssl_context=ssl_context,
            compress_from=None,
        )
        self.url: str = url.rstrip("/")
        self._base = "" if self.path == "/" else self.path

    def call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Make a request, and return the answer, whatever its status.

        Args:
            method: What to do.
            path: Where, from the tracker's address on; quoted.
            body: What is sent.
            headers: Beside those of every request.

        Raises:
            UnansweredError: A change was sent, and no answer came.
            OSError: There is no connection; or nothing was to be changed, and no answer came.
        """
        sent = {**self.headers, **(headers or {}), "Connection": "close"}
        deadline = self._clock() + self.timeout
        self.close()
        is_sent = False
        try:
            connection = self._connect(deadline)
            connection.sock.settimeout(self._remaining(deadline))
            is_sent = method not in _SAFE
            connection.request(method, self._base + path, body, sent)
            response = self._response(connection, deadline)
            content = response.read(MAX_REPLY + 1)
            if len(content) > MAX_REPLY:
                raise OSError(f"{self.host} answered more than {MAX_REPLY} bytes")
            found = response.getheaders()
        except (http.client.HTTPException, OSError) as error:
            text = f"no proper answer to {method} {path.partition('?')[0]} from {self.host}"
            if is_sent:
                raise UnansweredError(f"{text}: {error!r}") from error
            if isinstance(error, OSError):
                raise
            raise ConnectionError(f"{text}: {error!r}") from error
        finally:
            self.close()
        return Reply(
            response.status,
            {name.lower(): value for name, value in found},
            content,
            _cookies_of(value for name, value in found if name.lower() == "set-cookie"),
        )

    def call_json(
        self,
        method: str,
        path: str,
        value: object = None,
        *,
        kind: type = dict,
        now: Callable[[], float] = time,
    ) -> Any:
        """Make a request with JSON, and return what the answer says; ``None`` if nothing.

        Args:
            method: What to do.
            path: Where.
            value: What is sent, as JSON; ``None`` is nothing.
            kind: What the answer is.
            now: Returns the time in seconds since 1970.

        Raises:
            TrackerError: The answer is no, or there is none.
            OSError: The tracker cannot be reached, or is not there at present.
            RuntimeError: The tracker failed.
        """
        body = None if value is None else json.dumps(value).encode("ascii")
        sent = {"Accept": "application/json", **self.headers}
        if body is not None:
            sent["Content-Type"] = "application/json"
        reply = self.call(method, path, body, sent)
        check(reply, f"{method} {path.partition('?')[0]}", self.host, now)
        if not reply.body.strip():
            return None
        answer = reply.json()
        if not isinstance(answer, kind):
            text = safe_str(reply.text[:200], 200)
            raise RuntimeError(f"{self.host} answered no {kind.__name__} to {method}: {text}")
        return answer


def check(reply: Reply, asked: str, host: str, now: Callable[[], float] = time) -> None:
    """Raise what the status of *reply* stands for, unless it is a good one.

    Args:
        reply: The answer.
        asked: What was asked for, for people.
        host: Who was asked.
        now: Returns the time in seconds since 1970.
    """
    status = reply.status
    if 200 <= status < 300:
        return
    text = f"{host} answered {status} to {asked}: {safe_str(reply.text[:300], 300)}"
    wait = limited_for(reply, now)
    if wait is not None:
        raise RateLimitedError(wait, text)
    if status in (401, 403):
        raise UnauthorisedError(text)
    if status in (404, 410):
        raise GoneError(text)
    if 300 <= status < 400:
        place = safe_str(reply.headers.get("location", "?"), 200)
        raise RefusedError(f"{host} has moved {asked} to {place}; redirects are not followed")
    if status == 408 or status in _NOBODY_THERE:
        raise FailedError(text)
    if status >= 500:
        raise RuntimeError(text)
    raise RefusedError(text)


def limited_for(reply: Reply, now: Callable[[], float] = time) -> float | None:
    """Return the seconds for which a tracker wants no more requests; ``None``: it does not say so.

    Source: docs.github.com, "Best practices for using the REST API", "Handle rate limit errors
    appropriately"; GitLab has 429 with ``Retry-After``, and ``RateLimit-Reset``.
    """
    if reply.status not in (403, 429, 503):
        return None
    after = reply.retry_after(now)
    if after is not None:
        return max(after, 1.0)
    is_used_up = "0" in (
        reply.headers.get("x-ratelimit-remaining", "").strip(),
        reply.headers.get("ratelimit-remaining", "").strip(),
    )
    if reply.status == 429 or (reply.status == 403 and is_used_up):
        for name in ("x-ratelimit-reset", "ratelimit-reset"):
            text = reply.headers.get(name, "").strip()
            if text.isascii() and text.isdigit():
                return min(max(float(text[:12]) - now(), 1.0), MAX_WAIT)
        return 60.0
    if reply.status == 403 and "rate limit" in reply.text.lower():
        return 60.0
    return None


def _cookies_of(headers: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for header in headers:
        try:
            found.update({name: morsel.value for name, morsel in SimpleCookie(header).items()})
        except CookieError:
            continue
    return found

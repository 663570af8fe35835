"""Asking other services, so that what they do for us is part of our action.

Each try is a branch of an ``http:client`` action; the service at the other end, if it knows of
actions, goes on from there.  For other libraries than Tornado's, :func:`outgoing_headers` returns
what to send along.
"""

from __future__ import annotations

import copy
import os
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urljoin, urlsplit, urlunsplit

from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest, HTTPResponse
from tornado.httputil import HTTPHeaders

from sprockets.eliot import current_action, register_exception_extractor, start_action
from sprockets.http._access_log import scrub_uri
from sprockets.http._identity import is_trace_id
from sprockets.http._request_context import current_request

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["fetch", "outgoing_headers"]

_REDIRECTS: Final = frozenset((301, 302, 303, 307, 308))
_OF_THE_BODY: Final = ("Content-Encoding", "Content-Length", "Content-Type", "Transfer-Encoding")
_SAMPLED: Final = 1


def _describe_error(error: HTTPClientError) -> Mapping[str, Any]:
    fields: dict[str, Any] = {"status": error.code}
    if error.response is not None:
        fields["method"] = error.response.request.method
    return fields


register_exception_extractor(HTTPClientError, _describe_error)


def outgoing_headers() -> dict[str, str]:
    """Return the headers that make a request, which is about to be sent, part of what is done here.

    ``X-Eliot-Task-Id`` names a place in the current action, ``X-Request-Id`` the request that is
    being answered, and ``traceparent`` the trace of both, for services that know that one.  What
    there is none of is left out.

    The place is good for one request: call this again for the next, and for each retry.
    """
    headers = {}
    action = current_action()
    if action is not None:
        headers["X-Eliot-Task-Id"] = action.serialize_task_id().decode("ascii")
    request = current_request()
    trace_id, flags = None, _SAMPLED
    if request is not None:
        headers["X-Request-Id"] = request.request_id
        if request.trace_id is not None:
            trace_id, flags = request.trace_id, request.trace_flags
        elif is_trace_id(request.request_id):
            trace_id = request.request_id
    if trace_id is None and action is not None:
        digits = action.task_uuid.replace("-", "").lower()
        trace_id = digits if is_trace_id(digits) else None
    if trace_id is not None:
        headers["traceparent"] = f"00-{trace_id}-{os.urandom(8).hex()}-{flags:02x}"
    return headers


async def fetch(
    request: str | HTTPRequest,
    *,
    client: AsyncHTTPClient | None = None,
    raise_error: bool = True,
    **kwargs: Any,
) -> HTTPResponse:
    """Return the response to *request*, as ``AsyncHTTPClient.fetch`` does, within an action.

    The action ``http:client`` has ``method`` and ``url``, without secrets, and at its end the
    ``status``.  It fails by what is raised; without *raise_error* any answer is a success.

    Each try, those that follow a redirect included, carries the headers of
    :func:`outgoing_headers`; those that *request* has itself stay, but for ``X-Eliot-Task-Id``.

    Args:
        request: An address, or a request; it is not changed.
        client: The client of this loop, unless given; it is not closed.
        raise_error: Whether an answer of 400 and above is raised.
        **kwargs: For ``HTTPRequest``, where *request* is an address.

    Raises:
        HTTPClientError: The answer was 400 or above, or none came in time.
        OSError: There was no connection.
        ValueError: There are *kwargs*, and *request* is no address; or the address makes no sense.
    """
    if isinstance(request, str):
        request = HTTPRequest(request, **kwargs)
    elif kwargs:
        raise ValueError(f"keywords are for an address, not for a request; got {sorted(kwargs)}")
    if client is None:
        client = AsyncHTTPClient()
    method, url = request.method, scrub_uri(request.url)
    with start_action(action_type="http:client", method=method, url=url) as action:
        response = await _follow(client, request)
        # The method, too: the records of a request are stamped with that of the request.
        action.add_success_fields(status=response.code, method=method)
        if raise_error and response.error is not None:
            raise response.error
        return response


async def _follow(client: AsyncHTTPClient, request: HTTPRequest) -> HTTPResponse:
    """Return the response at the end of all redirects that *request* allows."""
    left = _setting(client, request, "max_redirects") or 0
    if not _setting(client, request, "follow_redirects"):
        left = 0
    while True:
        response = await client.fetch(_prepare(request), raise_error=False)
        location = response.headers.get("Location")
        if response.code not in _REDIRECTS or location is None or left <= 0:
            return response
        left -= 1
        request = _redirect(request, response.code, location)


def _setting(client: AsyncHTTPClient, request: HTTPRequest, name: str) -> Any:
    value = getattr(request, name)
    return client.defaults.get(name) if value is None else value


def _prepare(request: HTTPRequest) -> HTTPRequest:
    """Return a copy of *request* for one try."""
    prepared = copy.copy(request)
    # The client would follow redirects with the same headers, and a place is good for one try.
    prepared.follow_redirects = False
    headers = prepared.headers = HTTPHeaders(request.headers)
    for name, value in outgoing_headers().items():
        if name not in headers or name == "X-Eliot-Task-Id":
            headers[name] = value
    return prepared


def _redirect(request: HTTPRequest, code: int, location: str) -> HTTPRequest:
    """Return the request that follows *request*, after an answer with *code* and *location*.

    It does what Tornado's own client does.
    """
    following = copy.copy(request)
    headers = following.headers = HTTPHeaders(request.headers)
    following.url = urljoin(request.url, location)
    headers.pop("Host", None)
    before, after = urlsplit(request.url), urlsplit(following.url)
    if (before.scheme, before.netloc) != (after.scheme, after.netloc):
        # It is another's: nothing that proves who we are goes there.
        following.auth_username = following.auth_password = None
        following.url = urlunsplit(after._replace(netloc=after.netloc.rpartition("@")[2]))
        for name in ("Authorization", "Cookie"):
            headers.pop(name, None)
    if (code == 303 and request.method != "HEAD") or (
        code in (301, 302) and request.method == "POST"
    ):
        following.method = "GET"
        following.body = None  # type: ignore[assignment]  # as a request without one has it
        for name in _OF_THE_BODY:
            headers.pop(name, None)
    return following

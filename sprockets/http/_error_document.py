"""The error document: what a client is told about a request that failed.

There are two, each with its own members.  The plain document goes to all who ask for nothing else::

    {"type": "HTTPError", "message": "HTTP 404: Not Found", "traceback": null, "request_id": "..."}

The problem document of RFC 9457 goes to whoever asks for ``application/problem+json``::

    {"type": "about:blank", "title": "Not Found", "status": 404, "instance": "urn:...", ...}

Both say less than the log does: neither the text of an exception nor a log message is in them
unless somebody asked for that.  Nothing here knows of handlers or connections.
"""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import Mapping, Sequence
from functools import lru_cache
from http.client import responses
from typing import Any, Final, TypeAlias
from urllib.parse import quote

from tornado.web import HTTPError

JSON_TYPE: Final = "application/json; charset=utf-8"
"""Content type of the plain document."""

PROBLEM_TYPE: Final = "application/problem+json"
"""Content type of the problem document."""

MAX_TEXT: Final = 16_384
"""Characters a text in a document has at most."""

ABOUT_BLANK: Final = "about:blank"
"""Type of a problem that its status code says everything about."""

RESERVED: Final = frozenset(
    (
        "type",
        "title",
        "status",
        "detail",
        "instance",
        "request_id",
        "trace_id",
        "exception",
        "traceback",
    )
)
"""Members of a problem document that are not free for extensions."""

Document: TypeAlias = dict[str, Any]

_UNKNOWN: Final = "Unknown"
_MAX_CACHED_ACCEPT: Final = 1_024
_MAX_CACHED_REASON: Final = 1_024
# "letters, digits and "_", three characters or longer, starting with a letter" -- RFC 9457,
# section 3.2, which says SHOULD; a name is the author's, so it can be told at once.
_EXTENSION_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{2,}")
_UUID: Final = re.compile(
    r"([0-9a-f]{8})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{12})", re.IGNORECASE
)
# What json.dumps() uses, without what it asks before.
_quoted = json.encoder.encode_basestring_ascii


# -- texts


def phrase_of(status_code: int) -> str:
    """Return the standard reason phrase of *status_code*, or ``Unknown``."""
    return responses.get(status_code, _UNKNOWN)


def resolve_reason(status_code: int, reason: object, exception: BaseException | None) -> str:
    """Return the reason phrase of an error: the one given, the exception's, the standard one.

    Only the reason of a `tornado.web.HTTPError` is meant for clients.  Other exceptions have
    attributes of that name too (``URLError``, ``UnicodeDecodeError``), and what is in those is
    nobody's business outside.

    Args:
        status_code: Status of the response.
        reason: What the caller of ``send_error`` gave; anything but a ``str`` becomes one.
        exception: What the request failed with, if it did.
    """
    if reason is not None:
        if isinstance(reason, str):
            return reason
        try:
            return str(reason)
        except Exception:  # noqa: BLE001 - then it says nothing, and the standard phrase does
            return phrase_of(status_code)
    if isinstance(exception, HTTPError):
        own = exception.reason
        if own and isinstance(own, str):
            return own
    return responses.get(status_code, _UNKNOWN)


def clean_text(text: str) -> str:
    r"""Return *text* as every encoder takes it: without lone surrogates, and of bounded length.

    >>> clean_text("half a \ud83d pair")
    'half a � pair'
    """
    if len(text) > MAX_TEXT:
        text = f"{text[: MAX_TEXT - 1]}…"
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def public_message(
    status_code: int, reason: str, exception: BaseException | None, *, expose: object
) -> str:
    """Return the text of an error for clients.

    Args:
        status_code: Status of the response.
        reason: The resolved reason phrase.
        exception: What the request failed with, if it did.
        expose: True if clients may read the texts of exceptions that were not made for them.
    """
    if exception is None:
        return reason
    if isinstance(exception, HTTPError):
        # Not str(exception), which has the log message in it.
        return f"HTTP {status_code}: {reason}"
    if not expose:
        return reason
    try:
        return str(exception)
    except Exception:  # noqa: BLE001 - the reason phrase says what can be said
        return reason


def format_exception(exception: BaseException) -> list[str] | None:
    """Return the traceback of *exception* as lines that end in a newline."""
    try:
        lines = traceback.format_exception(exception)
    except Exception:  # noqa: BLE001 - an exception can be too broken even for this
        return None
    return [clean_text(line) for line in lines]


def instance_of(request_id: str) -> str:
    """Return a URI that names the request, and with it the occurrence of the problem.

    >>> instance_of("6d0c7a0e3d6a4f0f9b6d1c2b3a495867")
    'urn:uuid:6d0c7a0e-3d6a-4f0f-9b6d-1c2b3a495867'
    >>> instance_of("edge 17")
    'urn:request-id:edge%2017'
    """
    match = _UUID.fullmatch(request_id)
    if match is not None:
        return f"urn:uuid:{'-'.join(match.groups()).lower()}"
    return f"urn:request-id:{quote(request_id, safe='')}"


# -- which of the two


def wants_problem(accept: str | None, alternative: str = "application/json") -> bool:
    """Return whether a client prefers a problem document to one of type *alternative*.

    It has to ask for ``application/problem+json`` by name: ``*/*`` is said by everybody, most of
    whom have never heard of it.

    >>> wants_problem("application/problem+json, application/json")
    True
    >>> wants_problem("application/json, application/problem+json;q=0.5")
    False
    >>> wants_problem("*/*")
    False

    Args:
        accept: Value of the ``Accept`` header, if there is one.
        alternative: Media type of the document that is sent otherwise.
    """
    if accept is None or "problem" not in accept.lower():
        return False
    # What clients send is bounded before it is remembered.
    if len(accept) > _MAX_CACHED_ACCEPT:
        return _prefers_problem.__wrapped__(accept, alternative)
    return _prefers_problem(accept, alternative)


@lru_cache(maxsize=256)
def _prefers_problem(accept: str, alternative: str) -> bool:
    ranges = _parse_accept(accept)
    asked = ranges.get(PROBLEM_TYPE, 0.0)
    if asked <= 0.0:
        return False
    # "The most specific reference has precedence" -- RFC 9110, section 12.5.1.
    media_type = alternative.partition(";")[0].strip().lower()
    for known in (media_type, f"{media_type.partition('/')[0]}/*", "*/*"):
        if known in ranges:
            return asked >= ranges[known]
    return True


def _parse_accept(accept: str) -> dict[str, float]:
    """Return the quality of each media range of *accept*, parameters other than ``q`` left out."""
    ranges: dict[str, float] = {}
    for item in accept.lower().split(","):
        media_range, *parameters = item.split(";")
        quality = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip() == "q":
                quality = _parse_quality(value.strip())
        media_range = media_range.strip()
        ranges[media_range] = max(quality, ranges.get(media_range, 0.0))
    return ranges


def _parse_quality(value: str) -> float:
    # Not float() alone, which knows "inf", "nan" and "1_0".
    if re.fullmatch(r"0(\.[0-9]*)?|1(\.0*)?", value, re.ASCII) is None:
        return 0.0
    return float(value)


# -- the documents


def check_extensions(names: Sequence[str] | Mapping[str, object]) -> None:
    """Check that *names* can be members of a problem document beside those that it has.

    Raises:
        ValueError: A name is taken, or is not one that RFC 9457 allows.
    """
    for name in names:
        if name in RESERVED:
            raise ValueError(f"{name!r} is a member of every problem, not an extension")
        if _EXTENSION_NAME.fullmatch(name) is None:
            raise ValueError(
                f"cannot name an extension {name!r}; use at least three letters, digits and '_', "
                "a letter first"
            )


def make_document(
    exception: BaseException | None, message: str, trace: list[str] | None, request_id: str
) -> Document:
    """Return the plain document, with exactly its four members."""
    return {
        "type": None if exception is None else clean_text(type(exception).__name__),
        "message": clean_text(message),
        "traceback": trace,
        "request_id": request_id,
    }


def make_problem(
    status_code: int,
    request_id: str,
    *,
    detail: str | None = None,
    type: str | None = None,
    title: str | None = None,
    trace_id: str | None = None,
    extensions: Mapping[str, object] | None = None,
    exception: BaseException | None = None,
    trace: list[str] | None = None,
) -> Document:
    """Return a problem document.

    Args:
        status_code: Status of the response.
        request_id: Names the request.
        detail: What its author has to say to clients about this occurrence.
        type: URI reference of the kind of problem; ``about:blank`` if there is none.
        title: Name of the kind of problem; the standard phrase if there is none.
        trace_id: Names the trace that the request is part of, if it is known.
        extensions: Further members.
        exception: What the request failed with, if clients may know.
        trace: Its traceback, likewise.
    """
    document: Document = {
        "type": type or ABOUT_BLANK,
        "title": clean_text(title or phrase_of(status_code)),
        "status": status_code,
    }
    if detail:
        document["detail"] = clean_text(detail)
    document["instance"] = instance_of(request_id)
    document["request_id"] = request_id
    if trace_id is not None:
        document["trace_id"] = trace_id
    if extensions:
        document.update(extensions)
    if trace is not None and exception is not None:
        document["exception"] = _describe_exception(exception)
        document["traceback"] = trace
    return document


def _describe_exception(exception: BaseException) -> str:
    name = type(exception).__name__
    try:
        text = str(exception)
    except Exception:  # noqa: BLE001 - the name is there
        text = ""
    return clean_text(f"{name}: {text}" if text else name)


# -- bytes


def encode_document(document: Document) -> bytes:
    """Return the plain document as JSON, in ASCII.

    It is written by hand because ``json.dumps`` costs several times as much as its four members.
    """
    trace = document["traceback"]
    return (
        f'{{"type": {_text_or_null(document["type"])}, "message": {_quoted(document["message"])}, '
        f'"traceback": {"null" if trace is None else json.dumps(trace)}, '
        f'"request_id": {_quoted(document["request_id"])}}}'
    ).encode("ascii")


def _text_or_null(text: str | None) -> str:
    return "null" if text is None else _quoted(text)


def public_document(
    status_code: int, reason: str, exception: BaseException | None, request_id: str
) -> bytes:
    """Return the plain document of an error that is told nothing special about, as JSON.

    It is what `make_document` and `encode_document` make of the `public_message` without a
    traceback, in a fraction of the time: documents of one kind differ in their ids only.
    """
    begin = _begin_document if len(reason) <= _MAX_CACHED_REASON else _begin_document.__wrapped__
    if exception is None:
        before = begin(status_code, reason, None, False)
    else:
        is_public = isinstance(exception, HTTPError)
        before = begin(status_code, reason, type(exception).__name__, is_public)
    return f"{before}{_quoted(request_id)}}}".encode("ascii")


@lru_cache(maxsize=256)
def _begin_document(status_code: int, reason: str, kind: str | None, is_public: bool) -> str:
    message = f"HTTP {status_code}: {reason}" if is_public else reason
    kind = None if kind is None else clean_text(kind)
    return (
        f'{{"type": {_text_or_null(kind)}, "message": {_quoted(clean_text(message))}, '
        '"traceback": null, "request_id": '
    )


def encode_problem(document: Document) -> bytes:
    """Return the problem document as JSON, in ASCII.

    Raises:
        TypeError: An extension is of a type that JSON does not have.
        ValueError: An extension has no end, or is a number that JSON does not have.
        RecursionError: An extension is too deep.
    """
    return json.dumps(document, allow_nan=False).encode("ascii")


def plain_document(status_code: int, request_id: str) -> bytes:
    """Return a plain document that says no more than the status, as JSON."""
    return encode_document(make_document(None, phrase_of(status_code), None, request_id))


def plain_problem(status_code: int, request_id: str) -> bytes:
    """Return a problem document that says no more than the status, as JSON."""
    return encode_problem(make_problem(status_code, request_id))

"""The access log: one line and one set of fields a request, without the secrets in them.

`log_access` is what an application calls at the end of a request.  What clients send is data: it
cannot forge fields or lines, and `scrub_uri` has been over every address before it is written.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import quote, unquote

from sprockets.logbook import Logger
from sprockets.logbook.compat import RedirectLoggingHandler

if TYPE_CHECKING:
    from tornado.web import RequestHandler

SCRUBBED: Final = "***"
"""What stands in the place of a secret."""

CLIENT_CLOSED_REQUEST: Final = 499
"""Status shown where nobody was left to take the response, as nginx has it."""

FIELDS: Final = (
    "remote_ip",
    "user",
    "method",
    "path",
    "query",
    "http_version",
    "status",
    "bytes",
    "duration",
    "referer",
    "user_agent",
)
"""Names of the fields of an access record; none of them is an attribute of every log record."""

_access_log = logging.getLogger("tornado.access")

# -- secrets

_SECRET_PARTS: Final = frozenset(
    (
        "apikey",
        "assertion",
        "auth",
        "bearer",
        "code",
        "cookie",
        "credential",
        "csrf",
        "jwt",
        "key",
        "passphrase",
        "passwd",
        "password",
        "pwd",
        "saml",
        "secret",
        "sessid",
        "session",
        "signature",
        "token",
        "xsrf",
    )
)
"""A name that contains one of these is a secret's, unless it is harmless all the same."""

_SECRET_NAMES: Final = frozenset(("cvc", "cvv", "hmac", "otp", "pass", "pin", "pw", "sid", "sig"))
"""Too short to be looked for within names."""

_HARMLESS_NAMES: Final = frozenset(
    (
        "author",
        "authority",
        "authorid",
        "authorname",
        "authors",
        "barcode",
        "codec",
        "codecs",
        "countrycode",
        "currencycode",
        "encode",
        "errorcode",
        "keyboard",
        "keyword",
        "keywords",
        "langcode",
        "languagecode",
        "localecode",
        "monkey",
        "postalcode",
        "postcode",
        "regioncode",
        "statecode",
        "statuscode",
        "unicode",
        "zipcode",
    )
)

_added: set[str] = set()
_DELIMITERS: Final = "/?#;"
_USER_INFO: Final = re.compile(r"//[^/?#]*@")
_USER_INFO_AT_START: Final = re.compile(r"[^:/?#@=&;]*:[^/?#]*@")
_MAX_DEPTH: Final = 3
_MAX_CACHED_NAME: Final = 64


def add_secret_names(*names: str) -> None:
    """Treat query keys and headers whose names contain one of *names* as secret, from now on.

    Upper and lower case, hyphens and the like make no difference, neither here nor in the names
    that are looked at.

    Raises:
        ValueError: A name has neither letters nor digits.
    """
    plain = [_plain(name) for name in names]
    if "" in plain:
        raise ValueError(f"a secret's name needs letters or digits, got {names!r}")
    _added.update(plain)
    _is_known_secret.cache_clear()


def _plain(name: str) -> str:
    return "".join([character for character in name.lower() if character.isalnum()])


def _is_secret(name: str) -> bool:
    if len(name) > _MAX_CACHED_NAME:
        return _is_known_secret.__wrapped__(name)
    return _is_known_secret(name)


# What clients send is bounded before it is remembered.
@lru_cache(maxsize=1024)
def _is_known_secret(name: str) -> bool:
    plain = _plain(unquote(name) if "%" in name else name)
    if any(part in plain for part in _added):
        return True
    if plain in _HARMLESS_NAMES:
        return False
    return plain in _SECRET_NAMES or any(part in plain for part in _SECRET_PARTS)


def scrub_uri(uri: str) -> str:
    """Return *uri* with ``***`` in the place of its secrets.

    These are the values of keys that are named like one (in the query, the fragment, and parameters
    of the path), and what stands before the ``@`` of an absolute URL; also where the URL is itself
    a percent-encoded part of another one.

    >>> scrub_uri("/login?user=ann&access_token=s3cr3t")
    '/login?user=ann&access_token=***'
    >>> scrub_uri("https://ann:s3cr3t@example.org/")
    'https://***@example.org/'
    """
    if "=" not in uri and "@" not in uri and "%" not in uri:
        return uri
    return _scrub(uri, _MAX_DEPTH)


def scrub_path(uri: str) -> str:
    """Return the path of *uri*, without secrets, and cut if it is very long.

    >>> scrub_path("/orders/7;jsessionid=4711?token=s3cr3t")
    '/orders/7;jsessionid=***'
    """
    return _cut(scrub_uri(uri.partition("?")[0]), _MAX_URI)


def _scrub(uri: str, depth: int) -> str:
    if "@" in uri:
        uri = _USER_INFO.sub(f"//{SCRUBBED}@", uri)
        if (match := _USER_INFO_AT_START.match(uri)) is not None:
            # Without a scheme, as CONNECT has it.
            uri = f"{SCRUBBED}@{uri[match.end() :]}"
    if "=" not in uri and "%" not in uri:
        return uri
    path, mark, query = uri.partition("?")
    if mark and ("=" not in path or ";" in path):
        return f"{_scrub_query(path, depth)}?{_scrub_query(query, depth)}"
    return _scrub_query(uri, depth)


def _scrub_query(query: str, depth: int) -> str:
    if "&" in query:
        return "&".join([_scrub_part(part, depth) for part in query.split("&")])
    return _scrub_part(query, depth)


def _scrub_part(part: str, depth: int) -> str:
    # Not by a regular expression: looking for names from each character on is quadratic.
    start, end = 0, part.find("=")
    while end >= 0:
        name = part[start:end]
        for delimiter in _DELIMITERS:
            if delimiter in name:
                name = name.rpartition(delimiter)[2]
        start = end + 1
        if start < len(part) and _is_secret(name):
            # To the end: a password may have any other delimiter in it.
            return f"{part[:start]}{SCRUBBED}"
        end = part.find("=", start)
    if "%" not in part:
        return part
    name, sign, value = part.partition("=")
    if not sign:
        return _scrub_encoded(part, depth)
    return f"{name}={_scrub_encoded(value, depth)}"


def _scrub_encoded(text: str, depth: int) -> str:
    """Scrub *text* as what it is when decoded; it stays as it is if there is no secret in it."""
    if "%" not in text:
        return text
    if depth == 0:
        return SCRUBBED
    decoded = unquote(text)
    if decoded == text or ("=" not in decoded and "@" not in decoded and "%" not in decoded):
        return text
    scrubbed = _scrub(decoded, depth - 1)
    return text if scrubbed == decoded else quote(scrubbed, safe="*/")


def scrub_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return *headers* with ``***`` for the values of those that are secret.

    These are ``Authorization``, ``Cookie``, ``Set-Cookie``, ``X-Api-Key`` and all others that are
    named like a secret; `scrub_uri` goes over the rest.

    >>> scrub_headers({"Authorization": "Basic czNjcjN0", "Accept": "*/*"})
    {'Authorization': '***', 'Accept': '*/*'}
    """
    return {
        name: SCRUBBED if _is_secret(name) else scrub_uri(value) for name, value in headers.items()
    }


# -- what is known of a request

_MAX_URI: Final = 4096
_MAX_HEADER: Final = 2048
_MAX_NAME: Final = 256
_NAMES_OF_USERS: Final = ("username", "login", "name", "email", "id", "sub")


def fields_of(handler: RequestHandler, *, client_is_gone: bool = False) -> dict[str, object]:
    """Return the facts of the request that *handler* has answered, under the names `FIELDS`.

    The duration is in seconds; what is not known is ``None``.  Of what clients send, only the
    beginning is kept, and no secrets.

    Args:
        handler: Has answered, or found nobody to answer.
        client_is_gone: The connection was closed before the response was complete.
    """
    return _fields(handler, _uri_of(handler), client_is_gone)


def _uri_of(handler: RequestHandler) -> str:
    return _cut(scrub_uri(handler.request.uri or ""), _MAX_URI)


def _fields(handler: RequestHandler, uri: str, client_is_gone: bool) -> dict[str, Any]:
    request = handler.request
    get = request.headers.get
    path, _, query = uri.partition("?")
    referer = get("Referer")
    agent = get("User-Agent")
    return {
        "remote_ip": request.remote_ip,
        "user": _user_of(handler),
        "method": request.method,
        "path": path,
        "query": query,
        "http_version": request.version,
        "status": CLIENT_CLOSED_REQUEST if client_is_gone else handler.get_status(),
        "bytes": getattr(handler, "response_bytes_written", None),
        # Tornado reads the clock on the wall, which may be set back meanwhile.
        "duration": max(0.0, round(request.request_time(), 6)),
        "referer": None if referer is None else _cut(scrub_uri(referer), _MAX_HEADER),
        "user_agent": None if agent is None else _cut(agent, _MAX_HEADER),
    }


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]}..."


def _user_of(handler: RequestHandler) -> str | None:
    try:
        user = handler.current_user
        if not user:
            return None
        return _cut(user if type(user) is str else _name_of(user), _MAX_NAME) or None
    except Exception:  # noqa: BLE001 - whoever asked for the response has it; the line says "-"
        return None


def _name_of(user: object) -> str:
    """Return what *user* is called; what else is known of a user has no place in a log."""
    if isinstance(user, bytes):
        return user.decode("utf-8", "backslashreplace")
    if isinstance(user, (str, int)):
        return str(user)
    if isinstance(user, Mapping):
        names = [user.get(name) for name in _NAMES_OF_USERS]
    else:
        names = [getattr(user, name, None) for name in _NAMES_OF_USERS]
    for name in names:
        if name and isinstance(name, (str, int)):
            return str(name)
    # What Python makes up for an object may show all its attributes.
    return "" if type(user).__str__ is object.__str__ else str(user)


# -- the line

# Not "%b", which follows the locale.
_MONTHS: Final = (
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
)
_stamp: tuple[int, str] = (-1, "")


def _time_text(second: int) -> str:
    """Return *second* since the epoch as access logs show time, in UTC whatever the locale."""
    global _stamp
    known = _stamp
    if known[0] == second:
        return known[1]
    moment = time.gmtime(second)
    text = time.strftime(f"%d/{_MONTHS[moment.tm_mon - 1]}/%Y:%H:%M:%S +0000", moment)
    _stamp = (second, text)
    return text


def _escape(text: str) -> str:
    r"""Return *text* as it may stand between double quotes; nothing printable is lost.

    >>> print(_escape('a "quote" \\ and\na line'))
    a \"quote\" \\ and\x0aa line
    """
    if text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return "".join([_escaped(character) for character in text])


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if character.isprintable():
        return character
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _escape_word(text: str) -> str:
    """Return *text* as it may stand between spaces."""
    text = _escape(text)
    return text.replace(" ", "\\x20") if " " in text else text


def format_line(handler: RequestHandler, *, client_is_gone: bool = False) -> str:
    """Return the line of the access log for the request that *handler* has answered.

    It has the parts of the combined log format, and the time that the request took in seconds::

        ::1 - ann [21/Nov/2026:01:41:26 +0000] "GET / HTTP/1.1" 200 "OK" - "-" "-" (secs:0.004)

    Quotes, backslashes and control characters in what a client sent are escaped, so a line always
    has all its parts.

    Args:
        handler: Has answered, or found nobody to answer.
        client_is_gone: The connection was closed before the response was complete.
    """
    uri = _uri_of(handler)
    return _line(handler, uri, _fields(handler, uri, client_is_gone))


def _line(handler: RequestHandler, uri: str, fields: Mapping[str, Any]) -> str:
    request = handler.request
    duration = fields["duration"]
    if fields["status"] == CLIENT_CLOSED_REQUEST != handler.get_status():
        reason = "Client Closed Request"
    else:
        reason = handler._reason or "-"
    user = fields["user"]
    written = fields["bytes"]
    return (
        f"{request.remote_ip or '-'} - {'-' if user is None else _escape_word(user)} "
        f"[{_time_text(int(request._start_time))}] "
        f'"{_escape_word(request.method or "-")} {_escape_word(uri)} {request.version}" '
        f'{fields["status"]} "{_escape(reason)}" {"-" if written is None else written} '
        f'"{_escape(fields["referer"] or "-")}" "{_escape(fields["user_agent"] or "-")}" '
        f"(secs:{duration:.3f})"
    )


# -- the record


class SupportsTell(Protocol):
    """The action that a request is, as far as its record needs to know it."""

    def tell(self, fields: dict[str, Any], status: int) -> None:
        """Add what makes a record with *fields* the end of the action, after such a *status*."""


def log_access(
    handler: RequestHandler, *, client_is_gone: bool = False, action: SupportsTell | None = None
) -> None:
    """Write the line of the request that *handler* has answered to the logger ``tornado.access``.

    The fields go along as ``extra``, with what makes the record the end of *action*.  The level
    tells how it went: informational, or debug if the handler has a true
    ``access_log_failures_only``; a warning for what the client did wrong, an error for what
    happened here.  A client that went away is neither's fault.

    Args:
        handler: Has answered, or found nobody to answer.
        client_is_gone: The connection was closed before the response was complete; the status is
            shown as 499.
        action: The one that the request is.
    """
    level = logging.INFO if client_is_gone else _level_of(handler)
    if not _access_log.isEnabledFor(level):
        return
    uri = _uri_of(handler)
    fields = _fields(handler, uri, client_is_gone)
    line = _line(handler, uri, fields)
    if action is not None:
        action.tell(fields, fields["status"])
    if _leads_to_stacks():
        # What the bridge would do, without making a record for each of the two worlds.
        _STACK_CALLS[level](line, extra=fields)
    else:
        _access_log.log(level, line, extra=_fit_for_stdlib(fields))


def log_refusal(
    remote_ip: str,
    status_code: int,
    reason: str,
    request_id: str,
    line: str | None = None,
    *,
    action: SupportsTell | None = None,
) -> None:
    """Write the line of what was refused before a handler saw it: too large, too slow, malformed.

    Args:
        remote_ip: Where it came from.
        status_code: What was answered.
        reason: The reason phrase.
        request_id: The one in the answer.
        line: Method, URI and version, where that much was understood.
        action: The one that the request is, where there was so much of one.
    """
    if not _access_log.isEnabledFor(logging.WARNING):
        return
    shown = "-"
    if line is not None:
        method, _, rest = line.partition(" ")
        uri, _, version = rest.rpartition(" ")
        uri = _cut(scrub_uri(uri), _MAX_URI)
        shown = f"{_escape_word(method)} {_escape_word(uri)} {_escape_word(version)}"
    text = (
        f"{remote_ip or '-'} - - [{_time_text(int(time.time()))}] "
        f'"{shown}" {status_code} "{reason}" - "-" "-" (secs:0.000)'
    )
    extra = {"remote_ip": remote_ip, "status": status_code, "request_id": request_id}
    if action is not None:
        action.tell(extra, status_code)
    if _leads_to_stacks():
        _STACK_CALLS[logging.WARNING](text, extra=extra)
    else:
        _access_log.warning("%s", text, extra=_fit_for_stdlib(extra))


def will_log(status_code: int) -> bool:
    """Return whether there will be a record of an answer with *status_code*."""
    return _access_log.isEnabledFor(_level_of_status(status_code))


def _fit_for_stdlib(fields: dict[str, object]) -> dict[str, object]:
    """Return *fields* without those that no record of stdlib logging takes as ``extra``."""
    if _OF_EVERY_RECORD.isdisjoint(fields):
        return fields
    return {
        f"{name}_" if name in _OF_EVERY_RECORD else name: value for name, value in fields.items()
    }


_OF_EVERY_RECORD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


def _leads_to_stacks() -> bool:
    """Whether all that stdlib logging would do with a record is to hand it to the stacks."""
    logger = _access_log
    while (parent := logger.parent) is not None:
        if logger.handlers or logger.filters or not logger.propagate or logger.disabled:
            return False
        logger = parent
    handlers = logger.handlers
    return (
        len(handlers) == 1
        and type(handlers[0]) is RedirectLoggingHandler
        and not handlers[0].filters
        and not handlers[0].level
    )


_stack_log = Logger("tornado.access")
_STACK_CALLS: Final = {
    logging.DEBUG: _stack_log.debug,
    logging.INFO: _stack_log.info,
    logging.WARNING: _stack_log.warning,
    logging.ERROR: _stack_log.error,
}


def _level_of(handler: RequestHandler) -> int:
    level = _level_of_status(handler.get_status())
    if level > logging.INFO:
        return level
    return logging.DEBUG if getattr(handler, "access_log_failures_only", False) else logging.INFO


def _level_of_status(status: int) -> int:
    if status >= 500:
        return logging.ERROR
    return logging.WARNING if status >= 400 else logging.INFO

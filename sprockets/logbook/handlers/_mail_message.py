"""Mail: how the text of a record becomes a message in which text stays text.

The names of the headers are the layout's; what records put into them is data, on one line.
Messages hold ASCII only: whatever else there is travels encoded.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from email.header import Header
from email.message import EmailMessage, Message
from email.policy import EmailPolicy
from email.utils import getaddresses
from functools import lru_cache

from sprockets.logbook import _caller
from sprockets.logbook._format import StringFormatter
from sprockets.logbook._layout import layout_of
from sprockets.logbook._text import cut
from sprockets.logbook._typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from sprockets.logbook.handlers._base import Handler
    from sprockets.logbook.record import LogRecord

_caller.register(__file__)

CRLF: Final = "\r\n"
MAX_HEADER: Final = 1_000
"""Characters of a header that a layout fills in; the rest is cut off, with a mark."""
_MAX_LINE: Final = 998  # "MUST be no more than 998 characters" -- RFC 5322, section 2.1.1
_MAX_WORD: Final = 900
_FOLD_AT: Final = 76

# The line breaks of `str.splitlines`, and whatever else controls rather than shows.
_CONTROL: Final = re.compile("\r\n|[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_BREAK: Final = re.compile("\r\n|\r|\n")
_HEADER: Final = re.compile(r"([A-Za-z][A-Za-z0-9_.-]*)[ \t]*:(.*)", re.DOTALL)
_GAP: Final = re.compile(r"(?<=\S) (?=\S)")
_SUBTYPE: Final = re.compile(r"text/([a-z0-9.+-]{1,60})(?:\s*;|$)", re.IGNORECASE)
_OURS: Final = frozenset(("content-transfer-encoding", "content-type", "mime-version"))
_ADDRESSES: Final = frozenset(
    f"{prefix}{name}"
    for prefix in ("", "resent-")
    for name in ("from", "sender", "to", "cc", "bcc", "reply-to")
)
_ONCE: Final = frozenset(
    (*_OURS, "bcc", "cc", "date", "from", "in-reply-to", "message-id", "references", "reply-to")
) | {"sender", "subject", "to"}
"""Headers that may be there but once: RFC 5322, section 3.6."""


def clean(text: str) -> str:
    r"""Return *text* as the value of a header: on one line, with nothing that cannot be encoded.

    >>> clean("hi\r\nBcc: evil@example.com")
    'hi Bcc: evil@example.com'
    """
    if not text.isprintable():
        text = _CONTROL.sub(" ", text).encode("utf-8", "backslashreplace").decode("utf-8")
    return text.strip(" ")


def encode_header(name: str, value: str) -> str:
    r"""Return *value* as it stands in a message after ``name:``, in ASCII, folded.

    A reader gets back exactly the text, also one that looks encoded already.

    >>> encode_header("Subject", "\xf8nicode")
    '=?utf-8?q?=C3=B8nicode?='

    Source: RFC 2047.
    """
    text = clean(value)
    if name.lower() in _ADDRESSES:
        encoded = _encode_addresses(name, text)
        if encoded is not None:
            return encoded
    if text.isascii() and "=?" not in text:
        lines = _fold(text, len(name) + 2)
        if max(map(len, lines)) <= _MAX_WORD:
            return "\n ".join(lines)
    return _encode_words(name, text)


def _encode_words(name: str, text: str) -> str:
    return Header(text, "utf-8", maxlinelen=_FOLD_AT, header_name=name).encode(linesep="\n")


def _fold(text: str, used: int) -> list[str]:
    # Only at single spaces: a line that begins with more could look empty.
    words = _GAP.split(text)
    lines = [words[0]]
    for word in words[1:]:
        if used + len(lines[-1]) + 1 + len(word) <= _FOLD_AT:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
            used = 1
    return lines


@lru_cache(maxsize=64)
def _encode_addresses(name: str, text: str) -> str | None:
    """Return addresses as they stand in a message, ``None`` if *text* is not made of them."""
    encoded = []
    for shown, address in getaddresses([text]):
        if "@" not in address or len(address) > 320 or not address.isprintable():
            return None
        plain = _to_ascii(address)
        if plain is None or any(character in plain for character in ' <>,"='):
            return None
        if not shown:
            encoded.append(plain)
        elif re.fullmatch(r"[A-Za-z0-9 .'_-]{1,60}", shown) and "." not in shown:
            encoded.append(f"{shown} <{plain}>")
        else:
            encoded.append(f"{_encode_words(name, shown)} <{plain}>")
    return ",\n ".join(encoded) or None


def _to_ascii(address: str) -> str | None:
    if address.isascii():
        return address
    local, _, domain = address.rpartition("@")
    try:
        return f"{local}@{domain.encode('idna').decode('ascii')}" if local.isascii() else None
    except UnicodeError:
        return None


class TextPolicy(EmailPolicy):
    """Writes headers so that what is put into a message is what a reader finds in it.

    The policies of the standard library decode what looks encoded, which lets a value bring line
    breaks along in disguise.
    """

    def header_store_parse(self, name: str, value: Any) -> tuple[str, Any]:
        """Return name and value as they are kept: as they are going to be written."""
        return name, encode_header(name, str(value))

    def header_max_count(self, name: str) -> int | None:
        """Return how often a header may be there, ``None`` if there is no limit."""
        return 1 if name.lower() in _ONCE else None

    def header_fetch_parse(self, name: str, value: str) -> Any:
        """Return the value as it reads; what is asked for with every mail is plain text."""
        if name.lower() in _OURS:
            return value
        return super().header_fetch_parse(name, value)


POLICY: Final = TextPolicy(refold_source="none")


class MailFormatter(StringFormatter):
    """Formats records as mails: header lines, an empty line, and the body.

    The lines of the layout up to the first empty one, or the first that does not begin with the
    name of a header and a colon, are headers.  Line breaks and control characters in what is shown
    there become spaces.

    Args:
        format_string: The layout.
    """

    def format_record(self, record: LogRecord, handler: Handler) -> str:
        """Return the mail of *record*; the first empty line is where the body begins."""
        heads, body = _parts_of(self._format_string)
        lines = [
            f"{name}: {cut(clean(render(record, handler)), MAX_HEADER)}\n" for name, render in heads
        ]
        return f"{''.join(lines)}\n{body(record, handler)[:-1]}"


@lru_cache(maxsize=64)
def _parts_of(layout: str) -> tuple[list[tuple[str, Callable[..., str]]], Callable[..., str]]:
    heads = []
    rest = layout
    while rest:
        line, _, after = rest.partition("\n")
        header = _HEADER.fullmatch(line)
        if header is None:
            rest = after if not line else rest
            break
        heads.append((header[1], _renderer(header[2])))
        rest = after
    return heads, _renderer(rest)


def _renderer(layout: str) -> Callable[..., str]:
    # With a line break in it, a layout leaves those of values alone: here others see to them.
    return layout_of(f"{layout}\n").render_record


@lru_cache(maxsize=64)
def mail_formatter(layout: str) -> MailFormatter:
    """Return a formatter for *layout*."""
    return MailFormatter(layout)


def split_text(text: str) -> tuple[list[tuple[str, str]], str]:
    r"""Return the headers at the beginning of *text*, and its body.

    >>> split_text("Subject: disk full\nX-Host: a\n\nSee: there")
    ([('Subject', 'disk full'), ('X-Host', 'a')], 'See: there')
    """
    headers: list[tuple[str, str]] = []
    lines = _BREAK.split(text)
    for index, line in enumerate(lines):
        header = _HEADER.fullmatch(line)
        if header is None:
            return headers, CRLF.join(lines[index + (not line) :])
        headers.append((header[1], header[2].strip()))
    return headers, ""


def make_message(headers: Iterable[tuple[str, str]], body: str) -> EmailMessage:
    """Return a message of text; of a header that may be there but once, the first counts."""
    message = EmailMessage(policy=POLICY)
    subtype = "plain"
    for name, value in headers:
        if name.lower() == "content-type":
            match = _SUBTYPE.match(value)
            subtype = match[1].lower() if match else subtype
        elif name.lower() not in _OURS and (
            name not in message or POLICY.header_max_count(name) is None
        ):
            message[name] = value
    message["MIME-Version"] = "1.0"
    message["Content-Type"] = f'text/{subtype}; charset="utf-8"'
    set_body(message, body)
    return message


def set_body(part: Message, body: str) -> None:
    """Make *body* the text of *part*: literally if it is ASCII, in base64 if a server might object.

    A lone surrogate becomes a backslash escape.
    """
    body = CRLF.join(_BREAK.split(body))
    is_plain = body.isascii() and "\0" not in body
    if is_plain and (len(body) <= _MAX_LINE or max(map(len, body.split(CRLF))) <= _MAX_LINE):
        encoding, payload = "7bit", body
    else:
        encoding = "base64"
        data = body.encode("utf-8", "backslashreplace")
        payload = base64.encodebytes(data).decode("ascii")
    if part.get_content_charset("utf-8") != "utf-8":
        part.set_param("charset", "utf-8")
    del part["Content-Transfer-Encoding"]
    part["Content-Transfer-Encoding"] = encoding
    part.set_payload(payload)


def body_part(message: Message) -> Message:
    """Return the part of *message* that is its text."""
    for part in message.walk():
        if part.get_content_maintype() == "text":
            return part
    return message


def body_of(part: Message) -> str:
    """Return the text of *part*."""
    data = part.get_payload(decode=True)
    if not isinstance(data, bytes):
        return ""
    return data.decode(part.get_content_charset("utf-8"), "replace")

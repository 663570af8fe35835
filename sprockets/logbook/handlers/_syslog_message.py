"""Syslog messages: their headers, their structured data, and how they are cut; nothing is kept.

Source: RFC 5424; RFC 3164 for the old form.
"""

from __future__ import annotations

from collections.abc import Mapping

from sprockets.logbook import _caller, _clock
from sprockets.logbook._json import encode as encode_json
from sprockets.logbook._text import escape_line, safe_str
from sprockets.logbook._typing import Final, Literal, TypeAlias

_caller.register(__file__)

Oversize: TypeAlias = "Literal['truncate', 'split']"

_MONTHS: Final = "JanFebMarAprMayJunJulAugSepOctNovDec"


def prival(facility: int, severity: int) -> int:
    """Return the priority value that opens a syslog message.

    Args:
        facility: Who logs, 0 (kernel) to 23 (local7).
        severity: How bad it is, 0 (emergency) to 7 (debug): lower is worse, the reverse of our
            levels.

    Returns:
        ``facility * 8 + severity``, 0 to 191.

    Raises:
        ValueError: *facility* or *severity* is outside its range.

    >>> prival(20, 5)
    165

    Source: RFC 5424, section 6.2.1; the example is the RFC's own.
    """
    if not 0 <= facility <= 23:
        raise ValueError(f"facility must be 0 to 23, got {facility}")
    if not 0 <= severity <= 7:
        raise ValueError(f"severity must be 0 to 7, got {severity}")
    return facility * 8 + severity


def printable(text: object, length: int) -> str:
    """Return *text* as a header field: printable ASCII without blanks, or ``-`` if it is empty.

    Every other character becomes an underscore.

    >>> printable("my app", 48), printable("", 48)
    ('my_app', '-')

    Args:
        text: Anything; ``None`` is empty.
        length: Characters that are kept at most.

    Source: RFC 5424, section 6 (PRINTUSASCII).
    """
    if text is None:
        return "-"
    kept = safe_str(text)[:length]
    if kept.isascii() and kept.isprintable() and " " not in kept:
        return kept or "-"
    return "".join([char if "!" <= char <= "~" else "_" for char in kept]) or "-"


def parameter_name(name: object) -> str:
    """Return *name* as that of a parameter of structured data, 1 to 32 characters.

    >>> parameter_name('user "id"=')
    'user__id__'

    Source: RFC 5424, section 6.3.3 (SD-NAME).
    """
    kept = safe_str(name)[:32]
    return "".join([c if "!" <= c <= "~" and c not in '="]' else "_" for c in kept]) or "_"


def parameter_value(value: object) -> str:
    r"""Return *value* as that of a parameter of structured data, without the quotes around it.

    Text stays, containers become JSON, control characters become escapes as in a line.

    >>> parameter_value('a "b" ]')
    'a \\"b\\" \\]'

    Source: RFC 5424, section 6.3.3 (PARAM-VALUE).
    """
    text = escape_line(parameter_text(value))
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")


def parameter_text(value: object) -> str:
    """Return *value* as text: containers as JSON, everything else as it shows itself."""
    if isinstance(value, (dict, list, tuple)):
        return encode_json(value)
    return safe_str(value)


def structured_data(sd_id: str, fields: Mapping[str, object], max_bytes: int) -> bytes:
    """Return *fields* as one element of structured data, ``-`` if there are none.

    Args:
        sd_id: Name of the element.
        fields: Names and values.
        max_bytes: The bytes it may have.  Fields that would exceed them are left out, and a
            parameter ``truncated`` says how many.

    >>> structured_data("extra@32473", {"user": "ann", "port": 80}, 1000)
    b'[extra@32473 user="ann" port="80"]'
    """
    if not fields:
        return b"-"
    parts = [f"[{sd_id}".encode()]
    room = max_bytes - len(parts[0]) - 32
    left_out = 0
    for name, value in fields.items():
        part = f' {parameter_name(name)}="{parameter_value(value)}"'.encode()
        if len(part) > room:
            left_out += 1
        else:
            room -= len(part)
            parts.append(part)
    if left_out:
        parts.append(f' truncated="{left_out}"'.encode())
    return b"".join([*parts, b"]"])


def fit(text: bytes, room: int, oversize: Oversize) -> list[bytes]:
    """Return *text*, UTF-8, as pieces of at most *room* bytes that say that they are pieces.

    No piece ends within a character.

    Args:
        text: The text.
        room: At least 64.
        oversize: ``"truncate"`` keeps the beginning, and says how many bytes there were;
            ``"split"`` keeps everything, each piece with its number in front.

    >>> fit(b"short", 64, "truncate")
    [b'short']
    >>> fit(b"long" * 20, 64, "split")[1]
    b'[2/2] nglonglonglonglonglong'
    """
    if len(text) <= room:
        return [text]
    if oversize == "truncate":
        mark = f"... [truncated, {len(text)} bytes]".encode()
        return [text[: _boundary(text, room - len(mark))] + mark]
    digits = 1
    while True:
        pieces = _pieces(text, room - 2 * digits - len("[/] "))
        if len(str(len(pieces))) <= digits:
            break
        digits += 1
    return [f"[{number}/{len(pieces)}] ".encode() + piece for number, piece in enumerate(pieces, 1)]


def _pieces(text: bytes, size: int) -> list[bytes]:
    pieces = []
    begin = 0
    while begin < len(text):
        end = _boundary(text, begin + size)
        pieces.append(text[begin:end])
        begin = end
    return pieces


def _boundary(text: bytes, end: int) -> int:
    """Return *end*, or what is less by the bytes of the character that would be torn there."""
    if end >= len(text):
        return len(text)
    while end > 0 and text[end] & 0xC0 == 0x80:
        end -= 1
    return end


def bsd_time(moment: int | None) -> str:
    """Return *moment* in local time, as RFC 3164 writes it; the present one if there is none."""
    local = _clock.datetime_of(_clock.moment() if moment is None else moment, local=True)
    # Not strftime: its month follows the locale.
    month = _MONTHS[3 * local.month - 3 : 3 * local.month]
    return f"{month} {local.day:2d} {local:%H:%M:%S}"

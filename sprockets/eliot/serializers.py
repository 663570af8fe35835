"""Serializers: what a field of a typed message may be written by.

>>> from datetime import datetime
>>> from sprockets.eliot import Field
>>> Field("paid_at", timestamp, "When the money was there.").serialize(datetime(2026, 5, 4, 12, 30))
'2026-05-04T12:30:00.000000Z'

Moments are written without a serializer, too, by `sprockets.eliot.json`: as they are, with the
offset that they have or without any, where `timestamp` says what they are in UTC.
"""

from __future__ import annotations

import hashlib
from datetime import date, datetime, time
from typing import TypeVar

from sprockets.logbook._clock import iso8601, moment_of

__all__ = ["identity", "md5hex", "timestamp"]

_T = TypeVar("_T")


def identity(value: _T) -> _T:
    """Return *value* as it is.

    >>> identity("as it is")
    'as it is'
    """
    return value


def timestamp(dt: date) -> str:
    """Return a moment in UTC, always with six digits of microseconds.

    >>> from datetime import timedelta, timezone
    >>> timestamp(datetime(2026, 5, 4, 12, 30, tzinfo=timezone(timedelta(hours=2))))
    '2026-05-04T10:30:00.000000Z'

    Args:
        dt: A naive one counts as UTC; a date is its midnight in UTC.

    Raises:
        OverflowError: In UTC it is before the year 1 or after the year 9999.
        TypeError: It is neither.

    Source: RFC 3339, section 5.6.
    """
    if not isinstance(dt, datetime):
        if not isinstance(dt, date):
            raise TypeError(f"a timestamp is made of a datetime or a date, got {dt!r}")
        dt = datetime.combine(dt, time())
    return iso8601(moment_of(dt))


def md5hex(data: bytes | bytearray | memoryview) -> str:
    """Return the MD5 of *data*, as 32 hexadecimal digits.

    For a message that need not carry the whole.  It keeps nothing secret, and different data that
    have the same can be made on purpose.

    >>> md5hex(b"message digest")
    'f96b697d7cb7938d525a2f31aaf161d0'

    Raises:
        TypeError: It is text; encode it.

    Source: RFC 1321; the example is the RFC's own.
    """
    # Also where the rules of the machine forbid MD5 to whatever is to be secure.
    return hashlib.md5(data, usedforsecurity=False).hexdigest()

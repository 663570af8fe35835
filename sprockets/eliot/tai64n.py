r"""TAI64N: a moment as a label that sorts as text, as daemontools writes it.

>>> encode(1.5)
'@400000000000000b1dcd6500'
>>> decode("@400000000000000b1dcd6500")
1.5

A label is ``@``, sixteen hexadecimal digits for the second, and eight for the nanoseconds in it.
The second is that of `time.time` plus 2\ :sup:`62` + 10, as in daemontools: UTC was ten seconds
behind TAI when leap seconds began, in 1972, and those that came since are not counted.  Programs
that do count them write labels of today that are 27 seconds ahead of these.

Source: D. J. Bernstein, "TAI64, TAI64N, and TAI64NA", https://cr.yp.to/libtai/tai64.html.
"""

from __future__ import annotations

import math
import re
from typing import Final

__all__ = ["decode", "encode"]

_EPOCH: Final = 2**62 + 10
"""The second that began 1970 UTC."""

# "Integers 2^63 and larger are reserved for future extensions." -- libtai, TAI64 labels
_SECONDS: Final = range(2**63)

_BILLION: Final = 1_000_000_000

_LABEL: Final = re.compile(r"@([0-9a-fA-F]{16})([0-9a-fA-F]{8})")


def encode(timestamp: float) -> str:
    """Return the label of a moment.

    Args:
        timestamp: Seconds since 1970, as `time.time` gives them; earlier moments are negative.
            What is less than a nanosecond is cut off.

    Raises:
        ValueError: It is infinite, NaN, or further than 146 billion years away.

    >>> encode(-0.25)
    '@40000000000000092cb41780'
    """
    if not math.isfinite(timestamp):
        raise ValueError(f"only finite times have a TAI64N label, got {timestamp!r}")
    whole = math.floor(timestamp)
    # What is a little less than a whole second may come out as that: the difference is rounded.
    carried, nanoseconds = divmod(int((timestamp - whole) * _BILLION), _BILLION)
    second = whole + carried + _EPOCH
    if second not in _SECONDS:
        raise ValueError(f"TAI64N has no label for a time that far away: {timestamp!r}")
    return f"@{second:016x}{nanoseconds:08x}"


def decode(tai64n: str | bytes) -> float:
    """Return the moment of a label, in seconds since 1970.

    The label is the more exact of the two: a `float` tells moments of today apart if they are a
    quarter of a microsecond apart.

    Args:
        tai64n: Digits may be in upper case.

    Raises:
        ValueError: It is not a label of that kind, or one that is reserved.

    >>> decode("@4000000037c219bf2ef02e94")
    935467445.7874925
    """
    text = tai64n if isinstance(tai64n, str) else tai64n.decode("latin-1")
    found = _LABEL.fullmatch(text)
    if found is None:
        raise ValueError(f"a TAI64N label is '@' and 24 hexadecimal digits, got {tai64n!r}")
    second, nanoseconds = int(found[1], 16), int(found[2], 16)
    if second not in _SECONDS:
        raise ValueError(f"labels from 2**63 seconds on are reserved, got {tai64n!r}")
    if nanoseconds >= _BILLION:
        raise ValueError(f"a second has 999999999 nanoseconds at most, got {tai64n!r}")
    return second - _EPOCH + nanoseconds / _BILLION

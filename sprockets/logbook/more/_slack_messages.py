"""What Slack is sent: texts that mention nobody, joined as far as they fit, not too often."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from time import monotonic, sleep
from typing import Final

from sprockets.logbook.handlers._plain import clean

_ENTITIES: Final = ("&amp;", "&lt;", "&gt;")
_LONGEST: Final = max(map(len, _ENTITIES))
_LOOK: Final = 0.05
"""Seconds between two looks whether somebody has begun to wait."""


def escape(text: str) -> str:
    """Return *text* so that Slack shows it, and takes nothing in it for a mention or a link.

    >>> escape("<!channel> R&D")
    '&lt;!channel&gt; R&amp;D'

    Source: docs.slack.dev, "Formatting message text", "Escaping text".
    """
    text = clean(text).replace("&", "&amp;")
    return text.replace("<", "&lt;").replace(">", "&gt;")


def cut_escaped(text: str, limit: int) -> str:
    """Return an escaped *text* in at most *limit* characters, with a mark where it was cut.

    >>> cut_escaped("1 &lt; 2, " * 10, 40)
    '1 &lt; 2, 1 &lt; … [59 more characters]'
    """
    if len(text) <= limit:
        return text
    # As long as the mark can get.
    room = max(0, limit - len(f"… [{len(text)} more characters]"))
    start = text[:room]
    ampersand = start.rfind("&", max(0, room - _LONGEST + 1))
    if ampersand >= 0 and ";" not in start[ampersand:]:
        start = start[:ampersand]
    missing = text[len(start) :]
    count = len(missing) - sum(missing.count(entity) * (len(entity) - 1) for entity in _ENTITIES)
    return f"{start}… [{count} more characters]"[:limit]


def joined(texts: Sequence[str], limit: int) -> Iterator[tuple[int, str]]:
    r"""Yield messages of as many *texts* as fit into *limit*, each with the number of them.

    >>> list(joined(["one", "two", "three"], 9))
    [(2, 'one\ntwo'), (1, 'three')]
    """
    part: list[str] = []
    length = 0
    for text in texts:
        if part and length + 1 + len(text) > limit:
            yield len(part), "\n".join(part)
            part, length = [], 0
        length += len(text) + bool(part)
        part.append(text)
    if part:
        yield len(part), "\n".join(part)


class Pace:
    """Waits until a while has passed since the last time, unless somebody is waiting.

    Args:
        interval: Seconds between two times at least.
        is_urgent: Whether somebody is waiting.
        clock: Returns the current time in seconds; never goes backwards.
    """

    def __init__(
        self,
        interval: float,
        is_urgent: Callable[[], bool],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.interval = interval
        self._is_urgent = is_urgent
        self._clock = clock
        self._last: float | None = None

    def remaining(self) -> float:
        """Return the seconds that :meth:`wait` would wait."""
        if self._last is None or self._is_urgent():
            return 0.0
        return max(0.0, self._last + self.interval - self._clock())

    def wait(self) -> None:
        """Wait until it is time, and count the time from now on."""
        while (remaining := self.remaining()) > 0:
            sleep(min(remaining, _LOOK))
        self._last = self._clock()

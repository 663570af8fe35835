"""Messages in the style of stdlib logging: ``"%s took %d s"``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache

from sprockets.logbook._text import MAX_MESSAGE, cut
from sprockets.logbook._typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import re

MAX_WIDTH: Final = 1_000

_MAX_CACHED: Final = 1_000


@cache
def _spec() -> re.Pattern[str]:
    import re

    return re.compile(r"[#0\- +]*(\*|\d+)?(?:\.(\*|\d+)?)?[hlL]?(.)?", re.DOTALL)


def format_percent(template: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """Return *template* with the arguments filled in by the ``%`` operator.

    As in stdlib logging, a single mapping as the only positional argument fills ``%(name)s``
    fields; keyword arguments do the same here.

    >>> format_percent("%s took %d s", ("job", 3), {})
    'job took 3 s'
    >>> format_percent("%(who)s", ({"who": "ann"},), {})
    'ann'

    Raises:
        ValueError: A width or precision over 1,000 is asked for.
        TypeError: The arguments do not fit the template.
    """
    values: Any = args
    if kwargs and not args:
        values = kwargs
    elif len(args) == 1 and isinstance(args[0], Mapping) and args[0]:
        values = args[0]
    largest, stars = (_sizes if len(template) <= _MAX_CACHED else _sizes.__wrapped__)(template)
    for star in stars:
        if star < len(args) and isinstance(args[star], int):
            largest = max(largest, abs(args[star]))
    if largest > MAX_WIDTH:
        raise ValueError(f"a width or precision of {largest} is over the {MAX_WIDTH} allowed")
    text = template % values
    return text if len(text) <= MAX_MESSAGE else cut(text)


@lru_cache(maxsize=1024)
def _sizes(template: str) -> tuple[int, tuple[int, ...]]:
    """Return the largest width or precision in *template*, and which arguments are others."""
    largest = 0
    stars = []
    argument = 0
    position = template.find("%") + 1
    while position:
        position = _end_of_key(template, position)
        match = _spec().match(template, position)
        assert match is not None
        *numbers, conversion = match.groups()
        for number in numbers:
            if number == "*":
                stars.append(argument)
                argument += 1
            elif number is not None:
                largest = max(largest, int(number[:9]))
        if conversion != "%":
            argument += 1
        position = template.find("%", match.end()) + 1
    return largest, tuple(stars)


def _end_of_key(template: str, position: int) -> int:
    """Return where the key in parentheses ends that begins at *position*, if there is one."""
    depth = 0
    for end in range(position, len(template)):
        if template[end] == "(":
            depth += 1
        elif template[end] == ")":
            depth -= 1
        if depth <= 0:
            return end + 1 if end > position else position
    return position

"""Messages in the style of stdlib logging: ``"%s took %d s"``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from sprockets.logbook._text import MAX_MESSAGE, cut

MAX_WIDTH: Final = 1_000

_SPEC = re.compile(r"%(?:\([^)]*\))?[#0\- +]*(\*|\d+)?(?:\.(\*|\d+))?")


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
    for match in _SPEC.finditer(template):
        for number in match.groups():
            if number == "*":
                _check_stars(args)
            elif number is not None and int(number[:9]) > MAX_WIDTH:
                raise ValueError(
                    f"a width or precision of {number} is over the {MAX_WIDTH} allowed"
                )
    text = template % values
    return text if len(text) <= MAX_MESSAGE else cut(text)


def _check_stars(args: tuple[Any, ...]) -> None:
    # Which argument a star takes depends on all before it; any large number is suspicious enough.
    for value in args:
        if isinstance(value, int) and abs(value) > MAX_WIDTH:
            raise ValueError(f"a width or precision of {value} is over the {MAX_WIDTH} allowed")

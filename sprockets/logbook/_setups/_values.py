"""Values: what a file says, with variables of the environment and contents of other files put in.

``${NAME}`` in a text is a variable, ``${NAME:-other}`` has a value for when it is unset or empty,
``$${`` is a plain ``${``; and ``{file = "path"}`` instead of a value is what that file contains.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from sprockets.logbook._setups._problems import Place, Problems

MAX_SECRET: Final = 64 * 1024
"""Bytes that a value in a file of its own may have."""

_VARIABLE: Final = re.compile(r"\$(\$)?\{([^{}]*)\}")
_NAME: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_SECRET_WORDS: Final = re.compile(r"pass|secret|token|credential|dsn|key|auth", re.IGNORECASE)
_MIN_HIDDEN: Final = 3


class Variable(str):
    """A text that is nothing but one variable: it becomes a number where one is wanted."""

    __slots__ = ()


class Values:
    """Puts in what a file only refers to.

    Args:
        environ: Where variables are looked up.
        problems: Takes what is wrong.
    """

    def __init__(self, environ: Mapping[str, str], problems: Problems) -> None:
        self._environ = environ
        self._problems = problems
        self._hidden: set[str] = set()

    def resolve(self, value: Any, place: Place) -> Any:
        """Return *value* as it is meant; arrays become tuples.

        What cannot be resolved is a problem, and ``None``.
        """
        if isinstance(value, str):
            return self._put_in(value, place)
        if isinstance(value, (list, tuple)):
            return tuple(
                [self.resolve(one, place.at(str(index))) for index, one in enumerate(value)]
            )
        if isinstance(value, Mapping):
            if value.keys() == {"file"} and isinstance(value["file"], str):
                return self._read(value["file"], place)
            return {name: self.resolve(one, place.at(name)) for name, one in value.items()}
        return value

    def hide(self, text: str) -> str:
        """Return *text* with nothing in it that is a secret."""
        for secret in sorted(self._hidden, key=len, reverse=True):
            for shown in (secret, repr(secret)[1:-1]):
                text = text.replace(shown, "***")
        return text

    def _put_in(self, text: str, place: Place) -> str | None:
        missing = False

        def found(match: re.Match[str]) -> str:
            nonlocal missing
            if match[1]:
                return f"${{{match[2]}}}"
            value = self._look_up(match[2], place)
            missing = missing or value is None
            return value or ""

        result = _VARIABLE.sub(found, text)
        if missing:
            return None
        whole = _VARIABLE.fullmatch(text)
        return Variable(result) if whole and not whole[1] else result

    def _look_up(self, reference: str, place: Place) -> str | None:
        match = _NAME.fullmatch(reference)
        if match is None:
            self._problems.add(
                place,
                f"cannot read the variable ${{{reference}}}; write ${{NAME}} or ${{NAME:-other}},"
                " and $${ for a plain ${",
            )
            return None
        name, other = match[1], match[2]
        value = self._environ.get(name)
        if other is not None and not value:
            return other
        if value is None:
            self._problems.add(
                place,
                f"the variable {name} is not set; set it, or write ${{{name}:-other}} for when it"
                " is not",
            )
            return None
        if _SECRET_WORDS.search(name) or _SECRET_WORDS.search(place.key):
            self._hide(value)
        return value

    def _hide(self, value: str) -> None:
        if len(value) >= _MIN_HIDDEN:
            self._hidden.add(value)

    def _read(self, name: str, place: Place) -> str | None:
        text = self._put_in(name, place.at("file"))
        if text is None:
            return None
        path = Path(place.file).parent / text
        try:
            with path.open("rb") as file:
                content = file.read(MAX_SECRET + 1)
            if len(content) > MAX_SECRET:
                raise ValueError(f"it has more than {MAX_SECRET} bytes")
            value = content.decode("utf-8").rstrip("\r\n")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            self._problems.add(place.at("file"), f"cannot read {str(path)!r}: {reason}")
            return None
        self._hide(value)
        return value


def number_of(text: str) -> Any:
    """Return the number or truth value that *text* is, or else the text.

    >>> number_of("514"), number_of("0.5"), number_of("true"), number_of("local3")
    (514, 0.5, True, 'local3')
    """
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text

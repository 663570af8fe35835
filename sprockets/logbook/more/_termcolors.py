r"""Colours of terminals: their names and their codes.

>>> colorize("red", "An error")
'\x1b[31;01mAn error\x1b[39;49;00m'
"""

from typing import Final

__all__ = ["codes", "colorize"]

_DARK: Final = "black darkred darkgreen brown darkblue purple teal lightgray"
_LIGHT: Final = "darkgray red green yellow blue fuchsia turquoise white"


def _make_codes() -> dict[str, str]:
    found = {"": "", "reset": "\x1b[39;49;00m"}
    for number, (dark, light) in enumerate(
        zip(_DARK.split(), _LIGHT.split(), strict=True), start=30
    ):
        found[dark] = f"\x1b[{number}m"
        found[light] = f"\x1b[{number};01m"
    found["darkteal"] = found["turquoise"]
    found["darkyellow"] = found["brown"]
    found["fuscia"] = found["fuchsia"]
    return found


codes: dict[str, str] = _make_codes()
"""What begins a colour, by name; ``reset`` ends them all."""


def colorize(color_key: str, text: str) -> str:
    """Return *text* in a colour.

    Args:
        color_key: A name in :data:`codes`.
        text: Anything.

    Raises:
        KeyError: There is no such colour.
    """
    return f"{codes[color_key]}{text}{codes['reset']}"

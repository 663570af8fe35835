"""The page about running a service names every option, and says of it what the code says."""

import re
from pathlib import Path

from sprockets import commands
from sprockets.http._settings import FIELDS, variable_of

HOWTO = Path(__file__).resolve().parents[2] / "docs" / "howto"
PAGE = (HOWTO / "running.rst").read_text("utf-8")


def _row(name: str) -> str:
    """Return the lines that the table has for the option *name*."""
    default = FIELDS[name].default
    if default is None:
        shown = "none"
    elif isinstance(default, bool):
        shown = f"``{str(default).lower()}``"
    else:
        shown = f"``{default:g}``" if isinstance(default, float) else f"``{default}``"
    variable = "none" if name == "ssl_options" else f"``{variable_of(name)}``"
    cells = [f"``{name}``", variable, shown, FIELDS[name].metadata["help"]]
    return "".join(
        f"   {'* ' if index == 0 else '  '}- {cell}\n" for index, cell in enumerate(cells)
    )


def test_the_table_of_options_is_that_of_the_code():
    """Every option with its variable, its default and its help, in the same order."""
    wanted = "".join(map(_row, FIELDS))

    assert wanted in PAGE, f"put this into docs/howto/running.rst:\n{wanted}"


def test_the_pages_name_no_option_that_does_not_exist():
    """A variable ``SPROCKETS_...`` anywhere in the guides is that of an option, or a command's."""
    known = {variable_of(name) for name in FIELDS}
    for module in Path(commands.__file__).parent.glob("*.py"):
        known.update(re.findall(r'"(SPROCKETS_[A-Z_]+)"', module.read_text("utf-8")))
    text = "\n".join(page.read_text("utf-8") for page in HOWTO.glob("*.rst"))

    assert set(re.findall(r"\bSPROCKETS_[A-Z_]+\b", text)) - known == set()

"""Every public name is in the reference, and every page of the reference is in its index.

A name is told by a directive of autodoc (by itself, or with its module), by ``py:data``, or, where
there is no docstring to take over, as a literal on a page.
"""

import ast
import importlib
import itertools
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from sprockets.commands._registry import COMMANDS
from sprockets.http import _command
from sprockets.logbook import JSONFormatter
from tests.docs.walking import directives_of

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"
PAGES = sorted(REFERENCE.rglob("*.rst"))
TEXT = "\n".join(page.read_text("utf-8") for page in PAGES)


def _modules() -> Iterator[str]:
    for package in ("commands", "eliot", "http", "logbook", "tickets"):
        name = f"sprockets.{package}"
        yield name
        for found in pkgutil.walk_packages(importlib.import_module(name).__path__, f"{name}."):
            if not any(part.startswith("_") for part in found.name.split(".")):
                yield found.name


MODULES = sorted(_modules())


def _has_docstring(value: object) -> bool:
    return isinstance(value, type) or (callable(value) and bool(value.__doc__))


@cache
def _described(module: str) -> frozenset[str]:
    """Return the variables of a module that a text stands below."""
    path = importlib.import_module(module).__file__
    body = ast.parse(Path(path or "").read_text("utf-8")).body
    return frozenset(
        target.id
        for statement, text in itertools.pairwise(body)
        if isinstance(statement, ast.Assign | ast.AnnAssign)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        for target in (
            statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        )
        if isinstance(target, ast.Name)
    )


@cache
def _documented() -> frozenset[str]:
    """Return the full names that directives tell of, with all names the same objects have."""
    names = set()
    for page in PAGES:
        for kind, argument, options in directives_of(page):
            if kind == "automodule" and "members" in options:
                module = importlib.import_module(argument)
                chosen = options["members"].replace(",", " ").split() or getattr(
                    module, "__all__", dir(module)
                )
                left_out = options.get("exclude-members", "").replace(",", " ").split()
                names.update(
                    f"{argument}.{name}"
                    for name in set(chosen) - set(left_out)
                    if name in _described(argument) or _has_docstring(getattr(module, name))
                )
            elif kind in ("autoclass", "autofunction", "autoexception", "autodata", "py:data"):
                names.add(argument)
    return frozenset(names)


def _texts_about(module: str) -> str:
    """Return the pages that speak of *module*."""
    texts = [page.read_text("utf-8") for page in PAGES]
    return "\n".join(text for text in texts if re.search(rf"{re.escape(module)}(?!\w|\.\w)", text))


@cache
def _objects() -> frozenset[int]:
    """Return the identities of what is documented, under whatever name."""
    found = set()
    for full in _documented():
        module, _, name = full.rpartition(".")
        value = getattr(importlib.import_module(module), name, None)
        if _has_docstring(value):
            found.add(id(value))
    return frozenset(found)


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_in_the_reference(module: str):
    """As itself, as the same thing under another name, or as a word on the page of its module."""
    home = importlib.import_module(module)

    missing = [
        name
        for name in getattr(home, "__all__", ())
        if f"{module}.{name}" not in _documented()
        and id(getattr(home, name)) not in _objects()
        and not re.search(rf"``{name}``", _texts_about(module))
    ]

    assert missing == []


@pytest.mark.parametrize("module", [each for each in MODULES if "commands" not in each])
def test_every_public_module_has_a_place_in_the_reference(module: str):
    """A page of its own, or a word on another's."""
    named = set(re.findall(r"``(sprockets[\w.]+)``|automodule:: (\S+)", TEXT))

    assert module in {name for pair in named for name in pair}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_page_of_the_reference_is_in_its_index(page: Path):
    """Else nobody finds it."""
    listed = re.findall(r"^   (\S+)$", (REFERENCE / "index.rst").read_text("utf-8"), re.MULTILINE)

    assert page.stem in {*listed, "index"}


def test_every_command_is_on_the_page_of_commands():
    """With what its ``--help`` says, which is asked for when the page is built."""
    shown = {
        argument
        for kind, argument, _ in directives_of(REFERENCE / "commands.rst")
        if kind == "command-help"
    }

    command = [sys.executable, "-P", "-m", "sprockets.commands", "tickets", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    words = done.stdout.partition("words:")[2]
    wanted = {f"sprockets {name}" for name in COMMANDS}
    wanted |= {
        f"sprockets tickets {word}" for word in re.findall(r"^  (\w+)  ", words, re.MULTILINE)
    }
    assert wanted - shown == set()


def test_the_page_of_settings_names_what_the_application_is_asked_for():
    """Every key that the sources look up in an application's settings, and no other."""
    http = Path(_command.__file__).parent
    sources = "\n".join(path.read_text("utf-8") for path in http.glob("*.py"))
    asked = set(re.findall(r"\bsettings\.get\(\"(\w+)\"", sources))
    page = (REFERENCE / "settings.rst").read_text("utf-8")
    table = page.partition("Of the application")[2].partition("\n\n\n")[0]

    shown = set(re.findall(r"^   \* - ``(\w+)``", table, re.MULTILINE))

    assert asked - shown - {"debug", "xheaders", "max_body_size", "max_buffer_size"} == set()
    assert [name for name in sorted(shown) if f'"{name}"' not in sources] == []


def test_the_table_of_fields_is_that_of_the_lines():
    """Every field of a line of JSON, in its order."""
    page = (REFERENCE / "record-fields.rst").read_text("utf-8").partition("In ``extra``")[0]

    rows = re.findall(r"^   \* - (``.*)$", page, re.MULTILINE)

    assert re.findall(r"``(\w+)``", " ".join(rows)) == list(JSONFormatter().fields)

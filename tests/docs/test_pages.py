"""The pages keep up with the code."""

import importlib
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
REFERENCE = "\n".join(page.read_text("utf-8") for page in sorted(DOCS.glob("reference/*.rst")))
ARCHITECTURE = (DOCS / "architecture.rst").read_text("utf-8")


@pytest.mark.parametrize(
    "name", sorted(set(re.findall(r"``(sprockets(?:\.\w+)+)``", ARCHITECTURE)))
)
def test_every_module_the_architecture_names_is_there(name: str):
    """The page about the way of a record speaks of modules that exist."""
    assert importlib.import_module(name).__doc__


@pytest.mark.parametrize("module", ["base", "handlers"])
def test_the_reference_names_every_public_name(module: str):
    """What a door exports is documented, here or with the whole package."""
    names = set(importlib.import_module(f"sprockets.logbook.{module}").__all__)
    package = set(importlib.import_module("sprockets.logbook").__all__)

    missing = {name for name in names - package if not re.search(rf"\b{name}\b", REFERENCE)}

    assert missing == set()


def test_every_page_is_in_a_table_of_contents():
    """No page of decisions or guides is forgotten: each is numbered or listed."""
    listed = "\n".join(page.read_text("utf-8") for page in DOCS.rglob("index.rst"))
    pages = [page for page in DOCS.rglob("*.rst") if "_build" not in page.parts]

    missing = [
        page.name
        for page in pages
        if page.stem != "index"
        and page.parent.name != "decisions"
        and not re.search(rf"^   (\.\./)?{re.escape(page.stem)}$", listed, re.MULTILINE)
    ]

    assert missing == []

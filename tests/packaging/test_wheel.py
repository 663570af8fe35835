"""The wheel holds what it should, and nothing else."""

import email
import os
import shutil
import subprocess
import sys
import zipfile
from email.message import Message
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("_support", "commands", "eliot", "http", "logbook", "tickets")


@pytest.fixture(name="wheel", scope="module")
def _wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel that SPROCKETS_WHEEL names, or one built from a copy of the sources."""
    if given := os.environ.get("SPROCKETS_WHEEL"):
        return zipfile.ZipFile(given)
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(
        ROOT / "sprockets",
        folder / "source" / "sprockets",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    shutil.copytree(ROOT / "requirements", folder / "source" / "requirements")
    shutil.copytree(
        ROOT / "tests", folder / "source" / "tests", ignore=shutil.ignore_patterns("__pycache__")
    )
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source" / name)
    # Without isolation nothing is fetched; testing.txt brings a setuptools that can build.
    subprocess.run(
        [
            *(sys.executable, "-P", "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), "."),
        ],
        cwd=folder / "source",
        check=True,
        capture_output=True,
        timeout=120,
    )
    return zipfile.ZipFile(next(folder.glob("*.whl")))


@pytest.fixture(name="names", scope="module")
def _names(wheel: zipfile.ZipFile) -> list[str]:
    return wheel.namelist()


@pytest.fixture(name="metadata", scope="module")
def _metadata(wheel: zipfile.ZipFile, names: list[str]) -> Message:
    path = next(name for name in names if name.endswith(".dist-info/METADATA"))
    return email.message_from_bytes(wheel.read(path))


def test_the_namespace_stays_open(names: list[str]):
    """Nothing in the wheel claims the name `sprockets` for itself."""
    assert "sprockets/__init__.py" not in names
    assert not [name for name in names if name.endswith("-nspkg.pth")]


def test_only_our_packages_are_in_it(names: list[str]):
    """No tests, no docs, no tools: what is installed is what is used."""
    rooms = {name.split("/")[1] for name in names if name.startswith("sprockets/")}
    others = {name.split("/")[0] for name in names if not name.startswith("sprockets/")}

    assert rooms == set(PACKAGES)
    assert [other.endswith(".dist-info") for other in others] == [True]


def test_every_module_is_in_it(names: list[str]):
    """No module is forgotten, in whatever subpackage."""
    sources = ROOT / "sprockets"
    if not sources.is_dir():
        pytest.skip("the tests run without the sources")

    expected = {path.relative_to(ROOT).as_posix() for path in sources.rglob("*.py")}

    assert {name for name in names if name.endswith(".py")} == expected


@pytest.mark.parametrize("package", PACKAGES)
def test_type_checkers_may_read_the_annotations(names: list[str], package: str):
    """Each package says that it is typed."""
    assert f"sprockets/{package}/py.typed" in names


def test_the_licence_is_named_and_there(names: list[str], metadata: Message):
    """The licence is an SPDX expression, and its text comes along."""
    assert metadata["License-Expression"] == "BSD-3-Clause"
    assert [name for name in names if name.endswith("/LICENSE")]


def test_it_needs_what_the_requirements_say(metadata: Message):
    """The requirements file is the one place that says what is installed always."""
    needed = {
        line.strip()
        for line in (ROOT / "requirements/installation.txt").read_text("utf-8").splitlines()
        if line.strip() and not line.startswith("#")
    }

    always = {line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line}
    assert always == needed
    assert metadata["Requires-Python"] == ">=3.11"

"""The example of a library is quiet until its program asks for more."""

import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).resolve().parents[2] / "examples" / "library" / "tea_party.py"


def run(*arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", str(PROGRAM), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_a_library_says_only_what_matters():
    """Its own warning; nothing of the library below it, which warns all the time."""
    assert run() == [
        "WARNING teapot.brewing: 6 cups asked for, 4 there",
        "4 cups at 96.5 degrees",
    ]


def test_a_program_may_ask_for_more():
    """The group takes the level for all loggers of the library."""
    assert run("--verbose") == [
        "DEBUG   teapot.measuring: 96.5 degrees",
        "DEBUG   teapot.brewing: asked for 6 cups",
        "WARNING teapot.brewing: 6 cups asked for, 4 there",
        "4 cups at 96.5 degrees",
    ]

"""The tables on the pages about peers are those that were measured."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs").glob("comparison*.rst"))


def test_the_tables_are_what_the_benchmarks_print():
    """From the figures that are kept beside them."""
    done = subprocess.run(
        [sys.executable, "-P", str(ROOT / "benchmarks/pages.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.stdout, done.returncode) == ("", 0), "run: python -P benchmarks/pages.py"


def test_every_result_is_on_a_page():
    """Nothing is measured and then not told."""
    text = "".join(page.read_text("utf-8") for page in PAGES)
    kept = {path.stem for path in (ROOT / "benchmarks/results").glob("*.json")}

    assert kept == set(re.findall(r"^\.\. table: (\w+)$", text, re.MULTILINE))


def test_a_command_that_is_told_exists():
    """Whatever a page says to run is there, with the options that it says."""
    for page in PAGES:
        for program in re.findall(r"python -P (benchmarks/\S+\.py)", page.read_text("utf-8")):
            assert (ROOT / program).is_file(), (page.name, program)


@pytest.mark.parametrize("name", ["logging", "actions", "delivery", "queues", "losses"])
def test_a_result_says_on_what_it_was_measured(name: str):
    """Python, machine, processors, and how busy it was."""
    document = json.loads((ROOT / f"benchmarks/results/{name}.json").read_text("utf-8"))

    assert {"python", "machine", "processors", "load"} <= set(document)


def test_in_trouble_we_lose_nothing_but_what_the_page_explains():
    """A kill takes what is in memory, with us as with others; everything else is good."""
    document = json.loads((ROOT / "benchmarks/results/losses.json").read_text("utf-8"))

    bad = {row for row, found in document["cells"].items() if not found["ours"]["good"]}

    assert bad == {"kill-thread"}


def test_the_driver_does_to_a_library_what_it_says(tmp_path: Path):
    """In a process of its own; a line break is one line here, and two there."""
    kept = tmp_path / "losses.json"
    command = [sys.executable, "-P", str(ROOT / "benchmarks/losses.py"), "--json", str(kept)]

    subprocess.run(
        [*command, "--only", "line-break", "--libraries", "ours", "stdlib"],
        capture_output=True,
        check=True,
    )

    cells = json.loads(kept.read_text("utf-8"))["cells"]["line-break"]
    assert cells == {
        "ours": {"text": "1 line", "good": True},
        "stdlib": {"text": "2 lines, raw escapes", "good": False},
    }

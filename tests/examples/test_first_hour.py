"""The examples for the first hour show what they say."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run(name: str, folder: Path) -> str:
    """Start an example as its reader would, and return what it said."""
    result = subprocess.run(
        [sys.executable, "-P", str(EXAMPLES / name)],
        cwd=folder,
        env={
            **{key: value for key, value in os.environ.items() if "COLOR" not in key},
            "PYTHONWARNINGS": "error",
            "PYTHONIOENCODING": "utf-8",
        },
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def test_the_first_hour_has_lines_details_of_failures_and_one_ticket(tmp_path: Path):
    """Debug records are there for the customers that failed, and for nobody else."""
    pytest.importorskip("sqlalchemy")

    out = run("first_hour.py", tmp_path)

    lines = re.findall(
        r"^[\d:.]+ (\w+) +\w+: .*  request_id=[0-9a-f]{32} customer=(\d)$", out, re.MULTILINE
    )
    assert lines == [
        ("INFO", "1"),
        ("INFO", "2"),
        *[("DEBUG", "3"), ("DEBUG", "3"), ("ERROR", "3")],
        ("INFO", "4"),
        ("INFO", "5"),
        *[("DEBUG", "6"), ("DEBUG", "6"), ("ERROR", "6")],
    ]
    assert out.count("LookupError: no customer") == 2
    assert "  INFO    1 sold tea to customer 1\n" in out
    assert "  2 times: ERROR of shop\n" in out
    assert "sprockets tickets sqlite:///" in out
    assert list(tmp_path.iterdir()) == []


def test_requests_of_a_plain_application_can_be_followed(tmp_path: Path):
    """Their ids are in the records and in the answers; one has failed and says more."""
    out = run("wsgi_app.py", tmp_path)

    assert re.sub(r"(?m)^\d\d:\d\d:\d\d\.\d{3} ", "", out).splitlines() == [
        "INFO     shop: sold  request_id=from-the-proxy method=GET path=/tea",
        "200, X-Request-Id: from-the-proxy",
        "WARNING  driver: no such shelf  request_id=another-one method=GET path=/coffee",
        "DEBUG    shop: looking at the shelf  request_id=another-one method=GET path=/coffee",
        "503, X-Request-Id: another-one",
    ]

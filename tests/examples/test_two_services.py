"""The two services of the examples are one tree, as the page about them shows it."""

import json
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.http.serving.driver import Service, request

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "howto" / "across-services.rst").read_text("utf-8")


README = (ROOT / "README.md").read_text("utf-8")


def shown_trees():
    """Return the trees that the page and the README show."""
    found = []
    for text, end, indent in ((PAGE, "\n\n", 4), (README, "\n```", 0)):
        block = text.partition("$ sprockets tree")[2].partition("\n")[2]
        found.append("\n".join(line[indent:] for line in block.partition(end)[0].split("\n")))
    return found


def neutral(text):
    """Return *text* without what differs each time."""
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID", text)
    text = re.sub(r"\b[0-9a-f]{32}\b", "ID", text)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+", "MOMENT", text)
    text = re.sub(r"127\.0\.0\.1:\d+", "HOST", text)
    text = re.sub(r"(?m)^\d+\.\d+ +", "0.0 ", text)
    text = re.sub(r"[\d.]+ [mµ]?s\b", "TIME", text)
    # It is shown where it differs from the time between start and end.
    text = re.sub(r"(\n[ │]+|  )→ duration=[\d.e-]+", "", text)
    # How wide the column of times is.
    return re.sub(r"(?m)^ +", "  ", text)


@pytest.fixture(name="services")
def _services(tmp_path):
    """Both services, with logs of their own; buys tea and scones."""
    with ExitStack() as stack:

        def start(name, *arguments):
            command = [sys.executable, "-P", str(ROOT / "examples" / f"{name}.py")]
            return stack.enter_context(
                Service([*command, "--port", "{port}", *arguments], cwd=tmp_path)
            )

        warehouse = start("warehouse")
        storefront = start("storefront", "--warehouse", f"http://127.0.0.1:{warehouse.address}")
        answers = [
            request(storefront.address, f"/buy/{item}", method="POST", body=b"")
            for item in ("tea", "scones")
        ]
        yield storefront, warehouse, answers


def logs_of(services, folder):
    paths = []
    for service in services:
        path = folder / f"{len(paths)}.log"
        path.write_text(
            "".join(line for line in service.output().splitlines(True) if line[0] == "{")
        )
        paths.append(str(path))
    return paths


def tree(*arguments):
    command = [sys.executable, "-P", "-m", "sprockets.commands", "tree", "--width", "100"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip("\n")


def test_a_request_is_one_tree_through_both(services, tmp_path):
    """It looks as the page says, and the id in an error document finds it."""
    storefront, warehouse, (sold, refused) = services
    assert (sold.status, json.loads(sold.body)) == (200, {"sold": "tea", "left": 11})
    assert refused.status == 502
    paths = logs_of((storefront, warehouse), tmp_path)

    request_id = sold.headers["x-request-id"]
    drawn = neutral(tree("--request", request_id, *paths))
    for shown in shown_trees():
        assert drawn == neutral(shown)

    failed = tree("--request", json.loads(refused.body)["request_id"], "--status", "failed", *paths)
    assert "http:client POST" in failed
    assert "LookupError: the shelf for scones is empty" in failed
    assert "tea" not in failed

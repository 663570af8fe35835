"""A guide for those who come from a library that is not installed is passed over."""

from importlib.util import find_spec
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
PEERS = ["eliot", "logbook", "loguru", "structlog"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        peer = item.path.stem.removeprefix("from-")
        if item.path.parent == FOLDER and peer in PEERS and find_spec(peer) is None:
            item.add_marker(pytest.mark.skip(reason=f"needs {peer}"))

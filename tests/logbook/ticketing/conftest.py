"""What the tests of tickets share: modules beside the tests can be imported as `tests.…`."""

import sys
from pathlib import Path

import pytest

ROOT = str(Path(__file__).parents[3])
if ROOT not in sys.path:
    # Last: what is tested is what is installed.
    sys.path.append(ROOT)

pytest.register_assert_rewrite(
    "tests.logbook.ticketing.contract", "tests.logbook.ticketing.walking"
)

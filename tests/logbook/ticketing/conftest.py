"""What the tests of tickets share: modules beside the tests can be imported as `tests.…`."""

import sys
from pathlib import Path

ROOT = str(Path(__file__).parents[3])
if ROOT not in sys.path:
    # Last: what is tested is what is installed.
    sys.path.append(ROOT)

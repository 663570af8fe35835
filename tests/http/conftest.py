"""What the tests of the service share: they import the driver from here."""

import sys
from pathlib import Path

ROOT = str(Path(__file__).resolve().parents[2])
if ROOT not in sys.path:
    # At the end of the path it shadows nothing.
    sys.path.append(ROOT)

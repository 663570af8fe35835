"""A program that uses the library: it decides what is heard of it, and where.

Run it with ``python -P examples/library/tea_party.py``; it ends by itself.
"""

import argparse
import sys
from pathlib import Path

# The library lies beside; an installed one needs no such line.
sys.path.append(str(Path(__file__).parent))

import teapot

from sprockets.logbook import StreamHandler

LAYOUT = "{record.level_name:<7} {record.channel}: {record.message}"


def main() -> None:
    """Make tea."""
    parser = argparse.ArgumentParser(description="Make tea.")
    parser.add_argument("--verbose", action="store_true", help="show what the library says")
    arguments = parser.parse_args()
    if arguments.verbose:
        teapot.logs.level = "DEBUG"
    with StreamHandler(sys.stdout, format_string=LAYOUT).applicationbound():
        degrees = teapot.measure_quietly()
        cups = teapot.Pot(size=4).brew(6)
    print(f"{cups} cups at {degrees} degrees")


if __name__ == "__main__":
    main()

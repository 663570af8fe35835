"""Put the tables that were measured into the pages about peers.

Usage: ``python -P benchmarks/pages.py [--check]``

A page has a table between the lines ``.. table: NAME`` and ``.. end of table``.  What the command
of that name prints of the figures that are kept takes the place of what is there; ``--check`` only
says which pages are out of date.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = "benchmarks/results"
COMMANDS = {
    "logging": ["benchmarks/run.py", "--json", f"{RESULTS}/logging.json"],
    "actions": ["benchmarks/actions.py", "--json", f"{RESULTS}/actions.json"],
    "delivery": ["benchmarks/delivery.py", "--json", f"{RESULTS}/delivery.json"],
    "queues": ["benchmarks/queues.py", "--json", f"{RESULTS}/queues.json"],
    "losses": ["benchmarks/losses.py", "--json", f"{RESULTS}/losses.json"],
}
_TABLE = re.compile(r"^\.\. table: (\w+)\n\n.*?^\.\. end of table$", re.MULTILINE | re.DOTALL)


def printed(name: str) -> str:
    """Return what the command of that name prints of its figures."""
    command = [sys.executable, "-P", *COMMANDS[name], "--show", "--format", "rst"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def renewed(page: str) -> str:
    """Return the text of a page with the tables of today."""
    return _TABLE.sub(
        lambda found: f".. table: {found[1]}\n\n{printed(found[1])}\n\n.. end of table", page
    )


def main() -> None:
    """Write the pages, or say what is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if needed")
    options = parser.parse_args()
    stale = []
    for path in sorted((ROOT / "docs").glob("comparison*.rst")):
        before = path.read_text(encoding="utf-8")
        after = renewed(before)
        if after != before:
            stale.append(path.name)
            if not options.check:
                path.write_text(after, encoding="utf-8")
    for name in stale:
        print(f"{name}: {'out of date' if options.check else 'written'}")
    if stale and options.check:
        raise SystemExit(1)


if __name__ == "__main__":
    main()

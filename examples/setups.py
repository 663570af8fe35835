"""Set-ups from a file: handlers by name, checked before they are used, exchanged while it runs.

Run it with ``python -P examples/setups.py``.  It needs nothing but the library, reads
``logging.toml`` beside it, writes into a temporary folder, and ends by itself.
"""

import logging
import sys
import tempfile
from pathlib import Path

from sprockets.logbook import Logger
from sprockets.logbook.setups import SetupError, check, load, probe

FILE = Path(__file__).with_name("logging.toml")

shop = Logger("shop")
payments = Logger("payments.cards")


def sell() -> None:
    """Log what a program logs."""
    shop.debug("nobody asked for this")
    shop.info("sold {} for {}", "tea", 4)
    payments.debug("asking the bank")
    payments.error("no answer")
    logging.getLogger("driver").warning("%d retries", 3)


def main(folder: Path) -> None:
    """Show it."""
    print("1. What is wrong in a file is told at once, before anything is opened:\n")
    broken = folder / "broken.toml"
    broken.write_text('[setups.one]\nhandlers = ["consle"]\n[handlers.console]\nclass = "strem"\n')
    for problem in check(broken):
        print(f"   {problem.table}.{problem.key}: {problem.text.partition(' known:')[0]}")
    print(f"   {FILE.name} has {len(check(FILE))} problems")

    print("\n2. Bound, it is the program's; the console has what is worth a person's time:\n")
    sys.stdout.flush()
    copy = folder / "logging.toml"
    copy.write_text(FILE.read_text("utf-8"), "utf-8")
    setup = load(copy, "production", environ={"SHOP_FOLDER": str(folder)})
    with setup.applicationbound():
        sell()

        print("\n3. Another file in its place, with no record lost, and a broken one refused:\n")
        copy.write_text(copy.read_text("utf-8").replace('level = "notice"', 'level = "info"'))
        setup.reload()
        shop.info("the console has this now")
        copy.write_text("[setups", "utf-8")
        try:
            setup.reload()
        except SetupError as error:
            print(f"   {error.consequence}")

        print("\n4. Does a record arrive?\n")
        found = probe(setup.handlers["details"])
        print(f"   details: {found.handler}, {found.detail}")
    setup.close()

    print("\n5. The files have the rest:\n")
    for name in ("shop.jsonl", "errors.log"):
        print((folder / name).read_text("utf-8"))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        main(Path(name))

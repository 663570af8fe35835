"""The first hour: a console, JSON, one request followed, and its failures counted as tickets.

Run it with ``python -P examples/first_hour.py``.  For the tickets it needs SQLAlchemy (``pip
install 'sprockets.http[sqlalchemy]'``); it writes into a temporary folder, and ends by itself.
"""

import json
import logging
import sys
import tempfile
from pathlib import Path

from sprockets.logbook import Logger, setups
from sprockets.logbook.ticketing import SQLAlchemyBackend

log = Logger("shop")
driver = logging.getLogger("driver")


def sell(number: int) -> None:
    """Sell something, which goes wrong for every third customer."""
    log.debug("looking for customer {}", number)
    driver.debug("SELECT name FROM customers WHERE id = %d", number)
    if number % 3 == 0:
        raise LookupError(f"no customer {number}")
    log.info("sold tea to customer {}", number)


def main(folder: Path) -> None:
    """Show it."""
    lines, store = folder / "shop.jsonl", f"sqlite:///{folder / 'tickets.sqlite'}"
    setup = setups.all_of(
        setups.console(stream=sys.stdout),
        setups.json_lines(lines),
        setups.tickets(store, app="shop"),
    )
    with setup.applicationbound():
        for number in range(1, 7):
            # What was looked up is of no interest, unless it fails.
            with setups.request(customer=number):
                try:
                    sell(number)
                except LookupError:
                    log.exception("the sale failed")
    setup.close()

    print("\nshop.jsonl has the same for programs:")
    for line in lines.read_text("utf-8").splitlines()[:2]:
        record = json.loads(line)
        print(f"  {record['level_name']:7} {record['extra']['customer']} {record['message']}")

    print("\nand what failed is one ticket:")
    tickets = SQLAlchemyBackend(uri=store)
    for ticket in tickets.get_tickets():
        print(f"  {ticket.occurrence_count} times: {ticket.level_name} of {ticket.channel}")
    tickets.close()
    print(f"\nLook at such a store with: sprockets tickets {store}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        main(Path(name))

"""Takes the pictures of the documentation: ``python -m tests.tickets.pages.screenshots FOLDER``."""

import base64
import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from sprockets.logbook.ticketing import SQLAlchemyBackend
from tests.tickets.pages import chromium, seeding
from tests.tickets.pages.serving import Served

# name, path, width, height, scheme; the ticket is that of an order that fails
PICTURES = (
    ("tickets-list-light", "/", 1280, 800, "light"),
    ("tickets-list-dark", "/", 1280, 800, "dark"),
    ("tickets-ticket-light", "/tickets/{order}", 1280, 1100, "light"),
    ("tickets-ticket-dark", "/tickets/{order}", 1280, 1100, "dark"),
    ("tickets-request-light", "/requests/{request}", 1280, 900, "light"),
    ("tickets-narrow", "/", 390, 844, "light"),
)


class _Shop:
    """A store that is told that the shop lies where shops do."""

    def __init__(self, store):
        self.store = store

    def record_entries(self, entries):
        def moved(text):
            return text and text.replace(seeding.__file__, "/srv/shop/orders.py").replace(
                seeding.__name__, "shop.orders"
            )

        return self.store.record_entries(
            [
                replace(
                    entry,
                    data=moved(entry.data),
                    leading=moved(entry.leading),
                    location=moved(entry.location),
                    module=moved(entry.module),
                )
                for entry in entries
            ]
        )


def main(folder):
    """Take all pictures."""
    with tempfile.TemporaryDirectory() as scratch:
        store = SQLAlchemyBackend(uri=f"sqlite:///{scratch}/tickets.db")
        now = datetime.now(UTC).replace(tzinfo=None)
        tickets = seeding.seed(_Shop(store), now)
        seeding.live(store, tickets)
        (entry,) = seeding.entries_of(seeding.mail_bounces)
        _Shop(store).record_entries([seeding.at(entry, now, "mail-again")])
        order = tickets["order_fails"]
        names = {
            "order": order,
            "request": store.get_ticket(order).last_occurrence.details.request_id,
        }
        served = Served(store, user=lambda request: "ann")
        driver = chromium.start(f"{scratch}/profile")
        try:
            for name, path, width, height, scheme in PICTURES:
                _take(driver, served.url + path.format(**names), width, height, scheme)
                picture = driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
                target = Path(folder, f"{name}.png")
                target.write_bytes(base64.b64decode(picture["data"]))
                print(target, target.stat().st_size)
        finally:
            driver.quit()
            served.close()
            store.close()


def _take(driver, url, width, height, scheme):
    driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    driver.get(url)
    driver.execute_async_script("document.fonts.ready.then(arguments[0])")


if __name__ == "__main__":
    main(sys.argv[1])

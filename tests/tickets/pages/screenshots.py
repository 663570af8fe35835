"""Takes the pictures of the documentation: ``python -m tests.tickets.pages.screenshots FOLDER``."""

import base64
import struct
import sys
import tempfile
import zlib
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from sprockets.logbook.ticketing import SQLAlchemyBackend
from tests.tickets.pages import chromium, seeding
from tests.tickets.pages.serving import Served

# name, path, heights when wide and when narrow; the ticket is that of an order that fails
PAGES = (
    ("list", "/", 800, 844),
    ("ticket", "/tickets/{order}", 1100, 1000),
    ("request", "/requests/{request}", 900, 1000),
)
WIDTHS = (("", 1280), ("-narrow", 390))
SCHEMES = ("light", "dark")


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
            for name, path, *heights in PAGES:
                driver.get(served.url + path.format(**names))
                driver.execute_async_script("document.fonts.ready.then(arguments[0])")
                for (suffix, width), height in zip(WIDTHS, heights, strict=True):
                    for scheme in SCHEMES:
                        chromium.look(driver, (width, height), scheme, "reduce")
                        target = Path(folder, f"tickets-{name}{suffix}-{scheme}.png")
                        target.write_bytes(_picture_of(driver))
                        print(target, target.stat().st_size)
        finally:
            driver.quit()
            served.close()
            store.close()


def _picture_of(driver):
    driver.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    found = driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
    return smaller(base64.b64decode(found["data"]))


def smaller(png):
    """Return the picture *png* with 256 colours: fewer bytes, as many pixels.

    Others become the nearest of these, which nobody sees: they are the edges of letters.
    """
    width, height, rows = _read(png)
    counts = Counter(row[at : at + 3] for row in rows for at in range(0, len(row), 3))
    palette = _palette_of(counts)
    places = {colour: index for index, colour in enumerate(palette)}
    for colour in counts.keys() - places.keys():
        places[colour] = min(range(len(palette)), key=lambda at: _distance(palette[at], colour))
    lines = [
        b"\0" + bytes(places[row[at : at + 3]] for at in range(0, len(row), 3)) for row in rows
    ]
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    chunks = (
        (b"IHDR", header),
        (b"PLTE", b"".join(palette)),
        (b"IDAT", zlib.compress(b"".join(lines), 9)),
        (b"IEND", b""),
    )
    return _SIGNATURE + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def _palette_of(counts):
    """Return the most frequent colours, but first one of each kind: a sign may have few pixels."""
    ordered = [colour for colour, _ in counts.most_common()]
    found = []
    for colour in ordered:
        if len(found) < 200 and all(_distance(colour, other) > 600 for other in found):
            found.append(colour)
    known = set(found)
    rest = [colour for colour in ordered if colour not in known]
    return found + rest[: 256 - len(found)]


def _distance(one, other):
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))


def _read(png):
    """Return width, height and rows of three bytes a pixel of what Chromium has drawn."""
    at, data, header = len(_SIGNATURE), b"", ()
    while at < len(png):
        length, name = struct.unpack_from(">I4s", png, at)
        content = png[at + 8 : at + 8 + length]
        if name == b"IHDR":
            header = struct.unpack(">IIBBBBB", content)
        elif name == b"IDAT":
            data += content
        at += 12 + length
    width, height, depth, kind, *_ = header
    assert (depth, kind) in ((8, 2), (8, 6)), "of another kind"
    size = 3 if kind == 2 else 4
    raw, stride, before, rows = zlib.decompress(data), width * size, bytearray(width * size), []
    for number in range(height):
        start = number * (stride + 1)
        line = bytearray(raw[start + 1 : start + 1 + stride])
        _undo(raw[start], line, before, size)
        before = line
        pixels = (bytes(line[index : index + 3]) for index in range(0, stride, size))
        rows.append(bytes(line) if size == 3 else b"".join(pixels))
    return width, height, rows


def _undo(kind, line, before, size):
    """Undo the filter of a line.  Source: PNG, section 9.2."""
    if not kind:
        return
    for at in range(len(line)):
        left = line[at - size] if at >= size else 0
        up = before[at]
        if kind == 4:
            corner = before[at - size] if at >= size else 0
            best = min((left, up, corner), key=lambda one: abs(left + up - corner - one))
        else:
            best = (0, left, up, (left + up) // 2)[kind]
        line[at] = (line[at] + best) & 0xFF


_SIGNATURE = b"\x89PNG\r\n\x1a\n"

if __name__ == "__main__":
    main(sys.argv[1])

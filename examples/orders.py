"""A service that takes orders: a JSON API, a database, a background task, a bank that is down.

What fails is counted, and shown at ``/tickets``.

Run it with ``make demo`` or ``python -P examples/orders.py``; it says what to try.  Ctrl-C ends it.
"""

import argparse
import asyncio
import os
import sqlite3
import sys
import tempfile
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sprockets.mixins.mediatype import content, transcoders
from tornado import web
from tornado.httpclient import AsyncHTTPClient, HTTPClientError
from tornado.ioloop import IOLoop

import sprockets.http
from sprockets import tickets
from sprockets.http import health
from sprockets.http.app import Application
from sprockets.http.logs import ConsoleFormatter
from sprockets.http.mixins import ErrorLogger, ErrorWriter, Problem
from sprockets.logbook import (
    ERROR,
    INFO,
    FingersCrossedHandler,
    Handler,
    JSONFormatter,
    Logger,
    LogRecord,
    StreamHandler,
)

log = Logger("orders")

STOCK = {"tea": 100, "coffee": 100, "scones": 3}
SCHEMA = """
CREATE TABLE IF NOT EXISTS items (name TEXT PRIMARY KEY, in_stock INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS orders (
    id INTEGER PRIMARY KEY, item TEXT NOT NULL, quantity INTEGER NOT NULL,
    ordered_at TEXT NOT NULL, shipped_at TEXT
);
"""


# -- the database; these functions wait for the disk, so handlers call them in a thread


class SoldOutError(Exception):
    """There is less of an item than somebody wants."""

    def __init__(self, left: int) -> None:
        super().__init__(f"{left} left")
        self.left = left


class Store:
    """Orders in an SQLite file, which any number of processes may use at once."""

    def __init__(self, path: str) -> None:
        self._path = path

    def create(self) -> None:
        """Make the tables, unless they are there."""
        with closing(self._connect()) as database, database:
            database.executescript(SCHEMA)
            database.executemany("INSERT OR IGNORE INTO items VALUES (?, ?)", STOCK.items())

    def add(self, item: str, quantity: int) -> dict[str, Any]:
        """Take an order."""
        with closing(self._connect()) as database, database:
            taken = database.execute(
                "UPDATE items SET in_stock = in_stock - ? WHERE name = ? AND in_stock >= ?",
                (quantity, item, quantity),
            )
            if not taken.rowcount:
                query = "SELECT in_stock FROM items WHERE name = ?"
                raise SoldOutError(database.execute(query, (item,)).fetchone()["in_stock"])
            log.debug("took {} {} from the stock", quantity, item)
            query = "INSERT INTO orders (item, quantity, ordered_at) VALUES (?, ?, ?) RETURNING *"
            return dict(database.execute(query, (item, quantity, now())).fetchone())

    def find(self, number: int) -> dict[str, Any] | None:
        """Return an order, or None if there is none of that number."""
        with closing(self._connect()) as database:
            log.debug("looking for order {}", number)
            row = database.execute("SELECT * FROM orders WHERE id = ?", (number,)).fetchone()
            return None if row is None else dict(row)

    def newest(self) -> list[dict[str, Any]]:
        """Return the newest orders."""
        with closing(self._connect()) as database:
            query = "SELECT * FROM orders ORDER BY id DESC LIMIT 100"
            return [dict(row) for row in database.execute(query)]

    def ship(self) -> list[int]:
        """Ship what was ordered a second ago, each order once, whoever asks."""
        with closing(self._connect()) as database, database:
            query = (
                "UPDATE orders SET shipped_at = ? WHERE shipped_at IS NULL AND ordered_at <= ?"
                " RETURNING id"
            )
            rows = database.execute(query, (now(), now(timedelta(seconds=-1)))).fetchall()
            return [row["id"] for row in rows]

    def _connect(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._path, timeout=5.0)
        database.row_factory = sqlite3.Row
        return database


def now(offset: timedelta = timedelta()) -> str:
    """Return the time as the API has it, which also sorts."""
    return f"{(datetime.now(UTC) + offset):%Y-%m-%dT%H:%M:%SZ}"


# -- the API


class OrdersHandler(content.ContentMixin, ErrorLogger, ErrorWriter, web.RequestHandler):
    """What all handlers have: negotiated content, a record and a document for each error."""

    async def call(self, method: Any, *args: Any) -> Any:
        """Call *method* in a thread; what it logs carries the request's id all the same."""
        return await IOLoop.current().run_in_executor(None, method, *args)

    @property
    def store(self) -> Store:
        """The orders."""
        return self.settings["store"]

    async def find(self, number: str) -> dict[str, Any]:
        """Return an order, or answer that there is none."""
        order = await self.call(self.store.find, int(number))
        if order is None:
            raise Problem(404, detail=f"There is no order {number}")
        return order


class Orders(OrdersHandler):
    """``/orders``."""

    async def get(self) -> None:
        """Show the newest."""
        self.send_response(await self.call(self.store.newest))

    async def post(self) -> None:
        """Take one more."""
        item, quantity = check_order(self.get_request_body())
        try:
            order = await self.call(self.store.add, item, quantity)
        except SoldOutError as error:
            detail = f"{error.left} left of {item}, {quantity} asked for"
            raise Problem(409, detail=detail, left=error.left) from error
        log.info("order {}: {} {}", order["id"], quantity, item)
        self.set_status(201)
        self.set_header("Location", f"/orders/{order['id']}")
        self.send_response(order)


def check_order(body: Any) -> tuple[str, int]:
    """Return what is ordered, or say all that is wrong with it."""
    errors = []
    item, quantity = (body.get("item"), body.get("quantity", 1)) if type(body) is dict else (0, 1)
    if not isinstance(item, str) or item not in STOCK:
        errors.append({"pointer": "#/item", "detail": f"must be one of {', '.join(STOCK)}"})
    if type(quantity) is not int or not 1 <= quantity <= 1000:
        errors.append({"pointer": "#/quantity", "detail": "must be from 1 to 1000"})
    if errors:
        detail = "; ".join(f"{each['pointer'][2:]} {each['detail']}" for each in errors)
        raise Problem(422, detail=detail, errors=errors)
    return item, quantity


class Order(OrdersHandler):
    """``/orders/7``."""

    async def get(self, number: str) -> None:
        """Show it."""
        self.send_response(await self.find(number))


class Payment(OrdersHandler):
    """``/orders/7/payment``: what the bank says, if it says anything."""

    is_logged_as_json = False

    @classmethod
    def request_setup(cls) -> FingersCrossedHandler:
        """Keep the debug records of each request back, and show them if it fails."""
        lines = StreamHandler(sys.stdout)
        lines.formatter = JSONFormatter(FIELDS) if cls.is_logged_as_json else ConsoleFormatter()
        return FingersCrossedHandler(lines, filter=is_kept)

    async def get(self, number: str) -> None:
        """Ask the bank."""
        order = await self.find(number)
        url = f"{self.settings['bank']}/payments/{order['id']}"
        log.debug("asking {}", url)
        try:
            answer = await AsyncHTTPClient().fetch(url, connect_timeout=1.0, request_timeout=2.0)
        except (HTTPClientError, OSError) as error:
            response = getattr(error, "response", None)
            wait = response.headers.get("Retry-After") if response else None
            self.set_header("Retry-After", wait or "30")
            raise Problem(502, detail="The bank does not answer; try again later") from error
        self.send_response({"order": order["id"], "bank": answer.body.decode()})


FIELDS = (
    *("time", "level", "level_name", "channel", "message", "extra"),
    *("process", "exception_name", "exception_message", "formatted_exception"),
)


def is_kept(record: LogRecord, handler: Handler) -> bool:
    """Keep debug records, which nobody else writes, and the error that brings them out."""
    return record.level < INFO or record.level >= ERROR


class Report(OrdersHandler):
    """``/report?seconds=3``: takes its time."""

    async def get(self) -> None:
        """Add up what was ordered, slowly."""
        try:
            seconds = float(self.get_query_argument("seconds", "3"))
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds <= 60:
            raise web.HTTPError(400, reason="Seconds Must Be From 0 To 60")
        await asyncio.sleep(seconds)
        totals = dict.fromkeys(STOCK, 0)
        for order in await self.call(self.store.newest):
            totals[order["item"]] += order["quantity"]
        self.send_response(totals)


# -- the background task


async def ship_orders(store: Store) -> None:
    """Ship what was ordered, once a second, until cancelled."""
    while True:
        try:
            for number in await IOLoop.current().run_in_executor(None, store.ship):
                log.info("shipped order {}", number)
        except sqlite3.Error:
            log.exception("cannot ship orders; trying again")
        await asyncio.sleep(1)


async def start_shipping(application: web.Application, loop: IOLoop) -> None:
    """Begin; a service is ready once its ``on_start`` callbacks have returned."""
    store = application.settings["store"]
    application.settings["shipping"] = asyncio.create_task(ship_orders(store))


async def stop_shipping(application: web.Application) -> None:
    """End, after the last request was answered."""
    task = application.settings.get("shipping")
    if task is not None:
        task.cancel()
        await asyncio.wait([task])
        log.info("shipping has stopped")


# -- the service


def make_app(*, database: str, store: str, **settings: Any) -> Application:
    """Make the application; this is called in each worker process."""
    routes = [
        (r"/orders", Orders),
        (r"/orders/(\d{1,9})", Order),
        (r"/orders/(\d{1,9})/payment", Payment),
        (r"/report", Report),
        *health.handlers(),
        *tickets.handlers("/tickets", store=store),
    ]
    application = Application(routes, store=Store(database), **settings)
    content.install(application, "application/json", "utf-8")
    content.add_transcoder(application, transcoders.JSONTranscoder())
    application.on_start_callbacks.append(start_shipping)
    application.on_shutdown_callbacks.append(stop_shipping)
    return application


INTRODUCTION = """\
Orders are taken at {url}/orders; Ctrl-C ends it.  Try, in another terminal:

curl -sw '\\n' {url}/orders -H 'Content-Type: application/json' -d '{{"item":"tea","quantity":2}}'
curl -sw '\\n' {url}/orders/7 -H 'Accept: application/problem+json'
curl -isw '\\n' {url}/orders/1/payment

What failed is at {url}/tickets, and what a request did at {url}/tickets/requests/ID.
"""


def main() -> None:
    """Serve until a signal says stop."""
    parser = argparse.ArgumentParser(description="Take orders.")
    parser.add_argument("--port", type=int, default=os.environ.get("PORT") or "8000")
    parser.add_argument("--address", default="127.0.0.1", help="where to listen (%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes (%(default)s)")
    parser.add_argument("--database", metavar="PATH", help="keep the orders in this file")
    parser.add_argument("--tickets", metavar="PATH", help="count what fails in this file")
    parser.add_argument("--bank", default="http://127.0.0.1:9", help="whom to ask for payments")
    parser.add_argument(
        "--log-format",
        choices=("console", "json", "structured"),
        default=os.environ.get("LOG_FORMAT") or "console",
    )
    arguments = parser.parse_args()
    Payment.is_logged_as_json = arguments.log_format.lower() == "json"

    # The parent's: it is there before the first worker, and goes after the last.
    with tempfile.TemporaryDirectory(prefix="orders-") as folder:
        database = arguments.database or str(Path(folder) / "orders.sqlite")
        Store(database).create()
        store = f"sqlite:///{arguments.tickets or Path(folder, 'tickets.sqlite')}"
        url = f"http://{arguments.address}:{arguments.port}"
        print(INTRODUCTION.format(url=url), flush=True)
        settings = {
            "address": arguments.address,
            "port": arguments.port,
            "number_of_procs": arguments.workers,
            "log_format": arguments.log_format,
            "tickets": store,
            "tickets_leading_level": "debug",
            # All others are keyword arguments of make_app.
            "database": database,
            "store": store,
            "bank": arguments.bank,
            "service": "orders",
            "version": "1.0",
        }
        try:
            sprockets.http.run(make_app, settings)
        except SystemExit as end:
            if end.code == 69:
                print(f"Port {arguments.port} cannot be had; choose another one with --port.")
            raise


if __name__ == "__main__":
    main()

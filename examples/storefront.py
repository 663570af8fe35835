"""A service that sells; it asks the warehouse for what it sells.

Run both, each into a log of its own, buy something, and see what happened:

    python -P examples/warehouse.py > warehouse.log &
    python -P examples/storefront.py > storefront.log &
    curl -X POST http://127.0.0.1:8000/buy/tea
    sprockets tree storefront.log warehouse.log
"""

import argparse
import sys

from tornado import web
from tornado.escape import json_decode
from tornado.httpclient import HTTPClientError

import sprockets.http
from sprockets.eliot import start_action
from sprockets.http.app import Application
from sprockets.http.client import fetch
from sprockets.http.mixins import ErrorLogger, ErrorWriter, Problem
from sprockets.logbook import JSONFormatter, Logger, StreamHandler

log = Logger("storefront")


class Buy(ErrorLogger, ErrorWriter, web.RequestHandler):
    """``POST /buy/tea`` buys one."""

    async def post(self, item: str) -> None:
        """Sell one, if the warehouse has it."""
        with start_action(action_type="storefront:sell", item=item):
            try:
                answer = await fetch(
                    f"{self.settings['warehouse']}/stock/{item}", method="POST", body=b""
                )
            except HTTPClientError as error:
                raise Problem(502, detail=f"We cannot get {item}") from error
            left = json_decode(answer.body)["left"]
            log.info("sold one {}", item)
        self.write({"sold": item, "left": left})


def make_handler() -> StreamHandler:
    """Log all there is, starts of actions too, as JSON lines."""
    handler = StreamHandler(sys.stdout, level="DEBUG")
    handler.formatter = JSONFormatter()
    return handler


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, default=8000, help="default: %(default)s")
    parser.add_argument("--warehouse", default="http://127.0.0.1:8001", help="default: %(default)s")
    arguments = parser.parse_args()

    def make_app(**settings: object) -> Application:
        return Application([(r"/buy/(\w+)", Buy)], warehouse=arguments.warehouse, **settings)

    sprockets.http.run(make_app, {"port": arguments.port, "number_of_procs": 1}, make_handler)


if __name__ == "__main__":
    main()

"""A service that knows what is in stock; the storefront beside it asks it.

Run it with ``python -P examples/warehouse.py > warehouse.log``.  Ctrl-C ends it.
"""

import argparse
import sys

from tornado import web

import sprockets.http
from sprockets.eliot import log_call
from sprockets.http.app import Application
from sprockets.http.mixins import ErrorLogger, ErrorWriter, Problem
from sprockets.logbook import JSONFormatter, Logger, StreamHandler

log = Logger("warehouse")

SHELVES = {"tea": 12, "scones": 0}


@log_call(action_type="warehouse:take")
def take(item: str) -> int:
    """Take one from the shelf and return how many are left."""
    if not SHELVES[item]:
        raise LookupError(f"the shelf for {item} is empty")
    SHELVES[item] -= 1
    log.info("took one {}, {} left", item, SHELVES[item])
    return SHELVES[item]


class Stock(ErrorLogger, ErrorWriter, web.RequestHandler):
    """``POST /stock/tea`` takes one."""

    def post(self, item: str) -> None:
        """Take one, and say how many are left."""
        if item not in SHELVES:
            raise Problem(404, detail=f"There is no {item}")
        try:
            left = take(item)
        except LookupError as error:
            raise Problem(409, detail=f"There is no {item} left") from error
        self.write({"left": left})


def make_app(**settings: object) -> Application:
    """Make the application; called in the worker."""
    return Application([(r"/stock/(\w+)", Stock)], **settings)


def make_handler() -> StreamHandler:
    """Log all there is, starts of actions too, as JSON lines."""
    handler = StreamHandler(sys.stdout, level="DEBUG")
    handler.formatter = JSONFormatter()
    return handler


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, default=8001, help="default: %(default)s")
    arguments = parser.parse_args()
    sprockets.http.run(make_app, {"port": arguments.port, "number_of_procs": 1}, make_handler)


if __name__ == "__main__":
    main()

"""A plain WSGI application whose requests can be followed, with or without ids of their own.

Run it with ``python -P examples/wsgi_app.py``.  It serves on a free port, asks itself for two
pages, of which one fails, and ends.
"""

import logging
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterable
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

from sprockets.logbook import Logger, setups
from sprockets.logbook.web import WSGIRequests

log = Logger("shop")


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Sell tea, and nothing else."""
    log.debug("looking at the shelf")
    if environ["PATH_INFO"] != "/tea":
        logging.getLogger("driver").warning("no such shelf")
        start_response("503 Service Unavailable", [("Content-Type", "text/plain")])
        return [b"we have tea\n"]
    log.info("sold")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"here you are\n"]


class Quiet(WSGIRequestHandler):
    """Leaves the log to the application."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def ask(url: str, **headers: str) -> None:
    """Ask for a page, and say what came."""
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            status, request_id = answer.status, answer.headers["X-Request-Id"]
    except urllib.error.HTTPError as error:
        with error:
            status, request_id = error.code, error.headers["X-Request-Id"]
    print(f"{status}, X-Request-Id: {request_id}", flush=True)


def main() -> None:
    """Serve two requests."""
    console = setups.console(stream=sys.stdout)
    console.push_application()
    # Debug records are written for the requests that fail.
    followed = WSGIRequests(application, keep_debug=True)
    with make_server("127.0.0.1", 0, followed, handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        ask(f"{url}/tea", **{"X-Request-Id": "from-the-proxy"})
        ask(f"{url}/coffee", **{"X-Request-Id": "another-one"})
        server.shutdown()
        thread.join()
    console.close()


if __name__ == "__main__":
    main()

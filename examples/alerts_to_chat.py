"""Errors to a chat, at most once an hour for each place in the code; the rest is counted.

Run it with ``python -P examples/alerts_to_chat.py``.  It needs ``slack_sdk``, starts a stand-in for
Slack itself, and ends by itself.  For the real one, leave out ``base_url`` and ``clock``, and pass
the token of your app and the id of your channel.
"""

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from sprockets.logbook import Logger
from sprockets.logbook.more import SlackHandler

HOUR = 3_600

log = Logger("shop")


class Slack(ThreadingHTTPServer):
    """The stand-in: is busy at first, then takes what comes."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.is_busy = True
        self.texts: list[str] = []
        self.thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self.thread.start()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_port}/api/"

    def end(self) -> None:
        """Stop serving."""
        self.shutdown()
        self.thread.join()
        self.server_close()


class Request(BaseHTTPRequestHandler):
    """One message."""

    server: Slack

    def do_POST(self) -> None:
        """Take it, or ask for patience."""
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer: dict[str, object] = {"ok": True}
        if self.server.is_busy:
            self.server.is_busy = False
            self.send_response(429)
            self.send_header("Retry-After", "0")
            answer = {"ok": False, "error": "ratelimited"}
        else:
            self.send_response(200)
            self.server.texts.append(message["text"])
        body = json.dumps(answer).encode()
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


class Clock:
    """An hour passes when it is told to."""

    seconds = 0.0

    def __call__(self) -> float:
        """Return the time, in seconds."""
        return self.seconds


def sell(item: str, price: int | None) -> None:
    """Sell, or say why not."""
    if price is None:
        log.error("no price of {}", item)
    elif price < 0:
        log.error("nobody pays {} for <{}>", price, item)


def main() -> None:
    """Sell all day, and look at what people have been told."""
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
        # The stand-in is on this machine.
        os.environ.pop(name, None)
    slack, clock = Slack(), Clock()
    handler = SlackHandler(
        "xoxb-the-token-of-your-app",
        "C0123456789",
        level="ERROR",
        format_string="{record.level_name} in {record.func_name}(): {record.message}",
        record_limit=1,
        record_delta=HOUR,
        base_url=slack.url,
        interval=0,
        clock=clock,
    )
    with handler.applicationbound():
        for hour in range(3):
            for customer in range(100):
                sell(f"tea {hour}.{customer}", None if customer else -1)
            clock.seconds += HOUR + 1
            handler.flush()
    handler.close()
    slack.end()
    for line in "\n".join(slack.texts).splitlines():
        print(f"#alerts  {line}")
    counts = handler.statistics()
    print(f"delivered {counts['delivered']}, withheld {counts['withheld']}, dead {counts['dead']}")


if __name__ == "__main__":
    main()

"""What a request costs the server, beside bare Tornado in the same run.

Usage: ``python -P benchmarks/requests.py [--rounds 7] [--requests 2000]``

Two processes serve the same paths: bare Tornado, and ``sprockets.http.run`` with its mixins.  One
client asks them in turn, round by round, over ten kept connections at once; what counts is the time
that the kernel says each spent on a processor.  Both log the same way: warnings and worse as lines
into a file, or every request.  Above 1.00 we are cheaper.
"""

import argparse
import json
import logging
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tornado import httpserver, ioloop, web

LINE = "%(asctime)s %(levelname)s %(name)s %(message)s"
CONNECTIONS = 10
TARGETS = {"200": 0.97, "200, negotiated": 0.90, "404": 0.92, "500": 0.95}


class Row:
    """One comparison: a path, and how much is logged."""

    def __init__(self, name: str, path: str, level: str = "WARNING") -> None:
        self.name = name
        self.path = path
        self.level = level


ROWS = [
    Row("200", "/"),
    Row("200, negotiated", "/negotiated"),
    Row("404", "/nowhere"),
    Row("500", "/fails"),
    Row("200, access log", "/", "INFO"),
]


def _handlers(*mixins: type) -> list[tuple[str, type]]:
    class Root(*mixins, web.RequestHandler):  # type: ignore[misc]  # given at run time
        def get(self) -> None:
            self.write({"message": "hello", "number": 17})

    class Fails(*mixins, web.RequestHandler):  # type: ignore[misc]  # likewise
        def get(self) -> None:
            raise RuntimeError("it fails")

    return [("/", Root), ("/fails", Fails), ("/negotiated", Root)]


def serve_bare(port: int, level: str, path: str) -> None:
    """Serve as Tornado's own documentation shows."""
    logging.basicConfig(level=level, format=LINE, filename=path)
    server = httpserver.HTTPServer(web.Application(_handlers()))
    server.listen(port, "127.0.0.1")
    ioloop.IOLoop.current().start()


def serve_ours(port: int, level: str, path: str) -> None:
    """Serve as our documentation shows."""
    from sprockets.mixins.mediatype import content, transcoders

    from sprockets.http import run
    from sprockets.http.app import Application
    from sprockets.http.mixins import ErrorLogger, ErrorWriter
    from sprockets.logbook import FileHandler

    class Negotiated(ErrorLogger, ErrorWriter, content.ContentMixin, web.RequestHandler):
        def get(self) -> None:
            self.send_response({"message": "hello", "number": 17})

    def make_app(**settings: Any) -> Application:
        routes = [("/negotiated", Negotiated), *_handlers(ErrorLogger, ErrorWriter)]
        application = Application(routes, **settings)
        content.install(application, "application/json")
        content.add_transcoder(application, transcoders.JSONTranscoder())
        return application

    settings = {"port": port, "address": "127.0.0.1", "number_of_procs": 1, "server_header": "x"}
    run(make_app, settings, FileHandler(path, level=level))


class Server:
    """One of the two, in a process of its own."""

    def __init__(self, kind: str, level: str, folder: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        command = [sys.executable, "-P", __file__, "--serve", kind, "--port", str(self.port)]
        self._log = Path(folder, f"{kind}-{level}.log")
        self._process = subprocess.Popen(
            [*command, "--level", level, "--log", str(self._log)], stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 20
        self._sockets: list[socket.socket] = []
        while len(self._sockets) < CONNECTIONS:
            try:
                self._sockets.append(socket.create_connection(("127.0.0.1", self.port), 10))
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def close(self) -> None:
        """End it."""
        for each in self._sockets:
            each.close()
        self._process.terminate()
        self._process.wait()

    def _cpu(self) -> int:
        tasks = Path(f"/proc/{self._process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)

    def measure(self, path: str, count: int) -> float:
        """Return the microseconds of processor time that a request takes."""
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n\r\n"
        data = request.encode()
        before = self._cpu()
        for _ in range(count // CONNECTIONS):
            for each in self._sockets:
                each.sendall(data)
            for each in self._sockets:
                answer = each.recv(65536)
                head, _, body = answer.partition(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split()[0])
                while len(body) < length:
                    body += each.recv(65536)
        return (self._cpu() - before) / count / 1000


def compare(rounds: int, requests: int, rows: list[Row]) -> list[dict[str, Any]]:
    """Return a line for each row: microseconds of both, and the ratio of their least rounds."""
    found = []
    for level in dict.fromkeys(row.level for row in rows):
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            servers = {}
            for kind in ("bare", "ours"):
                servers[kind] = Server(kind, level, folder)
                stack.callback(servers[kind].close)
            for row in rows:
                if row.level != level:
                    continue
                times: dict[str, list[float]] = {"bare": [], "ours": []}
                for server in servers.values():
                    server.measure(row.path, requests // 4)
                for number in range(rounds):
                    for kind in ("bare", "ours") if number % 2 else ("ours", "bare"):
                        times[kind].append(servers[kind].measure(row.path, requests))
                found.append(
                    {
                        "path": row.name,
                        "bare": min(times["bare"]),
                        "ours": min(times["ours"]),
                        "ratio": min(times["bare"]) / min(times["ours"]),
                        "median ratio": statistics.median(
                            b / o for b, o in zip(times["bare"], times["ours"], strict=True)
                        ),
                        "target": TARGETS.get(row.name),
                    }
                )
    return found


def main() -> None:
    """Serve, or compare and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", choices=["bare", "ours"], help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--level", help=argparse.SUPPRESS)
    parser.add_argument("--log", help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--rows", nargs="*", help="only these")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.serve:
        serve: Callable[[int, str, str], None] = {"bare": serve_bare, "ours": serve_ours}[
            arguments.serve
        ]
        serve(arguments.port, arguments.level, arguments.log)
        return
    rows = [row for row in ROWS if not arguments.rows or row.name in arguments.rows]
    found = compare(arguments.rounds, arguments.requests, rows)
    if arguments.json:
        print(json.dumps(found))
        return
    print("a request, in µs of processor time   bare   ours   ratio  median  target")
    for each in found:
        target = "" if each["target"] is None else f"{each['target']:.2f}"
        print(
            f"{each['path']:<35} {each['bare']:6.1f} {each['ours']:6.1f}"
            f"  {each['ratio']:5.2f}   {each['median ratio']:5.2f}  {target:>6}"
        )


if __name__ == "__main__":
    main()

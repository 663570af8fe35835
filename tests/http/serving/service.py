"""A real service for the tests to run: ``python -P service.py '{"port": 8000, ...}'``.

Environment variables steer what goes wrong: ``FACTORY``, ``BEFORE_RUN``, ``ON_START`` and
``SHUTDOWN`` are ``fail``, ``hang``, ``sleep:SECONDS``, ``block:SECONDS`` or ``exit:STATUS``; the
factory fails while the file that ``BROKEN`` names exists; each event appends a line with the
process id to the file that ``MARK`` names.  ``LOG`` is ``none``, ``dict``, ``file:PATH``, ``handler``
or ``callable``; the built-in set-up otherwise.
"""

import asyncio
import json
import logging
import os
import sys
import threading
import time
from typing import Any

from tornado import web, websocket
from tornado.ioloop import IOLoop

import sprockets.http
from sprockets.http import health
from sprockets.http.app import Application
from sprockets.http.mixins import ErrorLogger, ErrorWriter
from sprockets.logbook import FileHandler, FingersCrossedHandler, Logger, StreamHandler

log = Logger("service")
SECRET = "canary-4711"


def mark(event: str) -> None:
    path = os.environ.get("MARK")
    if path:
        with open(path, "a", encoding="utf-8") as file:
            file.write(f"{event} {os.getpid()}\n")


def fault(name: str) -> float:
    """Do what the variable *name* says, and return the seconds to wait for."""
    mark(name.lower())
    kind, _, value = os.environ.get(name, "").partition(":")
    if kind == "fail" or (name == "FACTORY" and os.path.exists(os.environ.get("BROKEN", ""))):
        raise RuntimeError(f"{name.lower()} fails: {SECRET}")
    if kind == "exit":
        raise SystemExit(int(value))
    if kind == "block":
        time.sleep(float(value))
    if kind == "crash":
        os._exit(int(value))
    if kind == "hang":
        return 3600.0
    return float(value) if kind == "sleep" else 0.0


class Handler(ErrorLogger, ErrorWriter, web.RequestHandler):
    @property
    def seconds(self) -> float:
        return float(self.get_query_argument("s", "2"))


class Root(Handler):
    def get(self) -> None:
        self.write({"pid": os.getpid()})


class Slow(Handler):
    async def get(self) -> None:
        mark("slow")
        await asyncio.sleep(self.seconds)
        self.write({"pid": os.getpid()})


class Block(Handler):
    def get(self) -> None:
        mark("block")
        time.sleep(self.seconds)
        self.write({"pid": os.getpid()})


class Stream(Handler):
    async def get(self) -> None:
        self.write("part of it")
        await self.flush()
        raise RuntimeError(f"the stream fails: {SECRET}")


class Fails(Handler):
    def get(self) -> None:
        raise RuntimeError(f"the handler fails: {SECRET}")


class Echo(Handler):
    async def post(self) -> None:
        self.write({"bytes": len(self.request.body)})


class Plain(web.RequestHandler):
    """No mixins at all."""

    async def get(self) -> None:
        logging.getLogger("plain").warning("in the handler")
        self.write({"pid": os.getpid()})


class Exits(Handler):
    def get(self) -> None:
        os._exit(11)


class Crossing(Handler):
    """Debug records of a request that goes wrong, and of no other."""

    @classmethod
    def request_setup(cls) -> FingersCrossedHandler:
        return FingersCrossedHandler(StreamHandler(sys.stdout), action_level="ERROR")

    def get(self) -> None:
        log.debug("a detail of {}", self.get_query_argument("name"))
        if self.get_query_argument("fail", ""):
            raise RuntimeError("it went wrong")
        self.write({})


class Everywhere(Handler):
    """Logs from a coroutine, a task, a thread of each kind and a callback."""

    async def get(self) -> None:
        name = self.get_query_argument("name")
        loop = asyncio.get_running_loop()

        def tell(where: str) -> None:
            log.info("{} in {}", name, where)

        async def in_task() -> None:
            await asyncio.sleep(0)
            tell("task")

        done = loop.create_future()

        def in_callback() -> None:
            tell("callback")
            done.set_result(None)

        loop.call_soon(in_callback)
        await asyncio.gather(
            asyncio.create_task(in_task()),
            IOLoop.current().run_in_executor(None, tell, "executor"),
            asyncio.to_thread(tell, "thread"),
            done,
        )
        self.write({})


class Away(Handler):
    """Writes to a client that has gone."""

    async def get(self) -> None:
        mark("away")
        for _ in range(100):
            self.write(b"x" * 65536)
            await self.flush()
            await asyncio.sleep(0.01)


class AwayPlain(web.RequestHandler):
    async def get(self) -> None:
        mark("away")
        for _ in range(100):
            self.write(b"x" * 65536)
            await self.flush()
            await asyncio.sleep(0.01)


class Later(Handler):
    """Answers at once, and has something left to do."""

    def get(self) -> None:
        async def do_it() -> None:
            await asyncio.sleep(self.seconds)
            mark("later")

        self.task = asyncio.create_task(do_it())
        self.write({"pid": os.getpid()})


class Stuck(Handler):
    """Answers at once, and leaves a thread behind that does not end."""

    def get(self) -> None:
        mark("stuck")
        IOLoop.current().run_in_executor(None, time.sleep, self.seconds)
        self.write({"pid": os.getpid()})


class Prepared(Handler):
    """Fails before its method."""

    async def prepare(self) -> None:
        await asyncio.sleep(0)
        log.info("preparing {}", self.get_query_argument("name"))
        raise web.HTTPError(403)

    def get(self) -> None:
        self.write({})


@web.stream_request_body
class Upload(Handler):
    """Takes its body piece by piece."""

    def prepare(self) -> None:
        self.size = 0

    async def data_received(self, chunk: bytes) -> None:
        await asyncio.sleep(0)
        log.info("{} bytes for {}", len(chunk), self.get_query_argument("name"))
        self.size += len(chunk)

    def put(self) -> None:
        self.write({"bytes": self.size})


class Socket(websocket.WebSocketHandler):
    def on_message(self, message: str | bytes) -> None:
        self.write_message(message)

    def on_close(self) -> None:
        mark(f"socket-{self.close_code}")


async def on_start(application: web.Application, loop: IOLoop) -> None:
    await asyncio.sleep(fault("ON_START"))
    mark("on_start-done")


def before_run(application: web.Application, loop: IOLoop) -> Any:
    seconds = fault("BEFORE_RUN")
    return asyncio.sleep(seconds) if seconds else None


async def shutdown(application: web.Application) -> None:
    await asyncio.sleep(fault("SHUTDOWN"))
    mark("shutdown-done")


async def poll() -> None:
    while True:
        await asyncio.sleep(0.05)


def make_app(**settings: Any) -> web.Application:
    time.sleep(fault("FACTORY"))
    if os.environ.get("THREAD"):
        threading.Thread(target=time.sleep, args=(0.01,)).start()
    handlers = [
        ("/", Root),
        ("/slow", Slow),
        ("/block", Block),
        ("/stream", Stream),
        ("/fails", Fails),
        ("/echo", Echo),
        ("/plain", Plain),
        ("/exits", Exits),
        ("/crossing", Crossing),
        ("/everywhere", Everywhere),
        ("/away", Away),
        ("/away-plain", AwayPlain),
        ("/later", Later),
        ("/stuck", Stuck),
        ("/prepared", Prepared),
        ("/upload", Upload),
        ("/socket", Socket),
        *health.handlers(),
    ]
    if os.environ.get("PLAIN"):
        return web.Application(handlers, **settings)
    application = Application(handlers, **settings)
    application.before_run_callbacks.append(before_run)
    application.on_start_callbacks.append(on_start)
    if os.environ.get("POLL"):
        application.on_start_callbacks.append(lambda app, loop: poll())
    application.on_shutdown_callbacks.append(shutdown)
    return application


def log_config() -> Any:
    kind, _, value = os.environ.get("LOG", "").partition(":")
    if kind == "none":
        return {"log_config": None}
    if kind == "dict":
        return {
            "log_config": {
                "version": 1,
                "disable_existing_loggers": False,
                "formatters": {"line": {"format": "%(levelname)s %(name)s %(message)s"}},
                "handlers": {"out": {"class": "logging.StreamHandler", "formatter": "line"}},
                "root": {"level": "INFO", "handlers": ["out"]},
            }
        }
    if kind == "file":
        return {"log_config": lambda: FileHandler(value, level="INFO")}
    if kind == "handler":
        return {"log_config": StreamHandler(sys.stdout)}
    return {}


def main() -> None:
    settings = json.loads(sys.argv[1])
    sprockets.http.run(make_app, settings, **log_config())
    mark("after-run")


if __name__ == "__main__":
    main()

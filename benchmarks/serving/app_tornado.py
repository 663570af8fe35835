"""The application that we serve, with the endpoints and the faults of ``app_asgi``."""

import asyncio
import os
import time
from typing import Any

from tornado import web

from benchmarks.serving import faults
from sprockets.http import app, health, mixins

faults.on_import()


class _Handler(mixins.ErrorLogger, mixins.ErrorWriter, web.RequestHandler):
    """What a service would have its handlers inherit."""

    @property
    def _seconds(self) -> float:
        return float(self.get_query_argument("s", "2"))


class _Hello(_Handler):
    def get(self) -> None:
        self.write({"message": "hello", "number": 17})


class _Pid(_Handler):
    def get(self) -> None:
        self.set_header("Content-Type", "text/plain")
        self.write(str(os.getpid()))


class _Slow(_Handler):
    async def get(self) -> None:
        faults.mark("slow")
        await asyncio.sleep(self._seconds)
        self.write({})


class _Block(_Handler):
    def get(self) -> None:
        faults.mark("block")
        time.sleep(self._seconds)
        self.write({})


class _StreamFail(_Handler):
    async def get(self) -> None:
        self.write("part")
        await self.flush()
        raise RuntimeError(f"the stream fails: {faults.SECRET}")


class _Error(_Handler):
    def get(self) -> None:
        raise RuntimeError(f"the handler fails: {faults.SECRET}")


class _Echo(_Handler):
    def post(self) -> None:
        self.set_header("Content-Type", "application/octet-stream")
        self.write(self.request.body)


async def _on_start(_application: web.Application, _loop: object) -> None:
    await faults.on_startup()


async def _on_shutdown(_application: web.Application) -> None:
    await faults.on_shutdown()


def make_app(**settings: Any) -> app.Application:
    """Return the application, for :func:`sprockets.http.run`."""
    application = app.Application(
        [
            ("/", _Hello),
            ("/pid", _Pid),
            ("/slow", _Slow),
            ("/block", _Block),
            ("/stream-fail", _StreamFail),
            ("/error", _Error),
            ("/echo", _Echo),
            *health.handlers(),
        ],
        **settings,
    )
    application.on_start_callbacks.append(_on_start)
    application.on_shutdown_callbacks.append(_on_shutdown)
    return application

"""The application that the peers serve: plain ASGI, so that what is measured is the server."""

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from benchmarks.serving import faults

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

faults.on_import()


async def _answer(send: Send, status: int, body: bytes, kind: bytes = b"application/json") -> None:
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _lifespan(receive: Receive, send: Send) -> None:
    for phase, hook in (("startup", faults.on_startup), ("shutdown", faults.on_shutdown)):
        await receive()
        try:
            await hook()
        except RuntimeError as error:
            await send({"type": f"lifespan.{phase}.failed", "message": str(error)})
            return
        await send({"type": f"lifespan.{phase}.complete"})


async def _read(receive: Receive) -> bytes:
    body: bytes = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    seconds = float(parse_qs(scope["query_string"].decode()).get("s", ["2"])[0])
    match scope["path"]:
        case "/":
            await _answer(send, 200, json.dumps({"message": "hello", "number": 17}).encode())
        case "/pid":
            await _answer(send, 200, str(os.getpid()).encode(), b"text/plain")
        case "/slow":
            faults.mark("slow")
            await asyncio.sleep(seconds)
            await _answer(send, 200, b"{}")
        case "/block":
            faults.mark("block")
            time.sleep(seconds)  # noqa: ASYNC251  # what a handler must not do is the fault
            await _answer(send, 200, b"{}")
        case "/stream-fail":
            headers = [(b"content-type", b"text/plain")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"part", "more_body": True})
            raise RuntimeError(f"the stream fails: {faults.SECRET}")
        case "/error":
            raise RuntimeError(f"the handler fails: {faults.SECRET}")
        case "/echo":
            await _answer(send, 200, await _read(receive), b"application/octet-stream")
        case "/ready" | "/alive":
            await _answer(send, 200, b"{}")
        case _:
            await _answer(send, 404, b'{"status":404}')

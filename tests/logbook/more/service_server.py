"""What the doubles of services over HTTP have in common."""

import asyncio
import contextlib

import tornado.iostream

from tests.logbook.ticketing.trackers.contract_server import ContractHandler, ContractServer


class ServiceHandler(ContractHandler):
    """Base of what answers; a fault may also be ``"silence"``, or bytes: an answer with 200."""

    async def prepare(self):
        await super().prepare()
        if self.step == "silence":
            stream = self.detach()
            try:
                await self.contract.wait_until_over()
            finally:
                stream.close()
        elif isinstance(self.step, bytes):
            self.set_header("Content-Type", "text/html")
            self.finish(self.step)

    async def drip(self):
        stream = self.detach()
        try:
            with contextlib.suppress(tornado.iostream.StreamClosedError):
                await stream.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
                while True:
                    await stream.write(b"x")
                    await asyncio.sleep(0.02)
        finally:
            stream.close()


class ServiceServer(ContractServer):
    """A server that can be silent."""

    async def wait_until_over(self):
        """Return when the server ends."""
        await self._end.wait()

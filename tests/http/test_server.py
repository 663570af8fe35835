"""The server of a worker: whom it accepts and when, whom it turns away, and how it ends."""

import asyncio
import contextlib
import errno
import logging
import socket

import pytest
from tornado import web
from tornado.ioloop import IOLoop

from sprockets.http._server import Server
from sprockets.http._settings import Options
from sprockets.http.app import Application


class Root(web.RequestHandler):
    async def get(self):
        await asyncio.sleep(float(self.get_query_argument("s", "0")))
        self.write("hello")


class Odd(socket.socket):
    """A listening socket that fails before it accepts."""

    errors = ()

    def accept(self):
        if self.errors:
            error, *self.errors = self.errors
            raise error
        return super().accept()


@pytest.fixture(name="loop")
def _loop():
    loop = IOLoop(make_current=False)
    asyncio.set_event_loop(loop.asyncio_loop)
    yield loop
    asyncio.set_event_loop(None)
    loop.close(all_fds=True)


@pytest.fixture(name="serve")
def _serve(loop):
    """``serve(coroutine function)`` calls it with a server, its listening socket and its port."""

    def serve(talk, **options):
        application = Application([("/", Root)])

        async def work():
            server = Server(
                application,
                options=Options(**options),
                activity=application.activity,
                settings=application.settings,
            )
            listening = Odd(socket.AF_INET, socket.SOCK_STREAM)
            listening.bind(("127.0.0.1", 0))
            listening.listen(16)
            listening.setblocking(False)
            server.serve_on([listening])
            try:
                return await asyncio.wait_for(
                    talk(server, listening, listening.getsockname()[1]), 5
                )
            finally:
                server.end()
                await asyncio.sleep(0)
                await server.close_all_connections()

        return loop.run_sync(work)

    return serve


class Client:
    def __init__(self, port):
        self.port = port

    async def __aenter__(self):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_):
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()

    def send(self, path="/"):
        self.writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())

    async def read(self):
        """Return the status of the next answer, None if the connection is closed instead."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        await self.reader.readexactly(5)
        return int(head.split()[1])

    async def get(self, path="/"):
        self.send(path)
        return await self.read()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_without_descriptors_idle_connections_make_room(serve, caplog, number):
    """Those in use are left alone; whoever waits is accepted a moment later."""

    async def talk(server, listening, port):
        async with Client(port) as idle, Client(port) as busy:
            assert await idle.get() == 200
            busy.send("/?s=0.05")
            while not server.activity.exchanges:
                await asyncio.sleep(0.001)
            listening.errors = [OSError(number, "none left")]
            async with Client(port) as late:
                late.send()
                return await idle.read(), await busy.read(), await late.read(), server.turned_away

    assert serve(talk) == (None, 200, 200, 1)
    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert "cannot accept connections: " in record.getMessage()
    assert record.getMessage().endswith("none left; closed 1 idle ones")


def test_a_client_that_is_gone_before_it_was_accepted_costs_nothing(serve, caplog):
    """The next one is served."""

    async def talk(server, listening, port):
        listening.errors = [ConnectionAbortedError()]
        async with Client(port) as client:
            return await client.get()

    assert serve(talk) == 200
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []


def test_connections_beyond_the_bound_wait_for_their_turn(serve):
    """They are in the kernel's queue, where another worker may take them."""

    async def talk(server, listening, port):
        async with Client(port) as first:
            assert await first.get() == 200
            async with Client(port) as second:
                second.send()
                await asyncio.sleep(0.02)
                held = server.activity.row["connections"]
                first.writer.close()
                return held, await second.read()

    assert serve(talk, max_connections=1) == (1, 200)


def test_what_is_in_the_queue_is_served_when_accepting_stops(serve):
    """Nobody who got a connection is turned away; whoever comes later is."""

    async def talk(server, listening, port):
        clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(5)]
        for each in clients:
            each.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

        server.stop()
        server.stop()

        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        answers = [await asyncio.to_thread(each.recv, 100) for each in clients]
        for each in clients:
            each.close()
        return [answer.split()[1] for answer in answers]

    assert serve(talk) == [b"200"] * 5


def test_only_connections_without_a_request_are_idle(serve):
    """How many there were is said."""

    async def talk(server, listening, port):
        async with Client(port) as idle, Client(port) as busy:
            assert await idle.get() == 200
            busy.send("/?s=0.03")
            while not server.activity.exchanges:
                await asyncio.sleep(0.001)
            closed = server.close_idle()
            found = await idle.read(), await busy.read()
            return closed, found, server.has_connections

    assert serve(talk) == (1, (None, 200), True)


@pytest.mark.rule("H6.4")
def test_a_drain_ends_every_connection_with_its_next_answer(serve):
    """Also one that was kept until then."""

    async def talk(server, listening, port):
        async with Client(port) as kept:
            assert await kept.get() == 200
            server.begin_drain()
            return await kept.get(), await kept.read()

    assert serve(talk) == (200, None)


def test_the_end_closes_everything_and_may_be_repeated(serve):
    """Requests in flight as well."""

    async def talk(server, listening, port):
        async with Client(port) as busy:
            busy.send("/?s=5")
            while not server.activity.exchanges:
                await asyncio.sleep(0.001)
            server.end()
            server.end()
            found = await busy.read()
            while server.has_connections:
                await asyncio.sleep(0.001)
            return found, server.activity.row["connections"], server.activity.row.in_flight

    assert serve(talk) == (None, 0, 0)

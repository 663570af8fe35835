"""Twisted in a Tornado service: both on one asyncio loop, and one tree of actions for a request.

A shop asks its warehouse, which speaks a protocol that there is a Twisted library for.  The request
is Tornado's, the Deferreds are Twisted's, and what is logged in between is one story.

Run it with ``python -P examples/twisted_in_tornado.py``.  It needs Twisted; it orders three things
from itself, shows what that looks like, and ends.
"""

import asyncio
import json
import os
import signal
import socket
import tempfile
from contextvars import Context
from pathlib import Path

from tornado import web
from tornado.iostream import IOStream
from twisted.application.service import MultiService
from twisted.internet import asyncioreactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol
from twisted.internet.protocol import Factory
from twisted.protocols.basic import LineOnlyReceiver

import sprockets.http
from sprockets.eliot import FileDestination, log_message, start_action
from sprockets.eliot.logwriter import ThreadedWriter
from sprockets.eliot.parse import Parser, WrittenAction
from sprockets.eliot.twisted import DeferredContext, inline_callbacks
from sprockets.http.app import Application

# -- Twisted as a guest


class GuestLoop:
    """An event loop as Twisted may use it: somebody else's, and not to be stopped.

    What Twisted calls belongs to no request.  Without this it would run in the context of whoever
    used the reactor last, and be logged in the action of a stranger.
    """

    def __init__(self, loop):
        self._loop = loop

    def __getattr__(self, name):
        return getattr(self._loop, name)

    def stop(self):
        """Do nothing: the loop goes on when Twisted is done."""

    def call_at(self, when, callback, *args):
        """Call *callback* in a context of its own, as all of these do."""
        return self._loop.call_at(when, callback, *args, context=Context())

    def add_reader(self, fd, callback, *args):
        """See `call_at`."""
        self._loop.add_reader(fd, lambda: Context().run(callback, *args))

    def add_writer(self, fd, callback, *args):
        """See `call_at`."""
        self._loop.add_writer(fd, lambda: Context().run(callback, *args))


def start_reactor(application, io_loop):
    """Install Twisted's reactor on the loop of this worker; a ``before_run`` callback."""
    asyncioreactor.install(GuestLoop(io_loop.asyncio_loop))
    from twisted.internet import reactor

    reactor.startRunning(installSignalHandlers=False)


async def stop_reactor(application):
    """Stop Twisted's services, connections and threads; a ``shutdown`` callback."""
    from twisted.internet import reactor

    over = asyncio.get_running_loop().create_future()
    reactor.addSystemEventTrigger("after", "shutdown", over.set_result, None)
    reactor.stop()
    await over


# -- the warehouse: a service in Twisted's way


STOCK = {b"tea": 40, b"scones": 3}


class Warehouse(LineOnlyReceiver):
    """Answers the name of a thing with how many there are."""

    def lineReceived(self, line):
        """Answer; what is not known is answered with words."""
        count = STOCK.get(line)
        self.sendLine(b"none of " + line if count is None else b"%d" % count)


class Question(LineOnlyReceiver):
    """One question to the warehouse."""

    def __init__(self):
        self.answer = Deferred()

    def lineReceived(self, line):
        """Take the answer, and hang up."""
        self.transport.loseConnection()
        self.answer.callback(line.decode())


# -- the shop: Twisted's Deferreds, with actions that follow them


def ask_warehouse(port, item):
    """Return a Deferred of how many there are; the action ends when it fires."""
    from twisted.internet import reactor

    def ask(question):
        question.sendLine(item.encode())
        return question.answer

    def count(answer):
        log_message("warehouse:answer", answer=answer)
        if not answer.isdigit():
            raise LookupError(answer)
        return int(answer)

    with start_action(action_type="warehouse:ask", item=item).context():
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
        context = DeferredContext(connectProtocol(endpoint, Question()))
        context.addCallback(ask)
        context.addCallback(count)
        return context.addActionFinish()


@inline_callbacks
def sell(port, item):
    """Sell one, if there is one: a generator that waits for Deferreds."""
    with start_action(action_type="shop:sell", item=item) as action:
        count = yield ask_warehouse(port, item)
        action.add_success_fields(left=count - 1)
        return count - 1


class Order(web.RequestHandler):
    """Orders one thing: Tornado's part."""

    async def get(self, item):
        """Sell it, and say how many are left."""
        with start_action(action_type="shop:order", item=item):
            left = sell(self.settings["warehouse"].getHost().port, item)
            try:
                self.write({"left": await left.asFuture(asyncio.get_running_loop())})
            except LookupError as error:
                self.set_status(409)
                self.write({"message": str(error)})


# -- the service


def make_app(socket_path, log, **settings):
    """Return the application, with all that Twisted needs among its callbacks."""
    application = Application([web.url("/orders/(.*)", Order)], **settings)

    async def start_services(application, io_loop):
        from twisted.internet import reactor

        services = MultiService()
        ThreadedWriter(FileDestination(file=log), reactor).setServiceParent(services)
        services.startService()
        reactor.addSystemEventTrigger("before", "shutdown", services.stopService)
        endpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        listening = endpoint.listen(Factory.forProtocol(Warehouse))
        application.settings["warehouse"] = await listening.asFuture(io_loop.asyncio_loop)

    async def try_it(application, io_loop):
        items = ("tea", "scones", "coffee")
        for answer in await asyncio.gather(
            *(get(socket_path, f"/orders/{item}") for item in items)
        ):
            print(answer)
        os.kill(os.getpid(), signal.SIGTERM)

    application.before_run_callbacks.extend([start_reactor, start_services])
    application.on_start_callbacks.append(try_it)
    application.on_shutdown_callbacks.append(stop_reactor)
    return application


async def get(socket_path, target):
    """Return the body that the service on the unix socket answers with."""
    stream = IOStream(socket.socket(socket.AF_UNIX))
    await stream.connect(socket_path)
    await stream.write(f"GET {target} HTTP/1.0\r\n\r\n".encode())
    answer = await stream.read_until_close()
    return answer.decode().partition("\r\n\r\n")[2]


# -- what it looks like


def show(node, depth=0):
    """Print an action with all that is in it, or a message."""
    is_action = isinstance(node, WrittenAction)
    contents = (node.start_message if is_action else node).contents
    facts = " ".join(
        f"{k}={v}" for k, v in contents.items() if not k.endswith(("_type", "_status"))
    )
    if not is_action:
        print("  " * depth + contents["message_type"], facts)
        return
    reason = f": {node.exception}" if node.exception else ""
    print("  " * depth + node.action_type, facts, f"- {node.status}{reason}")
    for child in node.children:
        show(child, depth + 1)


def main():
    """Serve three requests, then show the trees."""
    with tempfile.TemporaryDirectory() as folder:
        path, log_path = str(Path(folder, "socket")), Path(folder, "actions.log")
        with log_path.open("ab") as log:
            settings = {"unix_socket": path, "number_of_procs": 1, "socket_path": path, "log": log}
            sprockets.http.run(make_app, settings, log_config=None)
        print()
        with log_path.open(encoding="utf-8") as lines:
            for task in Parser.parse_stream(map(json.loads, lines)):
                show(task.root())


if __name__ == "__main__":
    main()

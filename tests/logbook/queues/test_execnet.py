"""Records through real channels of execnet."""

import os
import subprocess
import sys
import threading
import time

import pytest

from sprockets.logbook import Flags, Logger, TestHandler
from sprockets.logbook.queues._execnet import ExecnetChannelHandler, ExecnetChannelSubscriber

execnet = pytest.importorskip("execnet", reason="execnet is not installed")
log = Logger("near")


@pytest.fixture(name="gateway", scope="module")
def _gateway():
    group = execnet.Group()
    yield group.makegateway(f"popen//python={sys.executable}")
    group.terminate(timeout=5)


def far(channel):
    from sprockets.logbook import Logger
    from sprockets.logbook.queues._execnet import ExecnetChannelHandler

    with ExecnetChannelHandler(channel).applicationbound():
        try:
            raise KeyError("ü\udc80")
        except KeyError:
            Logger("far").exception(
                "{} works", "Execnet", extra={"big": 2**70, "pair": (1, "\udc80"), "odd": object()}
            )


@pytest.mark.rule("EC-1", "EC-7")
def test_a_record_comes_from_the_far_end(gateway):
    """With all that is told of it; also what execnet itself does not carry."""
    subscriber = ExecnetChannelSubscriber(gateway.remote_exec(far))

    record = subscriber.recv(10)

    assert (record.msg, record.message) == ("{} works", "Execnet works")
    assert record.exception_name == "builtins.KeyError"
    assert record.extra == {"big": 2**70, "pair": (1, "\\udc80"), "odd": None}
    assert record.process != os.getpid()
    assert subscriber.statistics()["received"] == 1


@pytest.mark.rule("EC-2", "EC-3", "EC-4")
def test_a_timeout_gives_none(gateway):
    """None, none at all, or some seconds."""
    channel = gateway.remote_exec("channel.send(channel.receive())")
    subscriber = ExecnetChannelSubscriber(channel)

    assert subscriber.recv(0) is None
    assert subscriber.recv(0.01) is None
    with pytest.raises(ValueError, match="timeout"):
        subscriber.recv(-1)
    assert not subscriber.is_ended
    channel.send({"level": 11, "message": "x"})
    assert subscriber.recv().message == "x"


@pytest.mark.rule("EC-5")
def test_neither_imports_execnet():
    """Its kinds of errors are the channel's."""
    code = (
        "import sys; from sprockets.logbook.queues import _execnet as e; "
        "e.ExecnetChannelHandler(None); e.ExecnetChannelSubscriber(None); "
        "sys.exit('execnet' in sys.modules)"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True, timeout=60)


@pytest.mark.rule("EC-6", "SC-4")
def test_an_orderly_end_ends_dispatching(gateway):
    """After the last record; and from then on nothing waits."""
    subscriber = ExecnetChannelSubscriber(gateway.remote_exec(far))

    with TestHandler() as seen:
        subscriber.dispatch_forever()

    assert len(seen.records) == 1
    assert subscriber.is_ended
    assert subscriber.recv() is None
    assert subscriber.recv(0) is None


@pytest.mark.rule("EC-6")
def test_an_error_at_the_far_end_is_raised_once(gateway):
    """With its traceback; then the source has ended."""
    subscriber = ExecnetChannelSubscriber(gateway.remote_exec("1 / 0"))

    with pytest.raises(subscriber.channel.RemoteError, match="ZeroDivisionError"):
        subscriber.recv(10)

    assert subscriber.recv() is None
    assert subscriber.is_ended


@pytest.mark.rule("EC-6")
@pytest.mark.parametrize("code", ["1 / 0", "pass"])
def test_the_end_of_a_channel_ends_the_thread(gateway, code, capfd):
    """An error is reported before."""
    controller = ExecnetChannelSubscriber(gateway.remote_exec(code)).dispatch_in_background()
    deadline = time.monotonic() + 10
    while controller.running:
        assert time.monotonic() < deadline, "this takes too long"
        time.sleep(0.002)

    controller.stop()
    assert ("ZeroDivisionError" in capfd.readouterr().err) is (code == "1 / 0")


@pytest.mark.rule("M24")
def test_what_is_no_record_is_counted_and_the_rest_dispatched(gateway):
    """Whatever the far end sends."""
    code = """
for item in (None, 12, "[]", b"\\xff", {}, {"level": None}, {1: 2}, [[]], {"level": 11}):
    channel.send(item)
"""
    subscriber = ExecnetChannelSubscriber(gateway.remote_exec(code))

    with TestHandler() as seen, Flags(errors="silent"):
        subscriber.dispatch_forever()

    assert subscriber.statistics()["malformed"] == 8
    assert len(seen.records) == 1


def test_a_closed_channel_drops_and_counts(gateway):
    """The log call itself is not harmed."""
    channel = gateway.remote_exec("channel.receive()")
    handler = ExecnetChannelHandler(channel)
    with handler, Flags(errors="silent"):
        log.info("a")
        channel.close()
        log.info("b")

    assert handler.statistics() == {"sent": 1, "dropped": 1}


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_child_leaves_the_channel_alone(gateway):
    """The connection is its parent's, and stays whole."""
    channel = gateway.remote_exec("for item in channel: channel.send(item)")
    handler = ExecnetChannelHandler(channel)
    child = os.fork()
    if child == 0:
        with handler, Flags(errors="silent"):
            log.info("child")
        os._exit(handler.statistics() != {"sent": 0, "dropped": 1})
    assert os.waitpid(child, 0)[1] == 0
    with handler:
        log.info("parent")

    assert ExecnetChannelSubscriber(channel).recv(10).message == "parent"
    channel.close()


def test_threads_share_a_channel(gateway):
    """No record is torn."""
    channel = gateway.remote_exec("for item in channel: channel.send(item)")
    handler = ExecnetChannelHandler(channel)
    with handler.applicationbound():
        threads = [
            threading.Thread(target=lambda: [log.info("{}", n) for n in range(200)])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    subscriber = ExecnetChannelSubscriber(channel)

    assert sorted(int(subscriber.recv(10).message) for _ in range(800)) == sorted(
        4 * list(range(200))
    )
    channel.close()

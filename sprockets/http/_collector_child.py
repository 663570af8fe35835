"""The collector itself: what the new process does, from its fork to its exit status."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from sprockets.http._collector_channel import ParentSubscriber, SpoolSubscriber
from sprockets.http._collector_pulse import Pulse
from sprockets.http._collector_setup import CollectorConfig, ToldSetup, make_setup
from sprockets.logbook import _context
from sprockets.logbook._collecting._beats import Watchdog, tell_stacks
from sprockets.logbook.collecting import Collector, Source
from sprockets.logbook.compat import redirected_logging, redirected_warnings
from sprockets.logbook.delivery import Spool
from sprockets.logbook.queues._zeromq_reliable_subscriber import ReliableZeroMQSubscriber

SPOOL_BYTES: Final = 256 << 20
_EXIT_START: Final = 70
_EXIT_UNCLEAN: Final = 75

SIGNALS: Final = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGUSR1,
)
"""What the parent holds back while it forks."""


@dataclass(frozen=True)
class Post:
    """What the parent gives a new collector.

    Args:
        config: What it collects into.
        folder: Where its socket and the spool are.
        alive: A pipe that all processes of the service hold: to be read, and to be closed here.
        channel: From the parent.
        control: To the parent.
        dump: Where the stacks are written if it is killed because it hangs.
        pulse: Where it writes that it does not.
        heartbeat_timeout: Seconds that it may hang, 0 is for ever; without its parent it ends
            itself then.
        drain_timeout: Seconds that its end may take if the parent is gone.
    """

    config: CollectorConfig
    folder: Path
    alive: tuple[int, int]
    channel: socket.socket
    control: socket.socket
    dump: int
    pulse: Pulse
    heartbeat_timeout: float
    drain_timeout: float


def be_collector(
    post: Post,
    mask: Iterable[int],
    in_child: Callable[[], object],
    forget_logging: Callable[[], object],
) -> NoReturn:
    """Collect in this new process, and end it.

    Args:
        post: What it has.
        mask: The signals to be held back once it can deal with the others.
        in_child: Called first: lets go of what is the parent's.
        forget_logging: Called then: unbinds what the parent logs with.
    """
    status = _EXIT_START
    try:
        # Service managers and terminals tell every process; this one goes last.
        for signum in SIGNALS:
            signal.signal(signum, _ignore)
        faulthandler.enable(post.dump, all_threads=True)
        in_child()
        forget_logging()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        status = _collect(post)
    except BaseException as error:  # noqa: BLE001 - told to the parent, which says it
        text = " ".join(f"{type(error).__name__}: {error}".split())
        with contextlib.suppress(OSError):
            post.control.sendall(f"{text}\n".encode(errors="replace"))
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(status)


def _collect(post: Post) -> int:
    alive, other_end = post.alive
    os.close(other_end)
    setup = ToldSetup(make_setup(post.config), post.control)
    parent = ParentSubscriber(post.channel, alive)
    workers = _Workers(f"ipc://{post.folder}/socket")
    spool = SpoolSubscriber(Spool(post.folder / "spool", max_bytes=SPOOL_BYTES), workers.is_new)
    sources = [
        Source("the workers", lambda: workers),
        Source("the parent", lambda: parent),
        Source("what workers have left", lambda: spool),
    ]
    heart = _Heart(post)
    # In one thread: what one source has had, the other leaves out.
    collector = Collector(sources, setup, threads=1, drain_timeout=post.drain_timeout, heart=heart)

    def stop(seconds: float | None) -> None:
        if seconds is not None:
            collector.drain_timeout = seconds
        collector.stop()

    parent.on_stop = stop
    heart.start()
    with redirected_logging(), redirected_warnings():
        is_drained = collector.run(
            signals=(signal.SIGHUP, signal.SIGUSR1),
            on_ready=lambda: post.control.sendall(f"ready {_context.floor}\n".encode()),
        )
    is_closed = setup.close()
    return 0 if is_drained and is_closed else _EXIT_UNCLEAN


class _Workers(ReliableZeroMQSubscriber):
    """Receives from the workers."""

    def is_new(self, record_id: str | None) -> bool:
        """Whether the record of that name has not come yet; it counts as having come now."""
        assert self._arrivals is not None
        return self._arrivals.admit(record_id)


class _Heart(Watchdog):
    """Beats where the parent sees it, and ends the process if it hangs and there is no parent."""

    def __init__(self, post: Post) -> None:
        super().__init__(post.heartbeat_timeout, self._end_orphan)
        self._pulse = post.pulse
        self._parent = os.getppid()

    def beat(self, moment: float) -> None:
        super().beat(moment)
        self._pulse.beat(moment)

    def _end_orphan(self, silence: float) -> None:
        if os.getppid() == self._parent:
            return  # it sees for itself
        tell_stacks(f"the collector is blocked for {silence:.1f} s without its parent; ending it")
        os._exit(_EXIT_UNCLEAN)


def _ignore(signum: int, frame: FrameType | None) -> None:
    """Do nothing; unlike SIG_IGN this is not inherited by programs that are started."""

"""Live updates: one look at the store for all who watch, and a line to each when it changed.

Source: HTML Standard, section 9.2, "Server-sent events".
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from time import monotonic
from typing import Any, ClassVar, Final

from tornado import iostream

from sprockets.http.mixins import Problem
from sprockets.logbook import Logger
from sprockets.tickets._base import TicketsHandler
from sprockets.tickets._settings import Site

_log: Final = Logger("sprockets.tickets", style="%")

_MAX_WAIT: Final = 30.0  # seconds between two looks at a store that fails


class Live:
    """Looks at the store while somebody watches, and wakes who does when its mark is another.

    Watchers that are slow miss marks in between, and nothing piles up for them.

    Args:
        site: Whose store it is.
    """

    interval: float = 1.0
    """Seconds between two looks at the store."""
    tick: float = 0.1
    """Seconds between two looks at whether the service stops."""
    heartbeat: float = 15.0
    """Seconds of silence after which a watcher is sent something."""
    max_age: float = 900.0
    """Seconds after which a watcher has to come again, and to be let in again."""
    max_clients: int = 100
    """Watchers of one process."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.mark: str | None = None
        self.looks = 0
        self.failures = 0
        self.is_over = False
        self.watchers: set[asyncio.Event] = set()
        self._activity: Any = None
        self._task: asyncio.Task[None] | None = None
        site.on_close(self.stop)

    def join(self, activity: Any) -> asyncio.Event:
        """Return an event that is set when there is something to see.

        Args:
            activity: Says ``is_draining`` when the service stops; None if nobody does.

        Raises:
            sprockets.http.mixins.Problem: With 503, if there are too many already, or the service
                stops.
        """
        if self.is_over or len(self.watchers) >= self.max_clients:
            raise Problem(
                503, detail="Too many watch already", log_message="no place for a watcher"
            )
        self._activity = activity
        event = asyncio.Event()
        self.watchers.add(event)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._watch())
        return event

    def leave(self, event: asyncio.Event) -> None:
        """Forget a watcher."""
        self.watchers.discard(event)

    def stop(self) -> None:
        """Have all watchers leave."""
        self.is_over = True
        self._wake()
        if self._task is not None and not self._task.done():
            # The loop may be closed already; then nothing of it runs.
            with contextlib.suppress(RuntimeError):
                self._task.cancel()

    def _wake(self) -> None:
        for event in self.watchers:
            event.set()

    async def _watch(self) -> None:
        next_look = 0.0
        wait = self.interval
        while self.watchers:
            if self._activity is not None and self._activity.is_draining:
                self.is_over = True
                self._wake()
                return
            if monotonic() >= next_look:
                wait = self.interval if await self._look() else min(wait * 2, _MAX_WAIT)
                next_look = monotonic() + wait
            await asyncio.sleep(self.tick)

    async def _look(self) -> bool:
        self.looks += 1
        try:
            mark = "".join((await self._site.call(self._site.store.get_mark)).split())
        except Exception:  # noqa: BLE001  # counted, said, and tried again
            self.failures += 1
            if self.failures == 1:
                _log.warning("cannot look whether tickets changed; trying again", exc_info=True)
            return False
        self.failures = 0
        if mark != self.mark:
            self.mark = mark
            self._wake()
        return True


class EventsHandler(TicketsHandler):
    """Sends an event whenever tickets were counted on or changed.

    The first ``mark`` says how things stand, ``change`` that they changed since; the data of both
    is ``{"mark": "…"}``.  Who comes back with a ``Last-Event-ID`` is told at once if it is not the
    last one.
    """

    is_page: ClassVar[bool] = False

    _event: asyncio.Event | None = None
    _is_gone = False

    async def get(self) -> None:
        """Send events until the client has gone, the service stops, or some time has passed."""
        live = self.site.shared(Live)
        event = live.join(getattr(self.application, "activity", None))
        self._event = event
        try:
            self.set_header("Content-Type", "text/event-stream; charset=utf-8")
            self.set_header("X-Accel-Buffering", "no")  # for nginx, which would keep it back
            self.write("retry: 3000\n\n")
            await self._send_all(live, event)
        finally:
            live.leave(event)

    async def _send_all(self, live: Live, event: asyncio.Event) -> None:
        told = self.request.headers.get("Last-Event-Id")
        until = monotonic() + live.max_age
        if live.mark is not None:
            event.set()  # what is known already
        with contextlib.suppress(iostream.StreamClosedError):
            await self.flush()
            while not live.is_over and not self._is_gone and monotonic() < until:
                try:
                    await asyncio.wait_for(event.wait(), live.heartbeat)
                except TimeoutError:
                    self.write(": still here\n\n")
                else:
                    event.clear()
                    if live.mark is None or live.mark == told:
                        continue
                    name = "mark" if told is None else "change"
                    told = live.mark
                    data = json.dumps({"mark": told})
                    self.write(f"id: {told}\nevent: {name}\ndata: {data}\n\n")
                if not await self._flush_in_time(live.heartbeat):
                    return

    async def _flush_in_time(self, seconds: float) -> bool:
        """Return whether the client reads."""
        future: Any = self.flush()
        try:
            await asyncio.wait_for(asyncio.shield(future), seconds)
        except TimeoutError:
            self._cut()
            return False
        return True

    def on_connection_close(self) -> None:
        """Wake up, to leave."""
        self._is_gone = True
        if self._event is not None:
            self._event.set()
        super().on_connection_close()


def routes() -> list[tuple[str, type[TicketsHandler]]]:
    """Return the routes of this room."""
    return [("/api/v1/events", EventsHandler)]

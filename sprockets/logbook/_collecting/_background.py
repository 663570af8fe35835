"""A collector that runs in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import Context
from typing import Protocol


class SupportsRun(Protocol):
    """What is run there."""

    def __call__(self, *, on_ready: Callable[[], object]) -> object:
        """Run to the end; call *on_ready* once it has begun."""
        ...


class Background:
    """Runs something in a thread, and raises where it was started what it raises there.

    Args:
        run: What is run.
    """

    def __init__(self, run: SupportsRun) -> None:
        self._work = run
        self._has_begun = threading.Event()
        self._error: BaseException | None = None
        # An empty context: what the starter has bound is not to be seen there.
        self._thread = threading.Thread(
            target=Context().run, args=(self._run,), name="collector", daemon=True
        )

    def start(self) -> None:
        """Start it; raises what keeps it from beginning."""
        self._thread.start()
        self._has_begun.wait()
        if self._error is not None:
            self.join()

    def join(self) -> None:
        """Wait for its end; raises what ended it."""
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            self._work(on_ready=self._has_begun.set)
        except BaseException as error:  # noqa: BLE001 - raised in the thread that started this one
            self._error = error
        finally:
            self._has_begun.set()

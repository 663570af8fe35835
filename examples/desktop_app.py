"""How a program with windows logs: a file that stays small, a dialog, a report of each crash.

There is no toolkit here: its main loop is a list of things that a user does, and its dialogs are
lines.  Everything about logging is as it would be with one.

Run it with ``python -P examples/desktop_app.py``.  It writes into a temporary folder, shows what is
there in the end, and ends by itself.  ``--folder`` is another one, ``--user`` the user's own.
"""

import argparse
import contextlib
import os
import queue
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

from sprockets.logbook import (
    CRITICAL,
    FingersCrossedHandler,
    Handler,
    Logger,
    LogRecord,
    NestedSetup,
    NullHandler,
    RotatingFileHandler,
    StderrHandler,
)
from sprockets.logbook.compat import redirect_logging

NAME = "teatime"
log = Logger(NAME)


# -- where


def state_folder(environ: Mapping[str, str], platform: str = sys.platform) -> Path:
    """Return where the logs of one user belong on this system."""
    home = Path.home()
    if platform == "win32":
        return Path(environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / NAME / "Logs"
    if platform == "darwin":
        return home / "Library" / "Logs" / NAME
    return Path(environ.get("XDG_STATE_HOME") or home / ".local" / "state") / NAME


# -- what the user sees


class DialogHandler(Handler):
    """Shows records in dialogs, one at a time, in the thread of the windows.

    A log call may come from any thread, and windows belong to one: the call only leaves a text
    behind, and the main loop shows it when it comes round.
    """

    def __init__(self, show: Callable[[str], None], level: str = "WARNING") -> None:
        super().__init__(level, bubble=True)
        self._show = show
        # A program that fails a thousand times need not say so a thousand times.
        self._waiting: queue.Queue[str] = queue.Queue(maxsize=10)

    def emit(self, record: LogRecord) -> None:
        """Leave the text for :meth:`show_waiting`."""
        # Those beyond are in the file.
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(record.message)

    def show_waiting(self) -> None:
        """Show what came; a toolkit calls this from a timer, or when it is idle."""
        while not self._waiting.empty():
            self._show(self._waiting.get_nowait())


# -- set-up


def make_setup(folder: Path, *, has_terminal: bool) -> NestedSetup:
    """Return all that is bound before there is any window.

    Args:
        folder: Where files go; it is there.
        has_terminal: Whether somebody started the program from one, and reads along.
    """
    crash = RotatingFileHandler(folder / "crash.log", delay=True, max_size=1_000_000)
    objects: list[Handler] = [
        # Whatever is below: a program with windows may have no standard error.
        NullHandler(),
        RotatingFileHandler(
            folder / f"{NAME}.log", level="INFO", max_size=1_000_000, backup_count=3
        ),
        # The last 200 records of any level, written once something crashes.
        FingersCrossedHandler(
            crash, action_level=CRITICAL, buffer_size=200, reset=True, bubble=True
        ),
    ]
    if has_terminal:
        objects.append(StderrHandler(level="DEBUG", bubble=True))
    return NestedSetup(objects)


def report_crashes() -> None:
    """Log what nobody catches, in this thread and in others."""

    def report(
        kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, traceback)
            return
        log.critical("this should not have happened: {}", error, exc_info=(kind, error, traceback))

    def report_thread(failed: threading.ExceptHookArgs) -> None:
        if failed.exc_value is not None:
            report(failed.exc_type, failed.exc_value, failed.exc_traceback)

    sys.excepthook = report
    threading.excepthook = report_thread


# -- the program


def brew(tea: str) -> None:
    """Do what a button is for."""
    log.debug("filling the kettle for {}", tea)
    if tea == "rooibos":
        log.warning("there is hardly any {} left", tea)
    log.info("{} minutes for {}", {"green": 2, "black": 4, "rooibos": 7}[tea], tea)


def run_windows(clicks: list[str], idle: Callable[[], None]) -> None:
    """Be the main loop of a toolkit: whatever a callback raises is handed to ``sys.excepthook``.

    Tk does so in ``report_callback_exception``, and Qt by itself.
    """
    for tea in clicks:
        try:
            brew(tea)
        except Exception:  # noqa: BLE001  # as a toolkit does
            sys.excepthook(*sys.exc_info())
        idle()


def main() -> None:
    """Begin, be clicked at, end."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, help="where the logs go; temporary by default")
    parser.add_argument("--user", action="store_true", help="log where this user's logs belong")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        if arguments.user:
            folder = state_folder(os.environ)
        folder.mkdir(parents=True, exist_ok=True)

        # pythonw.exe has no standard error at all.
        setup = make_setup(folder, has_terminal=sys.stderr is not None and sys.stderr.isatty())
        with setup.applicationbound():
            redirect_logging()
            report_crashes()
            log.info("begins")

            # There are windows from here on: one handler more, on top of the others.
            dialogs = DialogHandler(lambda text: print(f"[dialog] {text}"))
            with dialogs.applicationbound():
                run_windows(["green", "rooibos", "coffee", "black"], dialogs.show_waiting)

            log.info("ends")
        for bound in setup.objects:
            if isinstance(bound, Handler):
                bound.close()
        for path in sorted(folder.iterdir()):
            print(f"\n-- {path.name}\n{path.read_text('utf-8')}", end="")


if __name__ == "__main__":
    main()

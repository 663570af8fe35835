"""A real terminal for a child process, as the other end sees it."""

import contextlib
import os
import pty
import subprocess
import sys

WITHOUT = ("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS", "COLORTERM")


def run_in_terminal(code, **environ):
    """Run Python *code* with a terminal as its standard error; return what it shows."""
    kept = {name: value for name, value in os.environ.items() if name not in WITHOUT}
    main, child = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", code],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=child,
            env={**kept, "TERM": "xterm-256color", **environ},
        )
    finally:
        os.close(child)
    shown = b""
    # At its end a terminal whose other side is gone is an error here, and nothing elsewhere.
    with contextlib.suppress(OSError):
        while chunk := os.read(main, 65_536):
            shown += chunk
    os.close(main)
    assert process.wait(60) == 0, shown
    return shown.decode().replace("\r\n", "\n")

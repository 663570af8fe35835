"""The faults that both applications can be given, by environment variables.

``IMPORT`` (``fail``, ``hang``, ``sleep:2``) steers the import of the application, ``STARTUP`` its
start hook, ``SHUTDOWN`` its stop hook.  ``BROKEN`` names a file whose existence fails the import:
for an application that breaks while it runs.  ``MARK`` names a file that gets a line for everything
that happened, with the number of the process.
"""

import asyncio
import os
import time

FOREVER = 3600.0
# In whoever makes the application, so that a leak into an error document can be found.
SECRET = "canary-7f3a"


def mark(event: str) -> None:
    """Append a line to the file that ``MARK`` names, if it does."""
    path = os.environ.get("MARK")
    if path:
        with open(path, "a", encoding="utf-8") as file:
            file.write(f"{event} {os.getpid()}\n")


def _seconds(fault: str) -> float:
    return FOREVER if fault == "hang" else float(fault.removeprefix("sleep:"))


def on_import() -> None:
    """Fail, or hold up the import, if ``IMPORT`` says so."""
    mark("import")
    fault = os.environ.get("IMPORT")
    if fault == "fail" or os.path.exists(os.environ.get("BROKEN", "")):
        raise RuntimeError(f"the import fails: {SECRET}")
    if fault:
        time.sleep(_seconds(fault))


async def _hook(variable: str, event: str) -> None:
    mark(event)
    fault = os.environ.get(variable)
    if fault == "fail":
        raise RuntimeError(f"the {event} hook fails: {SECRET}")
    if fault:
        await asyncio.sleep(_seconds(fault))
    mark(f"{event}-done")


async def on_startup() -> None:
    """Fail, or take its time, if ``STARTUP`` says so."""
    await _hook("STARTUP", "startup")


async def on_shutdown() -> None:
    """Fail, or take its time, if ``SHUTDOWN`` says so."""
    await _hook("SHUTDOWN", "shutdown")

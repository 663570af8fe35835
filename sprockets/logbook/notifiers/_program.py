"""A program that shows a notice: it gets its arguments as they are, and some seconds."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence


def run_program(
    arguments: Sequence[str], *, timeout: float, environ: Mapping[str, str] | None = None
) -> None:
    """Run a program, without a shell.

    Args:
        arguments: Its path, and what it is given.
        timeout: Seconds after which it is killed, with all that it started.
        environ: Its environment; ``None`` means that of the process.

    Raises:
        OSError: It cannot be run, or not in time.
        RuntimeError: It failed; the text is what it said.
    """
    name = os.path.basename(arguments[0])
    program = subprocess.Popen(  # noqa: S603 - no shell, and no argument is taken for an option
        [argument.replace("\0", "\\x00") for argument in arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environ,
        start_new_session=True,
    )
    with program:
        try:
            _, said = program.communicate(timeout=timeout)
        except BaseException as error:
            # Also what it started, which may hold the pipe open.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(program.pid, signal.SIGKILL)
            program.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                raise TimeoutError(f"{name} took longer than {timeout:g} s") from None
            raise
    if program.returncode:
        text = " ".join(said.decode("utf-8", "replace").split())[:200]
        raise RuntimeError(f"{name} failed with {program.returncode}: {text}")

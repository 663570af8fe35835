"""Commands that stand in a pipe: they end quietly when they are no longer needed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Final

_INTERRUPTED: Final = 130  # 128 + SIGINT, as shells count


def run_quietly(main: Callable[[], int]) -> int:
    """Return what *main* returns; 0 if nobody reads its output any more, 130 after Ctrl-C."""
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:
        # What is still buffered has nowhere to go, and the interpreter would say so at exit.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        return 0
    except KeyboardInterrupt:
        return _INTERRUPTED
    return status

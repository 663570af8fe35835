"""Exceptions that are meant to leave a log call.

Whoever asks a handler guards the question: what its ``handle`` raises is reported, and the
application hears nothing of it.  So a handler that is to raise answers with a :class:`Leaving`,
and raises once it is asked what the answer is.
"""

from __future__ import annotations

import sys
from typing import Final, cast

from sprockets.logbook import _caller, _dispatch

_caller.register(__file__)

_ASKING: Final = {_dispatch.__file__}


class Leaving:
    """The answer whether a record was handled: an exception.

    Args:
        error: What is raised when it is asked for.
    """

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __bool__(self) -> bool:
        raise self.error


def asks(filename: str) -> None:
    """Have `leave` return to the code of the file *filename*, which looks at what it gets."""
    _ASKING.add(filename)


def leave(error: BaseException) -> bool:
    """Return what a ``handle`` that calls this has to return for *error* to leave the log call.

    Raises:
        BaseException: The error itself, where ``handle`` was called by neither the dispatcher nor
            anybody else who guards.
    """
    if sys._getframe(2).f_code.co_filename not in _ASKING:
        raise error
    return cast(bool, Leaving(error))

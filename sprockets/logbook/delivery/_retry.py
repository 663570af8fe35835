"""Retry: which failures are worth another try, and when."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

Verdict: TypeAlias = Literal["outage", "transient", "permanent"]


class PermanentError(Exception):
    """Raised by a destination: trying again is of no use, the items become dead letters.

    Args:
        message: What is wrong.
        items: The items of the batch that it refused; ``None`` means all of them.  The others are
            tried again without these.
    """

    def __init__(self, message: str = "", items: Sequence[Any] | None = None) -> None:
        super().__init__(message)
        self.items = items


class RetryLater(Exception):
    """Raised by a destination that says when it wants to be asked again.

    Args:
        after: Seconds to wait; a tenth of a second at least, so that nobody is asked without end.
        message: Why.
    """

    def __init__(self, after: float, message: str = "") -> None:
        super().__init__(message or f"asked to try again after {after} s")
        self.after = after


class PartlyDelivered(Exception):
    """Raised by a destination that took the first *count* items; the rest is tried again.

    Raise it ``from`` the error that kept the rest from being delivered.

    Args:
        count: Items from the beginning of the batch that were delivered.
        message: Why not all.
    """

    def __init__(self, count: int, message: str = "") -> None:
        super().__init__(message or f"only {count} were delivered")
        self.count = count


class UndeliveredError(RuntimeError):
    """Reported when an engine ends before everything was delivered."""


def classify(error: BaseException) -> Verdict:
    """Return what *error* says about the next try.

    ``"outage"``: nobody is there, which will pass; trying goes on for as long as it takes.
    ``"permanent"``: the item cannot be delivered as it is.  ``"transient"``: anything else; there
    is a limit to the tries.

    >>> classify(ConnectionRefusedError()), classify(ValueError()), classify(RuntimeError())
    ('outage', 'permanent', 'transient')
    """
    if isinstance(error, PartlyDelivered) and error.__cause__ is not None:
        return classify(error.__cause__)
    if isinstance(error, (RetryLater, OSError)):
        return "outage"
    if isinstance(error, _MISTAKES):
        return "permanent"
    return "transient"


_SHORTEST: Final = 0.1
"""Seconds before the next try at least, whatever a server says."""
_MISTAKES: Final = (
    PermanentError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NameError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True)
class Retry:
    """When to try again: ever later, and never all at the same time.

    The waits double, from *initial* up to *maximum*.  Up to half of each is left off at random, so
    that processes that failed together do not come back together.

    Args:
        initial: Seconds before the second try.
        maximum: Seconds between two tries at most.
        factor: What each wait is multiplied with for the next.
        attempts: Tries of one batch after which it is given up, its items dead letters; outages do
            not count.  ``None`` is no limit.
        classify: Says which failures are worth another try.
        random: Returns numbers from 0 to 1.
    """

    initial: float = 0.5
    maximum: float = 30.0
    factor: float = 2.0
    attempts: int | None = 10
    classify: Callable[[BaseException], Verdict] = classify
    random: Callable[[], float] = random.random

    def delay(self, failures: int, error: BaseException | None = None) -> float:
        """Return the seconds to wait after so many *failures* in a row, the last being *error*.

        >>> Retry(initial=1.0, random=lambda: 1.0).delay(3)
        4.0
        """
        if isinstance(error, RetryLater):
            return max(error.after, min(self.initial, _SHORTEST))
        # An exponent without bound overflows after some hundred failures.
        longest = min(self.maximum, self.initial * self.factor ** min(failures - 1, 64))
        return longest * (0.5 + 0.5 * self.random())

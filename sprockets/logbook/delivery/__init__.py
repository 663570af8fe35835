"""Delivery: the engine between log calls and whatever is slow, remote, or down."""

from sprockets.logbook.delivery._engine import Delivery
from sprockets.logbook.delivery._ledger import Policy
from sprockets.logbook.delivery._retry import (
    PartlyDelivered,
    PermanentError,
    Retry,
    RetryLater,
    UndeliveredError,
    classify,
)
from sprockets.logbook.delivery._spool import Spool, SpoolFullError

__all__ = [
    "Delivery",
    "PartlyDelivered",
    "PermanentError",
    "Policy",
    "Retry",
    "RetryLater",
    "Spool",
    "SpoolFullError",
    "UndeliveredError",
    "classify",
]

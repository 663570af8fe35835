"""What an error of a store says about the next try."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final

from sprockets.logbook.delivery._retry import Verdict, classify

_KNOWN: Final[Mapping[str, Mapping[str, Verdict]]] = {
    "sqlalchemy.exc": {
        "DisconnectionError": "outage",
        "TimeoutError": "outage",
        "DataError": "permanent",
        "IntegrityError": "permanent",
        "NotSupportedError": "permanent",
    },
    "pymongo.errors": {
        "ConnectionFailure": "outage",
        "ExecutionTimeout": "outage",
        "DuplicateKeyError": "transient",
        "DocumentTooLarge": "permanent",
        "InvalidDocument": "permanent",
        "InvalidStringData": "permanent",
    },
}


def verdict_on(error: BaseException) -> Verdict:
    """Return what *error* says: see `sprockets.logbook.delivery.classify`.

    Stores raise an `OSError` where time may cure it, which is an outage; here is told apart what
    their libraries raise beside that: what is refused of one entry is permanent.  Libraries that
    are not in use are not imported.

    >>> verdict_on(ConnectionResetError()), verdict_on(ValueError())
    ('outage', 'permanent')
    """
    if getattr(error, "connection_invalidated", False):
        return "outage"
    for name, verdicts in _KNOWN.items():
        module = sys.modules.get(name)
        if module is not None:
            for kind, verdict in verdicts.items():
                if isinstance(error, _class_of(module, kind)):
                    return verdict
    return classify(error)


def _class_of(module: Any, name: str) -> tuple[type, ...]:
    found = getattr(module, name, None)
    return (found,) if isinstance(found, type) else ()

"""What the errors of a database mean, and what to do about them."""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

from sprockets.logbook.ticketing._sql_library import sa

Kind: TypeAlias = Literal[
    "lost", "locked", "conflict", "no database", "no rights", "no tables", "unusable", "other"
]
"""What an error means.

``"lost"``: there is no server, or no longer.  ``"locked"``: another holds what is needed.
``"conflict"``: another was faster, and at the next try all is well.
"""


class StoreUnavailableError(ConnectionError):
    """Raised where a database cannot be used as it is just now; trying later may help."""


class StoreLockedError(TimeoutError):
    """Raised where others held locks in a database for too long; trying later may help."""


class MissingTablesError(StoreUnavailableError):
    """Raised where a database has no tables for tickets, or not all, and none may be made."""


_POSTGRESQL: Final[dict[str, Kind]] = {
    "08": "lost",
    "23": "conflict",
    "25006": "no rights",
    "28": "no rights",
    "3D000": "no database",
    "40": "conflict",
    "42501": "no rights",
    "42703": "no tables",
    "42P01": "no tables",
    "53": "unusable",
    "55P03": "locked",
    "57P": "lost",
    "57P04": "no database",
    "58": "unusable",
}
"""By the begin of SQLSTATE; the longest that fits counts."""
_MYSQL: Final[dict[int, Kind]] = {
    **dict.fromkeys((1020, 1062, 1213, 1452), "conflict"),
    **dict.fromkeys((1040, 1053, 1152, 1158, 1159, 1160, 1161, 1203, 1927, 4031), "lost"),
    **dict.fromkeys((2002, 2003, 2006, 2013, 2014, 2055), "lost"),
    **dict.fromkeys((1044, 1045, 1142, 1143, 1227, 1290, 1698), "no rights"),
    **dict.fromkeys((1021, 1030, 1041, 1114), "unusable"),
    1049: "no database",
    1054: "no tables",
    1146: "no tables",
    1205: "locked",
}
_SQLITE: Final[dict[int, Kind]] = {
    3: "no rights",
    5: "locked",
    6: "locked",
    7: "unusable",
    8: "no rights",
    10: "unusable",
    11: "unusable",
    13: "unusable",
    14: "no database",
    19: "conflict",
    23: "no rights",
    26: "unusable",
}
"""By SQLite's primary result codes."""

_ADVICE: Final[dict[Kind, str]] = {
    "lost": "cannot reach {url}; is the server running?",
    "locked": "others hold locks in {url} for longer than lock_timeout",
    "conflict": "others change the same tickets in {url} all the time",
    "no database": "there is no database at {url}, or it cannot be opened; create it first",
    "no rights": "{url} refuses: grant the account what it needs to read and write there",
    "no tables": "tables or columns are missing in {url}; open it once with autocreate_tables=True",
    "unusable": "{url} cannot be used",
}


def kind_of(error: BaseException) -> Kind:
    """Return what an error of SQLAlchemy means."""
    if not isinstance(error, sa.exc.DBAPIError):
        return "lost" if isinstance(error, sa.exc.TimeoutError) else "other"
    found = kind_of_driver(error.orig)
    if found != "other":
        return found
    if error.connection_invalidated:
        return "lost"
    return "conflict" if isinstance(error, sa.exc.IntegrityError) else "other"


def kind_of_driver(error: Any) -> Kind:
    """Return what an error of a driver means."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        text = str(error)
        if code == 1 and ("no such table" in text or "no such column" in text):
            return "no tables"
        return _SQLITE.get(code & 0xFF, "other")
    first = error.args[0] if getattr(error, "args", ()) else None
    if isinstance(first, int):
        # PyMySQL has 0 for an end of the connection that it noticed itself.
        return _MYSQL.get(first, "lost" if first == 0 else "other")
    return _kind_of_sqlstate(error) if hasattr(error, "sqlstate") else "other"


def _kind_of_sqlstate(error: Any) -> Kind:
    state = error.sqlstate
    if state is None:
        # There was no answer to take one from; what libpq says of a refusal has it as text alone.
        if type(error).__name__ not in ("OperationalError", "ConnectionTimeout"):
            return "other"
        text = str(error)
        if 'database "' in text and "does not exist" in text:
            return "no database"
        return "no rights" if "authentication failed" in text or "role " in text else "lost"
    for length in (5, 3, 2):
        if state[:length] in _POSTGRESQL:
            return _POSTGRESQL[state[:length]]
    return "other"


def translated(error: Exception, kind: Kind, url: str) -> Exception:
    """Return what to raise for *error*, which says what to do.

    Whatever time may cure is an `OSError`: the delivery engine tries that again, for as long as it
    takes.
    """
    if kind == "other" or isinstance(error, sa.exc.IntegrityError):
        # What contradicts itself every time is wrong, not late.
        return error
    cause = " ".join(str(getattr(error, "orig", None) or error).split())
    text = f"{_ADVICE[kind].format(url=url)} ({cause})"
    if kind in ("locked", "conflict"):
        return StoreLockedError(text)
    if kind == "no rights":
        return PermissionError(text)
    return MissingTablesError(text) if kind == "no tables" else StoreUnavailableError(text)

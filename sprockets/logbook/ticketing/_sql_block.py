"""Statements that MariaDB is given together: one way to the server and back for all of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from sprockets.logbook.ticketing._sql_database import OutdatedError
from sprockets.logbook.ticketing._sql_library import mysql, sa
from sprockets.logbook.ticketing._sql_statements import Work

_DRIVERS: Final = {"pymysql", "mysqldb"}
"""Those that write values into the text of a statement; a block cannot be prepared."""
_SYNTAX_ERROR: Final = 1064
_REFUSED: Final = "blocks are refused"
"""Among the statements of a store: why there are no blocks."""
_NUMBER: Final = "first_number"
_BEGIN: Final = f"BEGIN NOT ATOMIC DECLARE {_NUMBER} BIGINT; "
_KEEP_NUMBER: Final = f"SET {_NUMBER} = LAST_INSERT_ID(); "
# The servers of a cluster leave gaps for each other.
_STEP: Final = "@@auto_increment_increment"
_INSERT: Final = re.compile(r"(.+? VALUES )(\((?:[^()]|\([^()]*\))*\))(.*)", re.DOTALL)
"""What is said once, for each row, and once more."""


def takes_blocks(work: Work) -> bool:
    """Return whether the server takes blocks, and the driver."""
    dialect: Any = work.connection.dialect
    are_known = work.kind == "mysql" and dialect.is_mariadb and dialect.driver in _DRIVERS
    return are_known and _REFUSED not in work.made


class Block:
    """Statements to be run together.

    Args:
        work: The transaction; :func:`takes_blocks` says whether that can be.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._texts = [_BEGIN]
        self._values: list[Any] = []

    def run(self) -> None:
        """Run them; the first that fails ends it.

        Raises:
            OutdatedError: The server, or what stands before it, knows no blocks; it is not given
                any from now on.
        """
        text = "".join([*self._texts, "END"])
        try:
            self._work.connection.exec_driver_sql(text, tuple(self._values))
        except sa.exc.ProgrammingError as error:
            # With sql_mode=ORACLE, say, they begin with other words.
            if error.orig is None or error.orig.args[:1] != (_SYNTAX_ERROR,):
                raise
            self._work.made[_REFUSED] = str(error.orig)
            raise OutdatedError("blocks are not understood") from error

    def each(
        self,
        name: str,
        make: Callable[[], Any],
        names: Sequence[str],
        rows: Sequence[Sequence[Any]],
    ) -> None:
        """Add a statement for each row.

        Args:
            name: Of the statement.
            make: Makes it.
            names: Its parameters.
            rows: Their values as the driver takes them, in the same order.
        """
        text, order = self._compiled(name, make, names)
        self._texts += [f"{text}; "] * len(rows)
        self._give(order, rows)

    def insert(
        self,
        name: str,
        make: Callable[[], Any],
        names: Sequence[str],
        rows: Sequence[Sequence[Any]],
    ) -> None:
        """Add one statement that inserts all rows, one at least; otherwise like :meth:`each`."""
        text, order = self._compiled(name, make, names)
        parts = _INSERT.fullmatch(text)
        assert parts is not None, text
        head, row, tail = parts.groups()
        self._texts += [head, ", ".join([row] * len(rows)), tail, "; "]
        self._give(order, rows)

    def keep_number(self) -> None:
        """Keep the number that the first row got of what was inserted last, for :meth:`number`."""
        self._texts.append(_KEEP_NUMBER)

    @staticmethod
    def number(place: str) -> Any:
        """Return the number that a row got; the parameter *place* says which, from 0."""
        return sa.literal_column(_NUMBER) + sa.bindparam(
            place, type_=sa.Integer()
        ) * sa.literal_column(_STEP)

    def _give(self, order: Sequence[int], rows: Sequence[Sequence[Any]]) -> None:
        for row in rows:
            self._values += [row[place] for place in order]

    def _compiled(
        self, name: str, make: Callable[[], Any], names: Sequence[str]
    ) -> tuple[str, tuple[int, ...]]:
        """Return the text of a statement, and the places of its parameters among *names*."""
        return self._work.statement(("block", name), lambda: _compiled(make(), names))  # type: ignore[no-any-return]


def _compiled(statement: Any, names: Sequence[str]) -> tuple[str, tuple[int, ...]]:
    # Both drivers take places, whatever SQLAlchemy gives them.
    dialect = mysql.dialect(paramstyle="format")
    compiled = statement.compile(dialect=dialect, column_keys=list(names))
    return str(compiled), tuple(map(names.index, compiled.positiontup))

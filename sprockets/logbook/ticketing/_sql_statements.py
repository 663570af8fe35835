"""Statements that each kind of database words differently."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sprockets.logbook.ticketing._sql_library import mysql, postgresql, sa, sqlite
from sprockets.logbook.ticketing._tables import Tables


@dataclass(frozen=True, slots=True)
class Work:
    """A transaction under way, and what it is about.

    Args:
        connection: Where it is under way.
        tables: The tables.
        kind: ``"sqlite"``, ``"postgresql"`` or ``"mysql"``.
        made: Statements by name: to make one takes longer than to run it.
    """

    connection: sa.Connection
    tables: Tables
    kind: str
    made: dict[Any, Any]

    def statement(self, name: Any, make: Callable[[], Any]) -> Any:
        """Return the statement of that name, which *make* makes when it is first asked for."""
        found = self.made.get(name)
        if found is None:
            found = self.made[name] = make()
        return found

    def all(self, statement: Any, parameters: Any = None) -> Sequence[Any]:
        """Return the rows."""
        return self.connection.execute(statement, parameters).all()

    def first(self, statement: Any) -> Any:
        """Return the first row, or None."""
        return self.connection.execute(statement).first()

    def scalar(self, statement: Any, parameters: Any = None) -> Any:
        """Return the first value of the first row."""
        return self.connection.execute(statement, parameters).scalar()

    def do(self, statement: Any, parameters: Any = None) -> int:
        """Return how many rows were changed."""
        return self.connection.execute(statement, parameters).rowcount

    def locking(self, statement: Any) -> Any:
        """Return *statement* with a lock on its rows; on SQLite the transaction is alone anyway."""
        return statement if self.kind == "sqlite" else statement.with_for_update()

    def locked(self, statement: Any) -> Sequence[Any]:
        """Return the rows, locked in that order."""
        return self.all(self.locking(statement))

    def insert_missing(self, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert rows; those whose keys are there already are left aside."""
        if not rows:
            return
        statement = self.statement(("missing", table.name), lambda: self._inserting_missing(table))
        self.connection.execute(statement, rows)

    def _inserting_missing(self, table: sa.Table) -> Any:
        if self.kind != "mysql":
            return self._insert(table).on_conflict_do_nothing()
        key = next(iter(table.primary_key))
        # Unlike IGNORE, this does not turn other errors into warnings.
        return mysql.insert(table).on_duplicate_key_update({key.name: key})

    def upsert(
        self, table: sa.Table, rows: Sequence[Mapping[str, Any]], *, added: Iterable[str] = ()
    ) -> None:
        """Insert rows, or put their values into the rows that have the same primary key.

        Args:
            table: The table.
            rows: Values by column, the same columns in all.
            added: Columns whose values are added to what is there.
        """
        if not rows:
            return
        names, added = tuple(rows[0]), tuple(added)
        statement = self.statement(
            ("upsert", table.name, names, added), lambda: self._upserting(table, names, added)
        )
        self.connection.execute(statement, rows)

    def _upserting(self, table: sa.Table, names: Iterable[str], added: Iterable[str]) -> Any:
        keys = [column.name for column in table.primary_key]
        statement = self._insert(table)
        given = statement.inserted if self.kind == "mysql" else statement.excluded
        values = {
            name: table.c[name] + given[name] if name in added else given[name]
            for name in names
            if name not in keys
        }
        if self.kind == "mysql":
            return statement.on_duplicate_key_update(values)
        return statement.on_conflict_do_update(index_elements=keys, set_=values)

    def _insert(self, table: sa.Table) -> Any:
        dialects: Any = {"sqlite": sqlite, "postgresql": postgresql, "mysql": mysql}
        return dialects[self.kind].insert(table)

    def insert_numbered(
        self, column: sa.Column[Any], rows: Sequence[Mapping[str, Any]]
    ) -> list[int]:
        """Insert rows and return their numbers, in order.

        Args:
            column: The primary key, for which the database has numbers.
            rows: Values of the other columns.
        """
        table = column.table
        assert isinstance(table, sa.Table)
        if self.kind == "sqlite":
            # Nobody else writes meanwhile.
            last = self.scalar(self.statement(("last", table.name), lambda: _last_of(column)))
            numbers = list(range(last + 1, last + 1 + len(rows)))
            self.connection.execute(
                self.statement(("numbered", table.name), table.insert),
                [{**row, column.name: number} for row, number in zip(rows, numbers, strict=True)],
            )
            return numbers
        if self.connection.dialect.insert_executemany_returning_sort_by_parameter_order:
            statement = self.statement(
                ("numbered", table.name),
                lambda: table.insert().returning(column, sort_by_parameter_order=True),
            )
            return list(self.connection.execute(statement, rows).scalars())
        return [
            self.connection.execute(table.insert(), row).inserted_primary_key[0]  # type: ignore[index]
            for row in rows
        ]


def _last_of(column: sa.Column[Any]) -> Any:
    """Return the last number that was used on SQLite, even if it was removed since.

    Of tables that Logbook made, the last one that is there.
    """
    sequence = sa.table("sqlite_sequence", sa.column("name"), sa.column("seq"))
    used = sa.select(sequence.c.seq).where(sequence.c.name == column.table.name)
    there = sa.select(sa.func.max(column))
    return sa.select(
        sa.func.max(
            sa.func.coalesce(there.scalar_subquery(), 0),
            sa.func.coalesce(used.scalar_subquery(), 0),
        )
    )


def any_of(name: str) -> Any:
    """Return a parameter that stands for a list."""
    return sa.bindparam(name, expanding=True)

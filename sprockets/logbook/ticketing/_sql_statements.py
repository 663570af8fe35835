"""Statements that each kind of database words differently."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from types import MappingProxyType
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

    def look_up(
        self,
        name: Any,
        make: Callable[[Work], Any],
        given: Mapping[str, Any] = MappingProxyType({}),
        **lists: Sequence[str] | Sequence[int],
    ) -> Sequence[Any]:
        """Return the rows of a statement that asks for what is in *lists*.

        Args:
            name: Of the statement.
            make: Makes it; what it asks for comes from :meth:`is_among`.
            given: Its other parameters.
            **lists: What :meth:`is_among` was given the names of.
        """
        known: dict[str, Any] = {**given, **lists}
        if self.kind == "sqlite":
            known.update((name, json.dumps(values)) for name, values in lists.items())
        return self.all(self.statement(name, lambda: make(self)), known)

    def is_among(self, column: Any, name: str) -> Any:
        """Return the condition that *column* is in a list, the parameter *name*.

        Where it can be, the statement is the same however long the list is: nobody has to read and
        plan it again.
        """
        if self.kind == "postgresql":
            array = postgresql.ARRAY(column.type)
            return column == sa.any_(sa.bindparam(name, type_=array))
        if self.kind == "sqlite":
            return column.in_(self.listed(name))
        return column.in_(sa.bindparam(name, expanding=True))

    def listed(self, name: str, type_: Any = None) -> Any:
        """Return what is in a list, the parameter *name*, to be selected from; on SQLite."""
        items = sa.func.json_each(sa.bindparam(name, type_=sa.String())).table_valued("value")
        value = items.c.value
        return sa.select(value if type_ is None else sa.cast(value, type_))

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
        if (
            self.kind != "sqlite"
            and self.connection.dialect.insert_executemany_returning_sort_by_parameter_order
        ):
            statement = self.statement(
                ("numbered", table.name),
                lambda: table.insert().returning(column, sort_by_parameter_order=True),
            )
            return list(self.connection.execute(statement, rows).scalars())
        return [
            self.connection.execute(table.insert(), row).inserted_primary_key[0]  # type: ignore[index]
            for row in rows
        ]

    def moment(self, value: datetime | None) -> Any:
        """Return a time as :meth:`many` takes it."""
        if value is None or self.kind != "sqlite":
            return value
        return value.isoformat(" ", "microseconds")

    def many(
        self, name: Any, make: Callable[[], Any], names: Sequence[str], rows: Sequence[Any]
    ) -> None:
        """Do a statement with each of many rows; what is between here and the driver is left out.

        Args:
            name: Of the statement.
            make: Makes it.
            names: Its parameters.
            rows: Their values, as the driver takes them, in the same order; one at least.
        """
        text, order = self.statement(("many", name), lambda: self._compiled(make(), names))
        if order is None:
            rows = [dict(zip(names, row, strict=True)) for row in rows]
        elif order != tuple(range(len(names))):
            rows = list(map(itemgetter(*order), rows))
        self.connection.exec_driver_sql(text, rows)

    def _compiled(self, statement: Any, names: Sequence[str]) -> tuple[str, tuple[int, ...] | None]:
        """Return the text of a statement, and the places of its parameters, if it counts them."""
        compiled = statement.compile(dialect=self.connection.dialect, column_keys=list(names))
        order = compiled.positiontup
        return str(compiled), None if order is None else tuple(map(names.index, order))

"""The tables, beside those of Logbook if they are there already."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# All of it can be done twice: MariaDB keeps what was made before something failed.

ON_MARIADB: dict[str, Any] = {
    f"{kind}_{name}": value
    for kind in ("mysql", "mariadb")
    for name, value in {"engine": "InnoDB", "charset": "utf8mb4", "collate": "utf8mb4_bin"}.items()
}
MOMENT = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
TEXT = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")


def upgrade(prefix: str) -> None:
    """Make what is missing.

    Args:
        prefix: Begin of the names of all tables.
    """
    connection = op.get_bind()
    kind = connection.dialect.name
    names = set(sa.inspect(connection).get_table_names())
    is_of_logbook = f"{prefix}occurrences" in names

    _make_logbooks(prefix, names)
    if is_of_logbook and kind in ("mysql", "mariadb"):
        # Seconds have no digits there, and texts end after 64 KiB.
        op.alter_column(
            f"{prefix}tickets",
            "last_occurrence_time",
            type_=MOMENT,
            existing_type=sa.DateTime(),
            existing_nullable=True,
        )
        for name, type_ in (("time", MOMENT), ("data", TEXT)):
            op.alter_column(f"{prefix}occurrences", name, type_=type_, existing_nullable=True)
    _make_ours(prefix, names)
    _index(prefix, "tickets", "tickets_last", "last_occurrence_time", "ticket_id")
    _index(prefix, "occurrences", "occurrences_of_ticket", "ticket_id", "time", "occurrence_id")
    _index(prefix, "occurrences", "occurrences_time", "time", "occurrence_id")
    if is_of_logbook:
        _fill_histogram(prefix)
    if kind == "sqlite":
        _make_triggers(prefix)


def _make(names: set[str], name: str, *parts: Any, **options: Any) -> None:
    if name not in names:
        op.create_table(name, *parts, **ON_MARIADB, **options)


def _index(prefix: str, table: str, name: str, *columns: str) -> None:
    name = f"ix_{prefix}{name}"
    known = sa.inspect(op.get_bind()).get_indexes(f"{prefix}{table}")
    if name not in {index["name"] for index in known}:
        op.create_index(name, f"{prefix}{table}", list(columns))


def _make_logbooks(prefix: str, names: set[str]) -> None:
    _make(
        names,
        f"{prefix}tickets",
        sa.Column("ticket_id", sa.Integer, primary_key=True),
        sa.Column("record_hash", sa.String(40), unique=True),
        sa.Column("level", sa.Integer),
        sa.Column("channel", sa.String(120)),
        sa.Column("location", sa.String(512)),
        sa.Column("module", sa.String(256)),
        sa.Column("last_occurrence_time", MOMENT),
        sa.Column("occurrence_count", sa.Integer),
        sa.Column("solved", sa.Boolean),
        sa.Column("app_id", sa.String(80)),
        sqlite_autoincrement=True,
    )
    _make(
        names,
        f"{prefix}occurrences",
        sa.Column("occurrence_id", sa.Integer, primary_key=True),
        sa.Column("ticket_id", sa.Integer, sa.ForeignKey(f"{prefix}tickets.ticket_id")),
        sa.Column("time", MOMENT),
        sa.Column("data", TEXT),
        sa.Column("app_id", sa.String(80)),
        sqlite_autoincrement=True,
    )


def _of_ticket(prefix: str, *, is_key: bool = True) -> sa.Column[Any]:
    target = sa.ForeignKey(f"{prefix}tickets.ticket_id", ondelete="CASCADE")
    return sa.Column(
        "ticket_id", sa.Integer, target, primary_key=is_key, autoincrement=False, nullable=False
    )


def _make_ours(prefix: str, names: set[str]) -> None:
    _make(
        names,
        f"{prefix}ticket_status",
        _of_ticket(prefix),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("title", sa.String(512), nullable=False),
        sa.Column("fingerprint", sa.String(200)),
        sa.Column("assignee", sa.String(200), nullable=False),
        sa.Column("first_time", MOMENT),
        sa.Column("first_release", sa.String(200)),
        sa.Column("last_release", sa.String(200)),
        sa.Column("solved_in", sa.String(200)),
        sa.Column("solved_order", sa.Integer),
        sa.Column("ignored_until", MOMENT),
        sa.Column("ignored_count", sa.Integer),
        sa.Column("merged_into", sa.Integer),
    )
    _index(prefix, "ticket_status", "ticket_status_merged", "merged_into")
    _make(
        names,
        f"{prefix}occurrence_details",
        sa.Column(
            "occurrence_id",
            sa.Integer,
            sa.ForeignKey(f"{prefix}occurrences.occurrence_id", ondelete="CASCADE"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("key", sa.String(64), unique=True),
        sa.Column("hash", sa.String(40)),
        sa.Column("fingerprint", sa.String(200)),
        sa.Column("request_id", sa.String(200)),
        sa.Column("task_uuid", sa.String(200)),
        sa.Column("release", sa.String(200)),
        sa.Column("environment", sa.String(200)),
        sa.Column("leading", TEXT),
    )
    _index(prefix, "occurrence_details", "occurrence_details_request", "request_id")
    _index(prefix, "occurrence_details", "occurrence_details_task", "task_uuid")
    _make(
        names,
        f"{prefix}fingerprints",
        sa.Column("fingerprint", sa.String(200), primary_key=True),
        _of_ticket(prefix, is_key=False),
    )
    _index(prefix, "fingerprints", "fingerprints_of_ticket", "ticket_id")
    _make(
        names,
        f"{prefix}releases",
        sa.Column("release_id", sa.Integer, primary_key=True),
        sa.Column("release", sa.String(200), unique=True, nullable=False),
        sqlite_autoincrement=True,
    )
    _make(
        names,
        f"{prefix}ticket_values",
        _of_ticket(prefix),
        sa.Column("field", sa.String(16), primary_key=True),
        sa.Column("value", sa.String(200), primary_key=True),
    )
    _index(prefix, "ticket_values", "ticket_values_value", "field", "value")
    _make(
        names,
        f"{prefix}history",
        sa.Column("item_id", sa.Integer, primary_key=True),
        _of_ticket(prefix, is_key=False),
        sa.Column("time", MOMENT, nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("text", TEXT, nullable=False),
        sa.Column("facts", TEXT, nullable=False),
        sqlite_autoincrement=True,
    )
    _index(prefix, "history", "history_of_ticket", "ticket_id", "item_id")
    _make(
        names,
        f"{prefix}histogram",
        _of_ticket(prefix),
        sa.Column("hour", MOMENT, primary_key=True),
        sa.Column("count", sa.Integer, nullable=False),
    )
    _make(
        names,
        f"{prefix}tracker_issues",
        _of_ticket(prefix),
        sa.Column("tracker", sa.String(200), primary_key=True),
        sa.Column("issue_id", sa.String(200)),
        sa.Column("url", TEXT),
        sa.Column("commented_at", sa.Integer, nullable=False),
        sa.Column("is_open", sa.Boolean, nullable=False),
        sa.Column("claimed_at", MOMENT),
    )
    _make(
        names,
        f"{prefix}tokens",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("scopes", TEXT, nullable=False),
    )
    _make(
        names,
        f"{prefix}claims",
        sa.Column("name", sa.String(120), primary_key=True),
        sa.Column("until", MOMENT, nullable=False),
    )


def _quoted(name: str) -> str:
    return str(op.get_bind().dialect.identifier_preparer.quote(name))


def _fill_histogram(prefix: str) -> None:
    """Count what Logbook has counted before."""
    # No per cent signs: some drivers take them for parameters.
    hour = {
        "sqlite": "substr(o.time, 1, 13) || ':00:00.000000'",
        "postgresql": "date_trunc('hour', o.time)",
    }.get(op.get_bind().dialect.name, "timestamp(date(o.time), maketime(hour(o.time), 0, 0))")
    histogram, tickets, occurrences = (
        _quoted(f"{prefix}{name}") for name in ("histogram", "tickets", "occurrences")
    )
    connection = op.get_bind()
    # All names are quoted.
    connection.exec_driver_sql(f"DELETE FROM {histogram}")  # noqa: S608
    count, moment = _quoted("count"), _quoted("hour")
    counting = (
        f"INSERT INTO {histogram} (ticket_id, {moment}, {count})"  # noqa: S608
        f" SELECT o.ticket_id, {hour}, count(*) FROM {occurrences} o"
        f" JOIN {tickets} t ON t.ticket_id = o.ticket_id"
        f" WHERE o.time IS NOT NULL GROUP BY o.ticket_id, {hour}"
    )
    connection.exec_driver_sql(counting)


def _make_triggers(prefix: str) -> None:
    """Have what belongs to a ticket go with it, even where Logbook removes that.

    SQLite checks foreign keys only for those who ask for it, and uses ids again.
    """
    of_ticket = (
        "ticket_status", "fingerprints", "ticket_values", "history", "histogram", "tracker_issues",
    )  # fmt: skip
    for table, column, others in (
        ("tickets", "ticket_id", of_ticket),
        ("occurrences", "occurrence_id", ("occurrence_details",)),
    ):
        deletes = " ".join(
            f"DELETE FROM {_quoted(prefix + other)} WHERE {column} = OLD.{column};"  # noqa: S608
            for other in others
        )
        op.get_bind().exec_driver_sql(
            f"CREATE TRIGGER IF NOT EXISTS {_quoted(f'{prefix}{table}_removed')}"
            f" AFTER DELETE ON {_quoted(prefix + table)} BEGIN {deletes} END"
        )

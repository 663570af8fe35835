"""The tables: the two that Logbook knows, and what is kept beside them.

They are written down twice: here for statements, and in the migrations, which make them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Final

from sprockets.logbook.ticketing._sql_library import mysql, sa

ON_MARIADB: Final[dict[str, Any]] = {
    f"{kind}_{name}": value
    for kind in ("mysql", "mariadb")
    # As elsewhere, texts are equal only if they are the same.
    for name, value in {"engine": "InnoDB", "charset": "utf8mb4", "collate": "utf8mb4_bin"}.items()
}
"""Options of tables."""


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of one store; see :func:`make_tables`."""

    tickets: sa.Table
    occurrences: sa.Table
    status: sa.Table
    details: sa.Table
    fingerprints: sa.Table
    releases: sa.Table
    values: sa.Table
    history: sa.Table
    histogram: sa.Table
    issues: sa.Table
    tokens: sa.Table
    claims: sa.Table

    def __iter__(self) -> Any:
        return (getattr(self, field.name) for field in fields(self))


def make_tables(metadata: sa.MetaData, prefix: str) -> Tables:
    """Return the tables, added to *metadata* unless it has them; nothing is made in a database.

    Args:
        metadata: Where they are registered.
        prefix: Begin of all their names.
    """
    string, integer, column = sa.String, sa.Integer, sa.Column
    # Without digits behind the seconds, or 64 KiB at most, would be MariaDB's own choice.
    moment = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
    text = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")

    def table(name: str, *parts: Any, **options: Any) -> sa.Table:
        known: sa.Table | None = metadata.tables.get(f"{prefix}{name}")
        options.update(ON_MARIADB)
        return sa.Table(f"{prefix}{name}", metadata, *parts, **options) if known is None else known

    def of_ticket(*, is_key: bool = True) -> sa.Column[Any]:
        target = sa.ForeignKey(f"{prefix}tickets.ticket_id", ondelete="CASCADE")
        return column(
            "ticket_id", integer, target, primary_key=is_key, autoincrement=False, nullable=False
        )

    def index(name: str, *columns: str) -> sa.Index:
        return sa.Index(f"ix_{prefix}{name}", *columns)

    return Tables(
        tickets=table(
            "tickets",
            column("ticket_id", integer, primary_key=True),
            column("record_hash", string(40), unique=True),
            column("level", integer),
            column("channel", string(120)),
            column("location", string(512)),
            column("module", string(256)),
            column("last_occurrence_time", moment),
            column("occurrence_count", integer),
            column("solved", sa.Boolean),
            column("app_id", string(80)),
            index("tickets_last", "last_occurrence_time", "ticket_id"),
            # An id that somebody has a link to is not given to another.
            sqlite_autoincrement=True,
        ),
        occurrences=table(
            "occurrences",
            column("occurrence_id", integer, primary_key=True),
            column("ticket_id", integer, sa.ForeignKey(f"{prefix}tickets.ticket_id")),
            column("time", moment),
            column("data", text),
            column("app_id", string(80)),
            index("occurrences_of_ticket", "ticket_id", "time", "occurrence_id"),
            index("occurrences_time", "time", "occurrence_id"),
            sqlite_autoincrement=True,
        ),
        status=table(
            "ticket_status",
            of_ticket(),
            column("state", string(16), nullable=False),
            column("title", string(512), nullable=False),
            column("fingerprint", string(200)),
            column("assignee", string(200), nullable=False),
            column("first_time", moment),
            column("first_release", string(200)),
            column("last_release", string(200)),
            column("solved_in", string(200)),
            column("solved_order", integer),
            column("ignored_until", moment),
            column("ignored_count", integer),
            column("merged_into", integer),
            index("ticket_status_merged", "merged_into"),
        ),
        details=table(
            "occurrence_details",
            column(
                "occurrence_id",
                integer,
                sa.ForeignKey(f"{prefix}occurrences.occurrence_id", ondelete="CASCADE"),
                primary_key=True,
                autoincrement=False,
            ),
            column("key", string(64), unique=True),
            column("hash", string(40)),
            column("fingerprint", string(200)),
            column("request_id", string(200)),
            column("task_uuid", string(200)),
            column("release", string(200)),
            column("environment", string(200)),
            column("leading", text),
            index("occurrence_details_request", "request_id"),
            index("occurrence_details_task", "task_uuid"),
        ),
        fingerprints=table(
            "fingerprints",
            column("fingerprint", string(200), primary_key=True),
            of_ticket(is_key=False),
            index("fingerprints_of_ticket", "ticket_id"),
        ),
        releases=table(
            "releases",
            column("release_id", integer, primary_key=True),
            column("release", string(200), unique=True, nullable=False),
            sqlite_autoincrement=True,
        ),
        values=table(
            "ticket_values",
            of_ticket(),
            column("field", string(16), primary_key=True),
            column("value", string(200), primary_key=True),
            index("ticket_values_value", "field", "value"),
        ),
        history=table(
            "history",
            column("item_id", integer, primary_key=True),
            of_ticket(is_key=False),
            column("time", moment, nullable=False),
            column("actor", string(200), nullable=False),
            column("action", string(32), nullable=False),
            column("text", text, nullable=False),
            column("facts", text, nullable=False),
            index("history_of_ticket", "ticket_id", "item_id"),
            # The mark of a store is not to come back when the last item was removed.
            sqlite_autoincrement=True,
        ),
        histogram=table(
            "histogram",
            of_ticket(),
            column("hour", moment, primary_key=True),
            column("count", integer, nullable=False),
        ),
        issues=table(
            "tracker_issues",
            of_ticket(),
            column("tracker", string(200), primary_key=True),
            column("issue_id", string(200)),
            column("url", text),
            column("commented_at", integer, nullable=False),
            column("is_open", sa.Boolean, nullable=False),
            column("claimed_at", moment),
        ),
        tokens=table(
            "tokens",
            column("digest", string(64), primary_key=True),
            column("name", string(200), nullable=False),
            column("scopes", text, nullable=False),
        ),
        claims=table(
            "claims",
            column("name", string(120), primary_key=True),
            column("until", moment, nullable=False),
        ),
    )

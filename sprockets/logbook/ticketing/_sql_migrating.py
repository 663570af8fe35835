"""Migrations: a database is brought up to date when it is opened, by one process of many."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha1
from pathlib import Path
from threading import Lock
from typing import Any, Final

from sprockets._support.optional import optional
from sprockets.logbook.ticketing._sql_database import begun
from sprockets.logbook.ticketing._sql_errors import MissingTablesError, kind_of
from sprockets.logbook.ticketing._sql_library import sa
from sprockets.logbook.ticketing._tables import Tables

HEAD: Final = "0001"
"""The last revision in the folder of migrations."""
_FOLDER: Final = Path(__file__).with_name("_migrations")
_PATIENCE: Final = 100  # seconds: the first of many may have a large database to change

_alembic = Lock()
"""Alembic keeps what it is at in global names."""


def version_table(prefix: str) -> str:
    """Return the name of the table that says how far the migrations are."""
    return f"{prefix}schema_version"


def current_revision(engine: sa.Engine, prefix: str) -> str | None:
    """Return the revision of a database, or None if it has never been migrated."""
    version = sa.table(version_table(prefix), sa.column("version_num"))
    try:
        with engine.connect() as connection:
            return connection.execute(sa.select(version.c.version_num)).scalar()
    except sa.exc.DBAPIError as error:
        if kind_of(error) != "no tables":
            raise
        return None


def migrate(engine: sa.Engine, prefix: str) -> None:
    """Bring a database up to date; what Logbook made is completed, and stays readable to it.

    Safe to do in many threads and processes at once.

    Raises:
        RuntimeError: A later release has changed the database already.
    """
    if current_revision(engine, prefix) == HEAD:
        return
    optional("alembic", extra="sqlalchemy", needed_by="SQLAlchemyBackend")
    with _alembic, _quiet(), _alone(engine, prefix) as connection:
        _upgrade(connection, prefix)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Alembic from telling each step to the log that may be on its way here."""
    logger = logging.getLogger("alembic.runtime.migration")
    level = logger.level
    logger.setLevel(max(level, logging.WARNING))
    try:
        yield
    finally:
        logger.setLevel(level)


def _upgrade(connection: sa.Connection, prefix: str) -> None:
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    config = Config()
    # A per cent sign in a path is not to be taken for a variable.
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    scripts = ScriptDirectory.from_config(config)
    table = version_table(prefix)
    known = {script.revision for script in scripts.walk_revisions()}
    found = MigrationContext.configure(
        connection, opts={"version_table": table}
    ).get_current_revision()
    if found is not None and found not in known:
        raise RuntimeError(
            f"the tables {prefix}* in {connection.engine.url!r} are of a later release"
            f" (revision {found}, known up to {HEAD}); upgrade sprockets.http"
        )

    def steps(revision: Any, _: Any) -> Any:
        return scripts._upgrade_revs("head", revision)

    environment = EnvironmentContext(config, scripts, fn=steps, destination_rev="head")
    with environment:
        environment.configure(connection=connection, version_table=table)
        with environment.begin_transaction():
            environment.run_migrations(prefix=prefix)


def _digest(text: str) -> str:
    return sha1(text.encode(), usedforsecurity=False).hexdigest()


@contextmanager
def _alone(engine: sa.Engine, prefix: str) -> Iterator[sa.Connection]:
    """A connection, in a transaction if the database has them for tables, while others wait."""
    kind = engine.dialect.name
    name = f"sprockets {_digest(f'{engine.url.database} {prefix}')}"
    if kind == "sqlite":
        with engine.connect() as connection, begun(connection):
            yield connection
    elif kind == "postgresql":
        with engine.begin() as connection:
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_PATIENCE}s'")
            number = int(_digest(name)[:15], 16)
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(number)))
            yield connection
    else:
        with engine.connect() as connection:
            if not connection.scalar(sa.select(sa.func.get_lock(name, _PATIENCE))):
                raise TimeoutError(
                    f"another process has been migrating {engine.url!r} for {_PATIENCE} s;"
                    " try again once it is done"
                )
            try:
                connection.commit()
                yield connection
                connection.commit()
            finally:
                connection.rollback()
                connection.execute(sa.select(sa.func.release_lock(name)))
                connection.commit()


def check_tables(engine: sa.Engine, tables: Tables, prefix: str) -> None:
    """Check that a database has all tables and columns; nothing is made.

    Raises:
        MissingTablesError: It has not.
    """
    if current_revision(engine, prefix) == HEAD:
        return
    inspector = sa.inspect(engine)
    there = set(inspector.get_table_names())
    missing = [table.name for table in tables if table.name not in there]
    for table in tables:
        if table.name in there:
            columns = {column["name"] for column in inspector.get_columns(table.name)}
            missing += [f"{table.name}.{name}" for name in table.c.keys() if name not in columns]  # noqa: SIM118
    if missing:
        raise MissingTablesError(
            f"{engine.url!r} has no {', '.join(missing)}, and autocreate_tables=False forbids to"
            " make them; open it once with autocreate_tables=True, by an account that may"
        )

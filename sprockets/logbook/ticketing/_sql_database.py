"""The database: its engine, its transactions, and what a fork does to them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from itertools import count
from threading import Lock, RLock
from typing import Any, Final, TypeVar

from sprockets._support.optional import optional
from sprockets.logbook import _fork
from sprockets.logbook.ticketing._sql_errors import Kind, kind_of, kind_of_driver, translated
from sprockets.logbook.ticketing._sql_library import sa

T = TypeVar("T")

_TRIES: Final[Mapping[Kind, int]] = {"lost": 2, "locked": 2, "conflict": 10}
"""How often a transaction is tried that fails that way."""
_PAUSE: Final = 0.005
"""Seconds, at most, for each conflict so far."""
_FIRST_PAUSE: Final = 0.001
_LAST_PAUSE: Final = 0.004
"""Seconds, about, before whoever waits for another that writes on SQLite asks again."""
_CONNECT_TIMEOUT: Final = 10  # seconds
_ANSWER_TIMEOUT: Final = 120  # seconds

_DRIVERS: Final = {
    "postgresql": ("psycopg", "postgresql"),
    "mysql": ("pymysql", "mariadb"),
    "mariadb": ("pymysql", "mariadb"),
}
"""For each kind of database the driver taken if none is named, and the extra that brings it."""

_abandoned: list[Any] = []
"""Pools of parent processes.  Even to collect them as garbage could end the parent's sessions."""


class OutdatedError(Exception):
    """Raised within a transaction that has to be tried again: others changed what it stands on."""


class Database:
    """An engine, and transactions in it that are tried again if that may help.

    Args:
        uri: URL, or an engine, which stays its owner's.
        lock_timeout: Seconds to wait for locks of others.
        options: Of ``sqlalchemy.create_engine``.
        prepare: Called once with a connection outside of transactions, before the first one.
    """

    def __init__(
        self,
        uri: str | sa.URL | sa.Engine,
        *,
        lock_timeout: float,
        options: Mapping[str, Any],
        prepare: Callable[[sa.Engine], object],
    ) -> None:
        self.lock_timeout = lock_timeout
        self.is_ours = not isinstance(uri, sa.Engine)
        if isinstance(uri, sa.Engine):
            self.base = uri
            if options:
                raise ValueError("engine_options are of no use together with an engine")
        else:
            self.base = self._make_engine(url_of(uri), dict(options))
        self.kind: str = "mysql" if self.base.dialect.name == "mariadb" else self.base.dialect.name
        self.url = self.base.url.render_as_string(hide_password=True)
        self.engine = self.base
        if not self.is_ours and self.kind != "sqlite":
            self.engine = self.base.execution_options(isolation_level="READ COMMITTED")
        self.is_in_memory = self.kind == "sqlite" and is_in_memory(self.base.url)
        self._prepare = prepare
        self._preparing = Lock()
        self._is_prepared = False
        # Threads share the one connection of a database in memory, so they take turns.
        self._turn = RLock()
        self._is_resting = False
        self._is_closed = False
        _fork.hold_at_fork(self)

    def _make_engine(self, url: sa.URL, options: dict[str, Any]) -> sa.Engine:
        kind = url.get_backend_name()
        options.setdefault("pool_pre_ping", True)
        options.setdefault("pool_recycle", 360)
        arguments = options["connect_args"] = dict(options.get("connect_args", {}))
        if kind == "sqlite":
            arguments.setdefault("timeout", self.lock_timeout)
            if is_in_memory(url):
                arguments.setdefault("check_same_thread", False)
                options.setdefault("poolclass", sa.pool.StaticPool)
                del options["pool_recycle"], options["pool_pre_ping"]
        else:
            options.setdefault("isolation_level", "READ COMMITTED")
            arguments.setdefault("connect_timeout", _CONNECT_TIMEOUT)
        if kind == "postgresql":
            arguments.setdefault("keepalives_idle", _CONNECT_TIMEOUT)
            arguments.setdefault("keepalives_interval", _CONNECT_TIMEOUT)
            arguments.setdefault("tcp_user_timeout", _ANSWER_TIMEOUT * 1000)
        elif url.get_driver_name() == "pymysql":
            arguments.setdefault("read_timeout", _ANSWER_TIMEOUT)
            arguments.setdefault("write_timeout", _ANSWER_TIMEOUT)
        if kind in ("mysql", "mariadb"):
            # Every transaction here is ended; once more is once to the server and back.
            options.setdefault("pool_reset_on_return", None)
        engine = sa.create_engine(url, **options)
        sa.event.listen(engine, "connect", self._set_up)
        return engine

    def _set_up(self, connection: Any, _: object) -> None:
        """Set what holds for every transaction of a connection of ours."""
        cursor = connection.cursor()
        try:
            if self.kind == "sqlite":
                # Readers and a writer do not wait for each other then.  It is kept in the file, and
                # somebody who is busy there, or a file that is not to be written, may refuse it.
                with suppress(self.base.dialect.loaded_dbapi.OperationalError):
                    cursor.execute("PRAGMA journal_mode = WAL")
            elif self.kind == "postgresql":
                cursor.execute(f"SET lock_timeout = {int(self.lock_timeout * 1000)}")
                connection.commit()
            elif self.kind == "mysql":
                seconds = max(1, round(self.lock_timeout))
                cursor.execute(f"SET SESSION innodb_lock_wait_timeout = {seconds}")
        finally:
            cursor.close()

    # -- transactions

    def read(self, work: Callable[[sa.Connection], T]) -> T:
        """Return what *work* does, given a connection; what it changes is lost."""
        return self._try(lambda: self._read_once(work))

    def write(self, work: Callable[[sa.Connection], T]) -> T:
        """Return what *work* does in a transaction; it may be called more than once."""
        return self._try(lambda: self._write_once(work))

    def _try(self, do: Callable[[], T]) -> T:
        failures: dict[Kind, int] = {}
        for failed in count(1):
            try:
                if not self._is_prepared:
                    self._be_prepared()
                return do()
            except (sa.exc.SQLAlchemyError, OutdatedError) as error:
                kind: Kind = "conflict" if isinstance(error, OutdatedError) else kind_of(error)
                failures[kind] = failures.get(kind, 0) + 1
                if failures[kind] >= _TRIES.get(kind, 1):
                    raised = translated(error, kind, self.url)
                    if raised is error:
                        raise
                    raise raised from error
                if kind == "conflict":
                    time.sleep(random.random() * _PAUSE * failed)  # noqa: S311 - no secret
        raise AssertionError("unreachable")

    def _be_prepared(self) -> None:
        with self._preparing:
            if not self._is_prepared:
                with self._turn_taken():
                    self._prepare(self.engine)
                self._is_prepared = True

    @contextmanager
    def _turn_taken(self) -> Iterator[None]:
        if not self.is_in_memory:
            yield
            return
        with self._turn:
            yield

    def _read_once(self, work: Callable[[sa.Connection], T]) -> T:
        with self._turn_taken(), self._connected() as connection:
            return work(connection)

    def _write_once(self, work: Callable[[sa.Connection], T]) -> T:
        with self._turn_taken(), self._connected() as connection:
            if self.kind == "sqlite":
                with begun(connection):
                    return work(connection)
            with connection.begin():
                return work(connection)

    @contextmanager
    def _connected(self) -> Iterator[sa.Connection]:
        with self.engine.connect() as connection:
            try:
                yield connection
            finally:
                if self._is_closed and not connection.invalidated:
                    # It is in no pool that anybody would close again.
                    connection.detach()

    def close(self) -> None:
        """Close the connections of an engine of ours; a database in memory is gone then.

        What is asked afterwards makes a connection, and closes it.
        """
        if not self.is_ours:
            return
        self._is_closed = not self.is_in_memory
        with self._turn_taken():
            self.base.dispose()
            if self.is_in_memory:
                self._is_prepared = False

    # -- fork

    def before_fork(self) -> None:
        """Wait until no thread uses the connection that all share."""
        if self.is_in_memory:
            self._is_resting = self._turn.acquire(timeout=_fork.time_to_wait())

    def after_fork_in_parent(self) -> None:
        """Go on."""
        if self._is_resting:
            self._is_resting = False
            self._turn.release()

    def after_fork_in_child(self) -> None:
        """Leave the connections to the parent; a database in memory is the child's own copy."""
        self._preparing, self._turn = Lock(), RLock()
        self._is_resting = False
        if not self.is_in_memory:
            _abandoned.append(self.base.pool)
            self.base.dispose(close=False)


@contextmanager
def begun(connection: sa.Connection) -> Iterator[None]:
    """A transaction on SQLite that may write from its first statement.

    One that begins by reading, as the driver's own do, cannot wait for another that writes.
    """
    connection.execution_options(isolation_level="AUTOCOMMIT")
    _begin(connection)
    try:
        yield
        connection.exec_driver_sql("COMMIT")
    except BaseException:
        with suppress(sa.exc.DBAPIError):  # it ended by itself, as when the disk is full
            connection.exec_driver_sql("ROLLBACK")
        raise


def _begin(connection: sa.Connection) -> None:
    """Begin a transaction; for another that writes, wait as long as the connection would.

    SQLite asks again after a tenth of a second in the end: of many that write, most of the time
    nobody would.
    """
    driver: Any = connection.connection.driver_connection
    ((milliseconds,),) = driver.execute("PRAGMA busy_timeout").fetchall()
    deadline = time.monotonic() + milliseconds / 1000
    pause = _FIRST_PAUSE
    driver.execute("PRAGMA busy_timeout = 0")
    try:
        while not _begins(connection, driver) and time.monotonic() < deadline:
            time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - no secret
            pause = min(2 * pause, _LAST_PAUSE)
        if not driver.in_transaction:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
    finally:
        driver.execute(f"PRAGMA busy_timeout = {milliseconds}")


def _begins(connection: sa.Connection, driver: Any) -> bool:
    """Return whether another try is of no use: a transaction was begun, or cannot be."""
    try:
        driver.execute("BEGIN IMMEDIATE")
    except connection.dialect.loaded_dbapi.Error as error:
        return kind_of_driver(error) != "locked"
    return True


def is_in_memory(url: sa.URL) -> bool:
    """Return whether *url* names a database of SQLite that is in memory."""
    name = url.database or ""
    is_named = name in ("", ":memory:") or name.startswith("file::memory:")
    return is_named or url.query.get("mode") == "memory"


def url_of(uri: str | sa.URL) -> sa.URL:
    """Return *uri* with the driver named, and old spellings replaced.

    Raises:
        MissingDependency: The driver is not installed.
        ValueError: That is no URL of a database.
    """
    try:
        url = sa.make_url(uri)
    except sa.exc.ArgumentError as error:
        raise ValueError(
            f"{uri!r} is no URL of a database; an example: sqlite:////var/lib/tickets.db"
        ) from error
    backend, _, driver = url.drivername.partition("+")
    backend = "postgresql" if backend == "postgres" else backend
    if not driver and backend in _DRIVERS:
        module, extra = _DRIVERS[backend]
        if find_spec(module) is None and _default_driver(url.set(drivername=backend)):
            return url.set(drivername=backend)
        optional(module, extra=extra, needed_by=f"SQLAlchemyBackend on {backend}")
        driver = module
    elif driver in ("psycopg", "pymysql") and backend in _DRIVERS:
        optional(driver, extra=_DRIVERS[backend][1], needed_by=f"SQLAlchemyBackend on {backend}")
    return url.set(drivername=f"{backend}+{driver}" if driver else backend)


def _default_driver(url: sa.URL) -> bool:
    """Whether SQLAlchemy finds a driver of its own choice."""
    try:
        url.get_dialect().import_dbapi()
    except ImportError:
        return False
    return True

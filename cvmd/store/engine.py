"""The database: how it is reached, and how a transaction is run until its outcome is known.

The driver is always in autocommit: a single statement is its own transaction and one round trip; several stand
between an explicit BEGIN and COMMIT. On Galera nothing but a row count decides (faults.md: locks exclude nobody
there), so there is no FOR UPDATE anywhere.
"""

from __future__ import annotations

import fcntl
import os
import random
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

import pymysql
from sqlalchemy import URL, Connection, Engine, Executable, QueuePool, Row, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from cvmd.errors import ConfigError
from cvmd.model import US, Secret
from cvmd.ports import StoreDown, WrongSchema
from cvmd.store.retry import Verdict, delays, judge

T = TypeVar("T")

_MYSQL_SESSION = (
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', time_zone = '+00:00',"
    " innodb_lock_wait_timeout = 5"
)
_UNKNOWN_VARIABLE = 1193
_TRIES = 5


class Duplicate(Exception):
    """A UNIQUE of the schema refused an INSERT: somebody was first, which is an answer."""


class Contended(Exception):
    """Raised by work whose compare-and-set lost to a commit that moved things on: run it from the top."""


class Transaction:
    """What the work of one transaction may do."""

    def __init__(self, connection: Connection, *, repeated: bool) -> None:
        self._connection = connection
        self.repeated: Final = repeated
        """An earlier run of the same work may have been committed: no row may mean that it was."""
        self.undone = False

    def change(self, statement: Executable, /, **values: Any) -> int:
        """How many rows the statement matched."""
        return self._connection.execute(statement, values).rowcount

    def row(self, statement: Executable, /, **values: Any) -> Row[Any] | None:
        """The first row."""
        return self._connection.execute(statement, values).first()

    def rows(self, statement: Executable, /, **values: Any) -> Sequence[Row[Any]]:
        """All rows."""
        return self._connection.execute(statement, values).all()

    def insert(self, statement: Executable, many: Sequence[dict[str, Any]], /) -> None:
        """One row for each of `many`."""
        self._connection.execute(statement, many)

    def undo(self) -> None:
        """Roll back at the end of the work, whose answer stands."""
        self.undone = True


class Database:
    """One database, its pool of connections, and the two ways to run work on it. Safe to use from many threads."""

    def __init__(self, url: str, *, password: Secret | None = None, pool: int = 8, timeout_s: float = 10.0) -> None:
        """`url`: sqlite:////path or mysql+pymysql://user@host/database[?unix_socket=…], without the password.

        Nothing is connected yet. Raises ConfigError for a URL that cannot be used.
        """
        try:
            parsed = make_url(url)
        except ArgumentError:
            raise ConfigError("database.url: not a URL; write sqlite:////path or mysql+pymysql://user@host/db") from None
        self._timeout_s = timeout_s
        self.path: Final = Path(parsed.database or "") if parsed.get_backend_name() == "sqlite" else None
        if self.path is not None:
            self.engine: Final = _sqlite(self.path, pool, timeout_s)
        else:
            self.engine = _mysql(parsed, password, pool, timeout_s)
        self._begin = "BEGIN" if self.path is None else "BEGIN IMMEDIATE"
        self._serving: int | None = None

    def transaction(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` between BEGIN and COMMIT, again from the top while the driver says that it was lost.

        Raises Duplicate; StoreDown where it cannot be done; WrongSchema where a table or column is not there.
        """

        def once(connection: Connection, transaction: Transaction) -> T:
            connection.exec_driver_sql(self._begin)
            try:
                answer = work(transaction)
                if transaction.undone:
                    connection.exec_driver_sql("ROLLBACK")
                else:
                    connection.commit()
            except BaseException:
                _roll_back(connection)
                raise
            return answer

        return self._repeat(once)

    def statement(self, work: Callable[[Transaction], T]) -> T:
        """The same for work of statements each of which stands alone."""
        return self._repeat(lambda _connection, transaction: work(transaction))

    def _repeat(self, once: Callable[[Connection, Transaction], T]) -> T:
        # A try can take one timeout: with a lease of three, all of them together end within it.
        last_try = time.monotonic() + 2 * self._timeout_s
        waits = delays(_TRIES, random.random)
        repeated = False
        while True:
            try:
                with self.engine.connect() as connection:
                    return once(connection, Transaction(connection, repeated=repeated))
            except Contended:
                continue
            except IntegrityError as error:
                raise _integrity(error) from None
            except DBAPIError as error:
                verdict, reason = judge(error.orig)
                if verdict is Verdict.BUG:
                    raise
                if verdict is Verdict.SCHEMA:
                    raise WrongSchema(f"{reason}: run `cvmd db migrate`") from None
                wait_s = next(waits, None) if verdict is Verdict.AGAIN else None
                if wait_s is None or time.monotonic() + wait_s > last_try:
                    raise StoreDown(reason) from None
            except PoolTimeoutError:
                raise StoreDown("every connection is in use (database.pool)") from None
            repeated = True
            time.sleep(wait_s)

    def serve_alone(self) -> None:
        """On SQLite, take the lock file that lets one process only serve; held until `close`. Raises ConfigError."""
        if self.path is None or self._serving is not None:
            return
        lock = self.path.with_name(self.path.name + ".serving")
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise ConfigError(
                f"{self.path}: another cvmd serves this file; stop it, or move to MariaDB to run several"
            ) from None
        self._serving = descriptor

    def close(self) -> None:
        """Let the connections and the lock file go."""
        self.engine.dispose()
        if self._serving is not None:
            os.close(self._serving)
            self._serving = None


def _integrity(error: IntegrityError) -> Exception:
    number = getattr(error.orig, "sqlite_errorcode", None) or (error.orig.args[0] if error.orig else None)
    if number in (1062, sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY):
        return Duplicate()
    return error


def _roll_back(connection: Connection) -> None:
    """After any error: on Galera a COMMIT that follows a lost statement would succeed silently."""
    if connection.invalidated:
        return
    try:
        connection.exec_driver_sql("ROLLBACK")
    except DBAPIError:
        connection.invalidate()  # the server rolls back when it sees the connection gone


def _mysql(url: URL, password: Secret | None, pool: int, timeout_s: float) -> Engine:
    connect_args: dict[str, Any] = {
        "connect_timeout": timeout_s,
        "read_timeout": timeout_s,
        "write_timeout": timeout_s,
        "charset": "utf8mb4",
        "binary_prefix": True,  # else the server takes bytes for text and warns of what is no UTF-8
        "autocommit": True,
    }
    if password is not None:
        connect_args["password"] = password.reveal().decode()
    engine = create_engine(url, connect_args=connect_args, **_options(pool, timeout_s))

    @event.listens_for(engine, "connect")
    def session(connection: pymysql.Connection[Any], _record: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
            try:
                cursor.execute(_MYSQL_SESSION + ", wsrep_sync_wait = 1")
            except pymysql.err.MySQLError as error:
                if error.args[0] != _UNKNOWN_VARIABLE:
                    raise
                cursor.execute(_MYSQL_SESSION)  # a server without Galera

    return engine


def _sqlite(path: Path, pool: int, timeout_s: float) -> Engine:
    # mode=rw: a mistyped path is an error, not a new and empty database.
    uri = f"file:{quote(str(path))}?mode=rw"

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            uri, uri=True, timeout=timeout_s, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.create_function("now_us", 0, lambda: time.time_ns() * US // 1_000_000_000)
        return connection

    return create_engine("sqlite://", creator=connect, poolclass=QueuePool, **_options(pool, timeout_s))


def _options(pool: int, timeout_s: float) -> dict[str, Any]:
    return {
        "isolation_level": "AUTOCOMMIT",
        "skip_autocommit_rollback": True,  # else every return to the pool costs a round trip
        "pool_size": pool,
        "max_overflow": 0,
        "pool_timeout": timeout_s,
        "hide_parameters": True,
    }


def create_file(path: Path) -> None:
    """Make the SQLite file, for its owner only, if there is none."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))

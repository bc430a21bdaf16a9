"""The database: how a transaction is run until its outcome is known.

The driver is in autocommit: a single statement is its own transaction and one round trip; several stand between an
explicit BEGIN and COMMIT. Nothing but the row count of a compare-and-set decides who won: on Galera a lock excludes
nobody on another node, so there is no FOR UPDATE anywhere.
"""

from __future__ import annotations

import fcntl
import os
import random
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar, cast
from weakref import WeakKeyDictionary

import pymysql
from sqlalchemy import (
    ClauseElement,
    Dialect,
    PoolProxiedConnection,
    make_url,
)
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.sql.compiler import SQLCompiler

from cvmd.errors import ConfigError
from cvmd.meter import NO_METER, Meter
from cvmd.model import Secret
from cvmd.ports import StoreDown, WrongSchema
from cvmd.store.connections import mysql_engine, sqlite_engine
from cvmd.store.retry import Verdict, delays, judge
from cvmd.store.tls import NO_TLS, Tls

T = TypeVar("T")
Row: TypeAlias = tuple[Any, ...]

_TRIES = 5


class Duplicate(Exception):  # noqa: N818  # no error but an answer
    """A UNIQUE of the schema refused an INSERT: somebody was first, which is an answer."""


class Contended(Exception):  # noqa: N818  # no error but an answer
    """Raised by work whose compare-and-set lost to a commit that moved things on: run it from the top."""


class _Text:
    """A statement compiled for the driver, once: the values that it has, and the names of those that it wants."""

    def __init__(self, statement: ClauseElement, dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
        assert isinstance(compiled, SQLCompiler), "DDL is not run here"
        self.sql: Final = str(compiled)
        self.values: Final = compiled.params
        # Those that SQLAlchemy names itself, for constants, are `unique`.
        self.wanted: Final = frozenset(bind.key for bind in compiled.binds.values() if not bind.unique)


class Transaction:
    """What the work of one transaction may do.

    SQLAlchemy composes and compiles the statements, the driver's cursor runs them: per statement its own execution
    would cost as much again as the driver.
    """

    def __init__(self, cursor: DBAPICursor, text: Callable[[ClauseElement], _Text], *, repeated: bool) -> None:
        self._cursor = cursor
        self._text = text
        self.repeated: Final = repeated
        """An earlier run of the same work may have been committed: no row may mean that it was."""
        self.undone = False

    def change(self, statement: ClauseElement, /, **values: object) -> int:
        """How many rows the statement matched."""
        self._execute(statement, values)
        return self._cursor.rowcount

    def row(self, statement: ClauseElement, /, **values: object) -> Row | None:
        """The first row."""
        self._execute(statement, values)
        return cast("Row | None", self._cursor.fetchone())

    def rows(self, statement: ClauseElement, /, **values: object) -> Sequence[Row]:
        """All rows."""
        self._execute(statement, values)
        return self._cursor.fetchall()

    def insert_many(self, statement: ClauseElement, many: Sequence[dict[str, object]], /) -> None:
        """One row for each of `many`."""
        text = self._text(statement)
        self._cursor.executemany(text.sql, [{**text.values, **values} for values in many])

    def undo(self) -> None:
        """Roll back at the end of the work, whose answer stands."""
        self.undone = True

    def _execute(self, statement: ClauseElement, values: dict[str, object]) -> None:
        text = self._text(statement)
        if text.wanted != values.keys():
            raise TypeError(f"the statement wants {sorted(text.wanted)} and was given {sorted(values)}")
        self._cursor.execute(text.sql, {**text.values, **values})


class Database:
    """One database, its pool of connections, and the two ways to run work on it. Safe to use from many threads."""

    def __init__(
        self,
        url: str,
        *,
        password: Secret | None = None,
        tls: Tls = NO_TLS,
        pool: int = 8,
        timeout_s: float = 10.0,
        meter: Meter = NO_METER,
    ) -> None:
        """`url`: sqlite:////path or mysql+pymysql://user@host/database[?unix_socket=…], without the password.

        Nothing is connected yet. Raises ConfigError for a URL, or a file of `tls`, that cannot be used.
        """
        try:
            parsed = make_url(url)
        except ArgumentError:
            raise ConfigError(
                "database.url: not a URL; write sqlite:////path or mysql+pymysql://user@host/db"
            ) from None
        self._timeout_s = timeout_s
        self._meter = meter
        self.path: Final = Path(parsed.database or "") if parsed.get_backend_name() == "sqlite" else None
        self.engine: Final = (
            mysql_engine(parsed, password, tls, pool, timeout_s)
            if self.path is None
            else sqlite_engine(self.path, pool, timeout_s)
        )
        self._begin = "BEGIN" if self.path is None else "BEGIN IMMEDIATE"
        self._texts: WeakKeyDictionary[ClauseElement, _Text] = WeakKeyDictionary()
        self._serving: int | None = None

    def transaction(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` between BEGIN and COMMIT, again from the top while the driver says that it was lost.

        Raises Duplicate; StoreDown where it cannot be done; WrongSchema where a table or column is not there.
        """
        return self._repeat(work, together=True)

    def statement(self, work: Callable[[Transaction], T]) -> T:
        """The same for work of statements each of which stands alone."""
        return self._repeat(work, together=False)

    def _repeat(self, work: Callable[[Transaction], T], *, together: bool) -> T:
        # A try can take one timeout: with a lease of three, all of them together end within it.
        last_try = time.monotonic() + 2 * self._timeout_s
        waits = delays(_TRIES, random.random)
        repeated = False
        while True:
            try:
                return self._once(work, together=together, repeated=repeated)
            except Contended:
                continue
            except (pymysql.err.Error, sqlite3.Error, DBAPIError) as error:
                reason = self._reason_to_repeat(error)
                wait_s = next(waits, None)
                if wait_s is None or time.monotonic() + wait_s > last_try:
                    raise StoreDown(reason) from None
            except PoolTimeoutError:
                self._meter.database_failed("pool")
                raise StoreDown("every connection is in use (database.pool)") from None
            repeated = True
            time.sleep(wait_s)

    def _reason_to_repeat(self, error: Exception) -> str:
        """Why the transaction was lost, if that is an error that passes; raises what it means otherwise."""
        verdict, reason = judge(error.orig if isinstance(error, DBAPIError) else error)
        if verdict is Verdict.DUPLICATE:
            raise Duplicate from None
        self._meter.database_failed(verdict.name)
        if verdict is Verdict.BUG:
            raise error
        if verdict is Verdict.SCHEMA:
            raise WrongSchema(f"{reason}: run `cvmd db migrate`") from None
        if verdict is Verdict.DOWN:
            raise StoreDown(reason) from None
        if verdict is Verdict.RECONNECT:
            self.engine.dispose()  # the other idle connections are to the same server, and as dead
        return reason

    def _once(self, work: Callable[[Transaction], T], *, together: bool, repeated: bool) -> T:
        began_s = time.monotonic()
        connection = self.engine.raw_connection()
        try:
            cursor = connection.cursor()
            transaction = Transaction(cursor, self._text, repeated=repeated)
            if not together:
                return work(transaction)
            cursor.execute(self._begin)
            answer = work(transaction)
            cursor.execute("ROLLBACK" if transaction.undone else "COMMIT")
        except BaseException:
            _abandon(connection)
            raise
        else:
            return answer
        finally:
            connection.close()
            self._meter.database_worked(time.monotonic() - began_s)

    def _text(self, statement: ClauseElement) -> _Text:
        text = self._texts.get(statement)
        if text is None:
            text = self._texts[statement] = _Text(statement, self.engine.dialect)
        return text

    def serve_alone(self) -> None:
        """On SQLite, take the lock file that lets one process only serve; held until `close`. Raises ConfigError."""
        if self.path is None or self._serving is not None:
            return
        lock = self.path.with_name(self.path.name + ".serving")
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"{lock}: cannot be made: {error.strerror}; see database.url") from None
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


def _abandon(connection: PoolProxiedConnection) -> None:
    """After any error, even where the connection lives: on Galera a COMMIT that follows may succeed silently."""
    try:
        connection.rollback()
    except (pymysql.err.Error, sqlite3.Error):
        connection.invalidate()  # the server rolls back when it sees the connection gone

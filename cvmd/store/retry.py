"""What a driver's error means for the transaction: the one table, by error number.

Any error of these leaves the transaction lost or its outcome unknown; it is run again from the top, and its
compare-and-sets find out. MySQL's numbers are measured against MariaDB 10.11 and Galera 26.4.
"""

from __future__ import annotations

import re
import sqlite3
import ssl
from collections.abc import Callable, Iterator
from enum import Enum, auto

_LOST = {
    1020: "the record has changed since it was read",
    1180: "the commit failed",
    1205: "a lock was waited for too long",
    1213: "deadlock, or lost to another node",
    1451: "a row that hangs on this one came meanwhile",
    1452: "a row that this one hangs on went meanwhile",
}
_RECONNECT = {
    0: "the connection is closed",
    1040: "too many connections",
    1047: "the node is not part of the cluster",
    1053: "the server is stopping",
    1203: "too many connections of this user",
    1226: "too many connections of this user",
    1290: "the server is read-only",
    1792: "the transaction is read-only",
    1836: "the server is read-only",
    1927: "the connection was killed",
    2003: "the server cannot be reached",
    2006: "the server has gone away",
    2013: "the connection was lost",
    4031: "the connection was idle for too long",
}
_REFUSED = {
    1044: "the user may not use this database",
    1045: "the user or the password is wrong, or the user has to come by TLS (database.tls)",
    1049: "there is no such database",
    1142: "the user lacks a privilege (store/grants.sql); a verb that has --login may need it",
    1143: "the user lacks a privilege (store/grants.sql); a verb that has --login may need it",
    1050: "the tables are half made, a migration was cut off: restore the backup, or begin with an empty database",
    1060: "the tables are half made, a migration was cut off: restore the backup",
    1129: "the server has shut this machine out for its many errors (FLUSH HOSTS)",
    1130: "the server lets nobody in from this machine",
    1698: "the user or the password is wrong",
    1820: "the user's password has expired",
    1862: "the user's password has expired",
    2026: "the server offers no TLS (database.tls)",
    2059: "the user is to authenticate in a way that cvmd lacks; for MariaDB's ed25519 install PyNaCl beside it",
    2061: 'the password would be readable for whoever answers: set database.tls = "verify"',
    3159: "the server wants TLS (database.tls)",
}

_SQLITE_LOST = {
    sqlite3.SQLITE_BUSY: "the file is locked by another process",
    sqlite3.SQLITE_LOCKED: "the file is locked",
}
_SQLITE_REFUSED = {
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened; where there is none yet, `cvmd db migrate` makes it",
    sqlite3.SQLITE_CORRUPT: "the file is damaged",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "the disk does not answer",
    sqlite3.SQLITE_NOTADB: "the file is no SQLite database",
    sqlite3.SQLITE_PERM: "the file cannot be opened",
    sqlite3.SQLITE_READONLY: "the file is read-only",
}
_SQLITE_NO_SUCH = re.compile(r"no such (table|column)|has no column")


class Verdict(Enum):
    """What to do with the transaction that raised."""

    AGAIN = auto()
    RECONNECT = auto()
    """Again, on a new connection."""
    DUPLICATE = auto()
    """A UNIQUE refused the row, which is an answer."""
    DOWN = auto()
    SCHEMA = auto()
    BUG = auto()
    """A statement of ours is wrong."""


_MYSQL = {
    Verdict.AGAIN: _LOST,
    Verdict.RECONNECT: _RECONNECT,
    Verdict.DUPLICATE: {1062: "the row is there already"},
    Verdict.DOWN: _REFUSED,
    Verdict.SCHEMA: {1054: "a column is missing", 1146: "a table is missing"},
}
_SQLITE = {Verdict.AGAIN: _SQLITE_LOST, Verdict.DOWN: _SQLITE_REFUSED}


def judge(error: BaseException | None) -> tuple[Verdict, str]:
    """The verdict on a DBAPI error, and a reason that names no value of any row."""
    if isinstance(error, sqlite3.Error):
        return _judge_sqlite(error)
    refused = getattr(error, "original_exception", None)  # PyMySQL's: what the connecting socket raised
    if isinstance(refused, ssl.SSLError) and not isinstance(refused, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        why = getattr(refused, "verify_message", "") or refused.reason
        return Verdict.DOWN, f"database: TLS: {why} (database.tls, database.tls_ca_file)"
    number = error.args[0] if error is not None and error.args else None
    for verdict, table in _MYSQL.items():
        if number in table:
            return verdict, f"database: {table[number]} ({number})"
    return Verdict.BUG, f"database: error {number}"


def _judge_sqlite(error: sqlite3.Error) -> tuple[Verdict, str]:
    code = getattr(error, "sqlite_errorcode", 0)
    if code in (sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY):
        return Verdict.DUPLICATE, "database: the row is there already"
    for verdict, table in _SQLITE.items():
        if code & 0xFF in table:  # the upper bits say more than the table needs
            return verdict, f"database: {table[code & 0xFF]}"
    if code == sqlite3.SQLITE_ERROR and _SQLITE_NO_SUCH.search(str(error)):
        return Verdict.SCHEMA, "database: a table or column is missing"
    return Verdict.BUG, f"database: SQLite error {code}"


def delays(tries: int, random: Callable[[], float]) -> Iterator[float]:
    """Seconds between `tries` tries: 50 ms, doubled, each jittered to between half of it and all."""
    for number in range(tries - 1):
        yield 0.05 * 2**number * (0.5 + random() / 2)

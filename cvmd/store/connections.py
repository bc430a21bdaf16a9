"""How a connection is made, and what its session is set to.

The driver is always in autocommit: a single statement is its own transaction and one round trip.
"""

from __future__ import annotations

import math
import os
import sqlite3
import ssl
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pymysql
from sqlalchemy import URL, Engine, QueuePool, create_engine, event

from cvmd.model import US, Secret
from cvmd.store.tls import Tls, Wary, is_here, plugins

_MYSQL_SESSION = (
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', time_zone = '+00:00',"
    " innodb_lock_wait_timeout = 5,"
    # An ALTER that waits for a transaction holds up all that come after it: it gives up, and may be run again.
    " lock_wait_timeout = 5"
    # A process that is frozen inside a transaction keeps no row: the server ends it (MariaDB; MySQL has no such thing).
    " /*M!100300 , idle_transaction_timeout = {idle_s} */"
)
_CONNECT_S = 120.0
"""However long a statement may take."""
_UNKNOWN_VARIABLE = 1193


def mysql_engine(url: URL, password: Secret | None, tls: Tls, pool: int, timeout_s: float) -> Engine:
    """MariaDB or MySQL by TCP or Unix socket; a lost server is noticed after `timeout_s`.

    Raises ConfigError for files of TLS that cannot be used.
    """
    context = tls.context()
    proven = context is not None and context.verify_mode is ssl.CERT_REQUIRED
    exposed = not proven and "unix_socket" not in url.query and not is_here(url.host)
    connect_args: dict[str, Any] = {
        "connect_timeout": min(timeout_s, _CONNECT_S),
        "read_timeout": timeout_s,
        "write_timeout": timeout_s,
        "charset": "utf8mb4",
        "binary_prefix": True,  # else the server takes bytes for text and warns of what is no UTF-8
        "autocommit": True,
        "ssl": context,
        "ssl_disabled": context is None,  # else the driver takes TLS where it is offered, and nobody can tell
        "auth_plugin_map": plugins(exposed=exposed),
    }
    if password is not None:
        connect_args["password"] = password.reveal()
    # Half of what a statement may take: who waits for the row tries again within that.
    session_variables = _MYSQL_SESSION.format(idle_s=math.ceil(timeout_s / 2))
    engine = create_engine(url, connect_args=connect_args, **_options(pool, timeout_s))

    if exposed:
        event.listen(engine, "do_connect", lambda _dialect, _record, names, options: Wary(*names, **options))

    @event.listens_for(engine, "connect")
    def session(connection: pymysql.Connection[Any], _record: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
            try:
                cursor.execute(session_variables + ", wsrep_sync_wait = 1")
            except pymysql.err.MySQLError as error:
                if error.args[0] != _UNKNOWN_VARIABLE:
                    raise
                cursor.execute(session_variables)  # a server without Galera

    return engine


def sqlite_engine(path: Path, pool: int, timeout_s: float) -> Engine:
    """A SQLite file, which must be there; a lock is waited for up to `timeout_s`."""
    # mode=rw: a mistyped path is an error, not a new and empty database.
    uri = f"file:{quote(str(path))}?mode=rw"

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            uri,
            uri=True,
            timeout=timeout_s,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.create_function("now_us", 0, lambda: time.time_ns() * US // 1_000_000_000)
        return connection

    return create_engine(
        "sqlite://", creator=connect, poolclass=QueuePool, paramstyle="named", **_options(pool, timeout_s)
    )


def _options(pool: int, timeout_s: float) -> dict[str, Any]:
    return {
        "isolation_level": "AUTOCOMMIT",
        "pool_reset_on_return": None,  # nothing is ever left open, and a ROLLBACK costs a round trip
        "pool_size": pool,
        "max_overflow": 0,
        "pool_timeout": timeout_s,
        "hide_parameters": True,
    }


def create_file(path: Path) -> None:
    """Make the SQLite file, for its owner only, if there is none."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))

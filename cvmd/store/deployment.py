"""The database as an installation: its tables' version, its identity, and the check of its master key."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pymysql
from sqlalchemy import Engine, Select, String, column, event, select, table, update
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.exc import DBAPIError

from cvmd.ports import StoreDown, WrongSchema
from cvmd.store.connections import create_file
from cvmd.store.engine import Database
from cvmd.store.retry import Verdict, judge
from cvmd.store.schema import HEAD, OLDEST, deployment, given

if TYPE_CHECKING:
    from alembic.config import Config

_NO_DEPLOYMENT = "the table deployment is empty: restore it from the backup"
_HALF_MADE = (
    "the database has tables and no revision: the first `cvmd db migrate` is under way, or was cut short; then drop and"
    " create the database, and run it again. If there have been devices in it, restore it from the backup"
)
_GIVE_WAY = "SET SESSION lock_wait_timeout = 1, innodb_lock_wait_timeout = 1"
_PAUSE_S, _TRIES = 1.0, 60
_VERSION: Select[str] = select(column("version_num", String)).select_from(table("alembic_version"))
_DEPLOYMENT = select(deployment.c.deployment_id, deployment.c.key_check)
_SERVES_FROM = select(deployment.c.serves_from)
_SET_KEY_CHECK = update(deployment).where(deployment.c.key_check.is_(None)).values(key_check=given("new_value"))


def schema_version(database: Database) -> str | None:
    """The revision of the tables; None where there are none yet. Raises StoreDown."""
    if database.path is not None and not database.path.exists():
        return None
    try:
        row = database.statement(lambda t: t.row(_VERSION))
    except WrongSchema:
        return None
    return None if row is None else str(row[0])


def check_schema(database: Database) -> None:
    """Raises WrongSchema unless this version of cvmd can work on the tables, be they older or newer; StoreDown."""
    version = schema_version(database)
    if version is None:
        raise WrongSchema("the database has no tables yet: run `cvmd db migrate`")
    if version < OLDEST:
        raise WrongSchema(f"the tables are of revision {version}, this cvmd needs {OLDEST}: run `cvmd db migrate`")
    row = database.statement(lambda t: t.row(_SERVES_FROM))
    if row is None:
        raise WrongSchema(_NO_DEPLOYMENT)
    if row[0] > HEAD:
        raise WrongSchema(
            f"the tables are of revision {version}, for a cvmd of revision {row[0]} or later; this one is of {HEAD}: "
            "upgrade cvmd"
        )


def migrate(database: Database) -> tuple[str | None, str]:
    """Bring the tables to this version, making a SQLite file where there is none: (revision before, after).

    Tables of a later one stay as they are. Raises WrongSchema where those are not for this version; StoreDown, also
    where the user may not make tables.
    """
    from alembic import command

    if database.path is not None:
        create_file(database.path)
    before = schema_version(database)
    if before is not None and before > HEAD:
        check_schema(database)
        return before, before
    if before is None and _has_tables(database):
        raise WrongSchema(_HALF_MADE)
    config = _alembic()
    try:
        with database.engine.connect() as connection, _patience(database.engine):
            # SQLite's DDL is transactional; each of MySQL's statements commits by itself.
            connection.exec_driver_sql("BEGIN" if database.path is not None else _GIVE_WAY)
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
    except DBAPIError as error:
        verdict, reason = judge(error.orig)
        if verdict is Verdict.BUG:
            raise
        raise StoreDown(reason) from None
    return before, HEAD


def _has_tables(database: Database) -> bool:
    try:
        database.statement(lambda t: t.row(_SERVES_FROM))
    except WrongSchema:
        return False
    return True


@contextmanager
def _patience(engine: Engine) -> Iterator[None]:
    """Meanwhile a statement that gave way to the nodes at work is run again.

    An ALTER waits for the transactions that use its table, all others wait behind it, and one of those may hold a row
    that such a transaction wants: nothing goes on before somebody gives up.
    """

    def execute(cursor: DBAPICursor, statement: str, parameters: Any, _context: object) -> bool:  # noqa: ANN401  # the driver's
        waits = iter([_PAUSE_S] * _TRIES)
        while True:
            try:
                cursor.execute(statement, parameters)
            except (pymysql.err.Error, sqlite3.Error) as error:
                wait_s = next(waits, None)
                if wait_s is None or judge(error)[0] is not Verdict.AGAIN:
                    raise
                time.sleep(wait_s)
            else:
                return True  # done: the engine need not

    event.listen(engine, "do_execute", execute)
    try:
        yield
    finally:
        event.remove(engine, "do_execute", execute)


def _alembic() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config


class DeploymentRow:
    """The one row of `deployment`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def deployment_id(self) -> bytes:
        """16 random bytes that the first migration drew."""
        row = self._database.statement(lambda t: t.row(_DEPLOYMENT))
        if row is None:
            raise WrongSchema(_NO_DEPLOYMENT)
        return bytes(row[0])

    def key_check(self) -> bytes | None:
        """What tells whether the master key is the one that everything here is sealed under; None: not set yet."""
        row = self._database.statement(lambda t: t.row(_DEPLOYMENT))
        return None if row is None else row[1]

    def set_key_check(self, value: bytes) -> bool:
        """Set it once. False: there is one."""
        return self._database.statement(lambda t: t.change(_SET_KEY_CHECK, new_value=value)) > 0

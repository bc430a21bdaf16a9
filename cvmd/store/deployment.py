"""The database as an installation: its tables' version, its identity, and the check of its master key."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Select, String, column, select, table, update
from sqlalchemy.exc import DBAPIError

from cvmd.ports import StoreDown, WrongSchema
from cvmd.store.connections import create_file
from cvmd.store.engine import Database
from cvmd.store.retry import Verdict, judge
from cvmd.store.schema import HEAD, deployment, given

if TYPE_CHECKING:
    from alembic.config import Config

_VERSION: Select[str] = select(column("version_num", String)).select_from(table("alembic_version"))
_DEPLOYMENT = select(deployment.c.deployment_id, deployment.c.key_check)
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
    """Raises WrongSchema unless the tables are those of this version of cvmd; StoreDown."""
    version = schema_version(database)
    if version is None:
        raise WrongSchema("the database has no tables yet: run `cvmd db migrate`")
    if version < HEAD:
        raise WrongSchema(f"the tables are of revision {version}, this cvmd needs {HEAD}: run `cvmd db migrate`")
    if version > HEAD:
        raise WrongSchema(f"the tables are of revision {version}, newer than this cvmd's {HEAD}: upgrade cvmd")


def migrate(database: Database) -> tuple[str | None, str]:
    """Bring the tables to this version, making a SQLite file where there is none: (revision before, after).

    Raises StoreDown, also where the user may not make tables.
    """
    from alembic import command

    if database.path is not None:
        create_file(database.path)
    before = schema_version(database)
    if before is not None and before > HEAD:
        check_schema(database)
    config = _alembic()
    try:
        with database.engine.connect() as connection:
            # SQLite's DDL is transactional; MySQL's commits each table by itself.
            connection.exec_driver_sql("BEGIN")
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
    except DBAPIError as error:
        verdict, reason = judge(error.orig)
        if verdict is Verdict.BUG:
            raise
        raise StoreDown(reason) from None
    return before, HEAD


def status(database: Database) -> list[tuple[str, str, bool]]:
    """Of every revision, oldest first: its number, what it does, whether it is applied."""
    from alembic.script import ScriptDirectory

    version = schema_version(database) or ""
    revisions = ScriptDirectory.from_config(_alembic()).walk_revisions()
    return [(it.revision, it.doc, it.revision <= version) for it in reversed(list(revisions))]


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
            raise WrongSchema("the table deployment is empty: restore it from the backup")
        return bytes(row[0])

    def key_check(self) -> bytes | None:
        """What tells whether the master key is the one that everything here is sealed under; None: not set yet."""
        row = self._database.statement(lambda t: t.row(_DEPLOYMENT))
        return None if row is None else row[1]

    def set_key_check(self, value: bytes) -> bool:
        """Set it once. False: there is one."""
        return self._database.statement(lambda t: t.change(_SET_KEY_CHECK, new_value=value)) > 0

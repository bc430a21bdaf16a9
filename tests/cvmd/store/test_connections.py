"""What a session is set to, on each database."""

import getpass
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text, update

from cvmd.model import Secret
from cvmd.ports import StoreDown
from cvmd.store import Database, migrate
from cvmd.store.schema import accounts, given, products
from tests.cvmd.store.conftest import Scene
from tools.mariadb import MariaDB

_REGION = select(accounts.c.region).where(accounts.c.id == 1)


def region(database: Database) -> Any:
    row = database.statement(lambda t: t.row(_REGION))
    assert row is not None
    return row[0]


# MariaDB


def test_the_session_is_set_up(mariadb_url: str) -> None:
    database = Database(mariadb_url)
    wanted = {
        "@@autocommit": 1,
        "@@tx_isolation": "READ-COMMITTED",
        "@@time_zone": "+00:00",
        "@@innodb_lock_wait_timeout": 5,
        "@@lock_wait_timeout": 5,
        "@@idle_transaction_timeout": 5,
        "@@wsrep_sync_wait": 1,
    }
    row = database.statement(lambda t: t.row(text(f"SELECT {', '.join(wanted)}, @@sql_mode")))
    assert row is not None
    assert row[:-1] == tuple(wanted.values())
    assert "STRICT_ALL_TABLES" in row[-1]
    database.close()


def test_the_password_comes_apart_from_the_url(tables_url: str, mariadb: MariaDB) -> None:
    account, _, rest = tables_url.rpartition("@")
    user, _, password = account.rpartition(":")
    database = Database(f"{user}@{rest}", password=Secret(password.encode()))
    region(database)
    database.close()
    wrong = Database(f"{user}@{rest}", password=Secret(b"wrong password"))
    with pytest.raises(StoreDown) as caught:
        region(wrong)
    assert "1045" in str(caught.value)
    assert "wrong password" not in str(caught.value) + repr(wrong.engine.url)


def test_a_frozen_transaction_is_ended_by_the_server(mariadb: MariaDB, tables_url: str) -> None:
    """Its process has stopped and its connection stands: its row locks go all the same."""
    set_region = update(accounts).where(accounts.c.id == 1).values(region=given("to"))
    frozen = Database(tables_url, timeout_s=2).engine.raw_connection()
    frozen.cursor().execute("BEGIN")
    frozen.cursor().execute("UPDATE accounts SET region = 'never' WHERE id = 1")
    other = Database(tables_url, timeout_s=2)
    assert other.transaction(lambda t: t.change(set_region, to="eu-west-1")) == 1
    assert region(other) == "eu-west-1"
    frozen.invalidate()
    other.close()


def test_a_unix_socket_needs_no_network(mariadb: MariaDB) -> None:
    user = getpass.getuser()
    mariadb.execute("CREATE DATABASE by_socket")
    database = Database(f"mysql+pymysql://{user}@/by_socket?unix_socket={mariadb.socket}")
    row = database.statement(lambda t: t.row(text("SELECT CURRENT_USER(), @@port")))
    assert row == (f"{user}@localhost", mariadb.port)
    database.close()
    mariadb.execute("DROP DATABASE by_socket")


# SQLite


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "other.db"


def test_sqlite_is_durable_and_keeps_its_references(file: Path) -> None:
    database = Database(f"sqlite:///{file}")
    migrate(database)
    pragmas = [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1)]
    for name, value in pragmas:
        assert database.statement(lambda t, name=name: t.row(text(f"PRAGMA {name}"))) == (value,)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
    database.close()


def test_a_mistyped_path_makes_no_empty_database(file: Path) -> None:
    database = Database(f"sqlite:///{file}")
    with pytest.raises(StoreDown, match="cannot be opened"):
        region(database)
    assert not file.exists()


def test_the_sqlite_file_is_its_owners(file: Path) -> None:
    database = Database(f"sqlite:///{file}")
    migrate(database)
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
    database.close()


def test_a_reference_to_nothing_is_refused(scene: Scene) -> None:
    with pytest.raises(Exception, match=r"(?i)foreign key"):
        scene.sql(f"UPDATE {products.name} SET account_id = 999")

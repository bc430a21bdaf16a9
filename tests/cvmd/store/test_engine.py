"""Transactions: which are run again, and what survives a lost server."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pymysql
import pytest
from sqlalchemy import literal, select, update

from cvmd.errors import ConfigError
from cvmd.ports import StoreDown, WrongSchema
from cvmd.store import Database, Store, migrate
from cvmd.store.engine import Contended, Duplicate, Transaction
from cvmd.store.schema import accounts, given
from tests.cvmd.events import Heard
from tests.cvmd.store.conftest import TRAIL, LosingDatabase, Scene, at_once
from tools.mariadb import MariaDB

_SET_REGION = update(accounts).where(accounts.c.id == 1).values(region=given("to"))
_REGION = select(accounts.c.region).where(accounts.c.id == 1)


def region(database: Database) -> Any:
    row = database.statement(lambda t: t.row(_REGION))
    assert row is not None
    return row[0]


def failing(error: Exception, times: int = 10**9) -> Callable[[Transaction], bool]:
    """Work that changes a row and then raises, so many times; True once it does not; False if it never ran."""
    left = iter(range(times))

    def work(t: Transaction) -> bool:
        t.change(_SET_REGION, to="lost")
        for _ in left:
            raise error
        t.change(_SET_REGION, to="kept")
        return t.repeated

    return work


def lost(number: int) -> pymysql.err.OperationalError:
    return pymysql.err.OperationalError(number, "secret text")


@pytest.mark.parametrize("number", [1213, 1205, 1047, 2006, 2013])
def test_a_lost_transaction_is_run_again_from_the_top(database: LosingDatabase, number: int) -> None:
    assert database.transaction(failing(lost(number), times=4)) is True
    assert region(database) == "kept"


@pytest.mark.parametrize("number", [1213, 2013])
def test_at_most_five_times(database: LosingDatabase, number: int) -> None:
    with pytest.raises(StoreDown) as caught:
        database.transaction(failing(lost(number), times=5))
    assert "secret" not in str(caught.value)
    assert region(database) is None


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (lost(1045), StoreDown),
        (lost(1146), WrongSchema),
        (lost(1062), Duplicate),
        (lost(1064), pymysql.err.OperationalError),
        (LookupError(), LookupError),
    ],
)
def test_what_cannot_pass_is_not_tried_again(
    database: LosingDatabase, error: Exception, raised: type[Exception]
) -> None:
    with pytest.raises(raised):
        database.transaction(failing(error, times=1))
    assert region(database) is None


def test_a_lost_race_is_run_again_at_once_and_is_no_unknown_outcome(database: LosingDatabase) -> None:
    assert database.transaction(failing(Contended(), times=20)) is False
    assert region(database) == "kept"


def test_undone_work_answers_and_leaves_nothing(database: LosingDatabase) -> None:
    def work(t: Transaction) -> str:
        t.change(_SET_REGION, to="lost")
        t.undo()
        return "answer"

    assert database.transaction(work) == "answer"
    assert region(database) is None


def test_a_statement_gets_exactly_the_values_it_wants(database: LosingDatabase) -> None:
    with pytest.raises(TypeError, match="to"):
        database.statement(lambda t: t.change(_SET_REGION))
    with pytest.raises(TypeError, match="too"):
        database.statement(lambda t: t.change(_SET_REGION, to="a", too="b"))


def test_a_matched_row_counts_though_nothing_changed(database: LosingDatabase) -> None:
    assert database.statement(lambda t: t.change(_SET_REGION, to="a")) == 1
    assert database.statement(lambda t: t.change(_SET_REGION, to="a")) == 1


def test_bytes_come_back_as_they_went(database: LosingDatabase) -> None:
    every = bytes(range(256))
    row = database.statement(lambda t: t.row(select(literal(every).label("it"))))
    assert row == (every,)


def test_more_threads_than_connections_take_turns(scene: Scene) -> None:
    scene.device(b"a")
    assert all(at_once(16, lambda _: scene.store.view(b"a") is not None))


@pytest.mark.parametrize("url", ["nonsense", "mysql+pymysql://"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises((ConfigError, StoreDown)):
        Database(url, timeout_s=1).statement(lambda t: t.row(_REGION))


def test_a_server_that_is_down_is_said_so_and_one_that_is_back_is_used(mariadb: MariaDB, tables_url: str) -> None:
    database = Database(tables_url, pool=8)
    database.statement(lambda t: t.change(_SET_REGION, to="here"))
    at_once(8, lambda _: region(database))  # a pool full of connections, all to die
    mariadb.kill()
    with pytest.raises(StoreDown, match="2003"):
        region(database)
    mariadb.start()
    assert region(database) == "here"
    assert at_once(8, lambda _: region(database)) == ["here"] * 8
    database.close()


def test_connections_that_died_unseen_are_replaced(mariadb: MariaDB, tables_url: str) -> None:
    database = Database(tables_url, pool=8)
    at_once(8, lambda _: region(database))
    mariadb.stop()
    mariadb.start()
    assert database.transaction(lambda t: t.change(_SET_REGION, to=None)) == 1
    database.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "other.db"


def test_one_process_serves_a_sqlite_file_and_others_may_still_use_it(file: Path) -> None:
    database = Database(f"sqlite:///{file}")
    migrate(database)
    database.serve_alone()
    database.serve_alone()
    other = (
        "from cvmd.store import AdminStore, Database\n"
        f"database = Database('sqlite:///{file}')\n"
        "print(AdminStore(database).key_check())\n"
        "database.serve_alone()\n"
    )
    ran = subprocess.run([sys.executable, "-c", other], capture_output=True, text=True, check=False)
    assert ran.stdout == "None\n"
    assert "another cvmd serves this file" in ran.stderr
    database.close()
    ran = subprocess.run([sys.executable, "-c", other], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_who_may_not_make_the_lock_file_is_told_which_key_to_look_at(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/nowhere/cvmd.db")
    with pytest.raises(ConfigError, match=r"nowhere/cvmd.db.serving: cannot be made: No such file.*database.url"):
        database.serve_alone()
    database.close()


def test_stores_of_one_database_share_it(scene: Scene) -> None:
    scene.device(b"a")
    assert Store(scene.database, TRAIL).view(b"a") is not None


def test_what_it_does_is_told_and_a_lost_run_by_its_kind(database: LosingDatabase) -> None:
    database._meter = heard = Heard()
    assert region(database) is None
    assert (len(heard.of("database_worked")), heard.of("database_failed")) == (1, [])
    database.lose = 1
    assert region(database) is None
    assert heard.of("database_failed") == [("RECONNECT",)]
    with pytest.raises(Duplicate):  # an answer
        database.transaction(failing(pymysql.err.IntegrityError(1062, "")))
    assert heard.of("database_failed") == [("RECONNECT",)]


def test_a_pool_that_is_used_up_is_told(tmp_path: Path) -> None:
    heard = Heard()
    database = Database(f"sqlite:///{tmp_path / 'pool.db'}", pool=1, timeout_s=0.01, meter=heard)
    migrate(database)
    connection = database.engine.raw_connection()
    with pytest.raises(StoreDown, match=r"database\.pool"):
        region(database)
    connection.close()
    database.close()
    assert heard.of("database_failed")[-1] == ("pool",)

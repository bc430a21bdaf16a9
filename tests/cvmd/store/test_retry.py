"""The table of errors: again, or never."""

import sqlite3
from pathlib import Path

import pymysql
import pytest

from cvmd.store.retry import Verdict, delays, judge


@pytest.mark.parametrize("number", [1020, 1180, 1205, 1213, 1451, 1452])
def test_lost_to_another_transaction(number: int) -> None:
    assert judge(pymysql.err.OperationalError(number, "text"))[0] is Verdict.AGAIN


@pytest.mark.parametrize("number", [0, 1040, 1047, 1053, 1203, 1226, 1290, 1792, 1836, 1927, 2003, 2006, 2013, 4031])
def test_lost_with_its_connection_or_server(number: int) -> None:
    assert judge(pymysql.err.OperationalError(number, "text"))[0] is Verdict.RECONNECT


@pytest.mark.parametrize(
    "number", [1044, 1045, 1049, 1050, 1060, 1129, 1130, 1142, 1143, 1698, 1820, 1862, 2026, 2059, 2061, 3159]
)
def test_refused_until_a_person_acts(number: int) -> None:
    assert judge(pymysql.err.OperationalError(number, "text"))[0] is Verdict.DOWN


def test_a_sqlite_file_that_is_not_there_yet_says_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError) as missing:
        sqlite3.connect(f"file:{tmp_path}/none.db?mode=rw", uri=True)
    verdict, why = judge(missing.value)
    assert verdict is Verdict.DOWN
    assert "`cvmd db migrate` makes it" in why


@pytest.mark.parametrize("number", [1054, 1146])
def test_other_tables_than_ours(number: int) -> None:
    assert judge(pymysql.err.ProgrammingError(number, "text"))[0] is Verdict.SCHEMA


@pytest.mark.parametrize("number", [1064, 1406, 9999, "text", None])
def test_all_else_is_a_bug(number: object) -> None:
    assert judge(pymysql.err.ProgrammingError(number, "text"))[0] is Verdict.BUG


def test_a_unique_key_is_an_answer() -> None:
    assert judge(pymysql.err.IntegrityError(1062, "Duplicate entry"))[0] is Verdict.DUPLICATE


def test_no_reason_repeats_what_the_server_said() -> None:
    for number in (1213, 2013, 1045, 1146, 1062, 1406):
        assert "hunter2" not in judge(pymysql.err.OperationalError(number, "value 'hunter2'"))[1]


def sqlite_error(path: Path, *statements: str) -> sqlite3.Error:
    """What the last of the statements raises."""
    with sqlite3.connect(path, isolation_level=None) as connection:
        for statement in statements[:-1]:
            connection.execute(statement)
        with pytest.raises(sqlite3.Error) as caught:
            connection.execute(statements[-1])
    connection.close()
    return caught.value


def test_sqlites_errors(tmp_path: Path) -> None:
    file = tmp_path / "db"
    assert judge(sqlite_error(file, "SELECT * FROM absent"))[0] is Verdict.SCHEMA
    unique = sqlite_error(file, "CREATE TABLE t (a UNIQUE)", "INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (1)")
    assert judge(unique)[0] is Verdict.DUPLICATE
    assert judge(sqlite_error(file, "SELEKT"))[0] is Verdict.BUG
    (tmp_path / "text").write_text("no database " * 100)
    assert judge(sqlite_error(tmp_path / "text", "SELECT 1 FROM t"))[0] is Verdict.DOWN


def test_a_locked_sqlite_file_is_tried_again(tmp_path: Path) -> None:
    file = tmp_path / "db"
    holder = sqlite3.connect(file, isolation_level=None)
    holder.execute("CREATE TABLE t (a)")
    holder.execute("BEGIN EXCLUSIVE")
    error = sqlite_error(file, "PRAGMA busy_timeout = 0", "INSERT INTO t VALUES (1)")
    holder.close()
    assert judge(error)[0] is Verdict.AGAIN


def test_delays_double_from_50_ms_with_jitter() -> None:
    assert list(delays(5, lambda: 1.0)) == [0.05, 0.1, 0.2, 0.4]
    assert list(delays(5, lambda: 0.0)) == [0.025, 0.05, 0.1, 0.2]

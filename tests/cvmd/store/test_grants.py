"""SHOW GRANTS read: what is missing, and what is too much."""

import pytest

from cvmd.store.grants import excess, missing, parse

TABLES = ("audit", "devices")
TO = "TO `cvmd`@`localhost`"
DAEMON = (f"GRANT USAGE ON *.* {TO} IDENTIFIED BY PASSWORD '*0123'", f"GRANT SELECT, INSERT, UPDATE ON `cvmd`.* {TO}")


@pytest.mark.parametrize(
    ("lines", "lacking"),
    [
        (DAEMON, []),
        (DAEMON[:1], ["INSERT", "SELECT", "UPDATE"]),
        ([f"GRANT SELECT, INSERT ON `cvmd`.* {TO}"], ["UPDATE"]),
        ([f"GRANT ALL PRIVILEGES ON *.* {TO} WITH GRANT OPTION"], []),
        ([f"GRANT SELECT, INSERT, UPDATE ON `other`.* {TO}"], ["INSERT", "SELECT", "UPDATE"]),
        ([f"GRANT SELECT, INSERT, UPDATE ON `c%d`.* {TO}"], []),
        ([f"GRANT SELECT, INSERT, UPDATE ON `cvm_`.* {TO}"], []),
        ([rf"GRANT SELECT, INSERT, UPDATE ON `cvm\_`.* {TO}"], ["INSERT", "SELECT", "UPDATE"]),
        (
            [f"GRANT SELECT, INSERT ON `cvmd`.* {TO}", f"GRANT UPDATE ON `cvmd`.`devices` {TO}"],
            ["UPDATE on audit"],
        ),
        ([*DAEMON[:1], f"GRANT SELECT, INSERT, UPDATE (`thing`, `policy`) ON `cvmd`.* {TO}"], ["UPDATE"]),
        (["GRANT `vending` TO `cvmd`@`localhost`", "GRANT SELECT, INSERT, UPDATE ON `cvmd`.* TO `vending`"], []),
    ],
)
def test_what_is_missing(lines: list[str], lacking: list[str]) -> None:
    assert missing(parse(lines), "cvmd", TABLES) == lacking


@pytest.mark.parametrize(
    ("line", "more"),
    [
        (DAEMON[0], []),
        (DAEMON[1], []),
        (f"GRANT SELECT, DELETE, DROP ON `cvmd`.* {TO}", ["DELETE, DROP on cvmd.*"]),
        (f"GRANT ALL PRIVILEGES ON *.* {TO} WITH GRANT OPTION", ["ALL PRIVILEGES, GRANT OPTION on *.*"]),
        (f"GRANT SELECT ON *.* {TO}", ["SELECT on *.*"]),
        (f"GRANT SELECT ON `mysql`.`user` {TO}", ["SELECT on mysql.user"]),
        (f"GRANT DELETE ON `cvmd`.`audit` {TO}", ["DELETE on cvmd.audit"]),
    ],
)
def test_what_is_too_much(line: str, more: list[str]) -> None:
    assert excess(parse([line]), "cvmd") == more


def test_a_name_with_a_backtick_is_a_name() -> None:
    assert missing(parse([f"GRANT SELECT, INSERT, UPDATE ON `a``b`.* {TO}"]), "a`b", TABLES) == []

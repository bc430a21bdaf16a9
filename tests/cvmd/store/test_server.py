"""A real MariaDB looked at, as it is and after it was set up badly; and answers that MySQL 8 would give."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from sqlalchemy import text

from cvmd.checks import Check
from cvmd.store import Database, migrate
from cvmd.store import server as looked
from cvmd.store.server import Server, look, server_checks
from tools.mariadb import MariaDB, login

NEEDS = 28
USER = "'store_tests'@'127.0.0.1'"


@pytest.fixture
def daemons(mariadb: MariaDB, tables_url: str) -> Iterator[Database]:
    """With tables, by the daemon's login of the shipped grants."""
    database = Database(tables_url)
    yield database
    database.close()


def checks(database: Database, needs: int = NEEDS) -> dict[str, Check]:
    return {it.name.removeprefix("database "): it for it in server_checks(database, "off", needs)}


def words(found: dict[str, Check]) -> dict[str, str]:
    return {name: it.word for name, it in found.items()}


def test_the_shipped_grants_are_what_it_needs_and_no_more(daemons: Database) -> None:
    found = checks(daemons)
    assert words(found) == {
        "server": "passed", "transport": "passed", "grants": "passed", "excess": "passed", "tables": "passed",
        "connections": "passed", "durability": "warning", "binlog": "passed", "session": "passed",
    }  # fmt: skip
    assert found["server"].detail.startswith("MariaDB 1")
    assert found["transport"].detail == "in clear, on this machine"
    assert found["session"].detail.endswith("the server ends the transaction of a process that is frozen")
    # The tests' server is set so, to be quick.
    assert "innodb_flush_log_at_trx_commit = 2" in found["durability"].detail
    assert "set innodb_flush_log_at_trx_commit = 1 on the server" in found["durability"].to_do
    assert all(it.to_do for it in found.values() if it.word in ("warning", "failed"))


@contextmanager
def changed(mariadb: MariaDB, there: str, back: str) -> Iterator[None]:
    """On the server, meanwhile."""
    mariadb.execute(there)
    try:
        yield
    finally:
        mariadb.execute(back)


@pytest.mark.parametrize(
    ("there", "back", "name", "word", "says"),
    [
        (
            f"REVOKE UPDATE ON store_tests.* FROM {USER}", f"GRANT UPDATE ON store_tests.* TO {USER}",
            "grants", "failed", "lacks UPDATE",
        ),
        (
            f"GRANT DELETE ON store_tests.* TO {USER}", f"REVOKE DELETE ON store_tests.* FROM {USER}",
            "excess", "warning", "may also DELETE on store_tests.*",
        ),
        (
            f"GRANT PROCESS ON *.* TO {USER}", f"REVOKE PROCESS ON *.* FROM {USER}",
            "excess", "warning", "may also PROCESS on *.*",
        ),
        (
            "SET GLOBAL max_connections = 20", "SET GLOBAL max_connections = 151",
            "connections", "failed", "opens up to 28, the server lets 20 in",
        ),
        (
            f"ALTER USER {USER} WITH MAX_USER_CONNECTIONS 10", f"ALTER USER {USER} WITH MAX_USER_CONNECTIONS 0",
            "connections", "failed", "opens up to 28, the server lets 10 in",
        ),
        (
            "SET GLOBAL read_only = 1", "SET GLOBAL read_only = 0",
            "server", "failed", "read-only",
        ),
        (
            "ALTER TABLE store_tests.leases ENGINE = Aria", "ALTER TABLE store_tests.leases ENGINE = InnoDB",
            "tables", "failed", "leases is Aria",
        ),
        (
            "UPDATE store_tests.alembic_version SET version_num = '0000'",
            "UPDATE store_tests.alembic_version SET version_num = '0001'",
            "tables", "failed", "of revision 0000",
        ),
    ],
)  # fmt: skip
def test_each_thing_that_is_wrong_is_named_with_what_to_do(
    mariadb: MariaDB, daemons: Database, there: str, back: str, name: str, word: str, says: str
) -> None:
    with changed(mariadb, there, back):
        found = checks(daemons)
    assert (found[name].word, says in found[name].detail) == (word, True), found[name]
    assert found[name].to_do
    daemons.engine.dispose()
    assert checks(daemons)[name].word == "passed"


def test_a_sqlite_file_has_tables_and_no_server(tmp_path_factory: pytest.TempPathFactory) -> None:
    database = Database(f"sqlite:///{tmp_path_factory.mktemp('file') / 'cvmd.db'}")
    migrate(database)
    assert words(checks(database)) == {"server": "not checked", "tables": "passed"}
    database.close()


def test_a_connection_that_a_proxy_has_changed_is_noticed(daemons: Database) -> None:
    single = Database(daemons.engine.url.render_as_string(hide_password=False), pool=1)
    single.statement(lambda t: t.change(text("SET SESSION sql_mode = '', tx_isolation = 'REPEATABLE-READ'")))
    found = checks(single)["session"]
    assert (found.word, found.detail) == ("failed", "isolation = REPEATABLE-READ, sql_mode is not strict")
    single.close()


def test_the_migrating_login_is_too_much_for_a_daemon(tables_url: str) -> None:
    owner = Database(login(tables_url, "migrate"))
    found = checks(owner)
    assert (found["grants"].word, found["excess"].word) == ("passed", "warning")
    owner.close()


# What this server does not say.


@pytest.fixture
def server(daemons: Database) -> Server:
    return look(daemons)


@pytest.mark.parametrize(
    ("check", "variables", "word", "says"),
    [
        (looked._server, {}, "warning", "MySQL 5.7.44"),
        (looked._durability, {"innodb_flush_log_at_trx_commit": "1"}, "passed", "outlives a power failure"),
        (looked._durability, {"log_bin": "ON", "sync_binlog": "0"}, "warning", "sync_binlog = 0"),
        (looked._durability, {"innodb_doublewrite": "OFF"}, "warning", "innodb_doublewrite = OFF"),
        (looked._durability, {"innodb_doublewrite": "DETECT_AND_RECOVER"}, "warning", "trx_commit = 2"),
        (looked._binlog, {"log_bin": "ON"}, "warning", "FULL, kept for ever"),
        (
            looked._binlog,
            {"log_bin": "ON", "binlog_row_image": "MINIMAL", "binlog_expire_logs_seconds": "86400"},
            "passed",
            "MINIMAL, kept 1 days",
        ),
        (looked._binlog, {"log_bin": "ON", "binlog_format": "STATEMENT"}, "failed", "STATEMENT"),
        (looked._session, {"max_allowed_packet": "65536"}, "failed", "max_allowed_packet = 65536"),
    ],
)
def test_other_answers(
    server: Server, check: Callable[[Server], Check], variables: dict[str, str], word: str, says: str
) -> None:
    other = replace(server, version="5.7.44-log", variables={**server.variables, **variables})
    found = check(other)
    assert (found.word, says in found.detail) == (word, True), found


def test_what_mysql_8_lacks_is_no_fault(server: Server) -> None:
    """Its variables of other names, and no way to end a frozen process's transaction."""
    lacking = {"tx_isolation", "idle_transaction_timeout", "expire_logs_days"}
    variables = {name: value for name, value in server.variables.items() if name not in lacking}
    mysql = replace(server, version="8.0.40", variables={**variables, "transaction_isolation": "READ-COMMITTED"})
    assert looked._server(mysql).word == "passed"
    found = looked._session(mysql)
    assert (found.word, "does not end the transaction of a process" in found.detail) == ("passed", True)


@pytest.mark.parametrize(
    ("tls", "cipher", "here", "word", "says"),
    [
        ("off", "", False, "warning", "in clear, to another machine"),
        ("required", "AES", False, "warning", "to whom is not checked"),
        ("verify-ca", "AES", False, "passed", "for whatever host"),
        ("verify", "AES", False, "passed", "TLSv1.3, AES; to the host that was asked for"),
        ("required", "AES", True, "passed", "TLSv1.3"),
    ],
)
def test_the_way_there(server: Server, tls: looked.Mode, cipher: str, here: bool, word: str, says: str) -> None:
    other = replace(server, status={"Ssl_cipher": cipher, "Ssl_version": "TLSv1.3"})
    found = looked._transport(other, tls, by_socket=False, here=here)
    assert (found.word, says in found.detail) == (word, True), found

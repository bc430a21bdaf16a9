"""From a configuration to a database."""

import asyncio
import logging
import os
from pathlib import Path

import pytest
from sqlalchemy import text

from cvmd import config, database
from cvmd.config import Config
from cvmd.database import Watch, configured, connections, database_checks, logged_in
from cvmd.errors import ConfigError, SealError
from cvmd.model import Secret
from cvmd.ports import StoreDown, WrongSchema
from cvmd.sealing import Sealer
from cvmd.store import AdminStore, Database, migrate

REMOTE = '[database]\nurl = "mysql+pymysql://cvmd@db.example.com/cvmd"\n'


def test_a_connection_for_every_thread_that_asks() -> None:
    sizes = config.parse("[database]\npool = 3\n[worker]\nconcurrency = 4\n[disposal]\nconcurrency = 5\n", "test")
    assert connections(sizes) == 3 + 4 + 5 + 3
    assert configured(sizes, pool=7).engine.pool.size() == 7  # type: ignore[attr-defined]  # the pool that it makes


def test_inv6_a_key_of_tls_that_others_can_read_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "tls.key"
    key.write_text("a key")
    key.chmod(0o644)
    text = f'{REMOTE}tls = "verify"\ntls_cert_file = "{key}"\ntls_key_file = "{key}"'
    with pytest.raises(ConfigError, match=r"tls\.key: others may read or write this secret"):
        configured(config.parse(text, "test"))


def test_a_file_of_tls_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    text = f'{REMOTE}tls = "verify-ca"\ntls_ca_file = "{tmp_path}/absent.pem"'
    with pytest.raises(ConfigError, match=r"database\.tls_ca_file: .*absent\.pem: cannot be read: No such file"):
        configured(config.parse(text, "test"))


@pytest.mark.parametrize(("written", "read"), [
    ("cvmd@db:3307/cvmd", "a%40b@db:3307/cvmd"),
    ("db/cvmd", "a%40b@db/cvmd"),
    ("/cvmd?unix_socket=/run/s", "a%40b@/cvmd?unix_socket=/run/s"),
])  # fmt: skip
def test_another_login_to_the_same_database(written: str, read: str) -> None:
    whole = config.parse(f'[database]\nurl = "mysql+pymysql://{written}"\npassword_file = "/one"\npool = 3', "test")
    other = logged_in(whole, "a@b", "/other").database
    assert (other.url, other.password_file, other.pool) == (f"mysql+pymysql://{read}", "/other", 3)
    assert logged_in(whole, None, None) == whole
    with pytest.raises(ConfigError, match=r"^database\.password_file: must be a file's path"):
        logged_in(whole, None, "pa55word")


# Watch


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A watch that looks as often as it can."""
    monkeypatch.setattr(database, "_EVERY_S", 0.01)
    monkeypatch.setattr(database, "_UNTIL_SEEN_S", 0.01)


def a_sealer() -> Sealer:
    return Sealer(Secret(os.urandom(32)))


def set_up(file: Path, sealer: Sealer) -> Database:
    """A migrated database that knows its master key."""
    made = Database(f"sqlite:///{file}")
    migrate(made)
    AdminStore(made).set_key_check(sealer.check_value())
    return made


async def watched(watch: Watch) -> None:
    """Until it ends, which it does by raising."""
    try:
        await asyncio.wait_for(watch.run(), 60)
    finally:
        watch.close()


def test_a_daemon_does_not_begin_on_what_does_not_fit(tmp_path: Path) -> None:
    made = set_up(tmp_path / "cvmd.db", a_sealer())
    watch = Watch(Config(), made, a_sealer())
    with pytest.raises(SealError, match="not the master key that this database was set up with"):
        watch.begin()
    watch.close()
    made.close()


def test_inv6_a_database_that_comes_later_is_checked_then(tmp_path: Path, often: None) -> None:
    """Not there at the start, and then there under another master key: the daemon must not seal for it."""
    file = tmp_path / "cvmd.db"
    file.mkdir()
    later = Database(f"sqlite:///{file}", timeout_s=0.2)
    watch = Watch(Config(), later, a_sealer())
    watch.begin()
    file.rmdir()
    set_up(file, a_sealer()).close()
    with pytest.raises(SealError, match="not the master key"):
        asyncio.run(watched(watch))
    later.close()


def test_a_migration_that_shuts_this_version_out_ends_the_daemon(tmp_path: Path, often: None) -> None:
    sealer = a_sealer()
    made = set_up(tmp_path / "cvmd.db", sealer)
    watch = Watch(Config(), made, sealer)
    watch.begin()

    async def migrated_meanwhile() -> None:
        running = asyncio.create_task(watched(watch))
        made.statement(lambda t: t.change(text("UPDATE alembic_version SET version_num = '9999'")))
        made.statement(lambda t: t.change(text("UPDATE deployment SET serves_from = '9999'")))
        await running

    with pytest.raises(WrongSchema, match="upgrade cvmd"):
        asyncio.run(migrated_meanwhile())
    made.close()


# What is looked at


def test_a_database_that_is_down_is_one_failed_check() -> None:
    down = config.parse('[database]\nurl = "mysql+pymysql://cvmd@127.0.0.1:1/cvmd"\ntimeout_s = 0.2', "test")
    made = configured(down)
    (found,) = database_checks(down, made)
    assert (found.word, found.detail) == ("failed", "the server cannot be reached (2003)")
    assert "database.url" in found.to_do
    made.close()


def test_what_was_found_is_in_the_log_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sealer = a_sealer()
    made = set_up(tmp_path / "cvmd.db", sealer)
    said: list[tuple[int, object, object]] = []
    monkeypatch.setattr(
        database, "canonical", lambda event, *, level, **fields: said.append((level, event, fields["check"]))
    )
    watch = Watch(Config(), made, sealer)
    for _ in range(2):
        watch.begin()
    assert said == [
        (logging.INFO, "database check", "database server"), (logging.INFO, "database check", "database tables")
    ]  # fmt: skip
    watch.close()
    made.close()


def test_a_statement_may_be_given_more_time(mariadb_url: str, tmp_path: Path) -> None:
    """As a migration is: what it had begun would go on at the server, and nobody would know how it ended."""
    head, _, tail = mariadb_url.rpartition("@")
    user, _, word = head.rpartition(":")
    password = tmp_path / "password"
    password.write_text(word)
    password.chmod(0o600)
    short = config.parse(f'[database]\nurl = "{user}@{tail}"\npassword_file = "{password}"\ntimeout_s = 0.5', "test")
    sleep = text("SELECT SLEEP(1.5)")
    patient, hasty = configured(short, timeout_s=600), configured(short)
    assert patient.statement(lambda t: t.row(sleep)) == (0,)
    with pytest.raises(StoreDown, match="2013"):
        hasty.statement(lambda t: t.row(sleep))
    patient.close()
    hasty.close()

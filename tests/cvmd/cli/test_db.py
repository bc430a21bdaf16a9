"""`cvmd db`, run as a process."""

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tools.mariadb import MariaDB

Cli = Callable[..., Any]


def test_status_before_and_after_migrate(cli: Cli, configuration: Path, tmp_path: Path) -> None:
    before = cli("db", "status", "--config", configuration)
    assert before.code == 1
    assert "schema:    -" in before.out
    assert "cvmd db migrate" in before.err

    migrated = cli("db", "migrate", "--config", configuration)
    assert (migrated.code, migrated.out) == (0, "schema: 0001, was none\n"), migrated.err

    after = cli("db", "status", "--config", configuration, "--json")
    assert (after.code, after.err) == (0, "")
    assert after.json["schema"] == after.json["head"]
    assert after.json["reachable"] is True
    assert after.json["master_key"] == "fits"
    assert len(after.json["deployment"]) == 32
    assert stat.S_IMODE((tmp_path / "cvmd.db").stat().st_mode) == 0o600


def test_migrating_again_changes_nothing(cli: Cli, configuration: Path) -> None:
    cli("db", "migrate", "--config", configuration)
    deployment = cli("db", "status", "--config", configuration, "--json").json["deployment"]

    again = cli("db", "migrate", "--config", configuration)

    assert (again.code, again.out) == (0, "schema: 0001, as before\n")
    assert cli("db", "status", "--config", configuration, "--json").json["deployment"] == deployment


def test_no_master_key_makes_no_database(cli: Cli, configuration: Path, tmp_path: Path) -> None:
    (tmp_path / "master.key").unlink()

    assert "master.key: No such file" in cli("db", "migrate", "--config", configuration).complaint(2)
    assert not (tmp_path / "cvmd.db").exists()


def test_inv6_another_master_key_is_told_from_the_right_one(cli: Cli, admin: Cli, tmp_path: Path) -> None:
    (tmp_path / "master.key").unlink()
    cli("secrets", "new", tmp_path / "master.key")

    for verb in ("migrate", "status"):
        assert "not the master key that this database was set up with" in admin("db", verb).complaint(2)


def test_a_directory_that_is_not_there_is_named(cli: Cli, configuration: Path, tmp_path: Path) -> None:
    text = configuration.read_text().replace("/cvmd.db", "/nowhere/cvmd.db")
    configuration.write_text(text)

    complaint = cli("db", "migrate", "--config", configuration).complaint(2)

    assert complaint == (
        f"cvmd: {tmp_path}/nowhere/cvmd.db: cannot be made: No such file or directory; see database.url"
    )


def test_a_file_that_is_no_database_is_named(cli: Cli, configuration: Path, tmp_path: Path) -> None:
    (tmp_path / "cvmd.db").write_text("certainly no database " * 100)

    for verb in ("migrate", "status"):
        complaint = cli("db", verb, "--config", configuration).complaint(3)
        assert "no SQLite database" in complaint


def test_mariadb_is_set_up_by_one_user_and_used_by_another(
    cli: Cli, configuration: Path, mariadb: MariaDB, mariadb_url: str
) -> None:
    """As store/grants.sql has it: the daemon's user makes no tables."""
    url = urlsplit(mariadb_url)
    assert url.password is not None
    daemon = "daemon_of" + url.path.replace("/", "_")
    mariadb.execute(
        f"CREATE USER {daemon} IDENTIFIED BY '{url.password}'",
        f"GRANT SELECT, INSERT, UPDATE ON {url.path[1:]}.* TO {daemon}",
    )
    password = configuration.parent / "password"
    password.write_text(url.password)
    password.chmod(0o600)
    whole = configuration.read_text()

    def use(user: str | None) -> None:
        head = f'[database]\nurl = "mysql+pymysql://{user}@127.0.0.1:{url.port}{url.path}"\n'
        configuration.write_text(f'{head}password_file = "{password}"\n{whole[whole.index("[secrets]") :]}')

    use(daemon)
    refused = cli("db", "migrate", "--config", configuration)
    assert "the user lacks a privilege" in refused.complaint(3)
    use(url.username)
    assert cli("db", "migrate", "--config", configuration).code == 0
    use(daemon)
    assert cli("products", "add", "meter", "--config", configuration).code == 0
    assert cli("db", "status", "--config", configuration).code == 0
    mariadb.execute(f"DROP USER {daemon}")

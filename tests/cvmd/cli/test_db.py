"""`cvmd db`, run as a process."""

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

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


def test_mariadb_is_set_up_by_one_login_and_used_by_another(cli: Cli, configuration: Path, mariadb_url: str) -> None:
    """As store/grants.sql has it: the daemon's makes no tables."""
    url, other = urlsplit(mariadb_url), configuration.parent / "other.password"
    assert url.password is not None
    password = configuration.parent / "password"
    password.write_text(url.password)
    other.write_text("wrong")
    for file in (password, other):
        file.chmod(0o600)
    head = f'[database]\nurl = "mysql+pymysql://{url.username}@127.0.0.1:{url.port}{url.path}"\n'
    whole = configuration.read_text()
    configuration.write_text(f'{head}password_file = "{password}"\n{whole[whole.index("[secrets]") :]}')
    migrate = ["db", "migrate", "--config", configuration]

    assert "the user lacks a privilege" in cli(*migrate).complaint(3)
    as_owner = ["--login", f"{url.username}-migrate"]
    assert "the user or the password is wrong" in cli(*migrate, *as_owner, "--password-file", other).complaint(3)
    assert cli(*migrate, *as_owner, "--password-file", password).code == 0
    assert cli(*migrate, *as_owner).out == "schema: 0001, as before\n"
    assert cli("products", "add", "meter", "--config", configuration).code == 0
    assert cli("db", "status", "--config", configuration).code == 0


def test_a_password_file_is_meant_from_where_the_operator_stands(cli: Cli, configuration: Path) -> None:
    file = configuration.parent / "migrate.password"
    file.touch(mode=0o600)
    file.write_text("secret")
    assert cli("db", "migrate", "--config", configuration, "--password-file", file.name).code == 0


def test_a_sqlite_file_has_no_logins(cli: Cli, configuration: Path) -> None:
    refused = cli("db", "migrate", "--config", configuration, "--login", "root")
    assert "a SQLite file has no logins: leave --login out" in refused.complaint(2)

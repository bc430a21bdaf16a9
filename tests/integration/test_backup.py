"""MariaDB lost, its last backup loaded on a fresh server: the vends go on with the master key, and never without it."""

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from harness import MakeStack, active_of, begin, creates, device, reconcile, vended, with_products
from sqlalchemy import make_url

from tools.client import MemoryFlash
from tools.mariadb import MariaDB, login, private_mariadb
from tools.stack import Stack

PRODUCTS = ("ec", "csr")
MOMENTS = ("not yet called", "on offer", "vended", "renewed since")
"""Of a device, as the backup has it; what it had come to when the server was lost is more."""


@pytest.fixture
def fresh(make_stack: MakeStack) -> Iterator[MariaDB]:
    """A server that has never heard of us. (It goes after the stack has.)"""
    with private_mariadb() as server:
        yield server


@pytest.fixture
def stack(fresh: MariaDB, make_stack: MakeStack, mariadb_url: str) -> Stack:
    """On the server that will be lost; devices may have as many as they like."""
    made = with_products(make_stack(database_url=mariadb_url, deadlines__auth_delay_ms=50, disposal__poll_s=0.05))
    for product in PRODUCTS:
        made.cvmd("products", "set", product, "--reissue-limit", "unlimited")
    return made


def client(program: str, url: str, *options: str, **streams: object) -> subprocess.CompletedProcess[bytes]:
    """A program of MariaDB's on that database, by that login."""
    parsed = make_url(url)
    command = [
        program, "--no-defaults", "--protocol=tcp", f"--host={parsed.host}", f"--port={parsed.port}",
        f"--user={parsed.username}", *options, str(parsed.database),
    ]  # fmt: skip
    environment = {**os.environ, "MYSQL_PWD": str(parsed.password)}
    done = subprocess.run(command, env=environment, stderr=subprocess.PIPE, **streams)  # type: ignore[call-overload]  # as run
    assert not done.returncode, done.stderr.decode()
    return done  # type: ignore[no-any-return]  # the same


def back_up(stack: Stack, to: Path) -> None:
    """As docs/operations.md has it, under load if there is any."""
    with to.open("wb") as dump:
        client("mariadb-dump", login(stack.database_url, "migrate"), "--single-transaction", stdout=dump)


def restore(stack: Stack, server: MariaDB, dump: Path) -> None:
    """The same: grants.sql, then the dump by the login that may make tables. It is of the night before."""
    stack.database_url = server.create_database("restored")
    with dump.open("rb") as script:
        client("mariadb", login(stack.database_url, "migrate"), stdin=script)
    stack.write_config()
    long_ago = (
        f"UPDATE restored.{table} SET {column} = 1 WHERE {column} IS NOT NULL"
        for table, columns in {
            "issuances": ("updated_us", "expires_us"),
            "certificates": ("created_us", "activated_us", "retired_us"),
        }.items()
        for column in columns
    )
    server.execute(*long_ago)


def test_inv1_with_the_master_key_the_vends_go_on(
    stack: Stack, fresh: MariaDB, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    fleet = [
        (moment, device(stack, f"SN-{number}{product}", product), MemoryFlash())
        for number, moment in enumerate(MOMENTS)
        for product in PRODUCTS
    ]
    for moment, options, flash in fleet:
        if moment == "on offer":
            begin(options, flash, stack)
        elif moment != "not yet called":
            vended(options, flash, stack)
    back_up(stack, tmp_path / "dump.sql")
    holds = {
        options.serial: vended(replace(options, renew=moment == "renewed since"), flash, stack)
        for moment, options, flash in fleet
    }
    stack.stop_daemon()

    restore(stack, fresh, tmp_path / "dump.sql")
    assert stack.cvmd("db", "status").returncode == 0
    looked, findings = reconcile(stack)
    assert looked == 1
    unknown = {holds[options.serial] for moment, options, _ in fleet if moment in ("not yet called", "renewed since")}
    assert unknown <= {it["name"] for it in findings}
    rounds = 1
    while reconcile(stack, "--apply", "--adopt")[0]:
        rounds += 1
        assert rounds < 10, reconcile(stack)
    stack.start_daemon()

    asked_of_aws = creates(stack.aws)
    for _, options, flash in fleet:
        assert vended(options, flash, stack) == holds[options.serial]
        assert active_of(stack, f"thing-{options.serial}") == [holds[options.serial]]
    assert creates(stack.aws) == asked_of_aws, "what a device holds it keeps"
    for _, options, flash in fleet:
        assert vended(replace(options, renew=True), flash, stack) != holds[options.serial]
    for product in PRODUCTS:
        vended(device(stack, f"new-{product}", product), MemoryFlash(), stack)
    assert stack.cvmd("audit", "verify").returncode == 0
    record_property(
        "counts",
        f"restored on a fresh MariaDB: {len(fleet)} devices keep what they hold, {len(unknown)} of them adopted in "
        f"{rounds} rounds of reconcile; then {len(fleet)} renewed and {len(PRODUCTS)} new ones vended",
    )


def test_inv6_without_the_master_key_it_does_not_start_and_says_why(
    stack: Stack, fresh: MariaDB, tmp_path: Path
) -> None:
    vended(device(stack, "SN-1"), MemoryFlash(), stack)
    back_up(stack, tmp_path / "dump.sql")
    stack.stop_daemon()
    restore(stack, fresh, tmp_path / "dump.sql")
    key, kept = stack.directory / "master.key", tmp_path / "kept"

    key.rename(kept)
    with pytest.raises(RuntimeError, match=r"ended with 2: .*master\.key: No such file or directory"):
        stack.start_daemon()
    assert stack.cvmd("db", "status", check=False).returncode == 2
    stack.cvmd("secrets", "new", str(key), config=False)
    with pytest.raises(RuntimeError, match=r"ended with 2: .*not the master key that this database was set up with"):
        stack.start_daemon()
    for command in (["db", "status"], ["reconcile", "--adopt", "--apply"], ["audit", "verify"]):
        refused = stack.cvmd(*command, check=False)
        assert (refused.returncode, "not the master key" in refused.stderr) == (2, True), refused.stderr

    kept.rename(key)
    stack.start_daemon()

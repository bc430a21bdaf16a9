"""The database set back to a moment of a device's vend: reconciled before the daemon starts, nobody loses anything."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from harness import MakeStack, active_of, begin, device, reconcile, vended, with_products

from protocol.constants import Status
from tools.client import MemoryFlash, Refused, vend
from tools.stack import Stack


@pytest.fixture
def stack(make_stack: MakeStack) -> Stack:
    """On SQLite; devices may have as many as they like."""
    made = with_products(make_stack(deadlines__auth_delay_ms=50, disposal__poll_s=0.05))
    for product in ("ec", "csr"):
        made.cvmd("products", "set", product, "--reissue-limit", "unlimited")
    return made


def database_file(stack: Stack) -> Path:
    return Path(stack.database_url.removeprefix("sqlite:///"))


def copy(of: Path, to: Path) -> None:
    with closing(sqlite3.connect(of)) as source, closing(sqlite3.connect(to)) as target:
        source.backup(target)


def set_back(stack: Stack, backup: Path) -> None:
    """The database as it was then, and long ago; the daemon is down."""
    for suffix in ("", "-wal", "-shm"):
        database_file(stack).with_name(database_file(stack).name + suffix).unlink(missing_ok=True)
    copy(backup, database_file(stack))
    with closing(sqlite3.connect(database_file(stack), isolation_level=None)) as connection:
        for table, column in (
            ("issuances", "updated_us"), ("issuances", "expires_us"), ("issuances", "not_before_us"),
            ("certificates", "created_us"), ("certificates", "activated_us"), ("certificates", "retired_us"),
        ):  # fmt: skip
            connection.execute(f"UPDATE {table} SET {column} = 1 WHERE {column} IS NOT NULL")


@pytest.mark.parametrize("product", ["ec", "csr"])
@pytest.mark.parametrize("moment", ["before it called", "on offer", "one certificate ago"])
def test_inv1_a_device_keeps_what_it_has(stack: Stack, tmp_path: Path, product: str, moment: str) -> None:
    options, flash, backup = device(stack, "SN-1", product), MemoryFlash(), tmp_path / "backup.db"
    if moment == "on offer":
        begin(options, flash, stack)
    elif moment == "one certificate ago":
        vended(options, flash, stack)
    copy(database_file(stack), backup)
    holds = vended(replace(options, renew=moment == "one certificate ago"), flash, stack)
    stack.stop_daemon()
    set_back(stack, backup)

    looked, findings = reconcile(stack)
    assert looked == 1
    assert holds in {it["name"] for it in findings}
    assert holds in active_of(stack, "thing-SN-1")
    code, findings = reconcile(stack, "--apply", "--adopt")
    assert (code, [it["mended"] for it in findings if it["name"] == holds]) == (0, [True]), findings

    stack.start_daemon()
    creates = stack.aws.calls("CreateCertificateFromCsr")
    assert vended(options, flash, stack) == holds
    assert stack.aws.calls("CreateCertificateFromCsr") == creates
    assert active_of(stack, "thing-SN-1") == [holds]
    assert reconcile(stack, "--deep") == (0, [])
    assert stack.cvmd("audit", "verify").returncode == 0

    following = vended(replace(options, renew=True), flash, stack)
    assert following != holds
    assert stack.aws.calls("CreateCertificateFromCsr") == creates + 1


@pytest.mark.parametrize("product", ["ec", "csr"])
def test_inv1_an_offer_that_is_active_at_aws_is_kept_also_before_anybody_reconciles(
    stack: Stack, tmp_path: Path, product: str
) -> None:
    options, flash, backup = device(stack, "SN-1", product), MemoryFlash(), tmp_path / "backup.db"
    begin(options, flash, stack)
    copy(database_file(stack), backup)
    holds = vended(options, flash, stack)
    stack.stop_daemon()
    set_back(stack, backup)

    stack.start_daemon()
    creates = stack.aws.calls("CreateCertificateFromCsr")
    told = vend(replace(options, port=stack.port, max_wait_s=1), flash).outcome
    assert isinstance(told, Refused)
    assert told.status == Status.TURN
    assert stack.aws.calls("CreateCertificateFromCsr") == creates
    assert active_of(stack, "thing-SN-1") == [holds]
    reconcile(stack, "--apply", "--adopt")
    assert vended(options, flash, stack) == holds
    assert active_of(stack, "thing-SN-1") == [holds]


@pytest.mark.parametrize(("product", "kind"), [("ec", "orphan"), ("csr", "unattributed")])
def test_what_was_on_offer_and_is_not_known_any_more_is_named(
    stack: Stack, tmp_path: Path, product: str, kind: str
) -> None:
    options, backup = device(stack, "SN-1", product), tmp_path / "backup.db"
    copy(database_file(stack), backup)
    begin(options, MemoryFlash(), stack)
    (offered,) = [it["id"] for it in stack.aws.state()["certificates"] if it["status"] == "INACTIVE"]
    stack.stop_daemon()
    set_back(stack, backup)
    assert (offered, kind, "SN-1") in {(it["name"], it["kind"], it["serial"]) for it in reconcile(stack)[1]}
    reconcile(stack, "--apply")
    left = [it["id"] for it in stack.aws.state()["certificates"] if it["status"] == "INACTIVE"]
    assert left == ([] if kind == "orphan" else [offered]), "a device's own key proves nothing"

"""What ends a certificate, through to its deletion at AWS: replacement, expiry, revocation."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from harness import MakeStack, active_at_once, device, vend_in_memory, with_products

from cvmd.sealing import Sealer, load_master_key
from cvmd.store import AdminStore, Database, Trail
from tools.client import Cut, Done, MemoryFlash, Options, vend
from tools.stack import READY_WITHIN_S, Stack


@pytest.fixture(params=["sqlite", "mariadb"])
def stack(request: pytest.FixtureRequest, make_stack: MakeStack) -> Stack:
    """One that looks for retiring certificates often, and lets a device have as many as it likes."""
    settings: dict[str, Any] = {"deadlines__auth_delay_ms": 50, "disposal__poll_s": 0.05}
    if request.param == "mariadb":
        request.getfixturevalue("mariadb")
        settings["database_url"] = request.getfixturevalue("mariadb_url")
    made = with_products(make_stack(**settings))
    for product in ("ec", "csr"):
        made.cvmd("products", "set", product, "--reissue-limit", "unlimited")
    return made


@contextmanager
def database(stack: Stack) -> Iterator[Database]:
    """Beside the daemon's."""
    made = Database(stack.database_url)
    yield made
    made.close()


def sql(stack: Stack, statement: str) -> list[Any]:
    """The past, another's hand, and what the rows say."""
    with database(stack) as made, made.engine.connect() as connection:
        result = connection.exec_driver_sql(statement)
        return [tuple(row) for row in result] if result.returns_rows else []


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)


def at_aws(stack: Stack) -> dict[str, tuple[str, int]]:
    """Status of what is there by id, and how much is attached to it."""
    return {
        each["id"]: (each["status"], len(each["things"]) + len(each["policies"]))
        for each in stack.aws.state()["certificates"]
    }


def deleted(stack: Stack) -> list[str]:
    return [each["id"] for each in stack.aws.state()["deleted"]]


def vended(options: Options, flash: MemoryFlash) -> str:
    """The id of the certificate that the device has in the end."""
    result = vend(replace(options, attempts=5), flash)
    assert isinstance(result.outcome, Done), result.outcome
    assert result.meta is not None
    return result.meta.certificate_id


@pytest.mark.parametrize("product", ["ec", "csr"])
def test_inv1_the_former_certificate_goes_once_the_new_one_is_active(stack: Stack, product: str) -> None:
    options, flash = device(stack, "SN-1", product), MemoryFlash()
    first = vended(options, flash)
    second = vended(replace(options, renew=True), flash)
    assert second != first
    until(lambda: at_aws(stack) == {first: ("INACTIVE", 0), second: ("ACTIVE", 2)})
    state = stack.aws.state()
    assert active_at_once(state["certificates"] + state["deleted"]) == {1, 2}
    assert deleted(stack) == []  # in its grace
    sql(stack, "UPDATE certificates SET keep_until_us = 1, not_before_us = 1 WHERE status = 'retiring'")
    until(lambda: deleted(stack) == [first])
    until(lambda: sql(stack, "SELECT status, reason FROM certificates ORDER BY id") == [
        ("deleted", "superseded"), ("active", None)
    ])  # fmt: skip
    assert at_aws(stack) == {second: ("ACTIVE", 2)}
    assert vended(options, flash) == second


def test_inv5_what_nobody_acknowledged_goes(stack: Stack) -> None:
    options, flash = device(stack, "SN-1"), MemoryFlash()
    traffic = vend_in_memory(device(stack, "SN-2"))[0].traffic
    cut_after = traffic.bytes_up + traffic.bytes_down - 51 - 25 - 1  # but for the ACK
    assert isinstance(vend(replace(options, cut_after=cut_after), flash).outcome, Cut)
    [first] = [each for each, (status, _) in at_aws(stack).items() if status == "INACTIVE"]
    sql(stack, "UPDATE issuances SET expires_us = 1, not_before_us = 1 WHERE state = 'offered'")
    until(lambda: deleted(stack) == [first])
    closed = sql(stack, "SELECT state, reason, sealed_escrow FROM issuances WHERE state <> 'active'")
    assert closed == [("closed", "expired", None)]
    second = vended(options, flash)  # it holds the whole of the first, and says so
    assert second != first
    assert at_aws(stack)[second] == ("ACTIVE", 2)


def test_inv1_a_revoked_device_has_none_until_it_is_vended_another(stack: Stack) -> None:
    options, flash = device(stack, "SN-1"), MemoryFlash()
    first = vended(options, flash)
    trail = Trail(Sealer(load_master_key(stack.directory / "master.key")).audit_mac, "test")
    with database(stack) as made:
        AdminStore(made, trail).revoke(b"SN-1")
    until(lambda: deleted(stack) == [first])
    [gone] = stack.aws.state()["deleted"]
    assert [entry["status"] for entry in gone["history"] if "status" in entry][-2:] == ["REVOKED", "DELETED"]
    assert at_aws(stack) == {}
    second = vended(options, flash)
    assert at_aws(stack) == {second: ("ACTIVE", 2)}

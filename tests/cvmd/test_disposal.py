"""The way out: what a pass asks of AWS and in which order, and that nothing which breaks it is the end of it."""

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from cvmd.disposal import DisposalSettings, Disposer
from cvmd.errors import IssuerFault
from cvmd.model import US, Account, CertificateStatus, Issuance, Reason
from cvmd.ports import StoreDown
from tests.cvmd.conftest import LONG_S, Bench, PlainIssuer, an_error

WAY_OUT = ["deactivate", "attached_policies", "detach_policy", "attached_things", "detach_thing", "delete"]
"""What is asked of AWS for a certificate with one policy and one thing."""
FAR_US = 2**60


class Aws(PlainIssuer):
    """Certificates with what hangs on them; all of them are ACTIVE and attached once they are asked about."""

    def __init__(self) -> None:
        super().__init__()
        self.policies = ["policy"]
        self.things = ["thing"]
        self.status: list[str] = ["ACTIVE"]
        """What it was, and is."""

    def deactivate(self, account: Account, certificate_id: bytes, *, revoked: bool) -> None:
        if self.status[-1] not in ("REVOKED", "deleted"):
            self.status.append("REVOKED" if revoked else "INACTIVE")

    def attached_policies(self, account: Account, arn: str) -> Sequence[str]:
        return tuple(self.policies)

    def attached_things(self, account: Account, arn: str) -> Sequence[str]:
        return tuple(self.things)

    def detach_policy(self, account: Account, policy: str, arn: str) -> None:
        self.policies = [it for it in self.policies if it != policy]

    def detach_thing(self, account: Account, thing: str, arn: str) -> None:
        self.things = [it for it in self.things if it != thing]

    def delete(self, account: Account, certificate_id: bytes) -> None:
        if self.status[-1] == "ACTIVE" or self.policies or self.things:
            raise an_error(IssuerFault.CONFLICT)
        self.status.append("deleted")


@pytest.fixture
def aws(bench: Bench) -> Aws:
    made = Aws()
    bench.plain = made
    bench.issuer._port = made
    return made


@pytest.fixture
def disposer(bench: Bench, aws: Aws) -> Iterator[Disposer]:
    made = Disposer(bench.store, bench.issuer, DisposalSettings(2, 60, 0.01), node=b"node" * 4)
    yield made
    made.close()


def retiring(bench: Bench, reason: Reason = Reason.EXPIRED, grace_s: int = 0) -> Issuance:
    """An issuance whose certificate is due."""
    row = bench.scene.offered()
    keep_us = bench.now_us(row) + grace_s * US
    bench.scene.sql(
        f"UPDATE certificates SET status = 'retiring', reason = '{reason}', not_before_us = {row.updated_us},"
        f" keep_until_us = {keep_us} WHERE issuance_id = {row.id}"
    )
    return row


def status(bench: Bench, row: Issuance) -> CertificateStatus:
    (certificate,) = bench.scene.admin.show_device(row.serial).certificates
    return certificate.status


def times(bench: Bench) -> tuple[Any, ...]:
    """not_before_us, disposal_attempts and claim of the one certificate."""
    (row,) = bench.scene.sql("SELECT not_before_us, disposal_attempts, claim FROM certificates")
    return tuple(row)


def later(bench: Bench) -> None:
    """What the rows wait for is over: a rest, a grace or a lease."""
    bench.scene.sql("UPDATE certificates SET not_before_us = 0, keep_until_us = 0 WHERE status = 'retiring'")
    bench.scene.sql("UPDATE certificates SET lease_until_us = 0 WHERE claim IS NOT NULL")


def round_of(bench: Bench, disposer: Disposer) -> bool:
    """One round; `log` is what it asked of AWS."""
    bench.log.clear()
    more = asyncio.run(disposer.round())
    bench.log[:] = [it for it in bench.log if it in WAY_OUT]
    return more


# One pass


@pytest.mark.parametrize("reason", [it for it in Reason if it is not Reason.CANCELLED])
def test_inv5_what_ended_is_made_inert_detached_and_deleted(
    bench: Bench, aws: Aws, disposer: Disposer, reason: Reason
) -> None:
    row = retiring(bench, reason)
    assert not round_of(bench, disposer)
    assert bench.log == WAY_OUT
    assert aws.status == ["ACTIVE", "REVOKED" if reason is Reason.REVOKED else "INACTIVE", "deleted"]
    assert status(bench, row) is CertificateStatus.DELETED
    round_of(bench, disposer)
    assert bench.log == []


def test_inv5_all_is_detached_that_aws_knows_of(bench: Bench, aws: Aws, disposer: Disposer) -> None:
    aws.policies, aws.things = ["policy", "a person's"], ["thing", "another", "a third"]
    row = retiring(bench, Reason.ORPHAN)
    round_of(bench, disposer)
    assert (aws.policies, aws.things, aws.status[-1]) == ([], [], "deleted")
    assert status(bench, row) is CertificateStatus.DELETED


def test_a_superseded_certificate_is_inert_at_once_and_deleted_after_its_grace(
    bench: Bench, aws: Aws, disposer: Disposer
) -> None:
    row = retiring(bench, Reason.SUPERSEDED, grace_s=600)
    round_of(bench, disposer)
    assert (bench.log, aws.status) == (WAY_OUT[:-1], ["ACTIVE", "INACTIVE"])
    not_before_us, _, claim = times(bench)
    assert (claim, status(bench, row)) == (None, CertificateStatus.RETIRING)
    assert not_before_us > bench.now_us(row) + 500 * US
    round_of(bench, disposer)
    assert bench.log == []
    later(bench)
    round_of(bench, disposer)
    assert (aws.status[-1], status(bench, row)) == ("deleted", CertificateStatus.DELETED)


def test_inv10_what_another_node_took_is_left(bench: Bench, aws: Aws, disposer: Disposer) -> None:
    row = retiring(bench)
    bench.store.first["take_retiring"] = lambda *_: bench.scene.sql(
        f"UPDATE certificates SET claim = x'00', lease_until_us = {FAR_US}"
    )
    round_of(bench, disposer)
    assert (bench.log, status(bench, row)) == ([], CertificateStatus.RETIRING)


# A pass that fails


@pytest.mark.parametrize("call", WAY_OUT)
@pytest.mark.parametrize("fault", [IssuerFault.THROTTLED, IssuerFault.UNKNOWN, IssuerFault.ACCOUNT])
def test_inv5_a_pass_that_fails_anywhere_is_begun_again(
    bench: Bench, aws: Aws, disposer: Disposer, call: str, fault: IssuerFault
) -> None:
    row = retiring(bench)
    bench.issuer.raises(call, an_error(fault))
    round_of(bench, disposer)
    assert bench.log == WAY_OUT[: WAY_OUT.index(call) + 1]
    not_before_us, attempts, claim = times(bench)
    assert (attempts, claim, status(bench, row)) == (1, None, CertificateStatus.RETIRING)
    assert not_before_us > bench.now_us(row)
    later(bench)
    round_of(bench, disposer)
    assert (aws.status[-1], status(bench, row)) == ("deleted", CertificateStatus.DELETED)


def test_each_failure_makes_the_rest_longer_up_to_a_limit(bench: Bench, aws: Aws, disposer: Disposer) -> None:
    row = retiring(bench)
    bench.issuer.raises("deactivate", *[an_error(IssuerFault.UNREACHABLE)] * 5)
    for number, rest_s in enumerate([5, 30, 300, 300, 300], 1):
        before_us = bench.now_us(row)
        round_of(bench, disposer)
        not_before_us, attempts, _ = times(bench)
        assert attempts == number
        assert before_us <= not_before_us - rest_s * US <= bench.now_us(row)
        later(bench)
    round_of(bench, disposer)
    assert status(bench, row) is CertificateStatus.DELETED


def test_the_failures_before_the_grace_are_forgotten_after_it(bench: Bench, aws: Aws, disposer: Disposer) -> None:
    retiring(bench, Reason.SUPERSEDED, grace_s=600)
    bench.issuer.raises("deactivate", an_error(IssuerFault.UNREACHABLE))
    round_of(bench, disposer)
    bench.scene.sql("UPDATE certificates SET not_before_us = 0")
    round_of(bench, disposer)
    assert times(bench)[1] == 0


def test_what_aws_has_not_detached_yet_is_waited_for_without_alarm(
    bench: Bench, aws: Aws, disposer: Disposer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    row = retiring(bench)
    bench.issuer.raises("delete", an_error(IssuerFault.CONFLICT))
    round_of(bench, disposer)
    assert [it.levelno for it in caplog.records] == [logging.INFO]
    later(bench)
    round_of(bench, disposer)
    assert status(bench, row) is CertificateStatus.DELETED


@pytest.mark.parametrize("call", ["take_retiring", "record_inert", "record_deleted", *WAY_OUT])
@pytest.mark.parametrize("error", [StoreDown("gone"), ZeroDivisionError("a bug")])
def test_inv5_whatever_breaks_a_pass_it_is_begun_again_when_its_lease_is_over(
    bench: Bench, aws: Aws, disposer: Disposer, call: str, error: Exception
) -> None:
    row = retiring(bench, Reason.SUPERSEDED, grace_s=600 if call == "record_inert" else 0)
    (bench.issuer if call in WAY_OUT else bench.store).raises(call, error)
    round_of(bench, disposer)
    assert status(bench, row) is CertificateStatus.RETIRING
    assert (times(bench)[0] > bench.now_us(row)) == (call != "take_retiring")
    later(bench)
    round_of(bench, disposer)
    assert (aws.status[-1], status(bench, row)) == ("deleted", CertificateStatus.DELETED)


def test_a_pass_that_breaks_does_not_break_the_one_beside_it(
    bench: Bench, aws: Aws, disposer: Disposer, caplog: pytest.LogCaptureFixture
) -> None:
    aws.policies = aws.things = []
    first, second = retiring(bench), retiring(bench)
    bench.issuer.raises("deactivate", ZeroDivisionError("a bug"))
    assert not round_of(bench, disposer)  # though there were as many as may be: what breaks is no hot loop
    assert {status(bench, first), status(bench, second)} == {CertificateStatus.RETIRING, CertificateStatus.DELETED}
    assert "disposal: internal error" in caplog.text


def test_inv1_what_was_revived_during_a_pass_is_disposed_of_again(bench: Bench, aws: Aws, disposer: Disposer) -> None:
    row = retiring(bench, Reason.SUPERSEDED, grace_s=600)

    def revive(*_: object) -> None:
        aws.status.append("ACTIVE")  # a late activation ...
        bench.scene.store.dispose_again(row)  # ... whose worker finds its claim lost

    bench.issuer.first["attached_things"] = revive
    round_of(bench, disposer)
    assert aws.status == ["ACTIVE", "INACTIVE", "ACTIVE"]
    bench.issuer.first.clear()
    round_of(bench, disposer)
    assert aws.status == ["ACTIVE", "INACTIVE", "ACTIVE", "INACTIVE"]
    assert times(bench)[0] > bench.now_us(row) + 500 * US


# The loop


def test_the_loop_goes_on_until_it_is_stopped(
    bench: Bench, aws: Aws, disposer: Disposer, caplog: pytest.LogCaptureFixture
) -> None:
    aws.policies = aws.things = []
    rows = [retiring(bench) for _ in range(5)]
    bench.store.raises("retiring", StoreDown("gone"))
    bench.issuer.raises("delete", ZeroDivisionError("a bug"))

    async def test() -> None:
        async with asyncio.timeout(LONG_S):
            task = asyncio.create_task(disposer.run())
            await until(lambda: sum(status(bench, row) is CertificateStatus.DELETED for row in rows) == 4)
            later(bench)
            await until(lambda: all(status(bench, row) is CertificateStatus.DELETED for row in rows))
            disposer.stop()
            await task

    asyncio.run(test())
    assert "cannot look for retiring certificates: gone" in caplog.text


async def until(condition: Callable[[], object]) -> None:
    for _ in itertools.count():
        if condition():
            return
        await asyncio.sleep(0.002)

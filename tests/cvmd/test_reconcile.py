"""AWS's inventory against the rows: what is found, what is mended, and what nobody touches."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from cvmd.errors import IssuerError, IssuerFault
from cvmd.model import Account, Created, DescribedCertificate, Issuance, KeySource, ListedCertificate, Reason, State
from cvmd.reconcile import TO_DO, BrokenOff, Kind, Reconciliation, Remedies, Report, only, pacer
from cvmd.reconciler import Reconciler
from cvmd.store.products import ProductRules
from tests.cvmd.conftest import Bench
from tests.cvmd.store.conftest import a_certificate, a_claim

LONG_AGO_S = 1_000_000.0


@dataclass
class Inventory:
    """An AWS that has these certificates, in pages of two."""

    has: dict[bytes, DescribedCertificate] = field(default_factory=dict)
    things: dict[str, str] = field(default_factory=dict)
    """arn → thing."""
    failing: list[IssuerFault] = field(default_factory=list)
    described: list[bytes] = field(default_factory=list)

    def put(self, created: Created, status: str = "INACTIVE", *, key: bytes = b"", cn: str | None = None,
            created_s: float = LONG_AGO_S, thing: str | None = None) -> str:  # fmt: skip
        self.has[created.certificate_id] = DescribedCertificate(
            created.certificate_id, created.arn, status, created_s, created.cert_der, cn, key or b"?" * 32
        )
        if thing is not None:
            self.things[created.arn] = thing
        return created.certificate_id.hex()

    def certificates(self, _account: Account) -> Iterator[Sequence[ListedCertificate]]:
        found = [ListedCertificate(it.certificate_id, it.arn, it.status, it.created_s) for it in self.has.values()]
        for start in range(0, len(found), 2):
            yield found[start : start + 2]

    def describe(self, _account: Account, certificate_id: bytes) -> DescribedCertificate | None:
        self.described.append(certificate_id)
        if self.failing:
            raise IssuerError(self.failing.pop(0), "DescribeCertificate", "Code")
        return self.has.get(certificate_id)

    def attached_things(self, _account: Account, arn: str) -> Sequence[str]:
        return [self.things[arn]] if arn in self.things else []

    def thing_principals(self, _account: Account, thing: str) -> Sequence[str]:
        return [arn for arn, name in self.things.items() if name == thing]

    def certificate_is_active(self, _account: Account, certificate_id: bytes) -> bool:
        return self.has[certificate_id].status == "ACTIVE"


@dataclass
class Side:
    """The rows and AWS, side by side."""

    bench: Bench
    aws: Inventory = field(default_factory=Inventory)

    def run(self, may: Remedies | None = None, *, deep: bool = False) -> Report:
        store = self.bench.scene.store
        (account,) = store.accounts()
        may = may or Remedies()
        run = Reconciliation(store, self.aws, self.bench.sealer.owns_subject, may, pause=lambda: None)  # type: ignore[arg-type]  # what it asks of AWS is all there
        return run.run(account, deep=deep)

    def found(self, may: Remedies | None = None, **options: Any) -> list[tuple[Kind, str, bool]]:
        return [(it.kind, it.name, it.mended) for it in self.run(may, **options).findings]

    @property
    def mend(self) -> Remedies:
        store = self.bench.scene.store
        return Remedies(store.retire_orphan, store.dispose_of_again, store.adopt)

    def settle(self) -> None:
        """All that has happened is long ago."""
        for table, column in (
            ("certificates", "created_us"), ("certificates", "activated_us"), ("certificates", "retired_us"),
            ("certificates", "deleted_us"), ("issuances", "updated_us"), ("attempts", "opened_us"),
        ):  # fmt: skip
            self.bench.scene.sql(f"UPDATE {table} SET {column} = {int(LONG_AGO_S * 1e6)} WHERE {column} IS NOT NULL")

    def put(self, issuance: Issuance, status: str) -> str:
        assert issuance.certificate_id is not None
        return self.aws.put(Created(issuance.certificate_id, "arn:cert/" + issuance.certificate_id.hex(), b""), status)


@pytest.fixture
def side(bench: Bench) -> Side:
    return Side(bench)


def left_by_a_crash(side: Side, *, closed: bool = True) -> tuple[Issuance, Created]:
    """A Create whose answer was lost, and what it left at AWS."""
    issuance = side.bench.scene.intent(claim=a_claim(lease_s=-1))
    side.settle()
    if closed:
        side.bench.carry(issuance)
        side.bench.scene.sql("UPDATE issuances SET attempt_open = 0")
    return issuance, a_certificate()


def test_inv5_what_a_lost_answer_left_is_found_by_its_key_and_retired(side: Side) -> None:
    issuance, created = left_by_a_crash(side)
    assert issuance.public_key_id is not None
    orphan = side.aws.put(created, key=issuance.public_key_id)
    assert side.found() == [(Kind.ORPHAN, orphan, False)]
    assert side.found(side.mend) == [(Kind.ORPHAN, orphan, True)]
    (retiring,) = side.bench.scene.store.retiring(9)
    assert (retiring.certificate_id.hex(), retiring.reason) == (orphan, Reason.ORPHAN)
    assert side.found(side.mend) == []


def test_inv5_what_no_row_tells_of_any_more_is_found_by_its_subject(side: Side) -> None:
    orphan = side.aws.put(a_certificate(), cn=side.bench.sealer.subject(b"u" * 16))
    assert side.found() == [(Kind.ORPHAN, orphan, False)]
    assert side.found(side.mend) == [(Kind.ORPHAN, orphan, True)]


def test_the_unattended_run_leaves_what_no_attempt_proves_and_what_is_young(side: Side) -> None:
    issuance, created = left_by_a_crash(side)
    assert issuance.public_key_id is not None
    by_subject = side.aws.put(a_certificate(), cn=side.bench.sealer.subject(b"u" * 16))
    side.aws.put(created, key=issuance.public_key_id, created_s=1e12)
    store = side.bench.scene.store
    report = side.run(Remedies(store.retire_orphan, store.dispose_of_again, unattended=True))
    assert [(it.name, it.mended) for it in report.findings] == [(by_subject, False)]
    assert report.in_flight == 1


def test_inv5_what_an_open_attempt_may_have_made_is_its_workers(side: Side) -> None:
    issuance, created = left_by_a_crash(side, closed=False)
    assert issuance.public_key_id is not None
    side.aws.put(created, key=issuance.public_key_id)
    report = side.run(side.mend)
    assert (report.findings, report.in_flight) == ([], 1)


def test_a_device_s_own_key_proves_nothing_outside_its_attempts(side: Side) -> None:
    side.bench.scene.admin.set_product("sensor", ProductRules(key_source=KeySource.DEVICE_CSR))
    issuance = side.bench.carry(side.bench.scene.queued(csr_der=b"csr", public_key_id=b"k" * 32))
    assert issuance.certificate_id is not None
    side.put(issuance, "INACTIVE")
    side.aws.put(a_certificate(), key=b"k" * 32)
    report = side.run(side.mend)
    assert (report.findings, report.foreign) == ([], 1)


@pytest.mark.parametrize("status", ["ACTIVE", "INACTIVE", "REVOKED"])
def test_what_is_not_provably_ours_is_counted_and_never_touched(side: Side, status: str) -> None:
    side.aws.put(a_certificate(), status)
    side.aws.put(a_certificate(), status, thing="another's")
    report = side.run(side.mend)
    assert (report.findings, report.foreign, report.listed) == ([], 2, 2)


def test_inv1_an_active_orphan_is_never_deleted(side: Side) -> None:
    issuance, created = left_by_a_crash(side)
    assert issuance.public_key_id is not None
    orphan = side.aws.put(created, "ACTIVE", key=issuance.public_key_id)
    store = side.bench.scene.store
    assert side.found(Remedies(store.retire_orphan, store.dispose_of_again)) == [(Kind.UNKNOWN_ACTIVE, orphan, False)]
    assert store.retiring(9) == []


def test_inv1_an_adopted_certificate_is_the_device_s_only_active_one(side: Side) -> None:
    former = side.bench.scene.active()
    side.settle()
    side.put(former, "INACTIVE")
    newer = a_certificate()
    name = side.aws.put(newer, "ACTIVE", thing=former.thing)
    store = side.bench.scene.store
    assert side.found(Remedies(adopt=only([name], store.adopt)))[1:] == [(Kind.UNKNOWN_ACTIVE, name, True)]
    view = store.view(former.serial)
    assert view is not None
    assert (view.active, view.device.activations) == (newer.certificate_id, 2)
    certificate = store.certificate(former.device_id, newer.certificate_id)
    assert certificate is not None
    assert (certificate.thing, certificate.policy) == (former.thing, former.policy)
    assert [it.certificate_id for it in store.retiring(9)] == [former.certificate_id]
    assert side.found() == []


def test_one_that_was_not_named_is_not_adopted(side: Side) -> None:
    device = side.bench.scene.queued()
    name = side.aws.put(a_certificate(), "ACTIVE", thing=device.thing)
    assert side.found(Remedies(adopt=only(["00"], side.bench.scene.store.adopt))) == [
        (Kind.UNKNOWN_ACTIVE, name, False)
    ]


@pytest.mark.parametrize("state", [State.INTENT, State.ACKED])
def test_inv1_nothing_is_adopted_beside_what_is_being_made(side: Side, state: State) -> None:
    issuance = side.bench.scene.bring(state, a_claim())
    name = side.aws.put(a_certificate(), "ACTIVE", thing=issuance.thing)
    found = side.found(Remedies(adopt=side.bench.scene.store.adopt))
    assert (Kind.UNKNOWN_ACTIVE, name, False) in found
    assert side.bench.scene.now(issuance.serial).state is state


def test_what_was_queued_ends_when_one_is_adopted(side: Side) -> None:
    issuance = side.bench.scene.queued()
    side.aws.put(a_certificate(), "ACTIVE", thing=issuance.thing)
    assert [mended for _, _, mended in side.found(side.mend)] == [True]
    assert side.bench.scene.now(issuance.serial).state is State.CLOSED


def test_inv1_a_retired_one_that_is_active_again_is_disposed_of_again(side: Side) -> None:
    former = side.bench.scene.active()
    side.bench.scene.active(former.serial)
    side.bench.scene.sql(f"UPDATE certificates SET not_before_us = {2**60} WHERE status = 'retiring'")
    side.settle()
    name = side.put(former, "ACTIVE")
    side.put(side.bench.scene.now(former.serial), "ACTIVE")
    store = side.bench.scene.store
    assert side.found() == [(Kind.REVIVED, name, False)]
    assert store.retiring(9) == []
    assert side.found(side.mend) == [(Kind.REVIVED, name, True)]
    assert [it.certificate_id for it in store.retiring(9)] == [former.certificate_id]


def test_inv5_a_deleted_one_that_is_there_is_disposed_of_again(side: Side) -> None:
    former = side.bench.scene.active()
    side.bench.scene.active(former.serial)
    side.bench.scene.sql("UPDATE certificates SET status = 'deleted', deleted_us = 1 WHERE status = 'retiring'")
    side.settle()
    name = side.put(former, "INACTIVE")
    side.put(side.bench.scene.now(former.serial), "ACTIVE")
    assert side.found(side.mend) == [(Kind.REVIVED, name, True)]
    assert len(side.bench.scene.store.retiring(9)) == 1


@pytest.mark.parametrize(
    ("bring", "status", "kind"),
    [
        ("active", "INACTIVE", Kind.NOT_ACTIVE),
        ("active", "REVOKED", Kind.NOT_ACTIVE),
        ("offered", "REVOKED", Kind.NOT_ACTIVE),
        ("offered", "ACTIVE", Kind.EARLY),
        ("acked", "ACTIVE", None),
        ("offered", "INACTIVE", None),
        ("active", "ACTIVE", None),
    ],
)
def test_a_certificate_that_both_have_is_compared(side: Side, bring: str, status: str, kind: Kind | None) -> None:
    name = side.put(getattr(side.bench.scene, bring)(), status)
    assert side.found() == [], "what has just changed is not judged"
    side.settle()
    assert side.found(side.mend) == ([] if kind is None else [(kind, name, False)])


def test_a_row_whose_certificate_aws_does_not_have_is_said(side: Side) -> None:
    lost, there = side.bench.scene.active(), side.bench.scene.offered()
    side.put(there, "INACTIVE")
    assert lost.certificate_id is not None
    assert side.found(side.mend) == [(Kind.LOST, lost.certificate_id.hex(), False)]


def test_deep_finds_things_with_two(side: Side) -> None:
    device = side.bench.scene.active()
    assert device.certificate_id is not None
    side.settle()
    own = side.put(device, "ACTIVE")
    side.aws.things["arn:cert/" + own] = device.thing
    other = side.aws.put(Created(b"o" * 32, "arn:cert/" + (b"o" * 32).hex(), b""), "ACTIVE", thing=device.thing)
    assert (Kind.MANY_ACTIVE, device.thing, False) not in side.found()
    (finding,) = [it for it in side.run(deep=True).findings if it.kind is Kind.MANY_ACTIVE]
    assert set(finding.detail.split()) == {own, other}


def test_a_fault_that_passes_is_asked_again_and_another_ends_the_run(side: Side) -> None:
    side.aws.put(a_certificate())
    side.aws.failing = [IssuerFault.THROTTLED, IssuerFault.UNKNOWN]
    assert side.run().foreign == 1
    side.aws.failing = [IssuerFault.ACCOUNT]
    with pytest.raises(IssuerError):
        side.run()


def test_what_is_in_a_row_is_not_asked_for_by_itself(side: Side) -> None:
    for _ in range(5):
        side.put(side.bench.scene.offered(), "INACTIVE")
    side.run()
    assert side.aws.described == []


def test_every_finding_says_what_to_do() -> None:
    assert set(TO_DO) == set(Kind)


def test_a_pause_ends_when_the_run_is_to_end() -> None:
    broken_off = threading.Event()
    pause = pacer(0.001, broken_off)
    pause()
    broken_off.set()
    with pytest.raises(BrokenOff):
        pause()


def test_one_node_reconciles_an_account_until_it_is_time_again(bench: Bench) -> None:
    done: list[str] = []

    def reconcile(account: Account) -> Report:
        done.append(account.name)
        return Report(account.name)

    nodes = [
        Reconciler(bench.scene.store, reconcile, every_s=3600, broken_off=threading.Event()) for _ in range(2)
    ]  # fmt: skip
    for _ in range(2):
        for node in nodes:
            node.round()
    assert done == ["default"]
    bench.scene.sql("UPDATE leases SET until_us = 1")
    nodes[1].round()
    assert done == ["default"] * 2


def test_a_run_that_broke_off_is_begun_again_earlier(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    def reconcile(_account: Account) -> Report:
        raise IssuerError(IssuerFault.ACCOUNT, "ListCertificates", "AccessDeniedException")

    Reconciler(bench.scene.store, reconcile, every_s=10 * 3600, broken_off=threading.Event()).round()
    ((left_us,),) = bench.scene.sql("SELECT until_us FROM leases")
    now_us = bench.scene.store.line(1).now_us
    assert 3500 < (left_us - now_us) / 1e6 <= 3600
    assert "AccessDeniedException" in caplog.text

"""AWS's inventory and the rows side by side, for what reconciles them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cvmd.errors import IssuerError, IssuerFault
from cvmd.model import US, Account, Created, DescribedCertificate, Issuance, ListedCertificate
from cvmd.reconcile import Kind, Reconciliation, Remedies, Report
from tests.cvmd.conftest import Bench
from tests.cvmd.store.conftest import a_certificate, a_claim, arn_of

LONG_AGO_S = 1_000_000.0


@dataclass
class Inventory:
    """An AWS that has these certificates, in pages of two."""

    has: dict[bytes, DescribedCertificate] = field(default_factory=dict)
    things: dict[str, str] = field(default_factory=dict)
    """arn → thing."""
    policies: dict[str, str] = field(default_factory=dict)
    """arn → policy."""
    failing: list[IssuerFault] = field(default_factory=list)
    pages_failing: list[IssuerFault] = field(default_factory=list)
    described: list[bytes] = field(default_factory=list)

    before_describe: Callable[[], object] = lambda: None

    def made(self, name: str, created_s: float) -> None:
        """It was made then."""
        certificate_id = bytes.fromhex(name)
        self.has[certificate_id] = replace(self.has[certificate_id], created_s=created_s)

    def put(self, created: Created, status: str = "INACTIVE", *, key: bytes = b"", cn: str | None = None,
            created_s: float = LONG_AGO_S, thing: str | None = None) -> str:  # fmt: skip
        self.has[created.certificate_id] = DescribedCertificate(
            created.certificate_id, created.arn, status, created_s, created.cert_der, cn, key or b"?" * 32
        )
        if thing is not None:
            self.things[created.arn] = thing
        return created.certificate_id.hex()

    def certificates(
        self, _account: Account, marker: str | None = None
    ) -> tuple[Sequence[ListedCertificate], str | None]:
        if self.pages_failing:
            raise IssuerError(self.pages_failing.pop(0), "ListCertificates", "Code")
        found = [ListedCertificate(it.certificate_id, it.arn, it.status, it.created_s) for it in self.has.values()]
        start = int(marker or 0)
        return found[start : start + 2], str(start + 2) if found[start + 2 :] else None

    def describe(self, _account: Account, certificate_id: bytes) -> DescribedCertificate | None:
        self.described.append(certificate_id)
        self.before_describe()
        if self.failing:
            raise IssuerError(self.failing.pop(0), "DescribeCertificate", "Code")
        return self.has.get(certificate_id)

    def attached_things(self, _account: Account, arn: str) -> Sequence[str]:
        return [self.things[arn]] if arn in self.things else []

    def attached_policies(self, _account: Account, arn: str) -> Sequence[str]:
        return [self.policies[arn]] if arn in self.policies else []

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
        return Remedies(store.retire_orphan, store.dispose_of, store.adopt, store.supersede)

    def settle(self) -> None:
        """All that has happened is long ago."""
        for table, column in (
            ("certificates", "created_us"), ("certificates", "activated_us"), ("certificates", "retired_us"),
            ("certificates", "deleted_us"), ("issuances", "updated_us"), ("attempts", "opened_us"),
        ):  # fmt: skip
            self.bench.scene.sql(f"UPDATE {table} SET {column} = {int(LONG_AGO_S * 1e6)} WHERE {column} IS NOT NULL")

    def put(self, issuance: Issuance, status: str) -> str:
        assert issuance.certificate_id is not None
        created = Created(issuance.certificate_id, arn_of(issuance.certificate_id), b"")
        return self.aws.put(created, status)


def left_by_a_crash(side: Side, *, closed: bool = True) -> tuple[Issuance, Created]:
    """A Create whose answer was lost, and what it left at AWS."""
    issuance = side.bench.scene.intent(claim=a_claim(lease_s=-1))
    side.settle()
    if closed:
        side.bench.carry(issuance)
        side.bench.scene.sql("UPDATE issuances SET attempt_open = 0")
        side.bench.scene.sql(f"UPDATE attempts SET closed_us = opened_us + {US}")
    return issuance, a_certificate()

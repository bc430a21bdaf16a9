"""The disposal's side of the store: certificates that are retiring.

A row's not-before says when it is to be looked at next: for a claimed one the end of the lease, in its grace the
end of that.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Integer, Update, case, or_, select, update

from cvmd.model import AuditEvent, CertificateStatus, Reason, Retiring
from cvmd.ports import Claim
from cvmd.store import rows
from cvmd.store.audit import Trail
from cvmd.store.breakers import RESTING
from cvmd.store.engine import Database, Row, Transaction
from cvmd.store.schema import NOW, accounts, breakers, certificates, given
from cvmd.store.steps import us

_RETIRING = certificates.c.status == CertificateStatus.RETIRING
_FREE = or_(certificates.c.claim.is_(None), certificates.c.lease_until_us <= NOW)
_HELD = certificates.c.claim == given("my_claim")
_UNCLAIMED = {"claim": None, "lease_until_us": None}

# Accounts whose breaker is open: no call of theirs would end well.
_RESTING = select(breakers.c.account_id).where(breakers.c.policy == "", RESTING)
_DUE = (
    select(
        *rows.labelled(rows.ACCOUNT),
        certificates.c.id, certificates.c.certificate_id, certificates.c.arn, certificates.c.reason,
        certificates.c.keep_until_us > NOW, certificates.c.disposal_attempts,
    )
    .select_from(certificates)
    .outerjoin(accounts, accounts.c.id == certificates.c.account_id)  # outer, or it could be read first: due.py
    .where(_RETIRING, certificates.c.not_before_us <= NOW, certificates.c.account_id.not_in(_RESTING))
    .order_by(certificates.c.not_before_us)
    .limit(given("limit", type_=Integer))
)  # fmt: skip


def _change(*conditions: ColumnElement[bool], **values: object) -> Update:
    return update(certificates).where(certificates.c.id == given("row"), *conditions).values(**values)


_TAKE = _change(
    _RETIRING,
    _FREE,
    claim=given("my_claim"),
    lease_until_us=NOW + given("lease_us"),
    not_before_us=NOW + given("lease_us"),
)
_HOLDER = select(certificates.c.claim).where(certificates.c.id == given("row"))
_INERT = _change(
    _RETIRING,
    _HELD,
    **_UNCLAIMED,
    not_before_us=case((certificates.c.keep_until_us > NOW, certificates.c.keep_until_us), else_=NOW),
    disposal_attempts=0,
)
_POSTPONE = _change(
    _RETIRING,
    _HELD,
    **_UNCLAIMED,
    not_before_us=NOW + given("wait_us"),
    disposal_attempts=certificates.c.disposal_attempts + 1,
)
_DEVICE_OF = select(certificates.c.device_id).where(certificates.c.id == given("row"))
_DELETED = _change(_RETIRING, _HELD, **_UNCLAIMED, status=CertificateStatus.DELETED, not_before_us=None, deleted_us=NOW)

_account_end = len(rows.ACCOUNT)


class DisposalSteps:
    """cvmd.ports.DisposalStore."""

    def __init__(self, database: Database, trail: Trail) -> None:
        self._database = database
        self._trail = trail

    def retiring(self, limit: int) -> Sequence[Retiring]:
        """The certificates that are to be disposed of now, the longest due first."""
        return [_retiring(row) for row in self._database.statement(lambda t: t.rows(_DUE, limit=limit))]

    def take_retiring(self, retiring: Retiring, claim: Claim) -> bool:
        """Claim it; False: somebody else has it, or it is at its end."""

        def work(t: Transaction) -> bool:
            if t.change(_TAKE, row=retiring.id, my_claim=claim.id, lease_us=us(claim.lease_s)):
                return True
            holder = t.row(_HOLDER, row=retiring.id) if t.repeated else None
            return holder is not None and holder[0] == claim.id

        return self._database.statement(work)

    def record_inert(self, retiring: Retiring, claim: Claim) -> None:
        """It is inert and detached: given back until its grace is over."""
        self._held(retiring, claim, _INERT)

    def record_deleted(self, retiring: Retiring, claim: Claim) -> None:
        """retiring → deleted; the row stays."""

        def work(t: Transaction) -> None:
            if not t.change(_DELETED, row=retiring.id, my_claim=claim.id):
                return  # the claim is lost: see _held
            device = t.row(_DEVICE_OF, row=retiring.id)
            if device is not None and device[0] is not None:  # an orphan may be no device's that we know
                self._trail.add(t, device[0], AuditEvent.DELETED, retiring.certificate_id.hex())

        self._database.transaction(work)

    def postpone(self, retiring: Retiring, claim: Claim, *, wait_s: float) -> None:
        """Given back after a pass that failed; not before now + wait_s."""
        self._held(retiring, claim, _POSTPONE, wait_us=us(wait_s))

    def _held(self, retiring: Retiring, claim: Claim, statement: Update, **values: object) -> None:
        """Where the claim is lost another node does, or has done, the same."""
        self._database.statement(lambda t: t.change(statement, row=retiring.id, my_claim=claim.id, **values))


def _retiring(row: Row) -> Retiring:
    number, certificate_id, arn, reason, in_grace, attempts = row[_account_end:]
    return Retiring(
        id=number, certificate_id=certificate_id, arn=arn, reason=Reason(reason), in_grace=bool(in_grace),
        attempts=attempts, account=rows.account(row[:_account_end]),
    )  # fmt: skip

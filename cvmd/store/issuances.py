"""The workers' side of the store: each step of an issuance is a compare-and-set on (id, state, claim).

A step whose COMMIT got no answer is run again; then no row may mean that it was committed, and the row tells
(`_step`). Its not-before says when a worker is to look at a row next: for a claimed one the end of the lease.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, Update, and_, insert, or_, select, update

from cvmd.model import (
    US,
    Certificate,
    CertificateStatus,
    Created,
    Fault,
    Issuance,
    KeyPair,
    Outcome,
    Reason,
    State,
)
from cvmd.pace import reserve
from cvmd.ports import Claim
from cvmd.store import rows
from cvmd.store.engine import Contended, Database, Transaction
from cvmd.store.schema import DETAIL, NOW, accounts, attempts, certificates, devices, given, issuances, pace

CREATE = "create"
"""The operation whose quota `pace` keeps."""

_FREE = or_(issuances.c.claim.is_(None), issuances.c.lease_until_us <= NOW)
_HELD = issuances.c.claim == given("my_claim")
_LEASE = {"lease_until_us": NOW + given("lease_us"), "not_before_us": NOW + given("lease_us")}
_UNCLAIMED = {"claim": None, "lease_until_us": None}


def _change(*conditions: ColumnElement[bool], **values: object) -> Update:
    return update(issuances).where(issuances.c.id == given("issuance"), *conditions).values(**values)


_PACE = (
    select(pace.c.tat_us, accounts.c.creates_per_s, NOW)
    .join_from(pace, accounts, accounts.c.id == pace.c.account_id)
    .where(pace.c.account_id == given("account"), pace.c.operation == CREATE)
)
_RESERVE = (
    update(pace)
    .where(pace.c.account_id == given("account"), pace.c.operation == CREATE, pace.c.tat_us == given("seen_us"))
    .values(tat_us=given("next_us"))
)

_TO_CREATE = issuances.c.state.in_((State.QUEUED, State.INTENT))
_POSTPONE = _change(_TO_CREATE, _FREE, not_before_us=given("until_us"))
_OPEN = _change(
    _TO_CREATE,
    issuances.c.attempt_open.is_(False),
    issuances.c.attempts == given("seen_attempts"),
    _FREE,
    state=State.INTENT,
    claim=given("my_claim"),
    attempts=issuances.c.attempts + 1,
    attempt_open=True,
    updated_us=NOW,
    **_LEASE,
)
_OPEN_WITH_KEY = _OPEN.values(csr_der=given("csr"), public_key_id=given("key_id"), sealed_escrow=given("escrow"))
_ADD_ATTEMPT = insert(attempts).values(
    issuance_id=given("issuance"),
    number=given("attempt"),
    node=given("by_node"),
    claim=given("by_claim"),
    outcome=Outcome.OPEN,
    opened_us=NOW,
)
_CLOSED_ATTEMPT = {
    **_UNCLAIMED,
    "attempt_open": False,
    "unknown_attempts": issuances.c.unknown_attempts + given("unknown"),
    "not_before_us": NOW + given("wait_us"),
}
_OPEN_INTENT = and_(issuances.c.state == State.INTENT, issuances.c.attempt_open.is_(True))
_CLOSE = _change(_OPEN_INTENT, _HELD, **_CLOSED_ATTEMPT)
_CLOSE_LEFT = _change(_OPEN_INTENT, _FREE, **_CLOSED_ATTEMPT)
_END_ATTEMPT = (
    update(attempts)
    .where(
        attempts.c.issuance_id == given("issuance"),
        attempts.c.number == given("attempt"),
        attempts.c.outcome == Outcome.OPEN,
    )
    .values(outcome=given("ended"), detail=given("why"), closed_us=NOW)
)

_TAKE = _change(
    issuances.c.state == given("in_state"), issuances.c.state.in_((State.CREATED, State.ACKED)), _FREE,
    claim=given("my_claim"), **_LEASE,
)  # fmt: skip
_CREATED = _change(
    issuances.c.state == State.INTENT,
    _HELD,
    state=State.CREATED,
    attempt_open=False,
    certificate_id=given("digest"),
    endpoint=given("host"),
    root_ca_der=given("root_ca"),
    updated_us=NOW,
)
_ADD_CERTIFICATE = insert(certificates).values(
    certificate_id=given("digest"),
    issuance_id=given("issuance"),
    device_id=given("device"),
    arn=given("new_arn"),
    cert_der=given("der"),
    thing=given("to_thing"),
    policy=given("with_policy"),
    status=CertificateStatus.INACTIVE,
    created_us=NOW,
)
_OFFERED = _change(
    issuances.c.state == State.CREATED,
    _HELD,
    **_UNCLAIMED,
    state=State.OFFERED,
    not_before_us=None,
    expires_us=NOW + given("lifetime_us"),
    updated_us=NOW,
)
_ACTIVE = _change(
    issuances.c.state == State.ACKED, _HELD, **_UNCLAIMED, state=State.ACTIVE, not_before_us=None, updated_us=NOW
)
_RETIRE_FORMER = (
    update(certificates)
    .where(certificates.c.live_device_id == given("device"))
    .values(
        status=CertificateStatus.RETIRING,
        reason=Reason.SUPERSEDED,
        live_device_id=None,
        retired_us=NOW,
        not_before_us=NOW,
        keep_until_us=NOW + given("grace_us"),
    )
)
_ACTIVATE = (
    update(certificates)
    .where(
        certificates.c.certificate_id == given("digest"),
        certificates.c.status == CertificateStatus.INACTIVE,
    )
    .values(status=CertificateStatus.ACTIVE, live_device_id=certificates.c.device_id, activated_us=NOW)
)
_COUNT_ACTIVATION = (
    update(devices).where(devices.c.id == given("device")).values(activations=devices.c.activations + 1, updated_us=NOW)
)
_RELEASE = _change(_HELD, **_UNCLAIMED, not_before_us=NOW + given("wait_us"))
_FAILED = {
    **_UNCLAIMED,
    "state": State.FAILED,
    "resume_state": given("in_state"),
    "fault": given("the_fault"),
    "fault_detail": given("why"),
    "attempt_open": False,
    "not_before_us": None,
    "updated_us": NOW,
}
_FAIL = _change(issuances.c.state == given("in_state"), _HELD, **_FAILED)
_FAIL_LEFT = _change(issuances.c.state == given("in_state"), _FREE, **_FAILED)

_STANDING = select(issuances.c.state, issuances.c.claim).where(issuances.c.id == given("issuance"))
_ATTEMPT_ENDED = select(attempts.c.id).where(
    attempts.c.issuance_id == given("issuance"),
    attempts.c.number == given("attempt"),
    attempts.c.outcome == given("ended"),
)
_CERTIFICATE_OF = select(*rows.CERTIFICATE).where(certificates.c.certificate_id == given("digest"))
_REMEMBER_ENDPOINT = update(accounts).where(accounts.c.id == given("account")).values(data_endpoint=given("host"))


Mine = Callable[[str, bytes | None], bool]
"""Whether a row of this state and claim is as an earlier run of the very step left it."""


class WorkerSteps:
    """cvmd.ports.WorkerStore, but for `due` (due.py)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def open_attempt(
        self, issuance: Issuance, claim: Claim, *, key: KeyPair | None, sealed_escrow: bytes | None
    ) -> bool:
        """→ intent with a new attempt row, the claim, on the first attempt the key; one Create reserved."""
        values: dict[str, Any] = {
            "my_claim": claim.id,
            "lease_us": _us(claim.lease_s),
            "seen_attempts": issuance.attempts,
        }
        opening = _OPEN
        if key is not None:
            opening = _OPEN_WITH_KEY
            values |= {"csr": key.csr_der, "key_id": key.public_key_id, "escrow": sealed_escrow}

        def work(t: Transaction) -> bool:
            seen = t.row(_PACE, account=issuance.account.id)
            if seen is None:
                raise LookupError(f"account {issuance.account.id} has no row in pace")
            tat_us, rate, now_us = seen
            slot = reserve(tat_us, now_us, rate, burst=rate)
            if not slot.ok:
                t.change(_POSTPONE, issuance=issuance.id, until_us=now_us + slot.wait_us)
                return False
            if not t.change(opening, issuance=issuance.id, **values):
                return False
            number = issuance.attempts + 1
            t.change(_ADD_ATTEMPT, issuance=issuance.id, attempt=number, by_node=claim.node, by_claim=claim.id)
            # Last, since all workers of all nodes queue for this row: it is locked for one COMMIT only.
            if not t.change(_RESERVE, account=issuance.account.id, seen_us=tat_us, next_us=slot.tat_us):
                raise Contended
            return True

        return self._step(issuance, work, lambda _state, holder: holder == claim.id)

    def close_attempt(
        self, issuance: Issuance, claim_id: bytes | None, outcome: Outcome, detail: str, *, wait_s: float
    ) -> bool:
        """Close the open attempt, release the claim, not before now + wait_s. claim_id None: the lease is over."""
        held = {} if claim_id is None else {"my_claim": claim_id}
        unknown = int(outcome is Outcome.UNKNOWN)

        def work(t: Transaction) -> bool:
            closing = _CLOSE_LEFT if claim_id is None else _CLOSE
            if not t.change(closing, issuance=issuance.id, unknown=unknown, wait_us=_us(wait_s), **held):
                return t.repeated and _attempt_ended(t, issuance, outcome)
            _end_attempt(t, issuance, outcome, detail)
            return True

        return self._database.transaction(work)

    def take(self, issuance: Issuance, claim: Claim) -> bool:
        """Claim a row in created or acked that nobody holds."""
        values = {"in_state": issuance.state, "my_claim": claim.id, "lease_us": _us(claim.lease_s)}
        return self._single(issuance, _TAKE, values, lambda _state, holder: holder == claim.id)

    def record_created(
        self, issuance: Issuance, claim: Claim, created: Created, *, endpoint: str, root_ca_der: bytes
    ) -> bool:
        """intent → created: certificates row, attempt done, bundle frozen, in one transaction."""
        digest = created.certificate_id

        def work(t: Transaction) -> bool:
            if not t.change(
                _CREATED, issuance=issuance.id, my_claim=claim.id, digest=digest, host=endpoint, root_ca=root_ca_der
            ):
                return False
            t.change(
                _ADD_CERTIFICATE, digest=digest, issuance=issuance.id, device=issuance.device_id,
                new_arn=created.arn, der=created.cert_der, to_thing=issuance.thing, with_policy=issuance.policy,
            )  # fmt: skip
            _end_attempt(t, issuance, Outcome.DONE, "")
            return True

        return self._step(issuance, work, lambda state, holder: state == State.CREATED and holder == claim.id)

    def record_offered(self, issuance: Issuance, claim: Claim) -> bool:
        """created → offered; the claim is released, the expiry set."""
        values = {"my_claim": claim.id, "lifetime_us": issuance.product.offer_lifetime_s * US}
        # Once it is offered the device may have moved it on before this is asked.
        reached = (State.OFFERED, State.ACKED, State.ACTIVE)
        return self._single(issuance, _OFFERED, values, lambda state, _holder: state in reached)

    def record_active(self, issuance: Issuance, claim: Claim) -> bool:
        """acked → active: certificate active, the device's former one retiring (superseded)."""

        def work(t: Transaction) -> bool:
            if not t.change(_ACTIVE, issuance=issuance.id, my_claim=claim.id):
                return False
            t.change(_RETIRE_FORMER, device=issuance.device_id, grace_us=issuance.product.grace_s * US)
            if not t.change(_ACTIVATE, digest=issuance.certificate_id):
                t.undo()  # an operator has retired it meanwhile: it is not to come back
                return False
            t.change(_COUNT_ACTIVATION, device=issuance.device_id)
            return True

        return self._step(issuance, work, lambda state, _holder: state == State.ACTIVE)

    def release(self, issuance: Issuance, claim: Claim, *, wait_s: float) -> bool:
        """Give the claim back, state unchanged; not before now + wait_s."""
        values = {"my_claim": claim.id, "wait_us": _us(wait_s)}
        return self._single(issuance, _RELEASE, values, lambda _state, holder: holder is None)

    def fail(self, issuance: Issuance, claim_id: bytes | None, fault: Fault, detail: str) -> bool:
        """→ failed with the state to resume in; open attempt closed as refused. claim_id None: nobody holds it."""
        values: dict[str, Any] = {"in_state": issuance.state, "the_fault": fault, "why": detail[:DETAIL]}
        if claim_id is not None:
            values["my_claim"] = claim_id

        def work(t: Transaction) -> bool:
            if not t.change(_FAIL_LEFT if claim_id is None else _FAIL, issuance=issuance.id, **values):
                return False
            if issuance.attempt_open:
                _end_attempt(t, issuance, Outcome.REFUSED, detail)
            return True

        return self._step(issuance, work, lambda state, _holder: state == State.FAILED)

    def certificate_of(self, issuance: Issuance) -> Certificate | None:
        """The certificates row of this issuance."""
        row = self._database.statement(lambda t: t.row(_CERTIFICATE_OF, digest=issuance.certificate_id))
        return None if row is None else rows.certificate(row)

    def remember_endpoint(self, account_id: int, data_endpoint: str) -> None:
        """Keep DescribeEndpoint's answer, which never changes."""
        self._database.statement(lambda t: t.change(_REMEMBER_ENDPOINT, account=account_id, host=data_endpoint))

    def _single(self, issuance: Issuance, statement: Update, values: dict[str, Any], mine: Mine) -> bool:
        """A step that is one statement, and so needs no BEGIN."""

        def work(t: Transaction) -> bool:
            return t.change(statement, issuance=issuance.id, **values) > 0 or _was_done(t, issuance, mine)

        return self._database.statement(work)

    def _step(self, issuance: Issuance, work: Callable[[Transaction], bool], mine: Mine) -> bool:
        """A step of several statements."""
        return self._database.transaction(lambda t: work(t) or _was_done(t, issuance, mine))


def _was_done(t: Transaction, issuance: Issuance, mine: Mine) -> bool:
    if not t.repeated:
        return False
    row = t.row(_STANDING, issuance=issuance.id)
    return row is not None and mine(*row)


def _end_attempt(t: Transaction, issuance: Issuance, outcome: Outcome, detail: str) -> None:
    t.change(_END_ATTEMPT, issuance=issuance.id, attempt=issuance.attempts, ended=outcome, why=detail[:DETAIL])


def _attempt_ended(t: Transaction, issuance: Issuance, outcome: Outcome) -> bool:
    return t.row(_ATTEMPT_ENDED, issuance=issuance.id, attempt=issuance.attempts, ended=outcome) is not None


def _us(seconds: float) -> int:
    return round(seconds * US)

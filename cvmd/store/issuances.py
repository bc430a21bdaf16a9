"""The workers' side of the store: the steps of an issuance after its certificate was created.

A row's not-before says when a worker is to look at it next: for a claimed one the end of the lease.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from sqlalchemy import insert, select, update

from cvmd.model import (
    US,
    Account,
    AuditEvent,
    Certificate,
    CertificateStatus,
    Created,
    Fault,
    Issuance,
    Outcome,
    Reason,
    State,
)
from cvmd.ports import Claim
from cvmd.store import rows
from cvmd.store.attempts import AttemptSteps, end_attempt
from cvmd.store.audit import retired
from cvmd.store.engine import Duplicate, Transaction
from cvmd.store.schema import DETAIL, NOW, accounts, certificates, devices, given, issuances
from cvmd.store.steps import CLOSED, FREE, HELD, LEASE, RETIRED, UNCLAIMED, change, us

_TAKE = change(
    issuances.c.state == given("in_state"), issuances.c.state.in_((State.CREATED, State.ACKED)), FREE,
    claim=given("my_claim"), **LEASE,
)  # fmt: skip
_CREATED = change(
    issuances.c.state == State.INTENT,
    HELD,
    state=State.CREATED,
    attempt_open=False,
    certificate_id=given("digest"),
    endpoint=given("host"),
    root_ca_der=given("root_ca"),
    updated_us=NOW,
)
_CREATED_WITH_KEY = _CREATED.values(sealed_escrow=given("escrow"))
_ADD_CERTIFICATE = insert(certificates).values(
    certificate_id=given("digest"),
    account_id=given("account"),
    issuance_id=given("issuance"),
    device_id=given("device"),
    arn=given("new_arn"),
    cert_der=given("der"),
    thing=given("to_thing"),
    policy=given("with_policy"),
    status=CertificateStatus.INACTIVE,
    created_us=NOW,
)
_ADD_LOSER = _ADD_CERTIFICATE.values(**RETIRED, reason=Reason.LOSER)
_OFFERED = change(
    issuances.c.state == State.CREATED,
    HELD,
    **UNCLAIMED,
    state=State.OFFERED,
    not_before_us=NOW + given("lifetime_us"),
    expires_us=NOW + given("lifetime_us"),
    updated_us=NOW,
)
_EXPIRE = change(issuances.c.state == State.OFFERED, issuances.c.expires_us <= NOW, **CLOSED, reason=Reason.EXPIRED)
_RETIRE_EXPIRED = (
    update(certificates)
    .where(certificates.c.certificate_id == given("digest"), certificates.c.status == CertificateStatus.INACTIVE)
    .values(**RETIRED, reason=Reason.EXPIRED)
)
# Without a claim, so that a pass that is under way cannot end the disposal.
_DISPOSE_AGAIN = (
    update(certificates)
    .where(certificates.c.certificate_id == given("digest"), certificates.c.status == CertificateStatus.RETIRING)
    .values(**UNCLAIMED, not_before_us=NOW)
)
_ACTIVE = change(
    issuances.c.state == State.ACKED, HELD, **UNCLAIMED, state=State.ACTIVE, not_before_us=None, updated_us=NOW
)
_FORMER = select(certificates.c.certificate_id).where(certificates.c.live_device_id == given("device"))
_RETIRE_FORMER = (
    update(certificates)
    .where(certificates.c.certificate_id == given("digest"), certificates.c.live_device_id == given("device"))
    .values(**RETIRED, reason=Reason.SUPERSEDED, keep_until_us=NOW + given("grace_us"))
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
_RELEASE = change(HELD, **UNCLAIMED, not_before_us=NOW + given("wait_us"))
_FAILED = {
    **UNCLAIMED,
    "state": State.FAILED,
    "resume_state": given("in_state"),
    "fault": given("the_fault"),
    "fault_detail": given("why"),
    "attempt_open": False,
    "not_before_us": None,
    "updated_us": NOW,
}
_FAIL = change(issuances.c.state == given("in_state"), HELD, **_FAILED)
_FAIL_LEFT = change(issuances.c.state == given("in_state"), FREE, **_FAILED)

_CERTIFICATE_OF = select(*rows.CERTIFICATE).where(certificates.c.certificate_id == given("digest"))
_PLACE = ("region", "endpoint_url", "profile", "role_arn")
"""Where an account is: elsewhere AWS names another endpoint."""
_REMEMBER_ENDPOINT = (
    update(accounts)
    .where(accounts.c.id == given("account"), accounts.c.data_endpoint.is_(None))
    .where(*(accounts.c[name].is_not_distinct_from(given(f"asked_{name}")) for name in _PLACE))
    .values(data_endpoint=given("host"))
)


class WorkerSteps(AttemptSteps):
    """cvmd.ports.WorkerStore, but for `due` (due.py)."""

    def take(self, issuance: Issuance, claim: Claim) -> bool:
        """Claim a row in created or acked that nobody holds."""
        values = {"in_state": issuance.state, "my_claim": claim.id, "lease_us": us(claim.lease_s)}
        return self.single(issuance, _TAKE, values, lambda _state, holder: holder == claim.id)

    def record_created(
        self,
        issuance: Issuance,
        claim: Claim,
        created: Created,
        *,
        endpoint: str,
        root_ca_der: bytes,
        sealed_escrow: bytes | None = None,
    ) -> bool:
        """intent → created: certificates row, attempt done, bundle frozen, in one transaction; with it the escrow of a
        key that AWS made."""
        digest = created.certificate_id
        values: dict[str, Any] = {"my_claim": claim.id, "digest": digest, "host": endpoint, "root_ca": root_ca_der}
        recording = _CREATED
        if sealed_escrow is not None:
            recording = _CREATED_WITH_KEY
            values["escrow"] = sealed_escrow

        def work(t: Transaction) -> bool:
            if not t.change(recording, issuance=issuance.id, **values):
                return False
            t.change(_ADD_CERTIFICATE, **_certificate(issuance, created))
            end_attempt(t, issuance, Outcome.DONE, "")
            self._trail.add(t, issuance.device_id, AuditEvent.CREATED, digest.hex())
            return True

        return self.step(issuance, work, lambda state, holder: state == State.CREATED and holder == claim.id)

    def record_loser(self, issuance: Issuance, created: Created) -> None:
        """A certificate whose worker had lost its claim: retiring (loser), unless it is recorded already."""

        def work(t: Transaction) -> None:
            t.change(_ADD_LOSER, **_certificate(issuance, created))
            self._retired(t, issuance, Reason.LOSER, created.certificate_id)

        with suppress(Duplicate):  # its worker's own record_created, or this, was committed without an answer
            self._database.transaction(work)

    def record_offered(self, issuance: Issuance, claim: Claim) -> bool:
        """created → offered; the claim is released, the expiry set."""
        values = {"my_claim": claim.id, "lifetime_us": issuance.product.offer_lifetime_s * US}
        # Once it is offered the device may have moved it on before this is asked.
        reached = (State.OFFERED, State.ACKED, State.ACTIVE)
        return self.single(issuance, _OFFERED, values, lambda state, _holder: state in reached)

    def expire(self, issuance: Issuance) -> bool:
        """offered and past its expiry → closed (expired), its certificate retiring; wipes the escrow."""

        def work(t: Transaction) -> bool:
            if not t.change(_EXPIRE, issuance=issuance.id):
                return False
            if issuance.certificate_id is not None and t.change(_RETIRE_EXPIRED, digest=issuance.certificate_id):
                self._retired(t, issuance, Reason.EXPIRED, issuance.certificate_id)
            return True

        return self.step(issuance, work, lambda state, _holder: state == State.CLOSED)

    def record_active(self, issuance: Issuance, claim: Claim) -> bool:
        """acked → active: certificate active, the device's former one retiring (superseded)."""

        def work(t: Transaction) -> bool:
            if not t.change(_ACTIVE, issuance=issuance.id, my_claim=claim.id):
                return False
            device_id, digest = issuance.device_id, issuance.certificate_id
            assert digest is not None, "acked names its certificate"
            grace_us = issuance.product.grace_s * US
            former = [
                it
                for (it,) in t.rows(_FORMER, device=device_id)
                if t.change(_RETIRE_FORMER, digest=it, device=device_id, grace_us=grace_us)
            ]
            if not t.change(_ACTIVATE, digest=digest):
                t.undo()  # an operator has retired it meanwhile: it is not to come back
                return False
            t.change(_COUNT_ACTIVATION, device=device_id)
            self._trail.add(t, device_id, AuditEvent.ACTIVATED, digest.hex())
            for it in former:
                self._retired(t, issuance, Reason.SUPERSEDED, it)
            return True

        return self.step(issuance, work, lambda state, _holder: state == State.ACTIVE)

    def dispose_again(self, issuance: Issuance) -> None:
        """If its certificate is retiring, its disposal begins anew: a late call may have undone some of it."""
        self._database.statement(lambda t: t.change(_DISPOSE_AGAIN, digest=issuance.certificate_id))

    def release(self, issuance: Issuance, claim: Claim, *, wait_s: float) -> bool:
        """Give the claim back, state unchanged; not before now + wait_s."""
        values = {"my_claim": claim.id, "wait_us": us(wait_s)}
        return self.single(issuance, _RELEASE, values, lambda _state, holder: holder is None)

    def fail(self, issuance: Issuance, claim_id: bytes | None, fault: Fault, detail: str) -> bool:
        """→ failed with the state to resume in; open attempt closed as refused. claim_id None: nobody holds it."""
        values: dict[str, Any] = {"in_state": issuance.state, "the_fault": fault, "why": detail[:DETAIL]}
        if claim_id is not None:
            values["my_claim"] = claim_id

        def work(t: Transaction) -> bool:
            if not t.change(_FAIL_LEFT if claim_id is None else _FAIL, issuance=issuance.id, **values):
                return False
            if issuance.attempt_open:
                end_attempt(t, issuance, Outcome.REFUSED, detail)
            self._trail.add(t, issuance.device_id, AuditEvent.FAILED, f"{fault}: {detail}")
            return True

        return self.step(issuance, work, lambda state, _holder: state == State.FAILED)

    def certificate_of(self, issuance: Issuance) -> Certificate | None:
        """The certificates row of this issuance."""
        row = self._database.statement(lambda t: t.row(_CERTIFICATE_OF, digest=issuance.certificate_id))
        return None if row is None else rows.certificate(row)

    def remember_endpoint(self, account: Account, data_endpoint: str) -> None:
        """Keep DescribeEndpoint's answer, which never changes; not where the account leads elsewhere by now."""
        asked = {f"asked_{name}": getattr(account, name) for name in _PLACE}
        self._database.statement(
            lambda t: t.change(_REMEMBER_ENDPOINT, account=account.id, host=data_endpoint, **asked)
        )

    def _retired(self, t: Transaction, issuance: Issuance, reason: Reason, certificate_id: bytes) -> None:
        self._trail.add(t, issuance.device_id, AuditEvent.RETIRED, retired(reason, certificate_id))


def _certificate(issuance: Issuance, created: Created) -> dict[str, Any]:
    return {
        "digest": created.certificate_id, "issuance": issuance.id, "device": issuance.device_id,
        "account": issuance.account.id, "new_arn": created.arn, "der": created.cert_der, "to_thing": issuance.thing,
        "with_policy": issuance.policy,
    }  # fmt: skip

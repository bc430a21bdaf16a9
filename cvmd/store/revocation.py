"""The operator's revocation of a device: what it holds and what is being made for it, all at once or not at all."""

from __future__ import annotations

from sqlalchemy import not_, or_, select, update

from cvmd.errors import ConfigError
from cvmd.model import US, AuditEvent, CertificateStatus, Outcome, Reason, State
from cvmd.store.audit import Trail, retired
from cvmd.store.engine import Transaction
from cvmd.store.schema import NOW, attempts, certificates, given, issuances
from cvmd.store.steps import CLOSED, FREE, RETIRED

_OF_DEVICE = issuances.c.device_id == given("device")
_MAKING = issuances.c.state.in_((State.INTENT, State.CREATED))
_OPEN = issuances.c.state.in_((State.QUEUED, State.OFFERED, State.ACKED, State.FAILED))

# A worker between two calls of the making knows of no revocation. One that activates is let go on: its record finds
# the row closed, and REVOKED is final at AWS, whichever of the two calls comes first.
_CLOSE = update(issuances).where(_OF_DEVICE, or_(_OPEN, _MAKING & FREE)).values(**CLOSED, reason=Reason.CANCELLED)
_HELD_FOR = select(issuances.c.lease_until_us - NOW).where(_OF_DEVICE, _MAKING, not_(FREE))
_ATTEMPTS = (
    select(attempts.c.id)
    .join_from(issuances, attempts, attempts.c.issuance_id == issuances.c.id)
    .where(_OF_DEVICE, attempts.c.outcome == Outcome.OPEN)
)
_END_ATTEMPT = (
    update(attempts)
    .where(attempts.c.id == given("attempt"))
    .values(outcome=Outcome.UNKNOWN, detail=given("why"), closed_us=NOW)
)

_LIVING = certificates.c.status.in_((CertificateStatus.INACTIVE, CertificateStatus.ACTIVE))
_CERTIFICATES = select(certificates.c.certificate_id).where(certificates.c.device_id == given("device"), _LIVING)
_RETIRE = (
    update(certificates)
    .where(certificates.c.certificate_id == given("digest"), _LIVING)
    .values(**RETIRED, reason=Reason.REVOKED)
)


def revoke(t: Transaction, device_id: int, serial: bytes, trail: Trail) -> bool:
    """Close the issuance that is open, retire every certificate that is not retiring yet. False: there was nothing.

    Raises ConfigError, and changes nothing, while a worker makes a certificate.
    """
    closed = t.change(_CLOSE, device=device_id)
    refuse_while_making(t, device_id, serial)
    end_attempts(t, device_id, "its device was revoked")
    found = [digest for (digest,) in t.rows(_CERTIFICATES, device=device_id)]
    ended = [digest for digest in found if t.change(_RETIRE, digest=digest)]
    for digest in ended:
        trail.add(t, device_id, AuditEvent.RETIRED, retired(Reason.REVOKED, digest))
    if closed and not ended:
        trail.add(t, device_id, AuditEvent.RETIRED, Reason.CANCELLED)
    return closed > 0 or bool(ended)


def refuse_while_making(t: Transaction, device_id: int, serial: bytes) -> None:
    """Raises ConfigError while a worker makes a certificate for the device."""
    held = t.row(_HELD_FOR, device=device_id)
    if held is not None:
        seconds = max(held[0] // US, 0) + 1
        raise ConfigError(
            f"device {serial.decode()}: its certificate is being made now: try again in {seconds} seconds"
        )


def end_attempts(t: Transaction, device_id: int, why: str) -> None:
    """Close the attempts of a device whose issuances are closed, as unknown."""
    for (attempt,) in t.rows(_ATTEMPTS, device=device_id):
        t.change(_END_ATTEMPT, attempt=attempt, why=why)

"""The operator maps a device anew: what was made for it and is not in its hands yet is made anew as well.

A certificate that it has acknowledged keeps the thing and the policy that it was made with, up to its successor.
"""

from __future__ import annotations

from sqlalchemy import and_, or_, select, update

from cvmd.errors import NothingToDo
from cvmd.model import AuditEvent, CertificateStatus, Reason, State
from cvmd.store.audit import Trail, retired
from cvmd.store.engine import Contended, Transaction
from cvmd.store.revocation import end_attempts, refuse_while_making
from cvmd.store.schema import NOW, certificates, devices, given, issuances
from cvmd.store.steps import CLOSED, FREE, RETIRED

_OF_DEVICE = issuances.c.device_id == given("device")
_UNACKNOWLEDGED = or_(
    and_(issuances.c.state.in_((State.QUEUED, State.INTENT, State.CREATED)), FREE),
    issuances.c.state == State.OFFERED,
    and_(issuances.c.state == State.FAILED, issuances.c.resume_state != State.ACKED),
)
_CLOSE = update(issuances).where(_OF_DEVICE, _UNACKNOWLEDGED).values(**CLOSED, reason=Reason.CANCELLED)
_INERT = and_(certificates.c.status == CertificateStatus.INACTIVE, certificates.c.device_id == given("device"))
_LEFT = (
    select(certificates.c.certificate_id)
    .join_from(certificates, issuances, issuances.c.id == certificates.c.issuance_id)
    .where(_INERT, issuances.c.state == State.CLOSED)
)
_RETIRE = (
    update(certificates)
    .where(certificates.c.certificate_id == given("digest"), _INERT)
    .values(**RETIRED, reason=Reason.CANCELLED)
)
_MAPPED = select(devices.c.thing, devices.c.policy).where(devices.c.id == given("device"))
_MAP = (
    update(devices)
    .where(
        devices.c.id == given("device"), devices.c.thing == given("old_thing"), devices.c.policy == given("old_policy")
    )
    .values(thing=given("new_thing"), policy=given("new_policy"), updated_us=NOW)
)


def remap(t: Transaction, device_id: int, serial: bytes, thing: str | None, policy: str | None, trail: Trail) -> None:
    """None: it stays. Raises NothingToDo, or ConfigError while a worker makes a certificate, and changes nothing."""
    row = t.row(_MAPPED, device=device_id)
    assert row is not None, "a device is never deleted"
    old_thing, old_policy = row
    new_thing, new_policy = thing or old_thing, policy or old_policy
    if (new_thing, new_policy) == (old_thing, old_policy):
        if t.repeated:
            return
        raise NothingToDo(f"device {serial.decode()}: is mapped to thing {old_thing} and policy {old_policy} already")
    t.change(_CLOSE, device=device_id)
    refuse_while_making(t, device_id, serial)
    end_attempts(t, device_id, "its device was mapped anew")
    ended = [digest for (digest,) in t.rows(_LEFT, device=device_id)]
    for digest in ended:
        t.change(_RETIRE, digest=digest, device=device_id)
    if not t.change(
        _MAP, device=device_id, old_thing=old_thing, old_policy=old_policy, new_thing=new_thing, new_policy=new_policy
    ):
        raise Contended
    # What the device has queued since the first look may be in a worker's hands, which has read the old mapping. From
    # here on the device's row is locked, and nothing more is queued.
    queued_meanwhile = t.change(_CLOSE, device=device_id)
    refuse_while_making(t, device_id, serial)
    if queued_meanwhile:
        raise Contended
    trail.add(t, device_id, AuditEvent.REMAPPED, f"{new_thing} {new_policy}")
    for digest in ended:
        trail.add(t, device_id, AuditEvent.RETIRED, retired(Reason.CANCELLED, digest))

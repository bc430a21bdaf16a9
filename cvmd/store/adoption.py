"""The rows that certificates get which AWS has and no row knew: they retire, or become their device's ACTIVE one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import and_, insert, not_, or_, select, update

from cvmd.model import Account, Attribution, AuditEvent, CertificateStatus, DescribedCertificate, Reason, State
from cvmd.store.audit import Trail, retired
from cvmd.store.engine import Database, Duplicate, Transaction
from cvmd.store.inventory import LIVING, OF_ITS_ISSUANCE
from cvmd.store.revocation import end_attempts
from cvmd.store.schema import NOW, certificates, devices, given, issuances, products
from cvmd.store.steps import CLOSED, FREE, RETIRED, us

_ADD = insert(certificates).values(
    certificate_id=given("digest"),
    account_id=given("account"),
    issuance_id=given("issuance"),
    device_id=given("device"),
    arn=given("its_arn"),
    cert_der=given("der"),
    created_us=given("made_us"),
)
_MAPPING = select(devices.c.thing, devices.c.policy, products.c.grace_s).join_from(
    devices, products, products.c.id == devices.c.product_id
).where(devices.c.id == given("device"))  # fmt: skip
_ADD_RETIRING = _ADD.values(**RETIRED, reason=given("why"))
_THERE = select(certificates.c.live_device_id).where(certificates.c.certificate_id == given("digest"))
_IN_FLIGHT = select(issuances.c.id).where(issuances.c.id == given("issuance"), issuances.c.attempt_open)

# Of one device. What it acknowledged it holds, also where its ACTIVE state came to nothing.
_ACKED = or_(
    issuances.c.state == State.ACKED, and_(issuances.c.state == State.FAILED, issuances.c.resume_state == State.ACKED)
)
_RIVALS = (
    select(certificates.c.certificate_id, certificates.c.live_device_id.is_(None))
    .select_from(certificates)
    .outerjoin(issuances, OF_ITS_ISSUANCE)
    .where(certificates.c.device_id == given("device"), LIVING, or_(certificates.c.live_device_id.is_not(None), _ACKED))
    .order_by(certificates.c.live_device_id.is_not(None))
)
_OPEN = issuances.c.state.not_in((State.ACTIVE, State.CLOSED))
_HELD = select(issuances.c.id).where(issuances.c.device_id == given("device"), _OPEN, not_(FREE))
_CLOSE = (
    update(issuances)
    .where(issuances.c.device_id == given("device"), _OPEN, FREE)
    .values(**CLOSED, reason=Reason.CANCELLED)
)
_TO_ACTIVE = (
    update(issuances)
    .where(issuances.c.id == given("issuance"), _OPEN, FREE)
    .values(**{**CLOSED, "state": State.ACTIVE}, certificate_id=given("digest"))
)
_OWN = select(certificates.c.certificate_id, certificates.c.status).where(
    certificates.c.device_id == given("device"), certificates.c.certificate_id != given("digest"), LIVING
)
_RETIRE = (
    update(certificates)
    .where(certificates.c.certificate_id == given("digest"), LIVING)
    .values(**RETIRED, reason=given("why"), keep_until_us=NOW + given("grace_us"))
)
_ACTIVATE = (
    update(certificates)
    .where(
        certificates.c.certificate_id == given("digest"),
        certificates.c.device_id == given("device"),
        certificates.c.status == CertificateStatus.INACTIVE,
    )
    .values(status=CertificateStatus.ACTIVE, live_device_id=given("device"), activated_us=NOW)
)
_ADD_ADOPTED = _ADD.values(
    status=CertificateStatus.ACTIVE,
    live_device_id=given("device"),
    thing=given("to_thing"),
    policy=given("with_policy"),
    activated_us=NOW,
)
_COUNT = (
    update(devices).where(devices.c.id == given("device")).values(activations=devices.c.activations + 1, updated_us=NOW)
)


class Adoption:
    """The part of cvmd.ports.ReconcileStore that decides on certificates which were in no row."""

    def __init__(self, database: Database, trail: Trail) -> None:
        self._database = database
        self._trail = trail

    def retire_orphan(self, account: Account, found: DescribedCertificate, whose: Attribution) -> bool:
        """Its row, retiring (orphan). False: it has a row by now, or an attempt may have it in hand."""

        def work(t: Transaction) -> bool:
            if t.row(_IN_FLIGHT, issuance=whose.issuance_id) is not None:
                return False
            return self._retire(t, account, found, whose, Reason.ORPHAN)

        return self._added(found, None, work)

    def supersede(self, account: Account, found: DescribedCertificate, whose: Attribution) -> bool:
        """Its row, retiring (superseded). False: it has a row by now."""
        return self._added(found, None, lambda t: self._retire(t, account, found, whose, Reason.SUPERSEDED))

    def rival(self, device_id: int) -> tuple[bytes, bool] | None:
        """The certificate that the device uses by the rows, the one that it acknowledged last, and whether that one
        is still to become ACTIVE."""
        row = self._database.statement(lambda t: t.row(_RIVALS, device=device_id))
        return None if row is None else (row[0], bool(row[1]))

    def adopt(self, account: Account, found: DescribedCertificate, whose: Attribution, rival: bytes | None) -> bool:
        """Its row, ACTIVE; all else of its device ends. False: `rival` is another one by now, or a worker has one of
        the device's issuances in hand."""
        device_id = whose.device_id
        assert device_id is not None, "only what is known to be a device's is adopted"

        def work(t: Transaction) -> bool:
            if not _end_making(t, device_id, found.certificate_id, whose.issuance_id, rival):
                t.undo()
                return False
            thing, policy, grace_s = t.rows(_MAPPING, device=device_id)[0]
            ended = _end_certificates(t, device_id, found.certificate_id, grace_s)
            if not t.change(_ACTIVATE, digest=found.certificate_id, device=device_id):
                t.change(_ADD_ADOPTED, **_certificate(account, found, whose), to_thing=thing, with_policy=policy)
            t.change(_COUNT, device=device_id)
            self._trail.add(t, device_id, AuditEvent.ADOPTED, found.certificate_id.hex())
            for detail in ended:
                self._trail.add(t, device_id, AuditEvent.RETIRED, detail)
            return True

        return self._added(found, device_id, work)

    def _retire(
        self, t: Transaction, account: Account, found: DescribedCertificate, whose: Attribution, reason: Reason
    ) -> bool:
        t.change(_ADD_RETIRING, **_certificate(account, found, whose), why=reason)
        if whose.device_id is not None:
            self._trail.add(t, whose.device_id, AuditEvent.RETIRED, retired(reason, found.certificate_id))
        return True

    def _added(self, found: DescribedCertificate, live_for: int | None, work: Callable[[Transaction], bool]) -> bool:
        """Whether the row is there, by this; `live_for`: as this device's ACTIVE one."""

        def settled(t: Transaction) -> bool:
            if t.repeated and t.row(_THERE, digest=found.certificate_id) == (live_for,):
                return True
            return work(t)

        try:
            return self._database.transaction(settled)
        except Duplicate:  # its worker, or another run, was first
            return False


def _end_making(t: Transaction, device_id: int, digest: bytes, issuance_id: int | None, rival: bytes | None) -> bool:
    """Close what is open of the device. False: a worker has some of it in hand, or `rival` is not what it uses."""
    before = t.rows(_RIVALS, device=device_id)
    if issuance_id is not None:
        t.change(_TO_ACTIVE, issuance=issuance_id, digest=digest)
    t.change(_CLOSE, device=device_id)
    # From here on nothing of the device becomes ACTIVE; what did so up to now was not there before.
    live = [it for it, to_come in t.rows(_RIVALS, device=device_id) if not to_come]
    if live != [it for it, to_come in before if not to_come] or t.row(_HELD, device=device_id) is not None:
        return False
    end_attempts(t, device_id, "another certificate of its device was adopted")
    return rival == (before[0][0] if before else None)


def _end_certificates(t: Transaction, device_id: int, adopted: bytes, grace_s: int) -> list[str]:
    """Retire all others of the device; what the trail is to say of each."""
    ended = []
    for digest, status in t.rows(_OWN, device=device_id, digest=adopted):
        former = status == CertificateStatus.ACTIVE
        reason = Reason.SUPERSEDED if former else Reason.CANCELLED
        t.change(_RETIRE, digest=digest, why=reason, grace_us=us(grace_s) if former else 0)
        ended.append(retired(reason, digest))
    return ended


def _certificate(account: Account, found: DescribedCertificate, whose: Attribution) -> dict[str, Any]:
    return {
        "digest": found.certificate_id, "account": account.id, "issuance": whose.issuance_id,
        "device": whose.device_id, "its_arn": found.arn, "der": found.cert_der, "made_us": us(found.created_s),
    }  # fmt: skip

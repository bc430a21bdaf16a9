"""One vend's side of the store: what is known of a device, and the device's events.

An event is a compare-and-set on the state alone, and is allowed only in states that no worker claims.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import BigInteger, LargeBinary, Select, and_, insert, literal, or_, select, update

from cvmd.model import US, AuditEvent, Certificate, CertificateStatus, KeySource, Offer, Reason, State, View
from cvmd.store import rows
from cvmd.store.audit import DEVICE, Trail, retired
from cvmd.store.engine import Database, Duplicate, Transaction
from cvmd.store.schema import NOW, accounts, certificates, devices, given, issuances, products
from cvmd.store.steps import CLOSED, RETIRED

_REPLACEABLE = (State.QUEUED, State.OFFERED, State.FAILED)

_account_end = len(rows.ACCOUNT)
_product_end = _account_end + len(rows.PRODUCT)
_device_end = _product_end + len(rows.DEVICE)
_issuance_end = _device_end + len(rows.ISSUANCE)
_access_end = _issuance_end + len(rows.ACCESS)

_live = certificates.alias("live")
_VIEW = (
    select(
        *rows.labelled(
            rows.ACCOUNT, rows.PRODUCT, rows.DEVICE, rows.ISSUANCE, rows.ACCESS, [_live.c.certificate_id, NOW]
        )
    )
    .select_from(devices)
    .join(products, products.c.id == devices.c.product_id)
    .join(accounts, accounts.c.id == products.c.account_id)
    .outerjoin(
        issuances,
        and_(issuances.c.device_id == devices.c.id, issuances.c.generation == devices.c.generation),
    )
    .outerjoin(_live, _live.c.live_device_id == devices.c.id)
)
_VIEW_OF_SERIAL = _VIEW.where(devices.c.serial == given("serial"))

_CERTIFICATE = select(*rows.CERTIFICATE).where(
    certificates.c.certificate_id == given("certificate_id"),
    # An orphan that was nobody's for certain is, to who knows its digest, one that has retired.
    or_(certificates.c.device_id == given("device_id"), certificates.c.device_id.is_(None)),
)

_OFFER = (
    select(
        *rows.labelled(rows.ACCOUNT, rows.PRODUCT, rows.ISSUANCE),
        devices.c.serial.label("serial"),
        devices.c.thing.label("thing"),
        devices.c.policy.label("policy"),
        certificates.c.thing.label("attached_thing"),
        certificates.c.cert_der.label("cert_der"),
        issuances.c.endpoint.label("endpoint"),
        issuances.c.root_ca_der.label("root_ca_der"),
    )
    .select_from(issuances)
    .join(certificates, certificates.c.certificate_id == issuances.c.certificate_id)
    .join(devices, devices.c.id == issuances.c.device_id)
    .join(products, products.c.id == devices.c.product_id)
    .join(accounts, accounts.c.id == products.c.account_id)
    .where(issuances.c.id == given("issuance_id"), issuances.c.state == State.OFFERED)
)

_CLOSE_REPLACED = (
    update(issuances)
    .where(
        issuances.c.id == given("replaces"),
        issuances.c.device_id == given("device"),
        issuances.c.state.in_(_REPLACEABLE),
    )
    .values(**CLOSED, reason=Reason.REPLACED)
)
_RETIRE_REPLACED = (
    update(certificates)
    .where(certificates.c.certificate_id == given("digest"), certificates.c.status == CertificateStatus.INACTIVE)
    .values(**RETIRED, reason=Reason.REPLACED)
)
_REPLACED = select(certificates.c.certificate_id).where(
    certificates.c.issuance_id == given("replaces"), certificates.c.status == CertificateStatus.INACTIVE
)
_NEXT_GENERATION = (
    update(devices)
    .where(
        devices.c.id == given("device"),
        devices.c.generation == given("to_generation") - 1,
        devices.c.disabled.is_(False),
    )
    .values(generation=given("to_generation"), updated_us=NOW)
)
_QUEUED_COLUMNS = [
    "device_id",
    "account_id",
    "key_source",
    "uid",
    "generation",
    "state",
    "sealed_csr",
    "public_key_id",
    "not_before_us",
    "created_us",
    "updated_us",
]
_QUEUED = (
    select(
        devices.c.id,
        products.c.account_id,
        products.c.key_source,
        given("new_uid", type_=LargeBinary),
        devices.c.generation,
        literal(State.QUEUED),
        given("csr", type_=LargeBinary),
        given("key_id", type_=LargeBinary),
        NOW,
        NOW,
        NOW,
    )
    .join_from(devices, products, products.c.id == devices.c.product_id)
    .where(devices.c.id == given("device"))
)
_QUEUE = insert(issuances).from_select(_QUEUED_COLUMNS, _QUEUED)
# None where the key source has become device-csr since the device was answered: AWS would make a key for it.
_QUEUE_WITHOUT_CSR = insert(issuances).from_select(
    _QUEUED_COLUMNS, _QUEUED.where(products.c.key_source != KeySource.DEVICE_CSR)
)
_QUEUED_BY = select(issuances.c.id).where(issuances.c.uid == given("uid"))

_ACKNOWLEDGE = (
    update(issuances)
    .where(
        issuances.c.id == given("issuance"),
        issuances.c.state == State.OFFERED,
        issuances.c.certificate_id == given("digest"),
        issuances.c.expires_us > NOW,
    )
    .values(state=State.ACKED, sealed_escrow=None, not_before_us=NOW, updated_us=NOW)
)
_DEVICE_OF = select(issuances.c.device_id).where(issuances.c.id == given("issuance"))
_ACKNOWLEDGED = select(issuances.c.id).where(
    issuances.c.id == given("issuance"),
    issuances.c.certificate_id == given("digest"),
    issuances.c.state.in_((State.ACKED, State.ACTIVE)),
)

_LIFETIME_S = (
    select(products.c.offer_lifetime_s)
    .join_from(products, devices, products.c.id == devices.c.product_id)
    .where(devices.c.id == issuances.c.device_id)
    .scalar_subquery()
)
_LIFETIME_US = _LIFETIME_S * literal(US, BigInteger)
_EXTEND = (
    update(issuances)
    .where(issuances.c.id == given("issuance"), issuances.c.state == State.OFFERED, issuances.c.expires_us > NOW)
    .values(expires_us=NOW + _LIFETIME_US, not_before_us=NOW + _LIFETIME_US)
)


@cache
def _moved(count: int) -> Select[Any]:
    """Of that many ids, `id0` and so on."""
    return select(issuances.c.id, issuances.c.updated_us).where(
        issuances.c.id.in_([given(f"id{number}") for number in range(count)])
    )


class DeviceEvents:
    """cvmd.ports.VendingStore."""

    def __init__(self, database: Database, trail: Trail) -> None:
        self._database = database
        self._trail = trail

    def view(self, serial: bytes) -> View | None:
        """All that is known of this serial, compared byte for byte; None if there is no such device."""
        row = self._database.statement(lambda t: t.row(_VIEW_OF_SERIAL, serial=serial))
        if row is None:
            return None
        account = rows.account(row[:_account_end])
        product = rows.product(row[_account_end:_product_end], account)
        device = rows.device(row[_product_end:_device_end])
        columns = row[_device_end:_issuance_end]
        issuance = None
        if columns[0] is not None:
            issuance = rows.issuance(columns, device.serial, device.thing, device.policy, product)
        access = rows.access(row[_issuance_end:_access_end])
        return View(device, product, issuance, active=row[-2], now_us=row[-1], access=access)

    def certificate(self, device_id: int, certificate_id: bytes) -> Certificate | None:
        """This device's certificate of that id, whatever its status."""
        row = self._database.statement(
            lambda t: t.row(_CERTIFICATE, device_id=device_id, certificate_id=certificate_id)
        )
        return None if row is None else rows.certificate(row)

    def offer(self, issuance_id: int) -> Offer | None:
        """What the bundle of an `offered` issuance is made of; None if it is in another state by now."""
        row = self._database.statement(lambda t: t.row(_OFFER, issuance_id=issuance_id))
        if row is None:
            return None
        product = rows.product(row[_account_end:_product_end], rows.account(row[:_account_end]))
        *columns, serial, thing, policy, attached_thing, cert_der, endpoint, root_ca_der = row[_product_end:]
        issuance = rows.issuance(columns, serial, thing, policy, product)
        return Offer(issuance, cert_der, endpoint, root_ca_der, attached_thing)

    def queue(
        self,
        device_id: int,
        generation: int,
        *,
        uid: bytes,
        sealed_csr: bytes | None,
        public_key_id: bytes | None,
        replaces: int | None,
        grounds: str = "",
    ) -> bool:
        """INSERT the issuance, closing `replaces`. False: another won the generation, `replaces` has moved on,
        the device was disabled, or its key source now wants a CSR. `grounds`: for the audit, why a
        device that proves nothing was let in."""
        detail = f"generation {generation}" + (f"; {grounds}" if grounds else "")

        def work(t: Transaction) -> bool:
            # Issuance, certificate, device: the order in which a worker locks them too.
            former: list[bytes] = []
            if replaces is not None:
                if not t.change(_CLOSE_REPLACED, replaces=replaces, device=device_id):
                    return False
                former = [it for (it,) in t.rows(_REPLACED, replaces=replaces) if t.change(_RETIRE_REPLACED, digest=it)]
            if not t.change(_NEXT_GENERATION, device=device_id, to_generation=generation):
                t.undo()
                return False
            queue = _QUEUE_WITHOUT_CSR if sealed_csr is None else _QUEUE
            if not t.change(queue, device=device_id, new_uid=uid, csr=sealed_csr, key_id=public_key_id):
                t.undo()
                return False
            for digest in former:
                self._trail.add(t, device_id, AuditEvent.RETIRED, retired(Reason.REPLACED, digest), actor=DEVICE)
            self._trail.add(t, device_id, AuditEvent.QUEUED, detail, actor=DEVICE)
            return True

        def settled(t: Transaction) -> bool:
            return work(t) or (t.repeated and t.row(_QUEUED_BY, uid=uid) is not None)

        try:
            return self._database.transaction(settled)
        except Duplicate:
            return False  # a generation that another node won while this one was repeated

    def acknowledge(self, issuance_id: int, certificate_id: bytes) -> bool:
        """offered → acked if the digest is its certificate's and it has not expired; wipes the escrow."""

        def work(t: Transaction) -> bool:
            if not t.change(_ACKNOWLEDGE, issuance=issuance_id, digest=certificate_id):
                return t.repeated and t.row(_ACKNOWLEDGED, issuance=issuance_id, digest=certificate_id) is not None
            device = t.row(_DEVICE_OF, issuance=issuance_id)
            assert device is not None, "the row was just changed"
            self._trail.add(t, device[0], AuditEvent.ACKED, certificate_id.hex(), actor=DEVICE)
            return True

        return self._database.transaction(work)

    def extend(self, issuance_id: int) -> None:
        """Move the expiry of an `offered` issuance on to now + the product's offer lifetime."""
        self._database.statement(lambda t: t.change(_EXTEND, issuance=issuance_id))

    def moved(self, seen: dict[int, int]) -> list[int]:
        """Of {issuance id: updated_us}, the ids whose row has another `updated_us` now. One query."""
        if not seen:
            return []
        ids = list(seen)
        # Filled up to a power of two: few statements, each compiled once.
        ids += ids[:1] * ((1 << (len(ids) - 1).bit_length()) - len(ids))
        values = {f"id{number}": issuance_id for number, issuance_id in enumerate(ids)}
        found = self._database.statement(lambda t: t.rows(_moved(len(ids)), **values))
        return [number for number, updated_us in found if seen[number] != updated_us]

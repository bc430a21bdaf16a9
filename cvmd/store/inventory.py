"""The rows as a reconciliation needs them: what AWS should have, whose an unknown certificate is, and what is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Integer,
    Select,
    String,
    and_,
    exists,
    func,
    insert,
    not_,
    or_,
    select,
    update,
)

from cvmd.model import (
    US,
    Account,
    Attribution,
    AuditEvent,
    CertificateStatus,
    DescribedCertificate,
    KeySource,
    KnownCertificate,
    Reason,
    State,
)
from cvmd.store import rows
from cvmd.store.audit import Trail, retired
from cvmd.store.engine import Database, Duplicate, Transaction
from cvmd.store.schema import NOW, accounts, attempts, certificates, devices, given, issuances, leases, products
from cvmd.store.steps import CLOSED, FREE, RETIRED, UNCLAIMED, us

_SETTLED_US: Final = 600 * US
_CLOCKS_US: Final = 300 * US
"""How far AWS's clock and the database's may be apart."""

_LAST_CHANGE = func.coalesce(
    certificates.c.deleted_us, certificates.c.retired_us, certificates.c.activated_us, certificates.c.created_us
)


@cache
def _known(count: int) -> Select[Any]:
    of_its_issuance = and_(
        issuances.c.id == certificates.c.issuance_id, issuances.c.certificate_id == certificates.c.certificate_id
    )
    return (
        select(
            certificates.c.certificate_id,
            certificates.c.status,
            devices.c.serial,
            issuances.c.state,
            # Deletion takes some seconds to be seen in the list, a change of an issuance no longer than its lease.
            and_(
                _LAST_CHANGE < NOW - _SETTLED_US,
                or_(issuances.c.updated_us.is_(None), issuances.c.updated_us < NOW - _SETTLED_US),
            ),
        )
        .select_from(certificates)
        .outerjoin(devices, devices.c.id == certificates.c.device_id)
        .outerjoin(issuances, of_its_issuance)
        .where(certificates.c.certificate_id.in_([given(f"id{n}") for n in range(count)]))
    )


_CREATED_US = given("made_us", type_=BigInteger)
_IN_AN_ATTEMPT = exists().where(
    attempts.c.issuance_id == issuances.c.id,
    attempts.c.opened_us - _CLOCKS_US <= _CREATED_US,
    func.coalesce(attempts.c.closed_us, NOW) + _CLOCKS_US >= _CREATED_US,
)
_OURS = (
    select(
        issuances.c.id,
        issuances.c.device_id,
        devices.c.serial,
        issuances.c.attempt_open,
        or_(issuances.c.key_source != KeySource.DEVICE_CSR, _IN_AN_ATTEMPT),
    )
    .join_from(issuances, devices, devices.c.id == issuances.c.device_id)
    .order_by(issuances.c.id.desc())
)
_BY_UID = _OURS.where(issuances.c.uid == given("named"))
_BY_KEY = _OURS.where(issuances.c.public_key_id == given("key"))


@cache
def _of_things(count: int) -> Select[Any]:
    return (
        select(devices.c.id, devices.c.serial)
        .join_from(devices, products, products.c.id == devices.c.product_id)
        .where(
            products.c.account_id == given("account"),
            not_(products.c.share_things),
            devices.c.thing.in_([given(f"thing{n}") for n in range(count)]),
        )
        .limit(2)
    )


_LIVING = certificates.c.status.in_((CertificateStatus.INACTIVE, CertificateStatus.ACTIVE))
_EXPECTED = (
    select(certificates.c.id, certificates.c.certificate_id, devices.c.serial)
    .select_from(certificates)
    .outerjoin(devices, devices.c.id == certificates.c.device_id)
    .where(certificates.c.account_id == given("account"), certificates.c.id > given("after"), _LIVING)
    .order_by(certificates.c.id)
    .limit(given("limit", type_=Integer))
)
_THINGS = (
    select(devices.c.thing)
    .distinct()
    .join_from(devices, products, products.c.id == devices.c.product_id)
    .where(
        products.c.account_id == given("account"),
        not_(products.c.share_things),
        devices.c.thing > given("after", type_=String),
    )
    .order_by(devices.c.thing)
    .limit(given("limit", type_=Integer))
)
_ACCOUNTS = select(*rows.ACCOUNT).order_by(accounts.c.name)

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
_ADD_ORPHAN = _ADD.values(**RETIRED, reason=Reason.ORPHAN)
_ADD_ADOPTED = _ADD.values(
    status=CertificateStatus.ACTIVE,
    live_device_id=given("device"),
    thing=given("to_thing"),
    policy=given("with_policy"),
    activated_us=NOW,
)
_IN_FLIGHT = select(issuances.c.id).where(issuances.c.id == given("issuance"), issuances.c.attempt_open)
_AGAIN = (
    update(certificates)
    .where(
        certificates.c.certificate_id == given("digest"),
        certificates.c.status.in_((CertificateStatus.RETIRING, CertificateStatus.DELETED)),
    )
    .values(**UNCLAIMED, status=CertificateStatus.RETIRING, not_before_us=NOW, disposal_attempts=0)
)
_MAKING = (State.QUEUED, State.INTENT, State.CREATED, State.OFFERED, State.FAILED)
_CLOSE = (
    update(issuances)
    .where(
        issuances.c.device_id == given("device"), issuances.c.state.in_(_MAKING), FREE, not_(issuances.c.attempt_open)
    )
    .values(**CLOSED, reason=Reason.CANCELLED)
)
_STILL = select(issuances.c.id).where(
    issuances.c.device_id == given("device"), issuances.c.state.in_((*_MAKING, State.ACKED))
)
_OWN = select(certificates.c.certificate_id, certificates.c.status).where(
    certificates.c.device_id == given("device"), _LIVING
)
_RETIRE = (
    update(certificates)
    .where(certificates.c.certificate_id == given("digest"), _LIVING)
    .values(**RETIRED, reason=given("why"), keep_until_us=NOW + given("grace_us"))
)
_COUNT = (
    update(devices).where(devices.c.id == given("device")).values(activations=devices.c.activations + 1, updated_us=NOW)
)

_TAKE_LEASE = (
    update(leases)
    .where(leases.c.name == given("the_name"), leases.c.until_us <= NOW)
    .values(holder=given("by"), until_us=NOW + given("lease_us"))
)
_SHORTEN_LEASE = (
    update(leases)
    .where(leases.c.name == given("the_name"), leases.c.holder == given("by"))
    .values(until_us=NOW + given("lease_us"))
)
_ADD_LEASE = insert(leases).values(name=given("the_name"), holder=given("by"), until_us=NOW + given("lease_us"))


class Inventory:
    """cvmd.ports.ReconcileStore, the accounts, and the lease under which one node does it."""

    def __init__(self, database: Database, trail: Trail) -> None:
        self._database = database
        self._trail = trail

    def accounts(self) -> Sequence[Account]:
        """All, by name."""
        return [rows.account(row) for row in self._database.statement(lambda t: t.rows(_ACCOUNTS))]

    def known(self, certificate_ids: Sequence[bytes]) -> Mapping[bytes, KnownCertificate]:
        """The rows of these certificates, by id. One query."""
        if not certificate_ids:
            return {}
        named = {f"id{n}": it for n, it in enumerate(certificate_ids)}
        found = self._database.statement(lambda t: t.rows(_known(len(named)), **named))
        return {
            number: KnownCertificate(
                number, CertificateStatus(status), serial, None if state is None else State(state), bool(settled)
            )
            for number, status, serial, state, settled in found
        }

    def attribute(self, found: DescribedCertificate, uid: bytes | None) -> Attribution | None:
        """Whose it is by its key, or by the issuance uid that its subject names; None: not provably ours."""
        made_us = us(found.created_s)
        named = () if uid is None else self._database.statement(lambda t: t.rows(_BY_UID, named=uid, made_us=made_us))
        keyed = self._database.statement(lambda t: t.rows(_BY_KEY, key=found.public_key_id, made_us=made_us))
        ours = [*named, *(it for it in keyed if it[4])]
        in_flight = any(it[3] for it in ours)
        if ours:
            issuance_id, device_id, serial = ours[0][:3]
            return Attribution(issuance_id, device_id, serial, "attempt", in_flight)
        return None if uid is None else Attribution(None, None, None, "subject", in_flight)

    def device_of_thing(self, account_id: int, things: Sequence[str]) -> Attribution | None:
        """The device that one of these things is mapped to, if there is exactly one."""
        named = {f"thing{n}": it for n, it in enumerate(things)}
        found = self._database.statement(lambda t: t.rows(_of_things(len(named)), account=account_id, **named))
        if len(found) != 1:
            return None
        device_id, serial = found[0]
        return Attribution(None, device_id, serial, "thing", in_flight=False)

    def expected(self, account_id: int, after: int, limit: int) -> Sequence[tuple[int, bytes, bytes | None]]:
        """(row, certificate id, serial) of the account's certificates that AWS must have, by row, after that row."""
        found = self._database.statement(lambda t: t.rows(_EXPECTED, account=account_id, after=after, limit=limit))
        return [(number, certificate_id, serial) for number, certificate_id, serial in found]

    def mapped_things(self, account_id: int, after: str, limit: int) -> Sequence[str]:
        """The things of the account's devices, but of products that share them, in their order, after that one."""
        found = self._database.statement(lambda t: t.rows(_THINGS, account=account_id, after=after, limit=limit))
        return [thing for (thing,) in found]

    def retire_orphan(self, account: Account, found: DescribedCertificate, whose: Attribution) -> bool:
        """Its row, retiring (orphan). False: it has a row by now, or an attempt may have it in hand."""

        def work(t: Transaction) -> bool:
            if t.row(_IN_FLIGHT, issuance=whose.issuance_id) is not None:
                return False
            t.change(_ADD_ORPHAN, **_certificate(account, found, whose))
            if whose.device_id is not None:
                self._trail.add(t, whose.device_id, AuditEvent.RETIRED, retired(Reason.ORPHAN, found.certificate_id))
            return True

        return self._added(work)

    def dispose_of_again(self, certificate_id: bytes) -> bool:
        """A retiring or deleted one that AWS has ACTIVE, or has still: its disposal begins anew."""
        return self._database.statement(lambda t: t.change(_AGAIN, digest=certificate_id) > 0)

    def adopt(self, account: Account, found: DescribedCertificate, whose: Attribution) -> bool:
        """Its row, ACTIVE; all else of its device ends. False: it has a row by now, or one is being made."""
        device_id = whose.device_id
        if device_id is None:
            return False

        def work(t: Transaction) -> bool:
            t.change(_CLOSE, device=device_id)
            if t.row(_STILL, device=device_id) is not None:
                t.undo()
                return False
            thing, policy, grace_s = t.rows(_MAPPING, device=device_id)[0]
            ended = []
            for digest, status in t.rows(_OWN, device=device_id):
                former = status == CertificateStatus.ACTIVE
                reason = Reason.SUPERSEDED if former else Reason.CANCELLED
                t.change(_RETIRE, digest=digest, why=reason, grace_us=us(grace_s) if former else 0)
                ended.append(retired(reason, digest))
            t.change(_ADD_ADOPTED, **_certificate(account, found, whose), to_thing=thing, with_policy=policy)
            t.change(_COUNT, device=device_id)
            self._trail.add(t, device_id, AuditEvent.ADOPTED, found.certificate_id.hex())
            for detail in ended:
                self._trail.add(t, device_id, AuditEvent.RETIRED, detail)
            return True

        return self._added(work)

    def _added(self, work: Callable[[Transaction], bool]) -> bool:
        try:
            return self._database.transaction(work)
        except Duplicate:  # recorded meanwhile by its worker, or by this, committed without an answer
            return False

    def take_lease(self, name: str, holder: bytes, lease_s: float) -> bool:
        """Take the lease of that name. False: it is not over."""
        values = {"the_name": name, "by": holder, "lease_us": us(lease_s)}
        if self._database.statement(lambda t: t.change(_TAKE_LEASE, **values) > 0):
            return True
        try:
            return self._database.statement(lambda t: t.change(_ADD_LEASE, **values) > 0)
        except Duplicate:
            return False

    def shorten_lease(self, name: str, holder: bytes, lease_s: float) -> None:
        """Let it end earlier: what it was taken for has failed."""
        self._database.statement(lambda t: t.change(_SHORTEN_LEASE, the_name=name, by=holder, lease_us=us(lease_s)))


def _certificate(account: Account, found: DescribedCertificate, whose: Attribution) -> dict[str, Any]:
    return {
        "digest": found.certificate_id, "account": account.id, "issuance": whose.issuance_id,
        "device": whose.device_id, "its_arn": found.arn, "der": found.cert_der, "made_us": us(found.created_s),
    }  # fmt: skip

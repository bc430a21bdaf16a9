"""The rows as a reconciliation needs them: what AWS should have, and whose a certificate is that is in no row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

from sqlalchemy import BigInteger, Integer, Select, String, and_, exists, func, not_, or_, select, update

from cvmd.model import (
    US,
    Account,
    Attribution,
    AuditEvent,
    CertificateStatus,
    DescribedCertificate,
    KeySource,
    KnownCertificate,
    Outcome,
    Reason,
    State,
)
from cvmd.store import rows
from cvmd.store.audit import Trail, retired
from cvmd.store.engine import Database, Transaction
from cvmd.store.schema import NOW, accounts, attempts, certificates, devices, given, issuances, products
from cvmd.store.steps import CLOSED, RETIRED, UNCLAIMED, us

_SETTLED_US: Final = 600 * US
_CLOCKS_US: Final = 300 * US
"""How far AWS's clock and the database's may be apart."""

_LAST_CHANGE = func.coalesce(
    certificates.c.deleted_us, certificates.c.retired_us, certificates.c.activated_us, certificates.c.created_us
)


LIVING = certificates.c.status.in_((CertificateStatus.INACTIVE, CertificateStatus.ACTIVE))
_LONG_AGO = NOW - _SETTLED_US
# Deletion takes some seconds to be seen in the list, a change of an issuance no longer than its lease.
_SETTLED = and_(_LAST_CHANGE < _LONG_AGO, or_(issuances.c.updated_us.is_(None), issuances.c.updated_us < _LONG_AGO))
_OVER = or_(
    issuances.c.id.is_(None),
    issuances.c.state == State.CLOSED,
    and_(issuances.c.state == State.OFFERED, issuances.c.expires_us < _LONG_AGO),
)
_AT_REST = and_(
    certificates.c.status == CertificateStatus.RETIRING,
    certificates.c.claim.is_(None),
    certificates.c.disposal_attempts == 0,
    certificates.c.not_before_us > NOW,
)
OF_ITS_ISSUANCE = and_(
    issuances.c.id == certificates.c.issuance_id, issuances.c.certificate_id == certificates.c.certificate_id
)


@cache
def _known(count: int) -> Select[Any]:
    """What KnownCertificate takes, of that many ids, `id0` and so on."""
    return (
        select(
            certificates.c.certificate_id, certificates.c.status, certificates.c.issuance_id, certificates.c.device_id,
            devices.c.serial, issuances.c.state, _SETTLED, _OVER, _AT_REST,
        )
        .select_from(certificates)
        .outerjoin(devices, devices.c.id == certificates.c.device_id)
        .outerjoin(issuances, OF_ITS_ISSUANCE)
        .where(certificates.c.certificate_id.in_([given(f"id{n}") for n in range(count)]))
    )  # fmt: skip


_CREATED_US = given("made_us", type_=BigInteger)
_IN_AN_ATTEMPT = exists().where(
    attempts.c.issuance_id == issuances.c.id,
    attempts.c.opened_us - _CLOCKS_US <= _CREATED_US,
    func.coalesce(attempts.c.closed_us, NOW) + _CLOCKS_US >= _CREATED_US,
)
_LONGEST_LEASE_US: Final = 3600 * US
"""The upper bound of `worker.lease_s`: an attempt's call is sent no later than that after it was opened."""
# As _IN_AN_ATTEMPT, for reading the attempts of that time by their index.
_MEANWHILE = and_(
    attempts.c.opened_us.between(_CREATED_US - (_LONGEST_LEASE_US + _CLOCKS_US), _CREATED_US + _CLOCKS_US),
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
# What came back was not to be used, but it named the certificate: so the attempt's detail does.
_BY_ANSWER = (
    select(issuances.c.id, issuances.c.device_id, devices.c.serial, issuances.c.attempt_open)
    .join_from(attempts, issuances, issuances.c.id == attempts.c.issuance_id)
    .join(devices, devices.c.id == issuances.c.device_id)
    .where(
        attempts.c.outcome.in_((Outcome.REFUSED, Outcome.UNKNOWN)),
        _MEANWHILE,
        attempts.c.detail.contains(given("name", type_=String)),
    )
)
_ATTEMPTED = (
    select(accounts.c.exclusive, attempts.c.outcome == Outcome.OPEN)
    .join_from(attempts, issuances, issuances.c.id == attempts.c.issuance_id)
    .join(accounts, accounts.c.id == issuances.c.account_id)
    .where(
        attempts.c.outcome.in_((Outcome.OPEN, Outcome.UNKNOWN)),
        _MEANWHILE,
        issuances.c.key_source == KeySource.AWS_RSA2048,
        issuances.c.account_id == given("account"),
    )
)


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


# By row alone: the index of the status would be read whole, and sorted, for every page.
_EXPECTED = (
    select(certificates.c.id, certificates.c.certificate_id, LIVING)
    .where(certificates.c.account_id == given("account"), certificates.c.id > given("after"))
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

_AGAIN = (
    update(certificates)
    .where(
        certificates.c.certificate_id == given("digest"),
        certificates.c.status.in_((CertificateStatus.RETIRING, CertificateStatus.DELETED)),
    )
    .values(**UNCLAIMED, status=CertificateStatus.RETIRING, not_before_us=NOW, disposal_attempts=0)
)
_INACTIVE = (
    select(certificates.c.device_id, issuances.c.id, issuances.c.state)
    .select_from(certificates)
    .outerjoin(issuances, OF_ITS_ISSUANCE)
    .where(certificates.c.certificate_id == given("digest"), certificates.c.status == CertificateStatus.INACTIVE, _OVER)
)
_EXPIRE = (
    update(issuances)
    .where(issuances.c.id == given("issuance"), issuances.c.state == State.OFFERED, issuances.c.expires_us <= NOW)
    .values(**CLOSED, reason=Reason.EXPIRED)
)
_EXPIRED = (
    update(certificates)
    .where(certificates.c.certificate_id == given("digest"), certificates.c.status == CertificateStatus.INACTIVE)
    .values(**RETIRED, reason=Reason.EXPIRED)
)


class Inventory:
    """cvmd.ports.ReconcileStore, but for what unknown certificates get (adoption.py)."""

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
        return {row[0]: _known_certificate(*row) for row in found}

    def attribute(self, found: DescribedCertificate, uid: bytes | None) -> Attribution | None:
        """Whose it is by its key, by the issuance uid that its subject names, or by the answer of an attempt; None: not
        provably ours."""
        made_us, name = us(found.created_s), found.certificate_id.hex()
        named = () if uid is None else self._database.statement(lambda t: t.rows(_BY_UID, named=uid, made_us=made_us))
        keyed = self._database.statement(lambda t: t.rows(_BY_KEY, key=found.public_key_id, made_us=made_us))
        told = self._database.statement(lambda t: t.rows(_BY_ANSWER, name=name, made_us=made_us))
        ours = [*named, *(it for it in keyed if it[4]), *told]
        in_flight = any(it[3] for it in ours)
        if ours:
            issuance_id, device_id, serial = ours[0][:3]
            return Attribution(issuance_id, device_id, serial, "attempt", in_flight)
        return None if uid is None else Attribution(None, None, None, "subject", in_flight)

    def attempted(self, account_id: int, created_s: float) -> Attribution | None:
        """Of what nobody else claims and nothing is attached to: whether an attempt of then, whose key AWS was to make,
        may have left it (invariant 5)."""
        made_us = us(created_s)
        found = self._database.statement(lambda t: t.rows(_ATTEMPTED, account=account_id, made_us=made_us))
        if not found:
            return None
        proof = "account" if found[0][0] else "time"
        return Attribution(None, None, None, proof, in_flight=any(is_open for _, is_open in found))

    def device_of_thing(self, account_id: int, things: Sequence[str]) -> Attribution | None:
        """The device that one of these things is mapped to, or that it is one of several. None: none of ours."""
        named = {f"thing{n}": it for n, it in enumerate(things)}
        found = self._database.statement(lambda t: t.rows(_of_things(len(named)), account=account_id, **named))
        if not found:
            return None
        device_id, serial = found[0] if len(found) == 1 else (None, None)
        return Attribution(None, device_id, serial, "thing", in_flight=False)

    def expected(self, account_id: int, after: int, limit: int) -> tuple[Sequence[bytes], int | None]:
        """Of the account's next rows the ids of certificates that AWS must have, and the last row; None: no more."""
        found = self._database.statement(lambda t: t.rows(_EXPECTED, account=account_id, after=after, limit=limit))
        return [certificate_id for _, certificate_id, living in found if living], found[-1][0] if found else None

    def mapped_things(self, account_id: int, after: str, limit: int) -> Sequence[str]:
        """The things of the account's devices, but of products that share them, in their order, after that one."""
        found = self._database.statement(lambda t: t.rows(_THINGS, account=account_id, after=after, limit=limit))
        return [thing for (thing,) in found]

    def dispose_of(self, certificate_id: bytes) -> bool:
        """What is over and at AWS still, or again: retiring or deleted, its disposal begins anew; INACTIVE and overdue,
        it retires (expired)."""

        def work(t: Transaction) -> bool:
            if t.change(_AGAIN, digest=certificate_id):
                return True
            row = t.row(_INACTIVE, digest=certificate_id)
            if row is None:
                return False
            device_id, issuance_id, state = row
            if (state == State.OFFERED and not t.change(_EXPIRE, issuance=issuance_id)) or not t.change(
                _EXPIRED, digest=certificate_id
            ):
                t.undo()
                return False
            if device_id is not None:
                self._trail.add(t, device_id, AuditEvent.RETIRED, retired(Reason.EXPIRED, certificate_id))
            return True

        return self._database.transaction(work)


def _known_certificate(
    certificate_id: bytes, status: str, issuance_id: int | None, device_id: int | None, serial: bytes | None,
    state: str | None, settled: bool, over: bool, at_rest: bool,
) -> KnownCertificate:  # fmt: skip
    inactive = status == CertificateStatus.INACTIVE
    return KnownCertificate(
        certificate_id, CertificateStatus(status), issuance_id, device_id, serial,
        None if state is None else State(state), bool(settled), inactive and bool(over), bool(at_rest),
    )  # fmt: skip

"""The operator's side: devices that are new, one or many at once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from sqlalchemy import Select, insert, select

from cvmd.errors import ConfigError
from cvmd.model import Auth
from cvmd.store.audit import Trail
from cvmd.store.engine import Contended, Database, Duplicate, Transaction
from cvmd.store.schema import NOW, devices, given, products

_SERIAL = re.compile(rb"[A-Za-z0-9:_.-]{1,64}")
_THING = re.compile(r"[A-Za-z0-9:_-]{1,128}")
_POLICY = re.compile(r"[\w+=,.@-]{1,128}", re.ASCII)


@dataclass(frozen=True, slots=True)
class NewDevice:
    """A device to be imported. `sealed_token` is empty where the product's auth needs no token of its own."""

    serial: bytes
    thing: str
    policy: str
    sealed_token: bytes = field(repr=False, default=b"")

    def __post_init__(self) -> None:
        if not _SERIAL.fullmatch(self.serial):
            raise ConfigError(f"serial {self.serial!r}: must be 1 to 64 of A-Z a-z 0-9 : _ . -")
        check_mapping(thing=self.thing, policy=self.policy)


def check_mapping(*, thing: str | None, policy: str | None) -> None:
    """Raises ConfigError for names that AWS IoT does not take."""
    if thing is not None and not _THING.fullmatch(thing):
        raise ConfigError(f"thing {thing!r}: must be 1 to 128 of A-Z a-z 0-9 : _ -")
    if policy is not None and not _POLICY.fullmatch(policy):
        raise ConfigError(f"policy {policy!r}: must be 1 to 128 of A-Z a-z 0-9 _ + = , . @ -")


@dataclass(frozen=True, slots=True)
class Known:
    """A device that is there, as far as one that is to be imported is compared with it."""

    product: str
    thing: str
    policy: str
    sealed_token: bytes = field(repr=False)


_PRODUCT_ID = select(products.c.id, products.c.auth, NOW).where(products.c.name == given("product_name"))
_ADD = insert(devices).values(
    product_id=given("of_product"),
    serial=given("new_serial"),
    thing=given("new_thing"),
    policy=given("new_policy"),
    sealed_token=given("new_token"),
    audit_seq=given("new_seq"),
    audit_head=given("new_mac"),
    # Given, not NOW: the driver sends many rows at once only where VALUES holds nothing but values.
    created_us=given("at_us"),
    updated_us=given("at_us"),
)

_AUTH = select(products.c.auth).where(products.c.id == given("product"))
_OURS = select(devices.c.created_us).where(devices.c.serial == given("which"), devices.c.sealed_token == given("token"))

_SERIALS = (
    select(devices.c.serial).where(devices.c.serial > given("after")).order_by(devices.c.serial).limit(given("page"))
)


@cache
def _there(count: int) -> Select[Any]:
    return (
        select(devices.c.serial, products.c.name, devices.c.thing, devices.c.policy, devices.c.sealed_token)
        .outerjoin_from(devices, products, products.c.id == devices.c.product_id)  # outer: see due.py
        .where(devices.c.serial.in_([given(f"serial{n}") for n in range(count)]))
    )


@cache
def _mapped(count: int) -> Select[Any]:
    return (
        select(products.c.account_id, devices.c.thing, devices.c.serial)
        .outerjoin_from(devices, products, products.c.id == devices.c.product_id)  # outer: see due.py
        .where(devices.c.thing.in_([given(f"thing{n}") for n in range(count)]))
    )


class IntakeRows:
    """Adds devices. ConfigError: a device that is taken, a product that is not there.

    Without a trail it answers questions; what decides on a credential has to be written down.
    """

    def __init__(self, database: Database, trail: Trail | None = None) -> None:
        self._database = database
        self._given_trail = trail

    @property
    def _trail(self) -> Trail:
        if self._given_trail is None:
            raise TypeError("this store was made without a trail, and so decides nothing")
        return self._given_trail

    def add_device(self, product: str, device: NewDevice) -> None:
        """One device; see `add_devices`."""
        self.add_devices(product, [device])

    def add_devices(self, product: str, new: Sequence[NewDevice]) -> None:
        """All of them, or with an error none."""
        trail = self._trail
        tried_us: set[int] = set()

        def work(t: Transaction) -> None:
            if t.repeated:
                added = t.row(_OURS, which=new[0].serial, token=new[0].sealed_token)
                if added is not None and added[0] in tried_us:
                    return  # it was us, and then it was all of them
            row = t.row(_PRODUCT_ID, product_name=product)
            if row is None:
                raise ConfigError(f"there is no product {product!r}; make it with `cvmd products add`")
            product_id, auth, now_us = row
            tried_us.add(now_us)
            _check_tokens(new, product, Auth(auth))
            lines = {it.serial: trail.first(it.serial, now_us, f"{it.thing} {it.policy}") for it in new}
            t.insert_many(
                _ADD,
                [
                    {
                        "of_product": product_id,
                        "at_us": now_us,
                        "new_serial": it.serial,
                        "new_thing": it.thing,
                        "new_policy": it.policy,
                        "new_token": it.sealed_token,
                        "new_seq": 1,
                        "new_mac": lines[it.serial]["new_mac"],
                    }
                    for it in new
                ],
            )
            trail.add_first(t, lines)
            # From the INSERT on its row is locked by the foreign key: what it says now holds until the COMMIT.
            if t.row(_AUTH, product=product_id) != (auth,):
                raise Contended

        try:
            self._database.transaction(work)
        except Duplicate:
            among = select(devices.c.serial).where(devices.c.serial.in_([it.serial for it in new])).limit(1)
            known = self._database.statement(lambda t: t.row(among))
            problem = "a serial is twice in it" if known is None else f"device {known[0].decode()} is there already"
            raise ConfigError(f"{problem}; nothing was imported") from None

    def serials(self, *, after: bytes, page: int) -> Sequence[bytes]:
        """The next `page` serials in their order, from the one behind `after`."""
        return [serial for (serial,) in self._database.statement(lambda t: t.rows(_SERIALS, after=after, page=page))]

    def there(self, serials: Sequence[bytes]) -> Mapping[bytes, Known]:
        """Those of these devices that are there, by serial. One query."""
        if not serials:
            return {}
        named = {f"serial{n}": it for n, it in enumerate(serials)}
        found = self._database.statement(lambda t: t.rows(_there(len(named)), **named))
        return {serial: Known(*known) for serial, *known in found}

    def mapped(self, things: Sequence[str]) -> Mapping[tuple[int, str], bytes]:
        """Of these things, by account id and name, those that a device is mapped to, and one such device. One query."""
        if not things:
            return {}
        named = {f"thing{n}": it for n, it in enumerate(things)}
        found = self._database.statement(lambda t: t.rows(_mapped(len(named)), **named))
        return {(account_id, thing): serial for account_id, thing, serial in found}


def _check_tokens(new: Sequence[NewDevice], product: str, auth: Auth) -> None:
    """A device has a token of its own where, and only where, its product's auth is `token`."""
    for it in new:
        if (auth is Auth.TOKEN) is not bool(it.sealed_token):
            serial, needs = it.serial.decode(), "needs a token" if auth is Auth.TOKEN else "has no token of its own"
            raise ConfigError(f"device {serial}: product {product!r} has auth {auth}, so it {needs}")

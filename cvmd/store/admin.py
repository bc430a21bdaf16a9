"""The operator's side: devices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import and_, or_, select, update

from cvmd.errors import ConfigError, NothingToDo
from cvmd.model import US, AuditEvent, Certificate, Device, Fault, Issuance, Outcome, Product, State
from cvmd.store import rows
from cvmd.store.accounts import AccountRows
from cvmd.store.breakers import FAILING
from cvmd.store.deployment import DeploymentRow
from cvmd.store.engine import Row, Transaction
from cvmd.store.intake import IntakeRows, check_mapping
from cvmd.store.products import ProductRows
from cvmd.store.remapping import remap
from cvmd.store.revocation import revoke
from cvmd.store.schema import NOW, accounts, attempts, breakers, certificates, devices, given, issuances, products
from cvmd.store.steps import TO_CREATE


@dataclass(frozen=True, slots=True)
class DeviceFilter:
    """Which devices to list; what is None does not matter."""

    product: str | None = None
    prefix: bytes | None = None
    """What the serial begins with."""
    disabled: bool | None = None
    certified: bool | None = None
    """Whether it has a certificate that is ACTIVE; not so after `revoke`, whose issuance stays as it was."""
    state: State | None = None
    """Of the newest issuance."""
    fault: Fault | None = None
    """Of the newest issuance."""


@dataclass(frozen=True, slots=True)
class ListedDevice:
    """A line of a list."""

    serial: bytes
    product: str
    thing: str
    policy: str
    disabled: bool
    activations: int
    state: State | None
    certificate_id: bytes | None
    """Of the ACTIVE certificate."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A row of `attempts`."""

    issuance_id: int
    number: int
    outcome: Outcome
    detail: str | None
    opened_us: int
    closed_us: int | None


@dataclass(frozen=True, slots=True)
class DeviceRecord:
    """All that the database holds of a device, oldest first."""

    device: Device
    product: Product
    issuances: Sequence[Issuance]
    attempts: Sequence[Attempt]
    certificates: Sequence[Certificate]


_LIST = (
    select(
        devices.c.serial, products.c.name, devices.c.thing, devices.c.policy, devices.c.disabled,
        devices.c.activations, issuances.c.state, certificates.c.certificate_id,
    )
    .select_from(devices)
    .outerjoin(certificates, certificates.c.live_device_id == devices.c.id)
    .outerjoin(products, products.c.id == devices.c.product_id)  # outer, or it would be read first: see due.py
    .outerjoin(
        issuances,
        and_(issuances.c.device_id == devices.c.id, issuances.c.generation == devices.c.generation),
    )
    .where(devices.c.serial > given("after"))
    .order_by(devices.c.serial)
    .limit(given("page"))
)  # fmt: skip

_DEVICE = (
    select(*rows.labelled(rows.ACCOUNT, rows.PRODUCT, rows.DEVICE))
    .join_from(devices, products, products.c.id == devices.c.product_id)
    .join(accounts, accounts.c.id == products.c.account_id)
    .where(devices.c.serial == given("which"))
)
_ISSUANCES = select(*rows.ISSUANCE).where(issuances.c.device_id == given("device")).order_by(issuances.c.generation)
_ATTEMPTS = (
    select(
        attempts.c.issuance_id, attempts.c.number, attempts.c.outcome, attempts.c.detail, attempts.c.opened_us,
        attempts.c.closed_us,
    )
    .join_from(attempts, issuances, issuances.c.id == attempts.c.issuance_id)
    .where(issuances.c.device_id == given("device"))
    .order_by(attempts.c.id)
)  # fmt: skip
_CERTIFICATES = select(*rows.CERTIFICATE).where(certificates.c.device_id == given("device")).order_by(certificates.c.id)
_ID = select(devices.c.id, NOW).where(devices.c.serial == given("which"))
_FAILED = select(issuances.c.id).where(issuances.c.device_id == given("device"), issuances.c.state == State.FAILED)
# Compare-and-sets: one that is repeated finds that it was done, and writes no second line.
_SET_DISABLED = (
    update(devices)
    .where(devices.c.id == given("device"), devices.c.disabled != given("to"))
    .values(disabled=given("to"), updated_us=NOW)
)
_SET_WINDOW = (
    update(devices)
    .where(devices.c.id == given("device"), devices.c.reissue_until_us.is_distinct_from(given("until_us")))
    .values(reissue_until_us=given("until_us"), updated_us=NOW)
)
# A claim has no place on a failed row; the state to resume in stays, so that SQL's order of assignment is no matter.
_GO_NOW = (
    update(issuances)
    .where(
        issuances.c.device_id == given("device"),
        issuances.c.state.in_((*TO_CREATE, State.CREATED, State.ACKED)),
        issuances.c.claim.is_(None),
    )
    .values(not_before_us=NOW)
)
_OF_DEVICE = devices.c.id == given("device")
_TRY_NOW = (
    update(breakers)
    .where(
        FAILING,
        breakers.c.account_id
        == select(products.c.account_id).join_from(products, devices).where(_OF_DEVICE).scalar_subquery(),
        or_(breakers.c.policy == "", breakers.c.policy == select(devices.c.policy).where(_OF_DEVICE).scalar_subquery()),
    )
    .values(until_us=NOW, trial_until_us=None)
)
_RETRY = (
    update(issuances)
    .where(issuances.c.id == given("issuance"), issuances.c.state == State.FAILED)
    .values(
        state=issuances.c.resume_state, fault=None, fault_detail=None, unknown_attempts=0, not_before_us=0,
        updated_us=NOW,
    )
)  # fmt: skip


class DeviceRows(IntakeRows):
    """What the operator asks of devices. ConfigError: a device or product that is taken, or not there."""

    def list_devices(self, which: DeviceFilter, *, after: bytes = b"", page: int = 100) -> Sequence[ListedDevice]:
        """The next `page` devices in the order of their serials, from the one behind `after`."""
        statement = _LIST
        if which.product is not None:
            statement = statement.where(products.c.name == which.product)
        if which.prefix:
            # Bounds and no LIKE, whose wildcards a serial may hold; 0xFF is behind every serial's bytes.
            statement = statement.where(devices.c.serial.between(which.prefix, which.prefix + b"\xff"))
        if which.disabled is not None:
            statement = statement.where(devices.c.disabled.is_(which.disabled))
        if which.certified is not None:
            statement = statement.where(certificates.c.id.is_not(None).is_(which.certified))
        if which.state is not None:
            statement = statement.where(issuances.c.state == which.state)
        if which.fault is not None:
            statement = statement.where(issuances.c.fault == which.fault)
        found = self._database.statement(lambda t: t.rows(statement, after=after, page=page))
        return [_listed(*row) for row in found]

    def show_device(self, serial: bytes) -> DeviceRecord:
        """The device and its whole history."""
        return self._database.statement(lambda t: _record(t, serial))

    def set_disabled(self, serial: bytes, disabled: bool) -> None:
        """Refuse the device from now on, or no longer."""
        event = AuditEvent.DISABLED if disabled else AuditEvent.ENABLED
        device_id, _ = self._find(serial)

        def work(t: Transaction) -> None:
            if t.change(_SET_DISABLED, device=device_id, to=disabled):
                self._trail.add(t, device_id, event)

        self._database.transaction(work)

    def open_window(self, serial: bytes, for_s: int) -> None:
        """For so long the re-issue limit does not bind this device; 0 closes the window."""
        device_id, now_us = self._find(serial)

        def work(t: Transaction) -> None:
            if t.change(_SET_WINDOW, device=device_id, until_us=now_us + for_s * US):
                self._trail.add(t, device_id, AuditEvent.WINDOW, f"for {for_s} s")

        self._database.transaction(work)

    def retry(self, serial: bytes) -> None:
        """Carry a failed issuance on where it stopped, once what was wrong with it is mended; one that waits, now."""
        device_id, _ = self._find(serial)
        failed = self._database.statement(lambda t: t.row(_FAILED, device=device_id))
        if failed is None:
            self._hurry(serial, device_id)
            return

        def work(t: Transaction) -> None:
            if t.change(_RETRY, issuance=failed[0]):
                self._trail.add(t, device_id, AuditEvent.RETRIED)

        self._database.transaction(work)

    def _hurry(self, serial: bytes, device_id: int) -> None:
        """End the rest that its row has, and the breakers that it is behind: it is their trial."""

        def work(t: Transaction) -> bool:
            waits = t.change(_GO_NOW, device=device_id) > 0
            if waits:
                t.change(_TRY_NOW, device=device_id)
            return waits

        if not self._database.transaction(work):
            raise NothingToDo(f"device {serial.decode()}: nothing of it has failed or waits; see `cvmd devices show`")

    def remap(self, serial: bytes, *, thing: str | None, policy: str | None) -> None:
        """Map it to another thing, or policy; None: it stays. What it has not acknowledged yet is made anew."""
        check_mapping(thing=thing, policy=policy)
        device_id, _ = self._find(serial)
        self._database.transaction(lambda t: remap(t, device_id, serial, thing, policy, self._trail))

    def revoke(self, serial: bytes) -> None:
        """End all that the device holds and all that is being made for it; disposal makes it so at AWS.

        A re-issue is under the product's limit, as any; `set_disabled` lets the device have none.
        """
        device_id, _ = self._find(serial)

        def work(t: Transaction) -> bool:
            return revoke(t, device_id, serial, self._trail) or t.repeated

        if not self._database.transaction(work):
            raise NothingToDo(
                f"device {serial.decode()}: nothing to revoke: it has no certificate, and none is being made"
            )

    def _find(self, serial: bytes) -> tuple[int, int]:
        """The device's id, and the time."""
        row = self._database.statement(lambda t: t.row(_ID, which=serial))
        if row is None:
            raise ConfigError(_no_such(serial))
        device_id, now_us = row
        return device_id, now_us


class AdminStore(DeviceRows, AccountRows, ProductRows, DeploymentRow):
    """All that the command line asks of the database."""


def _record(t: Transaction, serial: bytes) -> DeviceRecord:
    row = t.row(_DEVICE, which=serial)
    if row is None:
        raise ConfigError(_no_such(serial))
    device, product = _device(row)
    made = [
        rows.issuance(it, device.serial, device.thing, device.policy, product)
        for it in t.rows(_ISSUANCES, device=device.id)
    ]
    tried = [
        Attempt(number, of, Outcome(outcome), *rest)
        for number, of, outcome, *rest in t.rows(_ATTEMPTS, device=device.id)
    ]
    held = [rows.certificate(it) for it in t.rows(_CERTIFICATES, device=device.id)]
    return DeviceRecord(device, product, made, tried, held)


def _device(row: Row) -> tuple[Device, Product]:
    end = len(rows.ACCOUNT)
    product_end = end + len(rows.PRODUCT)
    product = rows.product(row[end:product_end], rows.account(row[:end]))
    return rows.device(row[product_end:]), product


def _listed(
    serial: bytes, product: str, thing: str, policy: str, disabled: bool, activations: int, state: str | None,
    certificate_id: bytes | None,
) -> ListedDevice:  # fmt: skip
    return ListedDevice(
        serial, product, thing, policy, bool(disabled), activations, None if state is None else State(state),
        certificate_id,
    )  # fmt: skip


def _no_such(serial: bytes) -> str:
    return f"there is no device {serial.decode('ascii', 'backslashreplace')!r}; import it with `cvmd devices add`"

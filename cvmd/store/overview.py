"""What the whole deployment is doing: devices by product, counts by state, rates, queues, breakers, nodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from sqlalchemy import ClauseElement, ColumnElement, and_, case, func, select

from cvmd.model import US, Breaker, CertificateStatus, State
from cvmd.store.breakers import FAILING, IN_USE
from cvmd.store.engine import Database, Row
from cvmd.store.nodes import WAITING
from cvmd.store.schema import NOW, accounts, breakers, certificates, devices, issuances, nodes, products
from cvmd.store.steps import TO_CREATE

WINDOWS_S: Final = (60, 3600, 86_400)
"""Of the rates: a minute, an hour, a day."""
_NODES_OF_US: Final = 86_400 * US

_PRODUCTS = (
    select(
        products.c.name, devices.c.disabled, issuances.c.state, certificates.c.id.is_not(None), func.count(devices.c.id)
    )
    .select_from(products)
    .outerjoin(devices, devices.c.product_id == products.c.id)
    .outerjoin(issuances, and_(issuances.c.device_id == devices.c.id, issuances.c.generation == devices.c.generation))
    .outerjoin(certificates, certificates.c.live_device_id == devices.c.id)
    .group_by(products.c.name, devices.c.disabled, issuances.c.state, certificates.c.id.is_not(None))
    .order_by(products.c.name)
)
_ISSUANCES = (
    select(issuances.c.state, issuances.c.fault, func.count(), func.min(issuances.c.updated_us))
    .group_by(issuances.c.state, issuances.c.fault)
    .order_by(issuances.c.state, issuances.c.fault)
)
_STUCK_ATTEMPTS: Final = 2
"""AWS detaches some time after it was asked to: the first failure is usual."""
_RETIRING = certificates.c.status == CertificateStatus.RETIRING
_CERTIFICATES = (
    select(
        certificates.c.status,
        certificates.c.reason,
        func.count(),
        func.count(case((and_(_RETIRING, certificates.c.disposal_attempts >= _STUCK_ATTEMPTS), 1))),
    )
    .group_by(certificates.c.status, certificates.c.reason)
    .order_by(certificates.c.status, certificates.c.reason)
)
_BREAKERS = (
    select(
        accounts.c.name, breakers.c.opened_us, breakers.c.account_id, breakers.c.policy, breakers.c.failures,
        breakers.c.until_us, breakers.c.fault, breakers.c.detail,
    )
    .join_from(breakers, accounts)
    .where(FAILING, IN_USE)
    .order_by(accounts.c.name, breakers.c.policy)
)  # fmt: skip
_NODES = (
    select(nodes.c.id, nodes.c.host, nodes.c.pid, nodes.c.version, nodes.c.started_us, nodes.c.seen_us,
           nodes.c.stopped_us)
    .where(nodes.c.seen_us > NOW - _NODES_OF_US)
    .order_by(nodes.c.host, nodes.c.started_us)
)  # fmt: skip
_NOW = select(NOW)


def _lately(time: ColumnElement[int], *conditions: ColumnElement[bool]) -> ClauseElement:
    """How many rows got this time within each of the windows."""
    within = (func.count(case((time > NOW - window_s * US, 1))) for window_s in WINDOWS_S)
    return select(*within).where(time > NOW - WINDOWS_S[-1] * US, *conditions)


_RATES = {
    "made": _lately(certificates.c.created_us),
    "activated": _lately(certificates.c.activated_us),
    "failed": _lately(issuances.c.updated_us, issuances.c.state == State.FAILED),
}


@dataclass(slots=True)
class OfProduct:
    """A product's devices."""

    product: str
    devices: int = 0
    disabled: int = 0
    certified: int = 0
    """Those that have an ACTIVE certificate."""
    newest: Counter[State | None] = field(default_factory=Counter)
    """By the state of the newest issuance; None: the device has never asked."""


@dataclass(frozen=True, slots=True)
class InState:
    """Issuances of one state and, where they failed, of one fault."""

    state: State
    fault: str | None
    count: int
    oldest_us: int
    """When the first of them came into it."""


@dataclass(frozen=True, slots=True)
class InStatus:
    """Certificates of one status and, where they end or have ended, of one reason."""

    status: CertificateStatus
    reason: str | None
    count: int
    stuck: int
    """Of them, those that AWS does not let go."""


@dataclass(frozen=True, slots=True)
class Rate:
    """How often something happened: certificates `made`, or `activated`; issuances that `failed`, and are so still."""

    what: str
    counts: tuple[int, ...]
    """Within each of WINDOWS_S."""


@dataclass(frozen=True, slots=True)
class Queue:
    """The issuances of an account whose certificates are still to be made."""

    account: str
    creates_per_s: int
    length: int
    oldest_us: int
    """When the first of them was queued."""


@dataclass(frozen=True, slots=True)
class OpenBreaker:
    """One that is not closed, and that can hold a device up."""

    account: str
    opened_us: int
    breaker: Breaker


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A node that was heard of within a day."""

    id: bytes
    host: str
    pid: int
    version: str
    started_us: int
    seen_us: int
    stopped_us: int | None
    """When it ended in good order."""


@dataclass(frozen=True, slots=True)
class Status:
    """Of one moment, more or less: it is read by a query a table."""

    now_us: int
    products: Sequence[OfProduct]
    issuances: Sequence[InState]
    certificates: Sequence[InStatus]
    rates: Sequence[Rate]
    queues: Sequence[Queue]
    breakers: Sequence[OpenBreaker]
    nodes: Sequence[NodeRow]


def read_status(database: Database) -> Status:
    """Raises StoreDown."""
    return database.statement(
        lambda t: Status(
            now_us=t.rows(_NOW)[0][0],
            products=_by_product(t.rows(_PRODUCTS)),
            issuances=[InState(State(state), *rest) for state, *rest in t.rows(_ISSUANCES)],
            certificates=[InStatus(CertificateStatus(status), *rest) for status, *rest in t.rows(_CERTIFICATES)],
            rates=[Rate(what, tuple(t.rows(query)[0])) for what, query in _RATES.items()],
            queues=_queues(t.rows(WAITING)),
            breakers=[OpenBreaker(name, opened, Breaker(*rest)) for name, opened, *rest in t.rows(_BREAKERS)],
            nodes=[NodeRow(*row) for row in t.rows(_NODES)],
        )
    )


def _by_product(rows: Sequence[Row]) -> list[OfProduct]:
    found: dict[str, OfProduct] = {}
    for name, disabled, state, certified, count in rows:
        product = found.setdefault(name, OfProduct(name))
        if not count:  # no device at all
            continue
        product.devices += count
        product.disabled += count if disabled else 0
        product.certified += count if certified else 0
        product.newest[State(state) if state is not None else None] += count
    return list(found.values())


def _queues(rows: Sequence[Row]) -> list[Queue]:
    found: dict[str, Queue] = {}
    for account, creates_per_s, state, count, oldest_us, _ in rows:
        if state in TO_CREATE:
            so_far = found.get(account, Queue(account, creates_per_s, 0, oldest_us))
            found[account] = replace(so_far, length=so_far.length + count, oldest_us=min(so_far.oldest_us, oldest_us))
    return list(found.values())

"""What the workers of a node take up next.

One lane a state, each read by its index up to the limit, since a roll-out may leave a hundred thousand rows queued:
what is settled comes first, and of what is to be created only as much as its account's quota has room for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import CompoundSelect, Integer, Row, Select, and_, bindparam, func, literal, select, union_all

from cvmd.model import Issuance, State
from cvmd.pace import slots
from cvmd.store import rows
from cvmd.store.engine import Database
from cvmd.store.issuances import CREATE
from cvmd.store.schema import NOW, accounts, devices, issuances, pace, products

_SETTLE = (State.ACKED, State.CREATED)
_TO_CREATE = (State.INTENT, State.QUEUED)


def _lane(number: int, state: State) -> Select[Any]:
    lane = select(issuances.c.id, literal(number).label("lane")).where(
        issuances.c.state == state, issuances.c.not_before_us <= NOW
    )
    if state in _TO_CREATE:
        lane = lane.where(issuances.c.account_id.not_in(bindparam("full", expanding=True)))
    oldest = lane.order_by(issuances.c.not_before_us).limit(bindparam("limit", type_=Integer))
    return select(oldest.subquery())  # SQLite takes ORDER BY and LIMIT inside a UNION only so


_lanes: CompoundSelect[Any] = union_all(*(_lane(n, state) for n, state in enumerate(_SETTLE + _TO_CREATE)))
_next = _lanes.subquery("next")

_account_end = len(rows.ACCOUNT)
_product_end = _account_end + len(rows.PRODUCT)
_issuance_end = _product_end + len(rows.ISSUANCE)

_DUE = (
    select(
        *rows.labelled(rows.ACCOUNT, rows.PRODUCT, rows.ISSUANCE),
        devices.c.serial.label("serial"),
        devices.c.thing.label("thing"),
        devices.c.policy.label("policy"),
        pace.c.tat_us.label("tat_us"),
        NOW.label("now_us"),
        select(func.count()).select_from(accounts).scalar_subquery().label("accounts"),
    )
    .select_from(_next)
    .join(issuances, issuances.c.id == _next.c.id)
    .join(devices, devices.c.id == issuances.c.device_id)
    .join(products, products.c.id == devices.c.product_id)
    .join(accounts, accounts.c.id == issuances.c.account_id)
    .join(pace, and_(pace.c.account_id == accounts.c.id, pace.c.operation == CREATE))
    .order_by(_next.c.lane, issuances.c.not_before_us, issuances.c.id)
)


class DueRows:
    """The `due` of cvmd.ports.WorkerStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def due(self, limit: int) -> Sequence[Issuance]:
        """The oldest rows in queued, intent, created, acked whose not-before is past and that nobody holds.

        Of those to be created no more than their account's quota grants now.
        """
        full = {0}  # no account has this id, and an empty NOT IN is a subquery
        while True:
            found = self._look(limit, full)
            due = _within_quota(found)
            full_now = full | {row.c0 for row in found}
            # The line of an account without room may hide another account's; with one account there is none.
            if due or full_now == full or len(full_now) > found[0].accounts:
                return due[:limit]
            full = full_now

    def _look(self, limit: int, full: set[int]) -> Sequence[Row[Any]]:
        return self._database.statement(lambda t: t.rows(_DUE, limit=limit, full=sorted(full)))


def _within_quota(found: Sequence[Row[Any]]) -> list[Issuance]:
    room: dict[int, int] = {}
    due: list[Issuance] = []
    for row in found:
        issuance = _issuance(row)
        if issuance.state in _TO_CREATE and not issuance.attempt_open:
            rate = issuance.account.creates_per_s
            left = room.setdefault(issuance.account.id, slots(row.tat_us, row.now_us, rate, burst=rate))
            if left == 0:
                continue
            room[issuance.account.id] = left - 1
        due.append(issuance)
    return due


def _issuance(row: Row[Any]) -> Issuance:
    account = rows.account(row[:_account_end])
    product = rows.product(row[_account_end:_product_end], account)
    return rows.issuance(row[_product_end:_issuance_end], row.serial, row.thing, row.policy, product)

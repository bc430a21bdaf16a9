"""What the workers of a node take up next.

First the candidates, one lane a state, each read by its index up to the limit, since a roll-out may leave a hundred
thousand rows queued; then the whole rows of those that there is room for. What is settled comes first, and of what
is to be created only as much as its account's quota grants now. Last, since nobody waits for it, what has expired.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import Integer, Select, and_, func, literal, select, union_all

from cvmd.model import Issuance, State
from cvmd.pace import slots
from cvmd.store import rows
from cvmd.store.attempts import CREATE
from cvmd.store.engine import Database, Row
from cvmd.store.schema import NOW, accounts, devices, given, issuances, pace, products

_SETTLE = (State.ACKED, State.CREATED)
_TO_CREATE = (State.INTENT, State.QUEUED)
_EXPIRING = (State.OFFERED,)


def _lane(number: int, state: State, full: int) -> Select[Any]:
    lane = select(issuances.c.id, literal(number).label("lane")).where(
        issuances.c.state == state, issuances.c.not_before_us <= NOW
    )
    if state in _TO_CREATE and full:
        lane = lane.where(issuances.c.account_id.not_in([given(f"full{n}") for n in range(full)]))
    oldest = lane.order_by(issuances.c.not_before_us).limit(given("limit", type_=Integer))
    return select(oldest.subquery())  # SQLite takes ORDER BY and LIMIT inside a UNION only so


@cache
def _candidates(full: int) -> Select[Any]:
    """(issuance, state, account, tat, rate, now, number of accounts); creates not of the `full` accounts given."""
    lanes = union_all(*(_lane(n, state, full) for n, state in enumerate(_SETTLE + _TO_CREATE + _EXPIRING))).subquery(
        "lanes"
    )
    return (
        select(
            issuances.c.id,
            issuances.c.state,
            issuances.c.account_id,
            pace.c.tat_us,
            accounts.c.creates_per_s,
            NOW,
            select(func.count()).select_from(accounts).scalar_subquery(),
        )
        .select_from(lanes)
        .join(issuances, issuances.c.id == lanes.c.id)
        .join(accounts, accounts.c.id == issuances.c.account_id)
        .join(pace, and_(pace.c.account_id == issuances.c.account_id, pace.c.operation == CREATE))
        .order_by(lanes.c.lane, issuances.c.not_before_us, issuances.c.id)
    )


_account_end = len(rows.ACCOUNT)
_product_end = _account_end + len(rows.PRODUCT)


@cache
def _whole(count: int) -> Select[Any]:
    """The rows of that many ids, `id0` and so on."""
    return (
        select(
            *rows.labelled(
                rows.ACCOUNT, rows.PRODUCT, rows.ISSUANCE, [devices.c.serial, devices.c.thing, devices.c.policy]
            )
        )
        .select_from(issuances)
        # Outer joins, though the rows are always there: where devices have just been imported, the optimizer's
        # statistics are old, and it would begin with the one product and read all of its devices.
        .outerjoin(devices, devices.c.id == issuances.c.device_id)
        .outerjoin(products, products.c.id == devices.c.product_id)
        .outerjoin(accounts, accounts.c.id == issuances.c.account_id)
        .where(issuances.c.id.in_([given(f"id{n}") for n in range(count)]))
    )


class DueRows:
    """The `due` of cvmd.ports.WorkerStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def due(self, limit: int) -> Sequence[Issuance]:
        """The oldest rows in queued, intent, created, acked, offered whose not-before is past and that nobody holds.

        Of those to be created no more than their account's quota grants now.
        """
        ids = self._ids(limit)
        if not ids:
            return []
        named = {f"id{n}": issuance_id for n, issuance_id in enumerate(ids)}
        found = self._database.statement(lambda t: t.rows(_whole(len(ids)), **named))
        whole = [_issuance(row) for row in found]
        return sorted(whole, key=lambda it: ids.index(it.id))

    def _ids(self, limit: int) -> Sequence[int]:
        full: list[int] = []
        while True:
            found = self._look(limit, full)
            ids, no_room = _within_quota(found)
            # The line of an account without room may hide another's; the last account's hides nobody's.
            if ids or not no_room or len(full) + len(no_room) >= found[0][-1]:
                return ids[:limit]
            full += no_room

    def _look(self, limit: int, full: Sequence[int]) -> Sequence[Row]:
        named = {f"full{n}": account_id for n, account_id in enumerate(full)}
        return self._database.statement(lambda t: t.rows(_candidates(len(full)), limit=limit, **named))


def _within_quota(found: Sequence[Row]) -> tuple[list[int], set[int]]:
    """Of the candidates, those to take up, and the accounts that have no room left."""
    room: dict[int, int] = {}
    ids: list[int] = []
    for issuance_id, state, account_id, tat_us, rate, now_us, _ in found:
        if state in _TO_CREATE:
            left = room.setdefault(account_id, slots(tat_us, now_us, rate, burst=rate))
            if left <= 0:
                continue
            room[account_id] = left - 1
        ids.append(issuance_id)
    return ids, {account_id for account_id, left in room.items() if left <= 0}


def _issuance(row: Row) -> Issuance:
    account = rows.account(row[:_account_end])
    product = rows.product(row[_account_end:_product_end], account)
    *columns, serial, thing, policy = row[_product_end:]
    return rows.issuance(columns, serial, thing, policy, product)

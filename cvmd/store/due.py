"""What the workers of a node take up next.

First the candidates, one lane a state, each read by its index up to the limit, since a roll-out may leave a hundred
thousand rows queued; then the whole rows of those that there is room for. What is settled comes first, and of what
is to be created only as much as its account's quota grants now. Last, since nobody waits for it, what has expired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Integer, Select, and_, exists, func, literal, not_, select, union_all

from cvmd.model import Issuance, State
from cvmd.pace import slots
from cvmd.store import rows
from cvmd.store.attempts import CREATE
from cvmd.store.breakers import FAILING, RESTING, BreakerSteps
from cvmd.store.engine import Row
from cvmd.store.schema import NOW, accounts, breakers, devices, given, issuances, pace, products
from cvmd.store.steps import TO_CREATE

_SETTLE = (State.ACKED, State.CREATED)
_EXPIRING = (State.OFFERED,)
_USES_POLICY = (State.CREATED, *TO_CREATE)

_POLICY_RESTS = exists().where(
    devices.c.id == issuances.c.device_id,
    breakers.c.account_id == issuances.c.account_id,
    breakers.c.policy == devices.c.policy,
    RESTING,
)


def _lane(number: int, state: State, full: int, shut: int, *, policies: bool) -> Select[Any]:
    lane = select(issuances.c.id, literal(number).label("lane")).where(
        issuances.c.state == state, issuances.c.not_before_us <= NOW
    )
    barred = [f"shut{n}" for n in range(shut)]
    if state in TO_CREATE:
        barred += [f"full{n}" for n in range(full)]
    if barred:
        lane = lane.where(issuances.c.account_id.not_in([given(name) for name in barred]))
    if policies and state in _USES_POLICY:
        lane = lane.where(not_(_POLICY_RESTS))
    oldest = lane.order_by(issuances.c.not_before_us).limit(given("limit", type_=Integer))
    return select(oldest.subquery())  # SQLite takes ORDER BY and LIMIT inside a UNION only so


@cache
def _candidates(full: int, shut: int, *, policies: bool) -> Select[Any]:
    """As Candidate; none of the `shut` accounts given, creates not of the `full` ones."""
    states = enumerate(_SETTLE + TO_CREATE + _EXPIRING)
    lanes = union_all(*(_lane(n, state, full, shut, policies=policies) for n, state in states)).subquery("lanes")
    return (
        select(
            issuances.c.id,
            issuances.c.state,
            issuances.c.account_id,
            select(devices.c.policy).where(devices.c.id == issuances.c.device_id).scalar_subquery(),
            pace.c.tat_us,
            accounts.c.creates_per_s,
            NOW,
            select(func.count()).select_from(accounts).scalar_subquery(),
            select(func.count()).where(FAILING).scalar_subquery(),
        )
        .select_from(lanes)
        .join(issuances, issuances.c.id == lanes.c.id)
        .join(accounts, accounts.c.id == issuances.c.account_id)
        .join(pace, and_(pace.c.account_id == issuances.c.account_id, pace.c.operation == CREATE))
        .order_by(lanes.c.lane, issuances.c.not_before_us, issuances.c.id)
    )


class Candidate(NamedTuple):
    """An issuance that is due, as far as picking needs it."""

    id: int
    state: str
    account_id: int
    policy: str
    tat_us: int
    creates_per_s: int
    now_us: int
    accounts: int
    """How many there are."""
    breakers: int
    """How many are not closed."""


@dataclass(frozen=True, slots=True)
class Guard:
    """The breakers that are not closed, as far as picking needs them."""

    shut: tuple[int, ...] = ()
    """The accounts that rest."""
    policies: bool = False
    """Some policy rests."""
    ripe: frozenset[tuple[int, str]] = frozenset()
    """Those whose rest is over: each lets one through."""


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


class DueRows(BreakerSteps):
    """The `due` of cvmd.ports.WorkerStore."""

    def due(self, limit: int) -> Sequence[Issuance]:
        """The oldest rows in queued, intent, created, acked, offered whose not-before is past and that nobody holds.

        Of those to be created no more than their account's quota grants now; none that a breaker holds back, and of
        those whose breaker has rested one, as its trial.
        """
        trials = self._pick(limit)
        if not trials:
            return []
        ids = list(trials)
        # Filled up to a power of two: few statements, each compiled once.
        ids += ids[:1] * ((1 << (len(ids) - 1).bit_length()) - len(ids))
        named = {f"id{n}": issuance_id for n, issuance_id in enumerate(ids)}
        whole = _whole(len(ids))
        found = {it.id: it for it in map(_issuance, self._database.statement(lambda t: t.rows(whole, **named)))}
        return [replace(found[number], trial=trial) for number, trial in trials.items() if number in found]

    def _pick(self, limit: int) -> dict[int, bool]:
        """The ids to take up, in their order, and which are trials."""
        full: list[int] = []
        guard = Guard()
        while True:
            found = self._look(limit, full, guard)
            if found and found[0].breakers and guard == Guard():
                guard = self._guard()
                if guard != Guard():
                    continue
            within, no_room = _within_quota(found)
            # The line of an account without room may hide another's; the last account's hides nobody's.
            if within or not no_room or len(full) + len(no_room) >= found[0].accounts:
                return _through(within[:limit], guard)
            full += no_room

    def _guard(self) -> Guard:
        known = self.breakers()
        return Guard(
            shut=tuple(account_id for account_id, policy, resting in known if resting and not policy),
            policies=any(policy and resting for _, policy, resting in known),
            ripe=frozenset((account_id, policy) for account_id, policy, resting in known if not resting),
        )

    def _look(self, limit: int, full: Sequence[int], guard: Guard) -> Sequence[Candidate]:
        named = {f"full{n}": account_id for n, account_id in enumerate(full)}
        named |= {f"shut{n}": account_id for n, account_id in enumerate(guard.shut)}
        statement = _candidates(len(full), len(guard.shut), policies=guard.policies)
        return [Candidate(*row) for row in self._database.statement(lambda t: t.rows(statement, limit=limit, **named))]


def _within_quota(found: Sequence[Candidate]) -> tuple[list[Candidate], set[int]]:
    """Of the candidates, those to take up, and the accounts that have no room left."""
    room: dict[int, int] = {}
    within: list[Candidate] = []
    for it in found:
        if it.state in TO_CREATE:
            left = room.setdefault(it.account_id, slots(it.tat_us, it.now_us, it.creates_per_s, burst=it.creates_per_s))
            if left <= 0:
                continue
            room[it.account_id] = left - 1
        within.append(it)
    return within, {account_id for account_id, left in room.items() if left <= 0}


def _through(candidates: Sequence[Candidate], guard: Guard) -> dict[int, bool]:
    """All that no breaker concerns, and of the others one a breaker."""
    picked: dict[int, bool] = {}
    on_trial: set[tuple[int, str]] = set()
    for it in candidates:
        concerned: set[tuple[int, str]] = set()
        if it.state not in _EXPIRING:  # whose one call is answered also where Create is refused: no trial
            concerned.add((it.account_id, ""))
        if it.state in _USES_POLICY:
            concerned.add((it.account_id, it.policy))
        concerned &= guard.ripe
        if not concerned & on_trial:
            picked[it.id] = bool(concerned)
            on_trial |= concerned
    return picked


def _issuance(row: Row) -> Issuance:
    account = rows.account(row[:_account_end])
    product = rows.product(row[_account_end:_product_end], account)
    *columns, serial, thing, policy = row[_product_end:]
    return rows.issuance(columns, serial, thing, policy, product)

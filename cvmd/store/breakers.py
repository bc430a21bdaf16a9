"""The breakers' rows: one an account, and one for each policy of it that was missing; 0 failures is a closed one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import ColumnElement, Update, and_, exists, func, insert, not_, or_, select, update

from cvmd.model import Breaker, Line
from cvmd.store.engine import Database, Duplicate, Transaction
from cvmd.store.schema import DETAIL, NOW, accounts, breakers, devices, given, issuances, products
from cvmd.store.steps import TO_CREATE, us

_TRIAL_S = 30.0
"""So long a trial has for its calls, before another is let through."""

FAILING = breakers.c.failures > 0
_AT_REST = and_(FAILING, breakers.c.until_us > NOW)
RESTING = and_(FAILING, or_(breakers.c.until_us > NOW, func.coalesce(breakers.c.trial_until_us, 0) > NOW))
"""It lets nobody through: its rest is not over, or somebody has its trial."""
IN_USE = or_(
    breakers.c.policy == "",
    exists()
    .where(devices.c.policy == breakers.c.policy, devices.c.product_id == products.c.id)
    .where(products.c.account_id == breakers.c.account_id)
    .correlate(breakers),
)
"""It can hold somebody up: an account's, or that of a policy which a device of the account is mapped to."""


def _change(*conditions: ColumnElement[bool], **values: object) -> Update:
    of_account = breakers.c.account_id == given("account")
    return update(breakers).where(of_account, *conditions).values(**values)


_THIS = breakers.c.policy == given("for_policy")
_KNOWN = select(breakers.c.failures, RESTING).where(breakers.c.account_id == given("account"), _THIS)
_VALUES = {"until_us": NOW + given("rest_us"), "trial_until_us": None, "fault": given("why"), "detail": given("what")}
_ADD = insert(breakers).values(
    account_id=given("account"), policy=given("for_policy"), failures=1, opened_us=NOW, **_VALUES
)
_SEEN = breakers.c.failures == given("seen")
_OPEN = _change(_THIS, _SEEN, failures=1, opened_us=NOW, **_VALUES)
_OPEN_AGAIN = _change(_THIS, _SEEN, failures=breakers.c.failures + 1, **_VALUES)
_HALF_OPEN = _change(
    FAILING, not_(RESTING), breakers.c.policy.in_(("", given("for_policy"))), trial_until_us=NOW + us(_TRIAL_S)
)
_CLOSE = _change(_THIS, FAILING, failures=0)
_ALL = select(breakers.c.account_id, breakers.c.policy, RESTING).where(FAILING)
_LINE = (
    select(
        NOW,
        select(func.count())
        .where(issuances.c.account_id == accounts.c.id, issuances.c.state.in_(TO_CREATE))
        .correlate(accounts)
        .scalar_subquery(),
        breakers.c.account_id, breakers.c.policy, breakers.c.failures, breakers.c.until_us, breakers.c.fault,
        breakers.c.detail,
    )
    # While the trial is under way its device, and who comes beside it, waits for how it ends, and is not sent away.
    .select_from(accounts.outerjoin(breakers, and_(breakers.c.account_id == accounts.c.id, _AT_REST)))
    .where(accounts.c.id == given("account"))
)  # fmt: skip


class BreakerSteps:
    """cvmd.ports.BreakerStore, and the `line` of VendingStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def trip(
        self, account_id: int, policy: str, fault: str, detail: str, rest_s: Callable[[int], float], *, trial: bool
    ) -> bool:
        """Open it, or, after its rest or by its trial, open it again. True: it was closed until now."""

        def work(t: Transaction) -> bool:
            key = {"account": account_id, "for_policy": policy}
            values = key | {"why": fault, "what": detail[:DETAIL]}
            known = t.row(_KNOWN, **key)
            if known is None:
                t.change(_ADD, rest_us=us(rest_s(1)), **values)
                return True
            failures, resting = known
            if resting and not trial:
                return False  # the calls that were under way when it opened say nothing new
            again = _OPEN_AGAIN if failures else _OPEN
            return bool(t.change(again, seen=failures, rest_us=us(rest_s(failures + 1)), **values) and not failures)

        try:
            return self._database.transaction(work)
        except Duplicate:  # another worker of those that failed at the same time
            return False

    def half_open(self, account_id: int, policy: str) -> bool:
        """Whose rest is over, the account's, the policy's or both: from now on the caller has the trial. False: not
        any more."""
        return self._database.statement(
            lambda t: t.change(_HALF_OPEN, account=account_id, for_policy=policy) > 0 or t.repeated
        )

    def close_breaker(self, account_id: int, policy: str) -> bool:
        """False: it was closed."""
        return self._database.statement(lambda t: t.change(_CLOSE, account=account_id, for_policy=policy) > 0)

    def breakers(self) -> Sequence[tuple[int, str, bool]]:
        """(account, policy, whether it rests) of all that are not closed."""
        found = self._database.statement(lambda t: t.rows(_ALL))
        return [(account_id, policy, bool(resting)) for account_id, policy, resting in found]

    def line(self, account_id: int) -> Line:
        """What a device of this account waits behind."""
        found = self._database.statement(lambda t: t.rows(_LINE, account=account_id))
        now_us, length = found[0][:2] if found else (0, 0)
        return Line(length, tuple(Breaker(*row[2:]) for row in found if row[2] is not None), now_us)

"""Each error of MariaDB instead of each statement of a vend, once: the vend ends right all the same."""

from itertools import cycle, product

import pytest
from node import Plan
from rest import Account, Rest, told
from rig import PRODUCTS, Everywhere, Print, Rig
from test_kills import clean_vend

from cvmd.store import retry

NUMBERS = sorted({*retry._LOST, *retry._RECONNECT, *retry._REFUSED} - {0})
"""0 is the driver's own word, and no server's."""


def carry(rig: Rig, key_source: str, plan: Plan) -> Rest:
    """A vend in which a statement fails, and the device that asks until it is done."""
    account = Account(rig)
    rig.start_daemon(plan, worker__poll_ms=2000)  # no look of its own in between: the steps are those of the trace
    devices = rig.vend_until_hit(key_source)
    rig.vend_all(devices)
    assert rig.daemon is not None
    assert rig.daemon.running()
    return account.at_rest(*devices)


@pytest.mark.parametrize("key_source", PRODUCTS)
@pytest.mark.parametrize("all_pairs", [False, pytest.param(True, marks=[pytest.mark.full, pytest.mark.timeout(1800)])])
def test_inv1_inv2_inv5_an_error_at_each_statement(
    everywhere: Everywhere, rig: Rig, counts: Print, key_source: str, all_pairs: bool
) -> None:
    statements = [step for port, step, *_ in clean_vend(rig, key_source) if port == "sql"]
    pairs = product(statements, NUMBERS) if all_pairs else zip(statements, cycle(NUMBERS), strict=False)
    plans = [Plan(step, str(number)) for step, number in pairs]
    ends = everywhere(lambda at, plan: carry(at, key_source, plan), plans)
    counts(
        f"an error at each statement, {key_source}: {len(statements)} statements, {len(NUMBERS)} errors, {len(plans)}"
        f" cases, {told(ends)}"
    )

"""Each error of MariaDB instead of each statement of a vend, once: the vend ends right all the same."""

from itertools import cycle, product

import pytest
from node import Plan
from rest import Account, Rest
from rig import PRODUCTS, Everywhere, Print, Rig, wait_until
from test_kills import clean_vend

from cvmd.store import retry

NUMBERS = sorted({*retry._LOST, *retry._RECONNECT, *retry._REFUSED} - {0})
"""0 is the driver's own word, and no server's."""


def carry(rig: Rig, key_source: str, plan: Plan) -> Rest:
    """One vend in which a statement fails, and the device that asks until it is done."""
    [device] = rig.enrol(1, key_source)
    account = Account(rig)
    rig.start_daemon(plan, worker__poll_ms=2000)  # no look of its own in between: the steps are those of the trace
    node = rig.daemon
    assert node is not None
    device.ask(rig.port)
    wait_until(lambda: node.trace("hit"), f"{plan} is reached", device.told)
    wait_until(lambda: device.ask(rig.port), f"the device is done: {plan}", device.told)
    assert node.running()
    return account.at_rest(device)


@pytest.mark.parametrize("key_source", PRODUCTS)
@pytest.mark.parametrize("all_pairs", [False, pytest.param(True, marks=[pytest.mark.full, pytest.mark.timeout(1800)])])
def test_inv1_inv2_inv5_an_error_at_each_statement(
    everywhere: Everywhere, rig: Rig, counts: Print, key_source: str, all_pairs: bool
) -> None:
    # How many looks for what is due a vend takes is a matter of time; they are all like the first.
    steps = [step for _, step, *_ in clean_vend(rig, key_source) if "/" in step]
    statements = [step for step in steps if not step.startswith("due#") or "#1/" in step]
    pairs = product(statements, NUMBERS) if all_pairs else zip(statements, cycle(NUMBERS), strict=False)
    plans = [Plan(step, str(number)) for step, number in pairs]
    ends = everywhere(lambda at, plan: carry(at, key_source, plan), plans)
    counts(
        f"an error at each statement, {key_source}: {len(statements)} statements, {len(NUMBERS)} errors, {len(plans)}"
        f" vends, {sum(it.creates for it in ends)} Creates, {sum(it.active for it in ends)} ACTIVE,"
        f" {sum(it.orphans for it in ends)} orphans, 0 after reconcile --apply"
    )

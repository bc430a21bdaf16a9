"""Die before and after every call of a port in one vend, and lose every answer: the device asks again, and all is well.

The steps are those of one clean vend, recorded; so there is none that is left out.
"""

from collections.abc import Sequence
from signal import SIGKILL

import pytest
from node import Plan
from rest import Account, Rest, told
from rig import PRODUCTS, Everywhere, Print, Rig, wait_until

ALONE = {"worker__poll_ms": 60_000, "disposal__poll_s": 3600.0}
"""Nothing is looked for but what is said to be there: so the steps of a vend are the same ones every time."""


_ON_ITS_WAY = (
    "SELECT id FROM certificates WHERE status = 'retiring' AND not_before_us < (UNIX_TIMESTAMP() + 60) * 1000000"
)


def clean_vend(rig: Rig, product: str) -> list[list[str]]:
    """The trace of a vend in which nothing happens, and nothing is left to do of a former test."""
    rig.start_daemon()
    wait_until(lambda: rig.rows(_ON_ITS_WAY) == [], "what retires is disposed of", pause_s=0.1)
    rig.stop_daemon()
    rig.start_daemon(**ALONE)
    [device] = rig.enrol(1, product)
    assert device.ask(rig.port)
    assert rig.daemon is not None
    assert rig.stop_daemon() == 0
    trace = rig.daemon.trace("Store", "AwsIot", "sql")
    assert {port for port, *_ in trace} == {"Store", "AwsIot", "sql"}, "all is wrapped, or nothing is broken"
    return trace


def deaths(trace: Sequence[Sequence[str]]) -> list[Plan]:
    """Before and after every call of a port."""
    steps = [step for port, step, *_ in trace if port != "sql"]
    return [Plan(step, what) for step in steps for what in ("die-before", "die-after")]


def lost_answers(trace: Sequence[Sequence[str]]) -> list[Plan]:
    """Of every AWS call, and of all that commits: COMMIT, and a write outside of a transaction."""
    steps = []
    open_in = set()
    for port, step, *statement in trace:
        if port == "AwsIot":
            steps.append(step)
        if port == "sql":
            verb, call = statement
            if verb == "BEGIN":
                open_in.add(call)
            if verb == "COMMIT":
                open_in.discard(call)
            if verb != "SELECT" and call not in open_in:
                steps.append(step)
    return [Plan(step, "lose-answer") for step in steps]


def carry(rig: Rig, product: str, plan: Plan) -> Rest:
    """A vend to which `plan` happens, and the device that asks until it is done."""
    account = Account(rig)
    dies = plan.what.startswith("die")
    rig.start_daemon(plan, **(ALONE if dies else {}))
    devices = rig.vend_until_hit(product)
    if dies:
        assert rig.daemon is not None
        assert rig.daemon.wait() == -SIGKILL
        rig.start_daemon()
    rig.vend_all(devices)
    return account.at_rest(*devices)


@pytest.mark.parametrize("product", PRODUCTS)
def test_inv1_inv4_inv5_killed_before_and_after_every_call(
    everywhere: Everywhere, rig: Rig, counts: Print, product: str
) -> None:
    plans = deaths(clean_vend(rig, product))
    ends = everywhere(lambda at, plan: carry(at, product, plan), plans)
    counts(f"killed at each call, {product}: {len(ends)} kills, {told(ends)}")


@pytest.mark.parametrize("product", PRODUCTS)
def test_inv2_inv4_inv5_every_answer_lost_after_its_effect(
    everywhere: Everywhere, rig: Rig, counts: Print, product: str
) -> None:
    plans = lost_answers(clean_vend(rig, product))
    ends = everywhere(lambda at, plan: carry(at, product, plan), plans)
    counts(f"each answer lost, {product}: {len(ends)} answers, {told(ends)}")

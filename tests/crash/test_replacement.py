"""Killed at every step of a replacement: never none ACTIVE, at rest one, and the former one inert and detached."""

from dataclasses import replace
from signal import SIGKILL

import pytest
from harness import active_at_once
from node import NOTHING, Plan
from rest import Account, Rest, told
from rig import Device, Everywhere, Print, Rig, wait_until

from tools.client.storage import DeviceStorage

QUICK = {"disposal__poll_s": 0.1}
_LOOKS = {"due", "retiring", "moved", "line", "view", "breakers", "take_lease", "accounts"}
"""Done now and then whether or not there is something to do; test_kills has them one by one."""


def first_vend(rig: Rig, product: str) -> tuple[Device, str]:
    """A device with its certificate, and the id of that."""
    rig.cvmd("products", "set", product, "--reissue-limit", "unlimited")
    [device] = rig.enrol(1, product)
    rig.start_daemon(**QUICK)
    wait_until(lambda: device.ask(rig.port), "the first one", device.told)
    assert rig.daemon is not None
    rig.daemon.end()
    device.bundles.clear()
    return device, device.certificate_id


def ask(rig: Rig, device: Device, former: str) -> bool:
    """Asks for another certificate as long as there is no sign of one; whether the device has it."""
    begun = DeviceStorage(device.flash, device.serial).kept() is not None or device.certificate_id != former
    device.options = replace(device.options, renew=not begun)
    return device.ask(rig.port) and device.certificate_id != former


def is_inert(rig: Rig, certificate_id: str) -> bool:
    [found] = [it for it in rig.aws.state()["certificates"] if it["id"] == certificate_id]
    return (found["status"], found["things"], found["policies"]) == ("INACTIVE", [], [])


def replaced(rig: Rig, product: str, plan: Plan = NOTHING) -> Rest:
    """One replacement to which `plan` happens."""
    device, former = first_vend(rig, product)
    account = Account(rig)
    rig.start_daemon(plan, **QUICK)
    node = rig.daemon
    assert node is not None
    if plan is not NOTHING:
        wait_until(
            lambda: ask(rig, device, former) or not node.running() or node.trace("hit"), f"{plan}: {device.told}"
        )
        wait_until(lambda: node.trace("hit"), f"{plan} is reached", device.told)
        assert node.wait() == -SIGKILL
        rig.start_daemon(**QUICK)
    wait_until(
        lambda: device.certificate_id != former or ask(rig, device, former),
        f"the device is done: {plan}, {device.told}",
    )
    wait_until(lambda: is_inert(rig, former), f"the former one is inert: {plan}", pause_s=0.05)
    ours = [it for it in rig.aws.state()["certificates"] if it["id"] == former or device.thing in it["things"]]
    assert active_at_once(ours) == {1, 2}
    return account.at_rest(device)


def steps(rig: Rig, product: str) -> list[Plan]:
    """Before and after every call of the ports in one replacement, its disposal included."""
    replaced(rig, product)
    assert rig.daemon is not None
    wait_until(lambda: rig.daemon and rig.daemon.trace("Store")[-1][1] != "take_retiring#1", "the pass is recorded")
    rig.daemon.end()
    called = [step for _, step, *_ in rig.daemon.trace("Store", "AwsIot") if step.partition("#")[0] not in _LOOKS]
    assert "record_inert#1" in called
    return [Plan(step, what) for step in called for what in ("die-before", "die-after")]


@pytest.mark.parametrize("product", ["ec", pytest.param("csr", marks=pytest.mark.full)])
def test_inv1_killed_at_every_step_of_a_replacement(
    everywhere: Everywhere, rig: Rig, counts: Print, product: str
) -> None:
    plans = steps(rig, product)
    ends = everywhere(lambda at, plan: replaced(at, product, plan), plans)
    counts(
        f"killed at each step of a replacement, {product}: {len(plans)} kills, never none ACTIVE; at rest {told(ends)}"
    )

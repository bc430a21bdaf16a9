"""A process that died: what it held is taken up by the next one of its node at once, whatever the leases say."""

from signal import SIGKILL

import pytest
from node import Plan
from rest import Account
from rig import Rig, wait_until


@pytest.mark.parametrize("step", ["create#1", "record_created#1", "attach_policy#1", "activate#1"])
def test_inv5_the_next_process_of_a_node_goes_on_at_once(rig: Rig, step: str) -> None:
    state = rig.directory / "state"
    state.mkdir(exist_ok=True)
    settings = {"worker__lease_s": 3000.0, "worker__state_dir": str(state)}
    account = Account(rig)
    [device] = rig.enrol(1, "ec")
    rig.start_daemon(Plan(step, "die-before"), **settings)
    assert rig.daemon is not None
    dies = rig.daemon
    device.ask(rig.port)
    assert dies.wait() == -SIGKILL
    rig.start_daemon(**settings)
    wait_until(lambda: device.ask(rig.port), "the device is done", device.told)
    account.at_rest(device)

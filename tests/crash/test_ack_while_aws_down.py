"""An ACK that is recorded while AWS is down: the device keeps what it has and need not call again."""

import pytest
from rest import Account
from rig import Print, Rig, wait_until

from tools.client import Refused
from tools.client.storage import DeviceStorage


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("reset", {}),
        ("error", {"code": "InternalFailureException"}),
        ("error", {"code": "ServiceUnavailableException"}),
    ],
    ids=["reset", "500", "503"],
)
def test_inv3_it_ends_active_when_aws_is_back(rig: Rig, counts: Print, kind: str, more: dict[str, str]) -> None:
    rig.aws.fault("UpdateCertificate", kind, count=None, **more)
    account = Account(rig)
    [device] = rig.enrol(1, "ec")
    rig.start_daemon()
    assert not device.ask(rig.port)
    told = device.told[-1]
    assert isinstance(told, Refused)
    assert (told.status, told.stage, told.tagged) == (0x13, 7, True), "BACKEND at ACTIVATE: keep it, come back"
    kept = DeviceStorage(device.flash, device.serial).kept()
    assert kept is not None, "the device still has what it acknowledged"
    [row] = rig.rows("SELECT state, sealed_escrow FROM issuances ORDER BY id DESC LIMIT 1")
    assert (row["state"], row["sealed_escrow"]) == ("acked", None)

    rig.aws.clear_faults()
    wait_until(
        lambda: rig.rows("SELECT state FROM issuances ORDER BY id DESC LIMIT 1") == [{"state": "active"}],
        "it is ACTIVE, and the device has not called again",
        pause_s=0.1,
    )
    [active] = [it for it in rig.aws.state()["certificates"] if device.thing in it["things"]]
    assert active["status"] == "ACTIVE"
    assert device.ask(rig.port)
    rest = account.at_rest(device)
    counts(f"ACK while AWS was down ({kind} {more.get('code', '')}): told BACKEND, {rest.active} ACTIVE without a call")

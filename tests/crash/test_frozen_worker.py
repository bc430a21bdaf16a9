"""A worker that is frozen past its lease while another node does its work, and then wakes in the middle of a call."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from signal import SIGCONT, SIGKILL
from typing import Any

import pytest
from node import Plan
from rest import Account, check_reconciled
from rig import Device, Forked, Print, Rig, wait_until

PATIENCE_S = 2.0
"""Of the device that asked the frozen node."""


@contextmanager
def frozen_and_other(rig: Rig, device: Device, plan: Plan) -> Iterator[tuple[Forked, Forked]]:
    """Two nodes of one database; `plan` has stopped the first one, which the device has asked in vain."""
    usual = device.options
    device.options = replace(usual, timeout_s=PATIENCE_S)
    nodes: list[Forked] = []
    try:
        nodes.append(rig.start_node(plan))
        wait_until(lambda: nodes[0].trace("hit") or device.ask(nodes[0].port), f"{plan} is reached", device.told)
        assert nodes[0].trace("hit"), device.told
        device.options = usual
        nodes.append(rig.start_node())  # only now: it might have been the one that took up the work
        yield nodes[0], nodes[1]
    finally:
        for each in nodes:
            each.end(SIGKILL)


def at_aws(rig: Rig, certificate_id: str) -> dict[str, Any] | None:
    return next((it for it in rig.aws.state()["certificates"] if it["id"] == certificate_id), None)


@pytest.mark.parametrize("product", ["ec", "csr"])
def test_inv1_inv10_a_create_that_comes_late_is_a_loser(rig: Rig, counts: Print, product: str) -> None:
    [device] = rig.enrol(1, product)
    account = Account(rig)
    with frozen_and_other(rig, device, Plan("create#1", "stop-after")) as (frozen, other):
        wait_until(lambda: device.ask(other.port), "the other node does the work", device.told, other)
        frozen.signal(SIGCONT)
        wait_until(
            lambda: [it["status"] for it in certificates(rig, device) if it["reason"] == "loser"] == ["deleted"],
            "what the frozen node had made is disposed of",
            frozen,
            other,
        )
    rest = account.at_rest(device)
    check_reconciled(rig)
    counts(f"frozen in Create, {product}: {rest.creates} Creates, {rest.active} ACTIVE, {rest.orphans} orphans")


def certificates(rig: Rig, device: Device) -> list[dict[str, Any]]:
    return rig.rows(
        "SELECT c.status, c.reason, LOWER(HEX(c.certificate_id)) AS id FROM certificates c"
        f" JOIN devices d ON d.id = c.device_id WHERE d.serial = '{device.serial}' ORDER BY c.id"
    )


def test_inv1_a_late_activation_of_a_retired_certificate_is_undone(rig: Rig, counts: Print) -> None:
    rig.cvmd("products", "set", "ec", "--reissue-limit", "unlimited")
    [device] = rig.enrol(1, "ec")
    account = Account(rig)
    with frozen_and_other(rig, device, Plan("activate#1", "stop-before")) as (frozen, other):
        wait_until(lambda: device.ask(other.port), "the other node activates", device.told, other)
        former = device.certificate_id
        device.options = replace(device.options, renew=True)
        wait_until(lambda: device.ask(other.port), "and replaces", device.told, other)
        wait_until(lambda: status(rig, former) == "INACTIVE", "the former one is inert")
        frozen.signal(SIGCONT)
        wait_until(
            lambda: ["Store", "dispose_again#1"] in frozen.trace("Store"), "the frozen node finds that it came late"
        )
        wait_until(lambda: status(rig, former) == "INACTIVE", "it is undone")
    device.bundles = {device.bundle_id}
    rest = account.at_rest(device)
    check_reconciled(rig)
    counts(f"frozen in UpdateCertificate: {rest.creates} Creates, {rest.active} ACTIVE, the former one INACTIVE again")


def status(rig: Rig, certificate_id: str) -> str | None:
    found = at_aws(rig, certificate_id)
    return None if found is None else found["status"]

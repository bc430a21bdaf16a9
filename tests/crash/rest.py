"""What must hold of a device once all is at rest, whatever happened before."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness import creates
from rig import Device, Rig


@dataclass(frozen=True)
class Rest:
    """How a case has ended. `orphans`: certificates at AWS that are on no row, before anybody looks for them."""

    creates: int
    active: int
    orphans: int


def told(ends: Sequence[Rest]) -> str:
    """What came of them, together."""
    return (
        f"{sum(it.active for it in ends)} devices, each with 1 ACTIVE, {sum(it.creates for it in ends)} Creates,"
        f" {sum(it.orphans for it in ends)} orphans, 0 after reconcile --apply"
    )


class Account:
    """What AWS and the database had before a case, to tell what the case has added."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._creates, self._attempts = self._counted()
        self._orphans = {each["id"] for each in _orphans(rig)}

    def _counted(self) -> tuple[int, int]:
        [attempts] = self._rig.rows("SELECT COUNT(*) AS number FROM attempts")
        return creates(self._rig.aws), attempts["number"]

    def at_rest(self, *devices: Device) -> Rest:
        """Of these devices, each done: invariants 1 to 6, as far as rows and AWS show them."""
        check_one_active(self._rig, devices)
        creates, attempts = self._counted()
        assert creates - self._creates <= attempts - self._attempts, "one Create an attempt"
        orphans = [each for each in _orphans(self._rig) if each["id"] not in self._orphans]
        assert all(each["status"] == "INACTIVE" and not each["things"] for each in orphans), orphans
        return Rest(creates - self._creates, len(devices), len(orphans))


def check_one_active(rig: Rig, devices: Sequence[Device]) -> None:
    """Each has one ACTIVE certificate, at AWS and in the rows, and has it as it was delivered; its key is wiped."""
    in_rows = defaultdict(list)
    for row in rig.rows(
        "SELECT d.serial, i.state, i.sealed_escrow, LOWER(HEX(c.certificate_id)) AS certificate"
        " FROM devices d JOIN issuances i ON i.device_id = d.id JOIN certificates c ON c.issuance_id = i.id"
        " WHERE c.status = 'active'"
    ):
        in_rows[row.pop("serial").decode()].append(row)
    at_aws = defaultdict(list)
    for each in rig.aws.state()["certificates"]:
        if each["status"] == "ACTIVE":
            at_aws[tuple(each["things"])].append((each["id"], each["policies"]))
    for device in devices:
        row = {"state": "active", "sealed_escrow": None, "certificate": device.certificate_id}
        assert in_rows[device.serial] == [row], device.told
        assert at_aws[device.thing,] == [(device.certificate_id, [device.policy])], device.told
        assert device.bundles <= {device.bundle_id}, "what was delivered in part is what was delivered in the end"


def check_reconciled(rig: Rig) -> None:
    """After `cvmd reconcile --apply` AWS holds nothing that the rows do not know; no line of the audit is amiss."""
    options = ("--json", "--rate", "100", "--deep")
    rig.cvmd("reconcile", "--apply", *options)
    assert _orphans(rig) == []
    [report] = json.loads(rig.cvmd("reconcile", *options).stdout)
    assert (report["findings"], report["foreign"], report["in_flight"]) == ([], 0, 0)
    rig.cvmd("audit", "verify")


def _orphans(rig: Rig) -> list[dict[str, Any]]:
    known = {row["id"] for row in rig.rows("SELECT LOWER(HEX(certificate_id)) AS id FROM certificates")}
    return [each for each in rig.aws.state()["certificates"] if each["id"] not in known]

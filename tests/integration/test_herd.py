"""Many devices at once on MariaDB: each gets its own certificate on its own thing and policy, by one Create."""

import csv
import json
import secrets
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import CREATES, KEY_SOURCES, MakeStack, rows, seed, with_products

from tools.mariadb import MariaDB
from tools.stack import Stack

AT_ONCE = 64
PRODUCTS = list(KEY_SOURCES)


def herd(stack: Stack, directory: Path, devices: int) -> dict[str, object]:
    """Vend them all; what the load generator says."""
    fleet = [
        (f"SN-{n:04}", secrets.token_bytes(32), f"thing-{n:04}", f"policy-{n % 7}", PRODUCTS[n % len(PRODUCTS)])
        for n in range(devices)
    ]
    seed(stack, fleet)
    file = directory / "devices.csv"
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["serial", "token", "thing", "key_source"])
        for serial, token, thing, _policy, product in fleet:
            writer.writerow([serial, token.hex(), thing, KEY_SOURCES[product]])
    command = [
        sys.executable, "-m", "tools.loadgen", "--host", "127.0.0.1", "--port", str(stack.port),
        "--devices", str(file), "--at-once", str(AT_ONCE), "--suite", "mac,noise",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.stdout, done.stderr
    summary: dict[str, object] = json.loads(done.stdout)
    return summary


@pytest.mark.parametrize("devices", [500, pytest.param(1000, marks=pytest.mark.full)])
def test_inv1_a_herd_of_all_key_sources_and_both_suites(
    make_stack: MakeStack,
    mariadb: MariaDB,
    mariadb_url: str,
    tmp_path: Path,
    counts: Callable[[str], None],
    devices: int,
) -> None:
    stack = with_products(make_stack(database_url=mariadb_url))
    summary = herd(stack, tmp_path, devices)
    assert (summary["vends"], summary["gave_up"], summary["mixed"]) == (devices, [], [])
    assert summary["unanswered"] == 0, summary["failures"]
    by_call = {each: stack.aws.calls(each) for each in CREATES}
    assert by_call == {"CreateCertificateFromCsr": devices * 3 // 4, "CreateKeysAndCertificate": devices // 4}
    counts(f"{devices} devices, {AT_ONCE} at once, all key sources, both suites: {by_call}, 0 mixed, 0 unanswered")
    made = stack.aws.state()["certificates"]
    at_aws = {(each["id"], each["status"], *each["things"], *each["policies"]) for each in made}
    recorded = rows(
        mariadb_url,
        "SELECT c.certificate_id, d.serial, c.thing, c.policy, c.status FROM certificates c"
        " JOIN devices d ON d.id = c.device_id",
    )
    assert len(recorded) == len(at_aws) == devices
    for row in recorded:
        number = int(row["serial"].decode().removeprefix("SN-"))
        assert (row["thing"], row["policy"], row["status"]) == (f"thing-{number:04}", f"policy-{number % 7}", "active")
        assert (row["certificate_id"].hex(), "ACTIVE", row["thing"], row["policy"]) in at_aws
    states = rows(mariadb_url, "SELECT state, COUNT(*) AS n, COUNT(sealed_escrow) AS escrows FROM issuances GROUP BY 1")
    assert states == [{"state": "active", "n": devices, "escrows": 0}]

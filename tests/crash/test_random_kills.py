"""The daemon is killed whenever it may be, while devices come that ask until they are done."""

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import cycle
from signal import SIGKILL

import pytest
from rest import Account, check_reconciled, told
from rig import Device, Print, Rig, wait_until

from cvmd.issuance import BACKOFF_S
from tools.client import Refused

AT_ONCE = 20
LONGEST_LIFE_S = 1.0
AN_HOUR_S = 3600
"""Who is told to come back in an hour waits for a person."""
WITHIN_S = 3 * max(BACKOFF_S)
"""A device whose attempts were killed four times over waits that long for its fifth."""


class Fleet:
    """Devices of both products, new ones as long as kills go on. Safe to use from many threads."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._devices = self._enrolled()
        self._next = threading.Lock()
        self.closed = False
        self.used: list[Device] = []

    def _enrolled(self) -> Iterator[Device]:
        for product in cycle(("ec", "csr")):
            yield from self._rig.enrol(AT_ONCE, product)

    def __iter__(self) -> Iterator[Device]:
        while not self.closed:
            with self._next:
                device = next(self._devices)
                self.used.append(device)
            yield device


def is_done(rig: Rig, device: Device) -> bool:
    """One more call of it; and where none of its attempts had a known outcome, the operator does what status says."""
    if device.ask(rig.port):
        return True
    outcome = device.told[-1]
    if isinstance(outcome, Refused) and outcome.retry_s >= AN_HOUR_S:
        rig.cvmd("devices", "retry", device.serial)
    return False


def vend_all(rig: Rig, fleet: Fleet) -> None:
    """Device after device, each until it is done."""
    for device in fleet:
        wait_until(
            partial(is_done, rig, device), f"{device.serial} is done", device.told, pause_s=0.05, within_s=WITHIN_S
        )


@pytest.mark.parametrize(
    "kills", [20, pytest.param(200, marks=[pytest.mark.full, pytest.mark.timeout(2400)])], ids=["20", "200"]
)
def test_inv1_inv4_inv5_killed_at_random_times(rig: Rig, counts: Print, kills: int) -> None:
    seed = random.randrange(1 << 32)
    lives = random.Random(seed)
    account = Account(rig)
    fleet = Fleet(rig)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        rig.start_daemon()
        vends = [pool.submit(vend_all, rig, fleet) for _ in range(AT_ONCE)]
        try:
            for _ in range(kills):
                time.sleep(lives.uniform(0, LONGEST_LIFE_S))
                assert rig.daemon is not None
                rig.daemon.end(SIGKILL)
                rig.start_daemon()
        finally:
            fleet.closed = True
        for vended in vends:
            vended.result()
    rest = account.at_rest(*fleet.used)
    check_reconciled(rig)
    counts(f"killed at random (seed {seed}): {kills} kills, {AT_ONCE} devices at once, {told([rest])}")

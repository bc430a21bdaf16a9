"""`send` or `receive` fails after byte i, for every i, in both suites, or falls silent there. Then the retry."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cdevice import CDevice, Driver, End, Flash, Result, Settings
from test_session import BUNDLE, PULL, PUSH, Server

from protocol.constants import ProofFlag

CASES = {
    "mac-push": ("sanitized", PUSH),
    "mac-pull": ("plain", PULL),
    "noise-push": ("noise", PUSH),
    "noise-pull": ("noise", replace(PULL, max_frame=56, limit=34)),
}
"""By which build of the library."""


@dataclass
class Cut:
    """How many bytes pass in a direction; what its callback gives from then on."""

    send: int = 1 << 30
    receive: int = 1 << 30
    silent: bool = False


class CutDevice(CDevice):
    """A device whose line fails in one direction."""

    cut = Cut()

    def on_send(self, data: str) -> int:
        room = self.cut.send - len(self.said)
        if room <= 0:
            return 0 if self.cut.silent else -1
        return super().on_send(data[: 2 * room])

    def on_receive(self, size: str) -> object:
        room = self.cut.receive - self.received
        if room <= 0:
            return "." if self.cut.silent else "lost"
        data = super().on_receive(str(min(int(size), room)))
        self.received += len(data) if isinstance(data, bytes) else 0
        return data

    def meet(self, server: Server, cut: Cut) -> Result:
        self.cut, self.received = cut, 0
        server.connect()
        return self.run(server.talk)


def cuts(driver: Driver, settings: Settings) -> list[Cut]:
    """Each byte of an undisturbed session, in both directions; silence at some of them."""
    device = CutDevice(driver, settings, Flash())
    assert device.meet(Server(), Cut()).end is End.ACTIVE
    lost = [Cut(send=at) for at in range(len(device.said))] + [Cut(receive=at) for at in range(device.received)]
    return lost + [replace(cut, silent=True) for cut in lost[::9]]


def retried(driver: Driver, settings: Settings, cut: Cut) -> tuple[bool, int]:
    """Whether the retry had to say only what it HAD; what was stored before it."""
    server, flash = Server(), Flash()
    first = CutDevice(driver, settings, flash, seed=0)
    start = first.now_ms
    assert first.meet(server, cut).end is End.LINE, cut
    assert (first.now_ms - start >= 25_000) == cut.silent, "what is lost is told at once, silence after its time"
    stored = flash.stored if flash.record else 0
    assert flash.data[:stored] == BUNDLE.data[:stored]
    second = CutDevice(driver, settings, flash, seed=1)
    assert second.meet(server, Cut()).end is End.ACTIVE, cut
    assert flash.data[: BUNDLE.total] == BUNDLE.data
    assert server.active
    assert driver.ask("record", flash.record) == ["3"]
    proof = server.proofs[-1]
    assert not stored or proof.limit == 0
    return bool(proof.flags & ProofFlag.HAVE), stored


@pytest.mark.parametrize("name", CASES)
def test_inv4_after_any_byte_a_clean_end_and_the_retry_succeeds(
    programs: dict[str, Path], counts: Callable[[str], None], name: str
) -> None:
    build, settings = CASES[name]
    driver = Driver(programs[build], plain=build == "plain")
    points = cuts(driver, settings)
    ways = [retried(driver, settings, cut) for cut in points]
    assert (False, 0) in ways
    assert (True, BUNDLE.total) in ways, "only the answer to the acknowledgement was lost"
    if settings.max_frame < BUNDLE.total:
        assert any(0 < stored < BUNDLE.total for _, stored in ways)
    assert driver.close() == 0
    counts(f"{name}: {len(points)} sessions cut, {len(points)} retries ACTIVE")

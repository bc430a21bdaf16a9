"""Every bit of every frame flipped: never a wrong object, never another serial, never a proof that is not one."""

from collections.abc import Iterator

import pytest

from protocol.constants import MessageType
from tests.protocol.pair import MODES, SERIAL, Flash, Mode, Pair, Record, Wire, frames, vend


def _flipping(direction: str, place: int, bit: int) -> Wire:
    def bend(way: str, offset: int, data: bytes) -> list[bytes]:
        if way != direction or not offset <= place < offset + len(data):
            return [data]
        at = place - offset
        return [data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]]

    return Wire(bend=bend)


def _before_keys(mode: Mode) -> dict[str, int]:
    """How many bytes each way belong to HELLO, CHALLENGE and PROOF."""
    undisturbed = vend(mode)
    up = {frame[2]: len(frame) for frame in frames(undisturbed.wire.up)}
    down = {frame[2]: len(frame) for frame in frames(undisturbed.wire.down)}
    return {"up": up[MessageType.HELLO] + up[MessageType.PROOF], "down": down[MessageType.CHALLENGE]}


def _places(mode: Mode) -> Iterator[tuple[str, int]]:
    wire = vend(mode).wire
    yield from (("up", place) for place in range(len(wire.up)))
    yield from (("down", place) for place in range(len(wire.down)))


@pytest.mark.parametrize("mode", MODES[:2], ids=str)
def test_a_flipped_bit_never_passes(mode: Mode) -> None:
    bound = _before_keys(mode)
    for direction, place in _places(mode):
        for bit in range(8):
            flash, record = Flash(), Record()
            pair = Pair(mode, flash, record, _flipping(direction, place, bit)).run()
            where = f"bit {bit} of byte {place} {direction}"
            assert record.bundle.data.startswith(flash.data), where
            assert set(record.proven) <= {SERIAL}, where
            if place < bound[direction]:
                assert not record.proven, where
            _came_to_an_end(pair, where)


def _came_to_an_end(pair: Pair, where: str) -> None:
    assert pair.server.ended, where
    assert pair.device.ended, where
    if not pair.flash.active:
        Pair(pair.mode, pair.flash, pair.record, Wire(), seed="again").run()
    assert pair.flash.active, where
    assert pair.flash.data == pair.record.bundle.data, where


@pytest.mark.full
@pytest.mark.parametrize("mode", MODES[2:], ids=str)
def test_a_flipped_bit_never_passes_a_device_that_pulls(mode: Mode) -> None:
    test_a_flipped_bit_never_passes(mode)

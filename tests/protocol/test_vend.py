"""Both ends against each other: every byte whole, split, cut; bytes counted against the wire's table."""

import pytest

from protocol.constants import Suite
from protocol.events import DataReceived
from protocol.objects import Bundle
from tests.protocol.pair import MODES, Flash, Mode, Pair, Record, Wire, frames, objects, one_by_one, vend

each_mode = pytest.mark.parametrize("mode", MODES, ids=str)


@each_mode
def test_a_vend_ends_with_the_objects_in_flash(mode: Mode) -> None:
    pair = vend(mode)
    assert pair.record.acked
    assert pair.server.ended
    assert pair.device.ended


@each_mode
def test_waiting_at_proof_costs_a_fetch(mode: Mode) -> None:
    assert vend(mode, waits=3).record.waits == 0


@pytest.mark.parametrize("max_frame", [48, 56, 57, 64, 69, 70, 71, 100, 512, 1399, 1400])
@pytest.mark.parametrize("suite", Suite)
@pytest.mark.parametrize("pulled", [False, True])
def test_no_frame_of_the_server_is_above_max_frame(suite: Suite, max_frame: int, pulled: bool) -> None:
    if suite is Suite.NOISE and max_frame < 56:
        max_frame = 56
    pair = vend(Mode(suite, max_frame, pulled), bundle=Bundle.of(objects(1000, 300)))
    sizes = [len(frame) for frame in frames(pair.wire.down)]
    assert max(sizes) <= max_frame
    assert sum(sizes) == len(pair.wire.down)


@each_mode
def test_bytes_one_by_one(mode: Mode) -> None:
    pair = Pair(mode, Flash(), Record(), Wire(bend=one_by_one)).run()
    assert pair.flash.active
    assert pair.wire.down == vend(mode).wire.down


@each_mode
def test_bytes_split_at_every_point(mode: Mode) -> None:
    undisturbed = vend(mode)
    for direction, stream in (("up", undisturbed.wire.up), ("down", undisturbed.wire.down)):
        for place in range(1, len(stream)):

            def bend(way: str, offset: int, data: bytes, here: str = direction, at: int = place) -> list[bytes]:
                inside = way == here and offset < at < offset + len(data)
                return [data[: at - offset], data[at - offset :]] if inside else [data]

            pair = Pair(mode, Flash(), Record(), Wire(bend=bend)).run()
            assert pair.flash.active, f"split at {place} {direction}"
            assert pair.wire.down == undisturbed.wire.down


def _cut_everywhere(mode: Mode, bundle: Bundle, step: int = 1) -> None:
    undisturbed = vend(mode, bundle=bundle)
    for place in range(0, len(undisturbed.wire.up), step):
        _cut_and_retry(mode, bundle, Wire(up_left=place))
    for place in range(0, len(undisturbed.wire.down), step):
        _cut_and_retry(mode, bundle, Wire(down_left=place))


def _cut_and_retry(mode: Mode, bundle: Bundle, wire: Wire) -> None:
    flash, record = Flash(), Record(bundle=bundle)
    Pair(mode, flash, record, wire, seed=1).run()
    assert wire.cut
    assert not flash.active
    assert bundle.data.startswith(flash.data)
    before = len(flash.data)
    again = Pair(mode, flash, record, Wire(), seed=2).run()
    assert flash.active
    assert record.acked
    assert flash.data == bundle.data
    assert again.record.ended == []
    sent_again = sum(len(event.data) for event in again.device_events if isinstance(event, DataReceived))
    assert sent_again == bundle.total - before


@each_mode
def test_inv4_a_session_cut_after_any_byte_ends_with_the_same_objects_at_the_next(mode: Mode) -> None:
    _cut_everywhere(mode, Bundle.of(objects()))


@pytest.mark.full
@each_mode
def test_inv4_the_same_with_a_bundle_of_real_size(mode: Mode) -> None:
    _cut_everywhere(mode, Bundle.of(objects(658, 121)), step=3)


@pytest.mark.parametrize(
    ("mode", "size", "whole", "round_trips"),
    [
        (Mode(Suite.MAC, csr=bytes(208)), (658, 0), 1130, 3),
        (Mode(Suite.NOISE, csr=bytes(208)), (658, 0), 1200, 3),
        (Mode(Suite.MAC), (658, 121), 1046, 3),
        (Mode(Suite.NOISE), (658, 121), 1116, 3),
        (Mode(Suite.MAC), (1204, 849), 2383, 3),
        (Mode(Suite.NOISE), (1204, 849), 2456, 3),
        (Mode(Suite.MAC, 48, pulled=True), (658, 121), 2324, 33),
        (Mode(Suite.NOISE, 56, pulled=True), (658, 121), 2222, 28),
    ],
    ids=["csr", "csr-noise", "ec", "ec-noise", "rsa", "rsa-noise", "ec-pulled-48", "ec-pulled-56-noise"],
)
def test_bytes_a_vend(mode: Mode, size: tuple[int, int], whole: int, round_trips: int) -> None:
    pair = vend(mode, bundle=Bundle.of(objects(*size)))
    assert len(pair.wire.up) + len(pair.wire.down) == whole
    assert pair.round_trips == round_trips

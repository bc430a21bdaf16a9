"""Whatever bytes arrive: events, or the end of the session with one refusal; and memory below a constant."""

from contextlib import suppress
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocol import messages
from protocol.client import ClientSession
from protocol.constants import BODY_SIZES, FIRST_OVERHEAD, HEADER_SIZE, MAX_HELLOS, MessageType, Suite
from protocol.errors import RemoteProtocolError
from protocol.events import Ended, ProtocolFailed
from protocol.server import ServerSession
from tests.protocol.pair import MODES, Flash, Mode, Pair, Record, Wire, frames, vend

each_mode = pytest.mark.parametrize("mode", MODES, ids=str)
LARGEST_FRAME = HEADER_SIZE + BODY_SIZES[MessageType.PROOF][1] + FIRST_OVERHEAD[Suite.NOISE]

frame_like = st.builds(
    lambda message_type, body, lie: (len(body) + lie).to_bytes(2, "big") + bytes([message_type]) + body,
    st.one_of(st.sampled_from([*MessageType]), st.integers(0, 255)),
    st.one_of(st.binary(max_size=100), st.binary(max_size=80).map(lambda tail: b"CVM\x01" + tail)),
    st.one_of(st.just(0), st.integers(0, 5000)),
)
hello_like = st.builds(
    lambda nonce, suite, flags, max_frame, serial: messages.encode(
        messages.Hello(nonce, suite, max_frame, 0, serial, flags)
    ),
    st.binary(min_size=16, max_size=16),
    st.integers(0, 3),
    st.integers(0, 1),
    st.integers(40, 1500),
    st.sampled_from([b"A", b"SENSOR-1", b"x" * 64]),
).map(lambda body: len(body).to_bytes(2, "big") + b"\x01" + body)
streams = st.lists(st.one_of(st.binary(max_size=300), frame_like, hello_like), max_size=12)


def _check_server(pair: Pair, pieces: list[bytes]) -> None:
    """Feed the pieces; the invariant is in here."""
    for piece in pieces:
        over = pair.server.ended
        pair.server.receive_data(piece)
        assert len(pair.server._buffer) < LARGEST_FRAME
        assert len(pair.server._events) <= 2 * MAX_HELLOS
        assert not (over and pair.server._events)
        pair.serve()
        for frame in frames(pair.server.data_to_send()):
            if pair.server.max_frame:
                assert len(frame) <= pair.server.max_frame
    assert len(pair.record.ended) <= 1


def _pair(mode: Mode) -> Pair:
    return Pair(mode, Flash(), Record(), Wire())


@given(streams)
@settings(max_examples=200)
def test_inv7_any_bytes_from_the_start(pieces: list[bytes]) -> None:
    _check_server(_pair(MODES[0]), pieces)


@each_mode
@given(data=st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_inv7_any_bytes_after_a_good_beginning(mode: Mode, data: st.DataObject) -> None:
    good = frames(vend(mode).wire.up)
    begin = data.draw(st.integers(1, len(good)), "good frames")
    _check_server(_pair(mode), [*good[:begin], *data.draw(streams)])


@each_mode
@given(seed=st.integers(0, 2**32))
@settings(max_examples=60)
def test_inv7_frames_lost_doubled_and_out_of_order(mode: Mode, seed: int) -> None:
    source = Random(seed)
    good = frames(vend(mode).wire.up)
    pieces = source.choices(good, k=source.randint(1, 2 * len(good)))
    pair = _pair(mode)
    _check_server(pair, pieces)
    assert pair.record.acked <= (good[-1] in pieces)


@each_mode
@given(data=st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_inv7_any_bytes_to_a_device(mode: Mode, data: st.DataObject) -> None:
    undisturbed = vend(mode)
    good = frames(undisturbed.wire.down)
    begin = data.draw(st.integers(0, len(good) - 1), "good frames")
    pair = _pair(mode)
    pair.device.hello()
    for piece in [*good[:begin], *data.draw(streams)]:
        pair.device.receive_data(piece)
        assert len(pair.device._buffer) <= mode.max_frame
        pair.store()
        pair.device.data_to_send()
    assert undisturbed.record.bundle.data.startswith(pair.flash.data)
    assert sum(isinstance(event, ProtocolFailed) for event in pair.device_events) <= 1


@given(st.sampled_from([*MessageType]), st.binary(max_size=120))
@settings(max_examples=400)
def test_inv7_any_body_is_a_message_or_one_error(message_type: MessageType, body: bytes) -> None:
    with suppress(RemoteProtocolError):
        assert messages.encode(messages.decode(message_type, body)) == body


def test_inv7_a_server_flooded_in_one_piece_keeps_nothing() -> None:
    session = ServerSession(set(Suite))
    session.receive_data(bytes(10_000_000))
    assert [type(event) for event in session.events()] == [Ended]
    assert len(session._buffer) == 0
    assert session.data_to_send() == b""


def test_inv7_a_device_gives_up_hunting() -> None:
    session = ClientSession(b"A", b"", suite=Suite.MAC, nonce_c=bytes(16))
    session.hello()
    for _ in range(70):
        session.receive_data(b"\xff" * 1000)
    assert session.ended
    assert [type(event) for event in session.events()] == [ProtocolFailed]

"""ClientSession alone: what it believes, and of whom."""

import pytest

from protocol import messages
from protocol.client import ClientSession
from protocol.constants import MessageType, Stage, Status, Suite
from protocol.errors import LocalProtocolError
from protocol.events import Challenged, ProtocolFailed, RefuseReceived, WaitReceived
from protocol.framing import clear_frame
from protocol.messages import ClearRefuse
from protocol.states import DeviceState
from tests.protocol.pair import MODES, SERIAL, Flash, Mode, Pair, Record, Wire, frames, vend

NONCE = bytes(range(16))
each_mode = pytest.mark.parametrize("mode", MODES, ids=str)


def hunting() -> ClientSession:
    session = ClientSession(SERIAL, bytes(32), suite=Suite.MAC, nonce_c=NONCE)
    session.hello()
    session.data_to_send()
    return session


def clear_refuse(nonce_c: bytes, retry_s: int) -> bytes:
    return clear_frame(
        MessageType.CLEAR_REFUSE, messages.encode(ClearRefuse(nonce_c, Status.BUSY, Stage.HELLO, retry_s))
    )


def test_a_forged_refusal_cannot_silence_a_device_for_long() -> None:
    session = hunting()
    session.receive_data(clear_refuse(NONCE, 0xFFFFFFFF))
    assert session.events() == [RefuseReceived(Status.BUSY, Stage.HELLO, 3600, 0, tagged=False)]
    assert session.ended


@each_mode
def test_a_tagged_refusal_is_clamped_to_a_day(mode: Mode) -> None:
    pair = Pair(mode, Flash(), Record(waits=1), Wire())
    pair.device.hello()
    for _ in range(2):
        pair.server.receive_data(pair.device.data_to_send())
        pair.serve()
        pair.answer()
    pair.server.send_refuse(Status.QUOTA, Stage.QUEUE, 0xFFFFFFFF)
    pair.answer()
    assert pair.device_events[-1] == RefuseReceived(Status.QUOTA, Stage.QUEUE, 86400, 0, tagged=True)


@each_mode
def test_a_tagged_refusal_is_obeyed_when_nothing_was_asked(mode: Mode) -> None:
    """DEADLINE and DRAINING come unasked; anything else that does is an error."""
    for unasked, expected in (("refuse", RefuseReceived), ("wait", ProtocolFailed)):
        pair = Pair(mode, Flash(), Record(waits=1), Wire())
        pair.device.hello()
        pair.server.receive_data(pair.device.data_to_send())
        pair.serve()
        pair.answer()
        pair.server.receive_data(pair.device.data_to_send())
        pair.serve()
        pair.device.receive_data(pair.server.data_to_send())
        assert not pair.device.answer_due
        if unasked == "refuse":
            pair.server.send_refuse(Status.DRAINING, Stage.QUEUE, 5)
        else:
            pair.server.answer_due = True
            pair.server.send_wait(1)
        pair.device.receive_data(pair.server.data_to_send())
        assert [type(event) for event in pair.device.events()] == [WaitReceived, expected]


def test_a_refusal_with_another_nonce_is_hunted_past() -> None:
    session = hunting()
    session.receive_data(clear_refuse(bytes(16), 60))
    assert session.events() == []
    assert session.state is DeviceState.HUNT


@each_mode
def test_a_clear_frame_after_a_tagged_one_is_an_error(mode: Mode) -> None:
    pair = Pair(mode, Flash(), Record(waits=1), Wire())
    pair.device.hello()
    for _ in range(2):
        pair.server.receive_data(pair.device.data_to_send())
        pair.serve()
        pair.answer()
    nonce_c = pair.wire.down[3:19]
    pair.device.receive_data(clear_refuse(nonce_c, 60))
    assert isinstance(pair.device.events()[-1], ProtocolFailed)


@each_mode
@pytest.mark.parametrize("size", [1, 18, 19, 1000])
def test_stale_bytes_before_the_challenge_are_hunted_past(mode: Mode, size: int) -> None:
    stale = (vend(mode).wire.down * 20)[-size:]
    pair = Pair(mode, Flash(), Record(), Wire(), seed="after a time-out")
    pair.device.hello()
    pair.device.receive_data(stale)
    assert pair.device.events() == []
    pair.server.receive_data(pair.device.data_to_send())
    pair.serve()
    pair.device.receive_data(pair.server.data_to_send())
    assert pair.device.events() == [Challenged()]


@each_mode
def test_a_replayed_answer_does_not_open(mode: Mode) -> None:
    """All that the server said, to a device with a nonce of its own."""
    down = frames(vend(mode).wire.down)
    session = ClientSession(SERIAL, Record().token, suite=mode.suite, nonce_c=NONCE, ephemeral_private=bytes(32))
    session.hello()
    session.receive_data(down[0][:3] + NONCE + down[0][19:])
    assert session.events() == [Challenged()]
    session.proof(0b110, 65535)
    session.receive_data(b"".join(down[1:]))
    assert [type(event) for event in session.events()] == [ProtocolFailed]


@each_mode
def test_the_end_of_the_connection_is_not_the_end_of_a_session(mode: Mode) -> None:
    session = ClientSession(SERIAL, b"", suite=mode.suite, nonce_c=NONCE)
    session.receive_eof()
    assert [type(event) for event in session.events()] == [ProtocolFailed]
    done = vend(mode).device
    done.receive_eof()
    assert done.events() == []


def test_calls_out_of_turn_send_nothing() -> None:
    session = ClientSession(SERIAL, bytes(32), suite=Suite.MAC, nonce_c=NONCE)
    for call in (
        lambda: session.proof(0b110, 0),
        lambda: session.fetch(0, 1),
        lambda: session.ack(bytes(32)),
    ):
        with pytest.raises(LocalProtocolError):
            call()
    assert session.data_to_send() == b""
    session.hello()
    with pytest.raises(LocalProtocolError):
        session.hello()
    with pytest.raises(LocalProtocolError, match="one request"):
        session.proof(0b110, 0)


@pytest.mark.parametrize(("offset", "limit"), [(0, 0), (116, 1), (65535, 1)])
def test_a_fetch_of_no_bytes_is_not_sent(offset: int, limit: int) -> None:
    pair = Pair(MODES[2], Flash(), Record(), Wire())
    pair.device.hello()
    for _ in range(2):
        pair.server.receive_data(pair.device.data_to_send())
        pair.serve()
        pair.device.receive_data(pair.server.data_to_send())
        if pair.device.state is DeviceState.CHALLENGED:
            pair.device.proof(0b110, 0)
    assert pair.device.state is DeviceState.STREAM
    assert pair.record.bundle.total == 116
    with pytest.raises(LocalProtocolError, match="no bytes"):
        pair.device.fetch(offset, limit)


@pytest.mark.parametrize("serial", [b"", b"a b", b"x" * 65, "é".encode()])
def test_a_serial_that_no_server_takes_is_not_sent(serial: bytes) -> None:
    session = ClientSession(serial, bytes(32), suite=Suite.MAC, nonce_c=NONCE)
    with pytest.raises(LocalProtocolError, match="serial"):
        session.hello()

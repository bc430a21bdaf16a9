"""Frames out of a stream, whatever way it is cut."""

import re

import pytest

from protocol.constants import MessageType, Status
from protocol.errors import RemoteProtocolError
from protocol.framing import FrameBuffer, clear_frame, header


def no_cap(_message_type: int) -> int:
    return 65535


def test_a_header_is_length_and_type() -> None:
    assert header(0xC4, 0x0102) == b"\x01\x02\xc4"
    assert clear_frame(MessageType.WAIT, b"ab") == b"\x00\x02\xc1ab"


@pytest.mark.parametrize("size", range(1, 12))
def test_frames_come_whole_however_the_bytes_come(size: int) -> None:
    sent = [clear_frame(number, bytes([number]) * number) for number in range(9)]
    stream = b"".join(sent)
    buffer, taken = FrameBuffer(), []
    for start in range(0, len(stream), size):
        buffer.feed(stream[start : start + size])
        while frame := buffer.next_frame(no_cap):
            taken.append(frame)
    assert taken == sent
    assert len(buffer) == 0


def test_inv7_the_length_is_judged_on_the_header() -> None:
    buffer = FrameBuffer()
    buffer.feed(b"\x00\x09")
    assert buffer.next_frame(lambda _: 8) is None
    buffer.feed(b"\x81")
    with pytest.raises(RemoteProtocolError, match="9 bytes") as raised:
        buffer.next_frame(lambda _: 8)
    assert raised.value.status is Status.MALFORMED


def test_the_cap_is_asked_by_type() -> None:
    buffer, asked = FrameBuffer(), []
    buffer.feed(clear_frame(0x82, b"abcd"))
    assert buffer.next_frame(lambda message_type: asked.append(message_type) or 4)
    assert asked == [0x82]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_hunting_skips_as_much_however_the_bytes_come(size: int) -> None:
    pattern = re.compile(b"abc")
    for junk, found in ((10, True), (11, False)):
        stream = b"a" * junk + b"abcd"
        buffer, outcome = FrameBuffer(), None
        for start in range(0, len(stream), size):
            buffer.feed(stream[start : start + size])
            try:
                outcome = buffer.hunt(pattern, 3, 10)
            except RemoteProtocolError:
                outcome = None
                break
        assert outcome is (True if found else None)
        if found:
            assert len(buffer) == 4


def test_cleared_is_empty() -> None:
    buffer = FrameBuffer()
    buffer.feed(b"abc")
    buffer.clear()
    assert len(buffer) == 0

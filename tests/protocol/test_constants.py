"""Numbers that released clients rely on, and the rules among them."""

from protocol.constants import (
    BODY_SIZES,
    CLEAR_STATUSES,
    FIRST_OVERHEAD,
    HEADER_SIZE,
    MIN_MAX_FRAME,
    RETRY_S,
    STATUS_CLASSES,
    Kind,
    MessageType,
    ProofFlag,
    Stage,
    Status,
    Suite,
)


def test_the_numbers_are_those_of_version_1() -> None:
    assert {each.name: each.value for each in MessageType} == {
        "HELLO": 0x01, "CHALLENGE": 0x41, "CLEAR_REFUSE": 0x42, "PROOF": 0x81, "FETCH": 0x82, "ACK": 0x83,
        "WAIT": 0xC1, "REFUSE": 0xC2, "MANIFEST": 0xC3, "DATA": 0xC4, "DONE": 0xC5,
    }  # fmt: skip
    assert [(each.name, each.value) for each in Suite] == [("MAC", 0), ("NOISE", 1)]
    assert [each.value for each in Kind] == [1, 2, 3, 4, 5, 6]
    assert [each.value for each in ProofFlag] == [1, 2, 4]
    assert [each.value for each in Stage] == [1, 2, 3, 4, 5, 6, 7]
    assert [each.value for each in Status] == [
        0x10, 0x11, 0x12, 0x13, 0x14, 0x20, 0x30, 0x31, 0x32, 0x33, 0x34,
        0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49,
    ]  # fmt: skip


def test_every_number_has_its_line_and_its_row() -> None:
    for enum in (MessageType, Suite, Kind, ProofFlag, Stage, Status):
        assert all(each.meaning for each in enum)
    assert set(BODY_SIZES) == set(MessageType)
    assert set(RETRY_S) == set(Status)
    assert {status >> 4 for status in Status} == set(STATUS_CLASSES)


def test_in_clear_only_what_may_be_believed_of_anybody() -> None:
    assert {int(status) for status in CLEAR_STATUSES} == {0x10, 0x12, 0x30, 0x40, 0x41, 0x42, 0x43, 0x44}


def test_the_smallest_max_frame_has_room_for_challenge_and_the_first_wait() -> None:
    for suite, least in MIN_MAX_FRAME.items():
        assert HEADER_SIZE + BODY_SIZES[MessageType.CHALLENGE][1] <= least
        assert HEADER_SIZE + BODY_SIZES[MessageType.WAIT][1] + FIRST_OVERHEAD[suite] <= least

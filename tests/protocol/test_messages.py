"""Bodies: what is built parses to the same, and nothing is built that a peer would refuse."""

import pytest

from protocol import messages
from protocol.constants import BODY_SIZES, MAX_CSR, MessageType, ProofFlag, Status
from protocol.errors import LocalProtocolError, RemoteProtocolError
from protocol.messages import (
    Ack,
    Challenge,
    ClearRefuse,
    Data,
    Done,
    Fetch,
    Hello,
    Manifest,
    Message,
    Proof,
    Refuse,
    Wait,
)

NONCE, DIGEST = bytes(range(16)), bytes(range(32))
MESSAGES: list[Message] = [
    Hello(NONCE, 1, 1400, 65535, b"A"),
    Hello(NONCE, 0, 48, 0, b"Z" * 64),
    Challenge(NONCE, NONCE[::-1]),
    ClearRefuse(NONCE, Status.AUTH, 2, 60),
    Proof(0, 0b110, 0),
    Proof(ProofFlag.HAVE | ProofFlag.RENEW, 0b110, 65535, have=DIGEST),
    Proof(ProofFlag.CSR, 0b10, 65535, csr=b"\x30" * MAX_CSR),
    Proof(ProofFlag.HAVE | ProofFlag.CSR, 0b10, 65535, have=DIGEST, csr=b"\x30"),
    Fetch(65535, 0),
    Ack(DIGEST),
    Wait(300),
    Refuse(0xFF, 0xFF, 0xFFFFFFFF, 0xFFFF),
    Manifest(NONCE, 65535),
    Data(0, b"x"),
    Done(0xFFFFFFFF, 65535),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_survives_the_wire(message: Message) -> None:
    body = messages.encode(message)
    message_type = messages.type_of(message)
    assert messages.decode(message_type, body) == message
    least, most = BODY_SIZES[message_type]
    assert least <= len(body) <= most


def _shortest(message: Message) -> int:
    """How far a body may be cut and still be one: serial, CSR and data are the rest of theirs."""
    rest = {Hello: "serial", Data: "data", Proof: "csr"}.get(type(message), "")
    return len(messages.encode(message)) - len(getattr(message, rest, None) or b"x") + 1


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_body_cut_anywhere_is_malformed(message: Message) -> None:
    for size in range(_shortest(message)):
        with pytest.raises(RemoteProtocolError) as raised:
            messages.decode(messages.type_of(message), messages.encode(message)[:size])
        assert raised.value.status is Status.MALFORMED


@pytest.mark.parametrize(
    "message", [each for each in MESSAGES if not isinstance(each, Hello | Data)], ids=lambda each: type(each).__name__
)
def test_a_trailing_byte_is_malformed(message: Message) -> None:
    if isinstance(message, Proof) and message.csr and len(message.csr) < MAX_CSR:
        return  # the CSR is the rest of the body
    with pytest.raises(RemoteProtocolError) as raised:
        messages.decode(messages.type_of(message), messages.encode(message) + b"\x00")
    assert raised.value.status is Status.MALFORMED


@pytest.mark.parametrize(
    "message",
    [
        Hello(NONCE[1:], 0, 512, 0, b"A"),
        Hello(NONCE, 0, 65536, 0, b"A"),
        Hello(NONCE, 0, 512, 0, b"no good"),
        Challenge(NONCE, NONCE, flags=1),
        Proof(0, 0b110, 0, have=DIGEST),
        Proof(ProofFlag.HAVE, 0b110, 0),
        Proof(ProofFlag.HAVE, 0b110, 0, have=DIGEST[1:]),
        Proof(ProofFlag.CSR, 0b10, 0, csr=b""),
        Proof(ProofFlag.CSR, 0b10, 0, csr=bytes(MAX_CSR + 1)),
        Proof(0, 0, 0),
        Fetch(-1, 0),
        Ack(b"short"),
        Data(0, b""),
        Done(2**32, 0),
    ],
    ids=repr,
)
def test_what_a_peer_would_refuse_is_not_built(message: Message) -> None:
    with pytest.raises(LocalProtocolError, match="cannot be sent"):
        messages.encode(message)


@pytest.mark.parametrize(
    ("want", "wrong"),
    [(0, 0b10), (0b100, 0b10), (0b1110, 0b1100), (0b11, 1), (0x8002, 0x8000), (0xFFFD, 0xFF8F)],
)
def test_want_is_told_bit_by_bit(want: int, wrong: int) -> None:
    with pytest.raises(RemoteProtocolError) as raised:
        messages.decode(MessageType.PROOF, b"\x00" + want.to_bytes(2, "big") + b"\x00\x00")
    assert (raised.value.status, raised.value.detail) == (Status.WANT, wrong)


def test_inv6_the_bytes_of_data_are_not_in_its_repr() -> None:
    assert "secret" not in repr(Data(0, b"secret"))

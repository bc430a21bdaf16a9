"""Keys and suite mac, held against cryptography's HKDF and a plain HMAC."""

import hmac
from hashlib import sha256
from random import Random

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from protocol import auth
from protocol.constants import MessageType, Status
from protocol.errors import RemoteProtocolError


@pytest.mark.parametrize("size", [0, 16, 32, 64])
def test_the_schedule_is_hkdf(size: int) -> None:
    token, transcript = bytes(range(size)), sha256(b"transcript").digest()
    labels = [b"cvm1 mac device", b"cvm1 mac server", b"cvm1 noise psk"]
    by_hkdf = [HKDF(SHA256(), 32, b"cvm1", label + transcript).derive(token) for label in labels]
    prk = auth.prk(token)
    assert [*auth.mac_keys(prk, transcript), auth.noise_psk(prk, transcript)] == by_hkdf


def test_the_transcript_covers_both_frames_whole() -> None:
    assert auth.transcript(b"hello", b"challenge") == sha256(b"hellochallenge").digest()


def test_a_derived_token_is_an_hmac_of_the_serial() -> None:
    assert auth.derived_token(b"k" * 32, b"A1") == hmac.new(b"k" * 32, b"A1", "sha256").digest()


def test_counter_nonces_do_not_repeat() -> None:
    prk = auth.prk(b"t" * 32)
    nonces = {auth.counter_nonce(prk, boot, connection, b"") for boot in range(50) for connection in range(50)}
    assert len(nonces) == 2500
    assert {len(nonce) for nonce in nonces} == {16}


def test_a_tag_is_the_hmac_of_counter_header_and_body() -> None:
    """Every length of body from 0 to 200: SHA-256's padding changes at 55 and 56 modulo 64."""
    sender, receiver = auth.MacProtection(b"s" * 32, b"r" * 32), auth.MacProtection(b"r" * 32, b"s" * 32)
    source = Random(1)
    for counter in range(201):
        body = source.randbytes(counter)
        frame = sender.seal(MessageType.DATA, body)
        signed = (counter + 16).to_bytes(2, "big") + b"\xc4" + body
        assert frame[:-16] == signed
        assert frame[-16:] == hmac.new(b"s" * 32, counter.to_bytes(4, "big") + signed, "sha256").digest()[:16]
        assert receiver.open(frame) == body


@pytest.mark.parametrize("wrong", ["replayed", "dropped", "reflected", "cut", "no tag"])
def test_a_frame_opens_once_in_its_place_and_direction(wrong: str) -> None:
    sender, receiver = auth.MacProtection(b"s" * 32, b"r" * 32), auth.MacProtection(b"r" * 32, b"s" * 32)
    first, second = sender.seal(MessageType.WAIT, b"\0\0"), sender.seal(MessageType.WAIT, b"\0\0")
    if wrong == "replayed":
        receiver.open(first)
    reader, frame = {
        "replayed": (receiver, first),
        "dropped": (receiver, second),
        "reflected": (sender, first),
        "cut": (receiver, first[:-1]),
        "no tag": (receiver, first[:5]),
    }[wrong]
    with pytest.raises(RemoteProtocolError) as raised:
        reader.open(frame)
    assert raised.value.status is Status.SEQUENCE


def test_a_frame_that_does_not_open_leaves_the_counter() -> None:
    sender, receiver = auth.MacProtection(b"s" * 32, b"r" * 32), auth.MacProtection(b"r" * 32, b"s" * 32)
    frame = sender.seal(MessageType.WAIT, b"\0\0")
    with pytest.raises(RemoteProtocolError):
        receiver.open(frame[:-1] + bytes([frame[-1] ^ 1]))
    assert receiver.open(frame) == b"\0\0"

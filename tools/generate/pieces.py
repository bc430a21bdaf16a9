"""Vectors of keys, frames of both suites, bundles and hunting."""

from __future__ import annotations

from collections.abc import Iterator

from protocol import auth
from protocol.constants import Kind, MessageType
from protocol.framing import clear_frame
from protocol.noise import NNpsk0
from protocol.objects import Bundle
from tools.generate.example import MAC, fixed, play
from tools.generate.operations import Vector, vector

M = MessageType


def keys() -> Iterator[Vector]:
    """The schedule, for every length that a token may have at the edges."""
    hello, challenge = (step.frame for step in play(MAC)[:2])
    for size in (0, 16, 32, 64):
        name, comment, token = f"token-{size}", f"a token of {size} bytes", bytes(range(size))
        yield vector(name, comment, "keys", token=token, hello_frame=hello, challenge_frame=challenge)
    product_key = fixed("product key", 32)
    yield vector("derived", "auth derived", "derived-token", product_key=product_key, serial=MAC.serial)
    prk = auth.prk(bytes(32))
    for name, boot, connection, entropy in (
        ("first", 0, 0, b""),
        ("later", 1 << 24, 0xFFFFFFFF, b"\xa5" * 40),
    ):
        comment = f"the {name} nonce of a device that counts"
        given = {"boot": boot, "connection": connection}
        yield vector(f"nonce-{name}", comment, "counter-nonce", prk=prk, entropy=entropy, **given)


def mac() -> Iterator[Vector]:
    """Frames that open, and each way in which one does not."""
    key, body = fixed("mac key", 32), b"\x00\x1b\x00\x1b"
    for size, counter in ((0, 0), (1, 0), (4, 1), (32, 2), (40, 3), (56, 255), (1378, 256)):
        comment = f"a body of {size} bytes, counter {counter}"
        given = {"counter": counter, "message_type": M.DATA.value}
        yield vector(f"seal-{size}", comment, "mac-seal", key=key, body=bytes(size), **given)
    sealed = vector("", "", "mac-seal", key=key, counter=1, message_type=M.FETCH.value, body=body)
    for name, comment, counter, frame in _frames(bytes.fromhex(sealed["out"]["frame"]), body):
        yield vector(name, comment, "mac-open", key=key, counter=counter, frame=frame)


def _frames(frame: bytes, body: bytes) -> Iterator[tuple[str, str, int, bytes]]:
    longer = (int.from_bytes(frame[:2], "big") + 1).to_bytes(2, "big")
    yield "open", "as it was sealed", 1, frame
    yield "open-counter-later", "under the counter after: replayed", 2, frame
    yield "open-counter-earlier", "under the counter before: one was dropped", 0, frame
    yield "open-type", "another type", 1, frame[:2] + bytes([M.ACK]) + frame[3:]
    yield "open-length", "a longer body, and a byte more", 1, longer + frame[2:] + b"\x00"
    yield "open-no-tag", "no tag", 1, clear_frame(M.FETCH, body)
    yield "open-empty", "no body and no tag", 1, clear_frame(M.FETCH, b"")
    yield "open-tag-cut", "a tag of 15 bytes", 1, clear_frame(M.FETCH, frame[3:-1])
    yield "open-tag-zero", "a tag of zeros", 1, frame[:-16] + bytes(16)
    for place in range(len(frame)):
        bit = place % 8
        flipped = frame[:place] + bytes([frame[place] ^ 1 << bit]) + frame[place + 1 :]
        yield f"open-flipped-{place}", f"bit {bit} of byte {place} is flipped", 1, flipped


def noise() -> Iterator[Vector]:
    """One handshake with a message each way after it, and first messages that must not open."""
    psk, prologue = fixed("psk", 32), fixed("prologue", 32) + fixed("prologue, rest", 32)
    first = bytes([M.PROOF]) + b"\x00\x00\x06\xff\xff"
    theirs = fixed("responder", 32)
    yield vector(
        "handshake",
        "messages 1 and 2, then one each way; the last one is empty",
        "noise-handshake",
        psk=psk,
        prologue=prologue,
        initiator_ephemeral=fixed("initiator", 32),
        responder_ephemeral=theirs,
        payload_1=first,
        payload_2=bytes([M.WAIT, 0, 0]),
        payload_3=bytes([M.FETCH, 0, 0, 0, 27]),
        payload_4=b"",
    )
    message = NNpsk0(psk, prologue, fixed("initiator", 32), initiator=True).write(first)
    tag_flipped = message[:-1] + bytes([message[-1] ^ 1])
    payload_flipped = message[:32] + bytes([message[32] ^ 1]) + message[33:]
    for name, comment, key, start, sent in [
        ("read", "as it was written", psk, prologue, message),
        ("read-psk", "another psk: a wrong token", fixed("another psk", 32), prologue, message),
        ("read-prologue", "another prologue: HELLO or CHALLENGE was altered", psk, prologue[:-1], message),
        ("read-cut", "cut by a byte", psk, prologue, message[:-1]),
        ("read-ephemeral-alone", "nothing but the ephemeral", psk, prologue, message[:32]),
        ("read-ephemeral-cut", "not even the ephemeral", psk, prologue, message[:31]),
        ("read-empty", "nothing", psk, prologue, b""),
        ("read-ephemeral", "another ephemeral", psk, prologue, fixed("x", 32) + message[32:]),
        ("read-tag", "a bit of the tag is flipped", psk, prologue, tag_flipped),
        ("read-payload", "a bit of the payload is flipped", psk, prologue, payload_flipped),
    ]:
        given = {"psk": key, "prologue": start, "responder_ephemeral": theirs, "message_1": sent}
        yield vector(name, comment, "noise-read", **given)


def bundles() -> Iterator[Vector]:
    """Bundles as they lie in flash."""
    objects = {Kind.CERTIFICATE: b"cert", Kind.KEY_SEC1_PKCS1: b"key", Kind.ENDPOINT: b"example.com"}
    whole = Bundle.of(objects).data
    one = Bundle.of({Kind.CERTIFICATE: b"cert"}).data
    for name, comment, data in [
        ("three", "certificate, key, endpoint", whole),
        ("one", "a certificate alone", one),
        ("unknown-kind", "a kind of the future, to be skipped", one + b"\xc8\x00\x02hi"),
        ("length-256", "a length of which the low byte is zero", b"\x01\x01\x00" + bytes(256)),
        ("empty", "no bytes", b""),
        ("kind-0", "kind 0", b"\x00\x00\x01x"),
        ("cut-in-object", "the last byte is missing", whole[:-1]),
        ("cut-in-header", "a header of two bytes", one + b"\x02\x00"),
        ("cut-after-kind", "a kind alone", one + b"\x02"),
        ("empty-object", "an object of no bytes", one + b"\x02\x00\x00"),
        ("twice", "the same kind twice", one + one),
        ("descending", "kinds that do not ascend", b"\x02\x00\x01k" + one),
        ("length-beyond", "a length beyond the end", b"\x01\xff\xff" + b"x"),
        ("trailing", "a trailing byte", one + b"\x00"),
    ]:
        yield vector(name, comment, "bundle", data=data)


def hunting() -> Iterator[Vector]:
    """Junk before the first frame, at both ends."""
    hello, challenge = (step.frame for step in play(MAC)[:2])
    for name, comment, stream in [
        ("hello", "HELLO at once", hello),
        ("hello-zeros", "the most zeros that may come before", bytes(256) + hello),
        ("hello-split-header", "what could be the start of a header", b"\x00\x26\x01CV" + hello),
        ("hello-nothing", "nothing but the tail of a PROOF: still hunting", fixed("tail", 30)),
        ("hello-cut", "HELLO has not come whole: still hunting", hello[:-1]),
        ("hello-too-far", "a byte more than may be skipped", bytes(257) + hello),
        ("hello-junk", "junk alone, with room for the start of a header", b"\xff" * 262),
        ("hello-short", "no room for its nonce: junk", clear_frame(M.HELLO, hello[3:22]) + b"\xff" * 262),
        ("hello-long-length", "a length of two bytes is no HELLO", (b"\x01" + hello[1:]) * 8),
        ("hello-magic", "the magic is wrong", (hello[:5] + b"N" + hello[6:]) * 8),
    ]:
        yield vector(name, comment, "hunt-hello", stream=stream)
    refuse = clear_frame(M.CLEAR_REFUSE, MAC.nonce_c + bytes.fromhex("1001000000050000"))
    stale = challenge[:3] + fixed("an older nonce_c", 16) + challenge[19:]
    for name, comment, stream in [
        ("challenge", "CHALLENGE at once", challenge),
        ("refuse", "a clear REFUSE at once", refuse),
        ("challenge-junk", "CHALLENGE after junk", b"\x00\x22\x41" * 100 + challenge),
        ("challenge-stale", "the CHALLENGE of an older connection first", stale + challenge),
        ("challenge-stale-cut", "a cut one first", stale[:10] + challenge),
        ("challenge-other-length", "a header of another length", b"\x00\x23" + challenge[2:] + challenge),
        ("stale-alone", "nothing but that: still hunting", stale),
        ("challenge-cut", "CHALLENGE has not come whole: still hunting", challenge[:-1]),
    ]:
        yield vector(f"device-{name}", comment, "hunt-answer", nonce_c=MAC.nonce_c, stream=stream)

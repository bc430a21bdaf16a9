"""Keys of a session, and suite `mac`. HKDF is RFC 5869 with SHA-256; labels as in SPEC.md.

prk(token) · transcript(hello_frame, challenge_frame) · mac_keys(prk, transcript) · noise_psk(prk, transcript)
derived_token(product_key, serial) · counter_nonce(prk, boot, connection, entropy)
MacProtection(send_key, receive_key): seal(type, body) -> frame, open(frame) -> body
"""

from __future__ import annotations

import hmac
from hashlib import sha256

from protocol.constants import HEADER_SIZE, NONCE_SIZE, TAG_SIZE, Status
from protocol.errors import RemoteProtocolError
from protocol.framing import header


def prk(token: bytes) -> bytes:
    """HKDF-Extract(salt "cvm1", token); the token is empty under auth `serial`."""
    return hmac.digest(b"cvm1", token, "sha256")


def expand(key: bytes, info: bytes, length: int) -> bytes:
    """HKDF-Expand for at most 32 bytes: one block."""
    return hmac.digest(key, info + b"\x01", "sha256")[:length]


def transcript(hello_frame: bytes, challenge_frame: bytes) -> bytes:
    """T: what both ends have said in clear, headers included."""
    return sha256(hello_frame + challenge_frame).digest()


def mac_keys(key: bytes, session_transcript: bytes) -> tuple[bytes, bytes]:
    """(K_d, K_s): the device's key and the server's."""
    device_key = expand(key, b"cvm1 mac device" + session_transcript, 32)
    return device_key, expand(key, b"cvm1 mac server" + session_transcript, 32)


def noise_psk(key: bytes, session_transcript: bytes) -> bytes:
    """A PSK of this session alone: with a constant one, a repeated ephemeral would repeat a keystream."""
    return expand(key, b"cvm1 noise psk" + session_transcript, 32)


def derived_token(product_key: bytes, serial: bytes) -> bytes:
    """The token of auth `derived`: HMAC-SHA256(product key, serial)."""
    return hmac.digest(product_key, serial, "sha256")


def counter_nonce(key: bytes, boot: int, connection: int, entropy: bytes) -> bytes:
    """nonce_c where random numbers are poor: does not repeat while (boot, connection), u32 each, does not."""
    info = b"cvm1 nonce" + boot.to_bytes(4, "big") + connection.to_bytes(4, "big") + entropy
    return expand(key, info, NONCE_SIZE)


class MacProtection:
    """Suite `mac`: header, body, 16 bytes of HMAC over a counter that is never sent, header and body."""

    __slots__ = ("_receive_key", "_received", "_send_key", "_sent")

    overhead = TAG_SIZE
    """Bytes that the next frame sent has beside header and body."""

    def __init__(self, send_key: bytes, receive_key: bytes) -> None:
        self._send_key, self._receive_key = send_key, receive_key
        self._sent = self._received = 0

    def seal(self, message_type: int, body: bytes) -> bytes:
        """The frame of this body, under the next counter."""
        frame = header(message_type, len(body) + TAG_SIZE) + body
        counter, self._sent = self._sent, self._sent + 1
        return frame + _tag(self._send_key, counter, frame)

    def open(self, frame: bytes) -> bytes:
        """The body of the next frame; RemoteProtocolError(SEQUENCE) if it is not the one sent next."""
        expected = _tag(self._receive_key, self._received, frame[:-TAG_SIZE])
        if len(frame) < HEADER_SIZE + TAG_SIZE or not hmac.compare_digest(expected, frame[-TAG_SIZE:]):
            raise RemoteProtocolError(Status.SEQUENCE, "the frame does not open: its tag is not right here")
        self._received += 1
        return frame[HEADER_SIZE:-TAG_SIZE]


def _tag(key: bytes, counter: int, frame: bytes) -> bytes:
    return hmac.digest(key, counter.to_bytes(4, "big") + frame, "sha256")[:TAG_SIZE]

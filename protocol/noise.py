"""Suite `noise`: Noise_NNpsk0_25519_ChaChaPoly_SHA256 (noiseprotocol.org, revision 34), both roles, empty AD.

    NNpsk0(psk, prologue, ephemeral_private, initiator): write(payload) -> message, read(message) -> payload
    NoiseProtection(noise): seal(type, body) -> frame, open(frame) -> body

The second implementation of seal and open, not a second state machine: the first message each way is the
handshake.
"""

from __future__ import annotations

import hmac
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from protocol.constants import EPHEMERAL_SIZE, HEADER_SIZE, TAG_SIZE, Status
from protocol.errors import RemoteProtocolError
from protocol.framing import clear_frame

_NAME = b"Noise_NNpsk0_25519_ChaChaPoly_SHA256"


class _Cipher:
    """CipherState: a key and the count of messages under it."""

    __slots__ = ("_aead", "_count")

    def __init__(self, key: bytes) -> None:
        self._aead = ChaCha20Poly1305(key)
        self._count = 0

    def encrypt(self, plaintext: bytes, associated: bytes = b"") -> bytes:
        return self._aead.encrypt(self._nonce(), plaintext, associated)

    def decrypt(self, ciphertext: bytes, associated: bytes = b"") -> bytes:
        return self._aead.decrypt(self._nonce(), ciphertext, associated)

    def _nonce(self) -> bytes:
        count, self._count = self._count, self._count + 1
        return bytes(4) + count.to_bytes(8, "little")


class NNpsk0:
    """One session: the initiator writes first, then the responder; after that both as they like.

    `ephemeral_private`, 32 bytes, is used once. `read` raises RemoteProtocolError(SEQUENCE) for a message that
    is not the next one of a peer with the same psk and prologue; the session is then of no further use.
    """

    __slots__ = (
        "_chaining_key",
        "_cipher",
        "_ephemeral",
        "_hash",
        "_initiator",
        "_receive",
        "_send",
        "_shared",
    )

    def __init__(self, psk: bytes, prologue: bytes, ephemeral_private: bytes, initiator: bool) -> None:
        self._hash = self._chaining_key = sha256(_NAME).digest()
        self._mix_hash(prologue)
        self._chaining_key, mixed, key = _hkdf(self._chaining_key, psk, 3)
        self._mix_hash(mixed)
        self._cipher = _Cipher(key)
        self._ephemeral = X25519PrivateKey.from_private_bytes(ephemeral_private)
        self._initiator = initiator
        self._shared = b""
        self._send: _Cipher | None = None
        self._receive: _Cipher | None = None

    @property
    def handshaking(self) -> bool:
        """Whether the next message written is a handshake message, which begins with an ephemeral key."""
        return self._send is None

    @property
    def handshake_state(self) -> tuple[bytes, bytes]:
        """(h, ck) of the handshake as it stands: what implementers compare. Secret."""
        return self._hash, self._chaining_key

    def write(self, payload: bytes) -> bytes:
        """The next message to the peer."""
        if self._send:
            return self._send.encrypt(payload)
        ephemeral = self._ephemeral.public_key().public_bytes_raw()
        self._mix_ephemeral(ephemeral)
        if not self._initiator:
            self._mix_key(self._shared)
        ciphertext = self._cipher.encrypt(payload, self._hash)
        self._mix_hash(ciphertext)
        if not self._initiator:
            self._split()
        return ephemeral + ciphertext

    def read(self, message: bytes) -> bytes:
        """The payload of the peer's next message."""
        try:
            return self._receive.decrypt(message) if self._receive else self._read_handshake(message)
        except (InvalidTag, ValueError) as error:  # ValueError: cut short, or an ephemeral of low order
            raise RemoteProtocolError(Status.SEQUENCE, "the frame does not open: not the next message") from error

    def _read_handshake(self, message: bytes) -> bytes:
        ephemeral, ciphertext = message[:EPHEMERAL_SIZE], message[EPHEMERAL_SIZE:]
        self._mix_ephemeral(ephemeral)
        if self._initiator:
            self._mix_key(self._ephemeral.exchange(X25519PublicKey.from_public_bytes(ephemeral)))
        payload = self._cipher.decrypt(ciphertext, self._hash)
        self._mix_hash(ciphertext)
        if self._initiator:
            self._split()
        else:  # only now, when the PSK is proven: a stranger costs no X25519
            self._shared = self._ephemeral.exchange(X25519PublicKey.from_public_bytes(ephemeral))
        return payload

    def _split(self) -> None:
        first, second = _hkdf(self._chaining_key, b"", 2)
        initiators, responders = _Cipher(first), _Cipher(second)
        self._send, self._receive = (initiators, responders) if self._initiator else (responders, initiators)

    def _mix_ephemeral(self, public: bytes) -> None:
        self._mix_hash(public)
        self._mix_key(public)  # PSK handshakes mix "e" into the key as well (revision 34, section 9.2)

    def _mix_key(self, material: bytes) -> None:
        self._chaining_key, key = _hkdf(self._chaining_key, material, 2)
        self._cipher = _Cipher(key)

    def _mix_hash(self, data: bytes) -> None:
        self._hash = sha256(self._hash + data).digest()


def _hkdf(chaining_key: bytes, material: bytes, outputs: int) -> list[bytes]:
    """Noise's HKDF: RFC 5869 with the chaining key as salt, cut into blocks of 32 bytes."""
    key = hmac.digest(chaining_key, material, "sha256")
    blocks = [b""]
    for number in range(1, outputs + 1):
        blocks.append(hmac.digest(key, blocks[-1] + bytes([number]), "sha256"))
    return blocks[1:]


class NoiseProtection:
    """Suite `noise` over one NNpsk0: the frame's body is the Noise message of (type u8, body)."""

    __slots__ = ("_noise",)

    def __init__(self, noise: NNpsk0) -> None:
        self._noise = noise

    @property
    def overhead(self) -> int:
        """Bytes that the next frame sent has beside header and body."""
        return 1 + TAG_SIZE + (EPHEMERAL_SIZE if self._noise.handshaking else 0)

    def seal(self, message_type: int, body: bytes) -> bytes:
        """The frame of this body, as the next Noise message."""
        return clear_frame(message_type, self._noise.write(bytes([message_type]) + body))

    def open(self, frame: bytes) -> bytes:
        """The body of the next frame; RemoteProtocolError(SEQUENCE) if it is not the one sent next."""
        inner = self._noise.read(frame[HEADER_SIZE:])
        if inner[:1] != frame[HEADER_SIZE - 1 : HEADER_SIZE]:
            raise RemoteProtocolError(Status.SEQUENCE, "the frame does not open: the type inside is another")
        return inner[1:]

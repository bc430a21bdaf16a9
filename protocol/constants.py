"""Every number of CVM/1. The tables of SPEC.md and the C header are generated from here (tools/generate).

Enum members carry one line, `meaning`, for those tables. Sizes are bytes, times are seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, IntFlag
from typing import Final, Self

VERSION: Final = 1
MAGIC: Final = b"CVM"
DEFAULT_PORT: Final = 7433
DEFAULT_TLS_PORT: Final = 7434


class _Meaning(IntEnum):
    """An IntEnum whose members are written `NAME = number, "one line"`."""

    meaning: str

    def __new__(cls, number: int, meaning: str = "") -> Self:
        member = int.__new__(cls, number)
        member._value_ = number
        member.meaning = meaning
        return member


class MessageType(_Meaning):
    """The type byte of a frame: bit 7 = protected, bit 6 = from the server."""

    HELLO = 0x01, "opens a session, at any frame boundary"
    CHALLENGE = 0x41, "the server's nonce; says nothing about the serial"
    CLEAR_REFUSE = 0x42, "refusal before the keys stand"
    PROOF = 0x81, "proves the token and asks for the bundle"
    FETCH = 0x82, "asks again after WAIT, or for bytes of the bundle"
    ACK = 0x83, "SHA-256 of the certificate as it lies in flash"
    WAIT = 0xC1, "ask again in turn_s seconds"
    REFUSE = 0xC2, "refusal, protected"
    MANIFEST = 0xC3, "identity and size of the bundle"
    DATA = 0xC4, "bytes of the bundle"
    DONE = 0xC5, "the certificate is active"

    @property
    def protected(self) -> bool:
        """Whether the suite covers frames of this type."""
        return bool(self & 0x80)

    @property
    def from_server(self) -> bool:
        """Whether the server sends this type."""
        return bool(self & 0x40)


class Suite(_Meaning):
    """How frames after CHALLENGE are protected. The device names it; there is no fallback."""

    MAC = 0, "HMAC-SHA256 tags of 16 bytes; nothing is encrypted"
    NOISE = 1, "Noise_NNpsk0_25519_ChaChaPoly_SHA256; everything after CHALLENGE is encrypted"


class Kind(_Meaning):
    """What an object of the bundle is. Bit n of `want` asks for kind n; 2 and 3 exclude each other."""

    CERTIFICATE = 1, "device certificate, DER"
    KEY_SEC1_PKCS1 = 2, "private key, DER: SEC1 for EC, PKCS#1 for RSA"
    KEY_PKCS8 = 3, "private key, DER: PKCS#8"
    ROOT_CA = 4, "root CA of the endpoint, DER"
    ENDPOINT = 5, "host name of the MQTT endpoint, ASCII"
    THING_NAME = 6, "AWS IoT thing name, ASCII"


class ProofFlag(IntFlag):
    """Flags of PROOF."""

    meaning: str

    def __new__(cls, number: int, meaning: str = "") -> Self:
        member = int.__new__(cls, number)
        member._value_ = number
        member.meaning = meaning
        return member

    HAVE = 1, "`have` follows: SHA-256 of a certificate verified in flash"
    CSR = 2, "a CSR follows: the key is the device's own"
    RENEW = 4, "the device wants its ACTIVE certificate replaced"


class Stage(_Meaning):
    """How far the vend had come when it was refused."""

    HELLO = 1, "HELLO was judged"
    PROOF = 2, "PROOF was judged"
    QUEUE = 3, "waiting for a turn"
    CREATE = 4, "the certificate was being made"
    ATTACH = 5, "policy and thing were being attached"
    DELIVER = 6, "the bundle was being delivered"
    ACTIVATE = 7, "the certificate was being activated"


class Status(_Meaning):
    """Why a request was refused. The high nibble says what to do; an unknown code is obeyed by its class."""

    BUSY = 0x10, "too many connections or sessions"
    TURN = 0x11, "the queue is longer than max_wait_s; retry_s is the estimate"
    DRAINING = 0x12, "the server is stopping"
    BACKEND = 0x13, "the database or AWS does not answer"
    DEADLINE = 0x14, "the connection took too long; the next one goes on from the offset reached"
    STALE = 0x20, "what the device holds is no longer what is on offer"
    AUTH = 0x30, "unknown serial, wrong token or disabled device: not told which"
    ISSUED = 0x31, "the serial has its certificate and the product allows no more"
    MAPPING = 0x32, "thing, policy or account of the serial is missing or taken"
    CHANNEL = 0x33, "a key made by the server must not leave over this listener and suite, or under this auth"
    QUOTA = 0x34, "a limit of the account is reached"
    MALFORMED = 0x40, "a frame over its cap, or one that does not parse"
    VERSION = 0x41, "version not spoken; detail = the highest that is"
    SUITE = 0x42, "suite not offered; detail = bit n set for each suite n offered"
    FLAG = 0x43, "reserved flag set; detail = the bits"
    MAX_FRAME = 0x44, "max_frame out of range; detail = the nearest bound"
    WANT = 0x45, "want is unknown or contradicts the product; detail = the bits"
    SEQUENCE = 0x46, "a frame out of order, or one that does not open"
    CSR_NEEDED = 0x47, "the product's devices make their own key: send a CSR"
    CSR_BAD = 0x48, "CSR refused; detail 1 not DER, 2 key, 3 signature, 4 subject, 5 attributes"
    CSR_UNWANTED = 0x49, "the product's keys are made by the server: send no CSR"


STATUS_CLASSES: Final[Mapping[int, str]] = {
    1: "come back after retry_s",
    2: "drop the partial bundle and start over after retry_s",
    3: "a person must act; come back after retry_s",
    4: "firmware or its configuration is wrong; come back after retry_s",
}

# BACKEND at the look-up goes out as BUSY: which serials need a database is nobody's business.
CLEAR_STATUSES: Final = frozenset(
    {
        Status.BUSY,
        Status.DRAINING,
        Status.AUTH,
        Status.MALFORMED,
        Status.VERSION,
        Status.SUITE,
        Status.FLAG,
        Status.MAX_FRAME,
    }
)

RETRY_S: Final[Mapping[Status, int]] = {
    **dict.fromkeys(Status, 3600),
    Status.BUSY: 5,
    Status.TURN: 60,
    Status.DRAINING: 5,
    Status.BACKEND: 30,
    Status.STALE: 1,
    Status.DEADLINE: 1,
    Status.AUTH: 60,
    Status.MAPPING: 300,
    Status.SEQUENCE: 1,
}
"""retry_s where nothing better is known (TURN always has an estimate)."""

HEADER_SIZE: Final = 3
OVERHEAD: Final[Mapping[Suite, int]] = {Suite.MAC: 16, Suite.NOISE: 17}
"""What a suite adds to a protected body."""
FIRST_OVERHEAD: Final[Mapping[Suite, int]] = {Suite.MAC: 16, Suite.NOISE: 17 + 32}
"""The same for the first protected frame of either end."""
NONCE_SIZE: Final = 16
DIGEST_SIZE: Final = 32
BUNDLE_ID_SIZE: Final = 16
TAG_SIZE: Final = 16
EPHEMERAL_SIZE: Final = 32

MIN_TOKEN: Final = 16
MAX_TOKEN: Final = 64
MAX_SERIAL: Final = 64
MAX_CSR: Final = 2048
MAX_BUNDLE: Final = 65535
TO_THE_END: Final = 65535
"""`limit` that asks for the rest of the bundle."""

DEFAULT_MAX_FRAME: Final = 512
MAX_MAX_FRAME: Final = 1400
MIN_MAX_FRAME: Final[Mapping[Suite, int]] = {Suite.MAC: 48, Suite.NOISE: 56}

BODY_SIZES: Final[Mapping[MessageType, tuple[int, int]]] = {
    # HELLO of version 1 ends at 90; a later one may be longer, and its nonce must still be read here.
    MessageType.HELLO: (27, 255),
    MessageType.CHALLENGE: (34, 34),
    MessageType.CLEAR_REFUSE: (24, 24),
    MessageType.PROOF: (5, 5 + DIGEST_SIZE + MAX_CSR),
    MessageType.FETCH: (4, 4),
    MessageType.ACK: (DIGEST_SIZE, DIGEST_SIZE),
    MessageType.WAIT: (2, 2),
    MessageType.REFUSE: (8, 8),
    MessageType.MANIFEST: (18, 18),
    MessageType.DATA: (3, MAX_MAX_FRAME - HEADER_SIZE - TAG_SIZE),
    MessageType.DONE: (6, 6),
}
"""Smallest and largest body, without what the suite adds."""

HELLO_NONCE_END: Final = len(MAGIC) + 1 + NONCE_SIZE
"""A HELLO of any version holds magic, version and nonce_c here: less cannot be answered."""

MAX_HELLOS: Final = 16
MAX_SKIPPED_BY_SERVER: Final = 256
MAX_SKIPPED_BY_DEVICE: Final = 65536

HANDSHAKE_DEADLINE_S: Final = 30
HELLO_DEADLINE_S: Final = 10
PROOF_DEADLINE_S: Final = 30
SESSION_DEADLINE_S: Final = 600
PROGRESS_DEADLINE_S: Final = 30
ANSWER_DEADLINE_S: Final = 15
MAX_TURN_S: Final = 300
MAX_CLEAR_RETRY_S: Final = 3600
MAX_TAGGED_RETRY_S: Final = 86400

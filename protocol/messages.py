"""The eleven messages: a frozen dataclass and a construct layout each. The only importer of construct.

    encode(message) -> body            LocalProtocolError if a field does not fit
    decode(type, body) -> message      RemoteProtocolError on anything off: cut, trailing bytes, flags
    type_of(message) -> MessageType

Layouts are closed with Terminated (construct drops trailing bytes silently); its containers stay in here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from typing import Final

from construct import (
    Bytes,
    Const,
    Construct,
    ConstructError,
    GreedyBytes,
    If,
    Int8ub,
    Int16ub,
    Int32ub,
    Struct,
    Terminated,
    this,
)

from protocol.constants import (
    BUNDLE_ID_SIZE,
    DIGEST_SIZE,
    HELLO_NONCE_END,
    MAGIC,
    MAX_CSR,
    MAX_SERIAL,
    NONCE_SIZE,
    VERSION,
    Kind,
    MessageType,
    ProofFlag,
    Status,
)
from protocol.errors import LocalProtocolError, RemoteProtocolError


@dataclass(frozen=True)
class Hello:
    """Opens a session. `max_frame` bounds whole frames from the server, `max_wait_s` the wait for a turn."""

    nonce_c: bytes
    suite: int
    max_frame: int
    max_wait_s: int
    serial: bytes
    flags: int = 0
    version: int = VERSION


@dataclass(frozen=True)
class Challenge:
    """The server's nonce, beside the device's own."""

    nonce_c: bytes
    nonce_s: bytes
    flags: int = 0


@dataclass(frozen=True)
class ClearRefuse:
    """A refusal that anybody could have sent."""

    nonce_c: bytes
    status: int
    stage: int
    retry_s: int
    detail: int = 0


@dataclass(frozen=True)
class Proof:
    """What the device wants: kinds (bits), at most `limit` bytes now; `have` and `csr` as the flags say."""

    flags: int
    want: int
    limit: int
    have: bytes | None = None
    csr: bytes | None = None

    @property
    def renew(self) -> bool:
        """Whether the device wants its ACTIVE certificate replaced."""
        return bool(self.flags & ProofFlag.RENEW)


@dataclass(frozen=True)
class Fetch:
    """Bytes of the bundle: `limit` of them from `offset`; after WAIT: the same question again."""

    offset: int
    limit: int


@dataclass(frozen=True)
class Ack:
    """SHA-256 of the certificate that the device read back."""

    digest: bytes


@dataclass(frozen=True)
class Wait:
    """Ask again in this many seconds (0: at once)."""

    turn_s: int


@dataclass(frozen=True)
class Refuse:
    """A refusal under the session's keys."""

    status: int
    stage: int
    retry_s: int
    detail: int = 0


@dataclass(frozen=True)
class Manifest:
    """Identity and size of the bundle."""

    bundle_id: bytes
    total: int


@dataclass(frozen=True)
class Data:
    """Bytes of the bundle."""

    offset: int
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class Done:
    """The certificate is ACTIVE. `time`: Unix, UTC; connect to AWS IoT after `connect_after_s`."""

    time: int
    connect_after_s: int


Message = Hello | Challenge | ClearRefuse | Proof | Fetch | Ack | Wait | Refuse | Manifest | Data | Done

_REFUSAL = ("status" / Int8ub, "stage" / Int8ub, "retry_s" / Int32ub, "detail" / Int16ub)
_LAYOUTS: Final[dict[MessageType, tuple[type[Message], Construct]]] = {
    MessageType.HELLO: (
        Hello,
        Struct(
            Const(MAGIC),
            "version" / Int8ub,
            "nonce_c" / Bytes(NONCE_SIZE),
            "suite" / Int8ub,
            "flags" / Int8ub,
            "max_frame" / Int16ub,
            "max_wait_s" / Int16ub,
            "serial" / GreedyBytes,
        ),
    ),
    MessageType.CHALLENGE: (
        Challenge,
        Struct("nonce_c" / Bytes(NONCE_SIZE), "nonce_s" / Bytes(NONCE_SIZE), "flags" / Int16ub, Terminated),
    ),
    MessageType.CLEAR_REFUSE: (ClearRefuse, Struct("nonce_c" / Bytes(NONCE_SIZE), *_REFUSAL, Terminated)),
    MessageType.PROOF: (
        Proof,
        Struct(
            "flags" / Int8ub,
            "want" / Int16ub,
            "limit" / Int16ub,
            "have" / If(this.flags & ProofFlag.HAVE, Bytes(DIGEST_SIZE)),
            "csr" / If(this.flags & ProofFlag.CSR, GreedyBytes),
            Terminated,
        ),
    ),
    MessageType.FETCH: (Fetch, Struct("offset" / Int16ub, "limit" / Int16ub, Terminated)),
    MessageType.ACK: (Ack, Struct("digest" / Bytes(DIGEST_SIZE), Terminated)),
    MessageType.WAIT: (Wait, Struct("turn_s" / Int16ub, Terminated)),
    MessageType.REFUSE: (Refuse, Struct(*_REFUSAL, Terminated)),
    MessageType.MANIFEST: (
        Manifest,
        Struct("bundle_id" / Bytes(BUNDLE_ID_SIZE), "total" / Int16ub, Terminated),
    ),
    MessageType.DATA: (Data, Struct("offset" / Int16ub, "data" / GreedyBytes)),
    MessageType.DONE: (Done, Struct("time" / Int32ub, "connect_after_s" / Int16ub, Terminated)),
}
_TYPES: Final = {cls: message_type for message_type, (cls, _) in _LAYOUTS.items()}

_SERIAL: Final = re.compile(rb"[A-Za-z0-9:_.-]{1,%d}" % MAX_SERIAL)
_PROOF_FLAGS: Final = sum(ProofFlag)
_OPTIONAL: Final = ProofFlag.HAVE | ProofFlag.CSR
_KINDS: Final = sum(1 << kind for kind in Kind)
_BOTH_KEYS: Final = 1 << Kind.KEY_SEC1_PKCS1 | 1 << Kind.KEY_PKCS8


def type_of(message: Message) -> MessageType:
    """The type byte under which this message travels."""
    return _TYPES[type(message)]


def encode(message: Message) -> bytes:
    """The body of this message. LocalProtocolError if a peer would refuse it as malformed."""
    message_type = type_of(message)
    try:
        _judge(message)
        body: bytes = _LAYOUTS[message_type][1].build(vars(message))
    except (ConstructError, RemoteProtocolError) as error:
        raise LocalProtocolError(f"this {type(message).__name__} cannot be sent: {error}") from error
    return body


def decode(message_type: MessageType, body: bytes) -> Message:
    """The message in this body; RemoteProtocolError with the status that answers a bad one."""
    if message_type is MessageType.HELLO:
        _judge_version(body)
    if message_type is MessageType.PROOF and body and (reserved := body[0] & ~_PROOF_FLAGS):
        raise RemoteProtocolError(Status.FLAG, f"PROOF has reserved flags 0x{reserved:02x}", reserved)
    cls, layout = _LAYOUTS[message_type]
    try:
        container = layout.parse(body)
    except ConstructError as error:
        raise RemoteProtocolError(Status.MALFORMED, f"the body of {message_type.name} does not parse") from error
    message = cls(**{each.name: container[each.name] for each in fields(cls)})
    _judge(message)
    return message


def _judge_version(body: bytes) -> None:
    if len(body) < HELLO_NONCE_END or not body.startswith(MAGIC):
        raise RemoteProtocolError(Status.MALFORMED, "HELLO has no magic or is cut before the end of its nonce")
    if (version := body[len(MAGIC)]) != VERSION:
        raise RemoteProtocolError(Status.VERSION, f"version {version} is not spoken here", VERSION)


def _judge(message: Message) -> None:
    """What no layout can say. Suite, flags and max_frame of HELLO are the session's to judge."""
    match message:
        case Hello(serial=serial) if not _SERIAL.fullmatch(serial):
            raise RemoteProtocolError(Status.MALFORMED, f"a serial is 1 to {MAX_SERIAL} of A-Z a-z 0-9 : _ . -")
        case Challenge(flags=flags) if flags:
            raise RemoteProtocolError(Status.FLAG, f"CHALLENGE has reserved flags 0x{flags:04x}", flags)
        case Proof(flags=flags, have=have, csr=csr) if _optional(have, csr) != flags & _OPTIONAL:
            raise RemoteProtocolError(Status.MALFORMED, "flags, have and csr of PROOF contradict each other")
        case Proof(csr=csr) if csr is not None and not 1 <= len(csr) <= MAX_CSR:
            raise RemoteProtocolError(Status.MALFORMED, f"a CSR is 1 to {MAX_CSR} bytes")
        case Proof(want=want):
            _judge_want(want)
        case Data(data=data) if not data:
            raise RemoteProtocolError(Status.MALFORMED, "DATA carries no bytes")
        case _:
            pass


def _optional(have: bytes | None, csr: bytes | None) -> int:
    return (ProofFlag.HAVE if have is not None else 0) | (ProofFlag.CSR if csr is not None else 0)


def _judge_want(want: int) -> None:
    wrong = want & ~_KINDS
    if want & _BOTH_KEYS == _BOTH_KEYS:
        wrong |= _BOTH_KEYS
    if not want & 1 << Kind.CERTIFICATE:
        wrong |= 1 << Kind.CERTIFICATE
    if wrong:
        raise RemoteProtocolError(Status.WANT, f"want 0x{want:04x} is unknown, contradictory or lacks bit 1", wrong)

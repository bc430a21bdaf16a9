"""What the sessions tell their shells. Each server event names the call that answers it."""

from __future__ import annotations

from dataclasses import dataclass, field

from protocol.constants import Stage, Status
from protocol.errors import RemoteProtocolError
from protocol.messages import Hello, Proof


@dataclass(frozen=True, slots=True)
class HelloReceived:
    """A sound HELLO. Call `challenge`, or `send_clear_refuse` (BUSY, DRAINING)."""

    hello: Hello


@dataclass(frozen=True, slots=True)
class ProofPending:
    """PROOF has come. Look `session.serial` up, then call `authenticate`, or `send_clear_refuse` (BUSY)."""


@dataclass(frozen=True, slots=True)
class ProofRejected:
    """Wrong proof, or no such device. Call `send_auth_refusal` at the fixed delay after ProofPending."""


@dataclass(frozen=True, slots=True)
class ProofReceived:
    """The device is who it says. Call `send_manifest`, `send_wait`, `send_done` or `send_refuse`."""

    proof: Proof


@dataclass(frozen=True, slots=True)
class RequestRepeated:
    """FETCH after WAIT: answer as PROOF is answered."""

    limit: int


@dataclass(frozen=True, slots=True)
class AckReceived:
    """The device has stored this certificate. Call `send_done`, `send_wait` or `send_refuse`."""

    digest: bytes


@dataclass(frozen=True, slots=True)
class Restarted:
    """A new HELLO on this connection: forget the old session and what is under way for it."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The device broke the protocol and was refused with `status` (None: in silence). Answer nothing."""

    status: Status | None
    stage: Stage
    reason: str


ServerEvent = (
    HelloReceived | ProofPending | ProofRejected | ProofReceived | RequestRepeated | AckReceived | Restarted | Ended
)


@dataclass(frozen=True, slots=True)
class Challenged:
    """The server has answered HELLO. Call `proof`."""


@dataclass(frozen=True, slots=True)
class WaitReceived:
    """Not yet: after `turn_s` call `fetch(0, limit)`, or `ack` again where ACK was sent."""

    turn_s: int


@dataclass(frozen=True, slots=True)
class ManifestReceived:
    """Identity and size of the bundle; DataReceived follows for the limit asked."""

    bundle_id: bytes
    total: int


@dataclass(frozen=True, slots=True)
class DataReceived:
    """Bytes of the bundle, in order and without a gap. When all are stored: read back, verify, `ack`."""

    offset: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class DoneReceived:
    """The certificate is ACTIVE. `time`: Unix, UTC; connect to AWS IoT after `connect_after_s`."""

    time: int
    connect_after_s: int


@dataclass(frozen=True, slots=True)
class RefuseReceived:
    """Refused; `retry_s` is clamped already. `tagged` False: anybody could have sent it, so erase nothing."""

    status: int
    stage: int
    retry_s: int
    detail: int
    tagged: bool


@dataclass(frozen=True, slots=True)
class ProtocolFailed:
    """The server, or somebody on the way, broke the protocol. Drop the connection, keep the flash."""

    error: RemoteProtocolError


ClientEvent = (
    Challenged | WaitReceived | ManifestReceived | DataReceived | DoneReceived | RefuseReceived | ProtocolFailed
)

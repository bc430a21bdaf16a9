"""The making of a certificate, decided: which step an issuance needs next, and what a device is to be told.

Pure: rows and times in, decisions out. worker.py carries the steps out, vending.py the answers; both record what
they did by compare-and-set and ask again, so the live path and recovery are the same loop (docs/issuance.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from cvmd.errors import IssuerFault, Kind
from cvmd.model import (
    US,
    Certificate,
    CertificateStatus,
    Fault,
    Issuance,
    Line,
    Product,
    State,
    View,
)
from protocol.constants import Kind as ObjectKind

MAX_UNKNOWN_ATTEMPTS = 5
BACKOFF_S = (0, 5, 30, 300, 0)
"""Seconds before the next attempt, by how many have ended unknown: nobody knows what they left at AWS. After the last
there is none."""
REPLACE_AFTER_S = (0, 3_600, 86_400)
"""How old an issuance must be before another key of the device replaces it, by how many came to nothing.

A device that lost its key once is helped at once. A fleet that makes a key at each boot, whatever its size, comes
down to a Create a day each and leaves the account's quota to the others; and no device is shut out for good.
"""


class Step(Enum):
    """What a worker does next with an issuance."""

    OPEN_ATTEMPT = auto()
    CLOSE_ATTEMPT = auto()
    """A former holder's lease is over: its attempt's outcome is unknown and is recorded so."""
    CREATE = auto()
    TAKE = auto()
    ATTACH = auto()
    ACTIVATE = auto()
    EXHAUSTED = auto()
    EXPIRE = auto()
    """Nobody acknowledged the offer in time."""
    REST = auto()
    """Nothing for a worker: it waits for the device, or is at its end."""


WITHOUT_CALLS = frozenset({Step.CLOSE_ATTEMPT, Step.EXHAUSTED})
"""What asks nothing of AWS can be no breaker's trial: as one it would hold the others up, and tell nothing."""


def next_step(issuance: Issuance, *, held: bool) -> Step:
    """The one step that this row needs; `held`: the caller's claim is on it."""
    match issuance.state:
        case State.QUEUED:
            return Step.OPEN_ATTEMPT
        case State.INTENT if held:
            return Step.CREATE
        case State.INTENT if issuance.attempt_open:
            return Step.CLOSE_ATTEMPT
        case State.INTENT if issuance.unknown_attempts >= MAX_UNKNOWN_ATTEMPTS:
            return Step.EXHAUSTED
        case State.INTENT:
            return Step.OPEN_ATTEMPT
        case State.CREATED:
            return Step.ATTACH if held else Step.TAKE
        case State.OFFERED:  # due when its expiry is past, and no earlier
            return Step.EXPIRE
        case State.ACKED:
            return Step.ACTIVATE if held else Step.TAKE
        case _:
            return Step.REST


def backoff_s(unknown_attempts: int) -> int:
    """How long to wait after the n-th attempt whose outcome is unknown (n from 1)."""
    return BACKOFF_S[min(unknown_attempts, len(BACKOFF_S)) - 1]


_FATAL = {
    IssuerFault.REJECTED: Fault.CSR_REFUSED,
    IssuerFault.THING_MISSING: Fault.THING_MISSING,
    IssuerFault.KEY_MISMATCH: Fault.KEY_MISMATCH,
}


def fault_of(fault: IssuerFault, state: State) -> Fault | None:
    """The fault of this one issuance that an AWS error amounts to; None: the row stays where it is, and waits."""
    if state is not State.INTENT and fault is IssuerFault.REJECTED:
        return Fault.REFUSED
    return _FATAL.get(fault)


@dataclass(frozen=True, slots=True)
class Request:
    """An authenticated PROOF, as far as issuance is concerned."""

    want: int
    have: bytes | None
    renew: bool
    csr_der: bytes | None
    public_key_id: bytes | None
    """Of the checked CSR."""


@dataclass(frozen=True, slots=True)
class Queue:
    """INSERT an issuance of this generation, closing `replaces` in the same transaction."""

    generation: int
    replaces: int | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """The issuance goes on without the device; ask again when its row has moved."""

    issuance: Issuance


@dataclass(frozen=True, slots=True)
class Offer:
    """Hand the bundle over."""

    issuance: Issuance


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """The digest is the offered certificate's: it is the ACK."""

    issuance: Issuance


@dataclass(frozen=True, slots=True)
class Done:
    """The certificate that the device holds is ACTIVE."""

    certificate_id: bytes


@dataclass(frozen=True, slots=True)
class Refuse:
    """No, and why."""

    kind: Kind
    detail: int | None = None


Decision = Queue | Wait | Offer | Acknowledge | Done | Refuse

_FAILED = {
    Fault.CSR_REFUSED: Kind.CSR_REFUSED,
    Fault.CSR_UNSEALED: Kind.INTERNAL,
    Fault.THING_MISSING: Kind.THING_MISSING,
    Fault.THING_OCCUPIED: Kind.THING_OCCUPIED,
    Fault.ATTEMPTS_EXHAUSTED: Kind.ATTEMPTS,
    Fault.KEY_MISMATCH: Kind.ATTEMPTS,
    Fault.REFUSED: Kind.REFUSED,
}


def check_request(product: Product, request: Request) -> Refuse | None:
    """Whether what the device asks for fits its product's key source (SPEC.md, PROOF)."""
    keys = request.want & (1 << ObjectKind.KEY_SEC1_PKCS1 | 1 << ObjectKind.KEY_PKCS8)
    if product.key_source.makes_key:
        if request.csr_der is not None:
            return Refuse(Kind.CSR_UNWANTED)
        return None if keys else Refuse(Kind.WANT, 1 << ObjectKind.KEY_SEC1_PKCS1)
    return Refuse(Kind.WANT, keys) if keys else None


def answer(view: View, request: Request, held: Certificate | None) -> Decision:
    """What this device is to be told now. `held` is this device's certificate of the digest HAVE, if there is one."""
    if request.have is not None:
        decision = _by_digest(view, request.have, held)
        if not isinstance(decision, Done) or not _asks_for_successor(view, request):
            return decision
    issuance = view.issuance
    if issuance is None or issuance.state is State.CLOSED:
        return _queue(view, request)
    if _expired(issuance, view.now_us):
        return Wait(issuance)  # for the worker that ends it, once AWS has said that it is not ACTIVE
    if _for_another_key(issuance, request) and _replaceable(issuance):
        return _replace(view, issuance, request)
    match issuance.state:
        case State.QUEUED | State.INTENT | State.CREATED | State.ACKED:
            return Wait(issuance)
        case State.OFFERED:
            return Offer(issuance)
        case State.FAILED if issuance.fault is Fault.CSR_UNSEALED:
            return _queue(view, request, replaces=issuance.id)
        case State.FAILED:
            return _refuse_failed(issuance)
        case _:
            return _queue(view, request)


def answer_ack(view: View, certificate_id: bytes, held: Certificate | None) -> Decision:
    """What an ACK of this digest is to be told: a digest that was never offered is a broken copy."""
    decision = _by_digest(view, certificate_id, held)
    return Refuse(Kind.STALE) if decision == Refuse(Kind.UNKNOWN_CERTIFICATE) else decision


def _by_digest(view: View, digest: bytes, held: Certificate | None) -> Decision:
    """What the digest alone is answered, be it in HAVE or in ACK (SPEC.md, Read back and ACK)."""
    if held is None:
        # For a person to see; and who has opened the window for this device has seen that it needs another one.
        let_go = view.active is None and _window_open(view)
        return Refuse(Kind.STALE if let_go else Kind.UNKNOWN_CERTIFICATE)
    issuance = view.issuance
    if issuance is not None and issuance.certificate_id == digest:
        if _expired(issuance, view.now_us):
            return Wait(issuance)  # STALE once it is ended; it is not where AWS has it ACTIVE
        if issuance.state is State.OFFERED:
            return Acknowledge(issuance)
        # Created, and known to the device: the database was restored. Once it is offered, this is its ACK.
        if issuance.state in {State.CREATED, State.ACKED}:
            return Wait(issuance)
        if issuance.state is State.FAILED:  # after the ACK: the device has the only copy of its key, and keeps it
            return _refuse_failed(issuance)
    return Done(held.certificate_id) if held.status is CertificateStatus.ACTIVE else Refuse(Kind.STALE)


def _asks_for_successor(view: View, request: Request) -> bool:
    """Whether a device whose certificate is ACTIVE is to get the next one: by RENEW, or because it was begun."""
    if request.renew and _may_reissue(view):
        return True
    issuance = view.issuance
    if issuance is None or issuance.state not in {State.QUEUED, State.INTENT, State.CREATED, State.OFFERED}:
        return False
    return not _expired(issuance, view.now_us) and not _for_another_key(issuance, request)


def _for_another_key(issuance: Issuance, request: Request) -> bool:
    """Whether the device could not use this issuance: the key is to be another, or to be made at the other end."""
    if issuance.key_source.makes_key or issuance.product.key_source.makes_key:
        return issuance.key_source.makes_key is not issuance.product.key_source.makes_key
    return request.public_key_id not in (None, issuance.public_key_id)


def _replaceable(issuance: Issuance) -> bool:
    """Whether nobody works on it, and nobody has acknowledged it."""
    if issuance.state is State.FAILED:
        return issuance.resume_state is not State.ACKED
    return issuance.state in {State.QUEUED, State.OFFERED}


def _replace(view: View, issuance: Issuance, request: Request) -> Decision:
    """Another key in place of this issuance: under the rules of a new one, and the later the more came to nothing."""
    # This one included; an adopted certificate was made active, and has no generation.
    in_vain = max(1, view.device.generation - view.device.activations)
    wait_us = REPLACE_AFTER_S[min(in_vain, len(REPLACE_AFTER_S)) - 1] * US
    nothing_made = issuance.state is State.QUEUED
    if nothing_made or _window_open(view) or issuance.updated_us + wait_us <= view.now_us:
        return _queue(view, request, replaces=issuance.id)
    return Refuse(Kind.KEY_AGAIN)


def _queue(view: View, request: Request, replaces: int | None = None) -> Decision:
    if not _may_reissue(view):
        return Refuse(Kind.ISSUED)
    if not view.product.key_source.makes_key and request.csr_der is None:
        return Refuse(Kind.CSR_NEEDED)
    # Judged when it came in, and the key source may have changed while it waited.
    return check_request(view.product, request) or Queue(view.device.generation + 1, replaces)


def _may_reissue(view: View) -> bool:
    """The limit counts certificates after the first ACTIVE one; the operator's window lifts it."""
    limit = view.product.reissue_limit
    return limit is None or view.device.activations <= limit or _window_open(view)


def _window_open(view: View) -> bool:
    until_us = view.device.reissue_until_us
    return until_us is not None and view.now_us < until_us


def _refuse_failed(issuance: Issuance) -> Refuse:
    match issuance.fault:
        case None:
            return Refuse(Kind.INTERNAL)
        case Fault.REFUSED if issuance.resume_state is not State.ACKED:
            return Refuse(Kind.ATTACH_REFUSED)
        case Fault.CSR_REFUSED if issuance.key_source.makes_key:  # our CSR, so no fault of the device
            return Refuse(Kind.ATTEMPTS)
        case fault:
            return Refuse(_FAILED[fault])


def _expired(issuance: Issuance, now_us: int) -> bool:
    return issuance.state is State.OFFERED and issuance.expires_us is not None and issuance.expires_us <= now_us


_OPEN_BREAKER = {
    IssuerFault.THROTTLED: Kind.TURN,
    IssuerFault.QUOTA: Kind.QUOTA,
    IssuerFault.POLICY_MISSING: Kind.POLICY_MISSING,
}


def behind(line: Line, issuance: Issuance) -> tuple[Kind, int]:
    """Why this issuance cannot go on now, and for how many whole seconds at least.

    TURN: nothing is wrong, it waits for others, up to its Create, or for AWS's quota.
    """
    queued = issuance.state is State.QUEUED
    turn_s = max(line.length - 1, 0) // max(issuance.account.creates_per_s, 1) if queued else 0
    for breaker in line.breakers:
        if breaker.policy and (breaker.policy != issuance.policy or issuance.state is State.ACKED):
            continue
        rest_s = -(-(breaker.until_us - line.now_us) // US)
        kind = _OPEN_BREAKER.get(IssuerFault(breaker.fault), Kind.AWS_DOWN)
        if kind is not Kind.TURN:
            return kind, rest_s
        turn_s = max(turn_s, rest_s)
    return Kind.TURN, turn_s


def not_before_us(now_us: int, wait_s: float) -> int:
    """The time in µs that lies wait_s after now."""
    return now_us + round(wait_s * US)

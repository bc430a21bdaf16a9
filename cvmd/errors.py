"""Kind → what the device is told, and how loud the log is. One table, and the exceptions that carry a kind.

A refusal never carries text to the device: status, stage, seconds to wait, detail (SPEC.md, Refusals;
invariant 9).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from enum import Enum, StrEnum, auto

from protocol.constants import Stage, Status


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a REFUSE frame says, in clear or tagged, and what the log says beside it."""

    status: Status
    stage: Stage
    retry_s: int
    detail: int = 0
    level: int = logging.INFO
    reason: str = ""


class Kind(Enum):
    """Every reason for which a vend ends without a certificate, before or after PROOF."""

    BUSY = auto()
    TURN = auto()
    KEY_AGAIN = auto()
    DRAINING = auto()
    BACKEND = auto()
    AWS_DOWN = auto()
    QUOTA = auto()
    STALE = auto()
    AUTH = auto()
    ISSUED = auto()
    UNKNOWN_CERTIFICATE = auto()
    THING_MISSING = auto()
    POLICY_MISSING = auto()
    THING_OCCUPIED = auto()
    CHANNEL = auto()
    UNPROVEN = auto()
    REFUSED = auto()
    ATTACH_REFUSED = auto()
    ATTEMPTS = auto()
    WANT = auto()
    CSR_NEEDED = auto()
    CSR_BAD = auto()
    CSR_REFUSED = auto()
    CSR_UNWANTED = auto()
    INTERNAL = auto()


_I, _W, _E = logging.INFO, logging.WARNING, logging.ERROR
_S, _G = Status, Stage

_TABLE: dict[Kind, Refusal] = {
    kind: Refusal(status, stage, retry_s, detail, level, reason)
    for kind, status, stage, retry_s, detail, level, reason in (
        (Kind.BUSY, _S.BUSY, _G.HELLO, 5, 0, _W, "this node is busy, or its database does not answer"),
        (Kind.TURN, _S.TURN, _G.QUEUE, 5, 0, _I, "the queue is longer than the device said it would wait"),
        (
            Kind.KEY_AGAIN, _S.TURN, _G.QUEUE, 3600, 0, _W,
            "the device has changed its key again: it waits, unless `cvmd devices reissue SERIAL` opens a window",
        ),
        (Kind.DRAINING, _S.DRAINING, _G.QUEUE, 5, 0, _I, "this node is stopping"),
        (Kind.BACKEND, _S.BACKEND, _G.QUEUE, 30, 0, _E, "the database does not answer"),
        (
            Kind.AWS_DOWN, _S.BACKEND, _G.CREATE, 30, 0, _E,
            "AWS IoT does not answer, or refuses the account: see `cvmd status`",
        ),
        (Kind.QUOTA, _S.QUOTA, _G.CREATE, 3600, 0, _E, "a limit of the AWS account is reached: see `cvmd status`"),
        (Kind.STALE, _S.STALE, _G.DELIVER, 1, 0, _I, "the device holds another certificate: it starts over"),
        (Kind.AUTH, _S.AUTH, _G.PROOF, 60, 0, _W, "unknown serial, wrong token or disabled device"),
        (Kind.ISSUED, _S.ISSUED, _G.PROOF, 3600, 0, _W, "re-issue limit: see `cvmd products set --help`"),
        (
            Kind.UNKNOWN_CERTIFICATE, _S.ISSUED, _G.PROOF, 3600, 1, _W,
            "the device holds a certificate that the database does not know: was a backup restored?",
        ),
        (
            Kind.THING_MISSING, _S.MAPPING, _G.ATTACH, 300, 1, _E,
            "AWS IoT has no such thing: create it there, then `cvmd devices retry SERIAL`",
        ),
        (
            Kind.POLICY_MISSING, _S.MAPPING, _G.ATTACH, 300, 2, _E,
            "AWS IoT has no such policy: create it there, and its devices go on by themselves",
        ),
        (
            Kind.THING_OCCUPIED, _S.MAPPING, _G.ATTACH, 300, 3, _E,
            "the thing has an ACTIVE certificate that is not this device's: if another device uses it, `cvmd devices "
            "set SERIAL --thing`, else detach it and `cvmd devices retry SERIAL`",
        ),
        (
            Kind.CHANNEL, _S.CHANNEL, _G.PROOF, 3600, 0, _E,
            "a server-made key may not leave in suite mac: use noise or TLS, or set listen.trusted_network = true",
        ),
        (
            Kind.UNPROVEN, _S.CHANNEL, _G.PROOF, 3600, 0, _E,
            "a server-made key may not go to who proves nothing: see `cvmd products set --allow-server-keys`",
        ),
        (Kind.REFUSED, _S.BACKEND, _G.ACTIVATE, 3600, 0, _E, "AWS IoT refuses a call: see `cvmd devices show`"),
        (Kind.ATTACH_REFUSED, _S.BACKEND, _G.ATTACH, 3600, 0, _E, "AWS IoT refuses a call: see `cvmd devices show`"),
        (
            Kind.ATTEMPTS, _S.BACKEND, _G.CREATE, 3600, 0, _E,
            "the Create calls ended without a usable outcome: `cvmd devices show`, then `retry`",
        ),
        (Kind.WANT, _S.WANT, _G.PROOF, 3600, 0, _W, "want does not fit the product's key source"),
        (Kind.CSR_NEEDED, _S.CSR_NEEDED, _G.PROOF, 3600, 0, _W, "key source device-csr: PROOF needs a CSR"),
        (Kind.CSR_BAD, _S.CSR_BAD, _G.PROOF, 3600, 0, _W, "the CSR is not acceptable"),
        (Kind.CSR_REFUSED, _S.CSR_BAD, _G.CREATE, 3600, 0, _E, "AWS IoT refused the CSR"),
        (Kind.CSR_UNWANTED, _S.CSR_UNWANTED, _G.PROOF, 3600, 0, _W, "the keys are made here: no CSR"),
        (Kind.INTERNAL, _S.BACKEND, _G.QUEUE, 30, 0, _E, "internal error: the log has the traceback"),
    )
}  # fmt: skip


def refusal(
    kind: Kind, *, stage: Stage | None = None, retry_s: int | None = None, detail: int | None = None
) -> Refusal:
    """The table's row for `kind`, with what this case knows better."""
    row = _TABLE[kind]
    return Refusal(
        row.status,
        row.stage if stage is None else stage,
        row.retry_s if retry_s is None else retry_s,
        row.detail if detail is None else detail,
        row.level,
        row.reason,
    )


class CsrError(Exception):
    """A device's CSR that is not acceptable; `detail` is SPEC.md's number for why."""

    def __init__(self, detail: int, message: str) -> None:
        super().__init__(message)
        self.detail = detail


class SealError(Exception):
    """What was to be unsealed was sealed for another place, or under another master key."""


class ConfigError(Exception):
    """A configuration, argument or file that cannot be used; the message says what to do."""


class NothingToDo(ConfigError):  # noqa: N818  # no error where many were asked for
    """The device is not as the verb wants it: there is nothing of it to retry, or to revoke."""


class IssuerFault(StrEnum):
    """What an AWS call can end in, other than well. Decided by error code, never by HTTP status."""

    THROTTLED = "throttled"
    """Had no effect; again after backing off."""
    UNKNOWN = "unknown"
    """No answer, or one that cannot be believed: it may have had its effect."""
    ACCOUNT = "account"
    """Credentials, permissions, clock: every call of this account will fail until a person acts."""
    QUOTA = "quota"
    """LimitExceeded: permanent until a person acts."""
    THING_MISSING = "thing-missing"
    POLICY_MISSING = "policy-missing"
    CERTIFICATE_MISSING = "certificate-missing"
    REJECTED = "rejected"
    """InvalidRequest: this very input is refused for ever."""
    CONFLICT = "conflict"
    """A state that passes (CertificateState, DeleteConflict)."""
    UNREACHABLE = "unreachable"
    """The connection was not made, so the call was not sent: no effect."""
    KEY_MISMATCH = "key-mismatch"
    """The certificate is not for the key in the CSR, or its id is not its SHA-256: never to be offered."""


class IssuerError(Exception):
    """An AWS call failed. `code` is AWS's error code or the exception's name: clean, short, without
    secrets."""

    def __init__(self, fault: IssuerFault, operation: str, code: str, message: str = "") -> None:
        super().__init__(f"{operation}: {code}{': ' + message if message else ''}")
        self.fault = fault
        self.operation = operation
        self.code = code

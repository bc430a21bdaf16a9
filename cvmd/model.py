"""The words of the daemon as types: what a row holds, what a device asks, what AWS gave.

Frozen records without behaviour. Times are microseconds UTC of the database's clock (`*_us`), lifetimes are
whole seconds (`*_s`), digests are the 32 raw bytes of a SHA-256.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum

from cvmd.secret import Secret as Secret

US = 1_000_000
"""Microseconds a second: rows count in the former, configuration in the latter."""


class Auth(StrEnum):
    """How a product's devices prove who they are."""

    TOKEN = "token"
    DERIVED = "derived"
    SERIAL = "serial"


class KeySource(StrEnum):
    """Where the private key of a product's certificates is made."""

    EC_P256 = "ec-p256"
    RSA2048 = "rsa2048"
    DEVICE_CSR = "device-csr"
    AWS_RSA2048 = "aws-rsa2048"

    @property
    def makes_key(self) -> bool:
        """Whether the key leaves by the wire, so that `want` must name its encoding."""
        return self is not KeySource.DEVICE_CSR


class State(StrEnum):
    """The state of an issuance (docs/issuance.md)."""

    QUEUED = "queued"
    INTENT = "intent"
    CREATED = "created"
    OFFERED = "offered"
    ACKED = "acked"
    ACTIVE = "active"
    CLOSED = "closed"
    FAILED = "failed"


class Outcome(StrEnum):
    """How an attempt, one Create call, ended. OPEN: nobody knows yet."""

    OPEN = "open"
    DONE = "done"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class CertificateStatus(StrEnum):
    """The status of a row of `certificates`: what AWS has, or is being brought to have."""

    INACTIVE = "inactive"
    ACTIVE = "active"
    RETIRING = "retiring"
    DELETED = "deleted"


class Reason(StrEnum):
    """Why an issuance was closed, or a certificate is being retired."""

    SUPERSEDED = "superseded"
    REVOKED = "revoked"
    EXPIRED = "expired"
    REPLACED = "replaced"
    CANCELLED = "cancelled"
    LOSER = "loser"
    ORPHAN = "orphan"


class AuditEvent(StrEnum):
    """A decision on a credential, as the audit trail has it."""

    ADDED = "added"
    DISABLED = "disabled"
    ENABLED = "enabled"
    WINDOW = "window"
    """The operator opened, or closed, the window in which the re-issue limit does not bind."""
    REMAPPED = "remapped"
    """Thing or policy is another one; the detail has both."""
    RETRIED = "retried"
    QUEUED = "queued"
    CREATED = "created"
    ACKED = "acked"
    ACTIVATED = "activated"
    FAILED = "failed"
    RETIRED = "retired"
    """From now on on its way out; the detail has the reason."""
    DELETED = "deleted"
    ADOPTED = "adopted"


class Fault(StrEnum):
    """Why an issuance is `failed`: a fault of this one issuance, which a person or another CSR mends."""

    CSR_REFUSED = "csr-refused"
    CSR_UNSEALED = "csr-unsealed"
    """What lies in the row is not what cvmd has put there."""
    THING_MISSING = "thing-missing"
    THING_OCCUPIED = "thing-occupied"
    ATTEMPTS_EXHAUSTED = "attempts-exhausted"
    KEY_MISMATCH = "key-mismatch"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Account:
    """An AWS account, region and partition. None: the configuration's `[aws]` says it."""

    id: int
    name: str
    region: str | None
    endpoint_url: str | None
    data_endpoint: str | None
    root_ca: str | None
    creates_per_s: int
    profile: str | None = None
    role_arn: str | None = None
    """Assumed by the credentials of the profile; None: they are the account's own."""
    external_id: str | None = None
    sts_endpoint_url: str | None = None


@dataclass(frozen=True, slots=True)
class Product:
    """The rules that a group of devices shares."""

    id: int
    name: str
    account: Account
    auth: Auth
    key_source: KeySource
    reissue_limit: int | None
    """New certificates after the first ACTIVE one; None is "unlimited"."""
    offer_lifetime_s: int
    grace_s: int
    connect_after_s: int
    share_things: bool


@dataclass(frozen=True, slots=True)
class Access:
    """What else a product says of who may call. All but `sealed_auth` binds under auth `serial` alone."""

    sealed_auth: bytes | None = field(repr=False, default=None)
    """The product key of auth `derived`; of `serial` the seal of all that follows: see cvmd.authentication."""
    allow_server_keys: bool = False
    """Keys made here may go to devices that prove nothing."""
    source_networks: str | None = None
    """CIDR networks, separated by commas, from which devices may call."""
    window_until_us: int | None = None
    """Until then devices may call from anywhere."""


@dataclass(frozen=True, slots=True)
class Device:
    """A row of `devices`; `token` is unsealed by whoever authenticates, never here."""

    id: int
    serial: bytes
    thing: str
    policy: str
    disabled: bool
    generation: int
    """Of the newest issuance; 0: none yet."""
    activations: int
    """How many certificates of this device became ACTIVE."""
    reissue_until_us: int | None
    """The operator's window: until then the re-issue limit does not bind."""
    sealed_token: bytes = field(repr=False)
    """Empty where the product's auth needs no token of its own."""


@dataclass(frozen=True, slots=True)
class Issuance:
    """A row of `issuances` with what its worker needs of the device and the product."""

    id: int
    uid: bytes
    """16 random bytes, drawn before the INSERT: the identity in CSR subjects and in sealing."""
    device_id: int
    serial: bytes
    generation: int
    state: State
    claim: bytes | None
    lease_until_us: int | None
    not_before_us: int
    attempts: int
    """Rows of `attempts`, of any outcome."""
    unknown_attempts: int
    attempt_open: bool
    resume_state: State | None
    fault: Fault | None
    key_source: KeySource
    public_key_id: bytes | None
    """SHA-256 of the SubjectPublicKeyInfo; of a device-csr from the start, of a key made here from the intent on. None
    of a key that AWS made."""
    certificate_id: bytes | None
    thing: str
    policy: str
    expires_us: int | None
    updated_us: int
    account: Account
    product: Product
    sealed_csr: bytes | None = field(repr=False)
    sealed_escrow: bytes | None = field(repr=False)
    trial: bool = False
    """Let through a breaker after its rest: how its AWS calls end closes the breaker or opens it again."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A row of `certificates`, the association table: one certificate, its thing, its policy."""

    certificate_id: bytes
    issuance_id: int
    device_id: int
    arn: str
    cert_der: bytes
    thing: str
    policy: str
    status: CertificateStatus
    reason: Reason | None


@dataclass(frozen=True, slots=True)
class ListedCertificate:
    """A certificate as ListCertificates names it; `status` is AWS's word (ACTIVE, INACTIVE, REVOKED, ...)."""

    certificate_id: bytes
    arn: str
    status: str
    created_s: float
    """AWS's creation date, seconds of the epoch."""


@dataclass(frozen=True, slots=True)
class DescribedCertificate:
    """A certificate as DescribeCertificate gives it."""

    certificate_id: bytes
    arn: str
    status: str
    created_s: float
    cert_der: bytes
    subject_cn: str | None
    public_key_id: bytes


@dataclass(frozen=True, slots=True)
class KnownCertificate:
    """A row of `certificates` with what reconcile compares of it with AWS's."""

    certificate_id: bytes
    status: CertificateStatus
    issuance_id: int | None
    device_id: int | None
    serial: bytes | None
    issuance_state: State | None
    """Of the issuance that it was made for; None: it has none, or another one by now."""
    settled: bool
    """Nothing about it has changed for some minutes."""
    overdue: bool
    """INACTIVE for good: its issuance is over, and it is on no way out."""
    at_rest: bool
    """Retiring, inert at AWS, and kept there for its grace."""


@dataclass(frozen=True, slots=True)
class Attribution:
    """Whose a certificate is that is in no row of `certificates`, and how that is known."""

    issuance_id: int | None
    device_id: int | None
    serial: bytes | None
    proof: str
    """attempt: its key, and the time of an attempt, or that the answer to one named it; subject: the name in it, which
    only our master key gives; row: it has one; account: nothing is attached to it, it was made about the time of an
    attempt whose key AWS was to make, and nobody else makes any in this account. No proof, since it may yet be
    anybody's, is thing: it is attached to the thing of a device; or time: as account, but others may make some too."""
    in_flight: bool
    """An attempt that may have made it is still open: its worker will record it."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """Why an account's calls rest, or those that need one policy of it, and until when."""

    account_id: int
    policy: str
    """Empty: the whole account."""
    failures: int
    until_us: int
    fault: str
    """cvmd.errors.IssuerFault."""
    detail: str


@dataclass(frozen=True, slots=True)
class Line:
    """What the devices of an account wait behind."""

    length: int
    """Issuances that wait to be created."""
    breakers: tuple[Breaker, ...]
    """Those that rest now."""
    now_us: int


@dataclass(frozen=True, slots=True)
class Retiring:
    """A certificate on its way out, with what its disposal needs."""

    id: int
    certificate_id: bytes
    arn: str
    reason: Reason
    in_grace: bool
    """Superseded a short while ago: inert, but not to be deleted yet."""
    attempts: int
    """Passes that failed."""
    account: Account


@dataclass(frozen=True, slots=True)
class Offer:
    """All that a bundle is made of, as the committed rows have it (invariant 4)."""

    issuance: Issuance
    cert_der: bytes
    endpoint: str
    root_ca_der: bytes
    thing: str
    """As attached: the certificates row's, not what the device is mapped to by now."""


@dataclass(frozen=True, slots=True)
class View:
    """What the database knows of a device at one moment, by one query."""

    device: Device
    product: Product
    issuance: Issuance | None
    """The one of the highest generation."""
    active: bytes | None
    """certificate_id of the ACTIVE certificate."""
    now_us: int
    access: Access = Access()


@dataclass(frozen=True, slots=True)
class Created:
    """The checked answer of a Create call."""

    certificate_id: bytes
    arn: str
    cert_der: bytes
    key_der: Secret | None = None
    """PKCS#1, where AWS made the key: it is given this once."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A key made here and the CSR that names its issuance. `key_der` is SEC1 or PKCS#1."""

    key_der: Secret
    csr_der: bytes
    public_key_id: bytes


@dataclass(frozen=True, slots=True)
class EscrowedKey:
    """A key made here as its row has it (cvmd.seals)."""

    sealed_csr: bytes = field(repr=False)
    sealed_escrow: bytes = field(repr=False)
    public_key_id: bytes


def certificate_id_of(arn: str) -> bytes | None:
    """The certificate id that an AWS IoT certificate ARN ends in; None for other principals (Cognito)."""
    found = re.fullmatch(r"arn:.*:cert/([0-9a-f]{64})", arn)
    return None if found is None else bytes.fromhex(found[1])

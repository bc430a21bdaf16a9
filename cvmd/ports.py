"""What the daemon asks of the database and of AWS; `store` and `issuer` implement it, tests wrap it.

All methods block and are called in the bounded thread pool of their backend (threads.py). Every method of the
store is one transaction, run again from the top where the driver says that it was lost; a compare-and-set
that finds no row is an answer (False or None), never an error. "now" is the database's clock.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from cvmd.model import (
    Account,
    Attribution,
    Certificate,
    Created,
    DescribedCertificate,
    EscrowedKey,
    Fault,
    Issuance,
    KeyPair,
    KnownCertificate,
    Line,
    ListedCertificate,
    Offer,
    Outcome,
    Retiring,
    Secret,
    View,
)

NODE_PREFIX: Final = 8
"""Bytes of the node at the head of its claims, by which a new process knows those of its dead predecessor."""
NODE_SILENT_S: Final = 30.0
"""A node that has not been heard of for longer is not there, or cannot reach the database."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The id by which one worker holds one row, and for how long from the database's now."""

    id: bytes
    """16 bytes: 8 of the node, then 8 at random."""
    lease_s: float
    node: bytes

    @classmethod
    def of(cls, node: bytes, lease_s: float) -> Claim:
        """A new one, of this node."""
        return cls(node[:NODE_PREFIX] + os.urandom(16 - NODE_PREFIX), lease_s, node)


class StoreDown(Exception):  # noqa: N818 - said as an operator says it; the ports are one vocabulary
    """The database cannot be reached, or lost the transaction too often. The message names no secret."""


class WrongSchema(Exception):  # noqa: N818 - as above
    """The tables are not those of this version of cvmd; the message says what to run."""


class VendingStore(Protocol):
    """What one vend asks of the database: events of the device, each a compare-and-set on the state alone."""

    def view(self, serial: bytes) -> View | None:
        """All that is known of this serial, compared byte for byte; None if there is no such device."""

    def certificate(self, device_id: int, certificate_id: bytes) -> Certificate | None:
        """This device's certificate of that id, whatever its status."""

    def offer(self, issuance_id: int) -> Offer | None:
        """What the bundle of an `offered` issuance is made of; None if it is in another state by now."""

    def queue(
        self,
        device_id: int,
        generation: int,
        *,
        uid: bytes,
        sealed_csr: bytes | None,
        public_key_id: bytes | None,
        replaces: int | None,
        grounds: str = "",
    ) -> bool:
        """INSERT the issuance as `queued`, closing `replaces` (queued, offered or failed) as replaced in the same
        transaction, its certificate retiring. False: another one won the generation, or `replaces` has moved on.
        `grounds`: for the audit, why a device that proves nothing was let in."""

    def acknowledge(self, issuance_id: int, certificate_id: bytes) -> bool:
        """offered → acked if the digest is its certificate's and it has not expired; wipes the escrow."""

    def extend(self, issuance_id: int) -> None:
        """Move the expiry of an `offered` issuance on to now + the product's offer lifetime."""

    def moved(self, seen: dict[int, int]) -> list[int]:
        """Of {issuance id: updated_us}, the ids whose row has another `updated_us` now. One query."""

    def line(self, account_id: int) -> Line:
        """What a device of this account waits behind now. One query."""


class BreakerStore(Protocol):
    """The breakers of accounts (policy: empty) and of their policies."""

    def trip(
        self, account_id: int, policy: str, fault: str, detail: str, rest_s: Callable[[int], float], *, trial: bool
    ) -> bool:
        """Open it for rest_s(failures in a row), or again after its rest or by its trial. True: it was closed."""

    def half_open(self, account_id: int, policy: str) -> bool:
        """After its rest: the trial is the caller's, for a while. False: another's, or it rests."""

    def close_breaker(self, account_id: int, policy: str) -> bool:
        """False: it was closed."""


class WorkerStore(BreakerStore, Protocol):
    """What a worker asks: each a compare-and-set on (id, state, claim)."""

    def take_over(self, prefix: bytes) -> int:
        """End the leases of all claims whose ids begin so: those of a dead process. How many there were."""

    def due(self, limit: int) -> Sequence[Issuance]:
        """The oldest rows in queued, intent, created, acked, offered whose not-before is past and that nobody holds.

        None that a breaker holds back; of those whose breaker has rested, one as its trial.
        """

    def open_attempt(self, issuance: Issuance, claim: Claim, *, key: EscrowedKey | None) -> bool:
        """queued or intent (its last attempt closed) → intent, with a new attempt row, the claim, and on the first
        attempt the key that was made for it. Reserves one Create of the account's quota in the same transaction;
        False: no slot (the row's not-before moves to when there is one) or no row."""

    def close_attempt(
        self, issuance: Issuance, claim_id: bytes | None, outcome: Outcome, detail: str, *, wait_s: float
    ) -> bool:
        """Close the open attempt, release the claim, not before now + wait_s. claim_id None: the lease is
        over."""

    def take(self, issuance: Issuance, claim: Claim) -> bool:
        """Claim a row in created or acked that nobody holds."""

    def record_created(
        self,
        issuance: Issuance,
        claim: Claim,
        created: Created,
        *,
        endpoint: str,
        root_ca_der: bytes,
        sealed_escrow: bytes | None = None,
    ) -> bool:
        """intent → created: certificates row, attempt done, bundle frozen, in one transaction; with it the escrow
        of a key that AWS made."""

    def record_offered(self, issuance: Issuance, claim: Claim) -> bool:
        """created → offered; the claim is released, the expiry set."""

    def record_loser(self, issuance: Issuance, created: Created) -> None:
        """A certificate whose worker had lost its claim: retiring (loser), unless it is recorded already."""

    def expire(self, issuance: Issuance) -> bool:
        """offered and past its expiry → closed (expired), its certificate retiring; wipes the escrow. No claim."""

    def record_active(self, issuance: Issuance, claim: Claim) -> bool:
        """acked → active: certificate active, the device's former one retiring (superseded) in the same
        transaction."""

    def dispose_again(self, issuance: Issuance) -> None:
        """If its certificate is retiring, its disposal begins anew: a late call may have undone some of it."""

    def release(self, issuance: Issuance, claim: Claim, *, wait_s: float) -> bool:
        """Give the claim back, state unchanged; not before now + wait_s."""

    def fail(self, issuance: Issuance, claim_id: bytes | None, fault: Fault, detail: str) -> bool:
        """→ failed with the state to resume in; open attempt closed as refused. claim_id None: nobody holds
        it."""

    def certificate(self, device_id: int, certificate_id: bytes) -> Certificate | None:
        """As VendingStore.certificate."""

    def certificate_of(self, issuance: Issuance) -> Certificate | None:
        """The certificates row of this issuance."""

    def remember_endpoint(self, account: Account, data_endpoint: str) -> None:
        """Keep DescribeEndpoint's answer, which never changes; not where the account leads elsewhere by now."""


class ReconcileStore(Protocol):
    """What a reconciliation asks of the rows, and what it changes."""

    def known(self, certificate_ids: Sequence[bytes]) -> Mapping[bytes, KnownCertificate]:
        """The rows of these certificates, by id. One query."""

    def attribute(self, found: DescribedCertificate, uid: bytes | None) -> Attribution | None:
        """Whose it is by its key, by the issuance uid that its subject names, or by the answer of an attempt; None: not
        provably ours."""

    def attempted(self, account_id: int, created_s: float) -> Attribution | None:
        """Of what nobody else claims and nothing is attached to: whether an attempt of then, whose key AWS was to make,
        may have left it."""

    def device_of_thing(self, account_id: int, things: Sequence[str]) -> Attribution | None:
        """The device that one of these things is mapped to, or that it is one of several. None: none of ours."""

    def expected(self, account_id: int, after: int, limit: int) -> tuple[Sequence[bytes], int | None]:
        """Of the account's next rows the ids of certificates that AWS must have, and the last row; None: no more."""

    def mapped_things(self, account_id: int, after: str, limit: int) -> Sequence[str]:
        """The things of the account's devices, but of products that share them, in their order, after that one."""

    def retire_orphan(self, account: Account, found: DescribedCertificate, whose: Attribution) -> bool:
        """Its row, retiring (orphan). False: it has a row by now, or an attempt may have it in hand."""

    def dispose_of(self, certificate_id: bytes) -> bool:
        """What is over and at AWS still, or again: retiring or deleted, its disposal begins anew; INACTIVE and overdue,
        it retires (expired). False: it is none of these any more."""

    def rival(self, device_id: int) -> tuple[bytes, bool] | None:
        """The certificate that the device uses by the rows, the one that it acknowledged last, and whether that one
        is still to become ACTIVE."""

    def adopt(self, account: Account, found: DescribedCertificate, whose: Attribution, rival: bytes | None) -> bool:
        """Its row, ACTIVE; all else of its device ends. False: `rival` is another one by now, or a worker has one of
        the device's issuances in hand."""

    def supersede(self, account: Account, found: DescribedCertificate, whose: Attribution) -> bool:
        """Its row, retiring (superseded). False: it has a row by now."""


class DisposalStore(Protocol):
    """What the disposal of certificates asks."""

    def retiring(self, limit: int) -> Sequence[Retiring]:
        """The certificates that are to be disposed of now, the longest due first."""

    def take_retiring(self, retiring: Retiring, claim: Claim) -> bool:
        """Claim it; False: somebody else has it, or it is at its end."""

    def record_inert(self, retiring: Retiring, claim: Claim) -> None:
        """It is inert and detached: given back until its grace is over."""

    def record_deleted(self, retiring: Retiring, claim: Claim) -> None:
        """retiring → deleted; the row stays."""

    def postpone(self, retiring: Retiring, claim: Claim, *, wait_s: float) -> None:
        """Given back after a pass that failed; not before now + wait_s."""


class Issuer(Protocol):
    """AWS IoT's control plane. Every method raises cvmd.errors.IssuerError and nothing else."""

    def create(self, account: Account, csr_der: bytes) -> Created:
        """One POST of CreateCertificateFromCsr, INACTIVE. Checked: every field, certificate id = SHA-256 of
        the DER, the certificate's public key is the CSR's."""

    def create_with_key(self, account: Account) -> Created:
        """One POST of CreateKeysAndCertificate, INACTIVE, by which AWS makes an RSA-2048 key. Checked as `create`,
        against the key in the answer."""

    def attach_policy(self, account: Account, policy: str, arn: str) -> None:
        """AttachPolicy. Safe to repeat."""

    def attach_thing(self, account: Account, thing: str, arn: str) -> None:
        """AttachThingPrincipal. Safe to repeat."""

    def thing_principals(self, account: Account, thing: str) -> Sequence[str]:
        """ListThingPrincipals, all pages: ARNs."""

    def certificate_is_active(self, account: Account, certificate_id: bytes) -> bool:
        """DescribeCertificate's status; False also where there is no such certificate."""

    def activate(self, account: Account, certificate_id: bytes) -> None:
        """UpdateCertificate ACTIVE. Idempotent."""

    def describe_endpoint(self, account: Account) -> str:
        """DescribeEndpoint for iot:Data-ATS."""

    def policy_exists(self, account: Account, policy: str) -> bool:
        """GetPolicy."""

    # The way out. Each may be repeated; what is gone, or not attached, is done.

    def deactivate(self, account: Account, certificate_id: bytes, *, revoked: bool) -> None:
        """UpdateCertificate INACTIVE, or REVOKED, which is final. Of a certificate that is gone or REVOKED: done."""

    def attached_policies(self, account: Account, arn: str) -> Sequence[str]:
        """ListAttachedPolicies, all pages: names. Of a certificate that is gone: none."""

    def attached_things(self, account: Account, arn: str) -> Sequence[str]:
        """ListPrincipalThings, all pages: names. Of a certificate that is gone: none."""

    def detach_policy(self, account: Account, policy: str, arn: str) -> None:
        """DetachPolicy."""

    def detach_thing(self, account: Account, thing: str, arn: str) -> None:
        """DetachThingPrincipal; AWS detaches some time after it has answered."""

    def delete(self, account: Account, certificate_id: bytes) -> None:
        """DeleteCertificate. CONFLICT while something is attached or it is ACTIVE."""

    # The inventory.

    def certificates(
        self, account: Account, marker: str | None = None
    ) -> tuple[Sequence[ListedCertificate], str | None]:
        """One page of ListCertificates, the oldest first, and the marker of the next; None: it was the last."""

    def describe(self, account: Account, certificate_id: bytes) -> DescribedCertificate | None:
        """DescribeCertificate; None if there is no such certificate."""


class KeyMaker(Protocol):
    """Makes private keys; no network."""

    def make(self, subject_cn: str) -> KeyPair:
        """A new key and a CSR with that CN."""


class Sealing(Protocol):
    """AES-256-GCM under the master key; additional data = table, column, row, key id (invariant 6)."""

    def seal(self, secret: Secret, *, table: str, column: str, row: bytes) -> bytes:
        """Sealed bytes for that place, and no other."""

    def unseal(self, sealed: bytes, *, table: str, column: str, row: bytes) -> Secret:
        """Raises cvmd.errors.SealError if it was sealed for another place or under another key."""

    def unseal_decoy(self) -> Secret:
        """A random token, by the work that a device's takes (invariant 8)."""

    def subject(self, issuance_uid: bytes) -> str:
        """The CN of a CSR made here: base32(uid · MAC), 52 characters (design: an orphan is provably
        ours)."""

    def owns_subject(self, common_name: str) -> bytes | None:
        """The issuance uid of a CN that `subject` made under this master key, else None."""

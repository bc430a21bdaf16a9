"""What the row of an issuance holds sealed: its private key, the escrow; and its CSR, which is no secret.

Whoever writes to the database alone could else have a key of his own certified for a device, or a device's escrow
handed over to another one: both open for this issuance of this serial, and for no other (invariant 6).
"""

from __future__ import annotations

from typing import Final, TypedDict

from cvmd.errors import SealError
from cvmd.model import EscrowedKey, Issuance, KeyPair, Secret
from cvmd.ports import Sealing


class _Place(TypedDict):
    table: str
    column: str
    row: bytes


_UID_SIZE: Final = 16


def seal_csr(csr_der: bytes, uid: bytes, serial: bytes, sealing: Sealing) -> bytes:
    """The CSR that a device sent, for the issuance `uid` that is to be queued for it."""
    return sealing.seal(Secret(csr_der), **_place("sealed_csr", uid, serial))


def unseal_csr(issuance: Issuance, sealing: Sealing) -> bytes:
    """What AWS is asked to sign. Raises SealError, also where there is none."""
    if issuance.sealed_csr is None:
        raise SealError("issuances.sealed_csr: has been taken away")
    return sealing.unseal(issuance.sealed_csr, **_place("sealed_csr", issuance.uid, issuance.serial)).reveal()


def seal_key(key_der: Secret, issuance: Issuance, sealing: Sealing) -> bytes:
    """The escrow of a key."""
    return sealing.seal(key_der, **_place("sealed_escrow", issuance.uid, issuance.serial))


def unseal_key(issuance: Issuance, sealing: Sealing) -> Secret | None:
    """The key in escrow, None where there is none. Raises SealError."""
    if issuance.sealed_escrow is None:
        return None
    return sealing.unseal(issuance.sealed_escrow, **_place("sealed_escrow", issuance.uid, issuance.serial))


def escrow(key: KeyPair, issuance: Issuance, sealing: Sealing) -> EscrowedKey:
    """A key that was made here, as the row is to have it."""
    sealed_csr = seal_csr(key.csr_der, issuance.uid, issuance.serial, sealing)
    return EscrowedKey(sealed_csr, seal_key(key.key_der, issuance, sealing), key.public_key_id)


def _place(column: str, uid: bytes, serial: bytes) -> _Place:
    assert len(uid) == _UID_SIZE, "so that no uid and serial can be read as another pair"
    return _Place(table="issuances", column=column, row=uid + serial)

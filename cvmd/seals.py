"""What rows hold sealed, each for one place alone (invariant 6): a device's token, what a product's auth rests on, and
of an issuance its private key, the escrow, and its CSR, which is no secret.

Whoever writes to the database alone could else call as a device by the token of one he has, let in devices that prove
nothing, have a key of his own certified for a device, or be handed the escrow of another one.
"""

from __future__ import annotations

import hashlib
import json
from typing import Final, TypedDict

from cvmd.errors import SealError
from cvmd.model import Access, Auth, EscrowedKey, Issuance, KeyPair, Product, Secret
from cvmd.ports import Sealing


class _Place(TypedDict):
    table: str
    column: str
    row: bytes


_UID_SIZE: Final = 16


def seal_token(token: Secret, serial: bytes, sealing: Sealing) -> bytes:
    """`sealed_token` of a device under auth `token`."""
    return sealing.seal(token, **_of_device(serial))


def unseal_token(sealed_token: bytes, serial: bytes, sealing: Sealing) -> Secret:
    """The token of that device. Raises SealError."""
    return sealing.unseal(sealed_token, **_of_device(serial))


def seal_product_key(key: Secret, product: str, sealing: Sealing) -> bytes:
    """`sealed_auth` of auth `derived`."""
    return sealing.seal(key, **_of_product(Auth.DERIVED, product))


def seal_access(access: Access, product: str, sealing: Sealing) -> bytes:
    """`sealed_auth` of auth `serial`: who writes to the database alone lets nobody in who proves nothing."""
    return sealing.seal(_digest(access), **_of_product(Auth.SERIAL, product))


def unseal_auth(product: Product, access: Access, sealing: Sealing) -> Secret:
    """What auth `derived` or `serial` of this product rests on.

    Raises SealError where it is not what somebody with the master key has set for this very product.
    """
    secret = sealing.unseal(access.sealed_auth or b"", **_of_product(product.auth, product.name))
    if product.auth is Auth.SERIAL and secret != _digest(access):
        raise SealError(f"product {product.name}: its rules of auth serial are not those that the operator has set")
    return secret


def seal_csr(csr_der: bytes, uid: bytes, serial: bytes, sealing: Sealing) -> bytes:
    """The CSR that a device sent, for the issuance `uid` that is to be queued for it."""
    return sealing.seal(Secret(csr_der), **_of_issuance("sealed_csr", uid, serial))


def unseal_csr(issuance: Issuance, sealing: Sealing) -> bytes:
    """What AWS is asked to sign. Raises SealError, also where there is none."""
    if issuance.sealed_csr is None:
        raise SealError("issuances.sealed_csr: has been taken away")
    return sealing.unseal(issuance.sealed_csr, **_of_issuance("sealed_csr", issuance.uid, issuance.serial)).reveal()


def seal_key(key_der: Secret, issuance: Issuance, sealing: Sealing) -> bytes:
    """The escrow of a key."""
    return sealing.seal(key_der, **_of_issuance("sealed_escrow", issuance.uid, issuance.serial))


def unseal_key(issuance: Issuance, sealing: Sealing) -> Secret | None:
    """The key in escrow, None where there is none. Raises SealError."""
    if issuance.sealed_escrow is None:
        return None
    return sealing.unseal(issuance.sealed_escrow, **_of_issuance("sealed_escrow", issuance.uid, issuance.serial))


def escrow(key: KeyPair, issuance: Issuance, sealing: Sealing) -> EscrowedKey:
    """A key that was made here, as the row is to have it."""
    sealed_csr = seal_csr(key.csr_der, issuance.uid, issuance.serial, sealing)
    return EscrowedKey(sealed_csr, seal_key(key.key_der, issuance, sealing), key.public_key_id)


def _digest(access: Access) -> Secret:
    allowed = [access.allow_server_keys, access.source_networks, access.window_until_us]
    return Secret(hashlib.sha256(json.dumps(allowed).encode()).digest())


def _of_device(serial: bytes) -> _Place:
    return _Place(table="devices", column="sealed_token", row=serial)


def _of_product(auth: Auth, product: str) -> _Place:
    """A place of its own for each auth: else what is sealed for one, and no secret, would be a key of the other."""
    return _Place(table="products", column=f"sealed_auth {auth}", row=product.encode())


def _of_issuance(column: str, uid: bytes, serial: bytes) -> _Place:
    assert len(uid) == _UID_SIZE, "so that no uid and serial can be read as another pair"
    return _Place(table="issuances", column=column, row=uid + serial)

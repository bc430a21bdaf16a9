"""What is sealed, and the names that only the master key can make (invariant 6; implements ports.Sealing).

Sealed bytes are  version 1 · key id 4 · nonce 12 · AES-256-GCM ciphertext and tag,  with table, column, row
and key id, each behind its length, as additional data: what was sealed for one place opens at no other. The
master key itself seals nothing: HKDF (RFC 5869) derives one key for each use.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import struct
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from cvmd.errors import ConfigError, SealError
from cvmd.model import Secret

MASTER_KEY_SIZE = 32
OVERHEAD = 33
"""Bytes that sealing adds: version, key id, nonce, tag."""

_VERSION = 1
_HEADER = struct.Struct(">B4s12s")
_UID_SIZE = 16
_DECOY_PLACE = ("decoy", "token", bytes(8))
_TOKEN_SIZE = 32


def load_master_key(path: Path) -> Secret:
    """The key in `path`: 64 hex digits or 32 raw bytes. Raises ConfigError, which says how to mend it."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(4096)
    except OSError as error:
        raise ConfigError(f"master key {path}: {error.strerror}") from error
    # Group-readable passes: systemd hands credentials over by an ACL, whose mask shows as the group's bits.
    if mode & 0o027:
        raise ConfigError(f"master key {path}: mode {mode & 0o777:04o} lets others at it: chmod 0400 {path}")
    key = content if len(content) == MASTER_KEY_SIZE else _from_hex(content)
    if len(key) != MASTER_KEY_SIZE:
        raise ConfigError(
            f"master key {path}: neither 64 hex digits nor 32 raw bytes ({len(content)} bytes found); "
            f"to make one: (umask 077; openssl rand -hex 32 > {path})"
        )
    if len(set(key)) == 1:
        raise ConfigError(f"master key {path}: 32 times the same byte is no key")
    return Secret(key)


def _from_hex(content: bytes) -> bytes:
    try:
        return binascii.unhexlify(content.strip())
    except binascii.Error:
        return b""


class Sealer:
    """Seals and unseals under one master key. Safe to share between threads."""

    def __init__(self, master_key: Secret) -> None:
        self._subject_key = Secret(_derive(master_key, b"cvmd subject 1"))
        self._audit_key = Secret(_derive(master_key, b"cvmd audit 1"))
        self._check_value = _derive(master_key, b"cvmd check 1")
        self.key_id = self._check_value[:4]
        """Tells master keys apart; no secret."""
        # A random nonce of 96 bits bears 2^32 seals under one key (NIST SP 800-38D, 8.3).
        self._cipher = AESGCM(_derive(master_key, b"cvmd seal 1"))
        table, column, row = _DECOY_PLACE
        self._decoy = self.seal(Secret(os.urandom(_TOKEN_SIZE)), table=table, column=column, row=row)

    def check_value(self) -> bytes:
        """32 bytes for the deployment's row, no secret: another value there means another master key."""
        return self._check_value

    def seal(self, secret: Secret, *, table: str, column: str, row: bytes) -> bytes:
        """Sealed bytes for that place, and no other."""
        nonce = os.urandom(12)
        ciphertext = self._cipher.encrypt(nonce, secret.reveal(), _place(table, column, row, self.key_id))
        return _HEADER.pack(_VERSION, self.key_id, nonce) + ciphertext

    def unseal(self, sealed: bytes, *, table: str, column: str, row: bytes) -> Secret:
        """Raises SealError, naming the place, if it was sealed for another one or under another key."""
        if len(sealed) < OVERHEAD or sealed[0] != _VERSION:
            raise SealError(f"{table}.{column}: not sealed by this version of cvmd")
        _, key_id, nonce = _HEADER.unpack_from(sealed)
        if key_id != self.key_id:
            raise SealError(f"{table}.{column}: sealed under master key {key_id.hex()}, not under {self.key_id.hex()}")
        place = _place(table, column, row, key_id)
        try:
            return Secret(self._cipher.decrypt(nonce, sealed[_HEADER.size :], place))
        except InvalidTag:
            raise SealError(f"{table}.{column}: altered, or sealed for another place") from None

    def unseal_decoy(self) -> Secret:
        """A random token, for the work that a device's takes: an unknown serial costs that too (inv. 8)."""
        table, column, row = _DECOY_PLACE
        return self.unseal(self._decoy, table=table, column=column, row=row)

    def audit_mac(self, message: bytes) -> bytes:
        """HMAC-SHA256 under a key that only the master key gives: nobody else continues a chain of the audit."""
        return hmac.digest(self._audit_key.reveal(), message, "sha256")

    def subject(self, issuance_uid: bytes) -> str:
        """The CN of a CSR made here: base32(uid · HMAC-SHA256(subject key, uid)[:16]), 52 characters."""
        if len(issuance_uid) != _UID_SIZE:
            raise ValueError(f"an issuance uid has {_UID_SIZE} bytes, not {len(issuance_uid)}")
        mac = hmac.digest(self._subject_key.reveal(), issuance_uid, "sha256")[:_UID_SIZE]
        return base64.b32encode(issuance_uid + mac).decode().rstrip("=")

    def owns_subject(self, common_name: str) -> bytes | None:
        """The issuance uid of a CN that `subject` made under this master key, else None."""
        try:
            uid = base64.b32decode(common_name + "====")[:_UID_SIZE]
            own = self.subject(uid)
        except ValueError:
            return None
        # The whole name, not the decoded MAC: base32 has more than one spelling of the same bytes.
        return uid if hmac.compare_digest(own.encode(), common_name.encode()) else None


def _derive(master_key: Secret, label: bytes) -> bytes:
    return HKDF(SHA256(), 32, salt=None, info=label).derive(master_key.reveal())


def _place(table: str, column: str, row: bytes, key_id: bytes) -> bytes:
    parts = (table.encode(), column.encode(), row, key_id)
    return b"".join(struct.pack(">H", len(part)) + part for part in parts)

"""The bundle: all objects as one stream of bytes with one identity and one offset (invariant 4).

Bundle.of({Kind.CERTIFICATE: cert_der, ...}) -> Bundle      .data .bundle_id .total
parse(data) -> {kind: bytes}                                 RemoteProtocolError on anything off
verify(data, bundle_id) -> {kind: bytes}                     the same, after the identity was checked
certificate_digest(cert_der) -> 32 bytes                     what ACK and HAVE carry
want_of(kinds) -> the bits of `want`
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Self

from protocol.constants import BUNDLE_ID_SIZE, MAX_BUNDLE, Kind, Status
from protocol.errors import LocalProtocolError, RemoteProtocolError


@dataclass(frozen=True, slots=True)
class Bundle:
    """(kind u8, length u16, bytes)*, ascending kind. `bundle_id`: first 16 bytes of its SHA-256."""

    bundle_id: bytes
    data: bytes = field(repr=False)

    @classmethod
    def of(cls, objects: Mapping[Kind, bytes]) -> Self:
        """The bundle of these; LocalProtocolError where they are none, empty, too long or contradict."""
        if Kind.KEY_SEC1_PKCS1 in objects and Kind.KEY_PKCS8 in objects:
            raise LocalProtocolError("a bundle carries its key in one form: give kind 2 or kind 3, not both")
        if not objects or not all(objects.values()):
            raise LocalProtocolError("a bundle holds at least one object, and no empty one")
        if sum(3 + len(content) for content in objects.values()) > MAX_BUNDLE:
            raise LocalProtocolError(f"a bundle is at most {MAX_BUNDLE} bytes")
        data = b"".join(
            kind.to_bytes(1, "big") + len(content).to_bytes(2, "big") + content
            for kind, content in sorted(objects.items())
        )
        return cls(_identity(data), data)

    @property
    def total(self) -> int:
        """Size in bytes."""
        return len(self.data)


def parse(data: bytes) -> dict[int, bytes]:
    """The objects by kind, those of unknown kinds too. RemoteProtocolError if cut, empty or not ascending."""
    objects: dict[int, bytes] = {}
    offset = last_kind = 0
    while offset < len(data):
        kind, length = data[offset], int.from_bytes(data[offset + 1 : offset + 3], "big")
        content = data[offset + 3 : offset + 3 + length]
        if offset + 3 + length > len(data) or not length:
            raise RemoteProtocolError(Status.MALFORMED, f"object at offset {offset} of the bundle is cut or empty")
        if kind <= last_kind:
            raise RemoteProtocolError(Status.MALFORMED, f"kind {kind} at offset {offset} of the bundle is out of order")
        objects[kind] = content
        offset, last_kind = offset + 3 + length, kind
    if not objects:
        raise RemoteProtocolError(Status.MALFORMED, "the bundle is empty")
    return objects


def verify(data: bytes, bundle_id: bytes) -> dict[int, bytes]:
    """`parse` for a device that has read its flash back: RemoteProtocolError too for another bundle."""
    if not hmac.compare_digest(_identity(data), bundle_id):
        raise RemoteProtocolError(Status.STALE, "the bytes are not those of the bundle: drop them and start over")
    return parse(data)


def certificate_digest(cert_der: bytes) -> bytes:
    """SHA-256 of the certificate's DER: AWS's certificate id, the digest of ACK and HAVE."""
    return sha256(cert_der).digest()


def want_of(kinds: Iterable[Kind]) -> int:
    """`want` with bit n set for each kind n."""
    return sum(1 << kind for kind in set(kinds))


def _identity(data: bytes) -> bytes:
    return sha256(data).digest()[:BUNDLE_ID_SIZE]

"""What a device keeps in its flash through a vend, and when it lets go of it.

    bundle.part      bundle_id (16), total (2), then the bytes so far: the offset is the size of the file
    device-key.der   key source device-csr: the key that the CSR is of, kept before the CSR leaves
    cert.der key.der root-ca.der meta.json     the certificate in use; meta.json is written last
    serial           whose flash this is

The certificate in use stays until the next one is ACTIVE (DONE), so that a device is never without one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from protocol.constants import BUNDLE_ID_SIZE, Kind
from protocol.errors import RemoteProtocolError
from protocol.objects import certificate_digest, verify

from . import keys
from .flash import Flash
from .options import OptionError

_BUNDLE, _DEVICE_KEY, _SERIAL = "bundle.part", "device-key.der", "serial"
_CERT, _KEY, _ROOT_CA, _META = "cert.der", "key.der", "root-ca.der", "meta.json"
_BUNDLE_START = BUNDLE_ID_SIZE + 2


class BadBundleError(Exception):
    """What lies in flash is not a bundle that can be used; it was dropped."""


@dataclass(frozen=True)
class Kept:
    """The bundle under way: `data` is its first `len(data)` bytes of `total`."""

    bundle_id: bytes
    total: int
    data: bytes = field(repr=False)

    @property
    def complete(self) -> bool:
        return len(self.data) >= self.total


@dataclass(frozen=True)
class Meta:
    """meta.json: what is known of the certificate in use. `time`: Unix, when the server called it active;
    0: it gave no time."""

    serial: str
    certificate_id: str
    thing_name: str | None
    endpoint: str | None
    key_source: str
    suite: str
    bundle_id: str
    connect_after_s: int
    time: int


class DeviceStorage:
    """The flash of one device. OptionError if it is another device's."""

    def __init__(self, flash: Flash, serial: str) -> None:
        self._flash = flash
        owner = flash.read(_SERIAL)
        if owner is None:
            flash.write(_SERIAL, serial.encode(), private=False)
        elif owner != serial.encode():
            other = owner.decode(errors="replace")
            raise OptionError(f"the directory is the flash of device {other}; give another --out")

    # The bundle under way.

    def kept(self) -> Kept | None:
        """The bundle under way, as it is read back."""
        stored = self._flash.read(_BUNDLE)
        if stored is None or len(stored) < _BUNDLE_START:
            return None
        total = int.from_bytes(stored[BUNDLE_ID_SIZE:_BUNDLE_START], "big")
        return Kept(stored[:BUNDLE_ID_SIZE], total, stored[_BUNDLE_START:])

    def begin(self, bundle_id: bytes, total: int) -> int:
        """The offset to go on from: behind what is kept of this bundle, or 0 with another one dropped."""
        kept = self.kept()
        if kept and (kept.bundle_id, kept.total) == (bundle_id, total) and len(kept.data) <= total:
            return len(kept.data)
        self._flash.write(_BUNDLE, bundle_id + total.to_bytes(2, "big"))
        return 0

    def append(self, data: bytes) -> None:
        """The next bytes of the bundle."""
        self._flash.append(_BUNDLE, data)

    def drop_bundle(self) -> None:
        """Start over; the certificate in use and the device's own key stay."""
        self._flash.remove(_BUNDLE)

    def verified(self) -> dict[int, bytes] | None:
        """The objects of the bundle under way, read back and checked; None while it is not whole.

        Raises BadBundleError, and drops it, if it is not what bundle_id says, or its key is not the
        certificate's.
        """
        kept = self.kept()
        if not kept or not kept.complete:
            return None
        try:
            objects = verify(kept.data, kept.bundle_id)
        except RemoteProtocolError as error:
            self.drop_bundle()
            raise BadBundleError(str(error)) from error
        key_der = _delivered_key(objects) or self._own_key()
        if key_der is None or not keys.fits(objects.get(Kind.CERTIFICATE, b""), key_der):
            self.drop_bundle()
            raise BadBundleError("certificate and key of the bundle do not belong together")
        return objects

    def abandon(self) -> None:
        """Nothing is under way any more: neither the bundle nor the key that was made for it."""
        self.drop_bundle()
        self._flash.remove(_DEVICE_KEY)

    # The device's own key.

    def device_key(self, renew: bool, key_type: str) -> bytes:
        """The key to send a CSR of, DER: the one under way, else the one in use (not to renew), else new.

        `key_type`: of a new one, of keys.KEY_TYPES.
        """
        if pending := self._flash.read(_DEVICE_KEY):
            return pending
        in_use = self._flash.read(_KEY)
        if in_use and self.installed() and not renew:
            return in_use
        key_der = keys.new_key(key_type)
        self._flash.write(_DEVICE_KEY, key_der)
        return key_der

    def _own_key(self) -> bytes | None:
        return self._flash.read(_DEVICE_KEY) or self._flash.read(_KEY)

    # The certificate in use.

    def installed(self) -> Meta | None:
        """The certificate in use, read back and checked: the digest is right and the key belongs to it."""
        meta, cert_der, key_der = (self._flash.read(name) for name in (_META, _CERT, _KEY))
        if not meta or not cert_der or not key_der:
            return None
        try:
            known = Meta(**json.loads(meta))
        except (ValueError, TypeError):
            return None
        sound = certificate_digest(cert_der).hex() == known.certificate_id and keys.fits(cert_der, key_der)
        return known if sound else None

    def install(self, objects: Mapping[int, bytes], meta: Meta, key_format: str) -> None:
        """Put the verified bundle into use. After a power cut the bundle is there: HAVE leads here again."""
        key_der = _delivered_key(objects)
        if key_der is None:
            own = self._own_key()
            assert own is not None, "verified() has seen the key"
            key_der = keys.converted(own, key_format)
        self._flash.write(_KEY, key_der)
        self._flash.write(_CERT, objects[Kind.CERTIFICATE], private=False)
        if Kind.ROOT_CA in objects:
            self._flash.write(_ROOT_CA, objects[Kind.ROOT_CA], private=False)
        self._flash.write(_META, (json.dumps(asdict(meta), indent=2) + "\n").encode(), private=False)
        self._flash.remove(_DEVICE_KEY)  # before the bundle: after a cut here install() finds key.der
        self._flash.remove(_BUNDLE)

    def retire(self) -> None:
        """The certificate in use is no longer valid: the server has said so under the session's keys."""
        self._flash.remove(_META)

    def write_pem(self, key_format: str) -> None:
        """The objects in use as PEM too, beside the DER."""
        cert_der, key_der, root_der = (self._flash.read(name) for name in (_CERT, _KEY, _ROOT_CA))
        if cert_der:
            self._flash.write("cert.pem", keys.certificate_pem(cert_der), private=False)
        if key_der:
            self._flash.write("key.pem", keys.key_pem(key_der, key_format))
        if root_der:
            self._flash.write("root-ca.pem", keys.certificate_pem(root_der), private=False)


def _delivered_key(objects: Mapping[int, bytes]) -> bytes | None:
    return objects.get(Kind.KEY_SEC1_PKCS1) or objects.get(Kind.KEY_PKCS8)

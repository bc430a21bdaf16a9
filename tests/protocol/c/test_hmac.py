"""HMAC and HKDF against their RFCs and Python; tags are compared whole."""

import hashlib
import hmac
from random import Random

from cdevice import Driver, on_every_machine

pytestmark = on_every_machine

RFC4231 = [
    (b"\x0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
    (b"Jefe", b"what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
    (b"\xaa" * 20, b"\xdd" * 50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
    (bytes(range(1, 26)), b"\xcd" * 50, "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"),
]
"""Test cases 1 to 4: keys of at most 32 bytes, as all of CVM/1 are."""

RFC5869 = [
    (
        "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5", bytes(range(0xF0, 0xFA)),
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf",
    ),
    (
        "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04", b"",
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d",
    ),
]  # fmt: skip
"""Test cases 1 and 3: PRK, info and the first 32 bytes of OKM, which are T(1)."""


def test_hmac_is_of_rfc_4231(driver: Driver) -> None:
    for key, message, tag in RFC4231:
        assert driver.digest("hmac", key, message).hex() == tag


def test_hmac_at_every_length_of_the_key(driver: Driver) -> None:
    source = Random("hmac")
    for length in range(33):
        key, message = source.randbytes(length), source.randbytes(100)
        assert driver.digest("hmac", key, message) == hmac.digest(key, message, "sha256")


def test_expand_is_of_rfc_5869(driver: Driver) -> None:
    for prk, info, okm in RFC5869:
        for cut in range(len(info) + 1):  # label and info are one message
            assert driver.digest("expand", bytes.fromhex(prk), info[:cut], info[cut:]).hex() == okm


def test_extract_has_the_salt_for_its_key(driver: Driver) -> None:
    for length in (0, 16, 32, 64):
        token = bytes(range(length))
        assert driver.digest("extract", token) == hmac.digest(b"cvm1", token, hashlib.sha256)


def test_a_difference_in_any_bit_is_seen(driver: Driver) -> None:
    tag = bytes(range(16))
    assert driver.ask("differ", tag, tag) == ["0"]
    for bit in range(128):
        other = (int.from_bytes(tag, "big") ^ 1 << bit).to_bytes(16, "big")
        assert driver.ask("differ", tag, other) == ["1"]

"""The CSR in DER, judged by openssl and by the daemon's own check."""

from cdevice import Driver, raw
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from harness import openssl

from cvmd.issuer.keys import check_csr


def made(driver: Driver, serial: bytes, key: ec.EllipticCurvePrivateKey) -> tuple[bytes, set[int]]:
    """The CSR, and the sizes of r and s in it."""
    numbers, sizes = key.public_key().public_numbers(), set()

    def sign(said: list[str]) -> bytes:
        r, s = decode_dss_signature(key.sign(raw(said[1]), ec.ECDSA(Prehashed(SHA256()))))
        sizes.update((r.bit_length(), s.bit_length()))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    point = numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")
    return raw(driver.ask("csr", serial, point, answer=sign)[0]), sizes


def test_openssl_verifies_a_csr_of_every_serial_s_length(driver: Driver) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    for size in (*range(1, 65, 9), 18, 19, 64):
        serial = bytes(range(65, 91)) * 3
        csr, _ = made(driver, serial[:size], key)
        subject = openssl("req", "-inform", "DER", "-verify", "-noout", "-subject", stdin=csr)
        assert subject.decode().strip() == f"subject=CN = {serial[:size].decode()}"
        check_csr(csr, serial[:size])


def test_signatures_with_short_numbers_are_right_too(driver: Driver) -> None:
    key, seen = ec.generate_private_key(ec.SECP256R1()), set()
    while not any(bits <= 248 for bits in seen):  # a leading zero byte: one of 128 signatures has one
        csr, sizes = made(driver, b"EXAMPLE-0001", key)
        seen |= sizes
    openssl("req", "-inform", "DER", "-verify", "-noout", stdin=csr)


def test_a_serial_that_is_none_gives_no_csr(driver: Driver) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    assert made(driver, b"", key)[0] == made(driver, b"A" * 65, key)[0] == b""

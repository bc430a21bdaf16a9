"""PEM, in parts of any size, against the standard library."""

import ssl
from random import Random

from cdevice import Driver, raw


def test_pem_is_what_python_makes_of_it(driver: Driver) -> None:
    source = Random("pem")
    for size in (1, 2, 3, 47, 48, 49, 96, 500):
        der, text = source.randbytes(size), b""

        def take(said: list[str]) -> int:
            nonlocal text
            text += raw(said[1])
            return 0

        assert driver.ask("pem", b"CERTIFICATE", der, source.randrange(1, 60), answer=take) == ["0"]
        assert text.decode() == ssl.DER_cert_to_PEM_cert(der)


def test_what_cannot_be_written_is_told(driver: Driver) -> None:
    assert driver.ask("pem", b"PRIVATE KEY", b"key" * 9, 5, answer=lambda said: 7) == ["7"]

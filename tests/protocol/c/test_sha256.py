"""SHA-256 against hashlib, at every length and cut in two."""

import hashlib
from random import Random

from cdevice import Driver, on_every_machine

pytestmark = on_every_machine


def test_every_length_from_0_to_200(driver: Driver) -> None:
    source = Random("sha256")
    for length in range(201):
        data = source.randbytes(length)
        cut = source.randrange(length + 1)
        assert driver.digest("sha256", data[:cut], data[cut:]) == hashlib.sha256(data).digest(), length


def test_a_long_message(driver: Driver) -> None:
    data = Random("long").randbytes(70_000)
    assert driver.digest("sha256", data, b"") == hashlib.sha256(data).digest()

"""What the words say of themselves."""

from cvmd.model import KeySource


def test_only_a_device_that_makes_its_key_gets_none() -> None:
    assert [source for source in KeySource if not source.makes_key] == [KeySource.DEVICE_CSR]

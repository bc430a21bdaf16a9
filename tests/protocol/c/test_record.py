"""The resume record: torn, erased and strange ones are none; of two the one that was written last."""

import itertools

from cdevice import CDevice, Driver, Flash, Settings, on_every_machine
from test_session import Server

pytestmark = on_every_machine


def written(driver: Driver, sessions: int = 1) -> list[bytes]:
    """All records of a vend, in order."""
    records: list[bytes] = []
    device, server = CDevice(driver, Settings(max_frame=48, limit=27), Flash()), Server()
    remember = device.on_remember
    device.on_remember = lambda record: records.append(bytes.fromhex(record)) or remember(record)  # type: ignore[method-assign, func-returns-value]  # listens in
    server.connect()
    device.run(server.talk)
    return records


def test_a_record_is_whole_or_none(driver: Driver) -> None:
    records = written(driver)
    assert [driver.ask("record", each)[0] for each in records] == ["1"] * (len(records) - 2) + ["2", "3"]
    last = records[-1]
    for nothing in (bytes(24), b"\xff" * 24):
        assert driver.ask("record", nothing) == ["0"]
    for bit in range(8 * len(last)):
        bent = (int.from_bytes(last, "big") ^ 1 << bit).to_bytes(24, "big")
        assert driver.ask("record", bent) == ["0"], bit
    for cut in range(24):
        assert driver.ask("record", last[:cut] + b"\xff" * (24 - cut)) == ["0"]


def test_of_two_places_the_newer_is_read_whatever_the_cut(driver: Driver) -> None:
    records = written(driver)
    for old, new in itertools.pairwise(records):
        assert driver.ask("newer", old, new) == ["2"]
        assert driver.ask("newer", new, old) == ["1"]
        for cut in range(24):
            torn = new[:cut] + b"\xff" * (24 - cut)
            assert driver.ask("newer", torn, old) == ["2"]
            assert driver.ask("newer", old, torn) == ["1"]
    assert driver.ask("newer", b"\xff" * 24, bytes(24)) == ["0"]

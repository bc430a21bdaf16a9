"""Flash that is written in whole units: every byte once, in its place, the last unit filled up."""

import pytest
from cdevice import Driver, raw


@pytest.mark.parametrize("unit", [4, 8, 16, 32])
@pytest.mark.parametrize("part", [1, 27, 100])
@pytest.mark.parametrize("blocks", [0.01, 1, 15.9, 16])
def test_units_are_whole_and_in_order(driver: Driver, unit: int, part: int, blocks: float) -> None:
    data = bytes(byte % 251 for byte in range(max(1, int(unit * blocks))))
    flash, writes = bytearray(), []

    def take(said: list[str]) -> int:
        flash.extend(raw(said[2]))
        writes.append((int(said[1]), len(raw(said[2]))))
        return 0

    assert driver.ask("units", bytes([unit]), data, part, answer=take) == ["0"]
    assert flash == data + b"\xff" * (-len(data) % unit)
    assert writes == [(offset, unit) for offset in range(0, len(data), unit)]


def test_a_failed_write_is_told_and_what_comes_then_harms_nothing(driver: Driver) -> None:
    assert driver.ask("units", b"\4", bytes(100), 2, answer=lambda said: -1) != ["0"]

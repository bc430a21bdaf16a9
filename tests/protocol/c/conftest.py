"""The C library, built twice: as a device has it, and under the sanitizers."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cdevice import BUILDS, Driver, compiled
from fuzzing import objects_of


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The driver, by build."""
    directory = tmp_path_factory.mktemp("c")
    return {build: compiled(directory, build) for build in BUILDS}


@pytest.fixture(params=["plain", "sanitized"])
def driver(request: pytest.FixtureRequest, programs: dict[str, Path]) -> Iterator[Driver]:
    """A process of each build; it must end well."""
    driver = Driver(programs[request.param], request.param == "plain")
    yield driver
    assert driver.close() == 0


@pytest.fixture
def noise(programs: dict[str, Path]) -> Iterator[Driver]:
    """A process of the build for suite noise, with the primitives of mbedTLS."""
    driver = Driver(programs["noise"], plain=False)
    yield driver
    assert driver.close() == 0


@pytest.fixture
def optioned(programs: dict[str, Path]) -> Iterator[Driver]:
    """A process of the build with all options on."""
    driver = Driver(programs["options"], plain=False)
    yield driver
    assert driver.close() == 0


@pytest.fixture(scope="session")
def objects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The parts of the fuzzer, by the source's name."""
    return objects_of(tmp_path_factory.mktemp("fuzz"))

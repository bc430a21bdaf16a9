"""The C library, built for this machine as a device has it, under the sanitizers, and for a big-endian one."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cdevice import BIG_ENDIAN, Driver, compiled
from fuzzing import objects_of


class Programs(dict[str, Path]):
    """The driver, by build; compiled when it is first asked for."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.directory = directory

    def __missing__(self, build: str) -> Path:
        self[build] = compiled(self.directory, build)
        return self[build]


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Of this worker."""
    return Programs(tmp_path_factory.mktemp("c"))


def started(programs: dict[str, Path], build: str) -> Driver:
    """A process of that build."""
    if build.startswith("big-endian"):
        return Driver(programs[build], plain=False, under=[BIG_ENDIAN], order="big")
    return Driver(programs[build], plain=build == "plain")


@pytest.fixture(params=["plain", "sanitized"])
def driver(request: pytest.FixtureRequest, programs: dict[str, Path]) -> Iterator[Driver]:
    """A process of each build; it must end well."""
    driver = started(programs, request.param)
    yield driver
    assert driver.close() == 0


@pytest.fixture
def noise(request: pytest.FixtureRequest, programs: dict[str, Path]) -> Iterator[Driver]:
    """A process of the build for suite noise, with the primitives of mbedTLS; or, big-endian, of the test."""
    driver = started(programs, getattr(request, "param", "noise"))
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

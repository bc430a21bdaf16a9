"""The library on a part whose int and size_t have 16 bits, as Arduino's AVR boards do: compiled for it and run."""

import re
import subprocess
from pathlib import Path

import pytest
from cdevice import C, End


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, ...]]:
    """Of int16.c: status, seconds, and whether more was to be received than the buffer holds."""
    made = tmp_path_factory.mktemp("avr") / "int16.elf"
    sources = [Path(__file__).with_name("int16.c"), *sorted((C / "src").glob("*.c"))]
    flags = ["-std=c99", "-Os", "-Wall", "-Wextra", "-Werror", f"-I{C / 'include'}", f"-I{C / 'src'}"]
    done = subprocess.run(["avr-gcc", "-mmcu=atmega2560", *flags, *sources, "-o", made], capture_output=True, text=True)
    assert not done.returncode, done.stderr
    said = subprocess.run(
        ["simavr", "-m", "atmega2560", "-f", "16000000", made],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60,
    ).stdout  # fmt: skip
    return [tuple(map(int, each)) for each in re.findall(r"status (\d+) after (\d+) s, overrun (\d)", said)]


def test_a_whole_vend_and_the_longest_turn(sessions: list[tuple[int, ...]]) -> None:
    end, seconds, overrun = sessions[0]
    assert (end, overrun) == (End.ACTIVE, 0)
    assert 300 <= seconds < 400


def test_a_length_that_wraps_around_overruns_no_buffer(sessions: list[tuple[int, ...]]) -> None:
    end, _, overrun = sessions[1]
    assert (end, overrun) == (End.PEER, 0)

"""What a device makes of a server's bytes: libFuzzer on the C client, with the Python session as oracle."""

from collections.abc import Callable
from pathlib import Path

import pytest
from fuzzing import Fuzzer, linked


@pytest.fixture
def fuzzer(objects: dict[str, Path], tmp_path: Path) -> Fuzzer:
    return linked([*objects.values()], tmp_path / "fuzz")


def test_the_c_client_and_the_python_session_agree(fuzzer: Fuzzer, counts: Callable[[str], None]) -> None:
    assert fuzzer.run("-runs=5000", "-seed=1") is None
    assert fuzzer.judged > 4000
    counts(f"the C client's fuzzer: {fuzzer.judged} streams judged alike")


@pytest.mark.full
@pytest.mark.timeout(900)
def test_ten_minutes_of_fuzzing_find_nothing(fuzzer: Fuzzer, counts: Callable[[str], None]) -> None:
    assert fuzzer.run("-max_total_time=600", "-use_value_profile=1", timeout_s=800) is None
    counts(f"the C client's fuzzer, ten minutes: {fuzzer.judged} streams judged alike")

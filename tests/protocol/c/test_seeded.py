"""Bugs put into a copy of the C client on purpose: the fuzzer with its oracle, or the vectors, must see each."""

from collections.abc import Callable
from pathlib import Path

import pytest
import test_sha256
import test_vectors
from cdevice import C, Driver
from cdevice import compiled as driver_of
from fuzzing import compiled, linked

FUZZED = {
    "a frame may fill the buffer, and its header too": (
        "cvm_receive.c", "length <= session->device->max_frame - CVM_HEADER_SIZE",
        "length <= session->device->max_frame"),
    "a frame may be shorter than its tag": ("cvm_receive.c", "length >= CVM_OVERHEAD &&", ""),
    "a clear refusal is believed after a tagged frame": (
        "cvm_receive.c", "length == CVM_LONGEST_CLEAR_REFUSE && session->opened_frames == 0",
        "length == CVM_LONGEST_CLEAR_REFUSE"),
    "reserved flags of CHALLENGE are passed over": (
        "cvm_receive.c", "cvm_get16(buffer + WINDOW + CVM_NONCE_SIZE) != 0", "false"),
    "a hunt that failed forgets all it saw": (
        "cvm_receive.c", "session->in_buffer--;", "session->in_buffer = 0;"),
    "DATA may be more than was asked for": ("cvm_answer.c", " || size > session->due", ""),
    "DATA may come from anywhere": ("cvm_answer.c", "cvm_get16(body) != offset || ", ""),
    "a bundle may be empty": ("cvm_answer.c", "if (total == 0) {", "if (false) {"),
    "a bundle may be larger than its room": (
        "cvm_answer.c", "total > session->device->room", "total > session->device->room + 1u"),
    "DONE without a certificate": (
        "cvm_answer.c", "(session->have != NULL ? BIT(CVM_TYPE_DONE) : 0u)", "BIT(CVM_TYPE_DONE)"),
    "a refusal sends away for years": ("cvm_answer.c", "? retry_s : most_s", "? retry_s : most_s + 1u"),
    "an object may come twice": ("cvm_bundle.c", "head[0] <= kind", "head[0] < kind"),
    "an object may be cut": ("cvm_bundle.c", "at == total && (", "("),
}  # fmt: skip
Check = Callable[[Driver], None]
CHECKED: dict[str, tuple[str, str, str, Check]] = {
    "a tag of which the last byte is not compared": (
        "cvm_mac.c", "frame + *size, CVM_TAG_SIZE)", "frame + *size, CVM_TAG_SIZE - 1)",
        test_vectors.test_frames_open_or_do_not),
    "a counter that stands still": (
        "cvm_mac.c", "session->opened_frames++", "session->opened_frames",
        lambda driver: test_vectors.test_a_session_is_said_byte_for_byte(driver, test_vectors.of("session")[0])),
    "padding that is right for most lengths": (
        "cvm_sha256.c", "while ((hash->size & 63u) != 56)", "while ((hash->size & 63u) < 56)",
        test_sha256.test_every_length_from_0_to_200),
}  # fmt: skip


def changed(directory: Path, name: str, right: str, wrong: str) -> Path:
    """A copy of that source with the bug in it."""
    text = (C / "src" / name).read_text()
    assert text.count(right) == 1, f"{name} has changed: the bug needs another place"
    made = directory / name
    made.write_text(text.replace(right, wrong))
    return made


@pytest.mark.parametrize("bug", FUZZED)
def test_the_fuzzer_sees(bug: str, objects: dict[str, Path], tmp_path: Path) -> None:
    name, right, wrong = FUZZED[bug]
    bad = compiled(changed(tmp_path, name, right, wrong), tmp_path / "bad.o")
    fuzzer = linked([*(objects | {name: bad}).values()], tmp_path / "fuzz")
    found = fuzzer.run("-runs=20000", "-seed=1")
    assert found is not None
    assert "SESSIONS DIFFER" in found or "Sanitizer" in found


@pytest.mark.parametrize("bug", CHECKED)
def test_vectors_and_hashlib_see(bug: str, tmp_path: Path) -> None:
    name, right, wrong, check = CHECKED[bug]
    driver = Driver(driver_of(tmp_path, "plain", instead=changed(tmp_path, name, right, wrong)), plain=True)
    with pytest.raises(AssertionError):
        check(driver)
    driver.close()

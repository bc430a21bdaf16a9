"""The id of a node: the same after a restart, never the same for two that run."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from cvmd.errors import ConfigError
from cvmd.node import node_id


def test_it_is_the_same_after_a_restart(tmp_path: Path) -> None:
    with ExitStack() as stack:
        first = node_id(str(tmp_path), stack)
    with ExitStack() as stack:
        assert node_id(str(tmp_path), stack) == first
    assert (len(first[0]), first[1]) == (16, True)


def test_inv10_a_second_process_does_not_get_the_first_one_s(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with ExitStack() as stack:
        first, kept = node_id(str(tmp_path), stack)
        second, second_kept = node_id(str(tmp_path), stack)
    assert (kept, second_kept) == (True, False)
    assert first != second
    assert "another cvmd" in caplog.text


def test_without_a_directory_it_is_new_each_time() -> None:
    with ExitStack() as stack:
        assert node_id("", stack)[0] != node_id("", stack)[0]
        assert not node_id("", stack)[1]


def test_a_file_that_a_crash_cut_off_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "node.id").write_bytes(b"cut")
    with ExitStack() as stack:
        first, kept = node_id(str(tmp_path), stack)
    assert kept
    assert (tmp_path / "node.id").read_bytes() == first


def test_a_directory_that_is_not_there_is_said(tmp_path: Path) -> None:
    with ExitStack() as stack, pytest.raises(ConfigError, match=r"worker\.state_dir.*No such file"):
        node_id(str(tmp_path / "none"), stack)

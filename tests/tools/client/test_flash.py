from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.client import DirectoryFlash, Flash, MemoryFlash, OptionError


@pytest.fixture(params=["directory", "memory"])
def flash(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Flash]:
    if request.param == "memory":
        yield MemoryFlash()
        return
    with DirectoryFlash(tmp_path / "flash") as directory:
        yield directory


def test_both_kinds_keep_files_alike(flash: Flash) -> None:
    assert flash.read("a") is None
    flash.remove("a")
    flash.append("a", b"1")
    flash.append("a", b"2")
    assert flash.read("a") == b"12"
    flash.write("a", b"3")
    assert flash.read("a") == b"3"
    flash.remove("a")
    assert flash.read("a") is None


def test_only_the_owner_reads_what_is_private(tmp_path: Path) -> None:
    with DirectoryFlash(tmp_path / "flash") as flash:
        flash.append("part", b"1")
        flash.write("key", b"2")
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "flash").iterdir()}
    assert modes == {"part": 0o600, "key": 0o600}
    assert (tmp_path / "flash").stat().st_mode & 0o777 == 0o700


def test_what_a_cut_write_has_left_is_not_read_and_not_in_the_way(tmp_path: Path) -> None:
    with DirectoryFlash(tmp_path) as flash:
        flash.write("key", b"old")
        (tmp_path / "key.new").write_bytes(b"ne")
        (tmp_path / "key.new").chmod(0o644)
        assert flash.read("key") == b"old"
        flash.write("key", b"new")
        assert flash.read("key") == b"new"
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_two_clients_do_not_share_a_directory(tmp_path: Path) -> None:
    with DirectoryFlash(tmp_path), pytest.raises(OptionError, match="another client"):
        DirectoryFlash(tmp_path)
    with DirectoryFlash(tmp_path):
        pass


def test_a_directory_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OptionError, match="file"):
        DirectoryFlash(tmp_path / "file")

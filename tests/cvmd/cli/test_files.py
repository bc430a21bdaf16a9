"""Secrets in files: nobody else reads them, none is overwritten, none is repeated in a message."""

import errno
import os
import stat
from pathlib import Path

import pytest

from cvmd.cli import files
from cvmd.cli.common import Refused
from cvmd.errors import ConfigError
from cvmd.model import Secret
from cvmd.ports import StoreDown


def test_inv6_a_new_secret_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "token"

    files.write_new_secret(path, Secret(b"\x01\x02"))

    assert path.read_text() == "0102\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_secret_is_in_its_file_before_the_database_has_it(tmp_path: Path) -> None:
    path = tmp_path / "token"

    with files.written_first(path, Secret(b"\x01"), "cvmd show"):
        assert path.read_text() == "01\n"
    path.unlink()
    with pytest.raises(ConfigError), files.written_first(path, Secret(b"\x01"), "cvmd show"):
        raise ConfigError("refused")
    assert not path.exists()
    with (
        pytest.raises(StoreDown, match=r"gone; keep .*token if .cvmd show"),
        files.written_first(path, Secret(b"\x01"), "cvmd show"),
    ):
        raise StoreDown("gone")
    assert path.exists()
    with pytest.raises(StoreDown, match=r"^gone$"), files.written_first(None, Secret(b"\x01"), "cvmd show"):
        raise StoreDown("gone")


@pytest.mark.parametrize("target", ["file", "link", "dangling"])
def test_what_is_there_is_not_overwritten(tmp_path: Path, target: str) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")

    with pytest.raises(Refused, match="not overwritten"):
        files.write_new_secret(tmp_path / target, Secret(b"\x01"))

    assert (tmp_path / "file").read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()


def test_a_place_that_cannot_hold_it_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere/token: cannot be made: No such file"):
        files.write_new_secret(tmp_path / "nowhere" / "token", Secret(b"\x01"))


def test_a_disk_that_is_full_leaves_no_half_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(ConfigError, match="cannot be written: No space left"):
        files.write_new_secret(tmp_path / "token", Secret(b"\x01"))
    assert not list(tmp_path.iterdir())


def _token_file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "token"
    path.write_text(text)
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("size", [16, 32, 64])
def test_a_token_of_16_to_64_bytes_is_read(tmp_path: Path, size: int) -> None:
    token = bytes(range(size))

    assert files.read_token(_token_file(tmp_path, f" {token.hex().upper()}\n")).reveal() == token


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("5ec7e7" * 5, "16 to 64 random bytes, this one 15; a shorter one can be guessed"),
        ("5ec7e7" * 22, "this one 66"),
        ("5ec7e7" * 7 + "5", "hex digits, two a byte"),
        ("5ec7e7" * 7 + "5ec7e7".replace("5", "g"), "hex digits"),
        ("5ec7e7" * 4 + "\n" + "5ec7e7" * 4, "hex digits"),
        ("5ec7e7" * 4 + "é", "hex digits"),
        ("\x00" * 64, "hex digits"),
        ("00" * 16, "16 times the same byte"),
    ],
)
def test_inv6_what_is_no_token_is_refused_and_not_repeated(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as refused:
        files.read_token(_token_file(tmp_path, text))

    assert "5ec7e7" not in str(refused.value)

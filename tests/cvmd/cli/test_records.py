"""The CSVs of an import: what was written outlives whoever wrote it, and nobody else reads it."""

import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cvmd.cli.records import Failures, Minted
from cvmd.errors import ConfigError
from cvmd.intake import Line
from cvmd.model import Secret

HEADER = "serial,token,product,thing,policy\n"
TOKEN = Secret(bytes(range(32)))


def write(path: Path, *serials: bytes) -> None:
    with Minted.open(path) as minted:
        minted.add([(serial, TOKEN, "meter", "t", "p,q") for serial in serials])


def test_what_one_import_minted_the_next_one_finds(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    write(path, b"A1", b"A2")
    with Minted.open(path) as minted:
        assert minted.token(b"A1") == minted.token(b"A2") == TOKEN
        assert minted.token(b"B1") is None
        minted.add([(b"B1", TOKEN, "meter", "t", "p")])
        assert minted.token(b"B1") == TOKEN
    hexed = TOKEN.reveal().hex()
    assert path.read_text() == (f'{HEADER}A1,{hexed},meter,t,"p,q"\nA2,{hexed},meter,t,"p,q"\nB1,{hexed},meter,t,p\n')


def test_inv6_its_owner_alone_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    write(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="others may read or write it"), Minted.open(path):
        pass


def test_inv6_a_file_of_somebody_else_gets_no_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.csv"
    os.mkfifo(path, 0o600)
    with pytest.raises(ConfigError, match="is no file of your own"), Minted.open(path):
        pass
    path.unlink()
    write(path)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    with pytest.raises(ConfigError, match="is no file of your own"), Minted.open(path):
        pass


def test_inv6_failed_lines_go_into_a_new_file(tmp_path: Path) -> None:
    path, part, other = (tmp_path / name for name in ("failed.csv", "failed.csv.part", "master.key"))
    other.write_text("precious")
    part.symlink_to(other)
    Failures(path).close()
    assert other.read_text() == "precious"
    part.touch(0o666)
    part.chmod(0o666)
    failures = Failures(path)
    assert stat.S_IMODE(part.stat().st_mode) == 0o600
    failures.close()


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_what_was_half_written_is_taken_away(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "out.csv"
    write(path, b"A1", b"A2")
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    with Minted.open(path) as minted:
        assert minted.token(b"A1") == TOKEN
        assert minted.token(b"A2") is None
        minted.add([(b"A2", TOKEN, "meter", "t", "p,q")])
    assert path.read_bytes() == whole


@pytest.mark.parametrize("text", ["", "serial,tok"])
def test_a_file_that_has_not_begun_is_begun(tmp_path: Path, text: str) -> None:
    path = tmp_path / "out.csv"
    path.write_text(text)
    path.chmod(0o600)
    write(path)
    assert path.read_text() == HEADER


@pytest.mark.parametrize(
    "text",
    [
        "something else\n", "serial,token\n", HEADER + "A1\n", HEADER + "A1,xyz,m,t,p\n",
        HEADER + "A1,,m,t,p\n",  # a list of devices that is to be filled in: no token is one that everybody knows
        HEADER + "A1,0badc0de,m,t,p\n",
    ],
)  # fmt: skip
def test_another_file_is_left_as_it_is(tmp_path: Path, text: str) -> None:
    path = tmp_path / "out.csv"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="is not what an import has written"), Minted.open(path):
        pass
    assert path.read_text() == text


def test_two_imports_do_not_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    with Minted.open(path), pytest.raises(ConfigError, match="another import writes it now"), Minted.open(path):
        pass
    write(path, b"A1")


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"), Minted.open(tmp_path / "none" / "out.csv"):
        pass
    with pytest.raises(ConfigError, match="No such file"):
        Failures(tmp_path / "none" / "failed.csv")


@contextmanager
def no_room_beyond(size: int) -> Iterator[None]:
    """As on a full disk, no file of this process grows beyond `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_is_full_is_said_once(tmp_path: Path) -> None:
    out, failed = tmp_path / "out.csv", tmp_path / "failed.csv"
    with no_room_beyond(0), pytest.raises(ConfigError, match="cannot be written: File too large"), Minted.open(out):
        pass
    with no_room_beyond(100), Minted.open(out) as minted:
        with pytest.raises(OSError, match="File too large"):
            minted.add([(b"A1", TOKEN, "meter", "t", "p")])
        assert minted.token(b"A1") is None
    with no_room_beyond(20):
        failures = Failures(failed)
        with pytest.raises(OSError, match="File too large"):
            failures.finish()
        failures.close()
    assert [it.name for it in tmp_path.iterdir()] == ["out.csv"]
    with Minted.open(out) as minted:
        minted.add([(b"A1", TOKEN, "meter", "t", "p")])
    assert out.read_text() == f"{HEADER}A1,{TOKEN.reveal().hex()},meter,t,p\n"


def test_failed_lines_are_there_once_all_were_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "failed.csv"
    failures = Failures(path)
    failures.add(Line(7, ("A 1", "", "me,ter", "t", "p")), "no serial")
    assert not path.exists()
    failures.finish()
    assert path.read_text() == 'serial,token,product,thing,policy,reason\nA 1,,"me,ter",t,p,line 7: no serial\n'
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(it.name for it in tmp_path.iterdir()) == ["failed.csv"]


def test_two_imports_do_not_write_one_file_of_failed_lines(tmp_path: Path) -> None:
    path = tmp_path / "failed.csv"
    failures = Failures(path)
    with pytest.raises(ConfigError, match="another import writes it now"):
        Failures(path)
    failures.add(Line(7, ("A1", "", "meter", "t", "p")), "why")
    failures.finish()
    assert path.read_text().endswith("A1,,meter,t,p,line 7: why\n")
    Failures(path).close()


def test_those_of_a_former_run_are_kept_beside(tmp_path: Path) -> None:
    path = tmp_path / "failed.csv"
    path.write_text("mended by hand")
    broken_off = Failures(path)
    broken_off.close()
    assert path.read_text() == "mended by hand"
    Failures(path).finish()
    assert sorted(it.name for it in tmp_path.iterdir()) == ["failed.csv~"]
    assert (tmp_path / "failed.csv~").read_text() == "mended by hand"

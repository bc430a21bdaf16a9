"""`cvmd secrets new`, run as a process."""

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cvmd.sealing import load_master_key

Cli = Callable[..., Any]


def test_inv6_a_new_master_key_is_in_its_file_alone(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "master.key"

    made = cli("secrets", "new", path)

    assert made.code == 0
    key = load_master_key(path).reveal()
    assert len(key) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert key.hex() not in made.out + made.err


def test_two_keys_differ_and_none_is_overwritten(cli: Cli, tmp_path: Path) -> None:
    cli("secrets", "new", "one")
    cli("secrets", "new", "two")
    one = (tmp_path / "one").read_text()

    assert "one: exists and is not overwritten" in cli("secrets", "new", "one").complaint(1)
    assert (tmp_path / "one").read_text() == one != (tmp_path / "two").read_text()

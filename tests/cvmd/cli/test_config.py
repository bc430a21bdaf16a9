"""`cvmd config`, run as a process."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from cvmd import config

Cli = Callable[..., Any]


def test_the_example_passes_its_own_check(cli: Cli, tmp_path: Path) -> None:
    example = cli("config", "--example")
    file = tmp_path / "cvmd.toml"
    file.write_text(example.out)

    checked = cli("config", "--check", file)

    assert (checked.code, checked.out, checked.err) == (0, f"{file}: ok\n", "")
    assert config.load(file) == config.Config()


def test_a_check_says_the_key_and_the_remedy(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "cvmd.toml"
    file.write_text("[listen]\nprot = 7433\n")

    complaint = cli("config", "--check", file).complaint(2)

    assert complaint == f"cvmd: {file}: listen.prot: unknown key; did you mean port?"


def test_a_file_that_is_not_there_is_a_configuration_error(cli: Cli) -> None:
    assert "no such file" in cli("config", "--check", "nothing.toml").complaint(2)

"""The command itself: version, usage, and what a user sees when something expected goes wrong."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cvmd

Cli = Callable[..., Any]


@pytest.mark.parametrize("spelling", ["version", "--version"])
def test_the_version_is_the_packages(cli: Cli, spelling: str) -> None:
    ran = cli(spelling)

    assert (ran.code, ran.out, ran.err) == (0, f"cvmd {cvmd.__version__}\n", "")


def test_the_help_names_every_noun_and_the_exit_codes(cli: Cli) -> None:
    ran = cli("--help")

    assert ran.code == 0
    for word in ("serve", "config", "secrets", "db", "products", "devices", "version", "exit codes"):
        assert word in ran.out


@pytest.mark.parametrize("arguments", [(), ("vend",), ("devices",), ("devices", "ls"), ("config",)])
def test_wrong_usage_is_code_2_with_the_usage(cli: Cli, arguments: tuple[str, ...]) -> None:
    ran = cli(*arguments)

    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("usage: cvmd")


VERBS = [
    ("serve",), ("db", "migrate"), ("db", "status"), ("products", "list"), ("products", "show", "p"),
    ("devices", "list"), ("devices", "show", "A1"), ("devices", "disable", "A1"), ("devices", "enable", "A1"),
]  # fmt: skip


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_every_verb_wants_its_configuration(cli: Cli, verb: tuple[str, ...]) -> None:
    complaint = cli(*verb, "--config", "nothing.toml").complaint(2)

    assert complaint == "cvmd: nothing.toml: no such file; make one with `cvmd config --example > nothing.toml`"


@pytest.mark.parametrize("verb", VERBS[3:], ids=" ".join)
def test_a_database_without_tables_is_answered_with_what_to_run(
    cli: Cli, configuration: Path, verb: tuple[str, ...]
) -> None:
    complaint = cli(*verb, "--config", configuration).complaint(2)

    assert "cvmd db migrate" in complaint


@pytest.mark.parametrize("verb", VERBS[2:], ids=" ".join)
def test_a_database_that_is_down_is_code_3(cli: Cli, tmp_path: Path, verb: tuple[str, ...]) -> None:
    url = f"mysql+pymysql://cvmd@localhost/cvmd?unix_socket={tmp_path}/nobody.sock"
    file = tmp_path / "cvmd.toml"
    file.write_text(f'[database]\nurl = "{url}"\ntimeout_s = 0.1\n')

    complaint = cli(*verb, "--config", file).complaint(3)

    assert complaint.endswith("the server cannot be reached (2003); see [database] in the configuration")


def test_a_reader_that_leaves_is_no_traceback(cli: Cli) -> None:
    """As `cvmd config --example | head -1` does, when head is gone before the writing."""
    writer = subprocess.Popen(
        [sys.executable, "-m", "cvmd", "config", "--example"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert writer.stdout is not None
    writer.stdout.close()
    _, complaint = writer.communicate(timeout=60)

    assert (writer.returncode, complaint) == (1, b"")


def test_an_output_that_is_closed_is_no_traceback() -> None:
    ran = subprocess.run(
        ["sh", "-c", 'exec "$0" -m cvmd config --example >&-', sys.executable], capture_output=True, check=False
    )

    assert (ran.returncode, ran.stderr) == (
        2, b"cvmd: standard output is closed: give it somewhere to go, /dev/null at least\n",
    )  # fmt: skip


@pytest.mark.parametrize("verb", [("config", "--example"), ("devices", "list", "--json"), ("devices", "list")])
def test_a_disk_that_is_full_is_no_traceback(admin: Cli, configuration: Path, verb: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "cvmd", *verb, *(["--config", configuration] if verb[0] == "devices" else [])]
    with open("/dev/full", "w") as full:
        ran = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)

    assert ran.returncode == 1
    assert ran.stderr == (
        "cvmd: it cannot be written: No space left on device; make room, and run the same command again\n"
    )

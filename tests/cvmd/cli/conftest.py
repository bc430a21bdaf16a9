"""The command line as a user has it: a process, a configuration file, a database on SQLite."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import cvmd


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its output as the document that it is."""
        return json.loads(self.out)

    def complaint(self, code: int) -> str:
        """The one line on stderr of a command that ended with `code` and printed nothing."""
        assert (self.code, self.out) == (code, ""), self
        assert self.err.startswith("cvmd: "), self.err
        assert self.err.count("\n") == 1, self.err
        return self.err.strip()


Cli = Callable[..., Ran]


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Runs `cvmd` with these arguments in an empty directory."""
    environment = {**os.environ, "PYTHONPATH": str(Path(cvmd.__file__).parents[1]), "TERM": "dumb"}
    environment.pop("CREDENTIALS_DIRECTORY", None)

    def run(*arguments: str | Path) -> Ran:
        command = [sys.executable, "-m", "cvmd", *map(str, arguments)]
        ran = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        return Ran(ran.returncode, ran.stdout, ran.stderr)

    return run


@pytest.fixture
def configuration(tmp_path: Path, cli: Cli) -> Path:
    """A configuration with a master key, and a database that nobody has made yet."""
    key = tmp_path / "master.key"
    assert cli("secrets", "new", key).code == 0
    file = tmp_path / "cvmd.toml"
    file.write_text(
        f'[database]\nurl = "sqlite:///{tmp_path}/cvmd.db"\n[secrets]\nmaster_key_file = "{key}"\n'
    )
    return file


@pytest.fixture
def admin(configuration: Path, cli: Cli) -> Cli:
    """Runs `cvmd <noun> <verb> --config …` on a migrated database."""

    def run(noun: str, verb: str, *arguments: str | Path) -> Ran:
        return cli(noun, verb, "--config", configuration, *arguments)

    assert run("db", "migrate").code == 0
    return run

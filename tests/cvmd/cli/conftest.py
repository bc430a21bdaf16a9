"""The command line as a user has it: a process, a configuration file, a database on SQLite."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import forks
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
TOKEN = bytes(range(32))


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Runs `cvmd` with these arguments in the test's own directory."""
    return _in(tmp_path)


def _in(directory: Path) -> Cli:
    forks.start_server()
    environment = {**os.environ, "PYTHONPATH": str(Path(cvmd.__file__).parents[1]), "TERM": "dumb"}
    environment.pop("CREDENTIALS_DIRECTORY", None)

    def run(*arguments: str | Path) -> Ran:
        command = [sys.executable, "-m", "cvmd", *map(str, arguments)]
        running = forks.Command.popen(
            command, cwd=directory, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        out, err = running.communicate()
        return Ran(running.returncode, out, err)

    return run


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a master key and a migrated database, made once to be copied."""
    directory = tmp_path_factory.mktemp("installed")
    cli, file = _in(directory), directory / "cvmd.toml"
    file.write_text(_toml(directory))
    assert cli("secrets", "new", "master.key").code == 0
    assert cli("db", "migrate", "--config", file).code == 0
    return directory


@pytest.fixture
def configuration(installed: Path, tmp_path: Path) -> Path:
    """A configuration with a master key, and a database that nobody has made yet."""
    shutil.copy(installed / "master.key", tmp_path)
    file = tmp_path / "cvmd.toml"
    file.write_text(_toml(tmp_path))
    return file


@pytest.fixture
def admin(installed: Path, configuration: Path, tmp_path: Path, cli: Cli) -> Cli:
    """Runs `cvmd <noun> <verb> --config …` on a migrated database."""
    shutil.copy(installed / "cvmd.db", tmp_path)

    def run(noun: str, verb: str, *arguments: str | Path) -> Ran:
        return cli(noun, verb, "--config", configuration, *arguments)

    return run


def _toml(directory: Path) -> str:
    url, key = f"sqlite:///{directory}/cvmd.db", f"{directory}/master.key"
    return f'[database]\nurl = "{url}"\n[secrets]\nmaster_key_file = "{key}"\n'


@pytest.fixture
def product(admin: Cli) -> str:
    """A product for devices to be of."""
    assert admin("products", "add", "meter").code == 0
    return "meter"


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(TOKEN.hex())
    path.chmod(0o600)
    return path


@pytest.fixture
def add(admin: Cli, product: str, token_file: Path) -> Cli:
    """Adds a device; a keyword replaces an option, None leaves it out."""

    def run(serial: str = "A1", **options: Any) -> Any:
        said = {"product": product, "thing": f"thing-{serial}", "policy": "p", "token_file": token_file} | options
        pairs = [(f"--{name.replace('_', '-')}", value) for name, value in said.items() if value is not None]
        return admin("devices", "add", serial, *(part for pair in pairs for part in pair))

    return run

"""A whole cvmd on this machine: the stand-in for AWS, a database, the daemon. For the demo, tests and
benchmarks.

Everything is a process of its own, as in production, and everything lies below one directory. The daemon is
driven by its command line alone, so that what works here works for an operator.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from signal import SIGTERM, Signals
from types import TracebackType
from typing import Any, ClassVar, Self
from urllib.parse import urlsplit

from tools.awsiot import Control

READY_WITHIN_S = 60.0
ENVIRONMENT = {
    # Any credentials serve the stand-in; real ones of whoever runs this must not reach it.
    "AWS_ACCESS_KEY_ID": "standin",
    "AWS_SECRET_ACCESS_KEY": "standin",
    "AWS_SESSION_TOKEN": "",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_DEFAULT_REGION": "us-east-1",
}


class Process:
    """A child that is known by its pid, and ended by it."""

    popen: ClassVar[Callable[..., Any]] = subprocess.Popen
    """How a command is started; tests have one that is quicker."""

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> None:
        self.log = log
        with log.open("ab") as stderr:
            self._popen = Process.popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env={**os.environ, **(environment or {})},
            )
        self.pid = self._popen.pid

    def first_line(self) -> str:
        """The first line of its standard output; RuntimeError with the end of its log if it ends before."""
        assert self._popen.stdout is not None, "opened as a pipe"
        line: str = self._popen.stdout.readline()
        if not line:
            self.raise_ended()
        return line

    def log_lines(self, event: str | None = None) -> list[dict[str, Any]]:
        """The JSON lines of its log, or those of one event."""
        text = self.log.read_text(errors="replace")
        # The last line may be half written.
        lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("}\n")]
        return [line for line in lines if event is None or line.get("event") == event]

    def listening(self) -> dict[str, Any]:
        """Its line that says where it listens, once it does; RuntimeError with the end of its log if it never does."""
        deadline = time.monotonic() + READY_WITHIN_S
        while not (lines := self.log_lines("listening")):
            if not self.running():
                self.raise_ended()
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.log.stem} does not listen: {self.log.read_text()[-2000:]}")
            time.sleep(0.02)
        return lines[-1]

    def running(self) -> bool:
        """Whether it is there still."""
        ended: bool = self._popen.poll() is not None
        return not ended

    def raise_ended(self) -> None:
        """RuntimeError that tells what its log ends with."""
        self.wait()
        code = self.end()  # it has ended: what is left of it is closed
        raise RuntimeError(f"{self.log.stem} ended with {code}: {self.log.read_text(errors='replace')[-2000:]}")

    def signal(self, number: Signals) -> None:
        """Send it a signal."""
        self._popen.send_signal(number)

    def wait(self, timeout_s: float = READY_WITHIN_S) -> int:
        """Its exit status, once it has ended."""
        code: int = self._popen.wait(timeout_s)
        return code

    def end(self, number: Signals = SIGTERM) -> int:
        """Signal it if it runs, and wait for its end; its exit status."""
        if self.running():
            self.signal(number)
        code = self.wait()
        if self._popen.stdout is not None:
            self._popen.stdout.close()
        return code


class Stack:
    """Stand-in and daemon. `database_url` "" is the embedded SQLite; a password in it is put into a file."""

    def __init__(
        self, directory: Path, *, database_url: str = "", standin: Sequence[str] = (), **settings: object
    ) -> None:
        """`settings`: config keys as section__key=value, over what a machine of its own needs."""
        self.directory = directory
        self.config = directory / "cvmd.toml"
        self.database_url = database_url or f"sqlite:///{directory}/cvmd.db"
        self._standin_options = standin
        self._settings = settings
        self._starts = 0
        self.daemon: Process | None = None
        self.standin: Process | None = None
        self.port = self.tls_port = 0
        """Where the daemon listens; 0: not so."""

    def __enter__(self) -> Self:
        try:
            self.start_standin()
            self.set_up()
            self.start_daemon()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End what runs; the directory stays."""
        for process in (self.daemon, self.standin):
            if process is not None:
                process.end()
        self.daemon = self.standin = None

    # The stand-in.

    def start_standin(self) -> None:
        """Start AWS's stand-in, which allows what cvmd's own IAM policy allows; `aws` drives it."""
        state, policy = self.directory / "awsiot", self.directory / "iam-policy.json"
        policy.write_text(_iam_policy())
        options = ["--state-dir", str(state), "--iam-policy", str(policy), *self._standin_options]
        command = [sys.executable, "-m", "tools.awsiot", *options]
        self.standin = Process(command, self.directory / "awsiot.log")
        answer = json.loads(self.standin.first_line())
        self.aws_url: str = answer["url"]
        self.ca = Path(answer["ca"])
        self.aws = Control(self.aws_url)

    # The daemon.

    def set_up(self) -> None:
        """Master key, configuration, schema."""
        self.cvmd("secrets", "new", str(self.directory / "master.key"), config=False)
        self.write_config()
        self.cvmd("db", "migrate", *self.migrating_login())

    def migrating_login(self) -> list[str]:
        """The options of `cvmd db migrate`: on MySQL another login than the daemon's; the password is the same."""
        login = urlsplit(self.database_url).username
        return ["--login", f"{login}-migrate"] if login else []

    def write_config(self, **settings: object) -> None:
        """The daemon's TOML: what this machine needs, then the stack's settings, these from now on among them."""
        url, password = _without_password(self.database_url)
        tables: dict[str, dict[str, object]] = {
            "listen": {"port": self.port, "trusted_network": True},
            "tls": {"port": self.tls_port},
            "database": {"url": url},
            "secrets": {"master_key_file": str(self.directory / "master.key")},
            "aws": {"region": "us-east-1", "endpoint_url": self.aws_url, "root_ca": str(self.ca)},
        }
        if password:
            file = self.directory / "database.password"
            file.touch(mode=0o600)
            file.write_text(password)
            tables["database"]["password_file"] = str(file)
        self._settings.update(settings)
        for name, value in self._settings.items():
            section, _, key = name.partition("__")
            tables.setdefault(section, {})[key] = value
        # JSON's numbers, strings, booleans and lists are TOML's too.
        lines = (
            f"[{section}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
            for section, keys in tables.items()
        )
        self.config.write_text("\n".join(lines))

    def start_daemon(self) -> None:
        """Start the daemon and wait until it listens; `port` and `tls_port` are where, the same after every start."""
        self._starts += 1
        self.write_config()
        log = self.directory / f"cvmd-{self._starts}.log"
        command = [sys.executable, "-m", "cvmd", "serve", "--config", str(self.config)]
        self.daemon = Process(command, log, ENVIRONMENT)
        said = self.daemon.listening()
        self.port, self.tls_port = (int(said.get(name, ":0").rpartition(":")[2]) for name in ("address", "tls_address"))

    def log_lines(self, event: str | None = None) -> list[dict[str, Any]]:
        """The running daemon's log, or the lines of one event."""
        assert self.daemon is not None, "start_daemon has run"
        return self.daemon.log_lines(event)

    def stop_daemon(self, number: Signals = SIGTERM) -> int:
        """End the daemon; its exit status."""
        assert self.daemon is not None, "start_daemon has run"
        return self.daemon.end(number)

    def cvmd(self, *arguments: str, config: bool = True, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a verb of the command line; RuntimeError with what it said if it fails and `check`."""
        command = [
            sys.executable,
            "-m",
            "cvmd",
            *arguments,
            *(["--config", str(self.config)] if config else []),
        ]
        running = Process.popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, **ENVIRONMENT},
        )  # fmt: skip
        output, errors = running.communicate()
        if check and running.returncode:
            raise RuntimeError(f"cvmd {' '.join(arguments)}: exit {running.returncode}: {errors.strip()}")
        return subprocess.CompletedProcess(command, running.returncode, output, errors)

    # What an operator does.

    def add_product(self, name: str, *options: str) -> None:
        """`cvmd products add`."""
        self.cvmd("products", "add", name, *options)

    def add_device(self, serial: str, product: str, *, thing: str, policy: str, aws: bool = True) -> Path:
        """`cvmd devices add` with a minted token; the token's file. `aws`: make thing and policy there
        too."""
        if aws:
            self.aws.seed_things([thing])
            self.aws.seed_policies([policy])
        token_file = self.directory / f"token-{secrets.token_hex(6)}.hex"
        self.cvmd(
            "devices", "add", serial, "--product", product, "--thing", thing, "--policy", policy,
            "--token-out", str(token_file),
        )  # fmt: skip
        return token_file


@cache
def _iam_policy() -> str:
    """As an operator gets it."""
    done = subprocess.run(
        [sys.executable, "-m", "cvmd", "accounts", "policy"], capture_output=True, text=True, check=True
    )
    return done.stdout


def _without_password(url: str) -> tuple[str, str]:
    """The URL as the configuration takes it, and the password that was in it."""
    head, at, tail = url.rpartition("@")
    scheme, slashes, user = head.partition("://")
    name, colon, password = user.partition(":")
    return (f"{scheme}{slashes}{name}{at}{tail}", password) if colon else (url, "")

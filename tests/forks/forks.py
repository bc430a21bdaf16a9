"""Processes that cost no more than a fork: `python -m cvmd` and the stand-in, whose imports a server has made once.

A stack is some ten processes, each of which would import for longer than it works. What is forked here runs the same
module as `__main__`, with streams, environment and process id of its own.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from io import TextIOWrapper
from multiprocessing import forkserver
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import IO, Any

import pytest

from cvmd import app, cli
from cvmd.issuer.aws_iot import AwsIot, AwsSettings
from cvmd.model import Account
from tools.awsiot import __main__ as awsiot
from tools.stack import ENVIRONMENT

FORKED = {"cvmd", "tools.awsiot"}
"""Modules that run as forks."""
LOADED = (app, cli, awsiot)
"""For their imports, before the first fork."""

_context = multiprocessing.get_context("forkserver")
_one_asks = threading.Lock()
"""multiprocessing takes a child's status once: of two threads that ask at a time one would get another answer."""


def warm_up() -> None:
    """What costs most of a start, done once before the forks: boto3 loads its model of AWS at the first client."""
    os.environ.update(ENVIRONMENT)
    AwsIot(AwsSettings(region="us-east-1"))._client(Account(0, "", None, "http://127.0.0.1:1", None, None, 1))


def start_server() -> None:
    """The server that forks, if it does not run yet: it has imported all, and warmed up."""
    multiprocessing.set_forkserver_preload(["warm"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))
        forkserver.ensure_running()


class Child:
    """A fork that runs `target(*args)`."""

    def __init__(self, target: Callable[..., object], *args: object) -> None:
        with _one_asks:
            self._process = _context.Process(target=target, args=args, daemon=True)
            self._process.start()
        assert self._process.pid is not None, "it was started"
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        with _one_asks:
            self._process.join(0)
            return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Nothing if it has ended: its id may be another's by now."""
        if self.poll() is None:
            os.kill(self.pid, number)


class Command(Child):
    """A fork that is `python -m module arguments`; what tools.stack needs of subprocess.Popen."""

    def __init__(
        self, module: str, arguments: Sequence[str], stdout: int, stderr: int, environment: Mapping[str, str], cwd: str
    ) -> None:
        super().__init__(_be, module, arguments, DupFd(stdout), DupFd(stderr), dict(environment), cwd)
        self.stdout: TextIOWrapper | None = None
        self._stderr: IO[bytes] | None = None

    @classmethod
    def popen(
        cls,
        command: Sequence[str],
        *,
        stdout: int,
        stderr: int | IO[bytes],
        env: Mapping[str, str],
        cwd: Path | None = None,
        **others: Any,
    ) -> Command | subprocess.Popen[str]:
        """As subprocess.Popen, which it is for all that is not to be forked. `stdout` is PIPE."""
        _, dash_m, module, *arguments = command
        if dash_m != "-m" or module not in FORKED:
            return subprocess.Popen(command, stdout=stdout, stderr=stderr, env=env, cwd=cwd, **others)
        errors = tempfile.TemporaryFile() if stderr == subprocess.PIPE else None  # noqa: SIM115  # lives as this does
        to = errors.fileno() if errors else stderr if isinstance(stderr, int) else stderr.fileno()
        reading, writing = os.pipe()
        try:
            made = cls(module, arguments, writing, to, env, str(cwd or Path.cwd()))
        finally:
            os.close(writing)
        made.stdout, made._stderr = os.fdopen(reading), errors
        return made

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, once it has ended; raises subprocess.TimeoutExpired."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            left_s = None if deadline is None else deadline - time.monotonic()
            if left_s is not None and left_s <= 0:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            multiprocessing.connection.wait([self._process.sentinel], left_s)
        return code

    def communicate(self) -> tuple[str, str]:
        """All that it writes to both streams, once it has ended."""
        assert self.stdout is not None, "made by popen"
        with self.stdout:
            output = self.stdout.read()
        self.returncode = self.wait()
        if self._stderr is None:
            return output, ""
        with self._stderr:
            self._stderr.seek(0)
            return output, self._stderr.read().decode()


def _be(
    module: str, arguments: Sequence[str], stdout: Any, stderr: Any, environment: Mapping[str, str], cwd: str
) -> None:
    """In the child."""
    os.chdir(cwd)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    os.dup2(stdout.detach(), 1)
    os.dup2(stderr.detach(), 2)
    sys.argv = [module, *arguments]
    code: object = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as done:
        code = done.code
    except BaseException:  # as the interpreter does of a program
        sys.excepthook(*sys.exc_info())
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))  # no handlers of the server

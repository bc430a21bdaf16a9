"""Real daemons, real databases, real clients."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import forks
import pytest
from harness import MakeStack, with_products

from tools.mariadb import MariaDB
from tools.stack import Process, Stack


@pytest.fixture(scope="session", autouse=True)
def _forked() -> Iterator[None]:
    """All processes of stacks are forks."""
    forks.start_server()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Process, "popen", forks.Command.popen)
        yield


@pytest.fixture
def make_stack(tmp_path: Path) -> Iterator[MakeStack]:
    """Starts stacks, each in its own directory; all are ended after the test."""
    stacks: list[Stack] = []

    def make(**settings: Any) -> Stack:
        directory = tmp_path / f"stack{len(stacks)}"
        directory.mkdir()
        settings.setdefault("standin", ["--ca-key", "ec"])
        stack = Stack(directory, **settings)
        stacks.append(stack)
        stack.__enter__()
        return stack

    yield make
    for stack in stacks:
        stack.close()


@pytest.fixture
def stack(make_stack: MakeStack) -> Stack:
    """On SQLite, with a product for each key source."""
    return with_products(make_stack(deadlines__auth_delay_ms=50))


@pytest.fixture
def mariadb_stack(make_stack: MakeStack, mariadb: MariaDB, mariadb_url: str) -> Stack:
    """The same on MariaDB."""
    return with_products(make_stack(database_url=mariadb_url, deadlines__auth_delay_ms=50))


@pytest.fixture
def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])

"""A whole cvmd whose daemon is forked, dies by plan and is started anew; and devices that ask until they are done."""

from __future__ import annotations

import itertools
import json
import os
import random
import secrets
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from signal import SIGTERM, Signals
from subprocess import CompletedProcess
from typing import Any, Protocol, TypeVar

import pytest
from forks import Child
from harness import KEY_SOURCES, caller, rows, seed, with_products
from node import NOTHING, Orders, Plan, run

from tools.client import DeviceStorage, Done, MemoryFlash, Options, Outcome, vend
from tools.mariadb import MariaDB
from tools.stack import Stack

WITHIN_S = 180.0
"""By then what a test waits for has happened, or it fails."""
CREATE, ACTIVATE = "CreateCertificateFromCsr", "UpdateCertificate"
SHORT = {
    "worker__state_dir": "",  # each setting that a test changes: the next daemon has it as it was
    "worker__lease_s": 3.0,
    "worker__poll_ms": 50,
    "disposal__poll_s": 0.5,
    "database__timeout_s": 1.0,
    "aws__connect_timeout_s": 0.5,
    "aws__read_timeout_s": 1.0,
    "deadlines__request_s": 2.0,
    "listen__max_per_source": 1000,
}
"""Waits that end soon, in the ratios that the configuration demands."""

PRODUCTS = ["ec", "csr", *(pytest.param(it, marks=pytest.mark.full) for it in KEY_SOURCES if it not in ("ec", "csr"))]
"""For tests that repeat a vend many times: with each key source where there is time, else with the two cheap ones."""

_numbers = itertools.count(1)


def wait_until(
    holds: Callable[[], Any], what: str, *seen: object, pause_s: float = 0.01, within_s: float = WITHIN_S
) -> Any:
    """What `holds` returns once it is true; else the test fails after a while, and shows what was `seen` by then."""
    deadline = time.monotonic() + within_s
    while not (answer := holds()):
        assert time.monotonic() < deadline, (what, *map(str, seen))
        time.sleep(pause_s)
    return answer


def _free_port() -> int:
    """One that no outgoing connection is given while its daemon is dead: below those that the kernel hands out."""
    while True:
        port = random.randrange(10_000, 32_768)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


class Forked(Child):
    """A daemon that was forked. As tools.stack.Process, of another parent."""

    def __init__(self, orders: Orders) -> None:
        super().__init__(run, orders)
        self.log, self._trace = orders.log, orders.trace

    def __str__(self) -> str:
        """The end of its log."""
        return self.log.read_text()[-2000:]

    def running(self) -> bool:
        """Whether it is there still."""
        return self.poll() is None

    def signal(self, number: Signals) -> None:
        """Send it a signal."""
        assert self.running(), "it has ended"
        self.send_signal(number)

    def wait(self) -> int | None:
        """Its exit status, once it has ended."""
        wait_until(lambda: not self.running(), f"{self.log} ends")
        return self.poll()

    def end(self, number: Signals = SIGTERM) -> int | None:
        """Signal it if it runs, and wait for its end; its exit status."""
        if self.running():
            self.signal(number)
        return self.wait()

    @property
    def port(self) -> int:
        """Where it listens; 0 as long as it does not."""
        text = self.log.read_text() if self.log.exists() else ""
        for line in text.splitlines(keepends=True):
            if line.endswith("}\n") and (said := json.loads(line)).get("event") == "listening":
                return int(said["address"].rpartition(":")[2])
        return 0

    def trace(self, *kinds: str) -> list[list[str]]:
        """The lines of its trace that begin with one of these words."""
        lines = self._trace.read_text().splitlines() if self._trace.exists() else []
        return [words for words in map(str.split, lines) if words[0] in kinds]


class Rig(Stack):
    """A stack on MariaDB whose daemons and commands are forks. It is used for case after case, a new device in each."""

    def __init__(self, directory: Path, mariadb: MariaDB) -> None:
        self._mariadb = mariadb
        self._database = f"crash_{directory.name}_{secrets.token_hex(4)}"
        super().__init__(
            directory, database_url=mariadb.create_database(self._database), standin=["--ca-key", "ec"], **SHORT
        )
        self.port = _free_port()

    def __enter__(self) -> Rig:
        self.start_standin()
        self.set_up()
        with_products(self)
        return self

    def close(self) -> None:
        super().close()
        self._mariadb.drop_database(self._database)

    def cvmd(self, *arguments: str, config: bool = True, check: bool = True) -> CompletedProcess[str]:
        """As Stack's, by a fork: the output is of both streams."""
        command = (*arguments, *(["--config", str(self.config)] if config else []))
        log = self.directory / f"command-{next(_numbers)}.log"
        code = Forked(Orders(command, log, Path(os.devnull))).wait()
        output = log.read_text()
        if code is None or (check and code):
            raise RuntimeError(f"cvmd {' '.join(arguments)}: exit {code}: {output}")
        return CompletedProcess(command, code, output, output)

    def start_daemon(self, plan: Plan = NOTHING, **settings: object) -> None:
        """The daemon, at the same port always; by `plan` it may be dead already when this returns."""
        self.daemon = self.start_node(plan, self.port, **settings)

    def start_node(self, plan: Plan = NOTHING, port: int = 0, **settings: object) -> Forked:
        """A daemon on this stack's database; returns when it listens, or is dead by its plan."""
        self.write_config(**{**SHORT, "listen__port": port, **settings})
        number = next(_numbers)
        config = self.config.with_name(f"node-{number}.toml")
        config.write_text(self.config.read_text())
        files = (self.directory / f"node-{number}.{kind}" for kind in ("log", "trace"))
        node = Forked(Orders(("serve", "--config", str(config)), *files, plan))
        wait_until(lambda: node.port or not node.running(), f"{node.log} says where it listens")
        assert node.port or plan.step, f"the daemon ended: {node}"
        return node

    def enrol(self, count: int, product: str) -> list[Device]:
        """New devices, each with thing and policy of its own."""
        serials = [f"{product}-{next(_numbers):06}" for _ in range(count)]
        fleet = [(it, secrets.token_bytes(32), f"thing-{it}", f"policy-{it}", product) for it in serials]
        seed(self, fleet)
        return [Device(caller(self, serial, token, product, attempts=1)) for serial, token, *_ in fleet]

    def vend_until_hit(self, product: str) -> list[Device]:
        """Bring one new device after another to the daemon, once each, until its plan has happened; those devices.

        How often it looks at what waits, and so how many devices it takes, is a matter of time.
        """
        node = self.daemon
        assert node is not None
        came: list[Device] = []

        def another() -> object:
            came.extend(self.enrol(1, product))
            came[-1].ask(self.port)
            assert node.running() or node.trace("hit"), f"the daemon ended: {node}"
            return node.trace("hit")

        wait_until(another, "the plan's step is reached", node)
        return came

    def vend_all(self, devices: Iterable[Device]) -> None:
        """Each asks until it is done."""
        for device in devices:
            wait_until(partial(device.ask, self.port), f"{device.serial} is done", device.told)

    def forget(self) -> None:
        """What a former case left in the database that would change the way of the next one."""
        self._mariadb.execute(
            f"UPDATE {self._database}.accounts SET data_endpoint = NULL",
            f"UPDATE {self._database}.breakers SET failures = 0",
        )

    def rows(self, statement: str) -> list[dict[str, Any]]:
        """What the database says."""
        return rows(self.database_url, statement)


class Device:
    """Asks again at once, whatever it was told. `bundles`: the ids of all that it was ever given a part of."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.serial = options.serial
        self.thing, self.policy = f"thing-{options.serial}", f"policy-{options.serial}"
        self.flash = MemoryFlash()
        self.bundles: set[bytes] = set()
        self.told: list[Outcome] = []

    def ask(self, port: int) -> bool:
        """One connection; whether that was the end of it."""
        outcome = vend(replace(self.options, port=port), self.flash).outcome
        self.told.append(outcome)
        kept = DeviceStorage(self.flash, self.serial).kept()
        if kept is not None:
            self.bundles.add(kept.bundle_id)
        return isinstance(outcome, Done)

    @property
    def certificate_id(self) -> str:
        """Of the certificate in use."""
        meta = DeviceStorage(self.flash, self.serial).installed()
        assert meta is not None, f"{self.serial} has no certificate: {self.told}"
        return meta.certificate_id

    @property
    def bundle_id(self) -> bytes:
        """Of what the certificate in use was delivered as."""
        meta = DeviceStorage(self.flash, self.serial).installed()
        assert meta is not None, f"{self.serial} has no certificate: {self.told}"
        return bytes.fromhex(meta.bundle_id)


Case = TypeVar("Case")
End = TypeVar("End")


class Everywhere(Protocol):
    """Runs cases on all rigs side by side."""

    def __call__(self, carry: Callable[[Rig, Case], End], cases: Iterable[Case]) -> list[End]:
        """carry(rig, case) of each; the answers in the order of the cases."""


Print = Callable[[str], None]
"""Prints at the end of the whole run, whichever worker this is."""

"""A version beside the next one, on one MariaDB under load: no device notices, and who is shut out says so."""

import itertools
import secrets
import shutil
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from harness import MakeStack, caller, rows, seed, with_products

import cvmd
from cvmd.store.schema import HEAD
from tools.client import Done, MemoryFlash, Options, vend
from tools.mariadb import MariaDB
from tools.stack import ENVIRONMENT, READY_WITHIN_S, Process, Stack

DEVICES = 6
SOME = 10
"""Vends by a node, of which each phase waits for so many."""
MIGRATION = '''"""Of a later version."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "{revision}", "{before}"
branch_labels = depends_on = None


def upgrade() -> None:
    {step}
'''
EXPAND = (
    'op.add_column("devices", sa.Column("colour", sa.String(16), server_default="grey", nullable=False))',
    'op.create_index("ix_issuances_updated_us", "issuances", ["updated_us"])',
    'op.create_table("paints", sa.Column("name", sa.String(16), primary_key=True))',
)
NEXT = f"{int(HEAD) + len(EXPAND):04}"
CONTRACT = (
    'op.alter_column("devices", "colour", server_default=None, existing_type=sa.String(16), existing_nullable=False)',
    f"op.execute(\"UPDATE deployment SET serves_from = '{NEXT}'\")",
)
AFTER = f"{int(NEXT) + len(CONTRACT):04}"


class Later:
    """The source of a later cvmd: this one's, with its migrations and with what they make of the tables."""

    def __init__(self, directory: Path, *steps: str) -> None:
        self._directory = directory
        for package in ("cvmd", "protocol"):
            shutil.copytree(Path(cvmd.__file__).parents[1] / package, directory / package)
        store, before = directory / "cvmd" / "store", HEAD
        for step in steps:
            revision = f"{int(before) + 1:04}"
            text = MIGRATION.format(revision=revision, before=before, step=step)
            (store / "migrations" / "versions" / f"{revision}_later.py").write_text(text)
            before = revision
        schema = (store / "schema.py").read_text()
        for old, new in (
            (f'\nHEAD = "{HEAD}"', f'\nHEAD = "{before}"'),
            ('\nOLDEST = "', f'\nOLDEST = "{NEXT}" or "'),
            ('\n    "devices",\n', '\n    "devices",\n    Column("colour", String(16), nullable=False),\n'),
        ):
            assert old in schema
            schema = schema.replace(old, new)
        (store / "schema.py").write_text(schema)

    def run(self, log: Path, config: Path, *arguments: str) -> Process:
        """Its `cvmd`, begun."""
        main = f"import sys; sys.path[0] = {str(self._directory)!r}; from cvmd.cli import main; sys.exit(main())"
        return Process([sys.executable, "-c", main, *arguments, "--config", str(config)], log, ENVIRONMENT)

    def migrate(self, stack: Stack) -> None:
        """`cvmd db migrate` of this version."""
        log = stack.directory / "migrate.log"
        migration = self.run(log, stack.config, "db", "migrate", *stack.migrating_login())
        assert migration.wait() == 0, log.read_text()
        migration.end()


class Load:
    """Devices that call for a new certificate again and again, each time of another node."""

    def __init__(self, devices: list[Options]) -> None:
        self.failed: list[object] = []
        self._devices = devices
        self._nodes: dict[str, int] = {}
        self._calling: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self._changed = threading.Condition()
        self._over = False

    @contextmanager
    def running(self) -> Iterator[None]:
        """They call meanwhile."""
        with ThreadPoolExecutor(len(self._devices)) as pool:
            calling = [pool.submit(self._call, it) for it in self._devices]
            try:
                yield
            finally:
                self._over = True
        for each in calling:
            each.result()

    def use(self, name: str, port: int) -> None:
        """From now on some call this node."""
        with self._changed:
            self._nodes[name] = port
            self._changed.notify_all()

    def leave(self, name: str) -> None:
        """Nobody calls it any more, and who did has ended."""
        with self._changed:
            del self._nodes[name]
            assert self._changed.wait_for(lambda: not self._calling[name], READY_WITHIN_S)

    def some_more(self, *names: str) -> None:
        """Wait until each of these nodes has carried out some more."""
        with self._changed:
            wanted = {name: self.done[name] + SOME for name in names}
            enough = self._changed.wait_for(
                lambda: self.failed or all(self.done[name] >= count for name, count in wanted.items()), READY_WITHIN_S
            )
        assert enough, self.done
        assert self.failed == []

    def _call(self, options: Options) -> None:
        flash = MemoryFlash()
        for number in itertools.count():
            with self._changed:
                if self._over or not self._changed.wait_for(lambda: self._nodes, READY_WITHIN_S):
                    return
                name, port = list(self._nodes.items())[number % len(self._nodes)]
                self._calling[name] += 1
            outcome: object = None
            try:
                outcome = vend(replace(options, port=port, renew=number > 0), flash).outcome
            finally:
                with self._changed:
                    self._calling[name] -= 1
                    if isinstance(outcome, Done):
                        self.done[name] += 1
                    else:
                        self.failed.append((name, outcome))
                    self._changed.notify_all()


def listening(stack: Stack, later: Later) -> tuple[Process, int]:
    """A node of that version on the stack's database, and its port."""
    config, log = stack.directory / "later.toml", stack.directory / "later.log"
    config.write_text(stack.config.read_text().replace(f"port = {stack.port}\n", "port = 0\n"))
    node = later.run(log, config, "serve")
    return node, int(node.listening()["address"].rpartition(":")[2])


@pytest.fixture
def load(mariadb: MariaDB, mariadb_url: str, make_stack: MakeStack) -> tuple[Stack, Load]:
    """Devices of both kinds of keys, which may have as many certificates as they like; nobody serves them yet."""
    stack = with_products(make_stack(database_url=mariadb_url, deadlines__auth_delay_ms=50))
    products = ["ec", "csr"] * (DEVICES // 2)
    for product in set(products):
        stack.cvmd("products", "set", product, "--reissue-limit", "unlimited")
    fleet = [(f"SN-{n}", secrets.token_bytes(32), f"thing-{n}", "policy", each) for n, each in enumerate(products)]
    seed(stack, fleet)
    return stack, Load([caller(stack, serial, token, product) for serial, token, _, _, product in fleet])


def test_inv10_two_versions_serve_side_by_side(
    load: tuple[Stack, Load], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    stack, devices = load
    following = Later(tmp_path / "next", *EXPAND)
    after = Later(tmp_path / "after", *EXPAND, *CONTRACT)
    with devices.running():
        devices.use("this", stack.port)
        devices.some_more("this")
        following.migrate(stack)
        devices.some_more("this")
        node, port = listening(stack, following)
        devices.use("next", port)
        devices.some_more("this", "next")

        devices.leave("this")  # it begins anew on tables that are newer than it is
        stack.stop_daemon()
        stack.start_daemon()
        devices.use("this", stack.port)
        devices.some_more("this", "next")

        devices.leave("this")
        after.migrate(stack)
        assert stack.daemon is not None
        assert (stack.daemon.wait(), stack.daemon.end()) == (2, 2), "it sees that the tables are not for it any more"
        assert f"for a cvmd of revision {NEXT} or later; this one is of {HEAD}" in stack.daemon.log.read_text()
        with pytest.raises(RuntimeError, match=f"ended with 2: .*this one is of {HEAD}: upgrade cvmd"):
            stack.start_daemon()
        devices.some_more("next")
    assert devices.failed == []
    assert node.end() == 0

    active = rows(stack.database_url, "SELECT device_id FROM certificates WHERE status = 'active'")
    assert len(active) == DEVICES
    assert stack.aws.calls("CreateCertificateFromCsr") == devices.done.total()
    vended = ", ".join(f"{count} by the {name} version" for name, count in devices.done.items())
    record_property("counts", f"upgrade from {HEAD} to {AFTER} under load: {vended}, 0 failed")

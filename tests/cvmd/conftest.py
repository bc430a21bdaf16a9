"""A worker's bench: a real database on SQLite, an AWS that signs nothing, and what was asked of both."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from cvmd.errors import IssuerError, IssuerFault
from cvmd.issuer.keys import P256KeyMaker
from cvmd.issuer.rsa_keys import RsaKeyMaker
from cvmd.model import Account, Created, Issuance, KeySource, Secret, State
from cvmd.sealing import Sealer
from cvmd.seals import escrow, seal_csr
from cvmd.store import AdminStore, Store, migrate
from cvmd.store.accounts import AccountRules
from cvmd.store.products import ProductRules
from cvmd.worker import Worker, WorkerSettings
from tests.cvmd.store.conftest import ENDPOINT, ROOT_CA, TRAIL, LosingDatabase, Scene, a_certificate

LONG_S = 10.0
"""More than any test takes."""


class PlainIssuer:
    """An AWS IoT that signs nothing: each certificate is made up, `principals` are those of every thing."""

    def __init__(self) -> None:
        self.principals: list[str] = []
        self.active: set[bytes] = set()

    def create(self, account: Account, csr_der: bytes) -> Created:
        return a_certificate()

    def create_with_key(self, account: Account) -> Created:
        return replace(a_certificate(), key_der=Secret(os.urandom(32)))

    def attach_policy(self, account: Account, policy: str, arn: str) -> None:
        pass

    def attach_thing(self, account: Account, thing: str, arn: str) -> None:
        self.principals.append(arn)

    def thing_principals(self, account: Account, thing: str) -> Sequence[str]:
        return list(self.principals)

    def certificate_is_active(self, account: Account, certificate_id: bytes) -> bool:
        return certificate_id in self.active

    def activate(self, account: Account, certificate_id: bytes) -> None:
        self.active.add(certificate_id)

    def policy_exists(self, account: Account, policy: str) -> bool:
        return True

    def describe_endpoint(self, account: Account) -> str:
        return ENDPOINT


class Watched:
    """A port whose calls are written down in `log`; `first` is done before a call of that name, and may raise."""

    def __init__(self, port: object, log: list[str]) -> None:
        self._port = port
        self._log = log
        self.first: dict[str, Callable[..., object]] = {}

    def raises(self, name: str, *errors: Exception) -> None:
        """What the next calls of `name` end in, before they are well again."""
        left = list(errors)

        def first(*_: object, **__: object) -> None:
            if left:
                raise left.pop(0)

        self.first[name] = first

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._port, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self._log.append(name)
            if name in self.first:
                self.first[name](*args, **kwargs)
            return method(*args, **kwargs)

        return call


@dataclass
class Bench:
    """A worker, its database and its AWS."""

    scene: Scene
    log: list[str] = field(default_factory=list)
    moved: list[tuple[int, State]] = field(default_factory=list)
    """What was told, and the state that the row had then."""
    plain: PlainIssuer = field(default_factory=PlainIssuer)
    sealer: Sealer = field(default_factory=lambda: Sealer(Secret(os.urandom(32))))
    root_ca: Callable[[Account], bytes] = lambda _: ROOT_CA
    rsa_keys: RsaKeyMaker = field(default_factory=lambda: RsaKeyMaker(0))
    _made: list[Worker] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.scene.key = lambda issuance: escrow(P256KeyMaker().make("cn"), issuance, self.sealer)
        self.store = Watched(self.scene.store, self.log)
        self.issuer = Watched(self.plain, self.log)

    def worker(self, **settings: Any) -> Worker:
        """A new one, as after a restart."""
        made = Worker(
            self.store,
            self.issuer,
            {KeySource.EC_P256: P256KeyMaker(), KeySource.RSA2048: self.rsa_keys},
            self.sealer,
            WorkerSettings(**{"concurrency": 2, "lease_s": 60, "poll_s": 600, "call_s": 1} | settings),
            node=b"node" * 4,
            predecessor=None,
            root_ca=lambda account: self.root_ca(account),
            data_endpoint=None,
            on_moved=self._told,
        )
        self._made.append(made)
        return made

    def _told(self, issuance_id: int) -> None:
        ((state,),) = self.scene.sql(f"SELECT state FROM issuances WHERE id = {issuance_id}")
        self.moved.append((issuance_id, State(state)))

    def queued_by_csr(self, csr_der: bytes, serial: bytes | None = None) -> Issuance:
        """An issuance in `queued` whose device has sent this CSR; the product's key source is device-csr by then."""
        self.scene.admin.set_product("sensor", ProductRules(key_source=KeySource.DEVICE_CSR))
        uid, serial = os.urandom(16), serial or self.scene.device()
        sealed = seal_csr(csr_der, uid, serial, self.sealer)
        return self.scene.queued(serial, uid=uid, sealed_csr=sealed, public_key_id=b"k" * 32)

    def carry(self, issuance: Issuance, **settings: Any) -> Issuance:
        """The row after a worker carried it; `log` is what it asked."""
        self.log.clear()
        self.worker(**settings).carry(issuance)
        return self.scene.now(issuance.serial)

    def carry_later(self, issuance: Issuance) -> Issuance:
        """The same once what the row waits for is over: its not-before, or its lease."""
        self.scene.sql("UPDATE issuances SET not_before_us = 0")
        self.scene.sql("UPDATE issuances SET lease_until_us = 0 WHERE claim IS NOT NULL")
        return self.carry(self.scene.now(issuance.serial))

    def now_us(self, issuance: Issuance) -> int:
        """The database's."""
        view = self.scene.store.view(issuance.serial)
        assert view is not None
        return view.now_us

    def close(self) -> None:
        for worker in self._made:
            worker.close()
        self.rsa_keys.close()


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the product `sensor`, to be copied: to make the tables anew takes longer than a test."""
    path = tmp_path_factory.mktemp("migrated") / "cvmd.db"
    database = LosingDatabase(f"sqlite:///{path}")
    migrate(database)
    admin = AdminStore(database)
    admin.set_account("default", AccountRules(creates_per_s=1000))
    admin.add_product("sensor", ProductRules())
    database.close()
    return path


@pytest.fixture
def bench(migrated: Path, tmp_path: Path) -> Iterator[Bench]:
    database = LosingDatabase(f"sqlite:///{shutil.copy(migrated, tmp_path)}")
    made = Bench(Scene(database, Store(database, TRAIL), AdminStore(database, TRAIL)))
    yield made
    made.close()
    database.close()


def an_error(fault: IssuerFault) -> IssuerError:
    return IssuerError(fault, "Operation", "Code")

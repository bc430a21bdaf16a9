"""A database of each kind, and issuances brought to the state that a test begins with."""

import itertools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Barrier
from typing import Any, TypeVar

import pymysql
import pytest

from cvmd.model import Created, EscrowedKey, Issuance, Outcome, Secret, State
from cvmd.ports import Claim
from cvmd.sealing import Sealer
from cvmd.store import AdminStore, Database, Store, Trail, migrate
from cvmd.store.accounts import AccountRules
from cvmd.store.engine import Transaction
from cvmd.store.intake import NewDevice
from cvmd.store.products import ProductRules
from cvmd.store.schema import metadata
from tools.mariadb import MariaDB, login

T = TypeVar("T")

MAC = Sealer(Secret(bytes(range(32)))).audit_mac
TRAIL = Trail(MAC, "test")
"""Also of tests that make a sealer of their own."""
ROOT_CA = b"root" * 200
ENDPOINT = "data.example.com"


class LosingDatabase(Database):
    """Drops the answer of the next `lose` transactions after they were committed, as a broken connection does."""

    lose = 0
    lose_together = 0
    """The same of those between BEGIN and COMMIT alone."""

    def _once(self, work: Callable[[Transaction], T], *, together: bool, repeated: bool) -> T:
        answer = super()._once(work, together=together, repeated=repeated)
        if self.lose or (together and self.lose_together):
            self.lose -= self.lose > 0
            self.lose_together -= self.lose_together > 0
            raise pymysql.err.OperationalError(2013, "Lost connection to MySQL server during query")
        return answer


@dataclass
class Scene:
    """A store with a product `sensor`, and a hand to move its issuances."""

    database: LosingDatabase
    store: Store
    admin: AdminStore
    owner: Database | None = None
    """The database by a login that may do more than the daemon's; None: the daemon's may do all."""
    key: Callable[[Issuance], EscrowedKey] = lambda _: a_key()
    """What an attempt is opened with."""
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def device(self, serial: bytes | None = None, product: str = "sensor") -> bytes:
        """A new device; its serial."""
        serial = serial or b"dev-%d" % next(self._numbers)
        self.admin.add_device(product, NewDevice(serial, "thing", "policy", b"sealed token"))
        return serial

    def queued(self, serial: bytes | None = None, **changes: Any) -> Issuance:
        """An issuance in `queued`."""
        serial = serial or self.device()
        view = self.store.view(serial)
        assert view is not None
        values: dict[str, Any] = {"uid": os.urandom(16), "sealed_csr": None, "public_key_id": None, "replaces": None}
        assert self.store.queue(view.device.id, view.device.generation + 1, **values | changes)
        return self.now(serial)

    def intent(self, serial: bytes | None = None, claim: Claim | None = None) -> Issuance:
        """… with an open attempt, held under `claim`."""
        issuance = self.queued(serial)
        assert self.store.open_attempt(issuance, claim or a_claim(), key=self.key(issuance))
        return self.now(issuance.serial)

    def created(self, serial: bytes | None = None, claim: Claim | None = None) -> Issuance:
        """… held under `claim`."""
        claim = claim or a_claim()
        issuance = self.intent(serial, claim)
        assert self.store.record_created(issuance, claim, a_certificate(), endpoint=ENDPOINT, root_ca_der=ROOT_CA)
        return self.now(issuance.serial)

    def offered(self, serial: bytes | None = None) -> Issuance:
        """… which nobody holds."""
        claim = a_claim()
        issuance = self.created(serial, claim)
        assert self.store.record_offered(issuance, claim)
        return self.now(issuance.serial)

    def acked(self, serial: bytes | None = None, claim: Claim | None = None) -> Issuance:
        """… held under `claim`, if one is given."""
        issuance = self.offered(serial)
        assert issuance.certificate_id is not None
        assert self.store.acknowledge(issuance.id, issuance.certificate_id)
        issuance = self.now(issuance.serial)
        if claim is not None:
            assert self.store.take(issuance, claim)
        return self.now(issuance.serial)

    def active(self, serial: bytes | None = None) -> Issuance:
        """… with its certificate ACTIVE."""
        claim = a_claim()
        issuance = self.acked(serial, claim)
        assert self.store.record_active(issuance, claim)
        return self.now(issuance.serial)

    def bring(self, state: State, claim: Claim) -> Issuance:
        """A new issuance in `state`; held under `claim` where a worker would hold it."""
        match state:
            case State.INTENT:
                return self.intent(claim=claim)
            case State.CREATED:
                return self.created(claim=claim)
            case State.ACKED:
                return self.acked(claim=claim)
            case _:
                return self.queued()

    def now(self, serial: bytes) -> Issuance:
        """The newest issuance as the row has it."""
        view = self.store.view(serial)
        assert view is not None
        assert view.issuance is not None
        return view.issuance

    def outcomes(self, serial: bytes) -> list[Outcome]:
        """Of all attempts."""
        return [attempt.outcome for attempt in self.admin.show_device(serial).attempts]

    def sql(self, statement: str) -> list[Any]:
        """What no method of the store does: the past, another's hand."""
        with (self.owner or self.database).engine.connect() as connection:
            result = connection.exec_driver_sql(statement)
            return list(result) if result.returns_rows else []


def a_claim(lease_s: float = 60.0) -> Claim:
    return Claim(os.urandom(16), lease_s, b"node" * 4)


def a_key() -> EscrowedKey:
    return EscrowedKey(b"sealed csr", b"sealed key", os.urandom(32))


def a_certificate() -> Created:
    digest = os.urandom(32)
    return Created(digest, arn_of(digest), b"certificate")


def arn_of(digest: bytes) -> str:
    return f"arn:aws:iot:eu-west-1:123456789012:cert/{digest.hex()}"


def at_once(count: int, work: Callable[[int], T]) -> list[T]:
    """The answers of `count` threads that begin `work(number)` together."""
    barrier = Barrier(count)

    def begin(number: int) -> T:
        barrier.wait(30)
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(begin, range(count)))


@pytest.fixture(params=["sqlite", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of a database without tables, by the login that may make them."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'cvmd.db'}"
    return login(request.getfixturevalue("mariadb_url"), "migrate")


@pytest.fixture(scope="session")
def tables_url(mariadb_session: MariaDB) -> str:
    """Of one MariaDB database with tables, which `database` empties: to make them anew takes a second."""
    url = mariadb_session.create_database("store_tests")
    owner = Database(login(url, "migrate"))
    migrate(owner)
    owner.close()
    return url


@pytest.fixture(params=["sqlite", "mariadb"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LosingDatabase]:
    """With tables, and nothing in them but what the migration puts there."""
    if request.param == "sqlite":
        made = LosingDatabase(f"sqlite:///{tmp_path / 'cvmd.db'}")
        migrate(made)
    else:
        request.getfixturevalue("mariadb")
        url = request.getfixturevalue("tables_url")
        made = LosingDatabase(url)
        owner = Database(login(url, "migrate"))
        _empty(owner)
        owner.close()
    yield made
    made.close()


def _empty(database: Database) -> None:
    with database.engine.connect() as connection:
        for table in reversed(metadata.sorted_tables):
            if table.name not in ("deployment", "accounts"):
                connection.execute(table.delete())
        connection.exec_driver_sql("DELETE FROM accounts WHERE id <> 1")
        connection.exec_driver_sql("UPDATE accounts SET region = NULL, data_endpoint = NULL, exclusive = 0")
        connection.exec_driver_sql("UPDATE deployment SET key_check = NULL")
        connection.exec_driver_sql("INSERT INTO pace (account_id, operation, tat_us) VALUES (1, 'create', 0)")


@pytest.fixture
def scene(database: LosingDatabase) -> Iterator[Scene]:
    owner = None
    if database.path is None:
        owner = Database(login(database.engine.url.render_as_string(hide_password=False), "migrate"))
    made = Scene(database, Store(database, TRAIL), AdminStore(database, TRAIL), owner)
    made.admin.set_account("default", AccountRules(creates_per_s=1000))
    made.admin.add_product("sensor", replace(ProductRules(), offer_lifetime_s=3600))
    yield made
    if owner is not None:
        owner.close()

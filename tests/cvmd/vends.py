"""A node of vends on a real database, its rows moved by hand as a worker would; the devices' side is plain calls."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cvmd.changes import Changes
from cvmd.errors import Refusal
from cvmd.issuer.keys import P256KeyMaker, check_csr, to_pkcs8
from cvmd.model import Auth, Created, Issuance, KeyPair, Secret
from cvmd.ports import Claim
from cvmd.sealing import Sealer
from cvmd.seals import escrow, seal_access, seal_product_key, seal_token
from cvmd.store import AdminStore, Database, Store, migrate
from cvmd.store.accounts import AccountRules
from cvmd.store.intake import NewDevice
from cvmd.store.products import ProductRules
from cvmd.threads import Pool
from cvmd.vending import Answer, Channel, HandOver, Lines, Services, Vend
from protocol.constants import Kind, ProofFlag, Stage, Status, Suite
from protocol.messages import Proof
from protocol.objects import want_of
from tests.cvmd.store.conftest import TRAIL, arn_of

SERIAL, TOKEN, PRODUCT_KEY = b"SN-1", b"t" * 32, b"k" * 32
ROOT_CA, ENDPOINT = b"root" * 50, "data.example.com"
WITH_KEY = want_of([Kind.CERTIFICATE, Kind.KEY_SEC1_PKCS1])
WITH_PKCS8 = want_of([Kind.CERTIFICATE, Kind.KEY_PKCS8])
EVERYTHING = want_of([Kind.CERTIFICATE, Kind.KEY_SEC1_PKCS1, Kind.ROOT_CA, Kind.ENDPOINT, Kind.THING_NAME])
WITHOUT_KEY = want_of([Kind.CERTIFICATE])
LONG_S = 60.0
"""Longer than any test: what is held this long ends because a row moved."""


def proof(want: int = WITH_KEY, have: bytes | None = None, csr: bytes | None = None) -> Proof:
    flags = ProofFlag.HAVE * (have is not None) | ProofFlag.CSR * (csr is not None)
    return Proof(flags, want, 65535, have, csr)


@dataclass
class Node:
    """The services of a node, and the hand that does its worker's work."""

    store: Store
    admin: AdminStore
    sealer: Sealer
    services: Services
    woken: asyncio.Event
    trusted: bool
    key: KeyPair | None = None

    def vend(
        self, serial: bytes = SERIAL, suite: Suite = Suite.NOISE, max_wait_s: int = 600, source: str = "127.0.0.1"
    ) -> Vend:
        return Vend(self.services, serial, Channel(source, suite, self.trusted), max_wait_s)

    async def known(
        self, serial: bytes = SERIAL, suite: Suite = Suite.NOISE, max_wait_s: int = 600, source: str = "127.0.0.1"
    ) -> Vend:
        """A vend whose device has proved itself."""
        vend = self.vend(serial, suite, max_wait_s, source)
        assert (await vend.look_up()).known
        return vend

    def row(self, serial: bytes = SERIAL) -> Issuance | None:
        view = self.store.view(serial)
        assert view is not None
        return view.issuance

    async def queued(self) -> Issuance:
        """The issuance that a vend has just told its worker of."""
        await self.woken.wait()
        self.woken.clear()
        row = self.row()
        assert row is not None
        return row

    def offer(self, row: Issuance) -> Issuance:
        """From `queued` to `offered`."""
        claim = Claim(os.urandom(16), 60, b"node" * 4)
        self.key = P256KeyMaker().make(self.sealer.subject(row.uid)) if row.key_source.makes_key else None
        key = None if self.key is None else escrow(self.key, row, self.sealer)
        assert self.store.open_attempt(row, claim, key=key)
        der = b"certificate of " + row.uid
        digest = hashlib.sha256(der).digest()
        created = Created(digest, arn_of(digest), der)
        assert self.store.record_created(self._now(), claim, created, endpoint=ENDPOINT, root_ca_der=ROOT_CA)
        assert self.store.record_offered(self._now(), claim)
        return self._now()

    def activate(self, row: Issuance) -> None:
        """From `acked` to `active`."""
        claim = Claim(os.urandom(16), 60, b"node" * 4)
        assert self.store.take(row, claim)
        assert self.store.record_active(self._now(), claim)

    def _now(self) -> Issuance:
        row = self.row()
        assert row is not None
        return row


@contextmanager
def a_database(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path / 'cvmd.db'}")
    migrate(made)
    yield made
    made.close()


@asynccontextmanager
async def a_node(
    database: Database, *, hold_s: float = LONG_S, trusted: bool = False, **rules: Any
) -> AsyncIterator[Node]:
    store, admin, sealer = Store(database, TRAIL), AdminStore(database, TRAIL), Sealer(Secret(bytes(range(32))))
    admin.set_account("default", AccountRules(creates_per_s=1))
    made = replace(ProductRules(), **rules)
    admin.add_product("sensor", made, sealed_auth=sealed_auth("sensor", made, sealer))
    enrol(admin, sealer, SERIAL, auth=made.auth)
    db, woken = Pool("db", 2), asyncio.Event()
    changes = Changes(store, db, poll_s=0.01)
    services = Services(
        store, db, sealer, check_csr, to_pkcs8, changes, Lines(store, db), woken.set, hold_s,
    )  # fmt: skip
    polling = asyncio.create_task(changes.run())
    try:
        yield Node(store, admin, sealer, services, woken, trusted)
    finally:
        polling.cancel()
        with suppress(asyncio.CancelledError):
            await polling
        db.close()


def sealed_auth(product: str, rules: ProductRules, sealer: Sealer) -> bytes | None:
    """What the auth of a product rests on."""
    if rules.auth is Auth.DERIVED:
        return seal_product_key(Secret(PRODUCT_KEY), product, sealer)
    return seal_access(rules.access(), product, sealer) if rules.auth is Auth.SERIAL else None


def enrol(admin: AdminStore, sealer: Sealer, serial: bytes, *, auth: Auth = Auth.TOKEN) -> None:
    sealed = seal_token(Secret(TOKEN), serial, sealer) if auth is Auth.TOKEN else b""
    admin.add_device("sensor", NewDevice(serial, "thing", "policy", sealed))


def run(database: Database, test: Callable[[Node], Coroutine[Any, Any, None]], **settings: Any) -> None:
    """`test` with a node of its own; nothing in here takes 20 s unless it hangs."""

    async def with_node() -> None:
        async with asyncio.timeout(20), a_node(database, **settings) as node:
            await test(node)

    asyncio.run(with_node())


def refused(answer: Answer) -> tuple[Status, Stage]:
    assert isinstance(answer, Refusal), answer
    return answer.status, answer.stage


async def handed_over(node: Node, want: int = WITH_KEY) -> tuple[Vend, HandOver]:
    """A vend that has its bundle."""
    vend = await node.known()
    asking = asyncio.create_task(vend.ask(proof(want)))
    node.offer(await node.queued())
    answer = await asking
    assert isinstance(answer, HandOver), answer
    return vend, answer

"""A vend: who is let in, what is queued, when a device is held, and what it is told."""

import asyncio
import hashlib
import hmac
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cvmd.authentication import Denial
from cvmd.errors import Refusal, SealError
from cvmd.issuer.keys import P256KeyMaker, to_pkcs8
from cvmd.model import Auth, Fault, Issuance, KeySource, Offer, Outcome, Secret, State
from cvmd.ports import Claim
from cvmd.sealing import Sealer
from cvmd.seals import seal_token, unseal_csr
from cvmd.store import Database, Store
from cvmd.store.chains import AuditRows
from cvmd.store.intake import NewDevice
from cvmd.store.products import ProductRules
from cvmd.vending import AskAgain, Finished, HandOver
from protocol.constants import Kind, Stage, Status, Suite
from protocol.messages import Proof
from protocol.objects import parse, want_of
from tests.cvmd.store.conftest import a_key
from tests.cvmd.vends import (
    ENDPOINT,
    EVERYTHING,
    PRODUCT_KEY,
    ROOT_CA,
    SERIAL,
    TOKEN,
    WITH_KEY,
    WITH_PKCS8,
    WITHOUT_KEY,
    Node,
    a_database,
    enrol,
    handed_over,
    proof,
    refused,
    run,
    sealed_auth,
)

SERIAL_ONLY: dict[str, Any] = {"auth": Auth.SERIAL, "source_networks": "127.0.0.0/8"}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with a_database(tmp_path) as made:
        yield made


# Authentication.


def test_inv8_who_is_not_known_gets_a_decoy(database: Database) -> None:
    async def test(node: Node) -> None:
        credentials = await node.vend().look_up()
        assert (credentials.known, credentials.token) == (True, Secret(TOKEN))
        stranger = await node.vend(b"SN-2").look_up()
        assert (stranger.known, len(stranger.token.reveal())) == (False, 32)
        assert (await node.vend(b"sn-1").look_up()).known is False
        node.admin.set_disabled(SERIAL, True)
        assert (await node.vend().look_up()).known is False

    run(database, test)


def test_inv8_every_look_up_is_one_query_and_one_unsealing(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(node: Node) -> None:
        done: list[str] = []
        for name, made in {
            "derived": ProductRules(auth=Auth.DERIVED),
            "serial": ProductRules(auth=Auth.SERIAL, source_networks="127.0.0.1"),
            "closed": ProductRules(auth=Auth.SERIAL),
        }.items():
            node.admin.add_product(name, made, sealed_auth=sealed_auth(name, made, node.sealer))
            node.admin.add_device(name, NewDevice(name.encode(), "thing", "policy"))

        def counted(owner: type, name: str) -> None:
            real = getattr(owner, name)

            def call(*args: Any, **kwargs: Any) -> Any:
                done.append(name)
                return real(*args, **kwargs)

            monkeypatch.setattr(owner, name, call)

        counted(Store, "view")
        counted(Sealer, "unseal")
        enrol(node.admin, node.sealer, b"disabled")
        node.admin.set_disabled(b"disabled", True)
        for serial in (SERIAL, b"stranger", b"disabled", b"derived", b"serial", b"closed"):
            done.clear()
            await node.vend(serial).look_up()
            assert done == ["view", "unseal"], serial

    run(database, test)


def test_a_derived_token_is_the_hmac_of_the_serial(database: Database) -> None:
    async def test(node: Node) -> None:
        found = await node.vend().look_up()
        assert (found.known, found.token) == (True, Secret(hmac.digest(PRODUCT_KEY, SERIAL, "sha256")))

    run(database, test, auth=Auth.DERIVED)


def test_inv6_who_writes_to_the_database_alone_lets_nobody_in(database: Database) -> None:
    """Auth `serial` put in the place of `token`, or its rules widened, is no auth that the operator has set."""

    async def test(node: Node) -> None:
        closed = ProductRules(auth=Auth.SERIAL)
        node.admin.add_product("closed", closed, sealed_auth=sealed_auth("closed", closed, node.sealer))
        node.admin.add_device("closed", NewDevice(b"SN-2", "thing", "policy"))
        assert (await node.vend(b"SN-2").look_up()).denial is Denial.WINDOW_CLOSED
        with database.engine.connect() as connection:
            for change in (
                "UPDATE products SET auth = 'serial', window_until_us = 1 << 62 WHERE name = 'sensor'",
                "UPDATE products SET window_until_us = 1 << 62 WHERE name = 'closed'",
            ):
                connection.exec_driver_sql(change)
        for serial in (SERIAL, b"SN-2"):
            with pytest.raises(SealError):
                await node.vend(serial).look_up()

    run(database, test)


def test_rows_that_contradict_each_other_are_an_error_and_no_endless_look(database: Database) -> None:
    async def test(node: Node) -> None:
        await handed_over(node)
        with database.engine.connect() as connection:
            connection.exec_driver_sql("UPDATE issuances SET certificate_id = zeroblob(32)")
        with pytest.raises(LookupError, match="contradict each other"):
            await (await node.known()).ask(proof())

    run(database, test)


def test_who_waited_is_told_of_the_rest_that_its_row_has_by_then(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Create call without an outcome brings the row into no other state, and wakes nobody."""

    async def test(node: Node) -> None:
        await (await node.known()).ask(proof())
        claim = Claim(os.urandom(16), 60, b"node" * 4)
        assert node.store.open_attempt(await node.queued(), claim, key=a_key())
        wait = node.services.changes.wait

        async def unknown(issuance: Issuance, timeout_s: float) -> bool:
            node.store.close_attempt(issuance, claim.id, Outcome.UNKNOWN, "", wait_s=300)
            return await wait(issuance, timeout_s)

        monkeypatch.setattr(node.services.changes, "wait", unknown)
        answer = await (await node.known(max_wait_s=0)).ask(proof())
        assert refused(answer) == (Status.BACKEND, Stage.CREATE)
        assert isinstance(answer, Refusal)
        assert 280 <= answer.retry_s <= 300

    run(database, test, hold_s=0.05)


def test_inv6_a_row_that_is_rewritten_between_two_looks_gives_its_key_to_no_other_device(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SN-1's row bears the serial and the token of SN-2 while that one proves itself, and is SN-1's own again then."""

    async def test(node: Node) -> None:
        await handed_over(node)
        with database.engine.connect() as connection:
            token = connection.exec_driver_sql("SELECT sealed_token FROM devices").scalar_one()
            become = "UPDATE devices SET serial = ?, sealed_token = ?"
            offer = node.store.offer

            def rewritten(issuance_id: int) -> Offer | None:
                connection.exec_driver_sql(become, (SERIAL, token))
                return offer(issuance_id)

            monkeypatch.setattr(node.store, "offer", rewritten)
            sealed = seal_token(Secret(TOKEN), b"SN-2", node.sealer)
            connection.exec_driver_sql(become, (b"SN-2", sealed))
            with pytest.raises(SealError):
                await (await node.known(b"SN-2")).ask(proof())

    run(database, test)


def test_what_let_a_device_in_that_proves_nothing_is_on_the_audit_trail(database: Database) -> None:
    async def test(node: Node) -> None:
        csr = P256KeyMaker().make(SERIAL.decode()).csr_der
        asked = await (await node.known(source="10.1.2.3")).ask(proof(WITHOUT_KEY, csr=csr))
        assert asked == AskAgain(0)
        lines = AuditRows(database).lines(SERIAL)
        assert lines is not None
        assert (lines[-1].event, lines[-1].detail) == ("queued", "generation 1; from 10.1.2.3 in 10.0.0.0/8")

    rules = {"auth": Auth.SERIAL, "key_source": KeySource.DEVICE_CSR, "source_networks": "10.0.0.0/8"}
    run(database, test, hold_s=0.05, **rules)


def test_disabled_while_it_waited_is_refused_at_the_next_look(database: Database) -> None:
    async def test(node: Node) -> None:
        vend = await node.known()
        asking = asyncio.create_task(vend.ask(proof()))
        row = await node.queued()
        node.admin.set_disabled(SERIAL, True)
        node.offer(row)
        assert refused(await asking) == (Status.AUTH, Stage.PROOF)

    run(database, test)


# Queueing and waiting.


def test_ask_queues_once_and_is_held_until_the_row_moves(database: Database) -> None:
    async def test(node: Node) -> None:
        vend = await node.known()
        asking = asyncio.create_task(vend.ask(proof()))
        row = await node.queued()
        assert (row.state, row.generation) == (State.QUEUED, 1)
        second = asyncio.create_task((await node.known()).ask(proof()))
        await asyncio.wait([asking, second], timeout=0.1)
        assert not asking.done()
        assert not second.done()
        assert not node.woken.is_set()
        row = node.offer(row)
        answers = await asyncio.gather(asking, second)
        assert [each.certificate_id for each in answers if isinstance(each, HandOver)] == [row.certificate_id] * 2
        assert row.generation == 1

    run(database, test)


def test_ask_again_when_it_was_held_long_enough(database: Database) -> None:
    async def test(node: Node) -> None:
        vend = await node.known()
        assert await vend.ask(proof()) == AskAgain(0)
        assert await vend.ask(None) == AskAgain(0)
        row = node.offer(await node.queued())
        answer = await vend.ask(None)
        assert isinstance(answer, HandOver)
        assert (answer.certificate_id, row.generation) == (row.certificate_id, 1)

    run(database, test, hold_s=0.05)


def test_a_device_that_will_not_wait_is_sent_away_but_stays_queued(database: Database) -> None:
    async def test(node: Node) -> None:
        vend = await node.known(max_wait_s=0)
        assert refused(await vend.ask(proof())) == (Status.TURN, Stage.QUEUE)
        row = await node.queued()
        assert row.state is State.QUEUED
        claim = Claim(os.urandom(16), 60, b"node" * 4)
        assert node.store.open_attempt(row, claim, key=a_key())
        # Its turn has come, so it is held; but no longer than that.
        assert refused(await (await node.known(max_wait_s=0)).ask(proof())) == (Status.TURN, Stage.CREATE)

    run(database, test, hold_s=0.05)


def test_a_queue_longer_than_the_device_waits_is_told_at_once(database: Database) -> None:
    async def test(node: Node) -> None:
        for number in range(5):
            enrol(node.admin, node.sealer, b"other-%d" % number)
            view = node.store.view(b"other-%d" % number)
            assert view is not None
            assert node.store.queue(
                view.device.id, 1, uid=os.urandom(16), sealed_csr=None, public_key_id=None, replaces=None
            )
        answer = await (await node.known(max_wait_s=3)).ask(proof())
        assert refused(answer) == (Status.TURN, Stage.QUEUE)
        assert isinstance(answer, Refusal)
        assert 3 < answer.retry_s <= 6
        waits = asyncio.create_task((await node.known(max_wait_s=60)).ask(proof()))
        node.offer(await node.queued())
        assert isinstance(await waits, HandOver)

    run(database, test)


def test_draining_is_told_to_who_waits_and_to_who_comes(database: Database) -> None:
    async def test(node: Node) -> None:
        vend = await node.known()
        asking = asyncio.create_task(vend.ask(proof()))
        await node.queued()
        node.services.changes.drain()
        assert refused(await asking) == (Status.DRAINING, Stage.QUEUE)
        assert refused(await (await node.known()).ask(proof())) == (Status.DRAINING, Stage.QUEUE)

    run(database, test)


def test_a_failed_issuance_is_told_as_what_a_person_must_mend(database: Database) -> None:
    async def test(node: Node) -> None:
        vend = await node.known()
        asking = asyncio.create_task(vend.ask(proof()))
        assert node.store.fail(await node.queued(), None, Fault.THING_MISSING, "no such thing")
        answer = await asking
        assert refused(answer) == (Status.MAPPING, Stage.ATTACH)
        assert isinstance(answer, Refusal)
        assert answer.detail == 1

    run(database, test)


# The bundle.


def test_the_bundle_has_what_was_wanted_and_nothing_else(database: Database) -> None:
    async def test(node: Node) -> None:
        _, answer = await handed_over(node, EVERYTHING)
        assert node.key is not None
        everything = parse(answer.bundle.data)
        assert everything == {
            Kind.CERTIFICATE: everything[Kind.CERTIFICATE],
            Kind.KEY_SEC1_PKCS1: node.key.key_der.reveal(),
            Kind.ROOT_CA: ROOT_CA,
            Kind.ENDPOINT: ENDPOINT.encode(),
            Kind.THING_NAME: b"thing",
        }
        assert hashlib.sha256(everything[Kind.CERTIFICATE]).digest() == answer.certificate_id
        for want in (WITH_KEY, WITH_PKCS8):
            less = await (await node.known()).ask(proof(want))
            assert isinstance(less, HandOver)
            assert want_of(map(Kind, parse(less.bundle.data))) == want

    run(database, test)


@pytest.mark.parametrize("want", [EVERYTHING, WITH_PKCS8])
def test_inv4_the_bundle_is_the_same_bytes_whenever_it_is_asked_for(database: Database, want: int) -> None:
    async def test(node: Node) -> None:
        vend, first = await handed_over(node, want)
        assert await vend.ask(None) == first
        assert await (await node.known()).ask(proof(want)) == first

    run(database, test)


def test_the_key_as_pkcs8(database: Database) -> None:
    async def test(node: Node) -> None:
        _, answer = await handed_over(node, WITH_PKCS8)
        assert node.key is not None
        objects = parse(answer.bundle.data)
        assert set(objects) == {Kind.CERTIFICATE, Kind.KEY_PKCS8}
        assert objects[Kind.KEY_PKCS8] == to_pkcs8(node.key.key_der).reveal()

    run(database, test)


def test_asking_for_the_bundle_moves_its_expiry_on(database: Database) -> None:
    async def test(node: Node) -> None:
        await handed_over(node)
        before = node.row()
        await (await node.known()).ask(proof())
        after = node.row()
        assert before is not None
        assert before.expires_us is not None
        assert after is not None
        assert after.expires_us is not None
        assert after.expires_us > before.expires_us

    run(database, test)


# What may not be asked: judged before anything is queued.


@pytest.mark.parametrize(
    ("suite", "trusted", "rules", "asks", "status"),
    [
        (Suite.MAC, False, {}, proof(), Status.CHANNEL),
        (Suite.NOISE, False, {}, proof(WITHOUT_KEY), Status.WANT),
        (Suite.NOISE, False, {}, proof(csr=b"csr"), Status.CSR_UNWANTED),
        (Suite.NOISE, False, {"key_source": KeySource.DEVICE_CSR}, proof(WITHOUT_KEY), Status.CSR_NEEDED),
        (Suite.MAC, False, {"key_source": KeySource.DEVICE_CSR}, proof(WITHOUT_KEY, csr=b"csr"), Status.CSR_BAD),
        (Suite.NOISE, True, SERIAL_ONLY, proof(), Status.CHANNEL),
        (Suite.NOISE, True, SERIAL_ONLY | {"allow_server_keys": True}, proof(), None),
        (Suite.MAC, False, SERIAL_ONLY | {"allow_server_keys": True}, proof(), Status.CHANNEL),
        (Suite.MAC, True, {}, proof(), None),
        (Suite.NOISE, False, {}, proof(), None),
    ],
)
def test_what_is_refused_is_never_queued(
    database: Database, suite: Suite, trusted: bool, rules: dict[str, Any], asks: Proof, status: Status | None
) -> None:
    async def test(node: Node) -> None:
        answer = await (await node.known(suite=suite)).ask(asks)
        if status is None:
            assert answer == AskAgain(0)
            assert node.row() is not None
        else:
            assert refused(answer) == (status, Stage.PROOF)
            assert node.row() is None

    run(database, test, hold_s=0.05, trusted=trusted, **rules)


def test_a_key_of_the_devices_own_goes_over_any_channel(database: Database) -> None:
    async def test(node: Node) -> None:
        csr = P256KeyMaker().make(SERIAL.decode())
        asking = asyncio.create_task((await node.known(suite=Suite.MAC)).ask(proof(WITHOUT_KEY, csr=csr.csr_der)))
        row = await node.queued()
        assert (unseal_csr(row, node.sealer), row.public_key_id) == (csr.csr_der, csr.public_key_id)
        node.offer(row)
        answer = await asking
        assert isinstance(answer, HandOver)
        assert set(parse(answer.bundle.data)) == {Kind.CERTIFICATE}

    run(database, test, key_source=KeySource.DEVICE_CSR)


# Acknowledging.


def test_an_acknowledged_certificate_is_done_when_it_is_active(database: Database) -> None:
    async def test(node: Node) -> None:
        vend, answer = await handed_over(node)
        acking = asyncio.create_task(vend.acknowledge(answer.certificate_id))
        row = await node.queued()
        assert (row.state, row.sealed_escrow) == (State.ACKED, None)
        await asyncio.wait([acking], timeout=0.1)
        assert not acking.done()
        node.activate(row)
        done = await acking
        assert isinstance(done, Finished)
        assert (done.certificate_id, done.connect_after_s) == (answer.certificate_id, 7)
        view = node.store.view(SERIAL)
        assert view is not None
        assert 0 <= view.now_us // 1_000_000 - done.time_s <= 20
        assert view.active == answer.certificate_id

    run(database, test, connect_after_s=7)


def test_inv4_an_ack_is_asked_again_until_it_is_active(database: Database) -> None:
    async def test(node: Node) -> None:
        vend = await node.known()
        assert await vend.ask(proof()) == AskAgain(0)
        row = node.offer(await node.queued())
        assert row.certificate_id is not None
        assert isinstance(await vend.ask(None), HandOver)
        assert await vend.acknowledge(row.certificate_id) == AskAgain(0)
        row = await node.queued()
        assert row.certificate_id is not None
        # Also by a device that lost its power meanwhile, and says what it holds.
        assert await (await node.known()).ask(proof(have=row.certificate_id)) == AskAgain(0)
        node.activate(row)
        assert isinstance(await vend.acknowledge(row.certificate_id), Finished)
        assert isinstance(await (await node.known()).ask(proof(have=row.certificate_id)), Finished)

    run(database, test, hold_s=0.05)


def test_an_ack_of_another_digest_changes_nothing(database: Database) -> None:
    async def test(node: Node) -> None:
        vend, answer = await handed_over(node)
        assert refused(await vend.acknowledge(bytes(32))) == (Status.STALE, Stage.DELIVER)
        row = node.row()
        assert row is not None
        assert row.state is State.OFFERED
        assert await vend.ask(None) == answer

    run(database, test)


def test_a_device_that_has_its_certificate_gets_no_other(database: Database) -> None:
    async def test(node: Node) -> None:
        vend, answer = await handed_over(node)
        acking = asyncio.create_task(vend.acknowledge(answer.certificate_id))
        node.activate(await node.queued())
        await acking
        assert refused(await (await node.known()).ask(proof())) == (Status.ISSUED, Stage.PROOF)
        unknown = await (await node.known()).ask(proof(have=bytes(32)))
        assert refused(unknown) == (Status.ISSUED, Stage.PROOF)
        assert isinstance(unknown, Refusal)
        assert unknown.detail == 1
        row = node.row()
        assert row is not None
        assert row.generation == 1

    run(database, test)

"""A vend behind a breaker: told at once, unless waiting is all that it takes; the issuance stays queued."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from cvmd.errors import Refusal
from cvmd.model import Line, State
from cvmd.store import Database
from cvmd.vending import AskAgain, HandOver
from protocol.constants import Stage, Status
from tests.cvmd.vends import EVERYTHING, Node, a_database, handed_over, proof, refused, run


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with a_database(tmp_path) as made:
        yield made


@pytest.mark.parametrize(
    ("fault", "policy", "status", "stage", "retry_s"),
    [
        ("account", "", Status.BACKEND, Stage.CREATE, 200),
        ("unreachable", "", Status.BACKEND, Stage.CREATE, 200),
        ("unknown", "", Status.BACKEND, Stage.CREATE, 200),
        ("quota", "", Status.QUOTA, Stage.CREATE, 3600),
        ("policy-missing", "policy", Status.MAPPING, Stage.ATTACH, 300),
    ],
)
def test_what_holds_up_more_than_one_is_told_at_once_and_the_row_stays(
    database: Database, fault: str, policy: str, status: Status, stage: Stage, retry_s: int
) -> None:
    async def test(node: Node) -> None:
        node.store.trip(1, policy, fault, "", lambda _: 200.0, trial=False)
        answer = await (await node.known()).ask(proof())
        assert refused(answer) == (status, stage)
        assert isinstance(answer, Refusal)
        assert retry_s - 2 <= answer.retry_s <= retry_s
        assert (await node.queued()).state is State.QUEUED

    run(database, test)


def test_who_waits_is_told_of_a_breaker_that_opens_meanwhile(database: Database) -> None:
    async def test(node: Node) -> None:
        asking = asyncio.create_task((await node.known()).ask(proof()))
        await node.queued()
        node.store.trip(1, "", "account", "", lambda _: 200.0, trial=False)
        assert refused(await asking) == (Status.BACKEND, Stage.CREATE)

    run(database, test)


def test_nobody_is_sent_away_for_what_is_mended(database: Database) -> None:
    async def test(node: Node) -> None:
        node.store.trip(1, "", "account", "", lambda _: 200.0, trial=False)
        assert refused(await (await node.known()).ask(proof())) == (Status.BACKEND, Stage.CREATE)
        assert node.store.close_breaker(1, "")
        await handed_over(node, EVERYTHING)

    run(database, test)


@pytest.mark.parametrize("well", [True, False])
def test_who_asks_while_a_trial_is_under_way_waits_for_how_it_ends(database: Database, *, well: bool) -> None:
    async def test(node: Node) -> None:
        node.store.trip(1, "policy", "policy-missing", "", lambda _: -1.0, trial=False)
        assert node.store.half_open(1, "policy")
        vend = await node.known()
        assert await vend.ask(proof()) == AskAgain(0)
        asking = asyncio.create_task(vend.ask(None))
        if well:
            assert node.store.close_breaker(1, "policy")
            node.offer(await node.queued())
            assert isinstance(await asking, HandOver)
        else:
            node.store.trip(1, "policy", "policy-missing", "", lambda _: 200.0, trial=True)
            assert refused(await asking) == (Status.MAPPING, Stage.ATTACH)

    run(database, test, hold_s=1.5)


def test_a_breaker_that_opens_is_asked_for_once_and_not_by_each_who_waits(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(node: Node) -> None:
        looks: list[int] = []
        line = node.store.line

        def counted(account_id: int) -> Line:
            looks.append(account_id)
            return line(account_id)

        monkeypatch.setattr(node.store, "line", counted)
        vends = [await node.known() for _ in range(50)]
        node.store.trip(1, "", "account", "", lambda _: 200.0, trial=False)
        answers = await asyncio.gather(*(vend.ask(proof()) for vend in vends))
        assert {refused(answer) for answer in answers} == {(Status.BACKEND, Stage.CREATE)}
        assert len(looks) < 10

    run(database, test)


def test_another_policy_s_breaker_holds_up_nobody(database: Database) -> None:
    async def test(node: Node) -> None:
        node.store.trip(1, "another", "policy-missing", "", lambda _: 200.0, trial=False)
        await handed_over(node, EVERYTHING)

    run(database, test)


def test_a_rest_that_the_device_would_outwait_is_waited_for_and_a_longer_one_told(database: Database) -> None:
    async def test(node: Node) -> None:
        node.store.trip(1, "", "throttled", "", lambda _: 200.0, trial=False)
        answer = await (await node.known(max_wait_s=100)).ask(proof())
        assert refused(answer) == (Status.TURN, Stage.QUEUE)
        assert isinstance(answer, Refusal)
        assert 198 <= answer.retry_s <= 200
        await handed_over(node, EVERYTHING)

    run(database, test)

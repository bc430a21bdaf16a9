"""The daemon is told to stop, or killed, while devices wait: nothing that was begun is begun twice."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from signal import SIGKILL, SIGTERM

import pytest
from harness import MakeStack, with_products
from hostile import CREATE, Line, Who, attacked, enrol, line, query, reaches, refused, states, vend

from protocol.constants import Stage, Status, Suite
from protocol.messages import Done
from tools.stack import Stack

ATTACH, ACTIVATE = "AttachThingPrincipal", "UpdateCertificate"
# A lease that is over soon, and what it asks of the other waits.
SHORT_LEASE = {
    "worker__lease_s": 3,
    "database__timeout_s": 0.5,
    "aws__connect_timeout_s": 0.5,
    "aws__read_timeout_s": 1,
}


async def waits(end: Line, who: Who, stack: Stack) -> None:
    """PROOF is out, and AWS was asked."""
    await end.challenged()
    end.write(end.proof())
    await reaches(stack, who, "intent")


@pytest.mark.parametrize("suite", list(Suite), ids=["mac", "noise"])
def test_inv4_told_to_stop_while_devices_wait(make_stack: MakeStack, suite: Suite) -> None:
    """Those that wait hear DRAINING at their stage, those that think are served to the end; one Create each."""
    stack = with_products(make_stack())
    waiting, acking, thinking, late = (enrol(stack) for _ in range(4))

    async def told() -> None:
        async with AsyncExitStack() as lines:
            waits_for_create, waits_for_done, thinks, says_hello = [
                await lines.enter_async_context(line(stack, who, suite)) for who in (waiting, acking, thinking, late)
            ]
            await waits_for_done.challenged()
            _, digest = await waits_for_done.receive()
            await thinks.challenged()
            _, own = await thinks.receive()
            await says_hello.challenged()
            stack.aws.fault(ACTIVATE, "latency", delay_s=2)
            stack.aws.fault(CREATE, "latency", delay_s=2)
            waits_for_done.write(waits_for_done.ack(digest))
            await reaches(stack, acking, "acked")
            await waits(waits_for_create, waiting, stack)
            assert stack.daemon is not None
            stack.daemon.signal(SIGTERM)
            assert refused(await waits_for_create.hear()) == (Status.DRAINING, Stage.CREATE, 0, True)
            assert refused(await waits_for_done.hear()) == (Status.DRAINING, Stage.ACTIVATE, 0, True)
            # The one that thinks may still acknowledge: what it holds stays good.
            assert refused(await thinks.ask(thinks.ack(own))) == (Status.DRAINING, Stage.ACTIVATE, 0, True)
            hello = says_hello.hello()
            assert refused(await says_hello.ask(hello)) == (Status.DRAINING, Stage.HELLO, 0, False)

    asyncio.run(told())
    assert stack.stop_daemon() == 0
    assert states(stack, waiting) == ["offered"]
    stack.aws.clear_faults()
    stack.start_daemon()

    async def come_back() -> None:
        for who in (waiting, late):
            await vend(stack, who, suite)
        for who in (acking, thinking):
            await reaches(stack, who, "active")

    asyncio.run(come_back())
    assert stack.aws.calls(CREATE) == 4
    assert {status for (status,) in query(stack, "SELECT status FROM certificates")} == {"active"}


@pytest.mark.parametrize(("operation", "state"), [(ATTACH, "created"), (ACTIVATE, "acked")])
def test_inv4_killed_after_create(make_stack: MakeStack, operation: str, state: str) -> None:
    """The next start takes the row up where it lies, once the dead holder's lease is over."""
    stack = with_products(make_stack(**SHORT_LEASE))
    who = enrol(stack)
    stack.aws.fault(operation, "latency", delay_s=0.8)

    async def until_killed() -> bytes | None:
        digest = None
        async with line(stack, who) as end:
            await end.challenged()
            if operation == ACTIVATE:
                _, digest = await end.receive()
                end.write(end.ack(digest))
            else:
                end.write(end.proof())
            await reaches(stack, who, state)
            stack.stop_daemon(SIGKILL)
            assert await end.closed()
        return digest

    digest = asyncio.run(until_killed())
    stack.aws.clear_faults()
    stack.start_daemon()

    async def come_back() -> None:
        if digest is None:
            await vend(stack, who)
            return
        async with line(stack, who) as end:
            await end.challenged()
            assert isinstance(await end.ask(end.proof(have=digest)), Done)

    asyncio.run(come_back())
    assert states(stack, who) == ["active"]
    assert stack.aws.calls(CREATE) == 1


def test_inv2_killed_inside_create(make_stack: MakeStack) -> None:
    """Nobody knows what that call did: its attempt says so, and the next one is another attempt of the same row."""
    stack = with_products(make_stack(**SHORT_LEASE))
    who = enrol(stack)
    stack.aws.fault(CREATE, "latency", delay_s=0.8)

    async def until_killed() -> None:
        async with line(stack, who) as end:
            await waits(end, who, stack)
            stack.stop_daemon(SIGKILL)
            assert await end.closed()
        stack.aws.clear_faults()
        stack.start_daemon()
        await vend(stack, who)

    asyncio.run(until_killed())
    assert states(stack, who) == ["active"]
    assert query(stack, "SELECT number, outcome FROM attempts ORDER BY number") == [(1, "unknown"), (2, "done")]
    assert stack.aws.calls(CREATE) <= 2
    [active] = [each for each in stack.aws.state()["certificates"] if each["status"] == "ACTIVE"]
    assert active["things"] == [f"thing-{who.serial.decode()}"]
    assert sum(bool(each["things"] or each["policies"]) for each in stack.aws.state()["certificates"]) == 1


def test_inv9_the_sessions_deadline_ends_a_request_that_is_being_answered(tmp_path: Path) -> None:
    """The answer that comes too late is for nobody, and is no internal error; the next session gets it."""
    with attacked(tmp_path, deadlines__session_s=2.0) as stack:
        who = enrol(stack)
        stack.aws.fault(CREATE, "latency", delay_s=3.2)

        async def attack() -> None:
            async with line(stack, who) as end:
                await waits(end, who, stack)
                assert refused(await end.hear())[::3] == (Status.DEADLINE, True)
                assert await end.closed()
            await reaches(stack, who, "offered")
            await vend(stack, who)

        asyncio.run(attack())
        assert stack.aws.calls(CREATE) == 1
        assert [each for each in stack.log_lines() if "exception" in each] == []

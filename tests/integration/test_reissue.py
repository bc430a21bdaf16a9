"""Re-issue call after call: the limit, the operator's window, revoke, disable; and how many are ACTIVE at each step."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from harness import MakeStack, device, with_products

from tools.client import Done, MemoryFlash, Options, Outcome, Refused, vend
from tools.stack import READY_WITHIN_S, Stack

NEW, SAME, NONE, STALE, ISSUED, AUTH = "new", "same", "none", "0x20", "0x31", "0x30"


@dataclass
class Story:
    """One device, what it was told, and what AWS had then."""

    stack: Stack
    options: Options
    flash: MemoryFlash = field(default_factory=MemoryFlash)
    held: str | None = None
    lines: list[str] = field(default_factory=list)

    def calls(self, *, renew: bool = False, lost: bool = False) -> str:
        """A call; what came of it. `lost`: its flash is empty."""
        if lost:
            self.flash = MemoryFlash()
        result = vend(replace(self.options, renew=renew), self.flash)
        if isinstance(result.outcome, Done):
            assert result.meta is not None
            before, self.held = self.held, result.meta.certificate_id
            return SAME if self.held == before else NEW
        return told(result.outcome)

    def operator(self, *arguments: str) -> str:
        self.stack.cvmd(*arguments)
        return NONE

    def active(self) -> list[str]:
        certificates = self.stack.aws.state()["certificates"]
        return [it["id"] for it in certificates if it["status"] == "ACTIVE"]

    def step(self, what: str, act: Callable[[], str], expected: str, active: int) -> None:
        """Does it, and waits for what the disposal makes of it."""
        came = act()
        deadline = time.monotonic() + READY_WITHIN_S
        while len(self.active()) != active:
            assert len(self.active()) > 0 or active == 0, f"{what}: none is ACTIVE"
            assert time.monotonic() < deadline, f"{what}: {self.active()}"
            time.sleep(0.02)
        assert came == expected, what
        if active and self.held is not None:
            assert self.active() == [self.held] or came not in (NEW, SAME)
        self.lines.append(f"  {what:44} {came:6} {active} ACTIVE")


def told(outcome: Outcome) -> str:
    assert isinstance(outcome, Refused), outcome
    return f"{outcome.status:#x}"


@pytest.fixture(params=["sqlite", "mariadb"])
def stack(request: pytest.FixtureRequest, make_stack: MakeStack) -> Stack:
    """One that disposes of certificates soon."""
    settings: dict[str, object] = {"deadlines__auth_delay_ms": 50, "disposal__poll_s": 0.05}
    if request.param == "mariadb":
        request.getfixturevalue("mariadb")
        settings["database_url"] = request.getfixturevalue("mariadb_url")
    return with_products(make_stack(**settings))


@pytest.mark.parametrize("product", ["ec", "csr"])
def test_inv1_call_after_call(stack: Stack, product: str, record_property: Callable[[str, object], None]) -> None:
    stack.cvmd("products", "set", product, "--reissue-limit", "1")
    story = Story(stack, device(stack, "SN-1", product))
    step, calls, operator = story.step, story.calls, story.operator
    step("first call", calls, NEW, 1)
    step("again", calls, SAME, 1)
    step("RENEW, within the limit of 1", lambda: calls(renew=True), NEW, 1)
    step("RENEW, beyond it", lambda: calls(renew=True), SAME, 1)
    kept = story.flash
    step("its flash is lost, beyond the limit", lambda: calls(lost=True), ISSUED, 1)
    story.flash = kept
    step("operator: reissue", lambda: operator("devices", "reissue", "SN-1"), NONE, 1)
    step("RENEW, in the window", lambda: calls(renew=True), NEW, 1)
    step("its flash is lost, in the window", lambda: calls(lost=True), NEW, 1)
    step("operator: reissue --for 0", lambda: operator("devices", "reissue", "SN-1", "--for", "0"), NONE, 1)
    step("RENEW, the window is closed", lambda: calls(renew=True), SAME, 1)
    step("operator: revoke", lambda: operator("devices", "revoke", "SN-1"), NONE, 0)
    step("a call with the revoked certificate", calls, STALE, 0)
    step("a call, beyond the limit", calls, ISSUED, 0)
    step("operator: reissue", lambda: operator("devices", "reissue", "SN-1"), NONE, 0)
    step("a call in the window", calls, NEW, 1)
    step("operator: disable", lambda: operator("devices", "disable", "SN-1"), NONE, 1)
    step("a call of the disabled device", lambda: calls(renew=True), AUTH, 1)
    step("operator: enable", lambda: operator("devices", "enable", "SN-1"), NONE, 1)
    step("a call", calls, SAME, 1)
    limit = ("products", "set", product, "--reissue-limit")
    step("operator: limit unlimited", lambda: operator(*limit, "unlimited"), NONE, 1)
    step("operator: window closed", lambda: operator("devices", "reissue", "SN-1", "--for", "0"), NONE, 1)
    for _ in range(2):
        step("RENEW", lambda: calls(renew=True), NEW, 1)
    step("operator: limit 0", lambda: operator(*limit, "0"), NONE, 1)
    step("RENEW", lambda: calls(renew=True), SAME, 1)
    stack.cvmd("audit", "verify")
    record_property(
        "counts", "\n".join([f"re-issue, {product}, {stack.database_url.partition(':')[0]}:", *story.lines])
    )

"""Each fault of AWS at each call of a vend: what the device is told, what the operator sees; one Create an attempt."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from rest import Account
from rig import Everywhere, Print, Rig, wait_until

from tools.client import Outcome, Refused

CALLS = (
    "DescribeEndpoint", "GetPolicy", "CreateCertificateFromCsr", "AttachPolicy", "AttachThingPrincipal",
    "ListThingPrincipals", "UpdateCertificate",
)  # fmt: skip
FAULTS = (
    ("throttle", {}),
    ("reset", {}),
    ("lost", {}),
    ("late", {"delay_s": 1.5}),
    ("html", {}),
    ("error", {"code": "InternalFailureException"}),
    ("error", {"code": "AccessDeniedException", "status": 403}),
    ("error", {"code": "LimitExceededException"}),
    ("error", {"code": "InvalidRequestException"}),
    ("error", {"code": "ResourceNotFoundException"}),
)
ALIKE = (
    ("fields", {}),
    ("error-after", {"code": "InternalFailureException"}),
    ("error", {"code": "ServiceUnavailableException"}),
    ("error", {"code": "UnauthorizedException"}),
    ("error", {"code": "ExpiredTokenException", "status": 403}),
)
"""Each of a class that is among those above (cvmd/issuer/faults.py), and so for the full run."""


@dataclass(frozen=True)
class Case:
    """One call that goes wrong once."""

    call: str
    kind: str
    rule: tuple[tuple[str, object], ...]

    @property
    def fault(self) -> str:
        return f"{self.kind} {dict(self.rule).get('code', '')}".strip()


@dataclass(frozen=True)
class Line:
    """How it went."""

    case: Case
    told: str
    seen: str
    creates: int


def said(outcome: Outcome) -> str:
    if isinstance(outcome, Refused):
        assert outcome.tagged
        return f"{outcome.status:#x} stage {outcome.stage} detail {outcome.detail} retry {outcome.retry_s} s"
    return type(outcome).__name__


def seen(rig: Rig, serial: str) -> str:
    """By the operator: a breaker, a failed issuance, or nothing."""
    status = json.loads(rig.cvmd("status", "--json").stdout)
    issuance = json.loads(rig.cvmd("devices", "show", serial, "--json").stdout)["issuances"][0]
    for breaker in status["breakers"]:
        assert breaker["to_do"]
        return f"breaker {breaker['fault']}"
    return f"failed {issuance['fault']}" if issuance["state"] == "failed" else str(issuance["state"])


def carry(rig: Rig, case: Case) -> Line:
    [device] = rig.enrol(1, "ec")
    account = Account(rig)
    rig.aws.fault(case.call, case.kind, **dict(case.rule))
    rig.start_daemon()
    device.ask(rig.port)
    told, looked = said(device.told[-1]), seen(rig, device.serial)

    def mended() -> bool:
        rig.cvmd("devices", "retry", device.serial, check=False)
        return device.ask(rig.port)

    wait_until(lambda: device.ask(rig.port) if told == "Done" else mended(), f"{case}", device.told, pause_s=0.1)
    rest = account.at_rest(device)
    wait_until(lambda: json.loads(rig.cvmd("status", "--json").stdout)["breakers"] == [], f"{case}: all is well again")
    return Line(case, told, looked, rest.creates)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("faults", [FAULTS, pytest.param(ALIKE, marks=pytest.mark.full)], ids=["all classes", "alike"])
def test_inv2_inv9_each_fault_at_each_call(
    everywhere: Everywhere, counts: Print, faults: Sequence[tuple[str, dict[str, object]]], call: str
) -> None:
    cases = [Case(call, kind, tuple(rule.items())) for kind, rule in faults]
    lines = everywhere(carry, cases)
    width = max(len(it.case.fault) for it in lines)
    creates = Counter(it.creates for it in lines)
    table = [f"{call}: {len(lines)} faults, Creates a vend: {dict(sorted(creates.items()))}"]
    table += [f"  {it.case.fault:{width}}  creates {it.creates}  told {it.told}  seen {it.seen}" for it in lines]
    counts("\n".join(table))

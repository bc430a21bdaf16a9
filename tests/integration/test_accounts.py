"""AWS accounts at work: roles that are renewed, credentials that end, permissions that lack, under a real daemon."""

import json
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import boto3
from harness import CREATES, MakeStack, caller, seed, with_products

from cvmd.issuer.keys import pem_to_der
from cvmd.issuer.permissions import actions, iam_policy
from cvmd.store import Database
from protocol.constants import Status
from tools.awsiot import Control, Settings, run_in_thread
from tools.client import Done, MemoryFlash, Options, Outcome, Refused, vend
from tools.stack import READY_WITHIN_S, Stack

ROLE = "arn:aws:iam::123456789012:role/cvmd"
DEVICES, AT_ONCE, SESSION_S = 200, 16, 3


def until(holds: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@dataclass(frozen=True)
class Device:
    """How it calls, and what it has kept."""

    options: Options
    flash: MemoryFlash = field(default_factory=MemoryFlash)


def fleet(stack: Stack, count: int, product: str = "csr", **things: str) -> list[Device]:
    """New devices, each with thing and policy of its own, unless its serial is among `things`."""
    made = [(f"{product}-{n:03}", secrets.token_bytes(32)) for n in range(count)]
    seed(
        stack,
        [(serial, token, things.get(serial, f"thing-{serial}"), f"policy-{serial}", product) for serial, token in made],
    )
    return [Device(caller(stack, serial, token, product, max_wait_s=90)) for serial, token in made]


def vended(devices: Sequence[Device]) -> list[Outcome]:
    """What many devices at once end with."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda it: vend(it.options, it.flash).outcome, devices))


def others(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """What is not DONE."""
    return [it for it in outcomes if not isinstance(it, Done)]


def said(stack: Stack, *words: str) -> bool:
    """Whether a line of the daemon's log has them all."""
    return any(all(word in str(line) for word in words) for line in stack.log_lines())


def test_a_roles_credentials_end_in_the_middle_of_200_vends(make_stack: MakeStack) -> None:
    options = ["--ca-key", "ec", "--session", str(SESSION_S), "--external-id", "fleet"]
    stack = with_products(make_stack(standin=options))
    devices = fleet(stack, DEVICES)
    stack.cvmd(
        "accounts", "set", "default", "--role-arn", ROLE, "--external-id", "fleet", "--sts-endpoint-url", stack.aws_url
    )
    assert others(vended(devices[:1])) == []
    ends = time.monotonic() + SESSION_S
    first = vended(devices[1 : DEVICES // 2])
    until(lambda: time.monotonic() > ends, "the first session is over")
    second = vended(devices[DEVICES // 2 :])
    assert others(first + second) == []
    counters = stack.aws.counters()
    outcomes = {outcome for operation in counters.values() for outcome in operation}
    assert outcomes == {"ok"}, counters
    assert 2 <= counters["AssumeRole"]["ok"] < DEVICES
    assert counters["CreateCertificateFromCsr"]["ok"] == DEVICES


def keys(file: Path, **names: str) -> None:
    """A profile in AWS's own form."""
    file.touch(mode=0o600)
    file.write_text("[profile fleet]\n" + "".join(f"aws_{name} = {value}\n" for name, value in names.items()))


def lent(stack: Stack) -> dict[str, str]:
    """Temporary credentials, as a person who logs in by hand brings them."""
    sts = boto3.client(
        "sts", endpoint_url=stack.aws_url, region_name="us-east-1", aws_access_key_id="AKIDGOOD",
        aws_secret_access_key="secret",
    )  # fmt: skip
    given = sts.assume_role(RoleArn=ROLE, RoleSessionName="by-hand")["Credentials"]
    return {
        "access_key_id": given["AccessKeyId"],
        "secret_access_key": given["SecretAccessKey"],
        "session_token": given["SessionToken"],
    }


def test_credentials_that_end_for_good_hold_200_vends_up_until_they_are_mended(
    make_stack: MakeStack, tmp_path: Path
) -> None:
    """The log and `accounts test` say so; new ones in the file are taken up without a restart; nobody is lost."""
    file = tmp_path / "aws.config"
    keys(file)
    options = ["--ca-key", "ec", "--access-key", "AKIDGOOD"]
    stack = with_products(make_stack(standin=options, aws__profile="fleet", aws__config_file=str(file)))
    devices = fleet(stack, DEVICES)
    keys(file, **lent(stack))
    assert others(vended(devices[:1])) == []
    with ThreadPoolExecutor(1) as pool:
        vends = pool.submit(vended, devices[1:])
        until(lambda: stack.aws.calls("CreateCertificateFromCsr") > DEVICES // 4, "vends are under way")
        stack.aws.end_sessions()
        first = vends.result()
    assert {type(it) for it in first} == {Done, Refused}
    assert all(it.status in (Status.BACKEND, Status.TURN) for it in first if isinstance(it, Refused)), first
    until(lambda: said(stack, "account default: its issuances wait (account)", "ExpiredTokenException"), "the log")
    told = stack.cvmd("accounts", "test", "default", check=False)
    assert told.returncode == 1
    assert "ExpiredToken" in told.stdout
    assert "renew the credentials" in told.stdout

    keys(file, access_key_id="AKIDGOOD", secret_access_key="secret")
    waiting = [device for device, ended in zip(devices[1:], first, strict=True) if not isinstance(ended, Done)]
    stack.cvmd("devices", "retry", waiting[-1].options.serial)
    until(lambda: said(stack, "account default: well again"), "the trial")

    def come_back() -> bool:
        """As they are told to."""
        waiting[:] = [
            device for device, ended in zip(waiting, vended(waiting), strict=True) if not isinstance(ended, Done)
        ]
        return not waiting

    until(come_back, "every device has its certificate")
    assert stack.aws.calls("CreateCertificateFromCsr", "ok") == DEVICES
    assert [it["status"] for it in stack.aws.state()["certificates"]] == ["ACTIVE"] * DEVICES


def test_accounts_in_three_partitions_side_by_side(make_stack: MakeStack, tmp_path: Path) -> None:
    """Each with its region, role, root CA and the policy that is printed for it; what is wrong in one stays there."""
    stack = with_products(make_stack(aws__root_ca="amazon-root-ca-1"))
    places = {"gov": ("aws-us-gov", "us-gov-west-1", "1" * 12), "china": ("aws-cn", "cn-north-1", "2" * 12)}
    with ExitStack() as running:
        at: dict[str, Control] = {}
        for name, (partition, region, number) in places.items():
            settings = Settings(
                ca_key="ec", partition=partition, region=region, account_id=number, external_id=f"to-{name}"
            )
            aws = at[name] = running.enter_context(run_in_thread(settings))
            root_ca = tmp_path / f"{name}.pem"
            root_ca.write_bytes(aws.ca_pem())
            stack.cvmd(
                "accounts", "add", name, "--region", region, "--endpoint-url", aws.url, "--sts-endpoint-url", aws.url,
                "--role-arn", f"arn:{partition}:iam::{number}:role/cvmd", "--external-id", f"to-{name}",
                "--root-ca", str(root_ca),
            )  # fmt: skip
            stack.add_product(name, "--account", name)
            aws.allow(json.loads(stack.cvmd("accounts", "policy", name).stdout))
        at["ec"] = stack.aws
        tested = stack.cvmd("accounts", "test", check=False)
        assert tested.returncode == 0, tested.stdout

        devices = {name: in_account(stack, aws, name) for name, aws in at.items()}
        assert others(vended(list(devices.values()))) == []
        for name, aws in at.items():
            (made,) = aws.state()["certificates"]
            partition = places.get(name, ("aws",))[0]
            assert made["arn"].startswith(f"arn:{partition}:iot:")
            assert (made["status"], made["things"]) == ("ACTIVE", [f"thing-{name}-0"])
            flash = devices[name].flash
            own_root = flash.read("root-ca.der") == pem_to_der(aws.ca_pem().decode(), "CERTIFICATE")
            endpoint = json.loads(flash.read("meta.json") or b"{}")["endpoint"]
            assert (own_root, endpoint.endswith(".amazonaws.com.cn")) == (name in places, name == "china")

        at["china"].allow({"Statement": []})
        held_up, served = in_account(stack, at["china"], "china", 1), in_account(stack, at["gov"], "gov", 1)
        assert isinstance(vended([held_up])[0], Refused)
        assert others(vended([served])) == []
        assert said(stack, "account china: its issuances wait (account)")
        assert not said(stack, "account gov: its issuances wait")


def in_account(stack: Stack, aws: Control, product: str, number: int = 0) -> Device:
    """A new device of a product, whose thing and policy are where its account is."""
    serial = f"{product}-{number}"
    token = stack.add_device(serial, product, thing=f"thing-{serial}", policy="policy", aws=False)
    aws.seed_things([f"thing-{serial}"])
    aws.seed_policies(["policy"])
    return Device(caller(stack, serial, bytes.fromhex(token.read_text()), "ec"))


def without(action: str) -> dict[str, Any]:
    """The policy that we ship, but for this action."""
    document = iam_policy("aws")
    for statement in document["Statement"]:
        named = statement["Action"]
        statement["Action"] = [it for it in ([named] if isinstance(named, str) else named) if it != action]
    return document


OF_A_VEND = [
    "iot:DescribeEndpoint",
    "iot:GetPolicy",
    "iot:CreateCertificateFromCsr",
    "iot:AttachPolicy",
    "iot:AttachThingPrincipal",
    "iot:ListThingPrincipals",
    "iot:UpdateCertificate",
    "iot:DescribeCertificate",
]
OF_A_DISPOSAL = [
    "iot:ListAttachedPolicies",
    "iot:DetachPolicy",
    "iot:ListPrincipalThings",
    "iot:DetachThingPrincipal",
    "iot:DeleteCertificate",
]
OF_RECONCILE = ["iot:ListCertificates"]
OF_A_KEY_SOURCE = ["iot:CreateKeysAndCertificate"]


def test_every_permission_has_its_part() -> None:
    assert {*OF_A_VEND, *OF_A_DISPOSAL, *OF_RECONCILE, *OF_A_KEY_SOURCE} == set(actions())


def test_the_daemon_says_which_permission_lacks_and_goes_on_once_it_is_there(make_stack: MakeStack) -> None:
    """Each in turn. The breaker, not the device, bears it: no certificate is lost, and none is made twice."""
    stack = with_products(make_stack(deadlines__request_s=2.0))
    of_vends = [*OF_A_VEND, *OF_A_KEY_SOURCE]
    # Of the last one AWS makes the key; the thing of the one before has another's certificate, whose status is asked.
    occupied = len(OF_A_VEND) - 1
    devices = fleet(stack, len(OF_A_VEND), **{f"csr-{occupied:03}": "thing-csr-000"}) + fleet(stack, 1, "aws")
    ended: list[Outcome] = []
    for action, device in zip(of_vends, devices, strict=True):
        stack.aws.allow(without(action))
        until(partial(is_named, stack, device, action), action)
        stack.aws.allow(iam_policy("aws"))
        stack.cvmd("devices", "retry", device.options.serial)
        until(partial(is_settled, device, ended), f"the trial with {action}")
    assert isinstance(ended.pop(occupied), Refused), "AWS was asked: the thing is occupied"
    assert others(ended) == []
    assert [stack.aws.calls(name, "ok") for name in CREATES] == [len(OF_A_VEND), 1]


def is_named(stack: Stack, device: Device, action: str) -> bool:
    """Whether the log says what lacks, once the device has asked; for a second it may be told of the one before."""
    assert isinstance(vended([device])[0], Refused), action
    return said(stack, "its issuances wait (account)", f"not authorized to perform: {action}")


def is_settled(device: Device, ended: list[Outcome]) -> bool:
    """Whether the device, which asks once more, is told the end of it and not to come back; that is put down."""
    outcome = vended([device])[0]
    if not isinstance(outcome, Done) and not (isinstance(outcome, Refused) and outcome.status == Status.MAPPING):
        return False
    ended.append(outcome)
    return True


def test_a_permission_that_disposal_lacks_is_named_too(make_stack: MakeStack) -> None:
    stack = with_products(make_stack(disposal__poll_s=0.05))
    devices = fleet(stack, len(OF_A_DISPOSAL))
    assert others(vended(devices)) == []
    for action, device in zip(OF_A_DISPOSAL, devices, strict=True):
        stack.aws.allow(without(action))
        stack.cvmd("devices", "revoke", device.options.serial)
        until(partial(said, stack, "is not disposed of yet", f"not authorized to perform: {action}"), action)
    stack.aws.allow(iam_policy("aws"))
    rest_is_over(stack)
    until(lambda: len(stack.aws.state()["deleted"]) == len(OF_A_DISPOSAL), "all are deleted")

    for action in OF_RECONCILE:
        stack.aws.allow(without(action))
        told = stack.cvmd("reconcile", check=False)
        assert (told.returncode, f"not authorized to perform: {action}" in told.stderr) == (1, True)


def rest_is_over(stack: Stack) -> None:
    """Of the certificates whose disposal has failed: minutes, by how often."""
    database = Database(stack.database_url)
    with database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE certificates SET not_before_us = 0 WHERE status = 'retiring'")
    database.close()

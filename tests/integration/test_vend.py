"""One device against the whole daemon: what it ends with, what it costs at AWS, what a cut or a lie changes."""

import base64
import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from harness import KEY_SOURCES, MakeStack, creates, device, openssl, vend_in_memory, wait_for_line, with_products

from protocol.constants import Suite
from tools.client import Cut, DirectoryFlash, Done, Exit, MemoryFlash, Refused, vend
from tools.stack import Stack

SUITES = pytest.mark.parametrize("suite", list(Suite), ids=["mac", "noise"])
PRODUCTS = pytest.mark.parametrize("product", KEY_SOURCES)


@SUITES
@PRODUCTS
def test_inv3_active_only_after_the_ack(stack: Stack, tmp_path: Path, suite: Suite, product: str) -> None:
    """Cut before the ACK: all is delivered and INACTIVE. The next call ends it; openssl agrees with everything."""
    options = device(stack, "SN-1", product, suite=suite, max_wait_s=60)
    flash = DirectoryFlash(tmp_path / "device")
    whole = vend_in_memory(device(stack, "SN-2", product, suite=suite))[0].traffic
    ack_and_done = 51 + 25 + (2 if suite is Suite.NOISE else 0)
    cut = vend(replace(options, cut_after=whole.bytes_up + whole.bytes_down - ack_and_done), flash)
    assert isinstance(cut.outcome, Cut)
    [before] = [each for each in stack.aws.state()["certificates"] if each["things"] == ["thing-SN-1"]]
    assert (before["status"], before["policies"]) == ("INACTIVE", ["policy-SN-1"])

    result = vend(options, flash)
    assert isinstance(result.outcome, Done)
    assert result.meta is not None
    [after] = [each for each in stack.aws.state()["certificates"] if each["things"] == ["thing-SN-1"]]
    assert (after["id"], after["status"]) == (before["id"], "ACTIVE")
    assert creates(stack.aws) == 2  # one a device
    out = tmp_path / "device"
    cert_der = (out / "cert.der").read_bytes()
    assert hashlib.sha256(cert_der).hexdigest() == result.meta.certificate_id == after["id"]
    pem = out / "cert.pem"
    pem.write_bytes(openssl("x509", "-inform", "DER", "-in", out / "cert.der"))
    openssl("verify", "-CAfile", stack.ca, pem)
    key = openssl("pkey", "-inform", "DER", "-in", out / "key.der", "-pubout")
    assert openssl("x509", "-in", pem, "-noout", "-pubkey") == key


@SUITES
def test_inv4_fifty_cuts_and_one_create(stack: Stack, suite: Suite) -> None:
    """The connection is lost after n bytes, n from 1 to the whole of a session; each time the device comes back."""
    options = device(stack, "SN-1", suite=suite, max_frame=56 + 8, limit=100)
    traffic = vend_in_memory(device(stack, "SN-2", suite=suite, max_frame=56 + 8, limit=100))[0].traffic
    total = traffic.bytes_up + traffic.bytes_down
    flash = MemoryFlash()
    points = sorted({max(1, round(total * n / 50)) for n in range(1, 50)})
    for point in points:
        result = vend(replace(options, cut_after=point), flash)
        assert isinstance(result.outcome, Cut | Done), result.outcome
    assert vend(options, flash).exit_code is Exit.DONE
    assert stack.aws.calls("CreateCertificateFromCsr") == 2
    assert sum(each["status"] == "ACTIVE" for each in stack.aws.state()["certificates"]) == 2


def test_done_already_says_so(stack: Stack) -> None:
    options = device(stack, "SN-1")
    flash = MemoryFlash()
    vend(options, flash)
    again = vend(options, flash)
    assert again.outcome == Done(already=True)
    assert stack.aws.calls("CreateCertificateFromCsr") == 1


@pytest.mark.parametrize(
    ("missing", "status", "detail"), [("thing", 0x32, 1), ("policy", 0x32, 2)], ids=["thing", "policy"]
)
def test_inv9_a_mapping_that_aws_does_not_know(stack: Stack, missing: str, status: int, detail: int) -> None:
    stack.aws.seed_things(["there"])
    stack.aws.seed_policies(["there"])
    names = {"thing": "there", "policy": "there", missing: "not-there"}
    token = stack.add_device("SN-1", "ec", **names, aws=False)
    options = replace(device(stack, "SN-2"), serial="SN-1", token=bytes.fromhex(token.read_text()))
    refused = vend_in_memory(options)[0].outcome
    assert isinstance(refused, Refused)
    assert (refused.status, refused.stage, refused.detail, refused.tagged) == (status, 5, detail, True)
    line = wait_for_line(stack, "SN-1")
    assert "AWS IoT has no such " + missing in line["reason"]
    assert "not-there" in stack.cvmd("devices", "show", "SN-1").stdout
    # The operator does what the log says. A missing policy has cost no certificate; that of a missing thing goes on.
    assert stack.aws.calls("CreateCertificateFromCsr") == (missing == "thing")
    (stack.aws.seed_things if missing == "thing" else stack.aws.seed_policies)(["not-there"])
    stack.cvmd("devices", "retry", "SN-1")
    assert vend_in_memory(options)[0].exit_code is Exit.DONE
    assert stack.aws.calls("CreateCertificateFromCsr") == 1
    assert stack.cvmd("devices", "retry", "SN-1", check=False).returncode == 1


def test_inv8_unknown_serial_wrong_token_and_disabled_device_are_one_answer(stack: Stack) -> None:
    options = device(stack, "SN-1")
    disabled = device(stack, "SN-2")
    stack.cvmd("devices", "disable", "SN-2")
    answers = {
        vend_in_memory(each)[0].outcome
        for each in (replace(options, serial="SN-0"), replace(options, token=b"wrong" * 5), disabled)
    }
    assert answers == {Refused(0x30, 2, 60, 0, tagged=False)}
    assert stack.aws.calls("CreateCertificateFromCsr") == 0
    stack.cvmd("devices", "enable", "SN-2")
    assert vend_in_memory(disabled)[0].exit_code is Exit.DONE


@pytest.mark.parametrize(
    ("product", "secret_part"),
    [
        ("ec", slice(7, 39)),  # SEC1: SEQUENCE, version, OCTET STRING of 32
        ("rsa", slice(675, 717)),  # PKCS#1: of the primes, in one line of PEM
        ("aws", slice(675, 717)),
    ],
)
def test_inv6_nothing_secret_is_logged(make_stack: MakeStack, tmp_path: Path, product: str, secret_part: slice) -> None:
    stack = with_products(make_stack(log__level="debug"))
    options = device(stack, "SN-1", product)
    flash = DirectoryFlash(tmp_path / "device")
    vend(options, flash)
    key = (tmp_path / "device" / "key.der").read_bytes()
    part = key[secret_part]
    # In base64, as PEM and JSON have it.
    whole_groups = slice(secret_part.start // 3 * 4 + 4, secret_part.stop // 3 * 4)
    assert stack.daemon is not None
    text = stack.daemon.log.read_bytes()
    for secret in (options.token, part):
        assert secret not in text
        assert secret.hex().encode() not in text
    assert base64.b64encode(key)[whole_groups] not in text
    assert b"PRIVATE KEY" not in text

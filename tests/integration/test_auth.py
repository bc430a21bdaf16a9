"""How devices prove who they are: `derived`, with openssl on the device's side, and `serial`, which proves nothing."""

from dataclasses import replace
from pathlib import Path

import pytest
from harness import caller, openssl, vend_in_memory, wait_for_line

from protocol.constants import Stage, Status, Suite
from tools.client import Exit, Options, Refused
from tools.stack import Stack

AUTH = Refused(Status.AUTH, Stage.PROOF, 60, 0, tagged=False)


def enrol(stack: Stack, serial: str, product: str) -> Options:
    """A device without a token of its own, and how it calls."""
    stack.aws.seed_things([f"thing-{serial}"])
    stack.aws.seed_policies(["policy"])
    stack.cvmd("devices", "add", serial, "--product", product, "--thing", f"thing-{serial}", "--policy", "policy")
    return caller(stack, serial, b"")


def own_key(options: Options, suite: Suite = Suite.MAC) -> Options:
    return replace(options, key_source="device-csr", suite=suite)


@pytest.fixture
def product_key(stack: Stack) -> str:
    """Of a product `derived`, in hex as its file has it."""
    path = stack.directory / "product.key"
    stack.add_product("derived", "--auth", "derived", "--key-out", str(path))
    return path.read_text().strip()


def derived_by_openssl(product_key: str, serial: str) -> bytes:
    """The token as a factory computes it: printf %s SERIAL | openssl dgst -sha256 -mac HMAC -macopt hexkey:KEY."""
    return openssl(
        "dgst", "-sha256", "-mac", "HMAC", "-macopt", f"hexkey:{product_key}", "-binary", stdin=serial.encode()
    )


@pytest.mark.parametrize("suite", Suite)
def test_a_token_that_openssl_derives_vends(stack: Stack, product_key: str, suite: Suite) -> None:
    options = replace(enrol(stack, "SN-1", "derived"), suite=suite)
    wrong = derived_by_openssl(product_key, "SN-2")
    assert vend_in_memory(replace(options, token=wrong))[0].outcome == AUTH
    assert wait_for_line(stack, "SN-1")["denial"] == "wrong-token"
    right = replace(options, token=derived_by_openssl(product_key, "SN-1"))
    assert vend_in_memory(right)[0].exit_code is Exit.DONE
    assert stack.aws.calls("CreateCertificateFromCsr") == 1


def test_inv6_neither_the_product_key_nor_a_derived_token_is_logged(stack: Stack, product_key: str) -> None:
    token = derived_by_openssl(product_key, "SN-1")
    vend_in_memory(replace(enrol(stack, "SN-1", "derived"), token=token))
    assert stack.daemon is not None
    text = stack.daemon.log.read_bytes()
    for secret in (bytes.fromhex(product_key), token):
        assert secret not in text
        assert secret.hex().encode() not in text


def test_inv8_a_stranger_hears_one_answer_and_the_log_has_the_reason(stack: Stack) -> None:
    networks = ["--auth", "serial", "--key-source", "device-csr", "--source-networks"]
    stack.add_product("elsewhere", *networks, "192.0.2.0/24")
    stack.add_product("here", *networks, "127.0.0.0/8")
    stack.add_product("closed", "--auth", "serial", "--key-source", "device-csr")
    callers = {
        "unknown-serial": own_key(caller(stack, "SN-0", b"")),
        "not-in-network": own_key(enrol(stack, "SN-1", "elsewhere")),
        "window-closed": own_key(enrol(stack, "SN-2", "closed")),
        "token-used": replace(own_key(enrol(stack, "SN-3", "here")), token=b"t" * 32),
        "disabled": own_key(enrol(stack, "SN-4", "here")),
    }
    stack.cvmd("devices", "disable", "SN-4")
    for denial, options in callers.items():
        assert vend_in_memory(options)[0].outcome == AUTH, denial
        line = wait_for_line(stack, options.serial)
        assert (line["status"], line["denial"], line["level"]) == ("AUTH", denial, "warning")
    assert stack.aws.calls("CreateCertificateFromCsr") == 0


def test_auth_serial_vends_while_the_operators_window_is_open(stack: Stack) -> None:
    stack.add_product("serial", "--auth", "serial", "--key-source", "device-csr")
    first, second = (own_key(enrol(stack, serial, "serial")) for serial in ("SN-1", "SN-2"))
    assert vend_in_memory(first)[0].outcome == AUTH
    stack.cvmd("products", "set", "serial", "--window", "1h")
    assert vend_in_memory(first)[0].exit_code is Exit.DONE
    queued = next(line for line in stack.cvmd("audit", "show", "SN-1").stdout.splitlines() if " queued " in line)
    assert "generation 1; from 127.0.0.1, window until 20" in queued
    stack.cvmd("products", "set", "serial", "--window", "0")
    assert vend_in_memory(second)[0].outcome == AUTH


def test_inv6_a_key_made_here_goes_to_no_one_who_proves_nothing_unless_allowed(stack: Stack, tmp_path: Path) -> None:
    stack.add_product("serial", "--auth", "serial", "--source-networks", "127.0.0.1")
    options = replace(enrol(stack, "SN-1", "serial"), suite=Suite.NOISE)
    assert vend_in_memory(options)[0].outcome == Refused(Status.CHANNEL, Stage.PROOF, 3600, 0, tagged=True)
    assert "--allow-server-keys" in wait_for_line(stack, "SN-1")["reason"]
    assert stack.aws.calls("CreateCertificateFromCsr") == 0
    stack.cvmd("products", "set", "serial", "--allow-server-keys")
    assert vend_in_memory(options)[0].exit_code is Exit.DONE

"""The TLS listener of a whole daemon, and cvm-client that speaks TLS."""

from dataclasses import replace
from pathlib import Path
from signal import SIGHUP

import pytest
from harness import MakeStack, device, openssl, vend_in_memory, wait_for_line, wait_for_log, with_products

from protocol.constants import Stage, Status, Suite
from tests.pki import Pki
from tools.client import Exit, Failed, MemoryFlash, Options, Refused, vend
from tools.stack import Stack


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki(tmp_path)


@pytest.fixture
def tls_stack(make_stack: MakeStack, pki: Pki) -> Stack:
    """With a plain listener that is not trusted, and one of TLS."""
    files = pki.server()
    return with_products(
        make_stack(
            listen__trusted_network=False,
            tls__certificate_file=str(files.certificate),
            tls__key_file=str(files.key),
            deadlines__auth_delay_ms=50,
        )
    )


def by_tls(stack: Stack, options: Options, pki: Pki) -> Options:
    return replace(options, port=stack.tls_port, tls=True, ca=pki.ca)


@pytest.mark.parametrize("suite", Suite)
def test_a_server_made_key_goes_by_tls_in_either_suite(tls_stack: Stack, pki: Pki, suite: Suite) -> None:
    options = device(tls_stack, "SN-1", suite=suite)
    if suite is Suite.MAC:
        refused = vend_in_memory(options)[0].outcome
        assert refused == Refused(Status.CHANNEL, Stage.PROOF, 3600, 0, tagged=True)
        assert "TLS" in wait_for_line(tls_stack, "SN-1")["reason"]
        options = device(tls_stack, "SN-2", suite=suite)
    assert vend_in_memory(by_tls(tls_stack, options, pki))[0].exit_code is Exit.DONE
    assert wait_for_line(tls_stack, options.serial)["tls"] == "TLSv1.3"


def test_cut_anywhere_it_goes_on_by_tls(tls_stack: Stack, pki: Pki) -> None:
    options = by_tls(tls_stack, device(tls_stack, "SN-1", max_frame=64), pki)
    flash = MemoryFlash()
    for cut_after in (1, 40, 200, 500, 900):
        assert vend(replace(options, cut_after=cut_after), flash).exit_code is Exit.CUT
    assert vend(options, flash).exit_code is Exit.DONE
    assert tls_stack.aws.calls("CreateCertificateFromCsr") == 1


def test_openssl_agrees(tls_stack: Stack, pki: Pki) -> None:
    said = openssl(
        "s_client", "-connect", f"127.0.0.1:{tls_stack.tls_port}", "-CAfile", pki.ca, "-verify_return_error",
        "-verify_ip", "127.0.0.1", "-brief", stdin=b"",
    )  # fmt: skip
    assert b"-----BEGIN" not in said
    for old in ("-tls1_1", "-tls1"):
        with pytest.raises(AssertionError):
            openssl("s_client", "-connect", f"127.0.0.1:{tls_stack.tls_port}", old, "-cipher", "ALL:@SECLEVEL=0")


def test_a_client_that_checks_takes_no_other_server(tls_stack: Stack, pki: Pki, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    options = by_tls(tls_stack, device(tls_stack, "SN-1"), pki)
    stranger = vend_in_memory(replace(options, ca=Pki(tmp_path / "other", "other").ca))[0].outcome
    assert isinstance(stranger, Failed)
    assert "is not good: " in stranger.reason
    unnamed = vend_in_memory(replace(options, host="127.1"))[0].outcome  # the same address, by another name
    assert isinstance(unnamed, Failed)
    assert "mismatch" in unnamed.reason
    unchecked = replace(options, ca=None, tls_unchecked=True)
    assert vend_in_memory(unchecked)[0].exit_code is Exit.DONE


def test_a_new_certificate_by_sighup_and_no_bad_one(tls_stack: Stack, pki: Pki) -> None:
    assert tls_stack.daemon is not None
    options = by_tls(tls_stack, device(tls_stack, "SN-1"), pki)
    files = pki.server(days=5)
    tls_stack.daemon.signal(SIGHUP)
    wait_for_log(tls_stack, lambda line: "expires on" in line["event"])
    assert tls_stack.log_lines("reloaded")
    warned = [line for line in tls_stack.log_lines() if "expires on" in line["event"]]
    assert [line["level"] for line in warned] == ["error"]
    files.certificate.write_text("no certificate")
    tls_stack.daemon.signal(SIGHUP)
    line = wait_for_log(tls_stack, lambda line: line["event"].startswith("TLS: the certificate in use stays"))
    assert "no certificate in PEM" in line["event"]
    assert vend_in_memory(options)[0].exit_code is Exit.DONE


def test_without_a_plain_listener(make_stack: MakeStack, pki: Pki) -> None:
    files = pki.server()
    stack = make_stack(listen__plain=False, tls__certificate_file=str(files.certificate), tls__key_file=str(files.key))
    stack.add_product("ec")
    assert (stack.port, stack.tls_port > 0) == (0, True)
    options = device(stack, "SN-1")
    assert vend_in_memory(by_tls(stack, options, pki))[0].exit_code is Exit.DONE


def test_a_key_that_others_can_read_stops_the_start(make_stack: MakeStack, pki: Pki) -> None:
    files = pki.server()
    files.key.chmod(0o644)
    with pytest.raises(RuntimeError, match=r"(?s)ended with 2: .*others may read or write this secret"):
        make_stack(tls__certificate_file=str(files.certificate), tls__key_file=str(files.key))

"""Whole vends against a server on the real ServerSession."""

from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_der_private_key

from protocol.constants import Kind, Stage, Status, Suite
from tools.client import (
    Cut,
    DeviceStorage,
    Done,
    Exit,
    Failed,
    MemoryFlash,
    OptionError,
    Options,
    Refused,
    Result,
    Watcher,
    vend,
)


def assert_installed(flash: MemoryFlash, server: Any, result: Result) -> None:
    """Done, and what the flash holds is the server's one active certificate, and a key that fits."""
    assert isinstance(result.outcome, Done), result
    assert result.meta is not None
    cert_der, key_der = flash.read("cert.der"), flash.read("key.der")
    assert cert_der == server.active.cert_der
    assert key_der is not None
    key = load_der_private_key(key_der, None)
    assert x509.load_der_x509_certificate(cert_der).public_key() == key.public_key()
    assert result.meta.certificate_id == server.active.digest.hex()
    assert result.meta.thing_name == server.thing
    assert flash.read("bundle.part") is None
    assert flash.read("device-key.der") is None


@pytest.mark.parametrize("suite", Suite)
@pytest.mark.parametrize("key_source", ["ec-p256", "rsa2048", "device-csr"])
@pytest.mark.parametrize("key_format", ["sec1", "pkcs8"])
def test_every_suite_key_source_and_key_format(
    server: Any, options: Options, suite: Suite, key_source: str, key_format: str
) -> None:
    server.rsa = key_source == "rsa2048"
    flash = MemoryFlash()
    result = vend(replace(options, suite=suite, key_source=key_source, key_format=key_format), flash)
    assert_installed(flash, server, result)
    assert result.traffic.round_trips == 3
    assert result.meta
    assert (result.meta.key_source, result.meta.suite) == (key_source, suite.name.lower())
    key_der = flash.read("key.der")
    assert key_der
    # PKCS#8 begins with version 0 as SEC1 does not; PKCS#1's next field is the modulus, not an algorithm.
    assert (b"\x30\x0d\x06\x09" in key_der[:16] or b"\x30\x13\x06\x07" in key_der[:16]) == (key_format == "pkcs8")


@pytest.mark.parametrize(("suite", "max_frame"), [(Suite.MAC, 48), (Suite.NOISE, 56), (Suite.MAC, 1400)])
@pytest.mark.parametrize("limit", [1000, 27, 1])
def test_pulled_in_pieces_of_any_size(server: Any, options: Options, suite: Suite, max_frame: int, limit: int) -> None:
    flash = MemoryFlash()
    options = replace(options, suite=suite, max_frame=max_frame, limit=limit)
    result = vend(options, flash)
    assert_installed(flash, server, result)
    pieces = -(-server.active.bundle(options.want, server.thing).total // limit)
    # HELLO, PROOF with the first piece, ACK. Under noise, frames so small make the first answer WAIT(0).
    assert result.traffic.round_trips == 2 + pieces + (suite is Suite.NOISE)


def test_a_product_without_tokens(server: Any, options: Options) -> None:
    server.token = b""
    flash = MemoryFlash()
    assert_installed(flash, server, vend(replace(options, token=b""), flash))
    assert flash.read("root-ca.der") is None


def test_done_already_is_two_round_trips_and_changes_nothing(server: Any, options: Options) -> None:
    flash = MemoryFlash()
    vend(options, flash)
    before = flash.read("meta.json")
    result = vend(options, flash)
    assert result.outcome == Done(already=True)
    assert result.traffic.round_trips == 2
    assert flash.read("meta.json") == before
    assert len(server.made) == 1


# Coming back.


def cut_then_resumed(server: Any, options: Options, cut_after: int) -> bool:
    """One vend cut after so many bytes and taken up again; whether the cut came before the end."""
    server.made, server.offered, server.active = [], None, None
    flash = MemoryFlash()
    first = vend(replace(options, cut_after=cut_after), flash)
    if isinstance(first.outcome, Done):
        return False
    assert first.outcome == Cut(cut_after)
    assert first.traffic.bytes_up + first.traffic.bytes_down == cut_after
    assert_installed(flash, server, vend(options, flash))
    assert len(server.made) == 1
    return True


@pytest.mark.parametrize(
    ("suite", "key_source", "step"),
    [(Suite.MAC, "ec-p256", 1), (Suite.MAC, "device-csr", 7), (Suite.NOISE, "ec-p256", 7)],
)
def test_inv4_resumes_after_a_cut_at_any_byte(
    server: Any, options: Options, suite: Suite, key_source: str, step: int
) -> None:
    options = replace(options, suite=suite, key_source=key_source, max_frame=200, extras=("thing-name",))
    cut_after = 0
    while cut_then_resumed(server, options, cut_after):
        cut_after += step
    assert cut_after > 700


def test_what_is_kept_is_not_fetched_again(server: Any, options: Options) -> None:
    flash = MemoryFlash()
    whole = vend(options, MemoryFlash()).traffic.bytes_down
    server.offered = server.active = None
    vend(replace(options, max_frame=64, cut_after=900), flash)
    kept = DeviceStorage(flash, options.serial).kept()
    assert kept
    assert 200 < len(kept.data) < kept.total
    result = vend(options, flash)
    assert_installed(flash, server, result)
    assert server.proofs[-1].limit == 0
    assert result.traffic.bytes_down < whole - len(kept.data) + 100


def test_a_part_of_another_bundle_is_dropped(server: Any, options: Options) -> None:
    flash = MemoryFlash()
    DeviceStorage(flash, options.serial).begin(b"another bundle..", 900)
    DeviceStorage(flash, options.serial).append(bytes(500))
    assert_installed(flash, server, vend(options, flash))


def test_a_whole_bundle_that_has_gone_bad_in_flash_is_fetched_anew(server: Any, options: Options) -> None:
    flash = MemoryFlash()
    server.lose_done()
    vend(options, flash)
    spoil_last_byte(flash)
    assert_installed(flash, server, vend(options, flash))
    assert server.proofs[-1].have is None


def test_a_part_that_has_gone_bad_in_flash_is_not_acknowledged(server: Any, options: Options) -> None:
    flash = MemoryFlash()
    vend(replace(options, max_frame=64, cut_after=900), flash)
    spoil_last_byte(flash)
    first = vend(options, flash)
    assert isinstance(first.outcome, Failed)
    assert server.acks == []
    assert_installed(flash, server, vend(options, flash))


def spoil_last_byte(flash: MemoryFlash) -> None:
    stored = flash.read("bundle.part")
    assert stored
    flash.write("bundle.part", stored[:-1] + bytes([stored[-1] ^ 1]))


class PowerCutError(Exception):
    """The lights are out."""


class WearyFlash(MemoryFlash):
    """Flash whose power is cut at the n-th write, in the midst of it where it is an append."""

    def __init__(self, writes: int) -> None:
        super().__init__()
        self.writes = writes

    def _spend(self) -> None:
        self.writes -= 1
        if self.writes < 0:
            raise PowerCutError

    def write(self, name: str, data: bytes, private: bool = True) -> None:
        self._spend()
        super().write(name, data, private)

    def append(self, name: str, data: bytes) -> None:
        try:
            self._spend()
        except PowerCutError:
            super().append(name, data[: len(data) // 2])
            raise
        super().append(name, data)

    def remove(self, name: str) -> None:
        self._spend()
        super().remove(name)


@pytest.mark.parametrize("key_source", ["ec-p256", "device-csr"])
@pytest.mark.parametrize("renew", [False, True])
def test_inv1_power_may_be_cut_at_any_write(server: Any, options: Options, key_source: str, renew: bool) -> None:
    options = replace(options, key_source=key_source, max_frame=128)
    writes, cut = 0, True
    while cut:
        server.made, server.offered, server.active = [], None, None
        flash = WearyFlash(1000)
        if renew:
            vend(options, flash)
        flash.writes, cut = writes, False
        try:
            vend(replace(options, renew=renew), flash)
        except PowerCutError:
            cut = True
        flash.writes = 1000
        assert_installed(flash, server, vend(options, flash))
        writes += 1
    assert writes > 12


def test_renew_replaces_the_certificate_and_the_devices_own_key(server: Any, options: Options) -> None:
    options = replace(options, key_source="device-csr")
    flash = MemoryFlash()
    vend(options, flash)
    old = flash.read("key.der")
    result = vend(replace(options, renew=True), flash)
    assert_installed(flash, server, result)
    assert result.outcome == Done(already=False)
    assert len(server.made) == 2
    assert flash.read("key.der") != old


def test_the_old_certificate_stays_in_use_until_the_new_one_is_active(server: Any, options: Options) -> None:
    flash = MemoryFlash()
    first = vend(options, flash).meta
    for cut_after in (300, 700, 1000):
        vend(replace(options, renew=True, cut_after=cut_after), flash)
        assert DeviceStorage(flash, options.serial).installed() == first
    result = vend(replace(options, renew=True), flash)
    assert_installed(flash, server, result)
    assert result.meta != first
    assert len(server.made) == 2


def test_a_renewal_whose_done_was_lost_is_not_renewed_again(server: Any, options: Options) -> None:
    flash = MemoryFlash()
    vend(options, flash)
    server.lose_done()
    assert isinstance(vend(replace(options, renew=True), flash).outcome, Failed)
    assert_installed(flash, server, vend(replace(options, renew=True), flash))
    assert [proof.renew for proof in server.proofs] == [False, True, False]
    assert len(server.made) == 2


def test_a_renewal_that_turns_stale_does_not_cost_the_certificate_in_use(server: Any, options: Options) -> None:
    def offer_and_withdraw(session: Any) -> None:
        session.send_manifest(server.issue(None).bundle(options.want, server.thing))
        session.send_refuse(Status.STALE, Stage.DELIVER, 0)

    flash = MemoryFlash()
    before = vend(options, flash).meta
    server.script.append(offer_and_withdraw)
    result = vend(replace(options, renew=True), flash)
    assert result.outcome == Refused(Status.STALE, Stage.DELIVER, 0, 0, tagged=True)
    assert result.meta == before is not None


def test_a_devices_own_key_outlives_refusals(server: Any, options: Options) -> None:
    flash = MemoryFlash()
    server.refuse(Status.BACKEND)
    server.refuse(Status.STALE)
    result = vend(replace(options, key_source="device-csr", attempts=3), flash)
    assert_installed(flash, server, result)
    keys = {x509.load_der_x509_csr(proof.csr).public_key().public_numbers() for proof in server.proofs}
    assert len(server.proofs) == 3
    assert len(keys) == 1
    subject = x509.load_der_x509_csr(server.proofs[0].csr).subject
    assert subject.rfc4514_string() == f"CN={options.serial}"


# What the server says.


class Heard(Watcher):
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.steps: list[tuple[int, int]] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    def progress(self, received: int, total: int) -> None:
        self.steps.append((received, total))


@pytest.mark.parametrize("suite", Suite)
def test_waits_for_its_turn_after_proof_and_after_ack(server: Any, options: Options, suite: Suite) -> None:
    flash, heard = MemoryFlash(), Heard()
    server.wait(0)
    server.wait(1)
    server.script.append(lambda session: session.send_manifest(server.issue(None).bundle(options.want, server.thing)))
    server.wait(0)
    result = vend(replace(options, suite=suite), flash, heard)
    assert_installed(flash, server, result)
    assert result.traffic.round_trips == 6
    assert any("1 s" in line for line in heard.lines)
    assert heard.steps[-1][0] == heard.steps[-1][1] > 0


def test_a_refusal_that_comes_while_it_waits_is_heard(server: Any, options: Options) -> None:
    sessions: list[Any] = []

    def wait(session: Any) -> None:
        session.send_wait(300)
        sessions.append(session)

    class Draining(Watcher):
        def say(self, text: str) -> None:  # only now is it sure that WAIT was taken
            sessions[0].send_refuse(Status.DRAINING, Stage.QUEUE, 5)
            server.line.sendall(sessions[0].data_to_send())

    server.script.append(wait)
    result = vend(options, MemoryFlash(), Draining())
    assert result.outcome == Refused(Status.DRAINING, Stage.QUEUE, 5, 0, tagged=True)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (Status.BUSY, Exit.TEMPORARY),
        (Status.TURN, Exit.TEMPORARY),
        (0x1F, Exit.TEMPORARY),
        (Status.DEADLINE, Exit.TEMPORARY),
        (0x2F, Exit.TEMPORARY),
        (Status.ISSUED, Exit.REFUSED),
        (Status.CHANNEL, Exit.REFUSED),
        (0x3F, Exit.REFUSED),
        (Status.CSR_NEEDED, Exit.REFUSED),
        (0x4F, Exit.REFUSED),
    ],
)
def test_inv9_a_refusal_ends_as_its_class_says(server: Any, options: Options, status: int, code: Exit) -> None:
    server.refuse(status, Stage.QUEUE, 9, 3)
    result = vend(replace(options, attempts=1), MemoryFlash())
    assert result.outcome == Refused(status, Stage.QUEUE, 9, 3, tagged=True)
    assert result.exit_code is code
    assert result.meta is None


def test_attempts_outlast_what_passes(server: Any, options: Options) -> None:
    server.refuse(Status.BUSY)
    server.refuse_hello(Status.DRAINING)
    heard, flash = Heard(), MemoryFlash()
    result = vend(replace(options, attempts=3), flash, heard)
    assert_installed(flash, server, result)
    assert result.traffic.connections == 3
    assert len(heard.lines) == 2


def test_attempts_do_not_outlast_what_needs_a_person_but_retry_does(server: Any, options: Options) -> None:
    server.refuse(Status.ISSUED)
    assert vend(replace(options, attempts=9), MemoryFlash()).exit_code is Exit.REFUSED
    server.refuse(Status.ISSUED)
    flash = MemoryFlash()
    assert_installed(flash, server, vend(replace(options, retry=True), flash))


@pytest.mark.parametrize("serial", ["A1:b_c.d-7", "unknown"])
def test_a_wrong_token_and_an_unknown_serial_look_the_same(server: Any, options: Options, serial: str) -> None:
    result = vend(replace(options, serial=serial, token=bytes(16)), MemoryFlash())
    assert result.outcome == Refused(Status.AUTH, Stage.PROOF, 60, 0, tagged=False)


def test_a_suite_that_is_not_offered(server: Any, options: Options) -> None:
    server.suites = frozenset({Suite.MAC})
    result = vend(replace(options, suite=Suite.NOISE), MemoryFlash())
    assert isinstance(result.outcome, Refused)
    assert (result.outcome.status, result.outcome.detail) == (Status.SUITE, 1)


def test_stale_drops_the_partial_bundle_and_a_busy_server_does_not(server: Any, options: Options) -> None:
    flash = MemoryFlash()
    vend(replace(options, cut_after=1000), flash)
    kept = DeviceStorage(flash, options.serial).kept()
    server.refuse(Status.BUSY)
    vend(options, flash)
    assert DeviceStorage(flash, options.serial).kept() == kept is not None
    server.refuse(Status.STALE)
    vend(options, flash)
    assert DeviceStorage(flash, options.serial).kept() is None
    server.offered = None
    assert_installed(flash, server, vend(options, flash))
    assert len(server.made) == 2


def test_a_certificate_that_is_stale_is_replaced(server: Any, options: Options) -> None:
    flash = MemoryFlash()
    vend(options, flash)
    server.active = None  # revoked, and a new one allowed
    result = vend(replace(options, attempts=2), flash)
    assert_installed(flash, server, result)
    assert [proof.have is None for proof in server.proofs] == [True, False, True]


def test_a_deadline_does_not_cost_the_certificate_in_use(server: Any, options: Options) -> None:
    flash = MemoryFlash()
    before = vend(options, flash).meta
    server.refuse(Status.DEADLINE)
    assert vend(options, flash).meta == before is not None


def test_done_for_nothing_is_a_failure(server: Any, options: Options) -> None:
    server.script.append(lambda session: session.send_done(0, 0))
    assert isinstance(vend(options, MemoryFlash()).outcome, Failed)


def test_inv6_a_bundle_that_lacks_what_was_wanted_is_dropped_and_not_acknowledged(
    server: Any, options: Options
) -> None:
    def rootless(session: Any) -> None:
        want = server.proofs[-1].want & ~(1 << Kind.ROOT_CA)
        session.send_manifest(server.issue(None).bundle(want, server.thing))

    flash = MemoryFlash()
    server.script.append(rootless)
    result = vend(options, flash)
    assert isinstance(result.outcome, Failed)
    assert "lacks ROOT_CA" in result.outcome.reason
    assert not server.acks
    assert flash.read("bundle.part") is None
    assert_installed(flash, server, vend(options, flash))  # the server has kept the key


def test_a_key_that_is_not_the_certificates_is_not_acknowledged(server: Any, options: Options) -> None:
    server.issue(None)
    server.offered.key = server.new_key()
    flash = MemoryFlash()
    result = vend(options, flash)
    assert isinstance(result.outcome, Failed)
    assert "belong together" in result.outcome.reason
    assert server.acks == []
    assert flash.read("bundle.part") is None


# When nobody answers.


def test_no_server(options: Options) -> None:
    result = vend(replace(options, host="127.0.0.1", port=1), MemoryFlash())
    assert isinstance(result.outcome, Failed)
    assert "127.0.0.1 port 1" in result.outcome.reason


def test_a_server_that_hangs_up(server: Any, options: Options) -> None:
    server.hello.append(lambda session: session.receive_eof())
    result = vend(options, MemoryFlash())
    assert result.exit_code is Exit.FAILED


def test_a_server_that_says_nothing(server: Any, options: Options) -> None:
    server.script.append(lambda session: None)
    result = vend(replace(options, timeout_s=0.2), MemoryFlash())
    assert result.outcome == Failed("no answer within 0.2 s")


def test_the_flash_of_another_device_is_left_alone(server: Any, options: Options) -> None:
    flash = MemoryFlash()
    vend(options, flash)
    with pytest.raises(OptionError, match=server.serial):
        vend(replace(options, serial="B2"), flash)


def test_a_slow_reader_gets_the_same(server: Any, options: Options) -> None:
    flash = MemoryFlash()
    assert_installed(flash, server, vend(replace(options, slow=20_000, max_frame=64), flash))

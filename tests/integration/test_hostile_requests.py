"""Requests that break a rule of SPEC.md: each is refused by its own status, and nothing is begun for it."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hostile import (
    CERTIFICATE,
    CREATE,
    WITH_KEY,
    Line,
    Who,
    attacked,
    enrol,
    everything,
    line,
    refused,
    states,
    unharmed,
    vend,
)

from protocol import messages
from protocol.constants import MAGIC, MAX_CSR, MessageType, Stage, Status, Suite
from protocol.framing import clear_frame, header
from protocol.messages import Done, Manifest, Wait
from tools.stack import Stack

SUITES = pytest.mark.parametrize("suite", list(Suite), ids=["mac", "noise"])
NONCE = b"n" * 16
FIRST_IS_TOO_SMALL = 56
RIVALS = 8


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One daemon for all attacks: whatever one of them breaks, the next one meets."""
    with attacked(tmp_path_factory.mktemp("requests")) as stack:
        yield stack


@pytest.fixture
def stack(shared: Stack) -> Iterator[Stack]:
    """The shared daemon, unharmed after every attack."""
    with unharmed(shared):
        yield shared


# HELLO.


def hello_body(
    version: int = 1, suite: int = 0, flags: int = 0, max_frame: int = 512, serial: bytes = b"SN", tail: bytes = b""
) -> bytes:
    """As SPEC.md 4.1 lays it out, whatever is in it."""
    fixed = MAGIC + bytes([version]) + NONCE + bytes([suite, flags])
    return fixed + max_frame.to_bytes(2, "big") + bytes(2) + serial + tail


HELLOS = {
    "version 0": (hello_body(version=0), Status.VERSION, 1),
    "version 2": (hello_body(version=2), Status.VERSION, 1),
    "version 2, all else wrong": (hello_body(version=2, suite=9, flags=1, max_frame=0), Status.VERSION, 1),
    "version 2, short": (MAGIC + b"\x02" + NONCE, Status.VERSION, 1),
    "version 9, of 255 bytes": (hello_body(version=9, tail=bytes(255 - 28)), Status.VERSION, 1),
    "no serial": (hello_body(serial=b""), Status.MALFORMED, 0),
    "serial of 65": (hello_body(serial=b"s" * 65), Status.MALFORMED, 0),
    "serial with a space": (hello_body(serial=b"a b"), Status.MALFORMED, 0),
    "serial with a line": (hello_body(serial=b"a\n{}"), Status.MALFORMED, 0),
    "serial of SQL": (hello_body(serial=b"' OR 1=1 --"), Status.MALFORMED, 0),
    "serial not ASCII": (hello_body(serial="gerät".encode()), Status.MALFORMED, 0),
    "serial with a NUL": (hello_body(serial=b"SN\x00"), Status.MALFORMED, 0),
    "suite 2": (hello_body(suite=2), Status.SUITE, 3),
    "suite 255, flags too": (hello_body(suite=255, flags=1), Status.SUITE, 3),
    "flags, max_frame too": (hello_body(flags=0x81, max_frame=0), Status.FLAG, 0x81),
    "mac below 48": (hello_body(max_frame=47), Status.MAX_FRAME, 48),
    "noise below 56": (hello_body(suite=1, max_frame=55), Status.MAX_FRAME, 56),
    "mac above 1400": (hello_body(max_frame=1401), Status.MAX_FRAME, 1400),
    "noise above 1400": (hello_body(suite=1, max_frame=65535), Status.MAX_FRAME, 1400),
}


@pytest.mark.parametrize(("body", "status", "detail"), HELLOS.values(), ids=HELLOS)
def test_inv9_hello(shared: Stack, body: bytes, status: int, detail: int) -> None:
    async def attack() -> None:
        async with line(shared, Who(b"SN", b"")) as end:
            answer = await end.ask(clear_frame(MessageType.HELLO, body))
            assert isinstance(answer, messages.ClearRefuse)
            assert (answer.nonce_c, answer.retry_s) == (NONCE, 3600)
            assert refused(answer) == (status, Stage.HELLO, detail, False)
            assert await end.closed()

    asyncio.run(attack())


@pytest.mark.parametrize(("suite", "max_frame"), [(0, 48), (0, 1400), (1, 56), (1, 1400)])
def test_hello_at_the_bounds_is_vended_within_them(stack: Stack, suite: int, max_frame: int) -> None:
    who = enrol(stack)

    async def attack() -> None:
        async with line(stack, who, Suite(suite)) as end:
            await end.challenged(max_frame=max_frame)
            _, digest = await end.receive()
            answer: Any = Wait(0)
            while isinstance(answer, Wait):
                answer = await end.ask(end.ack(digest))
            assert isinstance(answer, Done)
            assert max(map(len, end.heard)) <= max_frame

    asyncio.run(attack())


# PROOF and what follows. Each case: what is said after CHALLENGE, status, stage, detail, tagged.


def proof(flags: int = 0, want: int = WITH_KEY, limit: int = 0, tail: bytes = b"") -> Callable[[Line], bytes]:
    """As SPEC.md 4.4 lays it out, whatever is in it."""
    body = bytes([flags]) + want.to_bytes(2, "big") + limit.to_bytes(2, "big") + tail
    return lambda end: end.seal(MessageType.PROOF, body)


def raw(frame: bytes) -> Callable[[Line], bytes]:
    """Bytes as they are."""
    return lambda _end: frame


def early(end: Line) -> bytes:
    """A second request before the first one is answered."""
    return end.proof() + end.fetch(0)


HAVE, CSR, RENEW = 1, 2, 4
P = Stage.PROOF
PROOFS = {
    "reserved flag": (proof(0x88), Status.FLAG, P, 0x88, True),
    "reserved flag and no want": (proof(0x80, want=0, tail=b"x"), Status.FLAG, P, 0x80, True),
    "trailing bytes": (proof(tail=b"\0"), Status.MALFORMED, P, 0, True),
    "have cut": (proof(HAVE, tail=bytes(31)), Status.MALFORMED, P, 0, True),
    "have with a tail": (proof(HAVE, tail=bytes(33)), Status.MALFORMED, P, 0, True),
    "no have": (proof(HAVE), Status.MALFORMED, P, 0, True),
    "no CSR": (proof(CSR), Status.MALFORMED, P, 0, True),
    "CSR of 2049": (proof(CSR, tail=bytes(MAX_CSR + 1)), Status.MALFORMED, P, 0, True),
    "cut": (lambda end: end.seal(MessageType.PROOF, bytes(4)), Status.MALFORMED, P, 0, True),
    "nothing wanted": (proof(want=0), Status.WANT, P, 0x0002, True),
    "no certificate": (proof(want=0x0004), Status.WANT, P, 0x0002, True),
    "kind 0": (proof(want=0x0007), Status.WANT, P, 0x0001, True),
    "unknown kinds": (proof(want=0xFF86), Status.WANT, P, 0xFF80, True),
    "both keys": (proof(want=0x000E), Status.WANT, P, 0x000C, True),
    "all wrong at once": (proof(want=0xFFFD), Status.WANT, P, 0xFF8F, True),
    "no key": (proof(want=0x0002), Status.WANT, P, 0x0004, True),
    "no key, with HAVE": (proof(HAVE, want=0x0002, tail=bytes(32)), Status.WANT, P, 0x0004, True),
    "a CSR": (proof(CSR, tail=b"0"), Status.CSR_UNWANTED, P, 0, True),
    "unknown HAVE": (proof(HAVE, tail=bytes(32)), Status.ISSUED, P, 1, True),
    "unknown HAVE, RENEW": (proof(HAVE | RENEW, tail=bytes(32)), Status.ISSUED, P, 1, True),
    "over the cap": (raw(header(MessageType.PROOF, 2135)), Status.MALFORMED, P, 0, False),
    "unknown type": (raw(header(0x84, 1)), Status.MALFORMED, P, 0, False),
    "the server's type": (raw(header(MessageType.MANIFEST, 1)), Status.MALFORMED, P, 0, False),
    "ACK before PROOF": (raw(header(MessageType.ACK, 48)), Status.MALFORMED, P, 0, False),
    "FETCH before PROOF": (raw(header(MessageType.FETCH, 20)), Status.MALFORMED, P, 0, False),
    "HELLO without magic": (raw(clear_frame(MessageType.HELLO, bytes(40))), Status.MALFORMED, P, 0, False),
    "FETCH with PROOF": (early, Status.MALFORMED, P, 0, False),
}


@SUITES
def test_inv9_proof(stack: Stack, suite: Suite) -> None:
    who = enrol(stack)

    async def attack() -> None:
        before = everything(stack)
        for name, (say, *expected) in PROOFS.items():
            async with line(stack, who, suite) as end:
                await end.challenged()
                assert [name, *refused(await end.ask(say(end)))] == [name, *expected]
                assert await end.closed()
        assert everything(stack) == before

    asyncio.run(attack())


def test_inv9_noise_refuses_though_the_refusal_does_not_fit_the_first_answer(stack: Stack) -> None:
    who = enrol(stack)

    async def attack() -> None:
        async with line(stack, who, Suite.NOISE) as end:
            await end.challenged(max_frame=FIRST_IS_TOO_SMALL)
            assert refused(await end.ask(proof(want=0)(end))) == (Status.MALFORMED, Stage.PROOF, 0, False)
            assert await end.closed()
        async with line(stack, who, Suite.NOISE) as end:
            await end.challenged(max_frame=FIRST_IS_TOO_SMALL)
            assert await end.ask(proof(want=0x0002)(end)) == Wait(0)
            assert refused(await end.ask(end.fetch(0))) == (Status.WANT, Stage.PROOF, 4, True)
            assert await end.closed()

    asyncio.run(attack())
    assert states(stack, who) == []


AFTER_MANIFEST = {
    "FETCH behind the end": (lambda end: end.fetch(60_000), Status.SEQUENCE),
    "FETCH of nothing": (lambda end: end.fetch(0, 0), Status.SEQUENCE),
    "FETCH cut": (lambda end: end.seal(MessageType.FETCH, bytes(3)), Status.MALFORMED),
    "FETCH over its cap": (raw(header(MessageType.FETCH, 54)), Status.MALFORMED),
    "FETCH twice": (lambda end: end.fetch(0) + end.fetch(0), Status.SEQUENCE),
    "PROOF again": (lambda end: end.proof(), Status.SEQUENCE),
    "ACK of another": (lambda end: end.ack(bytes(32)), Status.STALE),
    "ACK cut": (lambda end: end.seal(MessageType.ACK, bytes(31)), Status.MALFORMED),
    "clear where tagged": (raw(clear_frame(MessageType.ACK, bytes(32))), Status.SEQUENCE),
    "a wrong tag": (raw(clear_frame(MessageType.ACK, bytes(48))), Status.SEQUENCE),
    "HELLO without magic": (raw(clear_frame(MessageType.HELLO, bytes(40))), Status.MALFORMED),
    "CHALLENGE": (raw(header(MessageType.CHALLENGE, 34)), Status.MALFORMED),
}


@SUITES
def test_inv9_after_manifest(stack: Stack, suite: Suite) -> None:
    who = enrol(stack)

    async def attack() -> None:
        for name, (say, status) in AFTER_MANIFEST.items():
            async with line(stack, who, suite) as end:
                await end.challenged()
                assert isinstance(await end.ask(end.proof(limit=0)), Manifest)
                answer = await end.ask(say(end))
                while isinstance(answer, messages.Data):  # what was asked first may be under way
                    answer = await end.hear()
                assert [name, *refused(answer)] == [name, status, Stage.DELIVER, 0, True]
                assert await end.closed()

    asyncio.run(attack())
    assert states(stack, who) == ["offered"]


def test_inv6_a_server_made_key_stays_where_the_network_is_not_trusted(tmp_path: Path) -> None:
    with attacked(tmp_path, listen__trusted_network=False) as stack:
        who, own = enrol(stack), enrol(stack, "csr")

        async def attack() -> None:
            before = everything(stack)
            async with line(stack, who, Suite.MAC) as end:
                await end.challenged()
                assert refused(await end.ask(end.proof())) == (Status.CHANNEL, Stage.PROOF, 0, True)
                assert await end.closed()
            assert everything(stack) == before
            # Neither once it lies there, made over the other suite.
            async with line(stack, who, Suite.NOISE) as end:
                await end.challenged()
                await end.receive()
            async with line(stack, who, Suite.MAC) as end:
                await end.challenged()
                assert refused(await end.ask(end.proof())) == (Status.CHANNEL, Stage.PROOF, 0, True)
            await vend(stack, who, Suite.NOISE)
            await vend(stack, own, Suite.MAC, want=CERTIFICATE, csr=csr_of(P256, own))

        asyncio.run(attack())
        assert (states(stack, who), states(stack, own)) == (["active"], ["active"])


# CSRs.

P256, OTHER = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
ORGANIZATION, CN = NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME


def csr_of(key: Any, who: Who, *pairs: tuple[x509.ObjectIdentifier, str], ca: bool = False) -> bytes:
    """A CSR in the name of the device, or of `pairs`."""
    names = pairs or ((CN, who.serial.decode()),)
    subject = x509.Name([x509.NameAttribute(oid, value) for oid, value in names])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if ca:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def test_csrs(stack: Stack) -> None:
    who = enrol(stack, "csr")
    good = csr_of(P256, who)
    weak = rsa.generate_private_key(65537, 1024)  # to be refused
    cases = {
        "garbage": (b"\x00\xff" * 100, 1),
        "one byte": (b"0", 1),
        "2048 bytes of nothing": (bytes(MAX_CSR), 1),
        "cut": (good[:-1], 1),
        "trailing bytes": (good + b"\0", 1),
        "PEM": (x509.load_der_x509_csr(good).public_bytes(Encoding.PEM), 1),
        "secp256k1": (csr_of(ec.generate_private_key(ec.SECP256K1()), who), 2),
        "P-521": (csr_of(ec.generate_private_key(ec.SECP521R1()), who), 2),
        "RSA-1024": (csr_of(weak, who), 2),
        "bad signature": (good[:-1] + bytes([good[-1] ^ 1]), 3),
        "signed by another": (_with_key_of(good, csr_of(OTHER, who)), 3),
        "foreign CN": (csr_of(P256, who, (CN, "SN-0000")), 4),
        "two CNs": (csr_of(P256, who, (CN, who.serial.decode()), (CN, "admin")), 4),
        "more than CN": (csr_of(P256, who, (CN, who.serial.decode()), (ORGANIZATION, "Admins")), 4),
        "CA": (csr_of(P256, who, ca=True), 5),
    }

    async def attack() -> None:
        before = everything(stack)
        for name, (csr, detail) in cases.items():
            async with line(stack, who) as end:
                await end.challenged()
                answer = await end.ask(end.proof(want=CERTIFICATE, csr=csr))
                assert [name, *refused(answer)] == [name, Status.CSR_BAD, Stage.PROOF, detail, True]
                assert await end.closed()
        for want, fields, status, detail in (
            (CERTIFICATE, {}, Status.CSR_NEEDED, 0),
            (WITH_KEY, {"csr": good}, Status.WANT, 4),
            (CERTIFICATE | 8, {"csr": good}, Status.WANT, 8),
            (WITH_KEY, {"csr": b"0"}, Status.WANT, 4),  # want is judged first
        ):
            async with line(stack, who) as end:
                await end.challenged()
                answer = await end.ask(end.proof(want=want, **fields))
                assert refused(answer) == (status, Stage.PROOF, detail, True)
        assert everything(stack) == before
        await vend(stack, who, want=CERTIFICATE, csr=good)

    asyncio.run(attack())


def _with_key_of(csr: bytes, other: bytes) -> bytes:
    """The one CSR with the public point of the other."""
    at = csr.index(b"\x03\x42\x00\x04")
    return csr[:at] + other[at : at + 68] + csr[at + 68 :]


def test_inv4_two_keys_of_one_device(stack: Stack) -> None:
    """The later key replaces the earlier one, whose certificate can be acknowledged no more."""
    who = enrol(stack, "csr")
    creates = stack.aws.calls(CREATE)

    async def attack() -> None:
        async with line(stack, who) as first, line(stack, who) as second:
            await first.challenged()
            _, stale = await first.receive(want=CERTIFICATE, csr=csr_of(P256, who))
            await second.challenged()
            _, digest = await second.receive(want=CERTIFICATE, csr=csr_of(OTHER, who))
            assert digest != stale
            assert refused(await ack(first, stale)) == (Status.STALE, Stage.DELIVER, 0, True)
            assert isinstance(await ack(second, digest), Done)

    asyncio.run(attack())
    assert states(stack, who) == ["closed", "active"]
    assert stack.aws.calls(CREATE) == creates + 2


def test_inv4_rival_keys_of_one_device_come_to_an_end(stack: Stack) -> None:
    """Lines that wait with a key each replace each other's issuance once, not in turns for ever."""
    who = enrol(stack, "csr")
    creates = stack.aws.calls(CREATE)
    stack.aws.fault(CREATE, "latency", delay_s=0.5)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(RIVALS)]

    async def rival(key: Any) -> bool:
        """Whether it was given a certificate."""
        async with line(stack, who) as end:
            await end.challenged()
            answer = await end.ask(end.proof(want=CERTIFICATE, limit=0, csr=csr_of(key, who)))
            if not isinstance(answer, Manifest):
                assert refused(answer)[0] == Status.TURN
            return isinstance(answer, Manifest)

    async def attack() -> None:
        assert any(await asyncio.gather(*map(rival, keys)))

    asyncio.run(attack())
    assert len(states(stack, who)) <= RIVALS
    assert states(stack, who)[-1] == "offered"
    assert stack.aws.calls(CREATE) <= creates + RIVALS


async def ack(end: Line, digest: bytes) -> object:
    answer: object = Wait(0)
    while isinstance(answer, Wait):
        answer = await end.ask(end.ack(digest))
    return answer

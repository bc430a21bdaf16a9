"""Vectors of message bodies: every type, well formed and not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from protocol.constants import MAX_CSR, Kind, MessageType
from protocol.objects import want_of
from tools.generate.example import fixed
from tools.generate.operations import Vector, vector

M = MessageType
_WANT: Final = want_of([Kind.CERTIFICATE, Kind.KEY_SEC1_PKCS1]).to_bytes(2, "big")
_PROOF: Final = _WANT + b"\xff\xff"
_CSR: Final = b"\x02\x00\x02\xff\xff"
_DIGEST: Final = bytes(range(32))


def messages() -> Iterator[Vector]:
    """A valid or malformed body each."""
    for name, comment, message_type, body in _BODIES:
        yield vector(name, comment, "message", message_type=message_type.value, body=body)


def _hello(serial: bytes = b"A", version: int = 1, rest: bytes = b"\x00\x00\x02\x00\x00\x3c") -> bytes:
    return b"CVM" + bytes([version]) + fixed("nonce_c", 16) + rest + serial


_BODIES: Final[list[tuple[str, str, M, bytes]]] = [
    ("hello-shortest", "a serial of one byte", M.HELLO, _hello()),
    (
        "hello-longest",
        "a serial of 64 bytes, every kind of character",
        M.HELLO,
        _hello(b"AZaz09:_.-" * 6 + b"abcd"),
    ),
    (
        "hello-unknown-suite",
        "parses; whether suite 7 is offered is the server's to say",
        M.HELLO,
        _hello(rest=b"\x07\x00\x02\x00\x00\x3c"),
    ),
    ("hello-no-serial", "the serial is empty", M.HELLO, _hello(b"")),
    ("hello-serial-65", "the serial is a byte too long", M.HELLO, _hello(b"A" * 65)),
    ("hello-serial-space", "a space in the serial", M.HELLO, _hello(b"A B")),
    ("hello-serial-newline", "a newline at the end of the serial", M.HELLO, _hello(b"AB\n")),
    ("hello-serial-nul", "a NUL in the serial", M.HELLO, _hello(b"A\x00")),
    ("hello-serial-utf8", "a byte beyond ASCII in the serial", M.HELLO, _hello("é".encode())),
    ("hello-version-0", "version 0 was never spoken", M.HELLO, _hello(version=0)),
    (
        "hello-version-2",
        "a version of the future; its layout is not looked at",
        M.HELLO,
        _hello(b"\xff" * 100, version=2),
    ),
    ("hello-magic", "the magic is wrong", M.HELLO, b"CVN" + _hello()[3:]),
    ("hello-cut-in-nonce", "cut before the end of nonce_c", M.HELLO, _hello()[:19]),
    ("hello-cut-after-nonce", "nothing but magic, version and nonce_c", M.HELLO, _hello()[:20]),
    ("hello-empty", "an empty body", M.HELLO, b""),
    ("challenge", "as it should be", M.CHALLENGE, _DIGEST + bytes(2)),
    ("challenge-flag", "a reserved flag", M.CHALLENGE, _DIGEST + b"\x00\x01"),
    ("challenge-short", "cut by a byte", M.CHALLENGE, bytes(33)),
    ("challenge-trailing", "a trailing byte", M.CHALLENGE, bytes(35)),
    (
        "clear-refuse",
        "AUTH, stage 2, 60 s",
        M.CLEAR_REFUSE,
        bytes(range(16)) + bytes.fromhex("30020000003c0000"),
    ),
    ("clear-refuse-short", "cut by a byte", M.CLEAR_REFUSE, bytes(23)),
    ("clear-refuse-trailing", "a trailing byte", M.CLEAR_REFUSE, bytes(25)),
    ("proof", "certificate and key, all at once", M.PROOF, b"\x00" + _PROOF),
    ("proof-manifest-alone", "limit 0", M.PROOF, b"\x00" + _WANT + b"\x00\x00"),
    ("proof-all-kinds", "every kind but the key as PKCS#8", M.PROOF, b"\x00\x00\x76\xff\xff"),
    ("proof-have", "with a digest", M.PROOF, b"\x01" + _PROOF + _DIGEST),
    (
        "proof-have-renew",
        "with a digest, asking for the next one",
        M.PROOF,
        b"\x05" + _PROOF + _DIGEST,
    ),
    ("proof-csr", "with the shortest CSR", M.PROOF, _CSR + b"\x30"),
    ("proof-have-csr", "with both", M.PROOF, b"\x03\x00\x02\xff\xff" + _DIGEST + b"\x30\x00"),
    ("proof-csr-longest", "the longest CSR", M.PROOF, _CSR + b"\x30" * MAX_CSR),
    ("proof-csr-too-long", "a byte more", M.PROOF, _CSR + b"\x30" * (MAX_CSR + 1)),
    ("proof-csr-missing", "flag CSR and no CSR", M.PROOF, _CSR),
    ("proof-have-missing", "flag HAVE and no digest", M.PROOF, b"\x01" + _PROOF),
    ("proof-have-short", "the digest is cut", M.PROOF, b"\x01" + _PROOF + bytes(31)),
    ("proof-have-trailing", "a byte after the digest", M.PROOF, b"\x01" + _PROOF + bytes(33)),
    ("proof-trailing", "a trailing byte without a flag", M.PROOF, b"\x00" + _WANT + b"\xff\xff\x00"),
    ("proof-flag-8", "a reserved flag", M.PROOF, b"\x08" + _PROOF),
    ("proof-flags-before-layout", "reserved flags are judged before the layout", M.PROOF, b"\xff"),
    ("proof-want-0", "wants nothing", M.PROOF, b"\x00\x00\x00\xff\xff"),
    ("proof-want-no-certificate", "wants a key alone", M.PROOF, b"\x00\x00\x04\xff\xff"),
    ("proof-want-both-keys", "wants the key in both forms", M.PROOF, b"\x00\x00\x0e\xff\xff"),
    ("proof-want-bit-0", "bit 0 is no kind", M.PROOF, b"\x00\x00\x07\xff\xff"),
    ("proof-want-unknown", "a kind of the future", M.PROOF, b"\x00\x80\x06\xff\xff"),
    ("proof-want-all-wrong", "everything that can be wrong with want", M.PROOF, b"\x00\xff\xfd\xff\xff"),
    ("proof-empty", "an empty body", M.PROOF, b""),
    ("proof-short", "cut by a byte", M.PROOF, b"\x00" + _WANT + b"\xff"),
    ("fetch", "27 bytes from 27", M.FETCH, b"\x00\x1b\x00\x1b"),
    ("fetch-short", "cut by a byte", M.FETCH, b"\x00\x1b\x00"),
    ("fetch-trailing", "a trailing byte", M.FETCH, b"\x00\x1b\x00\x1b\x00"),
    ("ack", "as it should be", M.ACK, _DIGEST),
    ("ack-short", "cut by a byte", M.ACK, bytes(31)),
    ("ack-trailing", "a trailing byte", M.ACK, bytes(33)),
    ("wait", "300 s", M.WAIT, b"\x01\x2c"),
    ("wait-short", "cut by a byte", M.WAIT, b"\x01"),
    ("wait-trailing", "a trailing byte", M.WAIT, b"\x00\x00\x00"),
    ("refuse", "TURN, stage 3, an hour", M.REFUSE, bytes.fromhex("110300000e100000")),
    (
        "refuse-unknown",
        "a status of the future is no error: it is obeyed by its class",
        M.REFUSE,
        bytes.fromhex("1f63ffffffffffff"),
    ),
    ("refuse-short", "cut by a byte", M.REFUSE, bytes(7)),
    ("refuse-trailing", "a trailing byte", M.REFUSE, bytes(9)),
    ("manifest", "785 bytes", M.MANIFEST, bytes(range(16)) + b"\x03\x11"),
    ("manifest-short", "cut by a byte", M.MANIFEST, bytes(17)),
    ("manifest-trailing", "a trailing byte", M.MANIFEST, bytes(19)),
    ("data", "one byte at 784", M.DATA, b"\x03\x10\x00"),
    ("data-empty", "no bytes", M.DATA, b"\x03\x10"),
    ("data-short", "not even an offset", M.DATA, b"\x03"),
    ("done", "as it should be", M.DONE, bytes.fromhex("6b49d2000005")),
    ("done-short", "cut by a byte", M.DONE, bytes(5)),
    ("done-trailing", "a trailing byte", M.DONE, bytes(7)),
]

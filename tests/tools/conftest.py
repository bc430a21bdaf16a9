"""A small server on the real ServerSession, which a test tells how to answer."""

import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from protocol.constants import Kind, Stage, Status, Suite
from protocol.events import (
    AckReceived,
    HelloReceived,
    ProofPending,
    ProofReceived,
    ProofRejected,
    RequestRepeated,
    ServerEvent,
)
from protocol.messages import Proof
from protocol.objects import Bundle, certificate_digest
from protocol.server import ServerSession
from tools.client import Options

ENDPOINT = "example-ats.iot.eu-west-1.amazonaws.com"
NOW, CONNECT_AFTER_S = 1_800_000_000, 7

_CA_KEY = ec.generate_private_key(ec.SECP256R1())


def certificate(public_key: Any) -> bytes:
    """A certificate of this public key, DER, as AWS IoT makes them."""
    begin = datetime.now(UTC) - timedelta(minutes=1)
    builder = x509.CertificateBuilder(
        issuer_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Amazon Web Services")]),
        subject_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "AWS IoT Certificate")]),
        public_key=public_key,
        serial_number=x509.random_serial_number(),
        not_valid_before=begin,
        not_valid_after=begin + timedelta(days=365),
    )
    return builder.sign(_CA_KEY, SHA256()).public_bytes(Encoding.DER)


ROOT_CA = certificate(_CA_KEY.public_key())


@dataclass
class Issued:
    """One certificate with its key (None: the device's own)."""

    cert_der: bytes
    key: Any

    @property
    def digest(self) -> bytes:
        return certificate_digest(self.cert_der)

    def bundle(self, want: int, thing: str) -> Bundle:
        objects = {
            Kind.CERTIFICATE: self.cert_der,
            Kind.ROOT_CA: ROOT_CA,
            Kind.ENDPOINT: ENDPOINT.encode(),
            Kind.THING_NAME: thing.encode(),
        }
        if self.key:
            for kind, form in (
                (Kind.KEY_SEC1_PKCS1, PrivateFormat.TraditionalOpenSSL),
                (Kind.KEY_PKCS8, PrivateFormat.PKCS8),
            ):
                objects[kind] = self.key.private_bytes(Encoding.DER, form, NoEncryption())
        return Bundle.of({kind: content for kind, content in objects.items() if want >> kind & 1})


@dataclass
class Server:
    """Vends to one serial. `script`: answers that come before the proper ones.

    `line`: the newest connection. `fellows` serve other serials behind the same port. `proofs` and
    `acks`: what has come; `made`: every certificate.
    """

    token: bytes
    serial: str = "A1:b_c.d-7"
    thing: str = "thing-of-A1"
    port: int = 0
    suites: frozenset[Suite] = frozenset(Suite)
    rsa: bool = False
    write_at_once: int | None = None
    script: list[Callable[[ServerSession], None]] = field(default_factory=list)
    hello: list[Callable[[ServerSession], None]] = field(default_factory=list)
    proofs: list[Proof] = field(default_factory=list)
    acks: list[bytes] = field(default_factory=list)
    connections: int = 0
    line: socket.socket | None = None
    fellows: list["Server"] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    made: list[Issued] = field(default_factory=list)
    offered: Issued | None = None
    active: Issued | None = None

    def refuse(self, status: Any, stage: Stage = Stage.PROOF, retry_s: int = 0, detail: int = 0) -> None:
        """Script one REFUSE; a number as `status` is one that only a later server would send."""
        self.script.append(lambda session: session.send_refuse(status, stage, retry_s, detail))

    def refuse_hello(self, status: Status, retry_s: int = 0) -> None:
        """Script one clear REFUSE to HELLO."""
        self.hello.append(lambda session: session.send_clear_refuse(status, Stage.HELLO, retry_s))

    def wait(self, turn_s: int) -> None:
        """Script one WAIT."""
        self.script.append(lambda session: session.send_wait(turn_s))

    def lose_done(self) -> None:
        """Script a proper answer to the next PROOF, and none to the ACK that follows."""

        def offer(session: ServerSession) -> None:
            proof = self.proofs[-1]
            session.send_manifest(self.issue(proof.csr).bundle(proof.want, self.thing))

        self.script += [offer, lambda session: session.receive_eof()]

    def issue(self, csr: bytes | None) -> Issued:
        """The certificate on offer; a new one only where there is none yet."""
        public = x509.load_der_x509_csr(csr).public_key() if csr else None
        if self.offered and (not csr or _public(self.offered) == public):
            return self.offered
        key = None if csr else self.new_key()
        self.offered = Issued(certificate(public or key.public_key()), key)  # type: ignore[union-attr]  # one of them
        self.made.append(self.offered)
        return self.offered

    def new_key(self) -> Any:
        """A key as the product's are."""
        return rsa.generate_private_key(65537, 2048) if self.rsa else ec.generate_private_key(ec.SECP256R1())

    def serve(self, connection: socket.socket) -> None:
        self.connections += 1
        self.line = connection
        dialogue = _ServerDialogue(self)
        with connection:
            try:
                while not dialogue.session.ended and (data := connection.recv(4096)):
                    dialogue.session.receive_data(data)
                    with self.lock:
                        dialogue.take_all()
                    while out := dialogue.session.data_to_send(self.write_at_once):
                        connection.sendall(out)
            except OSError:
                pass  # the device has gone: it may, at any byte


class _ServerDialogue:
    def __init__(self, server: Server) -> None:
        self.server, self.session = server, ServerSession(server.suites)
        self.proof: Proof | None = None

    def _turn_to_who_serves(self, serial: bytes) -> None:
        for server in self.server.fellows:
            if server.serial.encode() == serial:
                self.server = server

    def take_all(self) -> None:
        while events := self.session.events():  # to answer one can bring the next
            for event in events:
                self._take(event)

    def _take(self, event: ServerEvent) -> None:
        match event:
            case HelloReceived() if self.server.hello:
                self.server.hello.pop(0)(self.session)
            case HelloReceived(hello=hello):
                self._turn_to_who_serves(hello.serial)
                self.session.challenge(secrets.token_bytes(16))
            case ProofPending():
                known = self.session.serial == self.server.serial.encode()
                self.session.authenticate(self.server.token, known, os.urandom(32))
            case ProofRejected():
                self.session.send_auth_refusal()
            case ProofReceived(proof=proof):
                self.server.proofs.append(proof)
                self.proof = proof
                self._answer_proof(proof)
            case RequestRepeated():
                assert self.proof
                self._answer_proof(self.proof)
            case AckReceived(digest=digest):
                self.server.acks.append(digest)
                if not self._scripted():
                    self._activate(digest)

    def _answer_proof(self, proof: Proof) -> None:
        server = self.server
        if self._scripted():
            return
        if proof.have and server.offered and proof.have == server.offered.digest:
            self._activate(proof.have)
        elif proof.have and server.active and proof.have == server.active.digest and not proof.renew:
            self.session.send_done(NOW, CONNECT_AFTER_S)
        elif proof.have and not (server.active and proof.have == server.active.digest):
            self.session.send_refuse(Status.STALE, Stage.PROOF, 0)
        else:
            self.session.send_manifest(server.issue(proof.csr).bundle(proof.want, server.thing))

    def _activate(self, digest: bytes) -> None:
        server = self.server
        if server.offered and digest == server.offered.digest:
            server.active, server.offered = server.offered, None
        if server.active and digest == server.active.digest:
            self.session.send_done(NOW, CONNECT_AFTER_S)
        else:
            self.session.send_refuse(Status.STALE, Stage.ACTIVATE, 0)

    def _scripted(self) -> bool:
        if not self.server.script:
            return False
        self.server.script.pop(0)(self.session)
        return True


def _public(issued: Issued) -> object:
    return x509.load_der_x509_certificate(issued.cert_der).public_key()


@pytest.fixture
def server() -> Iterator[Server]:
    """A server on loopback with one device, `serial`, and its token."""
    served = Server(token=secrets.token_bytes(32))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        served.port = listener.getsockname()[1]

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=served.serve, args=(connection,), daemon=True).start()

        acceptor = threading.Thread(target=accept, daemon=True)
        acceptor.start()
        yield served
        listener.shutdown(socket.SHUT_RDWR)
        acceptor.join()


@pytest.fixture
def options(server: Server) -> Options:
    """How the device of `server` calls it."""
    return Options(host="127.0.0.1", port=server.port, serial=server.serial, token=server.token, backoff_s=0)


@pytest.fixture
def token_file(server: Server, tmp_path: Path) -> Path:
    path = tmp_path / "token.hex"
    path.write_text(server.token.hex() + "\n")
    return path

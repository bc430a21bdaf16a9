"""The beginning of MySQL's protocol, as a server that authenticates by caching_sha2_password speaks it.

A stand-in: MySQL 8 is not among what the tests can install. It plays what the manual describes (Connection Phase),
and keeps every byte that the client sent.
"""

from __future__ import annotations

import hashlib
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

PASSWORD = b"correct horse battery"
_SALT = b"12345678abcdefghijkl"
_OK = b"\0\0\0\2\0\0\0"
_DENIED = b"\xff\x15\x04#28000Access denied"
_CAPABILITIES = 0x1 | 0x8 | 0x200 | 0x2000 | 0x8000 | 1 << 19
_TLS = 0x800
_KEY = rsa.generate_private_key(65537, 2048)


@dataclass
class MySQL8:
    """`plugin` is what the user authenticates by, `greets` what the server names before it knows the user; `remembers`:
    the password's hash is in the server's cache."""

    plugin: str = "caching_sha2_password"
    greets: str = "caching_sha2_password"
    remembers: bool = False
    tls: ssl.SSLContext | None = None
    port: int = 0
    received: list[bytes] = field(default_factory=list)
    """Packets of the client, TLS taken off."""
    let_in: int = 0
    offered_key: bool = False

    def serve(self, listening: socket.socket) -> None:
        """One connection after the other, until the socket is closed."""
        while True:
            try:
                line = listening.accept()[0]
            except OSError:
                return
            with suppress(OSError, EOFError), line:
                self._greet(line)

    def _greet(self, line: socket.socket) -> None:
        capabilities = _CAPABILITIES | (_TLS if self.tls else 0)
        greeting = b"\x0a8.0.40\0" + struct.pack("<I", 1) + _SALT[:8] + b"\0"
        greeting += struct.pack("<HBHHB", capabilities & 0xFFFF, 255, 2, capabilities >> 16, 21) + bytes(10)
        _send(line, 0, greeting + _SALT[8:] + b"\0" + self.greets.encode() + b"\0")
        number, packet = self._receive(line)
        if self.tls and struct.unpack("<I", packet[:4])[0] & _TLS:
            with self.tls.wrap_socket(line, server_side=True) as inner:
                self._authenticate(inner, *self._receive(inner))
        else:
            self._authenticate(line, number, packet)

    def _authenticate(self, line: socket.socket, number: int, packet: bytes) -> None:
        if self.plugin != "caching_sha2_password":
            _send(line, number + 1, b"\xfe" + self.plugin.encode() + b"\0" + _SALT + b"\0")
            number, packet = self._receive(line)
            packet = packet.rstrip(b"\0")
        elif self.remembers:
            stage = hashlib.sha256(PASSWORD).digest()
            mask = hashlib.sha256(hashlib.sha256(stage).digest() + _SALT).digest()
            right = bytes(a ^ b for a, b in zip(stage, mask, strict=True)) in packet
            packet = PASSWORD if right else b""
            _send(line, number + 1, b"\x01\x03" if right else _DENIED)
            number += 1
        else:
            _send(line, number + 1, b"\x01\x04")
            number, packet = self._receive(line)
            if packet == b"\x02":
                self.offered_key = True
                public = _KEY.public_key().public_bytes(
                    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
                )
                _send(line, number + 1, b"\x01" + public)
                number, packet = self._receive(line)
                oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)
                packet = bytes(a ^ _SALT[i % 20] for i, a in enumerate(_KEY.decrypt(packet, oaep)))
            packet = packet.rstrip(b"\0")
        if packet != PASSWORD:
            _send(line, number + 1, _DENIED)
            return
        self.let_in += 1
        _send(line, number + 1, _OK)
        while True:
            number, packet = self._receive(line)
            if packet == b"\x01":
                return
            _send(line, number + 1, _OK)

    def _receive(self, line: socket.socket) -> tuple[int, bytes]:
        head = _exactly(line, 4)
        packet = _exactly(line, int.from_bytes(head[:3], "little"))
        self.received.append(packet)
        return head[3], packet


def _send(line: socket.socket, number: int, packet: bytes) -> None:
    line.sendall(len(packet).to_bytes(3, "little") + bytes([number]) + packet)


def _exactly(line: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = line.recv(count - len(data))
        if not more:
            raise EOFError
        data += more
    return data


@contextmanager
def listening(server: MySQL8) -> Iterator[MySQL8]:
    """It accepts on a port of loopback meanwhile."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        server.port = sock.getsockname()[1]
        thread = threading.Thread(target=server.serve, args=(sock,))
        thread.start()
        try:
            yield server
        finally:
            sock.shutdown(socket.SHUT_RDWR)
            thread.join()

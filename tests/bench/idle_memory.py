"""Prints the daemon's memory a connection that waits: python tests/bench/idle_memory.py.

Kinds: one that never sent a byte, one that sent HELLO and has its CHALLENGE, one that has shaken hands by TLS. The
floor is a connection of an asyncio.Protocol that does nothing. Resident memory of the process; the kernel's own of a
socket is not in it.
"""

import argparse
import asyncio
import multiprocessing
import resource
import secrets
import socket
import ssl
import tempfile
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

from bench import rss_kb, table

from protocol.client import ClientSession
from protocol.constants import Suite
from protocol.events import Challenged
from tests.pki import Pki
from tools.stack import Stack

A_SOURCE = 500
FIRST = 2_000
ALL_IN_S = 9.0
"""Within the 10 s that SPEC.md gives a HELLO: after them a connection is gone."""
GOAL_KB = 3


def connect(port: int, number: int) -> socket.socket:
    """Loopback has many addresses: a source has but a limited number of connections."""
    return socket.create_connection(("127.0.0.1", port), source_address=(f"127.0.1.{number // A_SOURCE + 1}", 0))


def device(number: int, suite: Suite) -> ClientSession:
    """One that is about to say HELLO."""
    serial, ephemeral = f"SENSOR-{number:08}".encode(), secrets.token_bytes(32) if suite is Suite.NOISE else b""
    session = ClientSession(
        serial, secrets.token_bytes(32), suite=suite, nonce_c=secrets.token_bytes(16), ephemeral_private=ephemeral
    )
    session.hello()
    return session


def open_files(pid: int) -> int:
    """How many descriptors a process has."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


Begin = Callable[[list[socket.socket]], list[socket.socket]]
"""What the devices do on their new connections, which it gives back."""


def kb_a_connection(pid: int, port: int, connections: int, begin: Begin = list) -> float:
    """What a connection adds to the process. SystemExit where they did not all stay."""
    closed = open_files(pid)
    until_s = time.monotonic() + ALL_IN_S
    peers: list[socket.socket] = []

    def open_more(many: int) -> int:
        """Resident memory with so many more."""
        peers.extend(begin([connect(port, len(peers) + number) for number in range(many)]))
        while open_files(pid) - closed < len(peers):
            if time.monotonic() > until_s:
                raise SystemExit("the connections did not all come in, or not in time")
            time.sleep(0.01)
        return rss_kb(pid)

    try:
        # The first ones take what start-up has left free, and make the process load what it loads late.
        first_kb = open_more(FIRST)
        return (open_more(connections) - first_kb) / connections
    finally:
        for peer in peers:
            peer.close()


def shake_hands(peers: list[socket.socket]) -> list[socket.socket]:
    """TLS on all; OpenSSL's memory of the devices is not the daemon's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return [context.wrap_socket(peer) for peer in peers]


def challenge(peers: list[socket.socket], suite: Suite) -> list[socket.socket]:
    """Say HELLO on all, hear the CHALLENGE on all."""
    devices = [device(number, suite) for number in range(len(peers))]
    for peer, session in zip(peers, devices, strict=True):
        peer.sendall(session.data_to_send())
    for peer, session in zip(peers, devices, strict=True):
        session.receive_data(peer.recv(512))
        if not any(isinstance(event, Challenged) for event in session.events()):
            raise SystemExit("no CHALLENGE came")
    return peers


def of_daemon(connections: int, begin: Begin = list, *, tls: bool = False) -> float:
    """In a daemon of its own: memory that an earlier kind has left would be used again."""
    # Far above the number: the door drops at random from a share of it on.
    settings = {"listen__max_connections": 10 * connections, "listen__max_per_source": A_SOURCE}
    with tempfile.TemporaryDirectory(prefix="cvmd-bench-") as directory:
        files = Pki(Path(directory)).server()
        stack = Stack(
            Path(directory), standin=["--ca-key", "ec"], listen__backlog=4096, tls__key_file=str(files.key),
            tls__certificate_file=str(files.certificate), **settings,
        )  # fmt: skip
        with stack:
            assert stack.daemon is not None, "it was started"
            return kb_a_connection(stack.daemon.pid, stack.tls_port if tls else stack.port, connections, begin)


def of_floor(connections: int) -> float:
    """In a process with asyncio and nothing of ours."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=serve_nothing, args=(theirs,))
    process.start()
    try:
        assert process.pid is not None, "it was started"
        return kb_a_connection(process.pid, ours.recv(), connections)
    finally:
        process.terminate()
        process.join()


def serve_nothing(pipe: Pipe) -> None:
    """Accepts, for ever; the port by the pipe."""
    asyncio.run(_serve_nothing(pipe.send))


async def _serve_nothing(tell: Callable[[int], None]) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0, backlog=4096)
    tell(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def main() -> None:
    """One row a kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=10_000)
    connections = parser.parse_args().connections
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # children inherit it
    floor_kb = of_floor(connections)
    rows = [("asyncio.Protocol that does nothing: the floor", floor_kb)]
    rows.append(("no byte sent", of_daemon(connections)))
    for suite in Suite:
        rows.append((f"CHALLENGE, suite {suite.name.lower()}", of_daemon(connections, partial(challenge, suite=suite))))
    # A handshake is a millisecond or two of the daemon's CPU: fewer fit into the 10 s.
    many = min(connections, 2_000)
    rows.append((f"TLS, hands shaken ({many:,} of them)", of_daemon(many, shake_hands, tls=True)))
    cells = [(what, f"{kb:.2f}", f"{kb / floor_kb:.2f}") for what, kb in rows]
    print(table([f"{connections:,} connections", f"kB each (goal {GOAL_KB} idle)", "of the floor"], *cells))  # noqa: T201  # as above


if __name__ == "__main__":
    main()

"""The database is away: every device is answered, nothing is lost, and nobody restarts the daemon."""

import socket

from harness import MakeStack, device, vend_in_memory, with_products

from protocol.client import ClientSession
from protocol.constants import Suite
from protocol.events import Challenged
from tools.client import Exit, Refused
from tools.mariadb import MariaDB
from tools.stack import Stack


def challenged(stack: Stack) -> bool:
    """Whether a HELLO is answered with a CHALLENGE."""
    session = ClientSession(b"nobody", b"t" * 16, suite=Suite.MAC, nonce_c=b"n" * 16)
    session.hello()
    with socket.create_connection(("127.0.0.1", stack.port), timeout=30) as sock:
        sock.sendall(session.data_to_send())
        while data := sock.recv(4096):
            session.receive_data(data)
            if session.events() == [Challenged()]:
                return True
    return False


def test_inv8_challenge_comes_with_the_database_stopped(
    make_stack: MakeStack, mariadb: MariaDB, mariadb_url: str
) -> None:
    stack = with_products(make_stack(database_url=mariadb_url, database__timeout_s=1))
    options = device(stack, "SN-1")
    mariadb.stop()
    assert challenged(stack)
    refused = vend_in_memory(options)[0].outcome
    assert isinstance(refused, Refused)
    # At the look-up it goes out as BUSY, in clear: nothing is said of what failed behind.
    assert (refused.status, refused.stage, refused.tagged) == (0x10, 2, False)
    mariadb.start()
    assert vend_in_memory(options)[0].exit_code is Exit.DONE


def test_a_daemon_starts_while_its_database_is_down(make_stack: MakeStack, mariadb: MariaDB, mariadb_url: str) -> None:
    stack = with_products(make_stack(database_url=mariadb_url, database__timeout_s=1))
    options = device(stack, "SN-1")
    stack.stop_daemon()
    mariadb.stop()
    stack.start_daemon()
    assert challenged(stack)
    mariadb.start()
    assert vend_in_memory(options)[0].exit_code is Exit.DONE

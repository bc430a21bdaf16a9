"""HTTP on loopback: pages, health, and clients that say nothing."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from http.client import HTTPConnection

import pytest

import cvmd.monitor
from cvmd.errors import ConfigError
from cvmd.monitor import HOST, THREADS, Monitor, Page, verdict

WITHIN_S = 20.0


class Sick:
    """A health that a test changes."""

    why = ""

    def __call__(self) -> str:
        return self.why


@pytest.fixture
def sick() -> Sick:
    return Sick()


@pytest.fixture
def monitor(sick: Sick) -> Iterator[Monitor]:
    pages = {"/metrics": lambda: Page(200, b"a 1\n", "text/special"), "/healthz": verdict(sick)}
    with closing(Monitor(0, pages)) as made:
        yield made


def get(monitor: Monitor, path: str, method: str = "GET") -> tuple[int, str, str]:
    """Status, type and body."""
    with closing(HTTPConnection(HOST, monitor.port, timeout=WITHIN_S)) as connection:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read().decode()


def test_a_page_is_answered_as_it_is_made(monitor: Monitor) -> None:
    assert get(monitor, "/metrics") == (200, "text/special", "a 1\n")
    assert get(monitor, "/metrics?x=1")[0] == 200
    assert get(monitor, "/metrics", "HEAD") == (200, "text/special", "")


def test_health_says_why_not(monitor: Monitor, sick: Sick) -> None:
    assert get(monitor, "/healthz")[::2] == (200, "ok\n")
    sick.why = "the loop is stuck"
    assert get(monitor, "/healthz")[::2] == (503, "the loop is stuck\n")


def test_another_path_is_told_which_there_are(monitor: Monitor) -> None:
    assert get(monitor, "/")[::2] == (404, "there are /healthz, /metrics\n")
    assert get(monitor, "/metrics", "POST")[0] == 501


def test_it_listens_on_loopback_alone(monitor: Monitor) -> None:
    assert monitor._server.server_address[0] == "127.0.0.1"


def test_inv7_clients_that_say_nothing_hold_it_up_for_a_bounded_time(
    monkeypatch: pytest.MonkeyPatch, monitor: Monitor
) -> None:
    monkeypatch.setattr(cvmd.monitor, "_REQUEST_S", 0.2)
    with ExitStack() as stack:
        for _ in range(THREADS + 2):
            stack.enter_context(socket.create_connection((HOST, monitor.port), WITHIN_S))
        assert get(monitor, "/metrics")[0] == 200


def test_inv7_clients_that_say_little_hold_it_up_no_longer(monkeypatch: pytest.MonkeyPatch, monitor: Monitor) -> None:
    monkeypatch.setattr(cvmd.monitor, "_REQUEST_S", 0.5)
    enough = threading.Event()

    def say_little(client: socket.socket) -> None:
        with suppress(OSError):
            while not enough.wait(0.1):
                client.sendall(b"G")

    with ThreadPoolExecutor(THREADS) as pool, ExitStack() as stack:
        stack.callback(enough.set)
        for _ in range(THREADS):
            client = stack.enter_context(socket.create_connection((HOST, monitor.port), WITHIN_S))
            pool.submit(say_little, client)
        assert get(monitor, "/metrics")[0] == 200


def test_a_port_that_is_taken_is_named(monitor: Monitor) -> None:
    with pytest.raises(ConfigError, match=rf"^metrics: cannot bind 127\.0\.0\.1:{monitor.port}: .*metrics\.port$"):
        Monitor(monitor.port, {})

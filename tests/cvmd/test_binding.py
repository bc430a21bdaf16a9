"""Where a node listens: sockets of its own, or those that systemd hands over."""

import socket
from collections.abc import Iterator

import pytest

from cvmd import binding, systemd
from cvmd.config import Config, Listen, Tls
from cvmd.errors import ConfigError

PLAIN = Config(listen=Listen(port=0))
BOTH = Config(listen=Listen(port=0), tls=Tls(certificate_file="/cert", key_file="/key", port=0))
SECURE = Config(listen=Listen(plain=False), tls=BOTH.tls)


@pytest.fixture
def handed() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def hand_over(monkeypatch: pytest.MonkeyPatch, *sockets: tuple[str, socket.socket]) -> None:
    monkeypatch.setattr(systemd, "inherited_sockets", lambda: list(sockets))


@pytest.mark.parametrize(
    ("config", "plain", "tls"), [(PLAIN, 1, 0), (BOTH, 1, 1), (SECURE, 0, 1)], ids=["plain", "both", "tls"]
)
def test_its_own_sockets(config: Config, plain: int, tls: int) -> None:
    bound = binding.sockets(config)
    try:
        assert (len(bound.plain), len(bound.tls)) == (plain, tls)
        assert all(it.getsockname()[0] == "127.0.0.1" for it in (*bound.plain, *bound.tls))
    finally:
        for made in (*bound.plain, *bound.tls):
            made.close()


@pytest.mark.parametrize("name", ["", "cvmd.socket"])
def test_a_socket_is_plain_unless_it_is_named_tls(
    monkeypatch: pytest.MonkeyPatch, handed: socket.socket, name: str
) -> None:
    hand_over(monkeypatch, (name, handed))
    assert binding.sockets(PLAIN) == binding.Bound([handed], [])
    hand_over(monkeypatch, ("tls", handed))
    assert binding.sockets(SECURE) == binding.Bound([], [handed])
    hand_over(monkeypatch, (name, handed), ("tls", handed))
    assert binding.sockets(BOTH) == binding.Bound([handed], [handed])


def test_a_socket_that_nobody_is_to_serve_is_refused(monkeypatch: pytest.MonkeyPatch, handed: socket.socket) -> None:
    hand_over(monkeypatch, ("tls", handed))
    with pytest.raises(ConfigError, match=r"tls.certificate_file: is empty.*disable --now cvmd-tls.socket"):
        binding.sockets(PLAIN)
    hand_over(monkeypatch, ("cvmd.socket", handed))
    with pytest.raises(ConfigError, match=r"listen.plain: is false.*mask --now cvmd.socket"):
        binding.sockets(SECURE)


def test_an_address_that_is_taken_is_named_with_its_keys(handed: socket.socket) -> None:
    port = handed.getsockname()[1]
    with pytest.raises(ConfigError, match=rf"tls: cannot bind 127.0.0.1:{port}: .*see tls.host and tls.port"):
        binding.bind_tcp("tls", "127.0.0.1", port)
    assert binding.addresses([handed]) == f"127.0.0.1:{port}"
    assert binding.addresses([]) is None


def test_ipv6_is_bound_by_its_address() -> None:
    with binding.bind_tcp("listen", "::1", 0) as made:
        assert made.family == socket.AF_INET6

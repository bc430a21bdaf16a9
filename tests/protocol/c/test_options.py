"""What a build may switch on: CSRs, nonces of counters, trust in auth `serial`."""

from dataclasses import replace

import pytest
from cdevice import CDevice, Driver, End, Flash, Settings
from test_session import PULL, PUSH, Server, connect

from protocol import auth
from protocol.constants import ProofFlag


@pytest.mark.parametrize("size", [1, 400, 2048])
@pytest.mark.parametrize("settings", [PUSH, PULL], ids=["push", "pull"])
def test_a_csr_of_any_size_goes_through_any_buffer(optioned: Driver, settings: Settings, size: int) -> None:
    csr, server = bytes(range(256)) * 8, Server()
    _, result = connect(optioned, server, replace(settings, csr=csr[:size]))
    assert result.end is End.ACTIVE
    [proof] = server.proofs
    assert (proof.flags, proof.csr, proof.have) == (ProofFlag.CSR, csr[:size], None)


def test_a_csr_beyond_the_largest_is_misuse(optioned: Driver) -> None:
    device, result = connect(optioned, Server(), replace(PUSH, csr=bytes(2049)))
    assert (result.end, device.said) == (End.MISUSE, b"")


def test_nonces_of_counters_never_repeat_though_entropy_does(optioned: Driver) -> None:
    nonces = []
    for boot in (1, 2):
        device = CDevice(optioned, replace(PUSH, boot=boot), Flash())
        device.nonce = b"\0" * 16
        for connection in range(1, 6):
            device.run(lambda said: None)
            nonces.append(device.said[7:23])
            expected = auth.counter_nonce(auth.prk(PUSH.token), boot, connection, b"\0" * 16)
            assert nonces[-1] == expected
    assert len(set(nonces)) == 10


def test_a_device_without_any_entropy_has_nonces_too(optioned: Driver) -> None:
    device = CDevice(optioned, replace(PUSH, boot=7), Flash())
    device.on_random = lambda size: b""  # type: ignore[method-assign]  # fails
    device.run(lambda said: None)
    assert device.said[7:23] == auth.counter_nonce(auth.prk(PUSH.token), 7, 1, b"")


def test_without_randomness_nothing_is_sent(driver: Driver) -> None:
    device = CDevice(driver, PUSH, Flash())
    device.on_random = lambda size: b""  # type: ignore[method-assign]  # fails
    assert device.run(lambda said: None).end is End.BROKEN
    assert device.said == b""


def test_time_of_auth_serial_is_taken_where_the_build_says_so(optioned: Driver) -> None:
    _, result = connect(optioned, Server(token=b""), replace(PUSH, token=b"", want=0b110))
    assert (result.end, result.time) == (End.ACTIVE, 1_800_000_000)
    _, result = connect(optioned, Server(token=b""), replace(PUSH, token=b"", want=0x36))
    assert result.end is End.PEER, "the root CA may be asked for; this server has none"

"""Suite noise in C against the real server session: vectors, sessions, flipped bits."""

from dataclasses import replace
from typing import Any

import pytest
from cdevice import CDevice, Driver, End, Flash, Settings, frames, on_both_machines
from test_session import BUNDLE, DIGEST, Server, connect
from test_vectors import example_of, of, scripted

from protocol.constants import ProofFlag

PUSH, PULL = Settings(), Settings(max_frame=56, limit=34)
MODES = [PUSH, PULL, Settings(max_frame=56), Settings(max_frame=1400), Settings(max_frame=90, limit=100)]


@on_both_machines
@pytest.mark.parametrize("settings", MODES, ids=[f"{each.max_frame}-{each.limit}" for each in MODES])
def test_a_vend(noise: Driver, settings: Settings) -> None:
    server = Server(waits=1, waits_after_ack=1)
    device, result = connect(noise, server, settings)
    assert (result.end, result.time) == (End.ACTIVE, 1_800_000_000)
    assert bytes(device.flash.data[: BUNDLE.total]) == BUNDLE.data
    assert device.accepted == [DIGEST]


@pytest.mark.parametrize("takes", [1, 7])
def test_a_line_that_takes_little_gets_the_same_frame(noise: Driver, takes: int) -> None:
    server = Server()
    device = CDevice(noise, PULL, Flash())
    device.takes = takes
    server.connect()
    assert device.run(server.talk).end is End.ACTIVE


def test_a_line_that_is_not_free_at_once(noise: Driver) -> None:
    server, device = Server(), CDevice(noise, PULL, Flash())
    server.connect()
    send, turns = device.on_send, [0]

    def sometimes(data: str) -> int:
        turns[0] += 1
        return send(data) if turns[0] % 3 == 0 else 0

    device.on_send = sometimes  # type: ignore[method-assign]  # takes nothing twice
    assert device.run(server.talk).end is End.ACTIVE


def test_a_csr_needs_a_buffer_of_its_size(noise: Driver) -> None:
    server = Server()
    assert connect(noise, server, replace(PUSH, csr=b"c" * 500))[1].end is End.MISUSE
    assert connect(noise, server, replace(PUSH, max_frame=700, csr=b"c" * 500))[1].end is End.ACTIVE
    assert (server.proofs[-1].flags, server.proofs[-1].csr) == (ProofFlag.CSR, b"c" * 500)


def test_a_flipped_bit_in_any_byte_ends_the_session(noise: Driver) -> None:
    lengths = []
    whole = Server()
    device = CDevice(noise, PULL, Flash())
    whole.connect()

    def measured(said: bytes) -> bytes | None:
        answer = whole.talk(said)
        lengths.append(len(answer or b""))
        return answer

    device.run(measured)
    total = sum(lengths)
    for place in range(39, total, 13):  # past CHALLENGE's header and nonce
        server, device, heard = Server(), CDevice(noise, PULL, Flash()), 0
        server.connect()

        def bent(said: bytes, server: Server = server, place: int = place) -> bytes | None:
            nonlocal heard
            answer = bytearray(server.talk(said) or b"")
            if heard <= place < heard + len(answer):
                answer[place - heard] ^= 4
            heard += len(answer)
            return bytes(answer)

        result = device.run(bent)
        assert result.end in (End.PEER, End.LINE), place
        assert device.flash.data[: device.flash.stored] == BUNDLE.data[: device.flash.stored]


def test_another_token_is_refused(noise: Driver) -> None:
    assert connect(noise, Server(token=bytes(32)))[1].end is End.REPORT


@on_both_machines
@pytest.mark.parametrize(
    "vector", [each for each in of("session", "device") if each["in"]["suite"] == 1], ids=lambda vector: vector["id"]
)
def test_a_session_is_said_byte_for_byte(noise: Driver, vector: dict[str, Any]) -> None:
    example = example_of(vector)
    settings = Settings(
        example.serial, example.token, example.max_frame, limit=example.limit, max_wait_s=example.max_wait_s
    )
    device = CDevice(noise, settings, Flash())
    device.on_random = lambda size: example.nonce_c if int(size) == 16 else example.device_ephemeral  # type: ignore[method-assign]  # the vector's
    result = device.run(scripted(vector))
    assert [frame.hex() for frame in frames(device.said)] == [step[1:] for step in vector["steps"] if step[0] == ">"]
    assert result.end is (End.PEER if "error" in vector else End.ACTIVE)

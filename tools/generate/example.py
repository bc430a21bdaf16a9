"""Whole sessions out of constant inputs: both ends of `protocol` against each other, frame by frame."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from protocol import auth, messages
from protocol.client import ClientSession
from protocol.constants import HEADER_SIZE, OVERHEAD, TO_THE_END, Kind, MessageType, Suite
from protocol.events import (
    AckReceived,
    Challenged,
    ClientEvent,
    DataReceived,
    HelloReceived,
    ManifestReceived,
    ProofPending,
    ProofReceived,
    RequestRepeated,
    ServerEvent,
    WaitReceived,
)
from protocol.messages import Proof
from protocol.noise import NNpsk0
from protocol.objects import Bundle, certificate_digest, verify, want_of
from protocol.server import ServerSession

_WANTED: Final = (Kind.CERTIFICATE, Kind.KEY_SEC1_PKCS1)
_DATA_HEAD: Final = HEADER_SIZE + 2


def fixed(name: str, size: int) -> bytes:
    """Bytes that stand for random ones: SHA-256 of the name, cut."""
    return sha256(b"cvm1 example " + name.encode()).digest()[:size]


@dataclass(frozen=True)
class Example:
    """The inputs of one session. `pulled`: the device asks for one DATA frame at a time."""

    suite: Suite
    max_frame: int
    pulled: bool = False
    serial: bytes = b"EXAMPLE-0001"
    token: bytes = fixed("token", 32)
    nonce_c: bytes = fixed("nonce_c", 16)
    nonce_s: bytes = fixed("nonce_s", 16)
    device_ephemeral: bytes = fixed("device ephemeral", 32)
    server_ephemeral: bytes = fixed("server ephemeral", 32)
    certificate: bytes = b"".join(fixed(f"certificate {part}", 32) for part in range(3))
    key: bytes = fixed("key", 24)
    max_wait_s: int = 60
    time: int = 1_800_000_000
    connect_after_s: int = 5

    @property
    def bundle(self) -> Bundle:
        """What is vended."""
        return Bundle.of({Kind.CERTIFICATE: self.certificate, Kind.KEY_SEC1_PKCS1: self.key})

    @property
    def limit(self) -> int:
        """The limit of each FETCH."""
        return self.max_frame - _DATA_HEAD - OVERHEAD[self.suite] if self.pulled else TO_THE_END


MAC: Final = Example(Suite.MAC, 512)
NOISE: Final = Example(Suite.NOISE, 512)
PULL48: Final = Example(Suite.MAC, 48, pulled=True)
NOISE56: Final = Example(Suite.NOISE, 56, pulled=True)


@dataclass(frozen=True)
class Step:
    """One frame on the wire."""

    sender: str
    frame: bytes

    @property
    def type(self) -> MessageType:
        """What the header says."""
        return MessageType(self.frame[HEADER_SIZE - 1])


def play(example: Example) -> list[Step]:
    """The frames of this session, in order."""
    device = start(example)
    server = ServerSession(set(Suite))
    flash = bytearray()
    steps: list[Step] = []
    while request := device.data_to_send():
        steps += (Step("device", frame) for frame in frames(request))
        server.receive_data(request)
        answer(server, example)
        answers = server.data_to_send()
        steps += (Step("server", frame) for frame in frames(answers))
        device.receive_data(answers)
        go_on(device, example, flash)
    return steps


def start(example: Example) -> ClientSession:
    """The example's device; HELLO is waiting to be sent."""
    device = ClientSession(
        example.serial,
        example.token,
        suite=example.suite,
        nonce_c=example.nonce_c,
        ephemeral_private=example.device_ephemeral,
        max_frame=example.max_frame,
        max_wait_s=example.max_wait_s,
    )
    device.hello()
    return device


def frames(stream: bytes) -> Iterator[bytes]:
    """The whole frames in these bytes."""
    while stream:
        size = HEADER_SIZE + int.from_bytes(stream[:2], "big")
        yield stream[:size]
        stream = stream[size:]


def answer(server: ServerSession, example: Example) -> list[ServerEvent]:
    """Do the shell's part of the server; returns the events that were not answered."""
    others: list[ServerEvent] = []
    while events := server.events():
        for event in events:
            match event:
                case HelloReceived():
                    server.challenge(example.nonce_s)
                case ProofPending():
                    server.authenticate(example.token, True, example.server_ephemeral)
                case ProofReceived() | RequestRepeated():
                    server.send_manifest(example.bundle)
                case AckReceived():
                    server.send_done(example.time, example.connect_after_s)
                case _:
                    others.append(event)
    return others


def go_on(device: ClientSession, example: Example, flash: bytearray) -> list[ClientEvent]:
    """Do the shell's part of the device; returns the events that it had nothing to do for."""
    others: list[ClientEvent] = []
    for event in device.events():
        match event:
            case Challenged():
                device.proof(want_of(_WANTED), 0 if example.pulled else TO_THE_END)
            case WaitReceived():
                device.fetch(0, 0 if example.pulled else TO_THE_END)
            case ManifestReceived() if example.pulled:
                device.fetch(0, example.limit)
            case DataReceived(data=data):
                flash += data
                if len(flash) == example.bundle.total:
                    objects = verify(bytes(flash), example.bundle.bundle_id)
                    device.ack(certificate_digest(objects[Kind.CERTIFICATE]))
                elif example.pulled:
                    device.fetch(len(flash), example.limit)
            case _:
                others.append(event)
    return others


def keys(example: Example, steps: list[Step]) -> dict[str, bytes]:
    """The intermediate values of this session's keys, by name."""
    hello, challenge = steps[0].frame, steps[1].frame
    prk, transcript = auth.prk(example.token), auth.transcript(hello, challenge)
    values = {"PRK": prk, "T": transcript}
    if example.suite is Suite.MAC:
        values["K_d"], values["K_s"] = auth.mac_keys(prk, transcript)
        return values
    values["psk"] = auth.noise_psk(prk, transcript)
    noise = NNpsk0(values["psk"], hello + challenge, example.device_ephemeral, initiator=True)
    values["h, ck before message 1"] = b"".join(noise.handshake_state)
    proof = messages.encode(Proof(0, want_of(_WANTED), 0 if example.pulled else TO_THE_END))
    noise.write(bytes([MessageType.PROOF]) + proof)
    values["h, ck after message 1"] = b"".join(noise.handshake_state)
    noise.read(steps[3].frame[HEADER_SIZE:])
    values["h, ck after message 2"] = b"".join(noise.handshake_state)
    return values


def text(example: Example) -> str:
    """The session as SPEC.md shows it: inputs, keys, frames."""
    steps = play(example)
    lines = ["```"]
    for field in dataclasses.fields(example):
        value = getattr(example, field.name)
        if isinstance(value, bytes) and (example.suite is Suite.NOISE or "ephemeral" not in field.name):
            lines += _hex(field.name, value)
        elif not isinstance(value, bytes):
            lines.append(f"{field.name:<18}{getattr(value, 'value', value)}")
    lines.append(f"{'want':<18}{want_of(_WANTED)}")
    lines += _hex("bundle", example.bundle.data) + _hex("bundle_id", example.bundle.bundle_id) + [""]
    for name, value in keys(example, steps).items():
        lines += _hex(name, value)
    for step in steps:
        lines += ["", f"{step.sender}: {step.type.name}, {len(step.frame)} bytes", *_hex("", step.frame)]
    return "\n".join([*lines, "```"]) + "\n"


def _hex(name: str, value: bytes) -> list[str]:
    rows = [value[start : start + 32].hex() for start in range(0, len(value), 32)]
    indent = 24 if len(name) >= 18 else 18 if name else 4
    return [f"{name if number == 0 else '':<{indent}}{row}" for number, row in enumerate(rows)]

"""What a vector of one step does: a function of its `in` that gives its `out` or a RemoteProtocolError."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from hashlib import sha256
from typing import Any, Final

from protocol import auth, messages, objects
from protocol.auth import MacProtection
from protocol.client import ClientSession
from protocol.constants import BODY_SIZES, BUNDLE_ID_SIZE, HEADER_SIZE, MessageType, Status, Suite
from protocol.errors import RemoteProtocolError
from protocol.events import Ended, HelloReceived, RefuseReceived
from protocol.framing import clear_frame, header
from protocol.noise import NNpsk0
from protocol.server import ServerSession
from tools.generate.example import MAC

Value = bytes | int | None
Values = dict[str, Value]
Vector = dict[str, Any]


def vector(name: str, comment: str, operation: str, **given: Value) -> Vector:
    """One vector, as it stands in the file; what the operation does now is what is expected from now on."""
    made: Vector = {"id": name, "comment": comment, "op": operation, "in": plain(given)}
    try:
        return made | {"out": plain(OPERATIONS[operation](**given)), "result": "valid"}
    except RemoteProtocolError as error:
        detail = {"out": {"detail": error.detail}} if error.detail else {}
        return made | detail | {"error": error.status.name, "result": "invalid"}


def plain(values: Mapping[str, Value]) -> dict[str, Any]:
    """The values as JSON has them: bytes in hex."""
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in values.items()}


def _message(message_type: int, body: bytes) -> Values:
    """Decode body as that type: the fields. What is valid encodes to the same body."""
    message = messages.decode(MessageType(message_type), body)
    assert messages.encode(message) == body, "what parses is what would be sent"
    return {each.name: getattr(message, each.name) for each in fields(message)}


def _keys(token: bytes, hello_frame: bytes, challenge_frame: bytes) -> Values:
    """The schedule of both suites."""
    prk, transcript = auth.prk(token), auth.transcript(hello_frame, challenge_frame)
    device_key, server_key = auth.mac_keys(prk, transcript)
    return {
        "prk": prk,
        "transcript": transcript,
        "mac_device_key": device_key,
        "mac_server_key": server_key,
        "noise_psk": auth.noise_psk(prk, transcript),
    }


def _derived_token(product_key: bytes, serial: bytes) -> Values:
    """The token of auth `derived`."""
    return {"token": auth.derived_token(product_key, serial)}


def _counter_nonce(prk: bytes, boot: int, connection: int, entropy: bytes) -> Values:
    """nonce_c in its counter form."""
    return {"nonce_c": auth.counter_nonce(prk, boot, connection, entropy)}


def _at(key: bytes, counter: int) -> MacProtection:
    """Both directions of one key, with `counter` frames gone by."""
    protection = MacProtection(key, key)
    for _ in range(counter):
        protection.open(protection.seal(MessageType.WAIT, b""))
    return protection


def _mac_seal(key: bytes, counter: int, message_type: int, body: bytes) -> Values:
    """Suite mac: the frame."""
    return {"frame": _at(key, counter).seal(message_type, body)}


def _mac_open(key: bytes, counter: int, frame: bytes) -> Values:
    """Suite mac: type and body of the frame."""
    return {"message_type": frame[HEADER_SIZE - 1], "body": _at(key, counter).open(frame)}


def _noise_handshake(
    psk: bytes, prologue: bytes, initiator_ephemeral: bytes, responder_ephemeral: bytes, **payloads: bytes
) -> Values:
    """Both handshake messages (payload_1, payload_2), then one message each way; initiator first."""
    initiator = NNpsk0(psk, prologue, initiator_ephemeral, initiator=True)
    responder = NNpsk0(psk, prologue, responder_ephemeral, initiator=False)
    written: Values = {}
    for number in range(1, len(payloads) + 1):
        sender, receiver = (initiator, responder) if number % 2 else (responder, initiator)
        message = sender.write(payloads[f"payload_{number}"])
        assert receiver.read(message) == payloads[f"payload_{number}"], "both ends agree"
        written[f"message_{number}"] = message
    return written


def _noise_read(psk: bytes, prologue: bytes, responder_ephemeral: bytes, message_1: bytes) -> Values:
    """The responder reads the first message."""
    return {"payload_1": NNpsk0(psk, prologue, responder_ephemeral, initiator=False).read(message_1)}


def _bundle(data: bytes) -> Values:
    """The objects by kind, and the identity of the whole."""
    found = {f"kind_{kind}": content for kind, content in objects.parse(data).items()}
    return {"bundle_id": sha256(data).digest()[:BUNDLE_ID_SIZE], **found}


def _hunt_hello(stream: bytes) -> Values:
    """The HELLO that a server finds and the bytes before it; null: not yet. Error: it closes in silence."""
    session = ServerSession(set(Suite))
    session.receive_data(stream)
    for event in session.events():
        if isinstance(event, Ended):
            raise RemoteProtocolError(Status.MALFORMED, event.reason)
        if isinstance(event, HelloReceived):
            return _found(stream, clear_frame(MessageType.HELLO, messages.encode(event.hello)))
    return {"skipped": None, "frame": None}


def _hunt_answer(nonce_c: bytes, stream: bytes) -> Values:
    """The CHALLENGE or clear REFUSE that a device finds after HELLO with nonce_c; null: not yet."""
    session = ClientSession(MAC.serial, MAC.token, suite=MAC.suite, nonce_c=nonce_c)
    session.hello()
    session.receive_data(stream)
    for event in session.events():
        refused = isinstance(event, RefuseReceived)
        message_type = MessageType.CLEAR_REFUSE if refused else MessageType.CHALLENGE
        length = BODY_SIZES[message_type][1]
        start = stream.index(header(message_type, length) + nonce_c)
        return _found(stream, stream[start : start + HEADER_SIZE + length])
    return {"skipped": None, "frame": None}


def _found(stream: bytes, frame: bytes) -> Values:
    return {"skipped": stream.index(frame), "frame": frame}


OPERATIONS: Final[Mapping[str, Callable[..., Values]]] = {
    "message": _message,
    "keys": _keys,
    "derived-token": _derived_token,
    "counter-nonce": _counter_nonce,
    "mac-seal": _mac_seal,
    "mac-open": _mac_open,
    "noise-handshake": _noise_handshake,
    "noise-read": _noise_read,
    "bundle": _bundle,
    "hunt-hello": _hunt_hello,
    "hunt-answer": _hunt_answer,
}

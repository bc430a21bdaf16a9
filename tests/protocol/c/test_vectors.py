"""The JSON vectors: all that concerns a device of suite mac."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from cdevice import ROOT, CDevice, Driver, End, Flash, Settings, frames, on_every_machine
from test_session import Server

from protocol.constants import OVERHEAD, MessageType, Suite
from protocol.framing import clear_frame
from protocol.messages import Challenge, encode
from protocol.objects import Bundle
from protocol.session import protect
from tools.generate.example import MAC, Example

pytestmark = on_every_machine

FILES = {
    name: json.loads((ROOT / "protocol" / "vectors" / f"{name}.json").read_text())["vectors"]
    for name in ("bundles", "hunting", "keys", "mac", "messages", "sessions")
}


def of(*operations: str) -> list[dict[str, Any]]:
    """The vectors of these operations, their values as bytes and integers."""
    return [
        vector
        | {
            part: {
                key: bytes.fromhex(value) if isinstance(value, str) else value for key, value in vector[part].items()
            }
            for part in ("in", "out")
            if part in vector
        }
        for vectors in FILES.values()
        for vector in vectors
        if vector["op"] in operations
    ]


def test_keys(driver: Driver) -> None:
    for vector in of("keys"):
        given, out = vector["in"], vector["out"]
        prk, transcript = driver.digest("extract", given["token"]), out["transcript"]
        assert prk == out["prk"]
        assert driver.digest("sha256", given["hello_frame"], given["challenge_frame"]) == transcript
        for label, name in (
            ("mac device", "mac_device_key"),
            ("mac server", "mac_server_key"),
            ("noise psk", "noise_psk"),
        ):
            assert driver.digest("expand", prk, f"cvm1 {label}".encode(), transcript) == out[name]


def test_counter_nonces_and_derived_tokens(driver: Driver) -> None:
    for vector in of("counter-nonce"):
        given = vector["in"]
        info = given["boot"].to_bytes(4, "big") + given["connection"].to_bytes(4, "big") + given["entropy"]
        assert driver.digest("expand", given["prk"], b"cvm1 nonce", info)[:16] == vector["out"]["nonce_c"]
    for vector in of("derived-token"):
        assert driver.digest("hmac", vector["in"]["product_key"], vector["in"]["serial"]) == vector["out"]["token"]


def test_frames_open_or_do_not(driver: Driver) -> None:
    opened = 0
    for vector in of("mac-seal", "mac-open"):
        given = vector["in"]
        frame = vector["out"]["frame"] if vector["op"] == "mac-seal" else given["frame"]
        if len(frame) < 3 + OVERHEAD[Suite.MAC] or len(frame) != 3 + int.from_bytes(frame[:2], "big"):
            continue  # judged on the header, before anything is opened: the sessions below
        opens = driver.ask("open", given["key"], frame, given["counter"]) == ["1"]
        assert opens == (vector["result"] == "valid"), vector["id"]
        opened += opens
    assert opened == 8


BUNDLES = [each for each in of("bundle") if each["in"]["data"]]
"""An empty one cannot be announced: device-manifest-empty, below."""


@pytest.mark.parametrize("vector", BUNDLES, ids=lambda vector: vector["id"])
def test_a_bundle(driver: Driver, vector: dict[str, Any]) -> None:
    data = vector["in"]["data"]
    device = CDevice(driver, Settings(want=0b10), Flash())
    server = Server(bundle=Bundle(driver.digest("sha256", data)[:16], data), check_acks=False)
    server.connect()
    end = device.run(server.talk).end
    assert end is (End.ACTIVE if vector["result"] == "valid" else End.PEER)
    if end is End.ACTIVE:
        found = {f"kind_{kind}": content for kind, content in device.objects().items()}
        assert found | {"bundle_id": device.flash.record[6:22]} == vector["out"]


@pytest.mark.parametrize("vector", of("hunt-answer"), ids=lambda vector: vector["id"])
def test_hunting(driver: Driver, vector: dict[str, Any]) -> None:
    device = CDevice(driver, Settings(serial=MAC.serial, token=MAC.token), Flash())
    device.nonce, stream = vector["in"]["nonce_c"], [vector["in"]["stream"]]
    result = device.run(lambda said: stream.pop() if stream else b"")
    frame, hello = vector["out"]["frame"], 3 + int.from_bytes(device.said[:2], "big")
    if frame is None:
        assert (result.end, len(device.said)) == (End.LINE, hello)
    elif frame[2] == MessageType.CLEAR_REFUSE:
        assert (result.refusal, len(device.said)) == (frame[19], hello)
    else:
        assert device.said[hello + 2] == MessageType.PROOF


def scripted(vector: dict[str, Any]) -> Callable[[bytes], bytes]:
    """The vector's server: its next frames, as soon as all that comes before them was said."""
    script = iter([(step[0], bytes.fromhex(step[1:])) for step in vector["steps"]])
    to_say, heard = b"", b""

    def talk(said: bytes) -> bytes:
        nonlocal to_say, heard
        heard += said
        answer = b""
        while heard.startswith(to_say) and (step := next(script, None)):
            if step[0] == ">":
                to_say += step[1]
            else:
                answer += step[1]
        return answer

    return talk


def example_of(vector: dict[str, Any]) -> Example:
    return Example(**vector["in"] | {"suite": Suite(vector["in"]["suite"]), "pulled": bool(vector["in"]["pulled"])})


@pytest.mark.parametrize(
    "vector", [each for each in of("session", "device") if each["in"]["suite"] == 0], ids=lambda vector: vector["id"]
)
def test_a_session_is_said_byte_for_byte(driver: Driver, vector: dict[str, Any]) -> None:
    example = example_of(vector)
    settings = Settings(
        example.serial, example.token, example.max_frame, limit=example.limit, max_wait_s=example.max_wait_s
    )
    device = CDevice(driver, settings, Flash())
    device.nonce = example.nonce_c
    result = device.run(scripted(vector))
    assert device.said == b"".join(bytes.fromhex(step[1:]) for step in vector["steps"] if step[0] == ">")
    if vector["op"] == "session":
        assert (result.end, result.time) == (End.ACTIVE, example.time)
    elif "error" in vector:
        assert result.end is End.PEER
    else:
        assert result.end in (End.BUSY, End.LINE)
        assert result.retry_s <= 3600


def _after_proof(device: CDevice, message_type: MessageType, body: bytes) -> Callable[[bytes], bytes]:
    """A server that answers PROOF with this body; or HELLO, where it is of CHALLENGE."""
    assert device.nonce
    challenge = clear_frame(MessageType.CHALLENGE, encode(Challenge(device.nonce, MAC.nonce_s)))

    def talk(said: bytes) -> bytes:
        requests = list(frames(device.said)) if said else []
        if len(requests) == 1:
            return clear_frame(message_type, body) if message_type == MessageType.CHALLENGE else challenge
        if len(requests) != 2:
            return b""
        if not message_type.protected:
            return clear_frame(message_type, body)
        return protect(Suite.MAC, MAC.token, requests[0], challenge, bytes(32), device=False).seal(message_type, body)

    return talk


def test_bodies_that_do_not_parse_are_errors(driver: Driver) -> None:
    judged = 0
    for vector in of("message"):
        message_type, body = MessageType(vector["in"]["message_type"]), vector["in"]["body"]
        valid = vector["result"] == "valid"
        if not message_type.from_server or (message_type is MessageType.DATA and valid):
            continue  # of the device; DATA that is right in itself, and of no bundle
        device = CDevice(driver, Settings(MAC.serial, MAC.token, have=bytes(32)), Flash())
        device.nonce = MAC.nonce_c if message_type.protected else body[:16].ljust(16, b"\0")
        end = device.run(_after_proof(device, message_type, body)).end
        if message_type is MessageType.CHALLENGE:  # what is none is hunted past
            assert (len(list(frames(device.said))) == 2) == valid, vector["id"]
        else:
            assert (end is not End.PEER) == valid, vector["id"]
        judged += 1
    assert judged > 20


def test_hello_is_laid_out_as_the_vectors_say(driver: Driver) -> None:
    for vector in of("message"):
        out = vector.get("out", {})
        if vector["in"]["message_type"] != MessageType.HELLO or vector["result"] != "valid" or out["suite"] != 0:
            continue
        settings = Settings(out["serial"], MAC.token, out["max_frame"], max_wait_s=out["max_wait_s"])
        device = CDevice(driver, settings, Flash())
        device.nonce = out["nonce_c"]
        device.run(lambda said: None)
        assert device.said[3:] == vector["in"]["body"], vector["id"]

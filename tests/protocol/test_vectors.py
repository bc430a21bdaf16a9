"""The vectors are closed under their schema, mostly malformed, and what the code does."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import protocol
from protocol.constants import Suite
from protocol.errors import RemoteProtocolError
from protocol.events import Ended, ProofRejected, ProtocolFailed
from protocol.server import ServerSession
from tools.generate.example import Example, answer, frames, go_on, start
from tools.generate.operations import OPERATIONS, plain

DIRECTORY = Path(protocol.__file__).parent / "vectors"
SCHEMA = json.loads((DIRECTORY / "schema.json").read_text())
FILES = {path.stem: json.loads(path.read_text()) for path in DIRECTORY.glob("*.json") if path.stem != "schema"}
SESSIONS = FILES["sessions"]["vectors"]
STEPS = [each for file in FILES.values() for each in file["vectors"] if each["op"] in OPERATIONS]


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_of_the_schema(name: str) -> None:
    jsonschema.validate(FILES[name], SCHEMA)
    names = Counter(vector["id"] for vector in FILES[name]["vectors"])
    assert names.most_common(1)[0][1] == 1


def test_the_schema_is_closed() -> None:
    vector = FILES["bundles"]["vectors"][0]
    for wrong in (vector | {"more": 1}, vector | {"in": {"data": "XY"}}, vector | {"error": "STALE"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"title": "x", "vectors": [wrong]}, SCHEMA)


def test_malformed_cases_outnumber_the_valid() -> None:
    results = Counter(vector["result"] for file in FILES.values() for vector in file["vectors"])
    assert results["invalid"] > results["valid"] > 50


@pytest.mark.parametrize("vector", STEPS, ids=lambda vector: vector["id"])
def test_a_step_is_what_the_vector_says(vector: dict[str, Any]) -> None:
    given = {name: bytes.fromhex(value) if isinstance(value, str) else value for name, value in vector["in"].items()}
    try:
        found: dict[str, Any] = {"out": plain(OPERATIONS[vector["op"]](**given))}
    except RemoteProtocolError as error:
        found = {"error": error.status.name} | ({"out": {"detail": error.detail}} if error.detail else {})
    assert found == {key: vector[key] for key in ("out", "error") if key in vector}


def _inputs(vector: dict[str, Any]) -> Example:
    values = {name: bytes.fromhex(value) if isinstance(value, str) else value for name, value in vector["in"].items()}
    return Example(**values | {"suite": Suite(values["suite"]), "pulled": bool(values["pulled"])})


def _said(vector: dict[str, Any], sender: str) -> bytes:
    return b"".join(bytes.fromhex(step[1:]) for step in vector["steps"] if step[0] == sender)


@pytest.mark.parametrize(
    "vector", [each for each in SESSIONS if each["op"] != "device"], ids=lambda vector: vector["id"]
)
def test_a_server_answers_as_the_vector_says(vector: dict[str, Any]) -> None:
    example, server, said, error = _inputs(vector), ServerSession(set(Suite)), b"", None
    for frame in [bytes.fromhex(step[1:]) for step in vector["steps"] if step[0] == ">"]:
        server.receive_data(frame)
        for event in answer(server, example):
            if isinstance(event, ProofRejected):
                server.send_auth_refusal()
                error = "AUTH"
            elif isinstance(event, Ended) and event.status is not None:
                error = event.status.name
        said += server.data_to_send()
    assert said == _said(vector, "<")
    assert error == vector.get("error")


@pytest.mark.parametrize(
    "vector", [each for each in SESSIONS if each["op"] != "server"], ids=lambda vector: vector["id"]
)
def test_a_device_says_what_the_vector_says(vector: dict[str, Any]) -> None:
    example, flash, error = _inputs(vector), bytearray(), None
    device = start(example)
    said = device.data_to_send()
    for frame in frames(_said(vector, "<")):
        device.receive_data(frame)
        for event in go_on(device, example, flash):
            if isinstance(event, ProtocolFailed):
                error = event.error.status.name
        said += device.data_to_send()
    assert said == _said(vector, ">")
    assert error == vector.get("error")

"""Vectors of whole sessions: between two good ends, and with one end played by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from protocol.constants import Status
from tools.generate import dropped, refused
from tools.generate.byhand import Device, Server
from tools.generate.example import MAC, NOISE, NOISE56, PULL48, Example, Step, play
from tools.generate.operations import Vector, plain


def sessions() -> Iterator[Vector]:
    """Good sessions, then what a server refuses, then what a device drops the connection for."""
    examples = {"mac": MAC, "noise": NOISE, "mac-pulled-48": PULL48, "noise-pulled-56": NOISE56}
    for name, example in examples.items():
        yield _vector(name, "two good ends", "session", example, play(example), None)
    for device_script, example in refused.CASES:
        device = Device(example)
        device_script(device)
        name, comment = _words(device_script)
        yield _vector(f"server-{name}", comment, "server", example, device.steps, device.error)
    for server_script, example in dropped.CASES:
        server = Server(example)
        server_script(server)
        name, comment = _words(server_script)
        yield _vector(f"device-{name}", comment, "device", example, server.steps, server.error)


def _words(script: object) -> tuple[str, str]:
    return getattr(script, "__name__", "").replace("_", "-"), script.__doc__ or ""


def _vector(
    name: str, comment: str, operation: str, example: Example, steps: list[Step], error: Status | None
) -> Vector:
    inputs = {each.name: getattr(example, each.name) for each in fields(example)}
    made: Vector = {
        "id": name,
        "comment": comment,
        "op": operation,
        "in": plain({key: value if isinstance(value, bytes) else int(value) for key, value in inputs.items()}),
        "steps": [(">" if step.sender == "device" else "<") + step.frame.hex() for step in steps],
    }
    return made | ({"error": error.name, "result": "invalid"} if error else {"result": "valid"})

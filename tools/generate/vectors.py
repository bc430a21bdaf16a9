"""protocol/vectors/*.json: cases that every implementation runs, in a closed schema (schema.json).

Expectations come from protocol/ and are frozen in the files: a change of the wire shows as their diff.
Malformed cases outnumber the valid ones.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from protocol.constants import Status
from tools.generate import bodies, pieces, sessions
from tools.generate.operations import OPERATIONS, Vector

_SCHEMA: Final[dict[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "CVM/1 vectors",
    "type": "object",
    "additionalProperties": False,
    "required": ["title", "vectors"],
    "properties": {
        "title": {"type": "string"},
        "vectors": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/vector"}},
    },
    "$defs": {
        "hex": {"type": "string", "pattern": "^([0-9a-f]{2})*$"},
        "values": {
            "description": "bytes in hex, or an integer; null: the field is absent",
            "type": "object",
            "propertyNames": {"pattern": "^[a-z][a-z0-9_]*$"},
            "additionalProperties": {
                "oneOf": [{"$ref": "#/$defs/hex"}, {"type": "integer", "minimum": 0}, {"type": "null"}]
            },
        },
        "vector": {
            "type": "object",
            "additionalProperties": False,
            "required": ["id", "comment", "op", "in", "result"],
            "properties": {
                "id": {
                    "type": "string",
                    "pattern": "^[a-z0-9]+(-[a-z0-9]+)*$",
                    "description": "unique in its file",
                },
                "comment": {"type": "string", "minLength": 1},
                "op": {"enum": []},
                "in": {"$ref": "#/$defs/values"},
                "out": {"$ref": "#/$defs/values"},
                "steps": {
                    "description": "whole frames in order; `>` from the device, `<` from the server",
                    "type": "array",
                    "items": {"type": "string", "pattern": "^[<>]([0-9a-f]{2})+$"},
                },
                "error": {"enum": sorted(status.name for status in Status)},
                "result": {"enum": ["valid", "invalid"]},
            },
            "if": {"properties": {"result": {"const": "invalid"}}},
            "then": {"required": ["error"]},
            "else": {"not": {"required": ["error"]}},
        },
    },
}

_SESSIONS: Final[Mapping[str, str]] = {
    "session": "Two ends with these inputs make these frames.",
    "server": "A server, given the device's frames, answers with the server's. Error: what it refuses with.",
    "device": "A device, given the server's frames, says the device's. Error: why it drops the connection.",
}


def _schema(_: str | None) -> str:
    schema = json.loads(json.dumps(_SCHEMA))
    operation = schema["$defs"]["vector"]["properties"]["op"]
    meanings = {name: inspect.getdoc(function) for name, function in OPERATIONS.items()}
    meanings.update(_SESSIONS)
    operation["enum"] = list(meanings)
    operation["description"] = " ".join(f"{name}: {meaning}" for name, meaning in meanings.items())
    return json.dumps(schema, indent=2) + "\n"


def _file(title: str, vectors: Callable[[], Iterable[Vector]]) -> Callable[[str | None], str]:
    def render(_: str | None) -> str:
        return json.dumps({"title": title, "vectors": list(vectors())}, indent=1, ensure_ascii=False) + "\n"

    return render


FILES: Final[Mapping[str, Callable[[str | None], str]]] = {
    "schema": _schema,
    "messages": _file("Bodies of messages", bodies.messages),
    "keys": _file("Key schedule", pieces.keys),
    "mac": _file("Suite mac: seal and open", pieces.mac),
    "noise": _file("Suite noise: handshake and transport", pieces.noise),
    "bundles": _file("Bundles", pieces.bundles),
    "hunting": _file("The first frame of a stream", pieces.hunting),
    "sessions": _file("Whole sessions", sessions.sessions),
}

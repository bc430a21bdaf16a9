"""Which operation a request is, and what it says: routing and checks from botocore's service models."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import botocore.session
from botocore.model import OperationModel, Shape

from tools.awsiot.errors import ServiceError, refusal

Params = dict[str, Any]
"""An operation's arguments by the names that boto3 gives them; what the caller left out is not there."""


@dataclass(frozen=True)
class Member:
    """One argument of an operation: the shape says where a request carries it and what it may be."""

    name: str
    shape: Shape
    required: bool

    @property
    def location(self) -> str:
        """uri, querystring, header or body."""
        return str(self.shape.serialization.get("location", "body"))

    @property
    def wire_name(self) -> str:
        return str(self.shape.serialization.get("name", self.name))

    def read(self, value: object) -> object:
        """`value` as the operation takes it. Raises InvalidRequestException if it breaks the model."""
        match self.shape.type_name:
            case "string":
                return self._string(value)
            case "boolean":
                return self._boolean(value)
            case "integer" | "long":
                return self._integer(value)
        return value  # lists, maps and structures: the operation looks into what it uses

    def broken(self, constraint: str) -> ServiceError:
        """The refusal of a request whose argument breaks the constraint; its value is not repeated."""
        where = f"1 validation error detected: Value at '{self.name}' failed to satisfy constraint: "
        return refusal("InvalidRequestException", where + constraint)

    def _string(self, value: object) -> str:
        if not isinstance(value, str):
            raise self.broken("Member must be a string")
        low, high = self._limits()
        if not low <= len(value) <= high:
            raise self.broken(f"Member must have length between {low} and {high}")
        pattern = self.shape.metadata.get("pattern")
        if pattern and not re.fullmatch(pattern, value, re.ASCII):  # the service's \w is Java's: ASCII alone
            raise self.broken(f"Member must satisfy regular expression pattern: {pattern}")
        choices = self.shape.metadata.get("enum")
        if choices and value not in choices:
            raise self.broken(f"Member must satisfy enum value set: [{', '.join(choices)}]")
        return value

    def _boolean(self, value: object) -> bool:
        if isinstance(value, bool):
            return value
        if value not in ("true", "false"):
            raise self.broken("Member must be true or false")
        return value == "true"

    def _integer(self, value: object) -> int:
        low, high = self._limits()
        if not re.fullmatch(r"-?[0-9]{1,18}", str(value)) or not low <= int(str(value)) <= high:
            raise self.broken(f"Member must be a whole number between {low} and {high}")
        return int(str(value))

    def _limits(self) -> tuple[float, float]:
        return self.shape.metadata.get("min", 0), self.shape.metadata.get("max", float("inf"))


@dataclass(frozen=True)
class Operation:
    """One operation: its name, the pieces of its path (`{member}` or literal) and its arguments."""

    name: str
    pieces: tuple[str, ...]
    members: tuple[Member, ...]

    @classmethod
    def of(cls, operation: OperationModel) -> "Operation":
        shape = operation.input_shape
        members = shape.members.items() if shape else ()
        required = shape.required_members if shape else ()
        return cls(
            operation.name,
            tuple(operation.http["requestUri"].split("?")[0].split("/")),
            tuple(Member(name, member, name in required) for name, member in members),
        )

    def match(self, pieces: Iterable[str]) -> dict[str, str] | None:
        """What the path's pieces say for the members in it, or None where the path is another operation's."""
        found: dict[str, str] = {}
        for mine, theirs in zip(self.pieces, pieces, strict=True):
            if mine.startswith("{"):
                found[mine[1:-1]] = unquote(theirs)
            elif mine != theirs:
                return None
        return found

    def read(
        self, path: Mapping[str, str], query: Mapping[str, str], headers: Mapping[str, str], body: Mapping[str, Any]
    ) -> Params:
        """The arguments of one request. Raises InvalidRequestException."""
        sources: dict[str, Mapping[str, Any]] = {
            "uri": path,
            "querystring": query,
            "header": headers,
            "body": body,
        }
        params: Params = {}
        for member in self.members:
            value = sources[member.location].get(member.wire_name)
            if value is not None:
                params[member.name] = member.read(value)
            elif member.required:
                raise member.broken("Member must not be null")
        return params


class ServiceModel:
    """Every operation that botocore knows of a service (iot or sts), found by name, or by method and path."""

    def __init__(self, service: str) -> None:
        model = botocore.session.get_session().get_service_model(service)
        self._operations: dict[str, Operation] = {}
        self._routes: dict[tuple[str, int], list[Operation]] = {}
        for name in model.operation_names:
            operation = self._operations[name] = Operation.of(model.operation_model(name))
            key = (model.operation_model(name).http["method"], len(operation.pieces))
            self._routes.setdefault(key, []).append(operation)
        for candidates in self._routes.values():
            # A literal wins over a member: /principals/things is not the thing "things".
            candidates.sort(key=lambda operation: [piece.startswith("{") for piece in operation.pieces])

    def named(self, name: str) -> Operation:
        """Raises UnknownOperationException."""
        if name not in self._operations:
            raise refusal("UnknownOperationException", "there is no operation of this name")
        return self._operations[name]

    def find(self, method: str, raw_path: str) -> tuple[Operation, dict[str, str]]:
        """The operation of a request, and the members that its path holds. Raises UnknownOperationException.

        `raw_path` is still percent-encoded: an ARN in it carries its slashes as %2F.
        """
        pieces = raw_path.split("/")
        for operation in self._routes.get((method, len(pieces)), ()):
            found = operation.match(pieces)
            if found is not None:
                return operation, found
        raise refusal("UnknownOperationException", "there is no operation at this method and path")


def json_object(body: bytes) -> Mapping[str, Any]:
    """The body, or {} where there is none. Raises SerializationException if it is no JSON object."""
    if not body:
        return {}
    try:
        value = json.loads(body)
    except ValueError as error:
        raise refusal("SerializationException", "the body is not JSON") from error
    if not isinstance(value, dict):
        raise refusal("SerializationException", "the body is not a JSON object")
    return value

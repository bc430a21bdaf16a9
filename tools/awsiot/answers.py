"""How an answer is written: AWS IoT's JSON, and the XML of STS; and the answers that a fault spoils."""

import asyncio
import json
import socket
import struct
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol
from xml.sax.saxutils import escape

from aiohttp import web

from tools.awsiot.errors import ServiceError
from tools.awsiot.faults import Fault

Members = Mapping[str, Any] | None
"""What an operation answers, by the members' names; None for an operation without output."""


class Dialect(Protocol):
    """What a service speaks."""

    def success(self, operation: str, members: Members) -> web.Response: ...

    def failure(self, error: ServiceError) -> web.Response: ...


class RestJson:
    """AWS IoT's. An operation without output answers an empty body."""

    def success(self, operation: str, members: Members) -> web.Response:
        body = b"" if members is None else json.dumps(members).encode("utf-8")
        return _answer(200, body, "application/json")

    def failure(self, error: ServiceError) -> web.Response:
        response = _answer(error.status, json.dumps({"message": error.message}).encode("utf-8"), "application/json")
        response.headers["x-amzn-ErrorType"] = error.code
        return response


class QueryXml:
    """That of STS."""

    def success(self, operation: str, members: Members) -> web.Response:
        return _xml(200, {f"{operation}Response": {f"{operation}Result": members or {}}})

    def failure(self, error: ServiceError) -> web.Response:
        about = {"Type": "Sender", "Code": error.code, "Message": error.message}
        return _xml(error.status, {"ErrorResponse": {"Error": about}})


async def spoil(
    fault: Fault,
    perform: Callable[[], Awaitable[Members]],
    request: web.BaseRequest,
    success: Callable[[Members], web.Response],
) -> tuple[str, web.Response]:
    """The outcome and answer of a call that meets a fault. What the operation refuses stays refused."""
    if fault.kind != "late":
        await asyncio.sleep(fault.delay_s)
    members = await perform() if fault.takes_effect else None
    match fault.kind:
        case "throttle" | "error" | "error-after":
            raise fault.error()
        case "reset" | "lost":
            _reset_connection(request)
            return fault.kind, web.Response()
        case "html":
            return fault.kind, web.Response(text="<html><body>proxy</body></html>", content_type="text/html")
        case "fields":
            return fault.kind, success(
                {key: value for key, value in (members or {}).items() if fault.members and key not in fault.members}
            )
        case "late":
            await asyncio.sleep(fault.delay_s)
    return "ok", success(members)


def _reset_connection(request: web.BaseRequest) -> None:
    if request.transport is None:  # the client left first
        return
    sock = request.transport.get_extra_info("socket")
    # Lingering for 0 s makes the close a reset.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.transport.abort()


def _xml(status: int, value: Mapping[str, Any]) -> web.Response:
    return _answer(status, _elements(value).encode("utf-8"), "text/xml")


def _elements(value: Mapping[str, Any]) -> str:
    return "".join(
        f"<{name}>{_elements(inner) if isinstance(inner, Mapping) else escape(str(inner))}</{name}>"
        for name, inner in value.items()
    )


def _answer(status: int, body: bytes, content_type: str) -> web.Response:
    return web.Response(
        body=body, status=status, content_type=content_type, headers={"x-amzn-RequestId": str(uuid.uuid4())}
    )

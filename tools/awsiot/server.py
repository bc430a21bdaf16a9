"""The HTTP server: one port for AWS IoT's operations and, under /_standin/, for who directs the stand-in."""

import asyncio
import inspect
import json
import re
import socket
import struct
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from aiohttp import web

from tools.awsiot.account import Account
from tools.awsiot.authority import Authority, RsaKeys
from tools.awsiot.control import CONTROL, answer_control
from tools.awsiot.errors import ServiceError, refusal
from tools.awsiot.faults import Fault, Faults
from tools.awsiot.model import ServiceModel
from tools.awsiot.names import Names
from tools.awsiot.quotas import Quotas

_CREDENTIAL = re.compile(r"AWS4-HMAC-SHA256 Credential=([^/,\s]+)/\d{8}(/[^/]+){2}/aws4_request, ?Signed")
_CLOSE_S = 1.0  # how long an answer that is being delayed may hold up the end


@dataclass(frozen=True)
class Settings:
    """How one stand-in is set up. `quotas` are calls a second by operation, none by default; `lag_s` is how
    long an attach or detach goes unseen; `access_keys` None takes every key id."""

    host: str = "127.0.0.1"
    port: int = 0
    partition: str = "aws"
    region: str = "us-east-1"
    account_id: str = "123456789012"
    endpoint: str | None = None
    ca_key: str = "rsa"
    state_dir: Path | None = None
    ready_keys: int = 0
    quotas: Mapping[str, float] = field(default_factory=dict)
    burst_s: float = 1.0
    lag_s: float = 0.0
    access_keys: frozenset[str] | None = None

    @property
    def ca_path(self) -> Path | None:
        """Where the CA's certificate lies, if it is kept."""
        return self.state_dir / "ca.pem" if self.state_dir else None


class StandIn:
    """AWS IoT's control plane on one port: `async with StandIn(Settings()) as standin: standin.url`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._model = ServiceModel()
        self._names = Names(settings.partition, settings.region, settings.account_id, settings.endpoint)
        self.authority = Authority(settings.ca_key, settings.state_dir)
        self.keys = RsaKeys(settings.ready_keys)
        self.url = ""
        self.reset()

    def reset(self) -> None:
        """Forget everything but the CA: certificates, things, policies, counters, faults, spent quotas."""
        self.account = Account(self._names, self.authority, self.keys, self._settings.lag_s)
        self.faults = Faults()
        self._quotas = Quotas(self._settings.quotas, self._settings.burst_s)

    async def __aenter__(self) -> "StandIn":
        self._runner = web.ServerRunner(web.Server(self._handle, access_log=None), shutdown_timeout=_CLOSE_S)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._settings.host, self._settings.port).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        traceback: TracebackType | None) -> None:
        await self._runner.cleanup()
        await self.keys.close()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        if request.path.startswith(CONTROL):
            return answer_control(self, request.method, request.path, body)
        name = "unknown"
        try:
            operation, path = self._model.find(request.method, request.raw_path.split("?")[0])
            name = operation.name
            self._admit(request.headers.get("Authorization", ""))

            async def perform() -> Mapping[str, Any] | None:
                self._quotas.spend(name)
                act = self.account.operation(name)
                result = act(operation.read(path, request.query, request.headers, body))
                return await result if inspect.isawaitable(result) else result  # type: ignore[no-any-return]  # JSON

            fault = self.faults.take(name)
            if fault:
                outcome, response = await _spoil(fault, perform, request)
            else:
                outcome, response = "ok", _success(await perform())
        except ServiceError as error:
            outcome, response = error.code, _failure(error)
        self.account.counters[name][outcome] += 1
        return response

    def _admit(self, authorization: str) -> None:
        """The signature is not computed again; that there is one, of a key that is known, is checked."""
        if not authorization:
            raise refusal("MissingAuthenticationTokenException", "Missing Authentication Token")
        credential = _CREDENTIAL.match(authorization)
        if not credential:
            raise refusal("IncompleteSignatureException", "Authorization is not of Signature Version 4")
        if self._settings.access_keys is not None and credential[1] not in self._settings.access_keys:
            raise refusal("UnrecognizedClientException", "The security token in the request is invalid")


async def _spoil(fault: Fault, perform: Callable[[], Awaitable[Mapping[str, Any] | None]],
                 request: web.BaseRequest) -> tuple[str, web.StreamResponse]:
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
            kept = {key: value for key, value in (members or {}).items()
                    if fault.members and key not in fault.members}
            return fault.kind, _success(kept)
        case "late":
            await asyncio.sleep(fault.delay_s)
    return "ok", _success(members)


def _reset_connection(request: web.BaseRequest) -> None:
    if request.transport is None:  # the client left first
        return
    sock = request.transport.get_extra_info("socket")
    # Lingering for 0 s makes the close a reset.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.transport.abort()


def _success(members: Mapping[str, Any] | None) -> web.Response:
    """An operation without output answers an empty body."""
    body = b"" if members is None else json.dumps(members).encode("utf-8")
    return web.Response(body=body, content_type="application/json", headers=_request_id())


def _failure(error: ServiceError) -> web.Response:
    return web.Response(
        body=json.dumps({"message": error.message}).encode("utf-8"),
        status=error.status,
        content_type="application/json",
        headers={"x-amzn-ErrorType": error.code, **_request_id()},
    )


def _request_id() -> dict[str, str]:
    return {"x-amzn-RequestId": str(uuid.uuid4())}

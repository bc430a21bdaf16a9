"""The HTTP server: one port for AWS IoT's operations and, under /_standin/, for who directs the stand-in."""

import functools
import inspect
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

from tools.awsiot.account import Account
from tools.awsiot.answers import Dialect, Members, QueryXml, RestJson, spoil
from tools.awsiot.authority import Authority, RsaKeys
from tools.awsiot.control import CONTROL, answer_control
from tools.awsiot.errors import ServiceError
from tools.awsiot.faults import Faults
from tools.awsiot.gate import Gate
from tools.awsiot.iam import CALLER, Iam
from tools.awsiot.model import Params, ServiceModel, json_object
from tools.awsiot.names import Names
from tools.awsiot.quotas import Quotas
from tools.awsiot.sts import StsOperations

_STS = "/"  # STS has this one path, AWS IoT all others
_CLOSE_S = 1.0  # how long an answer that is being delayed may hold up the end


@dataclass(frozen=True)
class Settings:
    """How one stand-in is set up. `quotas` are calls a second by operation, none by default; `lag_s` is how
    long an attach or detach goes unseen; `access_keys` None takes every key id; `session_s` is how long the
    credentials of AssumeRole last, None as long as was asked; `external_id`, if given, is what every role asks
    for; `iam_policy`, if given, allows what it allows and nothing else; `clock_s` is how far its clock is ahead."""

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
    session_s: float | None = None
    external_id: str | None = None
    iam_policy: Mapping[str, Any] | None = None
    clock_s: float = 0.0

    @property
    def ca_path(self) -> Path | None:
        """Where the CA's certificate lies, if it is kept."""
        return self.state_dir / "ca.pem" if self.state_dir else None


class StandIn:
    """AWS IoT's control plane on one port: `async with StandIn(Settings()) as standin: standin.url`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._iot, self._sts = ServiceModel("iot"), ServiceModel("sts")
        self._names = Names(settings.partition, settings.region, settings.account_id, settings.endpoint)
        self.authority = Authority(settings.ca_key, settings.state_dir)
        self.keys = RsaKeys(settings.ready_keys)
        self.url = ""
        self.reset()

    def reset(self) -> None:
        """Forget everything but the CA: certificates, things, policies, counters, faults, lent keys."""
        self._gate = Gate(self._settings.access_keys, self._names.global_arn("iam", "user/stand-in"), self._clock)
        sts = StsOperations(self._names, self._gate, self._settings.session_s, self._settings.external_id)
        self.account = Account(self._names, self.authority, self.keys, sts, self._settings.lag_s)
        self.faults = Faults()
        self._quotas = Quotas(self._settings.quotas, self._settings.burst_s)
        self.allow(self._settings.iam_policy)

    def allow(self, document: object) -> None:
        """Judge every call from now on by this IAM policy; None: allow all. Raises ValueError."""
        self._iam = Iam(document, self._names)

    def end_sessions(self) -> None:
        """The credentials that AssumeRole has lent until now have expired, whatever it said."""
        self._gate.end_sessions()

    def _clock(self) -> float:
        return time.time() + self._settings.clock_s

    async def __aenter__(self) -> "StandIn":
        self._runner = web.ServerRunner(web.Server(self._handle, access_log=None), shutdown_timeout=_CLOSE_S)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._settings.host, self._settings.port).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._runner.cleanup()
        await self.keys.close()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        if request.path.startswith(CONTROL):
            return answer_control(self, request.method, request.path, body)
        dialect: Dialect = QueryXml() if request.path == _STS else RestJson()
        name = "unknown"
        try:
            name, read = self._find(request, body)
            CALLER.set(
                self._gate.admit(
                    request.headers.get("Authorization", ""),
                    request.headers.get("X-Amz-Security-Token", ""),
                    request.headers.get("X-Amz-Date", ""),
                )
            )

            async def perform() -> Members:
                self._quotas.spend(name)
                params = read()
                if request.path != _STS:
                    self._iam.admit(name, params)
                result = self.account.operation(name)(params)
                return await result if inspect.isawaitable(result) else result  # type: ignore[no-any-return]  # JSON

            success = functools.partial(dialect.success, name)
            fault = self.faults.take(name)
            if fault:
                outcome, response = await spoil(fault, perform, request, success)
            else:
                outcome, response = "ok", success(await perform())
        except ServiceError as error:
            outcome, response = error.code, dialect.failure(error)
        response.headers["Date"] = formatdate(self._clock(), usegmt=True)
        self.account.counters[name][outcome] += 1
        return response

    def _find(self, request: web.BaseRequest, body: bytes) -> tuple[str, Callable[[], Params]]:
        """The operation's name, and what reads its arguments."""
        if request.path == _STS:
            form = dict(parse_qsl(body.decode("utf-8", "replace")))
            operation = self._sts.named(form.get("Action", ""))
            return operation.name, lambda: operation.read({}, {}, {}, form)
        operation, path = self._iot.find(request.method, request.raw_path.split("?")[0])
        return operation.name, lambda: operation.read(path, request.query, request.headers, json_object(body))

"""One request to AWS IoT: the client of its account, and what came back, judged. boto3 never repeats one here.

By default it repeats a Create whose answer was lost, and leaves a certificate at AWS each time. Attach and
Update could be repeated safely, and are: by the worker, which sees each failure, paces itself by it, and has a
lease to keep to. So a request takes at most connect_timeout_s + read_timeout_s, and as long again where its credentials
have ended and a role is to be assumed first: seldom, since that is done ahead of time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import NoCredentialsError

from cvmd import __version__
from cvmd.errors import IssuerError, IssuerFault
from cvmd.issuer.credentials import Access, ready, unsent
from cvmd.issuer.faults import issuer_error
from cvmd.issuer.quiet import pin_loggers
from cvmd.meter import NO_METER, Meter
from cvmd.model import Account

if TYPE_CHECKING:
    from mypy_boto3_iot import IoTClient

_RENEW_S: Final = 1.0
"""No oftener: to make a client costs more than a call, and those of disposal go on whatever they end in."""


@dataclass(frozen=True, slots=True)
class AwsSettings:
    """How to reach AWS.

    `region`, `profile` and the endpoints hold for accounts that have none of their own; None: boto3's usual chain
    (environment, profile). `config_file` is AWS's own. `pool_size`: connections kept open, one for each thread that
    calls.
    """

    region: str | None = None
    profile: str | None = None
    config_file: Path | None = None
    endpoint_url: str | None = None
    sts_endpoint_url: str | None = None
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 15.0
    pool_size: int = 16

    def access(self, account: Account) -> Access:
        """As whom, and where, this account is asked."""
        return Access(
            region=account.region or self.region,
            profile=account.profile or self.profile,
            config_file=self.config_file,
            role_arn=account.role_arn,
            external_id=account.external_id,
            sts_endpoint_url=account.sts_endpoint_url or self.sts_endpoint_url,
        )

    def client_config(self) -> Config:
        """Of every client: one request is sent once, and takes no longer than this."""
        return Config(
            connect_timeout=self.connect_timeout_s,
            read_timeout=self.read_timeout_s,
            max_pool_connections=self.pool_size,
            retries={"total_max_attempts": 1, "mode": "standard"},
            parameter_validation=False,
            user_agent=f"cvmd/{__version__}",  # constant: boto3 would build one anew for every request
        )


@dataclass(slots=True)
class _Held:
    client: IoTClient
    session: boto3.Session
    made_s: float
    suspect: bool = False
    """A call with it ended in a fault of the account."""


class Connection:
    """Safe to share between threads. The client of an account is made once, at its first call, and anew after a fault
    of the account: who has mended its credentials need not restart the daemon.

    Names are checked where they are stored, so boto3's own check of parameters is off: CPU a call.
    """

    def __init__(self, settings: AwsSettings, meter: Meter = NO_METER) -> None:
        self._settings = settings
        self._meter = meter
        self._clients: dict[tuple[Access, str | None], _Held] = {}
        self._making = threading.Lock()
        pin_loggers()

    def _call(
        self,
        operation: str,
        account: Account,
        call: Callable[[IoTClient], Any],  # of TypedDicts that AWS, or who answers for it, need not keep to
        *,
        missing: IssuerFault = IssuerFault.UNKNOWN,
    ) -> dict[str, Any]:
        """What one request is answered; `missing`: what ResourceNotFoundException means in this operation."""
        began_s = time.monotonic()
        outcome = "ok"
        try:
            answer: dict[str, Any] = call(self._client(account))
            # boto3 makes `{}`, a success, of whatever somebody between us and AWS answers with status 200.
            if "RequestId" not in answer["ResponseMetadata"]:
                raise unbelievable(operation, "not AWS's: it carries no request id")
        except Exception as error:  # botocore's parsers raise whatever a strange body makes them stumble on
            # Not chained: botocore's frames in a traceback hold the whole answer.
            known = error if isinstance(error, IssuerError) else issuer_error(operation, error, missing=missing)
            outcome = known.fault
            if known.fault is IssuerFault.ACCOUNT:
                self._suspect_client(account)
            raise known from None
        finally:
            self._meter.aws_called(account.name, operation, outcome, time.monotonic() - began_s)
        return answer

    def _client(self, account: Account) -> IoTClient:
        """With credentials that are good for a call now. Raises IssuerError, never UNKNOWN: nothing is sent yet."""
        key = self._key(account)
        with self._making:
            held = self._clients.get(key)
            if held is None or (held.suspect and time.monotonic() - held.made_s >= _RENEW_S):
                held = self._clients[key] = self._make_client(*key)
        ready(held.session)
        return held.client

    def _suspect_client(self, account: Account) -> None:
        """Its credentials may be old: a file was changed, or a role's sessions were revoked."""
        with self._making:
            held = self._clients.get(self._key(account))
            if held is not None:
                held.suspect = True

    def _key(self, account: Account) -> tuple[Access, str | None]:
        return self._settings.access(account), account.endpoint_url or self._settings.endpoint_url

    def _make_client(self, access: Access, endpoint_url: str | None) -> _Held:
        config = self._settings.client_config()
        try:
            session = access.session(config)
            if session.get_credentials() is None:  # a client made without them would stay without
                raise NoCredentialsError
            client = session.client("iot", endpoint_url=endpoint_url, config=config)
        except Exception as error:  # botocore has no common root
            raise unsent(error) from None
        pin_loggers()  # the first client imported what logs
        return _Held(client, session, time.monotonic())


def unbelievable(operation: str, what: str) -> IssuerError:
    """What was answered cannot be AWS's answer to this: it may have had its effect."""
    return IssuerError(IssuerFault.UNKNOWN, operation, "UnbelievableAnswer", what)

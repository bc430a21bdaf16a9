"""One request to AWS IoT: the client of its account, and what came back, judged. boto3 never repeats one here.

By default it repeats a Create whose answer was lost, and leaves a certificate at AWS each time. Attach and
Update could be repeated safely, and are: by the worker, which sees each failure, paces itself by it, and has a
lease to keep to. So a request takes at most connect_timeout_s + read_timeout_s.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.credentials import DeferredRefreshableCredentials, create_assume_role_refresher
from botocore.exceptions import NoCredentialsError
from botocore.session import get_session

from cvmd import __version__
from cvmd.errors import IssuerError, IssuerFault
from cvmd.issuer.faults import issuer_error
from cvmd.issuer.quiet import pin_loggers
from cvmd.model import Account

if TYPE_CHECKING:
    from mypy_boto3_iot import IoTClient


@dataclass(frozen=True, slots=True)
class AwsSettings:
    """How to reach AWS.

    `region` and `endpoint_url` hold for accounts that have none of their own; None: boto3's usual chain
    (environment, profile). `pool_size`: connections kept open, one for each thread that calls. `role_arn`:
    assumed through STS, anew before it expires.
    """

    region: str | None = None
    endpoint_url: str | None = None
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 15.0
    pool_size: int = 16
    role_arn: str | None = None


class Connection:
    """Safe to share between threads. The client of a region and endpoint is made once, at its first call.

    Names are checked where they are stored, so boto3's own check of parameters is off: CPU a call.
    """

    def __init__(self, settings: AwsSettings) -> None:
        self._settings = settings
        self._clients: dict[tuple[str | None, str | None], IoTClient] = {}
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
        try:
            answer: dict[str, Any] = call(self._client(account))
        except Exception as error:  # botocore's parsers raise whatever a strange body makes them stumble on
            # Not chained: botocore's frames in a traceback hold the whole answer.
            raise issuer_error(operation, error, missing=missing) from None
        # boto3 makes `{}`, a success, of whatever somebody between us and AWS answers with status 200.
        if "RequestId" not in answer["ResponseMetadata"]:
            raise unbelievable(operation, "not AWS's: it carries no request id")
        return answer

    def _client(self, account: Account) -> IoTClient:
        region = account.region or self._settings.region
        endpoint_url = account.endpoint_url or self._settings.endpoint_url
        with self._making:
            client = self._clients.get((region, endpoint_url))
            if client is None:
                client = self._make_client(region, endpoint_url)
                self._clients[region, endpoint_url] = client
        return client

    def _make_client(self, region: str | None, endpoint_url: str | None) -> IoTClient:
        config = Config(
            connect_timeout=self._settings.connect_timeout_s,
            read_timeout=self._settings.read_timeout_s,
            max_pool_connections=self._settings.pool_size,
            retries={"total_max_attempts": 1, "mode": "standard"},
            parameter_validation=False,
            user_agent=f"cvmd/{__version__}",  # constant: boto3 would build one anew for every request
        )
        session = _session(region, self._settings.role_arn, config)
        if session.get_credentials() is None:  # a client made without them would stay without
            raise NoCredentialsError
        client = session.client("iot", endpoint_url=endpoint_url, config=config)
        pin_loggers()  # the first client imported what logs
        return client


def _session(region: str | None, role_arn: str | None, config: Config) -> boto3.Session:
    core = get_session()
    if role_arn is not None:
        sts = boto3.Session(botocore_session=get_session(), region_name=region).client("sts", config=config)
        assume = create_assume_role_refresher(sts, {"RoleArn": role_arn, "RoleSessionName": "cvmd"})
        credentials = DeferredRefreshableCredentials(assume, "assume-role")
        core._credentials = credentials  # type: ignore[attr-defined]  # set_credentials takes no others than fixed
    return boto3.Session(botocore_session=core, region_name=region)


def unbelievable(operation: str, what: str) -> IssuerError:
    """What was answered cannot be AWS's answer to this: it may have had its effect."""
    return IssuerError(IssuerFault.UNKNOWN, operation, "UnbelievableAnswer", what)

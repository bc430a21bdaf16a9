"""As whom an account is asked: credentials by every way that boto3 knows, and the role that they assume.

The ways, in boto3's order: AWS_… variables, a profile of AWS's configuration file (keys, or credential_process), the
role of the container or machine. They are renewed by whoever needs them first, while all others go on with the old.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import boto3
from botocore.config import Config
from botocore.credentials import DeferredRefreshableCredentials, create_assume_role_refresher
from botocore.exceptions import NoCredentialsError
from botocore.session import Session, get_session

from cvmd.errors import IssuerError, IssuerFault
from cvmd.issuer.faults import issuer_error

if TYPE_CHECKING:
    from mypy_boto3_sts import STSClient

_AGAIN_S: Final = 3.0
"""What waited for a role that was refused, or for STS that did not answer, is told so and does not ask itself."""


@dataclass(frozen=True, slots=True)
class Access:
    """All that a session with AWS depends on. None: boto3's usual chain (environment, profile)."""

    region: str | None = None
    profile: str | None = None
    config_file: Path | None = None
    """AWS's own, with its profiles; of either form, that of ~/.aws/config or of ~/.aws/credentials."""
    role_arn: str | None = None
    external_id: str | None = None
    sts_endpoint_url: str | None = None

    def session(self, config: Config) -> boto3.Session:
        """Credentials and region; `config` is for the calls to STS. Asks nobody yet but the chain.

        Raises botocore's exceptions: no such profile, no region, an endpoint that is none.
        """
        own = self._core()
        if self.role_arn is None:
            return boto3.Session(botocore_session=own, region_name=self.region)
        sts = self.sts(boto3.Session(botocore_session=own, region_name=self.region), config)
        core = self._core()
        assumed = _assumed(sts, self.role_arn, self.external_id)
        core._credentials = assumed  # type: ignore[attr-defined]  # set_credentials takes no others than fixed
        return boto3.Session(botocore_session=core, region_name=self.region)

    def sts(self, session: boto3.Session, config: Config) -> STSClient:
        """STS of the session's region: each is there where the others are not, and takes the tokens of all."""
        return session.client("sts", endpoint_url=self.sts_endpoint_url, config=config)

    def _core(self) -> Session:
        core = get_session()
        core.set_config_variable("sts_regional_endpoints", "regional")
        if self.profile is not None:
            core.set_config_variable("profile", self.profile)
        if self.config_file is not None:
            for name in ("config_file", "credentials_file"):
                core.set_config_variable(name, str(self.config_file))
        return core


def ready(session: boto3.Session) -> None:
    """Have the session's credentials renewed, if it is time, before anything is sent with them.

    Raises IssuerError, never UNKNOWN: whatever goes wrong here, no call was sent. credential_process alone can fail in
    as many ways as there are programs.
    """
    credentials = session.get_credentials()
    if credentials is None:
        raise IssuerError(IssuerFault.ACCOUNT, "credentials", NoCredentialsError.__name__)
    try:
        credentials.get_frozen_credentials()
    except Exception as error:  # as for any call: what botocore's providers raise has no common root
        raise unsent(error) from None


def unsent(error: Exception) -> IssuerError:
    """What kept a call from being sent."""
    known = error if isinstance(error, IssuerError) else issuer_error("credentials", error, missing=IssuerFault.ACCOUNT)
    return IssuerError(IssuerFault.ACCOUNT, "credentials", known.code) if known.fault is IssuerFault.UNKNOWN else known


class _Assumed(DeferredRefreshableCredentials):
    """Renewed when a quarter of their time is left, by one thread; all wait when it is a sixth.

    boto3's own bounds are 15 and 10 minutes, which is the same for an hour, and always for a shorter time.
    """

    def _set_from_data(self, data: dict[str, Any]) -> None:
        super()._set_from_data(data)  # type: ignore[misc]  # botocore's
        left_s = (self._staged_expiry_time - self._time_fetcher()).total_seconds()  # type: ignore[attr-defined]  # botocore's
        self._advisory_refresh_timeout = left_s / 4
        self._mandatory_refresh_timeout = left_s / 6


def _assumed(sts: STSClient, role_arn: str, external_id: str | None) -> _Assumed:
    asked = {"RoleArn": role_arn, "RoleSessionName": "cvmd"}
    if external_id is not None:
        asked["ExternalId"] = external_id
    return _Assumed(_once_for_all(create_assume_role_refresher(sts, asked)), "assume-role")


def _once_for_all(assume: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    """`assume`, which is called under a lock: who waited while it failed gets the same error, and soon.

    Raises IssuerError: never UNKNOWN, since the call that wanted credentials was not sent.
    """
    failed: tuple[float, IssuerError] | None = None

    def ask() -> dict[str, Any]:
        nonlocal failed
        if failed is not None and time.monotonic() < failed[0]:
            raise failed[1].with_traceback(None)  # of the others
        try:
            answer = assume()
        except Exception as error:  # as for any call: botocore's parsers raise whatever makes them stumble
            known = issuer_error("AssumeRole", error, missing=IssuerFault.ACCOUNT)
            if known.fault is IssuerFault.UNKNOWN:
                known.fault = IssuerFault.UNREACHABLE
            failed = (time.monotonic() + _AGAIN_S, known)
            raise known from None
        failed = None
        return answer

    return ask

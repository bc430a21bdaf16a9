"""AWS IoT's control plane on boto3 (implements ports.Issuer). boto3 never repeats a request here.

By default it repeats a Create whose answer was lost, and leaves a certificate at AWS each time. Attach and
Update could be repeated safely, and are: by the worker, which sees each failure, paces itself by it, and has a
lease to keep to. So a request takes at most connect_timeout_s + read_timeout_s.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.credentials import DeferredRefreshableCredentials, create_assume_role_refresher
from botocore.exceptions import NoCredentialsError
from botocore.session import get_session

from cvmd import __version__
from cvmd.errors import IssuerError, IssuerFault
from cvmd.issuer.faults import clean, issuer_error
from cvmd.issuer.keys import certificate_key_id, csr_key_id, der_to_pem, pem_to_der
from cvmd.issuer.quiet import pin_loggers
from cvmd.model import Account, Created

if TYPE_CHECKING:
    from mypy_boto3_iot import IoTClient

_CERTIFICATE_ARN = re.compile(r"arn:aws[a-z-]*:iot:[a-z0-9-]+:\d{12}:cert/([0-9a-f]{64})")
_HOST = re.compile(r"(?=.{1,253}\Z)(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))+")
_PAGE = 250


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


class AwsIot:
    """Safe to share between threads. The client of a region and endpoint is made once, at its first call.

    Names are checked where they are stored, so boto3's own check of parameters is off: CPU a call.
    """

    def __init__(self, settings: AwsSettings) -> None:
        self._settings = settings
        self._clients: dict[tuple[str | None, str | None], IoTClient] = {}
        self._making = threading.Lock()
        pin_loggers()

    def create(self, account: Account, csr_der: bytes) -> Created:
        """One POST of CreateCertificateFromCsr, INACTIVE, and no byte of the answer believed unseen."""
        operation = "CreateCertificateFromCsr"
        key_id = csr_key_id(csr_der)  # read before it is sent: no certificate is made of what cannot be checked
        csr_pem = der_to_pem(csr_der, "CERTIFICATE REQUEST")
        answer = self._call(
            operation,
            account,
            lambda iot: iot.create_certificate_from_csr(certificateSigningRequest=csr_pem, setAsActive=False),
        )
        return _created(operation, answer, key_id)

    def attach_policy(self, account: Account, policy: str, arn: str) -> None:
        """AttachPolicy. Safe to repeat."""
        self._attach(
            "AttachPolicy", account, arn, IssuerFault.POLICY_MISSING,
            lambda iot: iot.attach_policy(policyName=policy, target=arn),
        )  # fmt: skip

    def attach_thing(self, account: Account, thing: str, arn: str) -> None:
        """AttachThingPrincipal. Safe to repeat."""
        self._attach(
            "AttachThingPrincipal", account, arn, IssuerFault.THING_MISSING,
            lambda iot: iot.attach_thing_principal(thingName=thing, principal=arn),
        )  # fmt: skip

    def thing_principals(self, account: Account, thing: str) -> Sequence[str]:
        """ListThingPrincipals, all pages: ARNs."""
        operation = "ListThingPrincipals"
        arguments: dict[str, Any] = {"thingName": thing, "maxResults": _PAGE}
        principals: list[str] = []
        while True:
            answer = self._call(
                operation, account, lambda iot: iot.list_thing_principals(**arguments),
                missing=IssuerFault.THING_MISSING,
            )  # fmt: skip
            page = answer.get("principals")
            if not isinstance(page, list):
                raise _unbelievable(operation, "the answer has no principals")
            principals += page
            token = answer.get("nextToken")
            if not token:
                return principals
            arguments["nextToken"] = token

    def certificate_is_active(self, account: Account, certificate_id: bytes) -> bool:
        """DescribeCertificate's status; False also where there is no such certificate."""
        return self._certificate_status(account, certificate_id.hex()) == "ACTIVE"

    def activate(self, account: Account, certificate_id: bytes) -> None:
        """UpdateCertificate ACTIVE. Idempotent."""
        self._call(
            "UpdateCertificate",
            account,
            lambda iot: iot.update_certificate(certificateId=certificate_id.hex(), newStatus="ACTIVE"),
            missing=IssuerFault.CERTIFICATE_MISSING,
        )

    def describe_endpoint(self, account: Account) -> str:
        """DescribeEndpoint for iot:Data-ATS: a host name."""
        operation = "DescribeEndpoint"
        answer = self._call(operation, account, lambda iot: iot.describe_endpoint(endpointType="iot:Data-ATS"))
        endpoint = answer.get("endpointAddress")
        if not isinstance(endpoint, str) or not _HOST.fullmatch(endpoint):
            raise _unbelievable(operation, "the answer has no host name")
        return endpoint

    def _attach(
        self,
        operation: str,
        account: Account,
        arn: str,
        missing: IssuerFault,
        call: Callable[[IoTClient], object],
    ) -> None:
        """Either end of an attachment can be missing; AWS's message is no contract, so ask for the other."""
        try:
            self._call(operation, account, call, missing=missing)
        except IssuerError as error:
            if error.fault is not missing:
                raise
            if self._certificate_status(account, arn.rpartition("/")[2]) is not None:
                raise
            what = f"AWS IoT has no {arn}"
            raise IssuerError(IssuerFault.CERTIFICATE_MISSING, operation, error.code, what) from None

    def _certificate_status(self, account: Account, certificate_id: str) -> str | None:
        """The status by DescribeCertificate, or None if there is no such certificate."""
        operation = "DescribeCertificate"
        try:
            answer = self._call(
                operation, account, lambda iot: iot.describe_certificate(certificateId=certificate_id),
                missing=IssuerFault.CERTIFICATE_MISSING,
            )  # fmt: skip
        except IssuerError as error:
            if error.fault is IssuerFault.CERTIFICATE_MISSING:
                return None
            raise
        status = answer.get("certificateDescription", {}).get("status")
        if not isinstance(status, str):
            raise _unbelievable(operation, "the answer has no status")
        return status

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
            raise _unbelievable(operation, "not AWS's: it carries no request id")
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


def _created(operation: str, answer: dict[str, Any], key_id: bytes) -> Created:
    """The answer of a Create, checked. Raises IssuerError: UNKNOWN if it cannot be read, KEY_MISMATCH if what
    it says is not so; either names the certificate, which may exist, as far as the answer does."""
    named = answer.get("certificateId")
    try:
        arn, pem = answer["certificateArn"], answer["certificatePem"]
        found = _CERTIFICATE_ARN.fullmatch(arn)
        if found is None or found[1] != named:
            raise ValueError("the ARN is not that of the certificate id")
        cert_der = pem_to_der(pem, "CERTIFICATE")
        cert_key_id = certificate_key_id(cert_der)
    except (KeyError, TypeError, ValueError) as error:
        raise _unbelievable(operation, f"certificate {clean(named)}: {clean(error)}") from None
    digest = hashlib.sha256(cert_der).digest()
    if digest.hex() != named:
        raise _mismatch(operation, named, "the id is not the SHA-256 of the certificate")
    if cert_key_id != key_id:
        raise _mismatch(operation, named, "it is for another key than the CSR's")
    return Created(digest, arn, cert_der)


def _mismatch(operation: str, named: str, what: str) -> IssuerError:
    return IssuerError(IssuerFault.KEY_MISMATCH, operation, "KeyMismatch", f"certificate {named}: {what}")


def _unbelievable(operation: str, what: str) -> IssuerError:
    return IssuerError(IssuerFault.UNKNOWN, operation, "UnbelievableAnswer", what)

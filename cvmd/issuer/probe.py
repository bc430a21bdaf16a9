"""An account asked whether all is as cvmd needs it: who we are there, clock, permissions, endpoint, pace.

It changes nothing at AWS. What it may only look at it looks at; of the rest it asks for the impossible, such as to
delete a certificate that there is not: AWS judges who asks before it looks for what is asked of.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from cvmd.checks import Check
from cvmd.errors import IssuerError, IssuerFault
from cvmd.issuer.connection import AwsSettings, Connection
from cvmd.issuer.credentials import Access, ready, unsent
from cvmd.issuer.faults import issuer_error
from cvmd.issuer.permissions import actions
from cvmd.model import Account

if TYPE_CHECKING:
    from mypy_boto3_iot import IoTClient

MAX_SKEW_S: Final = 60.0
"""AWS refuses signatures from five minutes on; a clock that is off by one is on its way there."""
UPDATES_PER_S: Final = 10
"""AWS's default quota of UpdateCertificate, the lowest that a vend needs: no key source is faster."""

_NO_CERTIFICATE: Final = "0" * 64
_NO_ACCOUNT: Final = "0" * 12
_NOTHING: Final = "cvmd-permission-check"
_DENIED: Final = frozenset({"AccessDeniedException", "AccessDenied", "UnauthorizedException"})
_NOT_JUDGED: Final = frozenset({IssuerFault.THROTTLED, IssuerFault.UNREACHABLE, IssuerFault.UNKNOWN})
_WHO_GIVES_THEM: Final = "see that credential_process, or the machine's role, gives credentials to the daemon's user"
_NO_IDENTITY: Final = "there are no credentials for it"


def _questions(arn: str) -> Mapping[str, Callable[[IoTClient], Any]]:
    """Action → a call that it allows, and that has no effect. `arn`: of a certificate that there is not."""
    return {
        "iot:CreateCertificateFromCsr": lambda iot: iot.create_certificate_from_csr(
            certificateSigningRequest="-----BEGIN CERTIFICATE REQUEST-----\nMAA=\n-----END CERTIFICATE REQUEST-----\n",
            setAsActive=False,
        ),
        "iot:DescribeEndpoint": lambda iot: iot.describe_endpoint(endpointType="iot:Data-ATS"),
        "iot:ListCertificates": lambda iot: iot.list_certificates(pageSize=1),
        "iot:ListPrincipalThings": lambda iot: iot.list_principal_things(principal=arn, maxResults=1),
        "iot:AttachPolicy": lambda iot: iot.attach_policy(policyName=_NOTHING, target=arn),
        "iot:AttachThingPrincipal": lambda iot: iot.attach_thing_principal(thingName=_NOTHING, principal=arn),
        "iot:DeleteCertificate": lambda iot: iot.delete_certificate(certificateId=_NO_CERTIFICATE),
        "iot:DescribeCertificate": lambda iot: iot.describe_certificate(certificateId=_NO_CERTIFICATE),
        "iot:DetachPolicy": lambda iot: iot.detach_policy(policyName=_NOTHING, target=arn),
        "iot:DetachThingPrincipal": lambda iot: iot.detach_thing_principal(thingName=_NOTHING, principal=arn),
        "iot:ListAttachedPolicies": lambda iot: iot.list_attached_policies(target=arn, pageSize=1),
        "iot:UpdateCertificate": lambda iot: iot.update_certificate(
            certificateId=_NO_CERTIFICATE, newStatus="INACTIVE"
        ),
        "iot:GetPolicy": lambda iot: iot.get_policy(policyName=_NOTHING),
        "iot:ListThingPrincipals": lambda iot: iot.list_thing_principals(thingName=_NOTHING, maxResults=1),
    }


class Probe(Connection):
    """All of it, of one account after another."""

    def __init__(self, settings: AwsSettings, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(settings)
        self._clock = clock
        self._skew_s: float | None = None

    def run(self, account: Account, *, data_endpoint: str | None) -> list[Check]:
        """All checks of an account, in the order in which they are to be mended. Raises nothing of AWS's.

        `data_endpoint`: what devices are told, if somebody has said or AWS has been asked.
        """
        self._skew_s = None
        access = self._settings.access(account)
        checks = [self._identity("credentials", account, replace(access, role_arn=None, external_id=None))]
        if access.role_arn is not None:
            served = checks[0].passed is not False
            checks.append(self._identity("role", account, access) if served else Check("role", None, _NO_IDENTITY))
        who = checks[-1]
        if who.passed is False or checks[0].passed is False:
            rest = [Check(name, None, _NO_IDENTITY) for name in ("endpoint", *actions())]
        else:
            rest = [self._endpoint(account, data_endpoint), *self._permissions(account, who)]
        return [*checks, self._clock_check(), *rest, _pace(account)]

    def _identity(self, name: str, account: Account, access: Access) -> Check:
        """Passed, its detail is the ARN. STS alone tells it; who assumes no role has no other need of STS."""
        config = self._settings.client_config()

        def ask() -> Any:  # noqa: ANN401  # of a TypedDict that who answers need not keep to
            try:
                session = access.session(config)
            except Exception as error:  # as in Connection: botocore has no common root
                raise unsent(error) from None
            ready(session)
            return access.sts(session, config).get_caller_identity()

        try:
            answer = self._heard("GetCallerIdentity", ask)
        except IssuerError as error:
            needless = error.fault in _NOT_JUDGED and self._settings.access(account).role_arn is None
            return Check(name, None if needless else False, str(error), _to_do(account, error))
        arn = answer.get("Arn")
        if not isinstance(arn, str) or arn.count(":") < 5:
            return Check(name, False, "the answer has no ARN", "see what answers in the place of AWS STS")
        return Check(name, True, arn)

    def _clock_check(self) -> Check:
        if self._skew_s is None:
            return Check("clock", None, "AWS did not answer")
        off = f"{abs(self._skew_s):.0f} s {'behind' if self._skew_s > 0 else 'ahead of'} AWS's"
        if abs(self._skew_s) > MAX_SKEW_S:
            to_do = "set it, and keep it by NTP: beyond 5 minutes AWS refuses every signature"
            return Check("clock", False, f"this machine's is {off}", to_do)
        return Check("clock", True, "within a minute of AWS's")

    def _endpoint(self, account: Account, known: str | None) -> Check:
        try:
            answer = self._heard(
                "DescribeEndpoint", lambda: self._client(account).describe_endpoint(endpointType="iot:Data-ATS")
            )
        except IssuerError as error:
            return Check("endpoint", False, str(error), _to_do(account, error))
        host = answer.get("endpointAddress")
        if known in (None, host):
            return Check("endpoint", True, str(host))
        return Check(
            "endpoint", True, f"devices are told {known}, AWS IoT says {host}",
            f"right for a domain of your own; else `cvmd accounts set {account.name} --data-endpoint none`, "
            "and see aws.data_endpoint",
        )  # fmt: skip

    def _permissions(self, account: Account, who: Check) -> list[Check]:
        try:
            client = self._client(account)
        except IssuerError as error:
            return [Check(action, None, str(error), _to_do(account, error)) for action in actions()]
        number = who.detail.split(":")[4] if who.passed else _NO_ACCOUNT
        region, partition = client.meta.region_name, client.meta.partition
        questions = _questions(f"arn:{partition}:iot:{region}:{number}:cert/{_NO_CERTIFICATE}")
        return [self._permission(account, action, client, questions.get(action)) for action in actions()]

    def _permission(
        self, account: Account, action: str, client: IoTClient, question: Callable[[IoTClient], Any] | None
    ) -> Check:
        if question is None:
            return Check(action, None, "it cannot be asked for without making a certificate")
        try:
            self._heard(action.removeprefix("iot:"), lambda: question(client))
        except IssuerError as error:
            if error.code in _DENIED:
                to_do = f"allow it: `cvmd accounts policy {account.name}` prints the whole policy"
                return Check(action, False, str(error), to_do)
            if error.fault is IssuerFault.ACCOUNT:
                return Check(action, False, str(error), _to_do(account, error))
            if error.fault in _NOT_JUDGED and error.code != "ResourceNotFoundException":
                return Check(action, None, str(error), "ask again")
        return Check(action, True, "allowed")

    def _heard(self, operation: str, call: Callable[[], Any]) -> dict[str, Any]:
        """The answer, and of any answer how far AWS's clock is ahead of ours. Raises IssuerError."""
        try:
            answer: dict[str, Any] = call()
        except IssuerError:
            raise
        except Exception as error:  # as in Connection: botocore has no common root, and its frames hold answers
            if isinstance(error, ClientError):
                self._hear(error.response)
            raise issuer_error(operation, error, missing=IssuerFault.UNKNOWN) from None
        self._hear(answer)
        return answer

    def _hear(self, answer: Mapping[str, Any]) -> None:
        try:
            said = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
        except (KeyError, TypeError, ValueError):  # not AWS's
            return
        self._skew_s = said.timestamp() - self._clock()


def _pace(account: Account) -> Check:
    told = f"{account.creates_per_s} new certificates a second, of all nodes together"
    if account.creates_per_s <= UPDATES_PER_S:
        return Check("quotas", True, told)
    return Check(
        "quotas", True, f"{told}; by default AWS activates {UPDATES_PER_S}",
        "have AWS raise the quotas of CreateCertificateFromCsr, AttachPolicy and UpdateCertificate to it, or lower it: "
        f"`cvmd accounts set {account.name} --creates-per-s {UPDATES_PER_S}`",
    )  # fmt: skip


def _to_do(account: Account, error: IssuerError) -> str:
    """What mends an account that is not served at all."""
    name = account.name
    if error.operation == "AssumeRole" and error.code in _DENIED:
        return (
            f"who assumes it needs `cvmd accounts policy {name} --caller`, the role `--trust` with the ARN of the "
            "credentials, and the external id must be that of its trust policy"
        )
    match error.code:
        case "NoCredentialsError" | "ProfileNotFound" | "PartialCredentialsError":
            return "give credentials: docs/accounts.md has the ways, in the order in which they are looked for"
        case "NoRegionError" | "InvalidRegionError":
            return f"set aws.region, or `cvmd accounts set {name} --region`"
        case "InvalidSignatureException" | "SignatureDoesNotMatch" | "RequestTimeTooSkewed" | "RequestExpired":
            return "set the clock, if that has failed; else the secret key is not that of the key id"
    if error.operation == "credentials":
        return _WHO_GIVES_THEM
    if error.code in _DENIED:
        return f"allow it: `cvmd accounts policy {name}` prints the whole policy"
    if error.fault is IssuerFault.ACCOUNT:
        return "renew the credentials: AWS does not know them any more"
    return "see that this machine reaches AWS: network, DNS, proxy, the account's endpoints"

"""The account's identity and the names AWS builds from it: ARNs and endpoints."""

import hashlib
from dataclasses import dataclass

from tools.awsiot.errors import refusal

_SUFFIXES = {"aws": "amazonaws.com", "aws-cn": "amazonaws.com.cn", "aws-us-gov": "amazonaws.com"}
_ENDPOINTS = {
    "iot:Data-ATS": "-ats.iot",
    "iot:Data": ".iot",
    "iot:CredentialProvider": ".credentials.iot",
    "iot:Jobs": ".jobs.iot",
}


@dataclass(frozen=True)
class Names:
    """One account in one region of one partition; `endpoint`, if given, replaces every endpoint's host."""

    partition: str
    region: str
    account_id: str
    endpoint: str | None

    def arn(self, kind: str, name: str) -> str:
        """`kind` is cert, thing or policy."""
        return f"arn:{self.partition}:iot:{self.region}:{self.account_id}:{kind}/{name}"

    def global_arn(self, service: str, name: str) -> str:
        """For what has no region: iam, sts."""
        return f"arn:{self.partition}:{service}::{self.account_id}:{name}"

    def certificate_id(self, arn: str) -> str:
        """The id in a certificate's ARN. Raises InvalidRequestException for any other ARN or account."""
        prefix = self.arn("cert", "")
        if not arn.startswith(prefix):
            raise refusal("InvalidRequestException", f"not the ARN of a certificate here: {prefix}…")
        return arn[len(prefix) :]

    def host(self, endpoint_type: str) -> str:
        """The account's constant host. Raises InvalidRequestException for a type that AWS does not have."""
        if endpoint_type not in _ENDPOINTS:
            raise refusal("InvalidRequestException", f"endpointType must be one of {', '.join(_ENDPOINTS)}")
        if self.endpoint:
            return self.endpoint
        prefix = "a" + hashlib.sha256(self.account_id.encode("ascii")).hexdigest()[:13]
        return f"{prefix}{_ENDPOINTS[endpoint_type]}.{self.region}.{_SUFFIXES[self.partition]}"

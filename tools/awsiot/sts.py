"""The two operations of STS that a user of AWS IoT needs. Each public method is the operation of its name in boto3."""

from datetime import UTC, datetime
from typing import Any

from tools.awsiot.errors import refusal
from tools.awsiot.gate import Gate
from tools.awsiot.iam import CALLER
from tools.awsiot.model import Params
from tools.awsiot.names import Names

_DEFAULT_S = 3600


class StsOperations:
    """`session_s` is how long assumed credentials last, whatever was asked; None lasts as asked. `external_id` is what
    the trust of every role asks for."""

    def __init__(self, names: Names, gate: Gate, session_s: float | None, external_id: str | None) -> None:
        self._names = names
        self._gate = gate
        self._session_s = session_s
        self._external_id = external_id

    def assume_role(self, p: Params) -> dict[str, Any]:
        prefix = self._names.global_arn("iam", "role/")
        if not p["RoleArn"].startswith(prefix):
            raise refusal("AccessDenied", f"not the ARN of a role of this account: {prefix}…")
        if self._external_id is not None and p.get("ExternalId") != self._external_id:
            what = f"is not authorized to perform: sts:AssumeRole on resource: {p['RoleArn']}"
            raise refusal("AccessDenied", f"User: {CALLER.get()} {what}")
        asked_s = p.get("DurationSeconds", _DEFAULT_S)
        role, session = p["RoleArn"].rsplit("/", 1)[1], p["RoleSessionName"]
        arn = self._names.global_arn("sts", f"assumed-role/{role}/{session}")
        lent = self._gate.lend(arn, asked_s if self._session_s is None else self._session_s)
        return {
            "Credentials": {
                "AccessKeyId": lent.access_key,
                "SecretAccessKey": lent.secret_key,
                "SessionToken": lent.token,
                "Expiration": datetime.fromtimestamp(lent.expires_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            },
            "AssumedRoleUser": {
                "AssumedRoleId": f"AROASTANDIN:{session}",
                "Arn": arn,
            },
        }

    def get_caller_identity(self, _: Params) -> dict[str, Any]:
        return {
            "UserId": "AIDASTANDIN",
            "Account": self._names.account_id,
            "Arn": CALLER.get(),
        }

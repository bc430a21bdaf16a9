"""What cvmd must be allowed at AWS, and no more: the IAM policies of an account, in its partition."""

from __future__ import annotations

import json
import re
from pathlib import Path
from string import Template
from typing import Any, Final

from cvmd.errors import ConfigError

ROLE_ARN: Final = re.compile(
    r"arn:(?P<partition>aws[a-z-]*):iam::(?P<account>\d{12}):role/[\w+=,.@/-]{1,576}", re.ASCII
)
ANY: Final = "*"

_FILE: Final = Path(__file__).with_name("iam-policy.json")
_VERSION: Final = "2012-10-17"

Document = dict[str, Any]
"""An IAM policy, as JSON."""


def iam_policy(partition: str, *, region: str = ANY, account: str = ANY) -> Document:
    """All that cvmd calls, on what it calls it: for the role, or for who calls without one.

    iam-policy.json is the template, in the notation of AWS's Service Authorization Reference. `account`: 12 digits.
    """
    text = Template(_FILE.read_text(encoding="utf-8"))
    document: Document = json.loads(text.substitute(Partition=partition, Region=region, Account=account))
    return document


def actions() -> list[str]:
    """Of that policy, in its order: `iot:CreateCertificateFromCsr`, …"""
    found: list[str] = []
    for statement in iam_policy(ANY)["Statement"]:
        action = statement["Action"]
        found += [action] if isinstance(action, str) else action
    return found


def caller_policy(role_arn: str) -> Document:
    """For the identity that assumes the role: this alone."""
    return _document({"Sid": "AssumeTheRole", "Effect": "Allow", "Action": "sts:AssumeRole", "Resource": role_arn})


def trust_policy(caller_arn: str, external_id: str | None) -> Document:
    """For the role: who may assume it. `caller_arn` is of the machine's role, a user, or another role."""
    statement: Document = {
        "Sid": "LetCvmdAssumeIt", "Effect": "Allow", "Principal": {"AWS": caller_arn}, "Action": "sts:AssumeRole",
    }  # fmt: skip
    if external_id is not None:
        statement["Condition"] = {"StringEquals": {"sts:ExternalId": external_id}}
    return _document(statement)


def partition_of(region: str) -> str:
    """As botocore knows it: aws, aws-cn, aws-us-gov, … Raises ConfigError for a region that it does not know."""
    # Only here: botocore is most of the time that a command takes, and most commands need none of it.
    from botocore.exceptions import UnknownRegionError
    from botocore.session import get_session

    try:
        return str(get_session().get_partition_for_region(region))
    except UnknownRegionError:
        raise ConfigError(f"region {region!r} is of no partition that this version of botocore knows") from None


def _document(statement: Document) -> Document:
    return {"Version": _VERSION, "Statement": [statement]}

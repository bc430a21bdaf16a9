"""The IAM policies, in any partition, and the partitions themselves."""

import json

import pytest

from cvmd.errors import ConfigError
from cvmd.issuer.permissions import (
    ROLE_ARN,
    actions,
    caller_policy,
    iam_policy,
    partition_of,
    trust_policy,
)


@pytest.mark.parametrize(
    ("region", "partition"),
    [
        ("eu-central-1", "aws"),
        ("cn-north-1", "aws-cn"),
        ("us-gov-west-1", "aws-us-gov"),
        ("eu-central-9", "aws"),  # too new for this botocore, and of the pattern of its partition
    ],
)
def test_a_region_is_of_its_partition(region: str, partition: str) -> None:
    assert partition_of(region) == partition


def test_a_region_of_no_partition_is_refused() -> None:
    with pytest.raises(ConfigError, match="'moon-base-1' is of no partition"):
        partition_of("moon-base-1")


@pytest.mark.parametrize("partition", ["aws", "aws-cn", "aws-us-gov"])
def test_every_arn_of_the_policy_is_of_the_partition(partition: str) -> None:
    document = iam_policy(partition, region="r-1", account="123456789012")
    resources = [statement["Resource"] for statement in document["Statement"]]
    assert [it for it in resources if it != "*"] == [
        f"arn:{partition}:iot:r-1:123456789012:{kind}/*" for kind in ("cert", "policy", "thing")
    ]
    assert "$" not in json.dumps(document)


def test_the_policy_names_each_action_once_and_none_by_a_wildcard() -> None:
    found = actions()
    assert len(found) == len(set(found))
    assert all(action.startswith("iot:") and "*" not in action for action in found)


def test_who_assumes_the_role_needs_that_and_no_more() -> None:
    role = "arn:aws-cn:iam::123456789012:role/cvmd"
    (statement,) = caller_policy(role)["Statement"]
    assert (statement["Action"], statement["Resource"]) == ("sts:AssumeRole", role)
    (trust,) = trust_policy("arn:aws-cn:iam::123456789012:user/machine", "id")["Statement"]
    assert trust["Principal"] == {"AWS": "arn:aws-cn:iam::123456789012:user/machine"}
    assert trust["Condition"] == {"StringEquals": {"sts:ExternalId": "id"}}
    assert "Condition" not in trust_policy("arn:aws:iam::123456789012:root", None)["Statement"][0]


def test_a_roles_arn_says_partition_and_account() -> None:
    found = ROLE_ARN.fullmatch("arn:aws-us-gov:iam::123456789012:role/path/cvmd")
    assert found is not None
    assert (found["partition"], found["account"]) == ("aws-us-gov", "123456789012")
    assert ROLE_ARN.fullmatch("arn:aws:iam::123456789012:user/cvmd") is None

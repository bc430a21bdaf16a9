"""One client for all threads, and the least of privileges."""

import ast
import inspect
from concurrent.futures import ThreadPoolExecutor

import pytest

from cvmd.errors import IssuerError
from cvmd.issuer import aws_iot, inventory
from cvmd.issuer.aws_iot import AwsIot, AwsSettings
from cvmd.issuer.keys import P256KeyMaker
from cvmd.issuer.permissions import actions
from cvmd.model import Account
from tests.cvmd.events import Heard
from tests.cvmd.issuer.conftest import Scripted
from tools.awsiot import Control

CREATE = "CreateCertificateFromCsr"
PAIR = P256KeyMaker().make("A" * 52)


def test_threads_share_one_client_and_get_a_certificate_each(
    issuer: AwsIot, account: Account, standin: Control
) -> None:
    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(lambda _: issuer.create(account, PAIR.csr_der), range(24)))
    assert len({each.certificate_id for each in created}) == 24
    assert standin.calls(CREATE) == 24
    assert len(issuer._clients) == 1


def test_the_iam_policy_allows_what_is_called_and_no_more() -> None:
    called = {
        "iot:" + "".join(word.capitalize() for word in node.attr.split("_"))
        for module in (aws_iot, inventory)
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "iot"
    }
    allowed = set(actions())
    assert called == allowed
    assert len(called) == 15


def test_each_request_is_told_with_its_outcome(standin: Control, account: Account) -> None:
    heard = Heard()
    issuer = AwsIot(AwsSettings(region="us-east-1", endpoint_url=standin.url, read_timeout_s=5), heard)
    issuer.create(account, PAIR.csr_der)
    with pytest.raises(IssuerError):
        issuer.attach_policy(account, "policy-1", f"arn:aws:iot:us-east-1:123456789012:cert/{'0' * 64}")
    told = [event[:3] for event in heard.of("aws_called")]
    assert told[:2] == [("main", CREATE, "ok"), ("main", "AttachPolicy", "policy-missing")]
    assert all(took_s > 0 for *_, took_s in heard.of("aws_called"))


def test_an_answer_that_is_not_awss_is_told_as_unknown(scripted: Scripted, account: Account) -> None:
    heard = Heard()
    del scripted.headers["x-amzn-RequestId"]
    issuer = AwsIot(AwsSettings(region="us-east-1", endpoint_url=scripted.url, read_timeout_s=5), heard)
    with pytest.raises(IssuerError):
        issuer.describe_endpoint(account)
    assert [event[:3] for event in heard.of("aws_called")] == [("main", "DescribeEndpoint", "unknown")]

"""One client for all threads, and the least of privileges."""

import ast
import inspect
from concurrent.futures import ThreadPoolExecutor

from cvmd.issuer import aws_iot, inventory
from cvmd.issuer.aws_iot import AwsIot
from cvmd.issuer.keys import P256KeyMaker
from cvmd.issuer.permissions import actions
from cvmd.model import Account
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

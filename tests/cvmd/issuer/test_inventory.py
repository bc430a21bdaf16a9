"""The ways out and the lists of AWS IoT, over real HTTP against the stand-in."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from cvmd.errors import IssuerError, IssuerFault
from cvmd.issuer import inventory
from cvmd.issuer.aws_iot import AwsIot
from cvmd.issuer.keys import P256KeyMaker, der_to_pem
from cvmd.model import Account, Created, ListedCertificate
from tools.awsiot import Control

THING, POLICY = "thing-1", "policy-1"
PAIR = P256KeyMaker().make("A" * 52)
GONE = hashlib.sha256(b"gone").digest()
GONE_ARN = f"arn:aws:iot:us-east-1:123456789012:cert/{GONE.hex()}"


@pytest.fixture
def attached(issuer: AwsIot, account: Account) -> Created:
    """An ACTIVE certificate on thing and policy."""
    created = issuer.create(account, PAIR.csr_der)
    issuer.attach_policy(account, POLICY, created.arn)
    issuer.attach_thing(account, THING, created.arn)
    issuer.activate(account, created.certificate_id)
    return created


def status(issuer: AwsIot, account: Account, created: Created) -> str | None:
    found = issuer.describe(account, created.certificate_id)
    return None if found is None else found.status


def test_the_way_out(issuer: AwsIot, account: Account, attached: Created) -> None:
    with pytest.raises(IssuerError) as caught:
        issuer.delete(account, attached.certificate_id)
    assert caught.value.fault is IssuerFault.CONFLICT
    issuer.deactivate(account, attached.certificate_id, revoked=False)
    assert status(issuer, account, attached) == "INACTIVE"
    assert issuer.attached_policies(account, attached.arn) == [POLICY]
    assert issuer.attached_things(account, attached.arn) == [THING]
    for _ in range(2):  # each may be repeated
        issuer.detach_policy(account, POLICY, attached.arn)
        issuer.detach_thing(account, THING, attached.arn)
    assert issuer.attached_policies(account, attached.arn) == []
    assert issuer.attached_things(account, attached.arn) == []
    for _ in range(2):
        issuer.delete(account, attached.certificate_id)
    assert status(issuer, account, attached) is None


def test_of_a_certificate_that_is_gone_all_is_done(issuer: AwsIot, account: Account) -> None:
    issuer.deactivate(account, GONE, revoked=True)
    issuer.detach_policy(account, POLICY, GONE_ARN)
    issuer.detach_thing(account, THING, GONE_ARN)
    issuer.delete(account, GONE)
    assert issuer.attached_policies(account, GONE_ARN) == issuer.attached_things(account, GONE_ARN) == []
    assert issuer.describe(account, GONE) is None


@pytest.mark.parametrize("revoked", [True, False])
def test_revoked_is_final_and_deactivating_it_is_done(
    issuer: AwsIot, account: Account, attached: Created, revoked: bool
) -> None:
    issuer.deactivate(account, attached.certificate_id, revoked=True)
    issuer.deactivate(account, attached.certificate_id, revoked=revoked)
    assert status(issuer, account, attached) == "REVOKED"


def test_a_policy_that_is_there_and_one_that_is_not(issuer: AwsIot, account: Account) -> None:
    assert issuer.policy_exists(account, POLICY)
    assert not issuer.policy_exists(account, "no-such-policy")


def test_a_description_has_what_proves_whose_it_is(issuer: AwsIot, account: Account, attached: Created) -> None:
    found = issuer.describe(account, attached.certificate_id)
    assert found is not None
    assert (found.certificate_id, found.arn, found.cert_der) == (
        attached.certificate_id,
        attached.arn,
        attached.cert_der,
    )
    assert (found.subject_cn, found.public_key_id, found.status) == ("A" * 52, PAIR.public_key_id, "ACTIVE")
    assert 0 <= datetime.now(UTC).timestamp() - found.created_s < 60


def test_inv5_a_stranger_s_certificate_that_cannot_be_read_is_described_as_nobody_s(
    issuer: AwsIot, account: Account, attached: Created, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As somebody may have registered it. An error would end the reconciliation of the whole account."""
    version_2 = bytes.fromhex("a003020102")
    assert version_2 in attached.cert_der
    strange = attached.cert_der.replace(version_2, version_2[:-1] + b"\5", 1)
    digest = hashlib.sha256(strange).digest()
    entry = {
        "certificateId": digest.hex(), "certificateArn": GONE_ARN.replace(GONE.hex(), digest.hex()),
        "certificatePem": der_to_pem(strange, "CERTIFICATE"), "status": "ACTIVE", "creationDate": datetime.now(UTC),
    }  # fmt: skip
    monkeypatch.setattr(issuer, "_description", lambda *_: entry)
    found = issuer.describe(account, digest)
    assert found is not None
    assert (found.certificate_id, found.subject_cn, found.public_key_id) == (digest, None, b"")
    entry |= {"certificateId": GONE.hex(), "certificateArn": GONE_ARN}
    with pytest.raises(IssuerError, match="InvalidVersion"):
        issuer.describe(account, GONE)


def pages(issuer: AwsIot, account: Account) -> list[Sequence[ListedCertificate]]:
    """All that there are."""
    page, marker = issuer.certificates(account)
    found = [page]
    while marker is not None:
        page, marker = issuer.certificates(account, marker)
        found.append(page)
    return found


def test_the_list_goes_on_to_its_last_page(
    issuer: AwsIot, account: Account, standin: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sum(len(page) for page in pages(issuer, account))
    made = [issuer.create(account, PAIR.csr_der) for _ in range(5)]
    monkeypatch.setattr(inventory, "PAGE", 2)
    calls = standin.calls("ListCertificates")
    listed = pages(issuer, account)
    assert standin.calls("ListCertificates") == calls + len(listed)
    found = [each.certificate_id for page in listed for each in page]
    assert len(listed) > 2
    assert found[before:] == [each.certificate_id for each in made], "the oldest first"
    assert {each.status for page in listed for each in page} <= {"INACTIVE", "ACTIVE"}


def test_a_page_whose_answer_was_lost_is_asked_for_again(
    issuer: AwsIot, account: Account, standin: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [issuer.create(account, PAIR.csr_der) for _ in range(3)]
    monkeypatch.setattr(inventory, "PAGE", 1)
    _, marker = issuer.certificates(account)
    standin.fault("ListCertificates", "throttle")
    with pytest.raises(IssuerError):
        issuer.certificates(account, marker)
    (second,), _ = issuer.certificates(account, marker)
    assert second.certificate_id == made[1].certificate_id

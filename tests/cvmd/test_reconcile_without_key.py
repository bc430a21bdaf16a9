"""What attempts of key source aws-rsa2048 left at AWS: nobody got the key, so only the time tells of it."""

import pytest

from cvmd.model import Created, KeySource
from cvmd.reconcile import Kind, Remedies
from cvmd.store.accounts import AccountRules
from cvmd.store.products import ProductRules
from tests.cvmd.conftest import Bench
from tests.cvmd.inventories import LONG_AGO_S, Side, left_by_a_crash


@pytest.fixture
def side(bench: Bench) -> Side:
    return Side(bench)


def left_by_aws(side: Side, *, exclusive: bool, closed: bool = True) -> Created:
    """What AWS made, with a key that nobody got."""
    side.bench.scene.admin.set_product("sensor", ProductRules(key_source=KeySource.AWS_RSA2048))
    side.bench.scene.admin.set_account("default", AccountRules(exclusive=exclusive))
    return left_by_a_crash(side, closed=closed)[1]


@pytest.mark.parametrize(("exclusive", "kind"), [(False, Kind.UNATTRIBUTED), (True, Kind.ORPHAN)])
def test_inv5_what_aws_left_with_its_key_is_deleted_only_where_nobody_else_makes_any(
    side: Side, exclusive: bool, kind: Kind
) -> None:
    name = side.aws.put(left_by_aws(side, exclusive=exclusive))
    store = side.bench.scene.store
    assert side.found(Remedies(store.retire_orphan, store.dispose_of, unattended=True)) == [(kind, name, False)]
    assert side.found(side.mend) == [(kind, name, exclusive)]
    assert [it.certificate_id.hex() for it in store.retiring(9)] == [name] * exclusive
    assert side.found(side.mend) == [] if exclusive else [(kind, name, False)]


@pytest.mark.parametrize("used", ["ACTIVE", "REVOKED", "thing", "policy", "another time"])
def test_inv1_what_was_put_to_use_is_not_taken_for_it(side: Side, used: str) -> None:
    created = left_by_aws(side, exclusive=True)
    thing = "another's" if used == "thing" else None
    side.aws.put(created, used if used.isupper() else "INACTIVE", thing=thing)
    if used == "policy":
        side.aws.policies[created.arn] = "another's"
    if used == "another time":
        side.aws.made(created.certificate_id.hex(), LONG_AGO_S + 4000)
    report = side.run(side.mend)
    assert (report.findings, report.foreign) == ([], 1)


def test_inv5_what_an_open_attempt_of_aws_s_key_may_have_made_is_its_workers(side: Side) -> None:
    side.aws.put(left_by_aws(side, exclusive=True, closed=False))
    report = side.run(side.mend)
    assert (report.findings, report.in_flight) == ([], 1)

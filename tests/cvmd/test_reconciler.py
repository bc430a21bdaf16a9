"""The daemon's reconciliation: which node does it, when, and what is said of it."""

import threading

import pytest

from cvmd.errors import IssuerError, IssuerFault
from cvmd.model import Account
from cvmd.ports import StoreDown
from cvmd.reconcile import Report
from cvmd.reconciler import Reconciler
from tests.cvmd.conftest import Bench


def test_one_node_reconciles_an_account_until_it_is_time_again(bench: Bench) -> None:
    done: list[str] = []

    def reconcile(account: Account) -> Report:
        done.append(account.name)
        return Report(account.name)

    nodes = [
        Reconciler(bench.scene.store, reconcile, every_s=3600, broken_off=threading.Event()) for _ in range(2)
    ]  # fmt: skip
    for _ in range(2):
        for node in nodes:
            node.round()
    assert done == ["default"]
    bench.scene.sql("UPDATE leases SET until_us = 1")
    nodes[1].round()
    assert done == ["default"] * 2


def test_a_run_that_lost_the_database_is_begun_again_earlier(bench: Bench) -> None:
    def reconcile(_account: Account) -> Report:
        raise StoreDown("gone")

    with pytest.raises(StoreDown):
        Reconciler(bench.scene.store, reconcile, every_s=10 * 3600, broken_off=threading.Event()).round()
    ((left_us,),) = bench.scene.sql("SELECT until_us FROM leases")
    assert (left_us - bench.scene.store.line(1).now_us) / 1e6 <= 3600


def test_a_run_that_broke_off_is_begun_again_earlier(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    def reconcile(_account: Account) -> Report:
        raise IssuerError(IssuerFault.ACCOUNT, "ListCertificates", "AccessDeniedException")

    Reconciler(bench.scene.store, reconcile, every_s=10 * 3600, broken_off=threading.Event()).round()
    ((left_us,),) = bench.scene.sql("SELECT until_us FROM leases")
    now_us = bench.scene.store.line(1).now_us
    assert 3500 < (left_us - now_us) / 1e6 <= 3600
    assert "AccessDeniedException" in caplog.text

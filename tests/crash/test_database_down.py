"""Fifty vends at once while MariaDB goes away, in each of the ways that it does: all end right, by the same daemon."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pymysql
import pytest
from forks import start_server
from rest import Account, check_reconciled
from rig import CREATE, Device, Print, Rig, wait_until
from sqlalchemy import make_url

from tools.mariadb import MariaDB, private_mariadb

VENDS = 50
_FROZEN_S = 10.0
_AWAY_S = 4.0


@pytest.fixture(scope="module")
def server() -> Iterator[MariaDB]:
    """One that may be ended."""
    with private_mariadb() as made:
        yield made


@pytest.fixture
def own_rig(server: MariaDB, tmp_path: Path) -> Iterator[Rig]:
    """A rig on that server."""
    start_server()
    with Rig(tmp_path, server) as made:
        yield made


def restarted(server: MariaDB, _rig: Rig) -> None:
    server.stop()
    server.start()


def killed(server: MariaDB, _rig: Rig) -> None:
    server.kill()
    time.sleep(_AWAY_S)  # so long it is away
    server.start()


def frozen(server: MariaDB, _rig: Rig) -> None:
    with server.frozen():
        time.sleep(_FROZEN_S)


def read_only(server: MariaDB, _rig: Rig) -> None:
    server.execute("SET GLOBAL read_only = 1")
    time.sleep(_AWAY_S)
    server.execute("SET GLOBAL read_only = 0")


def out_of_connections(server: MariaDB, rig: Rig) -> None:
    """All connections of the daemon are cut, and others take the few that there are."""
    of_daemon = rig.rows("SELECT id FROM information_schema.processlist WHERE id <> CONNECTION_ID()")
    with server.connected() as administrator:  # from before: for it, too, there will be no room
        administrator.execute("SET GLOBAL max_connections = 10")
        for each in of_daemon:
            with suppress(pymysql.err.OperationalError):  # it has ended by itself
                administrator.execute(f"KILL CONNECTION {each['id']}")
        _take_connections(rig, _AWAY_S)
        administrator.execute("SET GLOBAL max_connections = 151")


def _take_connections(rig: Rig, for_s: float) -> None:
    url = make_url(rig.database_url)
    hogs = []
    until_s = time.monotonic() + for_s
    while time.monotonic() < until_s:
        with suppress(pymysql.err.OperationalError):
            hogs.append(
                pymysql.connect(host="127.0.0.1", port=url.port or 0, user=url.username, password=url.password or "")
            )
        time.sleep(0.01)
    for each in hogs:
        each.close()


def vend(rig: Rig, device: Device) -> None:
    wait_until(lambda: device.ask(rig.port), f"{device.serial} is done", device.told, pause_s=0.2)


@pytest.mark.parametrize("trouble", [restarted, killed, frozen, read_only, out_of_connections])
def test_inv1_inv5_every_vend_ends_right(
    server: MariaDB, own_rig: Rig, counts: Print, trouble: Callable[[MariaDB, Rig], None]
) -> None:
    rig = own_rig
    devices = rig.enrol(VENDS // 2, "ec") + rig.enrol(VENDS // 2, "csr")
    account = Account(rig)
    rig.start_daemon(worker__lease_s=6.0)
    daemon = rig.daemon
    assert daemon is not None
    with ThreadPoolExecutor(VENDS) as pool:
        vends = [pool.submit(vend, rig, device) for device in devices]
        wait_until(lambda: rig.aws.calls(CREATE) >= VENDS // 10, "vends are under way")
        trouble(server, rig)
        for each in vends:
            each.result()
    assert daemon.running()
    assert len([line for line in daemon.log.read_text().splitlines() if '"listening"' in line]) == 1
    rest = account.at_rest(*devices)
    lag = daemon.trace("lag")[-1][1]
    daemon.end()
    check_reconciled(rig)
    asked = sum(len(device.told) for device in devices)
    counts(
        f"MariaDB {trouble.__name__} under {VENDS} vends: {rest.active} ACTIVE, {rest.creates} Creates,"
        f" {asked} calls of devices, {rest.orphans} orphans, 0 after reconcile --apply;"
        f" the loop was at most {lag} s late"
    )

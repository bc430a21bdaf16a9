"""What a device lets go of when it is refused."""

from dataclasses import replace
from typing import Any

import pytest

from protocol.constants import Stage, Status
from tools.client import Cut, DeviceStorage, Done, MemoryFlash, Options, Refused, vend

LATER = 0x2F
"""A status of STALE's class that only a later server would send."""


@pytest.mark.parametrize("named_by", ["ACK", "HAVE"])
def test_inv3_a_whole_bundle_outlives_every_refusal_but_stale(server: Any, options: Options, named_by: str) -> None:
    """Its ACK may have wiped the server's copy of the key."""
    flash = MemoryFlash()
    server.lose_done()
    if named_by == "ACK":
        server.script[-1] = lambda session: session.send_refuse(LATER, Stage.ACTIVATE, 0)
    else:
        vend(options, flash)
        server.refuse(LATER, Stage.ACTIVATE)
    assert isinstance(vend(options, flash).outcome, Refused)
    kept = DeviceStorage(flash, options.serial).kept()
    assert kept is not None
    assert kept.complete
    assert vend(options, flash).outcome == Done(already=False)
    assert len(server.made) == 1


def test_inv1_a_successor_does_not_take_the_place_of_what_has_not_seen_its_done(server: Any, options: Options) -> None:
    """MANIFEST in answer to HAVE: that certificate is ACTIVE, and another one on offer beside it."""
    flash = MemoryFlash()
    server.lose_done()
    vend(options, flash)
    server.active, server.offered = server.offered, None
    server.script.append(lambda session: session.send_manifest(server.issue(None).bundle(options.want, server.thing)))
    assert vend(replace(options, cut_after=700), flash).outcome == Cut(700)
    meta = DeviceStorage(flash, options.serial).installed()
    assert meta is not None
    assert (meta.certificate_id, meta.time) == (server.active.digest.hex(), 0)
    kept = DeviceStorage(flash, options.serial).kept()
    assert kept is not None
    assert not kept.complete


def test_stale_after_ack_drops_the_whole_bundle(server: Any, options: Options) -> None:
    flash = MemoryFlash()
    server.lose_done()
    server.script[-1] = lambda session: session.send_refuse(Status.STALE, Stage.DELIVER, 0)
    assert isinstance(vend(options, flash).outcome, Refused)
    assert DeviceStorage(flash, options.serial).kept() is None


def test_an_unknown_status_of_the_class_drops_a_partial_bundle(server: Any, options: Options) -> None:
    flash = MemoryFlash()
    vend(replace(options, cut_after=1000), flash)
    assert DeviceStorage(flash, options.serial).kept() is not None
    server.refuse(LATER)
    assert isinstance(vend(options, flash).outcome, Refused)
    assert DeviceStorage(flash, options.serial).kept() is None

"""A device mapped anew: what is not in its hands yet ends, what it has acknowledged stays, and the trail tells."""

import pytest

from cvmd.errors import ConfigError, NothingToDo
from cvmd.model import CertificateStatus, Issuance, Reason, State
from cvmd.store import remapping
from cvmd.store.chains import AuditRows
from cvmd.store.revocation import end_attempts
from tests.cvmd.store.conftest import MAC, Scene, a_claim


def mapping(scene: Scene, issuance: Issuance) -> tuple[str, str]:
    device = scene.admin.show_device(issuance.serial).device
    return device.thing, device.policy


def told(scene: Scene) -> list[tuple[str, str]]:
    return [(event, detail) for event, detail in scene.sql("SELECT event, detail FROM audit ORDER BY id")][-2:]


def failed(scene: Scene, state: State) -> Issuance:
    """One that failed in that state."""
    issuance = scene.offered() if state is State.CREATED else scene.acked()
    scene.sql(
        f"UPDATE issuances SET state = 'failed', resume_state = '{state}', fault = 'thing-missing'"
        f" WHERE id = {issuance.id}"
    )
    return scene.now(issuance.serial)


@pytest.mark.parametrize("lost", [0, 1])
@pytest.mark.parametrize("bring", ["queued", "offered", "failed"])
def test_what_is_not_acknowledged_is_made_anew(scene: Scene, bring: str, lost: int) -> None:
    issuance = failed(scene, State.CREATED) if bring == "failed" else getattr(scene, bring)()
    scene.database.lose_together = lost
    scene.admin.remap(issuance.serial, thing="another", policy=None)
    assert mapping(scene, issuance) == ("another", "policy")
    ended = scene.now(issuance.serial)
    assert (ended.state, ended.sealed_escrow, ended.thing) == (State.CLOSED, None, "another")
    if bring == "queued":
        assert told(scene)[-1] == ("remapped", "another policy")
        return
    assert issuance.certificate_id is not None
    assert told(scene) == [("remapped", "another policy"), ("retired", f"cancelled {issuance.certificate_id.hex()}")]
    (found,) = scene.store.retiring(9)
    assert (found.certificate_id, found.reason) == (issuance.certificate_id, Reason.CANCELLED)


@pytest.mark.parametrize("bring", ["acked", "active", "failed"])
def test_inv1_what_the_device_holds_stays(scene: Scene, bring: str) -> None:
    issuance = failed(scene, State.ACKED) if bring == "failed" else getattr(scene, bring)()
    scene.admin.remap(issuance.serial, thing=None, policy="another")
    assert mapping(scene, issuance) == ("thing", "another")
    assert scene.now(issuance.serial).state is issuance.state
    assert scene.store.retiring(9) == []
    (certificate,) = scene.admin.show_device(issuance.serial).certificates
    assert (certificate.thing, certificate.policy) == ("thing", "policy"), "as it was attached"
    assert certificate.status in (CertificateStatus.INACTIVE, CertificateStatus.ACTIVE)


@pytest.mark.parametrize("state", [State.INTENT, State.CREATED])
def test_while_a_worker_makes_a_certificate_nothing_changes(scene: Scene, state: State) -> None:
    issuance = scene.bring(state, a_claim())
    with pytest.raises(ConfigError, match="is being made now: try again in"):
        scene.admin.remap(issuance.serial, thing="another", policy="another")
    assert mapping(scene, issuance) == ("thing", "policy")
    assert scene.now(issuance.serial).state is state


@pytest.mark.parametrize("database", ["mariadb"], indirect=True)  # a transaction of SQLite lets nobody in between
@pytest.mark.parametrize("bring", ["queued", "intent"])
def test_what_is_queued_in_the_same_moment_is_not_made_with_the_old_mapping(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, bring: str
) -> None:
    serial = scene.device()

    def meanwhile(*_: object) -> None:
        monkeypatch.setattr(remapping, "end_attempts", end_attempts)
        getattr(scene, bring)(serial)

    monkeypatch.setattr(remapping, "end_attempts", meanwhile)
    if bring == "intent":
        with pytest.raises(ConfigError, match="is being made now: try again in"):
            scene.admin.remap(serial, thing="another", policy=None)
        assert mapping(scene, scene.now(serial)) == ("thing", "policy")
        return
    scene.admin.remap(serial, thing="another", policy=None)
    ended = scene.now(serial)
    assert (ended.state, ended.thing) == (State.CLOSED, "another")


def test_inv5_what_a_worker_has_left_ends_and_its_attempt_with_it(scene: Scene) -> None:
    issuance = scene.bring(State.INTENT, a_claim(lease_s=-1))
    scene.admin.remap(issuance.serial, thing="another", policy=None)
    assert scene.now(issuance.serial).state is State.CLOSED
    (attempt,) = scene.admin.show_device(issuance.serial).attempts
    assert (attempt.outcome, attempt.detail) == ("unknown", "its device was mapped anew")


def test_the_next_one_is_made_with_the_new_mapping(scene: Scene) -> None:
    serial = scene.offered().serial
    scene.admin.remap(serial, thing="another", policy="other")
    again = scene.offered(serial)
    assert (again.thing, again.policy, again.generation) == ("another", "other", 2)
    assert [it.broken_at for it in AuditRows(scene.database).verify(MAC)] == [None]


def test_a_mapping_that_is_there_and_names_that_aws_does_not_take(scene: Scene) -> None:
    serial = scene.device()
    with pytest.raises(NothingToDo, match="is mapped to thing thing and policy policy already"):
        scene.admin.remap(serial, thing="thing", policy=None)
    for wrong in ({"thing": "a.b", "policy": None}, {"thing": None, "policy": "a/b"}):
        with pytest.raises(ConfigError, match="must be 1 to 128"):
            scene.admin.remap(serial, **wrong)
    with pytest.raises(ConfigError, match="there is no device"):
        scene.admin.remap(b"none", thing="t", policy=None)

"""The load generator against the small server."""

import json
from pathlib import Path
from typing import Any

import pytest

from protocol.constants import Stage, Status
from tools.loadgen.__main__ import main

FLEET = 12


@pytest.fixture
def fleet(server: Any, tmp_path: Path) -> Path:
    """A devices file, with `server.fellows` to serve it."""
    path = tmp_path / "fleet.csv"
    lines = ["serial,token,thing"]
    for number in range(FLEET):
        token = bytes([number]) * 16
        serial = f"{server.serial}-{number}"
        server.fellows.append(type(server)(token=token, serial=serial, thing=f"thing-{number}"))
        lines.append(f"{serial},{token.hex()},thing-{number}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def load(server: Any, fleet: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run the load generator: exit status and summary."""

    def run(*more: str) -> tuple[int, dict[str, Any]]:
        where = ["--host", "127.0.0.1", "--port", str(server.port), "--devices", str(fleet), "--backoff", "0"]
        status = main([*where, *more])
        return status, json.loads(capsys.readouterr().out)

    return run


def test_every_device_gets_its_own(server: Any, load: Any) -> None:
    status, summary = load("--at-once", "5", "--suite", "mac,noise", "--key-source", "ec-p256,device-csr")
    assert status == 0
    assert summary["vends"] == FLEET
    assert summary["connections"] == FLEET
    assert summary["round_trips"] == 3 * FLEET
    assert summary["mixed"] == summary["gave_up"] == []
    assert (summary["unanswered"], summary["refusals"], summary["failures"]) == (0, {}, {})
    assert set(summary["latency_s"]) == {"p50", "p90", "p99", "max"}
    assert all(fellow.active for fellow in server.fellows)
    assert {len(proof.csr or b"") > 0 for fellow in server.fellows for proof in fellow.proofs} == {True, False}


def test_count_takes_the_first(server: Any, load: Any) -> None:
    assert load("--count", "3")[1]["vends"] == 3
    assert [bool(fellow.active) for fellow in server.fellows[2:4]] == [True, False]


def test_refusals_and_silence_are_counted_and_outlasted(server: Any, load: Any) -> None:
    server.fellows[0].refuse(Status.BUSY)
    server.fellows[0].wait(0)
    server.fellows[1].script.append(lambda session: session.receive_eof())
    server.fellows[2].script.append(lambda session: None)
    status, summary = load("--timeout", "0.5")
    assert status == 0
    assert summary["refusals"] == {"BUSY": 1}
    assert summary["unanswered"] == sum(summary["failures"].values()) == 2
    assert summary["connections"] == FLEET + 3


def test_who_gives_up_is_named(server: Any, load: Any) -> None:
    server.fellows[4].refuse(Status.ISSUED, Stage.PROOF)
    status, summary = load()
    assert status == 1
    assert summary["gave_up"] == [server.fellows[4].serial]
    assert summary["vends"] == FLEET - 1


def test_a_server_that_mixes_devices_up_is_found_out(server: Any, load: Any) -> None:
    one, other, third = server.fellows[:3]
    other.offered = one.issue(None)
    third.thing = one.thing
    status, summary = load("--at-once", "1")
    assert status == 1
    assert summary["mixed"] == [other.serial, third.serial]


def test_no_server(load: Any) -> None:
    status, summary = load("--port", "1", "--attempts", "2", "--count", "2")
    assert status == 1
    assert (summary["vends"], summary["unanswered"], summary["latency_s"]) == (0, 4, {})


def test_what_cannot_be_used_is_exit_2(server: Any, fleet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--host", "127.0.0.1", "--devices", str(fleet)]
    assert main([*where, "--max-frame", "9"]) == 2
    assert "--max-frame" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*where, "--suite", "tls"])
    assert "mac and noise" in capsys.readouterr().err

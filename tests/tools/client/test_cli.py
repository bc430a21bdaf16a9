"""The command as it is used: a process, its exit code, its files, its words."""

import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from protocol.constants import Stage, Status
from tools.client import DirectoryFlash, Exit
from tools.client.cli import main

CHECKOUT = Path(__file__).parents[3]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "flash"


@pytest.fixture
def arguments(server: Any, token_file: Path, out: Path) -> list[str]:
    """What every call of the command has."""
    where = ["--host", "127.0.0.1", "--port", str(server.port)]
    return ["vend", *where, "--serial", server.serial, "--token-file", str(token_file), "--out", str(out)]


@pytest.fixture
def start(arguments: list[str]) -> Callable[..., subprocess.Popen[str]]:
    """Start the command in a process."""

    def started(*more: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tools.client", *arguments, *more]
        return subprocess.Popen(command, cwd=CHECKOUT, stdout=stdout, stderr=subprocess.PIPE, text=True)

    return started


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.005)


def wait_for(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    stdout, stderr = process.communicate(timeout=60)
    return process.returncode, stdout, stderr


def test_a_vend_leaves_its_files(start: Any, server: Any, out: Path) -> None:
    code, stdout, stderr = wait_for(start("--pem"))
    assert (code, stderr) == (Exit.DONE, "")
    modes = {path.name: path.stat().st_mode & 0o777 for path in out.iterdir()}
    secret = {name for name, mode in modes.items() if mode == 0o600}
    assert secret == {"key.der", "key.pem"}
    assert set(modes) - secret == {
        "cert.der", "cert.pem", "meta.json", "root-ca.der", "root-ca.pem", "serial",
    }  # fmt: skip
    assert json.loads((out / "meta.json").read_text()) == {
        "serial": server.serial,
        "certificate_id": server.active.digest.hex(),
        "thing_name": server.thing,
        "endpoint": "example-ats.iot.eu-west-1.amazonaws.com",
        "key_source": "ec-p256",
        "suite": "mac",
        "bundle_id": server.active.bundle(0b1110110, server.thing).bundle_id.hex(),
        "connect_after_s": 7,
        "time": 1_800_000_000,
    }
    certificate = x509.load_pem_x509_certificate((out / "cert.pem").read_bytes())
    assert certificate.public_key() == load_pem_private_key((out / "key.pem").read_bytes(), None).public_key()
    assert "the certificate is active" in stdout
    assert "connect to AWS IoT in 7 s" in stdout


def test_json_is_the_last_line_and_alone_on_stdout(start: Any, server: Any, out: Path) -> None:
    code, stdout, stderr = wait_for(start("--json", "--suite", "noise"))
    assert code == Exit.DONE
    summary = json.loads(stdout)
    assert stdout.count("\n") == 1
    assert "Done" in stderr
    assert summary.pop("bytes_up") > 100
    assert summary.pop("bytes_down") > 500
    assert summary == {
        "serial": server.serial,
        "status": "done",
        "message": "Done: certificate and key are stored, and the certificate is active.",
        "refusal": None,
        "certificate_id": server.active.digest.hex(),
        "thing_name": server.thing,
        "endpoint": "example-ats.iot.eu-west-1.amazonaws.com",
        "key_source": "ec-p256",
        "suite": "noise",
        "out_dir": str(out),
        "round_trips": 3,
        "connections": 1,
    }


def test_done_already_is_said(arguments: list[str], server: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == Exit.DONE
    assert main([*arguments, "--json"]) == Exit.DONE
    captured = capsys.readouterr()
    assert json.loads(captured.out.splitlines()[-1])["status"] == "already-done"
    assert "Done already" in captured.err
    assert len(server.made) == 1


@pytest.mark.parametrize(
    ("status", "code", "word"),
    [(Status.QUOTA, Exit.REFUSED, "refused"), (Status.TURN, Exit.TEMPORARY, "temporary")],
)
def test_a_refusal_is_told_to_people_and_programs(
    arguments: list[str],
    server: Any,
    capsys: pytest.CaptureFixture[str],
    status: Status,
    code: Exit,
    word: str,
) -> None:
    server.refuse(status, Stage.QUEUE, 77)
    assert main([*arguments, "--json"]) == code
    captured = capsys.readouterr()
    summary = json.loads(captured.out)
    assert summary["status"] == word
    assert summary["refusal"] == {
        "status": status.name, "stage": "QUEUE", "retry_s": 77, "detail": 0, "tagged": True,
    }  # fmt: skip
    assert summary["certificate_id"] is None
    assert "come back after 77 s" in captured.err


def test_failure_and_cut_have_their_codes(
    arguments: list[str], server: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--cut-after", "60"]) == Exit.CUT
    assert "Cut as asked, after 60 bytes" in capsys.readouterr().out
    server.hello.append(lambda session: session.receive_eof())
    assert main(arguments) == Exit.FAILED
    assert main([*arguments, "--attempts", "2", "--backoff", "0"]) == Exit.DONE


@pytest.mark.parametrize(
    ("more", "names"),
    [
        (["--max-frame", "9"], "--max-frame"),
        (["--want", "moon"], "--want"),
        (["--token-file", "nowhere"], "nowhere"),
        (["--out", "/dev/null"], "/dev/null"),
    ],
)
def test_what_cannot_be_used_is_exit_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str], more: list[str], names: str
) -> None:
    assert main([*arguments, *more]) == Exit.USAGE
    assert names in capsys.readouterr().err


def test_a_directory_at_work_is_exit_2(arguments: list[str], out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with DirectoryFlash(out):
        assert main(arguments) == Exit.USAGE
    assert "another client" in capsys.readouterr().err


def test_a_directory_that_cannot_be_written_is_exit_2(
    arguments: list[str], out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (out / "bundle.part").mkdir(parents=True)  # not by its mode: root may write anywhere
    assert main(arguments) == Exit.USAGE
    assert f"cannot write in {out}" in capsys.readouterr().err


def test_renew_and_want(arguments: list[str], server: Any, out: Path) -> None:
    assert main([*arguments, "--want", "none"]) == Exit.DONE
    assert json.loads((out / "meta.json").read_text())["endpoint"] is None
    assert main([*arguments, "--renew", "--key-format", "pkcs8"]) == Exit.DONE
    assert len(server.made) == 2
    assert json.loads((out / "meta.json").read_text())["endpoint"]


def test_a_renewal_that_is_not_granted_is_said(
    arguments: list[str], server: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == Exit.DONE
    server.script.append(lambda session: session.send_done(1_800_000_000, 0))
    assert main([*arguments, "--renew"]) == Exit.DONE
    assert "not renewed" in capsys.readouterr().out


def test_inv4_a_kill_in_the_midst_is_taken_up_again(start: Any, server: Any, out: Path) -> None:
    part = out / "bundle.part"
    slow = start("--max-frame", "48", "--slow", "600", "--json")
    wait_until(lambda: part.exists() and part.stat().st_size > 200, "a part of the bundle")
    slow.kill()
    assert slow.wait(60) < 0
    slow.stdout.close()
    slow.stderr.close()
    kept = part.stat().st_size
    assert not (out / "cert.der").exists()

    code, stdout, _ = wait_for(start("--max-frame", "48", "--json"))
    assert code == Exit.DONE
    assert server.proofs[-1].limit == 0
    assert len(server.made) == 1
    assert (out / "cert.der").read_bytes() == server.active.cert_der
    total = server.active.bundle(server.proofs[-1].want, server.thing).total
    frames = -(-(total - kept + 18) // (48 - 21))
    assert json.loads(stdout)["bytes_down"] == 37 + 37 + (total - kept + 18) + 21 * frames + 25


def test_an_interrupted_client_says_how_to_go_on(start: Any, out: Path) -> None:
    slow = start("--max-frame", "48", "--slow", "100")
    wait_until((out / "bundle.part").exists, "the bundle to begin")
    slow.send_signal(2)
    code, stdout, stderr = wait_for(slow)
    assert (code, stderr) == (Exit.INTERRUPTED, "")
    assert "Run the same command again" in stdout


def test_a_bar_on_a_terminal_and_none_elsewhere(start: Any) -> None:
    code, stdout, _ = wait_for(start("--cut-after", "700", "--max-frame", "64"))
    assert (code, "\x1b" in stdout) == (Exit.CUT, False)
    ours, theirs = pty.openpty()
    process = start("--slow", "2000", stdout=theirs)
    os.close(theirs)
    shown = b""
    while chunk := _read(ours):
        shown += chunk
    os.close(ours)
    assert process.wait(60) == Exit.DONE
    process.stderr.close()
    assert b"bundle" in shown
    assert b"\x1b" in shown


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # how Linux says that the other side has closed
        return b""


def test_help_documents_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["vend", "--help"])
    shown = capsys.readouterr().out
    assert all(f"\n  {code:<4} " in shown for code in map(int, Exit))

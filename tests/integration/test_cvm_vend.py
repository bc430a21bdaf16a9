"""cvm-vend, the C client as a process, against the whole daemon: what it ends with, what a kill changes."""

import hashlib
import re
import select
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from cdevice import STRICT, C
from harness import MakeStack, creates, openssl, seed, with_products

from tools.stack import Stack

Vend = Callable[..., subprocess.CompletedProcess[str]]
DONE, REFUSED, USAGE, TEMPORARY, FAILED, CUT = range(6)
NEVER = 1 << 30


@pytest.fixture(scope="session")
def cvm_vend(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, under the sanitizers."""
    made = tmp_path_factory.mktemp("cvm-vend") / "cvm-vend"
    sources = [*sorted((C / "src").glob("*.c")), *sorted((C / "ports" / "posix").glob("*.c"))]
    subprocess.run(
        ["gcc", *STRICT, "-O1", "-g", "-fsanitize=address,undefined", *map(str, sources), "-o", str(made)], check=True
    )
    return made


@pytest.fixture
def vend(cvm_vend: Path, stack: Stack, tmp_path: Path) -> Vend:
    """`vend(serial, token_file, *options)`: one run; its flash is the directory of that serial."""

    def run(serial: str, token_file: Path, *options: object) -> subprocess.CompletedProcess[str]:
        command = [cvm_vend, "--host", "127.0.0.1", "--port", stack.port, "--serial", serial]
        command += ["--token-file", token_file, "--out", tmp_path / serial, *options]
        return subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=60)

    return run


def added(stack: Stack, serial: str) -> Path:
    """The token file of a new device."""
    return stack.add_device(serial, "ec", thing=f"thing-{serial}", policy=f"policy-{serial}")


def judged(stack: Stack, directory: Path) -> None:
    """openssl and AWS agree with what lies in the directory; the certificate is ACTIVE."""
    certificate = directory / "cert.der"
    pem = directory / "cert.pem"
    pem.write_bytes(openssl("x509", "-inform", "DER", "-in", certificate))
    openssl("verify", "-CAfile", stack.ca, pem)
    key = openssl("pkey", "-inform", "DER", "-in", directory / "key.der", "-pubout")
    assert openssl("x509", "-in", pem, "-noout", "-pubkey") == key
    assert (directory / "key.der").stat().st_mode & 0o777 == 0o600
    [row] = [each for each in stack.aws.state()["certificates"] if each["things"] == [f"thing-{directory.name}"]]
    assert (row["id"], row["status"]) == (hashlib.sha256(certificate.read_bytes()).hexdigest(), "ACTIVE")


@pytest.mark.parametrize(
    "options", [[], ["--max-frame", 48, "--limit", 27], ["--max-frame", 48, "--limit", 1000], ["--key-format", "pkcs8"],
                ["--max-frame", 1400, "--want", "none"]],
    ids=str,
)  # fmt: skip
def test_a_certificate_in_c(stack: Stack, vend: Vend, tmp_path: Path, options: list[object]) -> None:
    done = vend("SN-1", added(stack, "SN-1"), *options)
    assert done.returncode == DONE, done.stderr
    judged(stack, tmp_path / "SN-1")
    assert (tmp_path / "SN-1" / "root-ca.der").exists() == ("none" not in options)


def test_inv4_killed_at_twenty_points_and_one_create(stack: Stack, vend: Vend, tmp_path: Path) -> None:
    """Each boot dies a little later; each next one goes on, with its flash alone. HAVE ends what lost its DONE."""
    token_file = added(stack, "SN-1")
    small = ["--max-frame", 48, "--limit", 27]
    certificates = set()
    for point in range(40, 3000, 148):
        done = vend("SN-1", token_file, *small, "--cut-after", point)
        assert done.returncode in (CUT, DONE), done.stderr
        if done.returncode == DONE:
            certificates.add((tmp_path / "SN-1" / "cert.der").read_bytes())
    assert vend("SN-1", token_file, *small).returncode == DONE
    certificates.add((tmp_path / "SN-1" / "cert.der").read_bytes())
    assert len(certificates) == 1
    assert creates(stack.aws) == 1
    judged(stack, tmp_path / "SN-1")


class FrayedLine:
    """A line to the daemon that is lost after so many bytes in one direction; the next connection is whole."""

    def __init__(self, port: int) -> None:
        self.port, self.up, self.down = port, NEVER, NEVER
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        with self.listener:
            while True:
                device = self.listener.accept()[0]
                if self.port == 0:
                    return
                with device, socket.create_connection(("127.0.0.1", self.port)) as server:
                    self.carry(device, server)

    def carry(self, device: socket.socket, server: socket.socket) -> None:
        left = {device: self.up, server: self.down}
        self.up = self.down = NEVER
        try:
            while True:
                for side in select.select([device, server], [], [])[0]:
                    data = side.recv(min(4096, left[side] + 1))
                    left[side] -= len(data)
                    (server if side is device else device).sendall(data[: len(data) + min(0, left[side])])
                    if not data or left[side] < 0:
                        return
        except ConnectionError:
            return

    def close(self) -> None:
        self.port = 0
        socket.create_connection(self.listener.getsockname()).close()
        self.thread.join()


def test_inv4_a_line_lost_after_fifty_bytes_of_either_direction_and_the_retry_succeeds(
    stack: Stack, vend: Vend, tmp_path: Path
) -> None:
    small = ["--max-frame", 48, "--limit", 27, "--want", "thing-name"]
    done = vend("SN-0", added(stack, "SN-0"), *small)
    up, down = map(int, re.findall(r"(\d+) bytes up, (\d+) down", done.stdout)[0])
    points = [("up", up * at // 25) for at in range(25)] + [("down", down * at // 25) for at in range(25)]
    token = tmp_path / "token"
    token.write_text("5a" * 32)
    seed(stack, [(f"SN-{at + 10}", b"Z" * 32, f"thing-SN-{at + 10}", "policy", "ec") for at in range(len(points))])
    line = FrayedLine(stack.port)
    for at, (direction, after) in enumerate(points):
        serial = f"SN-{at + 10}"
        setattr(line, direction, after)
        lost = vend(serial, token, *small, "--port", line.listener.getsockname()[1])
        assert (lost.returncode, "the line was lost" in lost.stderr) == (FAILED, True), (direction, after, lost.stderr)
        done = vend(serial, token, *small, "--port", line.listener.getsockname()[1])
        assert done.returncode == DONE, done.stderr
        judged(stack, tmp_path / serial)
    line.close()
    assert creates(stack.aws) == len(points) + 1


def test_have_ends_a_vend_whose_done_was_lost(stack: Stack, vend: Vend, tmp_path: Path) -> None:
    token_file = added(stack, "SN-1")
    up, down = (int(word) for word in vend("SN-1", token_file).stdout.split() if word.isdigit() and int(word) > 100)
    token_file = added(stack, "SN-2")
    assert vend("SN-2", token_file, "--cut-after", up + down - 10).returncode == CUT
    assert not (tmp_path / "SN-2" / "cert.der").exists()
    done = vend("SN-2", token_file)
    assert done.returncode == DONE
    assert int(done.stdout.split("; ")[2].split()[0]) < 150, "nothing was fetched again"
    judged(stack, tmp_path / "SN-2")


def test_refusals_and_lost_lines_have_their_exit_codes(
    stack: Stack, vend: Vend, tmp_path: Path, free_port: int
) -> None:
    token_file = added(stack, "SN-1")
    wrong = tmp_path / "wrong"
    wrong.write_text("00" * 32)
    refused = vend("SN-1", wrong)
    assert (refused.returncode, "status 30, stage 2" in refused.stderr) == (REFUSED, True)
    assert vend("SN-1", token_file, "--port", free_port).returncode == FAILED
    assert vend("SN-1", token_file, "--max-frame", 47).returncode == USAGE
    assert vend("SN-1", tmp_path / "none").returncode == USAGE


@pytest.mark.parametrize(
    ("text", "code"),
    [("00" * 16, FAILED), ("aB" * 64 + "\r\n", FAILED), ("00" * 15, USAGE), ("00" * 65, USAGE),
     ("00" * 16 + "0", USAGE), ("00" * 16 + " of SN-1", USAGE), ("0x" + "00" * 16, USAGE), ("00" * 16 + "-1", USAGE)],
)  # fmt: skip
def test_a_token_file_is_read_whole_or_not_at_all(
    cvm_vend: Path, tmp_path: Path, free_port: int, text: str, code: int
) -> None:
    """A token that is not the one in the file would be refused by the server, hours away from the cause."""
    file = tmp_path / "token"
    file.write_text(text)
    command = [cvm_vend, "--host", "127.0.0.1", "--port", free_port, "--serial", "SN-1", "--out", tmp_path / "out"]
    done = subprocess.run([*map(str, command), "--token-file", file], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (code, "")
    assert text.strip() not in done.stderr


def test_an_untrusted_line_gives_no_key(make_stack: MakeStack, cvm_vend: Path, tmp_path: Path) -> None:
    stack = with_products(make_stack(listen__trusted_network=False, deadlines__auth_delay_ms=50))
    command = [cvm_vend, "--host", "127.0.0.1", "--port", stack.port, "--serial", "SN-1", "--out", tmp_path / "out"]
    done = subprocess.run(
        [*map(str, command), "--token-file", str(added(stack, "SN-1"))], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, "status 33" in done.stderr) == (REFUSED, True)
    assert creates(stack.aws) == 0

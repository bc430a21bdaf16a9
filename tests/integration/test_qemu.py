"""The C client as ARM code on three boards in QEMU, over the UART, against the whole daemon on MariaDB.

Each board says what it took in bytes, stack (painted) and time: -s shows it.
"""

import hashlib
import re
import select
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from cdevice import C
from harness import KEY_SOURCES, creates, openssl, rows

from tools.stack import Stack

FIRMWARE = C / "firmware"
BOARDS = ("lm3s6965evb", "mps2-an385", "microbit")
SUITES = ("mac", "noise")
PRODUCTS = ("ec", "rsa", "csr")
LINES = {("mac", "pushed"): (512, 65535), ("mac", "pulled"): (48, 27), ("noise", "pushed"): (512, 65535),
         ("noise", "pulled"): (56, 34)}  # fmt: skip
"""max_frame and limit."""
WITHIN_S = 120
LONG = [pytest.mark.full, pytest.mark.timeout(900)]
Cell = tuple[str, str, str, str]
DAILY: list[Cell] = [
    ("lm3s6965evb", "mac", "pushed", "ec"),
    ("mps2-an385", "noise", "pushed", "rsa"),
    ("microbit", "mac", "pulled", "csr"),
    ("microbit", "noise", "pulled", "ec"),
]
"""Board, suite, line, product: a few of them all, which run with `full`."""
TABLES = [pytest.param(DAILY, id="daily")] + [
    pytest.param(
        [(board, suite, line, product) for suite, line in LINES for product in PRODUCTS],
        id=board, marks=LONG,
    )
    for board in BOARDS
]  # fmt: skip
POINTS = list(range(60, 3260, 160))
"""Twenty, in bytes on the line both ways, of a vend of `ec` that is pulled: from PROOF on until shortly before DONE."""
CUTS = [pytest.param("microbit", [1660, 3100], id="daily")] + [
    pytest.param(board, POINTS, id=board, marks=LONG) for board in BOARDS
]
Images = dict[tuple[str, str], Path]


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    """The firmware, by board and suite."""
    directory = tmp_path_factory.mktemp("firmware")
    sources = Path(sys.prefix) / "src"
    found = list(sources.glob("pymonocypher-*/monocypher.c"))
    assert found, f"{sources} lacks what tests/integration/sources.txt names: start the tests by tools/test"
    made = {}
    for board in BOARDS:
        for suite in SUITES:
            made[board, suite] = directory / f"{board}-{suite}.elf"
            more = [found[0].parent] if suite == "noise" else []
            subprocess.run([FIRMWARE / "build", board, suite, made[board, suite], *more], check=True)
    return made


@dataclass
class Board:
    """A board, and the directory that holds its flash."""

    name: str
    image: Path
    directory: Path
    serial: str

    def command(self, port: int) -> list[str]:
        return [str(FIRMWARE / "run"), self.name, str(self.image), "127.0.0.1", str(port)]

    def boot(self, port: int) -> str:
        """From reset to ACTIVE; what it says at the end."""
        done = subprocess.run(self.command(port), cwd=self.directory, capture_output=True, text=True, timeout=WITHIN_S)
        assert done.returncode == 0, done.stdout + done.stderr
        return (done.stdout + done.stderr).splitlines()[-1]

    def boot_and_kill(self, port: int, after: int) -> bool:
        """SIGKILL once so many bytes have passed, both ways; whether it came to that."""
        with socket.create_server(("127.0.0.1", 0)) as bridge:
            command = self.command(bridge.getsockname()[1])
            process = subprocess.Popen(
                command, cwd=self.directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            try:
                bridge.settimeout(WITHIN_S)
                uart, _ = bridge.accept()
                with uart, socket.create_connection(("127.0.0.1", port)) as server:
                    reached = relayed(uart, server, after)
                    process.kill()
            finally:
                process.kill()
                process.wait()
        return reached

    def file(self, name: str) -> bytes:
        return (self.directory / name).read_bytes()


def relayed(one: socket.socket, other: socket.socket, most: int) -> bool:
    """Carry bytes both ways until there were so many (then the rest is lost), or an end is gone."""
    left = most
    while left > 0:
        ready, _, _ = select.select([one, other], [], [], WITHIN_S)
        assert ready, "a silent line"
        for end in ready:
            taken = end.recv(left)
            if not taken:
                return False
            (other if end is one else one).sendall(taken)
            left -= len(taken)
            if left == 0:
                break
    return True


def made(stack: Stack, images: Images, tmp_path: Path, serial: str, cell: Cell) -> Board:
    """A new device as the factory leaves it."""
    name, suite, line, product = cell
    max_frame, limit = LINES[suite, line]
    token_file = stack.add_device(serial, product, thing=f"thing-{serial}", policy=f"policy-{serial}")
    directory = tmp_path / serial
    directory.mkdir()
    command = [FIRMWARE / "factory", "--serial", serial, "--token-file", token_file]
    command += ["--max-frame", max_frame, "--limit", limit, *(["--own-key"] if product == "csr" else [])]
    subprocess.run([*map(str, command)], cwd=directory, check=True)
    (directory / "secure-element").symlink_to(FIRMWARE / "secure-element")
    return Board(name, images[name, suite], directory, serial)


def judged(stack: Stack, board: Board, product: str) -> None:
    """The objects are the server's to the byte; the key is the certificate's; AWS has it ACTIVE, created once."""
    thing = f"thing-{board.serial}"
    [row] = rows(
        stack.database_url,
        "SELECT cert_der, issuances.endpoint, issuances.root_ca_der FROM certificates"
        f" JOIN issuances ON issuances.id = certificates.issuance_id WHERE thing = '{thing}'",
    )
    assert board.file("cert.der") == row["cert_der"]
    assert board.file("root-ca.der") == row["root_ca_der"]
    assert board.file("endpoint").decode() == row["endpoint"]
    assert board.file("thing-name").decode() == thing
    key = ("-in", "key.pem") if product == "csr" else ("-inform", "DER", "-in", "key.der")
    public = openssl("pkey", *key[:-1], board.directory / key[-1], "-pubout")
    assert openssl("x509", "-inform", "DER", "-in", board.directory / "cert.der", "-noout", "-pubkey") == public
    [there] = [each for each in stack.aws.state()["certificates"] if thing in each["things"]]
    assert (there["id"], there["status"]) == (hashlib.sha256(board.file("cert.der")).hexdigest(), "ACTIVE")


@pytest.mark.parametrize("cells", TABLES)
def test_boards_get_their_certificates(mariadb_stack: Stack, images: Images, tmp_path: Path, cells: list[Cell]) -> None:
    for number, cell in enumerate(cells):
        name, suite, line, product = cell
        board = made(mariadb_stack, images, tmp_path, f"SN-{number}", cell)
        said = board.boot(mariadb_stack.port)
        judged(mariadb_stack, board, product)
        assert re.fullmatch(r"status 2, refusal 0, bytes up \d+, bytes down \d+, stack \d+, ms \d+", said)
        sizes = subprocess.run(["arm-none-eabi-size", board.image], capture_output=True, text=True, check=True).stdout
        print(f"{name}, {suite}, {line}, {KEY_SOURCES[product]}: {said}; image {sizes.split()[6]}")  # noqa: T201  # the figures are shown
    assert creates(mariadb_stack.aws) == len(cells)


@pytest.mark.parametrize(("name", "points"), CUTS)
def test_inv4_boards_that_are_killed_go_on_at_their_next_boot(
    mariadb_stack: Stack, images: Images, tmp_path: Path, name: str, points: list[int]
) -> None:
    """A device for each point; its flash is all that is left of its first boot."""
    for point in points:
        board = made(mariadb_stack, images, tmp_path, f"SN-{point}", (name, "mac", "pulled", "ec"))
        assert board.boot_and_kill(mariadb_stack.port, point)
        said = board.boot(mariadb_stack.port)
        judged(mariadb_stack, board, "ec")
        print(f"{name}, killed after {point} bytes: {said}")  # noqa: T201  # as above
    assert creates(mariadb_stack.aws) == len(points)
    assert int(said.split("bytes down ")[1].split(",")[0]) < 1000, "what lay in flash was not fetched again"

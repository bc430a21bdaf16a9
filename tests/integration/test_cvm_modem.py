"""The ports for a bare UART and for AT modems, with a ring of 64 bytes, against the whole daemon."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cdevice import STRICT, C, End
from harness import creates
from modem import FAMILIES, Line, Modem

from tools.stack import Stack

PORTS = C / "ports"
PULL = (48, 27)
STALE = b"\0\x22\x41" + bytes(34) + b"\0\x40\xc4" + b"\r\nOK\r\nCLOSED\r\n+IPD,9:" * 3
"""Of an older connection: a CHALLENGE with another nonce, half a DATA, and what looks like a modem's lines."""


@pytest.fixture(scope="session")
def modem_device(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, under the sanitizers."""
    made = tmp_path_factory.mktemp("modem") / "modem_device"
    sources = [Path(__file__).parents[1] / "protocol" / "c" / "modem_device.c", PORTS / "posix" / "posix_port.c"]
    sources += [*(C / "src").glob("*.c"), *(PORTS / "uart").glob("*.c"), *(PORTS / "modem").glob("*.c")]
    includes = [f"-I{PORTS / each}" for each in ("posix", "uart", "modem")]
    command = ["gcc", *STRICT, *includes, "-O1", "-g", "-fsanitize=address,undefined", *map(str, sources)]
    subprocess.run([*command, "-o", str(made)], check=True)
    return made


class Device:
    """A device and its flash, on this line."""

    def __init__(self, program: Path, stack: Stack, directory: Path, serial: str) -> None:
        self.program, self.stack, self.directory, self.serial = program, stack, directory / serial, serial
        self.token = stack.add_device(serial, "ec", thing=f"thing-{serial}", policy=f"policy-{serial}").read_text()

    def run(
        self, line: Line, family: str, frame: tuple[int, int] = PULL, busy: bool = False, attempts: int = 1
    ) -> tuple[list[End], int]:
        """How its sessions ended, and how many of them lost bytes to the ring."""
        words = [line.device.fileno(), family, self.stack.port, self.serial, self.token.strip(), self.directory]
        words += [*frame, attempts, int(busy)]
        with line:
            done = subprocess.run(
                [self.program, *map(str, words)],
                pass_fds=[line.device.fileno()], capture_output=True, text=True, timeout=100,
            )  # fmt: skip
        assert done.returncode in (0, 1), done.stderr
        *ends, lossy = done.stdout.splitlines()
        return [End(int(end)) for end in ends], int(lossy.split()[1])

    def judge(self) -> None:
        """What it holds is the certificate that AWS has ACTIVE for it."""
        [row] = [it for it in self.stack.aws.state()["certificates"] if it["things"] == [f"thing-{self.serial}"]]
        assert row["status"] == "ACTIVE"
        data = (self.directory / "bundle").read_bytes()
        (self.directory / "cert.der").write_bytes(data[3 : 3 + int.from_bytes(data[1:3], "big")])
        said = subprocess.check_output(
            [
                "openssl",
                "x509",
                "-inform",
                "DER",
                "-in",
                self.directory / "cert.der",
                "-noout",
                "-fingerprint",
                "-sha256",
            ],
            text=True,
        )
        assert said.split("=")[1].replace(":", "").strip().lower() == row["id"]


def test_a_certificate_through_modems_of_each_family(stack: Stack, modem_device: Path, tmp_path: Path) -> None:
    """Found amid everything after a reset; lines unasked between any two; bytes of an older connection."""
    for family in FAMILIES:
        device = Device(modem_device, stack, tmp_path, family)
        modem = Modem(family=family, stale=STALE)
        modem.left_by_a_reset(stack.port)
        assert device.run(modem, family) == ([End.ACTIVE], 0)
        device.judge()
    assert creates(stack.aws) == len(FAMILIES)


def test_any_frame_passes_the_ring_where_reads_are_asked_for(
    stack: Stack, modem_device: Path, tmp_path: Path, free_port: int
) -> None:
    device = Device(modem_device, stack, tmp_path, "SN-1")
    line = Modem(family="bg96")
    ends, lossy = device.run(line, "bg96", (512, 65535))
    assert (ends, lossy) == ([End.ACTIVE], 0)
    device.judge()
    assert line.asked.count("AT+QISEND=0,51") == 1, "the acknowledgement, once"
    stack.port = free_port
    assert device.run(Modem(family="bg96"), "bg96") == ([End.LINE], 0), "the modem says that nobody answers"


@pytest.mark.parametrize("family", ["sim800", "esp-at"])
def test_inv4_a_ring_that_drops_bytes_ends_in_one_certificate(
    mariadb_stack: Stack, modem_device: Path, tmp_path: Path, counts: Callable[[str], None], family: str
) -> None:
    """What was lost ends the session at once; the next goes on from the flash."""
    device = Device(modem_device, mariadb_stack, tmp_path, "SN-1")
    modem = Modem(family=family, stale=STALE, floods=(25, 60))
    modem.left_by_a_reset(mariadb_stack.port)
    ends, lossy = device.run(modem, family, busy=True, attempts=4)
    counts(f"{family}: {lossy} of {len(ends)} sessions lost bytes to a ring of 64")
    assert ends[-1] is End.ACTIVE
    assert set(ends[:-1]) == {End.LINE}
    assert lossy > 0
    device.judge()
    assert creates(mariadb_stack.aws) == 1


def test_a_certificate_over_a_bare_uart(stack: Stack, modem_device: Path, tmp_path: Path) -> None:
    """A transparent line: pulled, a frame always fits into the ring; pushed, it cannot, and the device says so."""
    device = Device(modem_device, stack, tmp_path, "SN-1")
    assert device.run(Line(stack.port, stale=STALE), "uart") == ([End.ACTIVE], 0)
    device.judge()
    device = Device(modem_device, stack, tmp_path, "SN-2")
    ends, lossy = device.run(Line(stack.port), "uart", (512, 65535), busy=True, attempts=2)
    assert (ends, lossy) == ([End.LINE, End.LINE], 2)
    assert device.run(Line(stack.port, stale=STALE), "uart") == ([End.ACTIVE], 0)
    device.judge()

"""The unit files, judged by systemd's own tools."""

import subprocess
from configparser import RawConfigParser
from pathlib import Path

from cvmd.binding import TLS_NAME
from cvmd.config import Config
from protocol.constants import DEFAULT_PORT, DEFAULT_TLS_PORT

ROOT = Path(__file__).resolve().parent.parent
EXPOSURE_LIMIT = 1.5


class _Unit(RawConfigParser):
    """A unit file; of a key that is repeated the last value is kept."""

    def __init__(self, name: str) -> None:
        super().__init__(strict=False, delimiters=("=",), comment_prefixes=("#",))
        self.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's keys are case-sensitive
        self.read(ROOT / name)


def test_units_verify(tmp_path: Path) -> None:
    """With a program at the place of the daemon: verify looks whether it is executable."""
    for name in ("cvmd.service", "cvmd.socket", "cvmd-tls.socket"):
        text = (ROOT / name).read_text()
        (tmp_path / name).write_text(text.replace("/opt/cvmd/bin/cvmd", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, sorted(tmp_path.iterdir()))],
        capture_output=True,
        text=True,
        check=False,
    )
    of_ours = [line for line in done.stderr.splitlines() if "cvmd" in line]
    assert (done.returncode, of_ours) == (0, []), done.stderr


def test_sandbox_is_tight() -> None:
    done = subprocess.run(
        [
            "systemd-analyze",
            "security",
            "--offline=true",
            f"--threshold={EXPOSURE_LIMIT * 10:.0f}",
            "./cvmd.service",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_inv6_no_core_file_and_no_swap_of_secrets() -> None:
    service = _Unit("cvmd.service")["Service"]
    assert (service["LimitCORE"], service["MemorySwapMax"]) == ("0", "0")
    assert service["LoadCredential"].startswith("master.key:/")


def test_limits_fit_the_default_configuration() -> None:
    service, config = _Unit("cvmd.service")["Service"], Config()
    assert int(service["LimitNOFILE"]) > config.listen.max_connections
    assert int(service["TimeoutStopSec"]) > config.deadlines.drain_s
    assert config.secrets.master_key_file.endswith("/" + service["LoadCredential"].split(":")[0])


def test_service_keeps_what_the_daemon_relies_on() -> None:
    service = _Unit("cvmd.service")["Service"]
    relied_on = {"Type": "notify", "StateDirectory": "cvmd", "DynamicUser": "yes"}
    assert {key: service[key] for key in relied_on} == relied_on
    assert int(service["WatchdogSec"]) > 0


def test_socket_listens_where_devices_look() -> None:
    plain, tls = (_Unit(name)["Socket"] for name in ("cvmd.socket", "cvmd-tls.socket"))
    assert (plain["ListenStream"], tls["ListenStream"]) == (str(DEFAULT_PORT), str(DEFAULT_TLS_PORT))
    assert (tls["FileDescriptorName"], tls["Service"]) == (TLS_NAME, "cvmd.service")
    assert "FileDescriptorName" not in plain
    assert int(plain["Backlog"]) == int(tls["Backlog"]) == Config().listen.backlog

"""The files that a device was given open a real MQTT broker by mutual TLS; another CA's do not."""

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness import MakeStack, device, openssl, with_products

from tools.client import DirectoryFlash, Exit, vend
from tools.stack import Stack

TOPIC = "factory/hello"


@dataclass
class Broker:
    """A running Mosquitto that lets nobody in without a certificate of the stand-in's CA."""

    port: int
    ca: Path

    def client(self, program: str, pems: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """mosquitto_pub or mosquitto_sub with the certificate and key in `pems`."""
        command = [
            program, "-h", "127.0.0.1", "-p", str(self.port), "-t", TOPIC, "-q", "1", "--cafile", str(self.ca),
            "--cert", str(pems / "cert.pem"), "--key", str(pems / "key.pem"), *arguments,
        ]  # fmt: skip
        return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.fixture
def stack(make_stack: MakeStack, tmp_path: Path) -> Stack:
    return with_products(make_stack(standin=["--broker-cert", "broker", str(tmp_path / "broker")]))


@pytest.fixture
def broker(stack: Stack, tmp_path: Path, free_port: int) -> Iterator[Broker]:
    directory = tmp_path / "broker"
    config = directory / "mosquitto.conf"
    config.write_text(
        f"listener {free_port} 127.0.0.1\nallow_anonymous true\nrequire_certificate true\ncafile {stack.ca}\n"
        f"certfile {directory / 'broker.pem'}\nkeyfile {directory / 'broker.key'}\nuser root\n"
    )
    program = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin")
    assert program, "mosquitto is not installed: run tools/test, which does that"
    with subprocess.Popen([program, "-c", str(config)], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if "running" in line:
                break
        else:
            pytest.fail("".join(said))
        yield Broker(free_port, stack.ca)
        process.terminate()


def vended(stack: Stack, serial: str, directory: Path, product: str) -> Path:
    """The directory with the PEM files of a device that has just got its certificate."""
    assert vend(device(stack, serial, product), DirectoryFlash(directory)).exit_code is Exit.DONE
    (directory / "cert.pem").write_bytes(openssl("x509", "-inform", "DER", "-in", directory / "cert.der"))
    (directory / "key.pem").write_bytes(openssl("pkey", "-inform", "DER", "-in", directory / "key.der"))
    return directory


@pytest.mark.parametrize("product", ["ec", "csr"])
def test_a_vended_device_publishes_and_is_received(stack: Stack, broker: Broker, tmp_path: Path, product: str) -> None:
    pems = vended(stack, "SN-1", tmp_path / "device", product)
    sent = broker.client("mosquitto_pub", pems, "-m", "from SN-1", "--retain")
    assert not sent.returncode, sent.stderr
    received = broker.client("mosquitto_sub", pems, "-C", "1", "-W", "30")
    assert received.stdout == "from SN-1\n", received.stderr


def test_a_certificate_of_another_ca_is_refused(broker: Broker, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    openssl(
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
        "-subj", "/CN=stranger", "-keyout", key, "-out", certificate,
    )  # fmt: skip
    assert broker.client("mosquitto_pub", tmp_path, "-m", "from nobody").returncode

"""`python -m tools.awsiot`: the process, its CA on disk, and a TLS server that trusts its certificates."""

import json
import signal
import socket
import ssl
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mypy_boto3_iot import IoTClient

from tools.awsiot import Control


@contextmanager
def process(*options: str) -> Iterator[dict[str, str]]:
    """The server's line at the start; it must end with status 0 at SIGTERM."""
    command = [sys.executable, "-m", "tools.awsiot", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout
        try:
            yield json.loads(run.stdout.readline())
        finally:
            run.send_signal(signal.SIGTERM)
            assert run.wait(20) == 0


def test_a_restart_keeps_the_ca_and_nothing_else(connect: Callable[..., IoTClient], tmp_path: Path) -> None:
    state = tmp_path / "state"
    cas = []
    for _ in range(2):
        with process("--state-dir", str(state)) as line:
            iot = connect(line["url"])
            assert iot.list_certificates()["certificates"] == []
            iot.create_keys_and_certificate()
            assert line["ca"] == str(state / "ca.pem")
            cas.append(Path(line["ca"]).read_bytes())
            assert Control(line["url"]).ca_pem() == cas[-1]
    assert cas[0] == cas[1]
    assert ssl.PEM_cert_to_DER_cert(cas[0].decode()) == (state / "ca.der").read_bytes()
    assert stat.S_IMODE((state / "ca.key").stat().st_mode) == 0o600


def test_a_directory_with_the_other_kind_of_ca_is_refused(tmp_path: Path) -> None:
    with process("--state-dir", str(tmp_path), "--ca-key", "ec"):
        pass
    run = subprocess.run(
        [sys.executable, "-m", "tools.awsiot", "--state-dir", str(tmp_path)], capture_output=True, text=True, timeout=30
    )
    assert run.returncode == 1
    assert "is no rsa key" in run.stderr
    assert run.stdout == ""


def test_without_a_directory_nothing_is_left() -> None:
    with process("--ca-key", "ec") as line:
        assert Path(line["ca"]).exists()
    assert not Path(line["ca"]).parent.exists()


def test_options_reach_the_server(connect: Callable[..., IoTClient], tmp_path: Path) -> None:
    policy = tmp_path / "policy.json"
    allowed = {"Effect": "Allow", "Action": ["iot:Describe*", "iot:ListC*"], "Resource": "*"}
    policy.write_text(json.dumps({"Statement": [allowed]}))
    options = ("--endpoint", "broker.test", "--iam-policy", str(policy))
    with process("--ca-key", "ec", "--quotas", "aws", "--burst", "0", *options) as line:
        iot = connect(line["url"])
        assert iot.describe_endpoint()["endpointAddress"] == "broker.test"
        with pytest.raises(iot.exceptions.ThrottlingException):
            any(iot.list_certificates() is None for _ in range(100))
        with pytest.raises(iot.exceptions.ClientError, match="AccessDenied"):
            iot.list_things()


def test_a_broker_and_a_device_trust_each_other(connect: Callable[..., IoTClient], tmp_path: Path) -> None:
    broker = tmp_path / "broker"
    with process("--state-dir", str(tmp_path), "--broker-cert", "mqtt.test", str(broker)) as line:
        made = connect(line["url"]).create_keys_and_certificate()
    (tmp_path / "device.pem").write_text(made["certificatePem"] + made["keyPair"]["PrivateKey"])
    assert stat.S_IMODE((broker / "broker.key").stat().st_mode) == 0o600

    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=line["ca"])
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_cert_chain(broker / "broker.pem", broker / "broker.key")
    device = ssl.create_default_context(cafile=line["ca"])
    device.load_cert_chain(tmp_path / "device.pem")

    for name in ("mqtt.test", "localhost", "127.0.0.1"):
        near, far = socket.socketpair()
        greeter = threading.Thread(target=greet, args=(server, far))
        greeter.start()
        with device.wrap_socket(near, server_hostname=name) as secured:
            assert secured.recv(100) == b"((('commonName', 'AWS IoT Certificate'),),)"
        greeter.join()


def greet(context: ssl.SSLContext, raw: socket.socket) -> None:
    """Send the subject of whoever connects."""
    with context.wrap_socket(raw, server_side=True) as secured:
        certificate = secured.getpeercert()
        assert certificate
        secured.sendall(str(certificate["subject"]).encode())

"""The stand-in for AWS IoT, an account there, an issuer that talks to it by boto3; keys as openssl sees them."""

import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cvmd.issuer.aws_iot import AwsIot, AwsSettings
from cvmd.issuer.permissions import iam_policy
from cvmd.model import Account
from tools.awsiot import Control, Settings, run_in_thread


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody's, and nothing of this machine's own configuration."""
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def _running() -> Iterator[Control]:
    with run_in_thread(Settings(ca_key="ec", iam_policy=iam_policy("aws"))) as standin:
        yield standin


@pytest.fixture
def standin(_running: Control) -> Control:
    """Empty but for thing-1 and policy-1, and without faults."""
    _running.reset()
    _running.seed_things(["thing-1"])
    _running.seed_policies(["policy-1"])
    return _running


@pytest.fixture
def account() -> Account:
    """An account that leaves region and endpoint to the settings."""
    return Account(1, "main", None, None, None, None, 10)


@pytest.fixture(scope="session")
def _shared(_running: Control) -> AwsIot:
    # One for all: to make a client costs more than most tests here.
    return AwsIot(AwsSettings(region="us-east-1", endpoint_url=_running.url, read_timeout_s=5))


@pytest.fixture
def issuer(standin: Control, _shared: AwsIot) -> AwsIot:
    return _shared


class Scripted:
    """An HTTP server that answers every request with `status`, `headers` and `body`, and counts them."""

    def __init__(self) -> None:
        self.status, self.body = 200, b"{}"
        self.headers = {"x-amzn-RequestId": "r", "Content-Type": "application/json"}
        self.requests: list[str] = []
        script = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                self.raw_requestline = self.rfile.readline(65537)
                if not self.raw_requestline or not self.parse_request():
                    self.close_connection = True
                    return
                script.requests.append(self.requestline)
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.send_response(script.status)
                for name, value in {**script.headers, "Content-Length": str(len(script.body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(script.body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the library's name
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    server = Scripted()
    yield server
    server.close()


def openssl(*arguments: str, given: bytes) -> bytes:
    done = subprocess.run(["openssl", *arguments], input=given, capture_output=True, timeout=30)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def name(*pairs: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in pairs])


def key_id(key: Any) -> bytes:
    digest = hashes.Hash(hashes.SHA256())
    digest.update(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    return digest.finalize()

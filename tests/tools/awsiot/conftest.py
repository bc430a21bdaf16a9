"""A stand-in in a thread for all tests, emptied before each, and unchanged boto3 clients to talk to it."""

from collections.abc import Callable, Iterator

import boto3
import pytest
from botocore.config import Config
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from mypy_boto3_iot import IoTClient

from tools.awsiot import Control, run_in_thread

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@pytest.fixture(scope="session")
def connect() -> Callable[..., IoTClient]:
    """A boto3 client, which sends a call once, for a URL; what else is named goes into its Config."""

    def make(url: str, **config: object) -> IoTClient:
        return boto3.client(
            "iot",
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id="AKIATEST",
            aws_secret_access_key="unused",
            config=Config(**{"retries": {"total_max_attempts": 1}, **config}),
        )

    return make


@pytest.fixture(scope="session")
def running() -> Iterator[Control]:
    with run_in_thread() as control:
        yield control


@pytest.fixture
def standin(running: Control) -> Control:
    running.reset()
    return running


@pytest.fixture(scope="session")
def shared_client(running: Control, connect: Callable[..., IoTClient]) -> IoTClient:
    return connect(running.url)


@pytest.fixture
def iot(standin: Control, shared_client: IoTClient) -> IoTClient:
    """A client of the empty stand-in."""
    return shared_client


@pytest.fixture(scope="session")
def make_csr() -> Callable[..., str]:
    """A CSR in PEM for a key, of its own subject."""

    def make(key: PrivateKey | None = None, subject: str = "device-1") -> str:
        builder = x509.CertificateSigningRequestBuilder().subject_name(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
        )
        signed = builder.sign(key or ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM).decode("ascii")

    return make


@pytest.fixture
def certificate(iot: IoTClient, make_csr: Callable[..., str]) -> dict[str, str]:
    """An INACTIVE certificate of the empty stand-in: certificateId, certificateArn, certificatePem."""
    return iot.create_certificate_from_csr(certificateSigningRequest=make_csr())

"""The stand-in and moto, asked the same by the same boto3 client: where they differ, and nowhere else.

moto is the witness for what is plain about AWS IoT's control plane. Where it is wrong or silent, a row of
differences.json says what it answers and what AWS answers. A difference without a row fails, and so does a
row without one.
"""

import json
from collections.abc import Callable
from pathlib import Path

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from moto import mock_aws
from mypy_boto3_iot import IoTClient

from tests.tools.awsiot.differential_steps import STEPS, World, unsigned
from tools.awsiot import run_in_thread

DIFFERENCES = {
    row["what"]: (row["moto"], row["aws"])
    for row in json.loads(Path(__file__).with_name("differences.json").read_text(encoding="utf-8"))
}


def client_of(endpoint_url: str | None, **config: object) -> IoTClient:
    """The same client for both; it leaves it to the service to judge the arguments."""
    return boto3.client(
        "iot",
        endpoint_url=endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="AKIATEST",
        aws_secret_access_key="unused",
        config=Config(retries={"total_max_attempts": 1}, parameter_validation=False, **config),
    )


def seen_at(url: str | None, step: Callable[[World], None], make_csr: Callable[..., str]) -> dict[str, object]:
    signing = {"signature_version": UNSIGNED} if step is unsigned else {}
    world = World(client_of(url, **signing), make_csr)
    step(world)
    return world.seen


def test_they_differ_where_the_table_says_and_nowhere_else(make_csr: Callable[..., str]) -> None:
    moto: dict[str, object] = {}
    ours: dict[str, object] = {}
    for step, settings in STEPS.items():
        with mock_aws():
            moto |= seen_at(None, step, make_csr)
        with run_in_thread(settings) as standin:
            ours |= seen_at(standin.url, step, make_csr)
    assert moto.keys() == ours.keys()
    assert {what: (moto[what], ours[what]) for what in moto if moto[what] != ours[what]} == DIFFERENCES

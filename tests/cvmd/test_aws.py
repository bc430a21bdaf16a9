"""What the configuration says of AWS, as the issuer takes it, and a root CA that cannot be used."""

from dataclasses import replace
from pathlib import Path

import pytest

from cvmd.aws import aws_iot, aws_settings, root_cas
from cvmd.config import Aws, Config, Disposal, Worker
from cvmd.errors import ConfigError, IssuerError, IssuerFault
from cvmd.issuer.roots import SHIPPED, root_ca
from cvmd.model import Account, State
from tests.cvmd.conftest import Bench

ACCOUNT = Account(1, "default", None, None, None, None, 10)


def test_the_settings_are_those_of_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "aws.config"
    file.touch(mode=0o600)
    aws = Aws("eu-west-1", "fleet", str(file), "https://iot", "https://sts", connect_timeout_s=2, read_timeout_s=3)
    config = Config(aws=aws, worker=Worker(concurrency=5), disposal=Disposal(concurrency=2))
    settings = aws_settings(config)
    access = settings.access(ACCOUNT)
    assert (access.region, access.profile, access.config_file) == ("eu-west-1", "fleet", file)
    assert (settings.endpoint_url, access.sts_endpoint_url) == ("https://iot", "https://sts")
    assert (settings.connect_timeout_s, settings.read_timeout_s, settings.pool_size) == (2, 3, 17)
    assert aws_settings(Config()).access(ACCOUNT).region is None


def test_an_account_has_the_last_word() -> None:
    config = Config(aws=Aws("eu-west-1", "fleet", sts_endpoint_url="https://sts"))
    own = replace(
        ACCOUNT, region="us-west-2", profile="own", role_arn="arn", external_id="id", sts_endpoint_url="https://own"
    )
    access = aws_settings(config).access(own)
    assert (access.region, access.profile, access.sts_endpoint_url) == ("us-west-2", "own", "https://own")
    assert (access.role_arn, access.external_id) == ("arn", "id")


def test_inv6_a_configuration_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "aws.config"
    file.touch(mode=0o644)
    with pytest.raises(ConfigError, match=r"others may read .*chmod 0400"):
        aws_iot(Config(aws=Aws(config_file=str(file))))
    with pytest.raises(ConfigError, match="cannot be read"):
        aws_iot(Config(aws=Aws(config_file=str(tmp_path / "none"))))


def test_a_root_ca_is_the_accounts_or_the_configurations() -> None:
    of = root_cas(Config(aws=Aws(root_ca="amazon-root-ca-3")))
    first, third = (root_ca(name, region="") for name in SHIPPED)
    assert of(ACCOUNT) == third
    assert of(replace(ACCOUNT, root_ca="amazon-root-ca-1")) == first


def test_a_root_ca_of_the_configuration_that_cannot_be_used_is_said_at_start() -> None:
    with pytest.raises(ConfigError, match="no/such/file"):
        root_cas(Config(aws=Aws(root_ca="/no/such/file")))


def test_a_root_ca_that_cannot_be_used_holds_its_account_up_until_it_is_mended(bench: Bench, tmp_path: Path) -> None:
    """Nothing is asked of AWS before; the row stays; a file that is there in the end is read."""
    file = tmp_path / "root.der"
    bench.scene.sql(f"UPDATE accounts SET root_ca = '{file}'")
    bench.root_ca = root_cas(Config())
    row = bench.carry(bench.scene.queued())
    assert row.state is State.QUEUED
    assert "create" not in bench.log
    ((fault, detail),) = bench.scene.sql("SELECT fault, detail FROM breakers WHERE failures > 0")
    assert (fault, str(file) in detail, "give a file" in detail) == (IssuerFault.ACCOUNT, True, True)

    file.write_bytes(root_ca("amazon-root-ca-3", region=""))
    with pytest.raises(IssuerError, match=r"root CA: ConfigError: .* file none"):
        bench.root_ca(replace(row.account, root_ca="file none"))
    bench.scene.sql("UPDATE breakers SET until_us = 0")
    (trial,) = bench.scene.store.due(1)
    assert bench.carry(trial).state is State.OFFERED
    assert bench.scene.sql("SELECT COUNT(*) FROM breakers WHERE failures > 0") == [(0,)]

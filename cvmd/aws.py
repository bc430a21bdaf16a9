"""What the configuration says of AWS, as the issuer takes it: its settings, and the root CA of each account."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from cvmd.checks import Check
from cvmd.config import Config, check_private, secret_path
from cvmd.errors import ConfigError, IssuerError, IssuerFault
from cvmd.issuer.aws_iot import AwsIot, AwsSettings
from cvmd.issuer.probe import Probe
from cvmd.issuer.roots import root_ca
from cvmd.meter import NO_METER, Meter
from cvmd.model import Account


def aws_iot(config: Config, meter: Meter = NO_METER) -> AwsIot:
    """The issuer that this configuration names. Raises ConfigError."""
    return AwsIot(aws_settings(config), meter)


def aws_settings(config: Config) -> AwsSettings:
    """What holds for every account that does not say otherwise. Raises ConfigError for aws.config_file."""
    aws = config.aws
    config_file = None
    if aws.config_file:
        config_file = secret_path(aws.config_file)
        check_private(config_file)
    return AwsSettings(
        region=aws.region or None,
        profile=aws.profile or None,
        config_file=config_file,
        endpoint_url=aws.endpoint_url or None,
        sts_endpoint_url=aws.sts_endpoint_url or None,
        connect_timeout_s=aws.connect_timeout_s,
        read_timeout_s=aws.read_timeout_s,
        pool_size=3 * config.worker.concurrency + config.disposal.concurrency,
    )


def root_cas(config: Config) -> Callable[[Account], bytes]:
    """The root CA of an account as DER, read once. Raises ConfigError where that of `[aws]` cannot be used.

    The answer raises IssuerError, of ACCOUNT, where that of an account cannot be: its issuances wait until it is
    mended, as behind any other fault of the account.
    """
    aws = config.aws
    root_ca(aws.root_ca, region=aws.region)  # said at start, not at the first vend

    @cache
    def read(choice: str, region: str) -> bytes:
        try:
            return root_ca(choice, region=region)
        except ConfigError as error:
            raise IssuerError(IssuerFault.ACCOUNT, "root CA", "ConfigError", str(error)) from None

    return lambda account: read(account.root_ca or aws.root_ca, account.region or aws.region)


def account_checks(config: Config) -> Callable[[Account], list[Check]]:
    """Asks AWS whether it serves an account as cvmd needs it; changes nothing there. Raises ConfigError."""
    probe, root_ca_of = Probe(aws_settings(config)), root_cas(config)

    def look(account: Account) -> list[Check]:
        told = account.data_endpoint or config.aws.data_endpoint or None
        return [*probe.run(account, data_endpoint=told), _root_ca_check(account, root_ca_of)]

    return look


def _root_ca_check(account: Account, root_ca_of: Callable[[Account], bytes]) -> Check:
    try:
        size = len(root_ca_of(account))
    except IssuerError as error:
        return Check("root CA", False, str(error), f"mend the file, or `cvmd accounts set {account.name} --root-ca`")
    return Check("root CA", True, f"{size} bytes of DER")

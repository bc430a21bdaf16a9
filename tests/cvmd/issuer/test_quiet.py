"""Invariant 6 against the libraries: at DEBUG botocore logs answers whole, private keys among them."""

import io
import logging
import logging.config
from collections.abc import Iterator

import boto3
import pytest

from cvmd.errors import IssuerError, IssuerFault
from cvmd.issuer.aws_iot import AwsIot, AwsSettings
from cvmd.issuer.quiet import pin_loggers
from cvmd.model import Account
from tools.awsiot import Control

LIBRARIES = ("boto3", "botocore", "urllib3")


def library_loggers() -> list[logging.Logger]:
    known = logging.root.manager.loggerDict.items()
    return [logger for name, logger in known if isinstance(logger, logging.Logger) and name.startswith(LIBRARIES)]


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """All that reaches the root logger at DEBUG; afterwards everything is as it was."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root_level = logging.root.level
    before = [(logger, logger.level, list(logger.filters), logger.disabled) for logger in library_loggers()]
    logging.root.addHandler(handler)
    logging.root.setLevel(logging.DEBUG)
    yield stream
    logging.root.removeHandler(handler)
    logging.root.setLevel(root_level)
    for logger, level, filters, disabled in before:
        logger.setLevel(level)
        logger.filters, logger.disabled = filters, disabled


def louder_root() -> None:
    logging.root.setLevel(logging.DEBUG)


def louder_libraries() -> None:
    for name in LIBRARIES:
        boto3.set_stream_logger(name, logging.DEBUG)


def louder_children() -> None:
    for logger in library_loggers():
        logger.setLevel(logging.DEBUG)


def louder_by_config() -> None:
    logging.config.dictConfig(
        {
            "version": 1,
            "incremental": True,
            "root": {"level": "DEBUG"},
            "loggers": {name: {"level": "DEBUG"} for name in (*LIBRARIES, "botocore.parsers", "botocore.endpoint")},
        }
    )


@pytest.mark.parametrize("louder", [louder_root, louder_libraries, louder_children, louder_by_config])
def test_inv6_a_private_key_in_an_answer_is_not_logged_whatever_the_levels(
    standin: Control, log: io.StringIO, capfd: pytest.CaptureFixture[str], louder: object
) -> None:
    pin_loggers()
    assert callable(louder)
    iot = boto3.client("iot", region_name="us-east-1", endpoint_url=standin.url)
    pin_loggers()
    louder()
    answer = iot.create_keys_and_certificate()
    logging.getLogger("botocore.parsers").warning("a warning passes")
    said = log.getvalue() + "".join(capfd.readouterr())
    assert "PRIVATE KEY" in answer["keyPair"]["PrivateKey"]
    assert "PRIVATE KEY" not in said
    assert "a warning passes" in said


def test_inv6_the_test_would_see_it(standin: Control, log: io.StringIO) -> None:
    for logger in library_loggers():
        logger.filters.clear()
        logger.setLevel(logging.NOTSET)
    iot = boto3.client("iot", region_name="us-east-1", endpoint_url=standin.url)
    iot.create_keys_and_certificate()
    assert "PRIVATE KEY" in log.getvalue()


def test_inv6_an_issuer_pins_them_itself(standin: Control, account: Account, log: io.StringIO) -> None:
    for logger in library_loggers():
        logger.filters.clear()
        logger.setLevel(logging.NOTSET)
    issuer = AwsIot(AwsSettings(region="us-east-1", endpoint_url=standin.url))
    issuer.describe_endpoint(account)
    louder_children()
    issuer.describe_endpoint(account)
    assert log.getvalue() == ""


def test_pinning_twice_adds_one_filter() -> None:
    pin_loggers()
    before = {logger.name: len(logger.filters) for logger in library_loggers()}
    pin_loggers()
    assert {logger.name: len(logger.filters) for logger in library_loggers()} == before
    assert all(logger.filters for logger in library_loggers())


def test_a_traceback_of_the_libraries_is_a_name(log: io.StringIO) -> None:
    """Its frames held what AWS had answered."""
    pin_loggers()
    try:
        raise IssuerError(IssuerFault.ACCOUNT, "AssumeRole", "AccessDenied", "to the role")
    except IssuerError:
        logging.getLogger("botocore").warning("renewal failed.", exc_info=True)
    try:
        raise ValueError("a key")
    except ValueError:
        logging.getLogger("botocore").warning("renewal failed.", exc_info=True)
    assert log.getvalue() == "renewal failed. AssumeRole: AccessDenied: to the role\nrenewal failed. ValueError\n"

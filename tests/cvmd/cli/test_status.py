"""`cvmd status`: for people, and for programs."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from cvmd.breakers import RESTS
from cvmd.cli.status import _TO_DO_FOR_BREAKER, _TO_DO_FOR_FAILED
from cvmd.model import Fault
from tests.cvmd.cli.conftest import Cli


@pytest.fixture
def troubled(admin: Cli, tmp_path: Path) -> Cli:
    """An account whose calls are refused, while one issuance waits."""
    with closing(sqlite3.connect(tmp_path / "cvmd.db", isolation_level=None)) as database:
        database.execute(
            "INSERT INTO breakers (account_id, policy, failures, until_us, fault, detail, opened_us)"
            " VALUES (1, '', 2, 2000000, 'account', 'AccessDeniedException', 1000000)"
        )
    return admin


@pytest.mark.usefixtures("troubled")
def test_it_says_what_holds_up_the_account_and_what_to_do(cli: Cli, tmp_path: Path) -> None:
    printed = cli("status", "--config", tmp_path / "cvmd.toml").out
    assert "AccessDeniedException" in printed
    assert "mend credentials" in printed
    assert "with the next device" in printed


def test_programs_get_json(troubled: Cli) -> None:
    document = json.loads(troubled("status", "--json").out)
    (breaker,) = document["breakers"]
    assert (breaker["account"], breaker["policy"], breaker["failures"]) == ("default", None, 2)
    assert breaker["opened"] == "1970-01-01T00:00:01Z"
    assert (document["issuances"], document["certificates"]) == ([], [])


def test_every_fault_says_what_to_do() -> None:
    assert set(_TO_DO_FOR_FAILED) == set(Fault)
    assert set(_TO_DO_FOR_BREAKER) == {fault for fault, rest in RESTS.items() if rest.shared}

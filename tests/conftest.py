"""Fixtures that many tests share. A server starts when a test first asks for it, one a worker."""

import itertools
import signal
from collections.abc import Callable, Iterator

import hypothesis
import pytest

from cvmd.issuer.permissions import iam_policy
from tools.awsiot import Control, Settings, run_in_thread
from tools.mariadb import MariaDB, private_mariadb

hypothesis.settings.register_profile("suite", deadline=None)
hypothesis.settings.load_profile("suite")

# A suite that was started in the background has SIGINT ignored, and what it starts would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

_numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first: at the end one worker would be alone with it."""
    items.sort(key=lambda item: item.path.name not in ("test_wheel.py", "test_checks.py"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests have counted, by the property `counts`."""
    for report in terminalreporter.getreports("passed"):
        for name, counted in report.user_properties:
            if name == "counts":
                terminalreporter.write_line(counted)


@pytest.fixture
def counts(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """`counts(table)`: printed at the end of the whole run, whichever worker this is."""
    return lambda table: record_property("counts", table)


@pytest.fixture(scope="session")
def mariadb_session() -> Iterator[MariaDB]:
    """The worker's one server. Tests ask for `mariadb` or `mariadb_url`."""
    with private_mariadb() as server:
        yield server


@pytest.fixture
def mariadb(mariadb_session: MariaDB) -> Iterator[MariaDB]:
    """A running MariaDB, to make databases on, stop, kill and start; the next test finds it running again."""
    yield mariadb_session
    mariadb_session.start()


@pytest.fixture
def mariadb_url(mariadb: MariaDB) -> Iterator[str]:
    """The daemon's URL of a fresh database under the shipped grants, dropped after the test."""
    name = f"test_{next(_numbers)}"
    yield mariadb.create_database(name)
    mariadb.start()
    mariadb.drop_database(name)


@pytest.fixture
def standin() -> Iterator[Control]:
    """An AWS IoT of the test's own, in a thread, under the policy that we ship; `standin.url` is the endpoint."""
    with run_in_thread(Settings(ca_key="ec", iam_policy=iam_policy("aws"))) as control:
        yield control

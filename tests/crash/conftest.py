"""Rigs for the crash tests, and where their counts go."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from queue import SimpleQueue

import pytest
from forks import start_server
from rest import check_reconciled
from rig import Case, End, Everywhere, Rig

from tools.mariadb import MariaDB

_RIGS = 6  # most of a case is waiting, for leases above all


@pytest.fixture(scope="session")
def rigs(mariadb_session: MariaDB, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sequence[Rig]]:
    """So many at once; one case at a time runs on each."""
    start_server()
    directories = [tmp_path_factory.mktemp("rig") for _ in range(_RIGS)]
    with ExitStack() as stack, ThreadPoolExecutor(_RIGS) as pool:
        yield list(pool.map(lambda directory: stack.enter_context(Rig(directory, mariadb_session)), directories))


@pytest.fixture
def rig(rigs: Sequence[Rig], mariadb: MariaDB) -> Iterator[Rig]:
    """One of them, with nothing left by a former test."""
    rigs[0].aws.clear_faults()
    rigs[0].forget()
    yield rigs[0]
    if rigs[0].daemon is not None:
        rigs[0].daemon.end()


@pytest.fixture
def everywhere(rigs: Sequence[Rig], mariadb: MariaDB) -> Everywhere:
    """`everywhere(carry, cases)`: carry(rig, case) of each, on all rigs side by side; the answers, in their order.

    Then all that AWS and the rows hold is compared.
    """
    free: SimpleQueue[Rig] = SimpleQueue()
    for each in rigs:
        free.put(each)

    def run(carry: Callable[[Rig, Case], End], cases: Iterable[Case]) -> list[End]:
        def one(case: Case) -> End:
            rig = free.get()
            try:
                rig.aws.clear_faults()
                rig.forget()
                return carry(rig, case)
            finally:
                if rig.daemon is not None:
                    rig.daemon.end()
                free.put(rig)

        with ThreadPoolExecutor(len(rigs)) as pool:
            ends = list(pool.map(one, cases))
            list(pool.map(check_reconciled, rigs))
        return ends

    return run

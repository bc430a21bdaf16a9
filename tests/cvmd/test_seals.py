"""What a row holds sealed opens for this row, and for no other."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from cvmd.errors import SealError
from cvmd.model import Issuance, Secret
from cvmd.seals import seal_csr, seal_key, seal_token, unseal_csr, unseal_key, unseal_token
from tests.cvmd.conftest import Bench

OTHERS: list[Callable[[Issuance], Issuance]] = [
    lambda row: replace(row, serial=b"another"),
    lambda row: replace(row, uid=bytes(16)),
    lambda row: replace(row, sealed_csr=row.sealed_escrow, sealed_escrow=row.sealed_csr),
]


@pytest.fixture
def row(bench: Bench) -> Issuance:
    issuance = bench.scene.queued()
    csr = seal_csr(b"csr", issuance.uid, issuance.serial, bench.sealer)
    return replace(issuance, sealed_csr=csr, sealed_escrow=seal_key(Secret(b"key"), issuance, bench.sealer))


def test_what_was_sealed_for_an_issuance_opens_for_it(bench: Bench, row: Issuance) -> None:
    assert unseal_csr(row, bench.sealer) == b"csr"
    assert unseal_key(row, bench.sealer) == Secret(b"key")
    assert unseal_key(replace(row, sealed_escrow=None), bench.sealer) is None


@pytest.mark.parametrize("other", OTHERS, ids=["serial", "issuance", "column"])
def test_inv6_and_for_no_other(bench: Bench, row: Issuance, other: Callable[[Issuance], Issuance]) -> None:
    with pytest.raises(SealError):
        unseal_csr(other(row), bench.sealer)
    with pytest.raises(SealError):
        unseal_key(other(row), bench.sealer)


def test_inv6_a_csr_that_is_gone_is_no_reason_to_have_aws_make_a_key(bench: Bench, row: Issuance) -> None:
    with pytest.raises(SealError, match="taken away"):
        unseal_csr(replace(row, sealed_csr=None), bench.sealer)


def test_inv6_a_token_opens_for_its_serial_and_for_no_other(bench: Bench) -> None:
    sealed = seal_token(Secret(b"token"), b"SN-1", bench.sealer)
    assert unseal_token(sealed, b"SN-1", bench.sealer) == Secret(b"token")
    with pytest.raises(SealError):
        unseal_token(sealed, b"SN-2", bench.sealer)

"""RSA keys: openssl reads them, no key is given twice, and they are made ahead, but not before one was asked for."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_der_private_key
from cryptography.x509.oid import NameOID

from cvmd.issuer import rsa_keys
from cvmd.issuer.keys import check_csr, to_pkcs8
from cvmd.issuer.rsa_keys import RsaKeyMaker
from tests.cvmd.issuer.conftest import key_id, name, openssl

LONG_S = 60.0


@pytest.fixture
def made_by(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The thread of each key that is made."""
    threads: list[str] = []
    new_key = rsa_keys._new_key

    def watched() -> rsa.RSAPrivateKey:
        threads.append(threading.current_thread().name)
        return new_key()

    monkeypatch.setattr(rsa_keys, "_new_key", watched)
    return threads


@pytest.fixture
def maker(made_by: list[str]) -> Iterator[RsaKeyMaker]:
    """Keeps three ready."""
    made = RsaKeyMaker(3)
    yield made
    made.close()


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + LONG_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_key_is_pkcs1_of_2048_bits_and_its_csr_names_the_issuance(maker: RsaKeyMaker) -> None:
    pair = maker.make("A" * 52)
    key = load_der_private_key(pair.key_der.reveal(), None)  # which tests its primes
    assert isinstance(key, rsa.RSAPrivateKey)
    assert (key.key_size, key.public_key().public_numbers().e) == (2048, 65537)
    assert 1180 <= len(pair.key_der.reveal()) <= 1200
    assert x509.load_der_x509_csr(pair.csr_der).subject == name((NameOID.COMMON_NAME, "A" * 52))
    assert pair.public_key_id == key_id(key) == check_csr(pair.csr_der, b"A" * 52)


def test_inv4_openssl_agrees_with_key_csr_and_pkcs8(maker: RsaKeyMaker) -> None:
    pair = maker.make("B" * 52)
    pkcs1 = pair.key_der.reveal()
    shown = openssl("req", "-inform", "DER", "-verify", "-noout", "-pubkey", given=pair.csr_der)
    assert openssl("rsa", "-inform", "DER", "-check", "-pubout", given=pkcs1).endswith(shown)
    assert openssl("rsa", "-inform", "DER", "-traditional", "-outform", "DER", given=pkcs1) == pkcs1
    topk8 = openssl("pkcs8", "-topk8", "-nocrypt", "-inform", "DER", "-outform", "DER", given=pkcs1)
    assert to_pkcs8(pair.key_der).reveal() == to_pkcs8(pair.key_der).reveal() == topk8


def test_inv6_neither_a_key_nor_one_that_is_kept_shows_itself(maker: RsaKeyMaker) -> None:
    assert "key_der=Secret()" in repr(maker.make("x"))
    until(lambda: maker._keys)
    assert "RSAPrivateKey object at" in repr(maker._keys)


def own_threads() -> list[str]:
    return [it.name for it in threading.enumerate() if it.name.startswith("rsa-keys")]


def test_none_is_made_before_one_is_asked_for(maker: RsaKeyMaker, made_by: list[str]) -> None:
    assert (made_by, own_threads()) == ([], [])


def test_behind_the_first_they_are_made_ahead_by_one_other_thread(maker: RsaKeyMaker, made_by: list[str]) -> None:
    here = threading.current_thread().name
    maker.make("x")
    until(lambda: len(maker._keys) == 3)
    assert made_by == [here, *["rsa-keys_0"] * 3]
    maker.make("x")
    until(lambda: len(maker._keys) == 3)
    assert made_by == [here, *["rsa-keys_0"] * 4]


def test_a_herd_gets_a_key_each(maker: RsaKeyMaker, made_by: list[str]) -> None:
    with ThreadPoolExecutor(8) as pool:
        pairs = list(pool.map(lambda n: maker.make(f"cn-{n}"), range(24)))
    assert len({it.public_key_id for it in pairs}) == 24
    until(lambda: len(maker._keys) == 3)
    assert len(made_by) == 24 + 3


def test_with_none_kept_each_is_made_when_asked_for(made_by: list[str]) -> None:
    maker = RsaKeyMaker(0)
    maker.make("x")
    maker.make("x")
    maker.close()
    assert made_by == [threading.current_thread().name] * 2


def test_an_end_in_the_middle_of_a_fill_makes_no_more(made_by: list[str]) -> None:
    maker = RsaKeyMaker(10_000)
    maker.make("x")
    until(lambda: len(made_by) > 2)
    maker.close()
    assert len(made_by) < 10_000
    assert own_threads() == []

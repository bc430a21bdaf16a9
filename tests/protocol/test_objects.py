"""Bundles: one stream, one identity."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.constants import MAX_BUNDLE, Kind, Status
from protocol.errors import LocalProtocolError, RemoteProtocolError
from protocol.objects import Bundle, certificate_digest, parse, verify, want_of

contents = st.dictionaries(st.sampled_from(Kind), st.binary(min_size=1, max_size=300), min_size=1).filter(
    lambda objects: not {Kind.KEY_SEC1_PKCS1, Kind.KEY_PKCS8} <= objects.keys()
)


@given(contents)
def test_inv4_a_bundle_is_a_function_of_its_objects(objects: dict[Kind, bytes]) -> None:
    bundle = Bundle.of(objects)
    assert bundle == Bundle.of(dict(reversed(objects.items())))
    assert verify(bundle.data, bundle.bundle_id) == objects
    assert bundle.bundle_id == sha256(bundle.data).digest()[:16]
    assert bundle.total == len(bundle.data)


def test_the_format_to_the_byte() -> None:
    bundle = Bundle.of({Kind.ENDPOINT: b"host", Kind.CERTIFICATE: b"cert"})
    assert bundle.data == b"\x01\x00\x04cert\x05\x00\x04host"


@pytest.mark.parametrize(
    "objects",
    [
        {},
        {Kind.CERTIFICATE: b""},
        {Kind.KEY_SEC1_PKCS1: b"k", Kind.KEY_PKCS8: b"k"},
        {Kind.CERTIFICATE: bytes(MAX_BUNDLE - 2)},
    ],
    ids=["none", "empty", "two keys", "too long"],
)
def test_a_bundle_that_cannot_be_is_not_built(objects: dict[Kind, bytes]) -> None:
    with pytest.raises(LocalProtocolError):
        Bundle.of(objects)


def test_the_largest_bundle() -> None:
    assert Bundle.of({Kind.CERTIFICATE: bytes(MAX_BUNDLE - 3)}).total == MAX_BUNDLE


@given(st.binary(max_size=60))
def test_inv7_any_bytes_are_objects_or_one_error(data: bytes) -> None:
    try:
        objects = parse(data)
    except RemoteProtocolError:
        return
    built = b"".join(bytes([kind]) + len(c).to_bytes(2, "big") + c for kind, c in objects.items())
    assert built == data


def test_a_bit_off_is_another_bundle() -> None:
    bundle = Bundle.of({Kind.CERTIFICATE: b"cert", Kind.THING_NAME: b"thing"})
    for place in range(bundle.total):
        for bit in range(8):
            bent = bytearray(bundle.data)
            bent[place] ^= 1 << bit
            with pytest.raises(RemoteProtocolError) as raised:
                verify(bytes(bent), bundle.bundle_id)
            assert raised.value.status is Status.STALE


def test_digest_and_want() -> None:
    assert certificate_digest(b"der") == sha256(b"der").digest()
    assert want_of([Kind.CERTIFICATE, Kind.ROOT_CA, Kind.CERTIFICATE]) == 0b10010


def test_inv6_the_bytes_are_not_in_the_repr() -> None:
    assert "secret" not in repr(Bundle.of({Kind.KEY_PKCS8: b"secret"}))

"""Sealing: one place opens what was sealed for it, and nothing tells more than table and column."""

import base64
import binascii
import hmac
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvmd.errors import ConfigError, SealError
from cvmd.model import Secret
from cvmd.sealing import OVERHEAD, Sealer, load_master_key

KEY = bytes(range(32))
PLACE = {"table": "issuances", "column": "escrow", "row": b"\x01" * 16}
SEALER = Sealer(Secret(KEY))
OTHER = Sealer(Secret(KEY[::-1]))


def key_file(directory: Path, content: bytes, mode: int = 0o400) -> Path:
    path = directory / "master.key"
    path.write_bytes(content)
    path.chmod(mode)
    return path


HEX = KEY.hex().encode()


@pytest.mark.parametrize("content", [KEY, HEX, HEX.upper(), HEX + b"\n", b" " + HEX])
def test_master_key_is_read_raw_and_as_hex(tmp_path: Path, content: bytes) -> None:
    assert load_master_key(key_file(tmp_path, content)) == Secret(KEY)


@pytest.mark.parametrize("content", [b"", KEY[:31], KEY + b"\n", HEX[:-1], b"g" * 64, b"0" * 5000])
def test_a_file_that_holds_no_key_is_refused_and_told_how_to_make_one(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ConfigError, match=r"neither 64 hex digits nor 32 raw bytes.*openssl rand") as caught:
        load_master_key(key_file(tmp_path, content))
    assert KEY.hex()[:16] not in str(caught.value)


@pytest.mark.parametrize("content", [bytes(32), b"0" * 64])
def test_a_constant_key_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ConfigError, match="no key"):
        load_master_key(key_file(tmp_path, content))


@pytest.mark.parametrize("mode", [0o404, 0o444, 0o402, 0o401, 0o460, 0o666])
def test_a_key_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ConfigError, match=f"mode {mode:04o}.*chmod 0400"):
        load_master_key(key_file(tmp_path, KEY, mode))


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o440, 0o640])
def test_owner_and_a_reading_group_may_reach_the_key(tmp_path: Path, mode: int) -> None:
    path = key_file(tmp_path, KEY, mode)
    assert load_master_key(path) == Secret(KEY)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_missing_file_and_directory_say_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_master_key(tmp_path / "none")
    with pytest.raises(ConfigError, match="Is a directory"):
        load_master_key(tmp_path)


@given(st.binary(max_size=2000), st.binary(max_size=64))
def test_what_is_sealed_unseals_at_its_place(value: bytes, row: bytes) -> None:
    sealed = SEALER.seal(Secret(value), table="devices", column="token", row=row)
    assert len(sealed) == len(value) + OVERHEAD
    assert SEALER.unseal(sealed, table="devices", column="token", row=row) == Secret(value)


def test_the_same_secret_is_never_sealed_to_the_same_bytes() -> None:
    assert len({SEALER.seal(Secret(b"token"), **PLACE) for _ in range(100)}) == 100


@pytest.mark.parametrize(
    "place",
    [
        PLACE | {"table": "devices"},
        PLACE | {"column": "token"},
        PLACE | {"row": b"\x02" * 16},
        # The same bytes behind one another, cut elsewhere.
        {"table": "issuancese", "column": "scrow", "row": b"\x01" * 16},
        {"table": "issuances", "column": "escrow\x01", "row": b"\x01" * 15},
    ],
)
def test_inv6_an_old_escrow_does_not_open_at_another_place(place: dict[str, str | bytes]) -> None:
    sealed = SEALER.seal(Secret(b"a private key"), **PLACE)
    with pytest.raises(SealError, match=f"{place['table']}.{place['column']}: altered, or sealed for"):
        SEALER.unseal(sealed, **place)


def test_inv6_another_master_key_opens_nothing_and_is_named() -> None:
    sealed = SEALER.seal(Secret(b"a private key"), **PLACE)
    with pytest.raises(SealError, match=f"{SEALER.key_id.hex()}.*{OTHER.key_id.hex()}"):
        OTHER.unseal(sealed, **PLACE)
    forged = sealed[:1] + OTHER.key_id + sealed[5:]
    with pytest.raises(SealError, match="altered"):
        OTHER.unseal(forged, **PLACE)


@given(st.integers(0, OVERHEAD + 12), st.integers(1, 255))
def test_inv6_a_changed_byte_is_found_wherever_it_is(position: int, change: int) -> None:
    sealed = bytearray(SEALER.seal(Secret(b"a private key"), **PLACE))
    sealed[position] ^= change
    with pytest.raises(SealError) as caught:
        SEALER.unseal(bytes(sealed), **PLACE)
    assert "issuances.escrow" in str(caught.value)


@given(st.binary(max_size=100))
def test_whatever_is_not_sealed_is_a_seal_error(noise: bytes) -> None:
    with pytest.raises(SealError):
        SEALER.unseal(noise, **PLACE)


def test_inv6_an_error_shows_neither_the_secret_nor_the_sealed_bytes() -> None:
    sealed = SEALER.seal(Secret(b"a private key"), **PLACE)
    for broken in (sealed[:-1], sealed[:-1] + b"\xff", b"\x02" + sealed[1:], sealed[:20]):
        with pytest.raises(SealError) as caught:
            SEALER.unseal(broken, **PLACE)
        assert broken[5:].hex()[:8] not in str(caught.value)
        assert caught.value.__cause__ is None


def test_check_value_tells_master_keys_apart_and_is_stable() -> None:
    assert SEALER.check_value() == Sealer(Secret(KEY)).check_value() != OTHER.check_value()
    assert len(SEALER.check_value()) == 32
    assert KEY not in SEALER.check_value()


def test_derived_keys_are_those_of_rfc_5869() -> None:
    # Written out with HMAC alone, so that a later change of library or label shows here and not in the field.
    prk = hmac.digest(bytes(32), KEY, "sha256")
    assert SEALER.check_value() == hmac.digest(prk, b"cvmd check 1\x01", "sha256")
    uid = bytes(16)
    mac = hmac.digest(hmac.digest(prk, b"cvmd subject 1\x01", "sha256"), uid, "sha256")[:16]
    assert SEALER.subject(uid) == base64.b32encode(uid + mac).decode().rstrip("=")


def test_inv8_the_decoy_is_a_token_of_its_own_and_constant_for_a_node() -> None:
    decoy = SEALER.unseal_decoy()
    assert decoy == SEALER.unseal_decoy()
    assert len(decoy.reveal()) == 32
    assert decoy != Sealer(Secret(KEY)).unseal_decoy()


@given(st.binary(min_size=16, max_size=16))
def test_inv5_a_subject_names_its_issuance(uid: bytes) -> None:
    name = SEALER.subject(uid)
    assert len(name) == 52
    assert name.isalnum()
    assert name == name.upper()
    assert SEALER.owns_subject(name) == uid
    assert OTHER.owns_subject(name) is None


@given(st.text(max_size=60) | st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", min_size=52, max_size=52))
def test_inv5_nobody_elses_subject_is_ours(name: str) -> None:
    assert SEALER.owns_subject(name) is None


def test_inv5_a_subject_has_one_spelling() -> None:
    name = SEALER.subject(os.urandom(16))
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
    # The last character carries one bit of the MAC: 15 others decode to the same bytes.
    twins = [name[:-1] + letter for letter in alphabet if letter != name[-1]]
    assert any(base64.b32decode(twin + "====") == base64.b32decode(name + "====") for twin in twins)
    for other in [*twins, name.lower(), name + "=", name + "====", name[:-1], name + " ", "\n" + name]:
        assert SEALER.owns_subject(other) is None


def test_a_uid_of_another_size_is_our_bug() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        SEALER.subject(bytes(15))
    assert binascii.hexlify(SEALER.key_id) not in repr(SEALER).encode()

from dataclasses import replace
from pathlib import Path

import pytest

from protocol.constants import Kind, Suite
from protocol.objects import want_of
from tools.client import OptionError, Options, read_token

GOOD = Options(host="127.0.0.1", serial="A1", token=bytes(16))


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"serial": ""}, "--serial"),
        ({"serial": "a b"}, "--serial"),
        ({"serial": "x" * 65}, "--serial"),
        ({"token": bytes(15)}, "token"),
        ({"token": bytes(65)}, "token"),
        ({"port": 0}, "--port"),
        ({"port": 65536}, "--port"),
        ({"key_source": "p521"}, "--key-source"),
        ({"key_type": "p521"}, "--key-type"),
        ({"key_format": "pem"}, "--key-format"),
        ({"max_frame": 47}, "--max-frame"),
        ({"max_frame": 1401}, "--max-frame"),
        ({"max_frame": 55, "suite": Suite.NOISE}, "--max-frame"),
        ({"limit": 0}, "--limit"),
        ({"limit": 65536}, "--limit"),
        ({"max_wait_s": 65536}, "--max-wait"),
        ({"extras": ("moon",)}, "--want"),
        ({"attempts": 0}, "--attempts"),
        ({"ca": Path("ca.pem")}, "--ca"),
        ({"tls_unchecked": True}, "--ca"),
        ({"slow": 0}, "--slow"),
        ({"cut_after": -1}, "--cut-after"),
        ({"timeout_s": 0}, "--timeout"),
        ({"backoff_s": -1}, "--backoff"),
    ],
)
def test_a_wrong_value_is_named(change: dict[str, object], names: str) -> None:
    with pytest.raises(OptionError, match=names):
        replace(GOOD, **change)


def test_want_is_certificate_key_and_extras() -> None:
    extras = [Kind.ROOT_CA, Kind.ENDPOINT, Kind.THING_NAME]
    assert GOOD.want == want_of([Kind.CERTIFICATE, Kind.KEY_SEC1_PKCS1, *extras])
    assert replace(GOOD, key_format="pkcs8").want == want_of([Kind.CERTIFICATE, Kind.KEY_PKCS8, *extras])
    assert replace(GOOD, key_source="device-csr").want == want_of([Kind.CERTIFICATE, *extras])
    assert replace(GOOD, extras=()).want == want_of([Kind.CERTIFICATE, Kind.KEY_SEC1_PKCS1])


def test_without_a_token_root_ca_and_endpoint_are_not_taken_unless_asked_for() -> None:
    unproven = replace(GOOD, token=b"")
    assert unproven.want == want_of([Kind.CERTIFICATE, Kind.KEY_SEC1_PKCS1, Kind.THING_NAME])
    assert replace(unproven, extras=("root-ca",)).want & 1 << Kind.ROOT_CA


def test_inv6_the_token_is_in_no_repr() -> None:
    assert "secret-token-16B" not in repr(replace(GOOD, token=b"secret-token-16B"))


def test_token_file_is_hex_with_white_space_around(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(f"  {bytes(range(20)).hex()}\n\n")
    assert read_token(path) == bytes(range(20))


@pytest.mark.parametrize("content", [b"not-hex-but-secret", b"", b"\xff\xfesecret", b"abc"])
def test_inv6_an_error_about_a_token_file_does_not_tell_what_it_holds(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(OptionError) as caught:
        read_token(path)
    assert str(path) in str(caught.value)
    assert "secret" not in f"{caught.value!r} {caught.value.__cause__!r}"


def test_a_token_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"nowhere.*No such file"):
        read_token(tmp_path / "nowhere")

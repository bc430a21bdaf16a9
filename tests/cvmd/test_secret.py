"""Secret: nothing that shows, compares, copies or dumps a value gives its bytes away (invariant 6)."""

import copy
import json
import logging
import pickle
import traceback
from dataclasses import asdict

import pytest

from cvmd.model import KeyPair
from cvmd.secret import Secret

BYTES = b"\x30\x77the-private-key"
SHOWN = "the-private-key"


@pytest.mark.parametrize(
    "shown",
    [
        repr(Secret(BYTES)),
        str(Secret(BYTES)),
        f"{Secret(BYTES)}",
        f"{Secret(BYTES)!r:>40}",
        f"{Secret(BYTES):x}",
        repr([Secret(BYTES)]),
        repr({"key": Secret(BYTES)}),
        repr(KeyPair(Secret(BYTES), b"csr", bytes(32))),
    ],
)
def test_inv6_no_way_of_showing_a_secret_shows_it(shown: str) -> None:
    assert SHOWN not in shown
    assert BYTES.hex() not in shown
    assert "Secret()" in shown


def test_inv6_a_log_line_and_a_traceback_do_not_show_it(caplog: pytest.LogCaptureFixture) -> None:
    secret = Secret(BYTES)
    logging.getLogger("test").error("made %s of %r", secret, {"key": secret})
    try:
        raise RuntimeError("failed with", secret)
    except RuntimeError as error:
        shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "Secret()" in caplog.text
    assert SHOWN not in caplog.text
    assert "secret = Secret()" in shown
    assert SHOWN not in shown


def test_inv6_it_is_neither_pickled_nor_copied_nor_dumped() -> None:
    for dump in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="not to be pickled or copied"):
            dump(Secret(BYTES))
    with pytest.raises(TypeError):
        json.dumps(Secret(BYTES))
    with pytest.raises(TypeError, match="not to be pickled or copied"):
        asdict(KeyPair(Secret(BYTES), b"csr", bytes(32)))


def test_a_secret_equals_its_like_alone() -> None:
    assert Secret(BYTES) == Secret(BYTES)
    assert Secret(BYTES) != Secret(BYTES + b"x")
    assert Secret(BYTES) != BYTES


def test_inv6_a_secret_is_no_key_of_a_dictionary_and_has_no_other_fields() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(Secret(BYTES))
    with pytest.raises(AttributeError):
        Secret(BYTES).label = "x"  # type: ignore[attr-defined]  # this must fail
    assert not hasattr(Secret(BYTES), "__dict__")


def test_reveal_gives_the_bytes() -> None:
    assert Secret(BYTES).reveal() == BYTES

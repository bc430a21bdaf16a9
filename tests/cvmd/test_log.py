"""The log: what a line says, and what no line may say."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from cvmd import log
from cvmd.config import Log
from cvmd.model import Secret

TOKEN = b"5ec7e7-token-of-a-device"


class Terminal(io.StringIO):
    """A stream that says that somebody watches."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def configured(level: Any = "info", form: Any = "json") -> io.StringIO:
    stream = io.StringIO()
    log.configure(Log(level=level, format=form), stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_the_canonical_line_has_its_fields_and_no_empty_one() -> None:
    stream = configured()

    log.canonical("vend", serial="A1", outcome="done", status=None)

    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "vend", "level": "info", "logger": "cvmd", "serial": "A1", "outcome": "done"}


def test_a_line_below_the_level_is_not_written() -> None:
    stream = configured(level="warning")

    log.canonical("quiet", level=logging.INFO)
    log.canonical("loud", level=logging.WARNING)

    assert [line["event"] for line in lines(stream)] == ["loud"]


def test_configuring_again_replaces_what_was() -> None:
    first, second = configured(), configured()

    log.canonical("vend")

    assert (len(lines(first)), len(lines(second))) == (0, 1)


@pytest.mark.parametrize(("stream", "starts"), [(io.StringIO(), '{"'), (Terminal(), "\x1b[")])
def test_auto_is_json_unless_somebody_watches(stream: io.StringIO, starts: str) -> None:
    log.configure(Log(format="auto"), stream)

    log.canonical("vend")

    assert stream.getvalue().startswith(starts)


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        (b"AB-01:9", "AB-01:9"),
        ("AB 01", "AB 01"),
        (b"A\nB", "0x410a42"),
        (b"\x1b[2J", "0x1b5b324a"),
        ("\u00e9", "0xc3a9"),
        ("\ud800", "\\ud800"),
        (b"", ""),
        (b"x" * 64, "x" * 64),
        (b"x" * 65, "x" * 61 + "..."),
    ],
)
def test_clean_shows_ascii_or_hex(sent: bytes | str, shown: str) -> None:
    assert log.clean(sent) == shown


@given(st.binary() | st.text())
def test_clean_gives_one_short_printable_line_whatever_came(sent: bytes | str) -> None:
    shown = log.clean(sent)

    assert len(shown) <= log.MAX_CLEAN
    assert shown.isascii()
    assert shown == "" or shown.isprintable()


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_field_cannot_forge_a_line_or_drive_the_terminal(form: str) -> None:
    stream = configured(form=form)

    log.canonical("vend\nforged", peer="a\nlevel=error \x1b[31m", raw=b"\x1b", names={"k\n": ["v\n"]})

    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize("form", ["json", "console"])
def test_inv6_a_secret_in_any_field_is_blank(form: str) -> None:
    stream = configured(level="debug", form=form)
    secret = Secret(TOKEN)

    log.canonical("vend", token=secret, nested={"a": [secret, (secret,)]})
    structlog.stdlib.get_logger().info("said", token=secret)
    logging.getLogger("other").warning("token %s", secret, extra={"token": secret})

    assert "5ec7e7" not in stream.getvalue()
    assert TOKEN.hex() not in stream.getvalue()
    assert stream.getvalue().count("Secret()") >= 5


def _fail_with(local: bytes) -> None:
    if local:
        raise ValueError("wrong")


@pytest.mark.parametrize("form", ["json", "console"])
def test_inv6_a_traceback_shows_no_locals(form: str) -> None:
    stream = configured(form=form)

    try:
        _fail_with(TOKEN)
    except ValueError:
        structlog.stdlib.get_logger("cvmd").exception("failed")
        logging.getLogger("cvmd").exception("failed")

    assert stream.getvalue().count("ValueError: wrong") == 2
    if form == "console":
        assert stream.getvalue().splitlines().count("ValueError: wrong") == 2
    assert "5ec7e7" not in stream.getvalue()


def test_an_exceptions_text_cannot_drive_the_terminal() -> None:
    stream = configured(form="console")

    try:
        raise ValueError("\x1b[31mred")
    except ValueError:
        logging.getLogger("cvmd").exception("failed")

    assert "\x1b" not in stream.getvalue()
    assert "\\x1b[31mred" in stream.getvalue()


@pytest.mark.parametrize(
    "name", ["botocore.endpoint", "boto3.resources", "urllib3.connectionpool", "sqlalchemy.engine.Engine"]
)
def test_inv6_libraries_that_log_bodies_stay_quiet_at_debug(name: str) -> None:
    stream = configured(level="debug")

    logging.getLogger(name).info("the private key")
    logging.getLogger(name).warning("a slow answer")

    assert [line["event"] for line in lines(stream)] == ["a slow answer"]


def test_a_louder_level_than_warning_binds_the_libraries_too() -> None:
    stream = configured(level="error")

    logging.getLogger("botocore").warning("a slow answer")

    assert not lines(stream)

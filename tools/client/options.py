"""What one vend is asked to do. Checked when made: OptionError says what to do about a wrong value."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from protocol.constants import (
    DEFAULT_MAX_FRAME,
    DEFAULT_PORT,
    MAX_MAX_FRAME,
    MAX_SERIAL,
    MAX_TOKEN,
    MIN_MAX_FRAME,
    MIN_TOKEN,
    TO_THE_END,
    Kind,
    Suite,
)
from protocol.objects import want_of

from .keys import KEY_TYPES

DEVICE_CSR: Final = "device-csr"
KEY_SOURCES: Final = ("ec-p256", "rsa2048", DEVICE_CSR, "aws-rsa2048")
KEY_FORMATS: Final = {"sec1": Kind.KEY_SEC1_PKCS1, "pkcs8": Kind.KEY_PKCS8}
EXTRAS: Final = {"root-ca": Kind.ROOT_CA, "endpoint": Kind.ENDPOINT, "thing-name": Kind.THING_NAME}
_UNPROVEN_EXTRAS: Final = ("thing-name",)
_MAX_U16: Final = 0xFFFF
_SERIAL: Final = re.compile(rf"[A-Za-z0-9:_.-]{{1,{MAX_SERIAL}}}")


class OptionError(ValueError):
    """An option, the token file or the directory cannot be used as given."""


@dataclass(frozen=True)
class Options:
    """One device and how it behaves. `token` is empty for products whose auth is `serial`.

    `key_type`: of the key that the device makes, where its key source is device-csr.
    `limit`: bytes of the bundle asked for at a time.
    `extras`: objects wanted beside certificate and key. None: all, but without a token the thing name alone,
    since nothing then proves who answers (SPEC.md, auth `serial`).
    `attempts`: connections at most. `retry`: come back until it is done, also after refusals for a person.
    `backoff_s`: first pause of the device's own after a failure. `slow`: bytes read per second.
    `cut_after`: bytes, both directions together, after which the connection is dropped; inside of TLS, if there is.
    `tls`: speak TLS. `ca`: PEM file of the CA that must have signed the server's certificate; None: the machine's.
    `tls_unchecked`: take any certificate, as many modems do. Then TLS is worth no more than a plain line.
    """

    host: str
    serial: str
    token: bytes = field(default=b"", repr=False)
    port: int = DEFAULT_PORT
    key_source: str = KEY_SOURCES[0]
    key_format: str = "sec1"
    key_type: str = "p256"
    suite: Suite = Suite.MAC
    max_frame: int = DEFAULT_MAX_FRAME
    limit: int = TO_THE_END
    max_wait_s: int = 120
    extras: tuple[str, ...] | None = None
    renew: bool = False
    attempts: int = 1
    retry: bool = False
    backoff_s: float = 1.0
    timeout_s: float = 30.0
    slow: int | None = None
    cut_after: int | None = None
    tls: bool = False
    ca: Path | None = None
    tls_unchecked: bool = False

    def __post_init__(self) -> None:
        _need(_SERIAL.fullmatch(self.serial), f"--serial is 1 to {MAX_SERIAL} of A-Z a-z 0-9 : _ . -")
        smallest = MIN_MAX_FRAME[self.suite]
        sound_token = not self.token or MIN_TOKEN <= len(self.token) <= MAX_TOKEN
        _need(sound_token, f"a token is {MIN_TOKEN} to {MAX_TOKEN} bytes")
        _need(self.key_source in KEY_SOURCES, f"--key-source is one of {', '.join(KEY_SOURCES)}")
        _need(self.key_format in KEY_FORMATS, f"--key-format is one of {', '.join(KEY_FORMATS)}")
        _need(self.key_type in KEY_TYPES, f"--key-type is one of {', '.join(KEY_TYPES)}")
        _need(set(self.extras or ()) <= EXTRAS.keys(), f"--want takes {', '.join(EXTRAS)}, or none")
        _range("--port", self.port, 1, _MAX_U16)
        _range(f"--max-frame in suite {self.suite_name}", self.max_frame, smallest, MAX_MAX_FRAME)
        _range("--limit", self.limit, 1, TO_THE_END)
        _range("--max-wait", self.max_wait_s, 0, _MAX_U16)
        _need(self.tls or not (self.ca or self.tls_unchecked), "--ca needs --tls")
        _need(self.attempts >= 1, "--attempts is at least 1")
        _need(self.slow is None or self.slow >= 1, "--slow is at least 1 byte per second")
        _need(self.cut_after is None or self.cut_after >= 0, "--cut-after is 0 bytes or more")
        _need(self.timeout_s > 0 and self.backoff_s >= 0, "--timeout and --backoff are numbers of seconds")

    @property
    def suite_name(self) -> str:
        """`mac` or `noise`."""
        return self.suite.name.lower()

    @property
    def makes_key(self) -> bool:
        """Whether the key is the device's own, so that a CSR goes up and no key comes down."""
        return self.key_source == DEVICE_CSR

    @property
    def want(self) -> int:
        """The bits of PROOF's `want`."""
        extras = self.extras
        if extras is None:
            extras = tuple(EXTRAS) if self.token else _UNPROVEN_EXTRAS
        key = () if self.makes_key else (KEY_FORMATS[self.key_format],)
        return want_of([Kind.CERTIFICATE, *key, *(EXTRAS[name] for name in extras)])


def read_token(path: Path) -> bytes:
    """The token in a file: hex, white space around it ignored. No error repeats what the file holds."""
    try:
        token = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except OSError as error:
        raise OptionError(f"cannot read the token file {path}: {error.strerror}") from error
    except ValueError:
        # `from None`: the error of fromhex or of the decoder could carry the text.
        raise OptionError(f"the token file {path} must hold the token in hex, on one line") from None
    if not token:
        raise OptionError(f"the token file {path} is empty; for a product without tokens leave --token-file out")
    return token


def _need(holds: object, message: str) -> None:
    if not holds:
        raise OptionError(message)


def _range(name: str, value: int, least: int, most: int) -> None:
    _need(least <= value <= most, f"{name} is {least} to {most}, not {value}")

"""The C library as a process: a device whose line, flash and clock are this file's."""

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from random import Random
from typing import Literal

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

ByteOrder = Literal["little", "big"]
ROOT = Path(__file__).resolve().parents[3]
C = ROOT / "protocol" / "c"
STRICT = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wsign-compare", "-Werror", f"-I{C / 'include'}"]
BUILDS = {
    "plain": ["-Os"],
    "options": ["-Os", "-DCVM_CSR=1", "-DCVM_NONCE_COUNTERS=1", "-DCVM_TRUST_SERIAL=1", "-fsanitize=address,undefined"],
    "noise": ["-O1", "-g", "-DCVM_SUITE=CVM_SUITE_NOISE", "-DCVM_CSR=1", "-fsanitize=address,undefined"],
    "sanitized": ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
    "big-endian": ["-Os", "-static"],
    "big-endian-noise": ["-Os", "-static", "-DCVM_SUITE=CVM_SUITE_NOISE", "-DPRIMITIVES_OF_THE_TEST"],
}
BIG_ENDIAN_GCC, BIG_ENDIAN = "powerpc-linux-gnu-gcc", "qemu-ppc"
"""32 bits, as on a microcontroller; and what runs its programs."""
on_every_machine = pytest.mark.parametrize("driver", ["plain", "sanitized", "big-endian"], indirect=True)
on_both_machines = pytest.mark.parametrize("noise", ["noise", "big-endian-noise"], indirect=True)


class End(IntEnum):
    """enum cvm_status: how a session ends."""

    ACTIVE = 2
    KEEP = 3
    LINE = 4
    PEER = 5
    BUSY = 6
    RESTART = 7
    FORGET = 8
    REPORT = 9
    MEND = 10
    NO_ROOM = 11
    BROKEN = 12
    MISUSE = 13


def compiled(directory: Path, build: str, instead: Path | None = None) -> Path:
    """The driver, with the whole library. `instead` takes the place of the source of that name."""
    made = directory / f"driver-{build}"
    sources = [Path(__file__).with_name("driver.c"), *sorted((C / "src").glob("*.c"))]
    sources = [instead if instead and each.name == instead.name else each for each in sources]
    wanted = [
        BIG_ENDIAN_GCC if build.startswith("big-endian") else "gcc",
        *STRICT,
        "-D_GNU_SOURCE",
        f"-I{C / 'src'}",
        *BUILDS[build],
        *map(str, sources),
        "-o",
        str(made),
    ]
    wanted += ["-lmbedcrypto"] if build == "noise" else []  # X25519 and ChaCha20-Poly1305, as a port would bind them
    done = subprocess.run(wanted, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return made


def plain(data: bytes) -> str:
    return data.hex() or "."


def raw(text: str) -> bytes:
    return b"" if text == "." else bytes.fromhex(text)


class Driver:
    """The process, and one question at a time to it."""

    def __init__(self, program: Path, plain: bool, under: Sequence[str] = (), order: ByteOrder = sys.byteorder) -> None:
        """`under`: the emulator or checker that runs it; `order`: of the part's own integers."""
        self.plain, self.order = plain, order
        self.process = subprocess.Popen([*under, program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def close(self) -> int:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.stdout.close()
        return self.process.wait(10)

    def ask(self, *words: object, answer: Callable[[list[str]], object] | None = None) -> list[str]:
        """The words after `end`; what is asked before is answered by `answer`."""
        self._say(" ".join(plain(word) if isinstance(word, bytes) else str(word) for word in words))
        while (said := self._hear())[0] != "end":
            assert answer, said
            reply = answer(said)
            self._say(plain(reply) if isinstance(reply, bytes) else str(reply))
        return said[1:]

    def digest(self, *words: object) -> bytes:
        return raw(self.ask(*words)[0])

    def _say(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def _hear(self) -> list[str]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, "the driver has died"
        return line.split()


@dataclass
class Flash:
    """What survives a reset. `page` bytes are erased when the first of them is written."""

    data: bytearray = field(default_factory=lambda: bytearray(b"\xff" * 65536))
    record: bytes = b""
    safe: int = 0
    writes: int = 0
    failing: bool = False
    order: ByteOrder = sys.byteorder

    def store(self, offset: int, data: bytes) -> int:
        if self.failing:
            return -1
        self.data[offset : offset + len(data)] = data
        return 0

    @property
    def total(self) -> int:
        return int.from_bytes(self.record[:2], self.order)

    @property
    def stored(self) -> int:
        return int.from_bytes(self.record[2:4], self.order)


@dataclass
class Settings:
    """struct cvm_device."""

    serial: bytes = b"EXAMPLE-0001"
    token: bytes = bytes(range(32))
    max_frame: int = 512
    want: int = 0b110
    limit: int = 65535
    room: int = 65535
    max_wait_s: int = 60
    have: bytes = b""
    renew: bool = False
    boot: int = 0
    csr: bytes = b""


@dataclass
class Result:
    """How a session ended, and what the structure says then."""

    end: End
    refusal: int
    stage: int
    retry_s: int
    detail: int
    time: int
    connect_after_s: int
    failures: int
    pause_ms: int
    after: int


class CDevice:
    """A device: `talk(bytes)` gives what the peer says to them; None: the line is gone from now on."""

    def __init__(self, driver: Driver, settings: Settings, flash: Flash, seed: object = 0) -> None:
        self.driver, self.settings, self.flash = driver, settings, flash
        flash.order = driver.order
        self.random = Random(f"device {seed}")
        self.nonce: bytes | None = None
        self.now_ms = 2**32 - 5000
        self.idle_ms = 1000
        self.takes = 65536
        self.accepted: list[bytes] = []
        self.said, self.to_hear = b"", b""
        self.lost = False
        s = settings
        driver.ask(
            "init", s.serial, s.token, s.max_frame, s.want, s.limit, s.room, s.max_wait_s, s.have, int(s.renew),
            flash.record, s.boot, s.csr,
        )  # fmt: skip

    def run(self, talk: Callable[[bytes], bytes | None]) -> Result:
        """One session, to its end."""
        self.talk, self.said, self.to_hear, self.lost = talk, b"", b"", False
        words = list(map(int, self.driver.ask("run", answer=self.answer)))
        return Result(End(words[0]), *words[1:])

    def objects(self, scratch: int = 16) -> dict[int, bytes]:
        """What cvm_objects finds."""
        found: dict[int, bytes] = {}

        def take(said: list[str]) -> object:
            if said[0] != "object":
                return self.answer(said)
            kind, offset, data = int(said[1]), int(said[2]), raw(said[4])
            assert offset == len(found.get(kind, b""))
            found[kind] = found.get(kind, b"") + data
            return 0

        assert self.driver.ask("objects", self.flash.record, b"\0" * scratch, answer=take) == ["0"]
        return found

    def answer(self, said: list[str]) -> object:
        """What a callback returns."""
        return getattr(self, f"on_{said[0]}")(*said[1:])

    def on_now(self) -> int:
        return self.now_ms % 2**32

    def on_later(self) -> int:
        self.now_ms += self.idle_ms
        return 0

    def on_random(self, size: str) -> object:
        return self.nonce or self.random.randbytes(int(size))

    def on_send(self, data: str) -> int:
        taken = raw(data)[: self.takes]
        self.said += taken
        self._hear(self.talk(taken))
        return -1 if self.lost and not self.to_hear else len(taken)

    def on_receive(self, size: str) -> object:
        if not self.to_hear and self.lost:
            return "lost"
        if not self.to_hear:
            self._hear(self.talk(b""))
        data, self.to_hear = self.to_hear[: int(size)], self.to_hear[int(size) :]
        return data

    def _hear(self, heard: bytes | None) -> None:
        self.lost = self.lost or heard is None
        self.to_hear += heard or b""

    def on_x25519(self, secret: str, point: str) -> bytes:
        key = X25519PrivateKey.from_private_bytes(raw(secret))
        if point == ".":
            return key.public_key().public_bytes_raw()
        return key.exchange(X25519PublicKey.from_public_bytes(raw(point)))

    def on_seal(self, key: str, nonce: str, ad: str, text: str) -> bytes:
        return ChaCha20Poly1305(raw(key)).encrypt(raw(nonce), raw(text), raw(ad))

    def on_open(self, key: str, nonce: str, ad: str, text: str, tag: str) -> object:
        try:
            opened = ChaCha20Poly1305(raw(key)).decrypt(raw(nonce), raw(text) + raw(tag), raw(ad))
        except InvalidTag:
            return -1
        return opened or 0

    def on_store(self, offset: str, data: str) -> int:
        return self.flash.store(int(offset), raw(data))

    def on_load(self, offset: str, size: str) -> bytes:
        return bytes(self.flash.data[int(offset) : int(offset) + int(size)])

    def on_remember(self, record: str) -> int:
        self.flash.writes += 1
        self.flash.record = raw(record)
        return 0

    def on_accept(self, digest: str) -> int:
        self.accepted.append(raw(digest))
        return 0


def frames(stream: bytes) -> Iterator[bytes]:
    """The whole frames in these bytes."""
    while len(stream) >= 3 and len(stream) >= (size := 3 + int.from_bytes(stream[:2], "big")):
        yield stream[:size]
        stream = stream[size:]

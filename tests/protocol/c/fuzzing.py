"""libFuzzer on the C client, with the Python session as oracle: how it is built, what it begins with, how it runs."""

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cdevice import STRICT, C
from oracle import PARTIAL_STORED, PARTIAL_TOTAL, Setting, answer_all

from protocol.constants import MessageType, Status

FUZZ = Path(__file__).with_name("fuzz")
SANITIZED = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
BUILD = [
    "clang",
    *STRICT,
    *SANITIZED,
    f"-I{C / 'src'}",
    f"-I{FUZZ}",
    '-DCVM_SHA256_HEADER="no_sha256.h"',
    "-DCVM_CSR=1",
]
SOURCES = [*sorted(set((C / "src").glob("*.c")) - {C / "src" / "cvm_mac.c"}), FUZZ / "fuzz.c"]
S = Setting


def frame(message_type: MessageType, body: bytes) -> bytes:
    """A piece of an input."""
    return bytes([message_type, len(body)]) + body


def data(content: bytes, limit: int, begin: int = 0) -> bytes:
    return b"".join(
        frame(MessageType.DATA, at.to_bytes(2, "big") + content[at : at + limit])
        for at in range(begin, len(content), limit)
    )


def manifest(total: int, bundle_id: bytes = bytes(16)) -> bytes:
    return frame(MessageType.MANIFEST, bundle_id + total.to_bytes(2, "big"))


def refuse(status: int, retry_s: int = 7) -> bytes:
    return bytes([status, 2]) + retry_s.to_bytes(4, "big") + b"\0\5"


def seeds() -> Iterator[bytes]:
    """A session of each kind."""
    bundle = b"\1\0\x50" + bytes(80) + b"\2\0\x1e" + bytes(30) + b"\6\0\5thing"
    long = b"\1\2\0" + bytes(512) + b"\2\0\x3d" + bytes(61) + b"\6\0\x12" + bytes(18)
    assert len(long) == PARTIAL_TOTAL
    done = frame(MessageType.DONE, b"\x6b\x49\xd2\0\0\5")
    wait = frame(MessageType.WAIT, b"\0\3")
    whole = data(bundle, 100)
    for settings in (S(0), S.TRICKLE, S.NO_TOKEN, S.HAVE | S.RENEW):
        yield bytes([settings | S.CHALLENGED]) + wait + manifest(len(bundle)) + whole + wait + done
    pull = S.PULL | S.SMALL_FRAME | S.CHALLENGED
    yield bytes([pull]) + manifest(len(bundle)) + data(bundle, 27) + done
    yield bytes([pull | S.TRICKLE]) + wait + manifest(len(long)) + data(long, 27) + wait + done
    yield bytes([pull | S.PARTIAL]) + manifest(len(long)) + data(long, 27, PARTIAL_STORED) + done
    yield bytes([S.PARTIAL | S.CHALLENGED]) + manifest(len(bundle)) + whole + done
    yield bytes([S.PARTIAL | S.CHALLENGED]) + manifest(len(long)) + data(long, 200, PARTIAL_STORED) + done
    yield bytes([S.HAVE | S.CHALLENGED]) + done
    yield bytes([S.CHALLENGED]) + done
    yield bytes([S.CHALLENGED]) + manifest(2001)
    yield bytes([S.CHALLENGED]) + manifest(0) + done
    yield bytes([S.CHALLENGED]) + manifest(50) + data(bytes(51), 100) + done
    yield bytes([S.CHALLENGED]) + manifest(250) + data(bytes(260), 130) + done
    yield bytes([S.CHALLENGED]) + manifest(50) + data(bytes(51), 30, 1) + done
    yield bytes([S.CHALLENGED]) + manifest(len(bundle), b"x" * 16) + whole
    yield bytes([S.CHALLENGED]) + manifest(len(bundle)) + manifest(len(bundle)) + whole + done
    yield bytes([S.CHALLENGED]) + wait + frame(MessageType.CLEAR_REFUSE, b"\x11" * 16 + refuse(Status.BUSY))
    for damaged in (bundle[:-1], bundle[:83], b"\2\0\1x\1\0\1x", b"\1\0\0\2\0\1x", b"\1\0\1x\2\0\1x\2\0\1x"):
        yield bytes([S.CHALLENGED]) + manifest(len(damaged)) + data(damaged, 100) + done
    for status in (*Status, 0x00, 0x1F, 0x2F, 0x3F, 0x4F, 0x50, 0xFF):
        tagged = frame(MessageType.REFUSE, refuse(status, 90_000))
        yield bytes([S.CHALLENGED]) + tagged
        yield bytes([S.CHALLENGED | S.HAVE]) + tagged
        yield bytes([S.CHALLENGED]) + manifest(len(bundle)) + whole + tagged
        yield bytes([S.CHALLENGED]) + frame(MessageType.CLEAR_REFUSE, b"\x11" * 16 + refuse(status, 4000))
        yield bytes([S.CHALLENGED]) + manifest(9) + frame(MessageType.CLEAR_REFUSE, b"\x11" * 16 + refuse(status))
    challenge = b"\0\x22\x41" + b"\x11" * 16 + bytes(18)
    yield bytes([0, 0, 30]) + challenge[:30] + b"\0\x25" + challenge + manifest(len(bundle)) + whole + done
    yield bytes([0, 0, 37]) + challenge[:-1] + b"\1" + manifest(len(bundle))
    yield bytes([0, 0, 28]) + b"\0\x19\x42" + b"\x11" * 16 + refuse(Status.AUTH) + b"\0"
    for short in range(20):  # no room for a tag
        yield bytes([S.CHALLENGED, 0, 3 + short, 0, short]) + b"\xc4" + bytes(short) + done
    for message_type in MessageType:
        for size in (0, 1, 2, 5, 6, 7, 8, 9, 18, 19, 24, 25, 31, 255):
            yield bytes([S.CHALLENGED | S.SMALL_FRAME]) + frame(message_type, bytes(size)) + done
            yield bytes([pull | S.HAVE]) + manifest(600) + frame(message_type, bytes(size)) + done


@dataclass
class Fuzzer:
    """The program, with its corpus. `run` gives what it printed where it found something, else None."""

    program: Path
    corpus: Path
    judged: int = 0

    def run(self, *options: str, timeout_s: float = 100) -> str | None:
        ours, theirs = socket.socketpair()
        counted: list[int] = []
        oracle = threading.Thread(target=lambda: counted.append(answer_all(ours)))
        oracle.start()
        with theirs:
            command = [self.program, self.corpus, "-max_len=4096", "-print_final_stats=0", "-verbosity=0", *options]
            environment = {**os.environ, "CVM_ORACLE": str(theirs.fileno())}
            done = subprocess.run(
                command, cwd=self.program.parent, pass_fds=[theirs.fileno()], timeout=timeout_s,
                env=environment, capture_output=True, text=True, errors="replace",
            )  # fmt: skip
        oracle.join()
        self.judged = counted[0]
        return done.stderr[-3000:] if done.returncode else None


def compiled(source: Path, made: Path) -> Path:
    more = ["-fsanitize=fuzzer-no-link"]
    done = subprocess.run([*BUILD, *more, "-c", str(source), "-o", str(made)], capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return made


def linked(objects: list[Path], made: Path) -> Fuzzer:
    subprocess.run(["clang", *SANITIZED, "-fsanitize=fuzzer", *map(str, objects), "-o", str(made)], check=True)
    corpus = made.parent / "corpus"
    corpus.mkdir(exist_ok=True)
    for number, seed in enumerate(seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    return Fuzzer(made, corpus)


def objects_of(directory: Path) -> dict[str, Path]:
    """The parts of the fuzzer, compiled, by the source's name."""
    with ThreadPoolExecutor(2) as pool:
        made = pool.map(lambda source: compiled(source, directory / f"{source.stem}.o"), SOURCES)
        return {source.name: each for source, each in zip(SOURCES, made, strict=True)}

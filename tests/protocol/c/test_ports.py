"""The UART's ring and the modem's commands, byte by byte, on a clock of the test's. As a whole: test_cvm_modem.py."""

import ctypes
import subprocess
from collections.abc import Callable

import pytest
from cdevice import STRICT, C

RING = 64


class Uart(ctypes.Structure):
    """struct cvm_uart."""

    _fields_ = [(name, ctypes.c_uint8) for name in ("put", "dropped", "taken", "forgiven")]
    _fields_ += [("bytes", ctypes.c_uint8 * RING)]


WRITE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
NOW = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_void_p)


class Modem(ctypes.Structure):
    """struct cvm_modem, and what must not be written behind it."""

    _fields_ = [
        ("commands", ctypes.c_void_p), ("host", ctypes.c_char_p), ("port", ctypes.c_uint16), ("write", WRITE),
        ("now_ms", NOW), ("user", ctypes.c_void_p), ("uart", Uart), ("step", ctypes.c_void_p),
        ("since_ms", ctypes.c_uint32), ("left", ctypes.c_uint16), ("promised", ctypes.c_uint16),
        ("state", ctypes.c_uint8), ("tries", ctypes.c_uint8), ("answered", ctypes.c_bool),
        ("readable", ctypes.c_bool), ("hung_up", ctypes.c_bool), ("filled", ctypes.c_uint8),
        ("line", ctypes.c_char * 24), ("guard", ctypes.c_uint8 * 32),
    ]  # fmt: skip


@pytest.fixture(scope="session")
def ports(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    made = tmp_path_factory.mktemp("ports") / "ports.so"
    sources = [*(C / "ports" / "uart").glob("*.c"), *(C / "ports" / "modem").glob("*.c")]
    includes = [f"-I{C / 'ports' / each}" for each in ("uart", "modem")]
    command = ["gcc", *STRICT, *includes, "-O1", "-g", "-fsanitize=undefined", "-fno-sanitize-recover=all", "-shared"]
    subprocess.run([*command, "-fPIC", *map(str, sources), "-o", str(made)], check=True)
    return ctypes.CDLL(str(made))


class Board:
    """A modem's port, and the modem's end of its UART: `says` puts bytes, `told` is what it was told."""

    def __init__(self, ports: ctypes.CDLL, family: str) -> None:
        self.ports, self.told, self.now_ms = ports, b"", 2**32 - 1000
        self.modem = Modem()
        self.modem.commands = ctypes.addressof(ctypes.c_char.in_dll(ports, f"cvm_modem_{family}"))
        self.modem.host, self.modem.port = b"192.0.2.1", 7433
        self.modem.write, self.modem.now_ms = WRITE(self._write), NOW(lambda user: self.now_ms % 2**32)

    def _write(self, user: int, data: int, size: int) -> None:
        self.told += ctypes.string_at(data, size)

    def says(self, data: bytes) -> None:
        for byte in data:
            self.ports.cvm_uart_put(ctypes.byref(self.modem.uart), byte)

    def hears(self) -> bytes:
        told, self.told = self.told, b""
        assert not any(self.modem.guard)
        return told

    def connect(self) -> int:
        return int(self.ports.cvm_modem_connect(ctypes.byref(self.modem)))

    def send(self, data: bytes) -> int:
        return int(self.ports.cvm_modem_send(ctypes.byref(self.modem), data, ctypes.c_size_t(len(data))))

    def receive(self, size: int) -> bytes | None:
        room = ctypes.create_string_buffer(size)
        got = self.ports.cvm_modem_receive(ctypes.byref(self.modem), room, ctypes.c_size_t(size))
        return None if got < 0 else room.raw[:got]

    def connected(self) -> "Board":
        assert self.connect() == 0
        for answer in (b"OK", b"\r\nOK\r\n", b"\r\nOK\r\n", b"\r\nERROR\r\n", b"\r\nOK\r\n"):
            self.now_ms += 300
            self.says(b"\r\n" + answer + b"\r\n")
            assert self.connect() == 0
        self.now_ms += 300
        assert self.connect() == 0
        self.says(b"\r\nOK\r\n\r\nCONNECT OK\r\n\r\n+QIOPEN: 0,0\r\n")
        assert self.connect() == 1
        self.told = b""
        return self


@pytest.fixture
def sim800(ports: ctypes.CDLL) -> Board:
    return Board(ports, "sim800").connected()


def test_the_ring_holds_what_it_can_and_tells_of_the_rest(ports: ctypes.CDLL) -> None:
    uart, room = Uart(), ctypes.create_string_buffer(300)

    def taken(size: int) -> bytes | None:
        got = ports.cvm_uart_receive(ctypes.byref(uart), room, ctypes.c_size_t(size))
        return None if got < 0 else room.raw[:got]

    for start in range(300):  # at any place of the ring
        for byte in range(RING):
            ports.cvm_uart_put(ctypes.byref(uart), byte)
        assert taken(start % 5) == bytes(range(start % 5))
        assert taken(300) == bytes(range(start % 5, RING))
        assert taken(300) == b""
        ports.cvm_uart_put(ctypes.byref(uart), 1)
        assert taken(300) == b"\1"
    for more in (1, 255, 256, 257, 600):
        for _ in range(RING + more):
            ports.cvm_uart_put(ctypes.byref(uart), 7)
        assert taken(300) is None
        assert taken(300) is None, "until the next connection"
        ports.cvm_uart_open(ctypes.byref(uart))
        assert taken(300) == b""
    ports.cvm_uart_put(ctypes.byref(uart), 9)
    assert taken(300) == b"\x09"


def test_a_modem_that_is_silent_is_given_up(ports: ctypes.CDLL) -> None:
    board = Board(ports, "bg96")
    said = 0
    while board.connect() == 0:
        board.now_ms += 100
        said += board.hears().count(b"AT\r")
    assert said == 30
    assert board.connect() == 0, "and sought anew by the next session"


def test_commands_are_as_the_maker_has_them(ports: ctypes.CDLL) -> None:
    board = Board(ports, "bg96")
    told = []
    answers = iter([b"", b"\r\nRDY\r\n\r\nOK\r\n", b"ATE0\r\r\nOK\r\n", b"\r\n+CME ERROR: 3\r\n", b"\r\nOK\r\n"])
    for answer in answers:
        assert board.connect() == 0
        told.append(board.hears())
        board.says(answer)
        board.now_ms += 300
        assert board.connect() == 0
        told.append(board.hears())
    assert [each for each in told if each] == [
        b"AT\r", b"AT\r", b"ATE0\r", b"AT+QICLOSE=0\r", b'AT+QIOPEN=1,0,"TCP","192.0.2.1",7433,0,0\r',
    ]  # fmt: skip
    board.says(b"\r\n+QIOPEN: 0,0\r\n")
    assert board.connect() == 1
    board.ports.cvm_modem_disconnect(ctypes.byref(board.modem))
    assert board.hears() == b"AT+QICLOSE=0\r"


@pytest.mark.parametrize("answer", [b"\r\n+QIOPEN: 0,566\r\n", b"\r\nERROR\r\n", b"", b"x" * 65])
def test_a_connection_that_does_not_stand(ports: ctypes.CDLL, answer: bytes) -> None:
    """It is refused, or nothing is said for long, or the ring was too small for what was."""
    board = Board(ports, "bg96")
    while b"QIOPEN" not in board.told:
        board.connect()
        board.says(b"\r\nOK\r\n" if board.told.endswith(b"\r") else b"")
        board.now_ms += 300
    board.says(answer)
    if not answer:
        assert board.connect() == 0
        board.now_ms += 75_000
    assert board.connect() < 0


def test_set_up_goes_on_where_a_command_is_not_answered(ports: ctypes.CDLL) -> None:
    board = Board(ports, "sim800")
    board.connect()
    board.says(b"\r\nOK\r\n")
    for _ in range(4):
        board.now_ms += 10_000
        board.connect()
    assert board.hears().endswith(b'AT+CIPRXGET=1\rAT+CIPSTART="TCP","192.0.2.1","7433"\r')


def byte_by_byte(board: Board, said: bytes, act: Callable[[], object]) -> list[object]:
    """What each step gives."""
    results = []
    for byte in said:
        board.says(bytes([byte]))
        results.append(act())
    return results


def test_a_piece_is_sent_at_the_prompt_and_no_sooner(sim800: Board) -> None:
    sim800.says(b"\r\n> a line of its own\r\n")
    assert sim800.send(b"x" * 100) == 0
    assert sim800.hears() == b"AT+CIPSEND=64\r"
    said = b'\r\n+CREG: 1\r\n\r\n+CUSD: 0,"> "\r\n\r\n> '
    results = byte_by_byte(sim800, said, lambda: sim800.send(b"x" * 100))
    assert [each for each in results if each] == [64]
    assert results.index(64) == len(said) - 2
    assert sim800.hears() == b"x" * 64
    assert set(byte_by_byte(sim800, b"\r\nRING\r\n\r\nSEND O", lambda: sim800.send(b"y" * 36))) == {0}
    assert sim800.hears() == b"", "one piece at a time"
    sim800.says(b"K\r\n")
    assert (sim800.send(b"y" * 36), sim800.hears()) == (0, b"AT+CIPSEND=36\r")
    sim800.says(b"\r\n> ")
    assert (sim800.send(b"y" * 35), sim800.hears()) == (-1, b""), "it was promised 36, and is told none"


@pytest.mark.parametrize("said", [b"\r\nERROR\r\n", b"\r\nCLOSED\r\n", b"\r\n+CME ERROR: 3\r\n", b"z" * 65])
def test_what_cannot_be_sent_ends_the_connection(sim800: Board, said: bytes) -> None:
    assert sim800.send(b"x") == 0
    sim800.says(said)
    assert sim800.send(b"x") == -1


DATA = b"\r\nOK\r\nCLOSED\r\n> A"
"""What is counted as data is no line."""


def test_data_are_what_was_announced_to_the_byte(sim800: Board) -> None:
    sim800.says(b"\r\n+CIPRXGET: 1\r\n")
    assert (sim800.receive(100), sim800.hears()) == (b"", b"AT+CIPRXGET=2,16\r")
    sim800.says(b"\r\n*PSUTTZ: a line that is longer than any that counts\r\n")
    assert sim800.receive(100) == b""
    said = b"\r\n+CIPRXGET: 2,16,0\r\n" + DATA[:16] + b"\r\nOK\r\n"
    results = byte_by_byte(sim800, said, lambda: sim800.receive(100))
    assert b"".join(map(bytes, results)) == DATA[:16]  # type: ignore[arg-type]  # bytes each
    assert sim800.hears() == b"AT+CIPRXGET=2,16\r", "until there is no more"
    sim800.says(b"\r\n+CIPRXGET: 2,0,0\r\n\r\nOK\r\n")
    assert (sim800.receive(100), sim800.hears()) == (b"", b"")
    sim800.now_ms += 1000
    assert (sim800.receive(100), sim800.hears()) == (b"", b"AT+CIPRXGET=2,16\r"), "though nothing was announced"


def test_what_came_before_the_server_hung_up_is_read(sim800: Board) -> None:
    sim800.says(b"\r\nCLOSED\r\n")
    assert (sim800.receive(100), sim800.hears()) == (b"", b"AT+CIPRXGET=2,16\r")
    sim800.says(b"\r\n+CIPRXGET: 2,3,0\r\nend\r\nOK\r\n")
    assert sim800.receive(100) == b"end"
    assert (sim800.receive(100), sim800.hears()) == (b"", b"AT+CIPRXGET=2,16\r")
    sim800.says(b"\r\nERROR\r\n")
    assert sim800.receive(100) is None
    assert sim800.send(b"x") == -1


def test_data_that_come_unasked(ports: ctypes.CDLL) -> None:
    board = Board(ports, "esp_at").connected()
    results = byte_by_byte(board, b"\r\n+IPD,16:" + DATA[:16] + b"\r\n+IPD,2:ab", lambda: board.receive(5))
    assert b"".join(map(bytes, results)) == DATA[:16] + b"ab"  # type: ignore[arg-type]  # bytes each
    board.says(b"\r\n+IPD,4:old")
    assert (board.send(b"x"), board.hears()) == (0, b"AT+CIPSEND=1\r"), "what comes while a request is sent is old"
    board.says(b"!\r\nOK\r\n> ")
    assert (board.send(b"x"), board.hears()) == (1, b"x")
    board.says(b"\r\nSEND OK\r\n\r\n+IPD,3:new\r\nCLOSED\r\n")
    assert (board.receive(9), board.receive(9)) == (b"new", None)

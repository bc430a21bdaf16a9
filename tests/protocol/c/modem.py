"""A modem on a socketpair: AT commands on one side, TCP on the other. And a transparent line, which knows none.

It says things unasked between any two lines, keeps bytes of an older connection, and can talk so much at once that a
small ring overflows. It was left by a device that was reset amid everything.
"""

from __future__ import annotations

import re
import selectors
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from types import TracebackType
from typing import Self

UNASKED = [
    b"+CREG: 1", b"RING", b"+CSQ: 17,99", b'+CMTI: "SM",3', b"OVER-VOLTAGE WARNNING", b"*PSUTTZ: 26,11,28,16,43",
    b'+CUSD: 0,"SEND OK CLOSED"', b"+CGEV: NW MODIFY", b'+QIURC: "recv",5', b"+CIPEVENT: NET 2,27",
]  # fmt: skip
"""Lines that nobody asked for; some look like what a device waits for."""


@dataclass(frozen=True)
class Family:
    """What a maker's modems understand, as patterns, and what they answer, as lines."""

    open: str
    opened: list[bytes]
    refused: list[bytes]
    send: str
    prompt: bytes
    sent: Callable[[int], list[bytes]]
    close: str
    closed: list[bytes]
    hung_up: bytes
    arrived: bytes = b""
    read: str = ""
    data: Callable[[int, int], bytes] = lambda count, left: b""


FAMILIES = {
    "sim800": Family(
        open=r'AT\+CIPSTART="TCP","([\d.]+)","(\d+)"',
        opened=[b"OK", b"CONNECT OK"],
        refused=[b"OK", b"STATE: TCP CLOSED", b"CONNECT FAIL"],
        send=r"AT\+CIPSEND=(\d+)",
        prompt=b"\r\n> ",
        sent=lambda count: [b"SEND OK"],
        close=r"AT\+CIPCLOSE=1",
        closed=[b"CLOSE OK"],
        hung_up=b"CLOSED",
        arrived=b"+CIPRXGET: 1",
        read=r"AT\+CIPRXGET=2,(\d+)",
        data=lambda count, left: b"+CIPRXGET: 2,%d,%d\r\n" % (count, left),
    ),
    "sim7600": Family(
        open=r'AT\+CIPOPEN=0,"TCP","([\d.]+)",(\d+)',
        opened=[b"OK", b"+CIPOPEN: 0,0"],
        refused=[b"OK", b"+CIPOPEN: 0,10"],
        send=r"AT\+CIPSEND=0,(\d+)",
        prompt=b"\r\n>",
        sent=lambda count: [b"OK", b"+CIPSEND: 0,%d,%d" % (count, count)],
        close=r"AT\+CIPCLOSE=0",
        closed=[b"OK", b"+CIPCLOSE: 0,0"],
        hung_up=b"+IPCLOSE: 0,1",
        arrived=b"+CIPRXGET: 1,0",
        read=r"AT\+CIPRXGET=2,0,(\d+)",
        data=lambda count, left: b"+CIPRXGET: 2,0,%d,%d\r\n" % (count, left),
    ),
    "bg96": Family(
        open=r'AT\+QIOPEN=1,0,"TCP","([\d.]+)",(\d+),0,0',
        opened=[b"OK", b"+QIOPEN: 0,0"],
        refused=[b"OK", b"+QIOPEN: 0,566"],
        send=r"AT\+QISEND=0,(\d+)",
        prompt=b"\r\n> ",
        sent=lambda count: [b"SEND OK"],
        close=r"AT\+QICLOSE=0",
        closed=[b"OK"],
        hung_up=b'+QIURC: "closed",0',
        arrived=b'+QIURC: "recv",0',
        read=r"AT\+QIRD=0,(\d+)",
        data=lambda count, left: b"+QIRD: %d\r\n" % count,
    ),
    "esp-at": Family(
        open=r'AT\+CIPSTART="TCP","([\d.]+)",(\d+)',
        opened=[b"CONNECT", b"OK"],
        refused=[b"CLOSED", b"ERROR"],
        send=r"AT\+CIPSEND=(\d+)",
        prompt=b"\r\nOK\r\n\r\n>",
        sent=lambda count: [b"Recv %d bytes" % count, b"SEND OK"],
        close=r"AT\+CIPCLOSE",
        closed=[b"CLOSED", b"OK"],
        hung_up=b"CLOSED",
        data=lambda count, left: b"+IPD,%d:" % count,
    ),
}


@dataclass
class Line:
    """What lies between a device's UART and the server. `port`: where a transparent line leads."""

    port: int = 0
    stale: bytes = b""
    """What an older connection left: it comes before anything of the next one."""
    server: socket.socket | None = None
    connections: int = 0

    def __post_init__(self) -> None:
        self.uart, self.device = socket.socketpair()
        self._stop, self._stopped = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self.uart, selectors.EVENT_READ)
        self._selector.register(self._stopped, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run)
        self.failed: Exception | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.close()
        self._thread.join()
        self.hang_up()
        for each in (self.uart, self.device, self._stopped):
            each.close()
        self._selector.close()
        assert self.failed is None, self.failed

    def _run(self) -> None:
        try:
            while True:
                for key, _ in self._selector.select():
                    if key.fileobj is self._stopped:
                        return
                    if key.fileobj is self.uart:
                        self.hear_device(self.uart.recv(4096))
                    elif key.fileobj is self.server:
                        self._hear_server()
        except Exception as error:
            self.failed = error

    def _hear_server(self) -> None:
        assert self.server
        try:
            data = self.server.recv(4096)
        except ConnectionError:
            data = b""
        if not data:
            self.hang_up()
        self.hear_server(data)

    def connect(self, host: str, port: int) -> bool:
        try:
            self.server = socket.create_connection((host, port))
        except OSError:
            return False
        self.connections += 1
        self._selector.register(self.server, selectors.EVENT_READ)
        return True

    def hang_up(self) -> None:
        if self.server:
            self._selector.unregister(self.server)
            self.server.close()
            self.server = None

    def hear_device(self, data: bytes) -> None:
        """A transparent line: what it leads to is called when the device says something."""
        if self.server or self.connect("127.0.0.1", self.port):
            assert self.server
            stale, self.stale = self.stale, b""
            self.uart.sendall(stale)
            self.server.sendall(data)

    def hear_server(self, data: bytes) -> None:
        """A transparent line."""
        self.uart.sendall(data)


@dataclass
class Modem(Line):
    """One that takes commands. `floods`: behind which answers with data comes more at once than a ring holds."""

    family: str = "sim800"
    floods: tuple[int, ...] = ()
    seed: int = 0
    unasked: float = 0.3
    chunk: int = 48
    """Of data that come unasked, so many at a time."""
    prompting: int = 0
    """Bytes that are due after the prompt."""
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._random = Random(f"modem {self.seed}")
        self._how = FAMILIES[self.family]
        self._heard = self._received = b""
        self._answers = 0
        self._echo = True

    def left_by_a_reset(self, port: int) -> None:
        """The older connection stands, half an answer has gone out, and the modem waits for bytes to send."""
        assert self.connect("127.0.0.1", port)
        self.uart.sendall(b"\r\n" + self._how.data(24, 100) + b"\0\x01OK\r\nclosed")
        self.prompting = 20

    def _say(self, *lines: bytes, before: bytes = b"") -> None:
        said = before
        for line in lines:
            if self._random.random() < self.unasked:
                said += b"\r\n" + self._random.choice(UNASKED) + b"\r\n"
            said += b"\r\n" + line + b"\r\n"
        self.uart.sendall(said)

    def hear_device(self, data: bytes) -> None:
        self._heard += data
        while self._heard:
            if self.prompting:
                if len(self._heard) < self.prompting:
                    return
                self._send()
                continue
            command, end, rest = self._heard.partition(b"\r")
            if not end:
                return
            self._heard = rest
            self._obey(command.decode())

    def _send(self) -> None:
        count, self.prompting = self.prompting, 0
        data, self._heard = self._heard[:count], self._heard[count:]
        try:
            if self.server:
                self.server.sendall(data)
        except OSError:
            self.hang_up()
        self._say(*(self._how.sent(count) if self.server else [b"ERROR"]))

    def _obey(self, command: str) -> None:
        self.asked.append(command)
        how = self._how
        echo = command.encode() + b"\r" if self._echo else b""
        if found := re.fullmatch(how.open, command):
            self._received = b""
            stands = not self.server and self.connect(found[1], int(found[2]))
            self._say(*(how.opened if stands else how.refused), before=echo)
            if stands:
                stale, self.stale = self.stale, b""
                if stale:
                    self.hear_server(stale)
        elif (found := re.fullmatch(how.send, command)) and self.server:
            self.prompting = int(found[1])
            self.uart.sendall(how.prompt)
        elif found := how.read and re.fullmatch(how.read, command):
            self._read(int(found[1]))
        elif re.fullmatch(how.close, command):
            self._say(*(how.closed if self.server else [b"ERROR"]), before=echo)
            self.hang_up()
        elif command == "ATE0":
            self._echo = False
            self._say(b"OK", before=echo)
        else:
            known = command in ("AT", "AT+CIPRXGET=1", "AT+CIPMUX=0", "AT+CIPMODE=0")
            self._say(b"OK" if known else b"ERROR", before=echo)

    def _data(self, data: bytes, left: int) -> bytes:
        """An announcement and its data; now and then with a flood behind it, at once."""
        self._answers += 1
        flood = b"\r\n+CGREG: 2\r\n" * 16 if self._answers in self.floods else b""
        return b"\r\n" + self._how.data(len(data), left) + data + flood

    def _read(self, most: int) -> None:
        data, self._received = self._received[:most], self._received[most:]
        self._say(b"OK", before=self._data(data, len(self._received)))

    def hear_server(self, data: bytes) -> None:
        if not data:
            self._say(self._how.hung_up)
        elif self._how.read:
            new = not self._received
            self._received += data
            if new:
                self._say(self._how.arrived)
        else:
            for at in range(0, len(data), self.chunk):
                self.uart.sendall(self._data(data[at : at + self.chunk], 0))

"""One end of a session played by hand, with the right keys and any frames; the other end is real."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from protocol import messages
from protocol.constants import HEADER_SIZE, MessageType, Status, Suite
from protocol.events import Ended, ProofRejected, ProtocolFailed
from protocol.framing import clear_frame
from protocol.messages import Challenge, Hello, Manifest, Message, Proof
from protocol.server import ServerSession
from protocol.session import Protection, protect
from tools.generate.example import Example, Step, answer, frames, go_on, start

ALL: Final = Proof(0, 0b110, 0xFFFF)
"""PROOF for certificate and key, pushed."""
MANIFEST_ALONE: Final = replace(ALL, limit=0)


class ByHand:
    """What both have: `steps`, all that was said; `error`, what the real end made of it."""

    def __init__(self, example: Example) -> None:
        self.example = example
        self.steps: list[Step] = []
        self.error: Status | None = None
        self.protection: Protection | None = None

    def take_keys(self, device: bool) -> None:
        """The keys of the HELLO and CHALLENGE that were said last."""
        hello, challenge = self.steps[-2].frame, self.steps[-1].frame
        ephemeral = self.example.device_ephemeral if device else self.example.server_ephemeral
        suite, token = self.example.suite, self.example.token
        self.protection = protect(suite, token, hello, challenge, ephemeral, device=device)

    def frame(self, message: Message) -> bytes:
        """The frame of any message, in or out of order."""
        return self.frame_of(messages.type_of(message), messages.encode(message))

    def frame_of(self, message_type: MessageType, body: bytes) -> bytes:
        """The frame of any body, also of one that does not parse."""
        if not message_type.protected:
            return clear_frame(message_type, body)
        assert self.protection, "keys come first"
        return self.protection.seal(message_type, body)


class Device(ByHand):
    """A device by hand; the server vends the example's bundle."""

    def __init__(self, example: Example) -> None:
        super().__init__(example)
        self.server = ServerSession(set(Suite))

    def say(self, frame: bytes) -> None:
        """Send this; the answer is opened, so that the counters go on."""
        self.steps.append(Step("device", frame))
        self.server.receive_data(frame)
        for event in answer(self.server, self.example):
            if isinstance(event, ProofRejected):
                self.server.send_auth_refusal()
                self.error = Status.AUTH
            elif isinstance(event, Ended):
                self.error = event.status
        for each in frames(self.server.data_to_send()):
            self.steps.append(Step("server", each))
            if self.protection and each[HEADER_SIZE - 1] & 0x80:
                self.protection.open(each)

    def hello(
        self,
        version: int = 1,
        nonce_c: bytes | None = None,
        suite: int | None = None,
        flags: int = 0,
        max_frame: int | None = None,
    ) -> None:
        """HELLO, of any version and with other fields than the example's; the keys, if CHALLENGE comes."""
        example = self.example
        suite = example.suite if suite is None else suite
        max_frame = example.max_frame if max_frame is None else max_frame
        hello = Hello(nonce_c or example.nonce_c, suite, max_frame, example.max_wait_s, example.serial, flags=flags)
        body = messages.encode(hello)
        self.protection = None
        self.say(clear_frame(MessageType.HELLO, body[:3] + bytes([version]) + body[4:]))
        if self.steps[-1].type is MessageType.CHALLENGE:
            self.take_keys(device=True)

    def ask(self, *requests: Message) -> None:
        """Requests, one after another."""
        for request in requests:
            self.say(self.frame(request))

    def reach_stream(self) -> None:
        """HELLO and PROOF; MANIFEST has come."""
        self.hello()
        self.ask(MANIFEST_ALONE)


class Server(ByHand):
    """A server by hand; the device wants certificate and key."""

    def __init__(self, example: Example) -> None:
        super().__init__(example)
        self.device = start(example)
        self._flash = bytearray()
        self._listen()

    def say(self, frame: bytes) -> None:
        """Send this; what the device says to it is opened."""
        self.steps.append(Step("server", frame))
        if frame[HEADER_SIZE - 1] == MessageType.CHALLENGE and not self.protection:
            self.take_keys(device=False)
        self.device.receive_data(frame)
        for event in go_on(self.device, self.example, self._flash):
            if isinstance(event, ProtocolFailed):
                self.error = event.error.status
        self._listen()

    def _listen(self) -> None:
        for frame in frames(self.device.data_to_send()):
            self.steps.append(Step("device", frame))
            if self.protection:
                self.protection.open(frame)

    def challenge(self, flags: int = 0) -> None:
        """CHALLENGE; the device answers with PROOF."""
        body = messages.encode(Challenge(self.example.nonce_c, self.example.nonce_s))
        self.say(clear_frame(MessageType.CHALLENGE, body[:-2] + flags.to_bytes(2, "big")))

    @property
    def manifest(self) -> Manifest:
        """MANIFEST of the example's bundle."""
        return Manifest(self.example.bundle.bundle_id, self.example.bundle.total)

    def reach_stream(self) -> None:
        """CHALLENGE and the right MANIFEST."""
        self.challenge()
        self.say(self.frame(self.manifest))


def flip(frame: bytes) -> bytes:
    """The frame with one bit of its last byte flipped."""
    return frame[:-1] + bytes([frame[-1] ^ 1])

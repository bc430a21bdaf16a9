"""What a device drops the connection for, and what it takes, of a server played by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from protocol import messages
from protocol.constants import MessageType, Stage, Status
from protocol.framing import clear_frame
from protocol.messages import Ack, ClearRefuse, Data, Done, Manifest, Refuse, Wait
from tools.generate.byhand import Server, flip
from tools.generate.example import MAC, NOISE, PULL48, Example

M = MessageType
Script = Callable[[Server], None]
CASES: Final[list[tuple[Script, Example]]] = []
"""In the order of the file: the function's name is the vector's id, its docstring the comment."""


def _case(example: Example) -> Callable[[Script], Script]:
    def add(script: Script) -> Script:
        CASES.append((script, example))
        return script

    return add


@_case(MAC)
def busy(server: Server) -> None:
    """a clear REFUSE after PROOF; its retry_s is clamped"""
    server.challenge()
    server.say(server.frame(ClearRefuse(MAC.nonce_c, Status.BUSY, Stage.PROOF, 0xFFFFFFFF)))


@_case(MAC)
def wait(server: Server) -> None:
    """WAIT: the device asks again"""
    server.challenge()
    server.say(server.frame(Wait(1)))


@_case(MAC)
def refuse_in_stream(server: Server) -> None:
    """a tagged REFUSE where DATA is due is obeyed"""
    server.reach_stream()
    server.say(server.frame(Refuse(Status.DRAINING, Stage.DELIVER, 5)))


@_case(MAC)
def challenge_flag(server: Server) -> None:
    """a reserved flag of CHALLENGE"""
    server.challenge(flags=1)


@_case(MAC)
def refuse_other_nonce(server: Server) -> None:
    """a clear REFUSE with another nonce"""
    server.challenge()
    server.say(server.frame(ClearRefuse(bytes(16), Status.BUSY, Stage.PROOF, 5)))


@_case(MAC)
def refuse_after_tagged(server: Server) -> None:
    """a clear REFUSE after a tagged frame"""
    server.reach_stream()
    server.say(server.frame(ClearRefuse(MAC.nonce_c, Status.BUSY, Stage.DELIVER, 5)))


@_case(MAC)
def manifest_flipped(server: Server) -> None:
    """a bit of the tag of MANIFEST"""
    server.challenge()
    server.say(flip(server.frame(server.manifest)))


@_case(NOISE)
def manifest_flipped_noise(server: Server) -> None:
    """a bit of the tag of MANIFEST"""
    server.challenge()
    server.say(flip(server.frame(server.manifest)))


@_case(MAC)
def manifest_empty(server: Server) -> None:
    """MANIFEST of no bytes"""
    server.challenge()
    server.say(server.frame(Manifest(bytes(16), 0)))


@_case(MAC)
def manifest_twice(server: Server) -> None:
    """MANIFEST again"""
    server.reach_stream()
    server.say(server.frame(server.manifest))


@_case(MAC)
def manifest_trailing(server: Server) -> None:
    """a byte after MANIFEST"""
    server.challenge()
    server.say(server.frame_of(M.MANIFEST, bytes(19)))


@_case(MAC)
def manifest_untagged(server: Server) -> None:
    """MANIFEST without a tag"""
    server.challenge()
    server.say(clear_frame(M.MANIFEST, messages.encode(server.manifest)))


@_case(MAC)
def wait_replayed(server: Server) -> None:
    """the same frame twice"""
    server.challenge()
    wait = server.frame(Wait(0))
    server.say(wait)
    server.say(wait)


@_case(MAC)
def reflected(server: Server) -> None:
    """the device's own PROOF comes back as the answer"""
    server.challenge()
    proof = server.steps[-1].frame
    server.say(proof[:2] + bytes([M.MANIFEST]) + proof[3:])


@_case(MAC)
def data_first(server: Server) -> None:
    """DATA before MANIFEST"""
    server.challenge()
    server.say(server.frame(Data(0, bytes(27))))


@_case(MAC)
def data_gap(server: Server) -> None:
    """DATA a byte too far on"""
    server.reach_stream()
    server.say(server.frame(Data(1, bytes(27))))


@_case(MAC)
def data_beyond(server: Server) -> None:
    """DATA beyond the end"""
    server.reach_stream()
    server.say(server.frame(Data(0, bytes(server.example.bundle.total + 1))))


@_case(MAC)
def data_empty(server: Server) -> None:
    """DATA of no bytes"""
    server.reach_stream()
    server.say(server.frame_of(M.DATA, bytes(2)))


@_case(MAC)
def done_first(server: Server) -> None:
    """DONE where DATA is due"""
    server.reach_stream()
    server.say(server.frame(Done(0, 0)))


@_case(PULL48)
def over_max_frame(server: Server) -> None:
    """a frame of 49 bytes"""
    server.reach_stream()
    server.say(server.frame(Data(0, bytes(28))))


@_case(MAC)
def type_of_the_device(server: Server) -> None:
    """a type that the device sends"""
    server.challenge()
    server.say(server.frame(Ack(bytes(32))))


@_case(MAC)
def unknown_type(server: Server) -> None:
    """a type that nobody sends"""
    server.challenge()
    server.say(clear_frame(0xC6, bytes(20)))


@_case(MAC)
def challenge_twice(server: Server) -> None:
    """CHALLENGE again"""
    server.challenge()
    server.say(server.steps[1].frame)

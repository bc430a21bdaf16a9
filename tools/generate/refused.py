"""What a server refuses, and what it takes, of a device played by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from protocol import messages
from protocol.constants import MessageType
from protocol.framing import clear_frame
from protocol.messages import Ack, Fetch
from tools.generate.byhand import ALL, Device, flip
from tools.generate.example import MAC, NOISE, NOISE56, Example

M = MessageType
Script = Callable[[Device], None]
CASES: Final[list[tuple[Script, Example]]] = []
"""In the order of the file: the function's name is the vector's id, its docstring the comment."""


def _case(example: Example) -> Callable[[Script], Script]:
    def add(script: Script) -> Script:
        CASES.append((script, example))
        return script

    return add


@_case(MAC)
def restart(device: Device) -> None:
    """HELLO in the middle of a session opens another"""
    device.reach_stream()
    device.hello(nonce_c=bytes(16))
    device.ask(ALL)


@_case(MAC)
def fetch_again(device: Device) -> None:
    """the same bytes twice, and a limit beyond the end"""
    device.reach_stream()
    device.ask(Fetch(0, 27), Fetch(0, 27), Fetch(100, 0xFFFF))


@_case(MAC)
def version(device: Device) -> None:
    """version 2"""
    device.hello(version=2)


@_case(MAC)
def suite(device: Device) -> None:
    """a suite that is not offered"""
    device.hello(suite=2)


@_case(MAC)
def flag(device: Device) -> None:
    """a reserved flag of HELLO"""
    device.hello(flags=0x80)


@_case(MAC)
def max_frame_47(device: Device) -> None:
    """max_frame a byte too small"""
    device.hello(max_frame=47)


@_case(NOISE)
def max_frame_55_noise(device: Device) -> None:
    """max_frame a byte too small for this suite"""
    device.hello(max_frame=55)


@_case(MAC)
def max_frame_1401(device: Device) -> None:
    """max_frame a byte too large"""
    device.hello(max_frame=1401)


@_case(MAC)
def suite_before_flag(device: Device) -> None:
    """of three faults the first in order is told"""
    device.hello(suite=2, flags=1, max_frame=1)


@_case(MAC)
def hellos(device: Device) -> None:
    """the 17th HELLO on a connection"""
    for number in range(17):
        device.hello(nonce_c=bytes([number]) * 16)


@_case(MAC)
def no_proof(device: Device) -> None:
    """FETCH where PROOF is due"""
    device.hello()
    device.ask(Fetch(0, 0))


@_case(MAC)
def unknown_type(device: Device) -> None:
    """a type that nobody sends"""
    device.hello()
    device.say(clear_frame(0x55, b""))


@_case(MAC)
def type_of_the_server(device: Device) -> None:
    """a type that the server sends"""
    device.hello()
    device.say(clear_frame(M.DONE, bytes(22)))


@_case(MAC)
def proof_over_cap(device: Device) -> None:
    """a PROOF longer than any"""
    device.hello()
    device.say(clear_frame(M.PROOF, bytes(5 + 32 + 2048 + 17)))


@_case(MAC)
def proof_flipped(device: Device) -> None:
    """a bit of the tag of PROOF"""
    device.hello()
    device.say(flip(device.frame(ALL)))


@_case(NOISE)
def proof_flipped_noise(device: Device) -> None:
    """a bit of the tag of PROOF"""
    device.hello()
    device.say(flip(device.frame(ALL)))


@_case(MAC)
def proof_untagged(device: Device) -> None:
    """a PROOF without a tag"""
    device.hello()
    device.say(clear_frame(M.PROOF, messages.encode(ALL)))


@_case(MAC)
def proof_flag(device: Device) -> None:
    """a reserved flag of PROOF"""
    device.hello()
    device.say(device.frame_of(M.PROOF, b"\x10\x00\x06\xff\xff"))


@_case(MAC)
def proof_want(device: Device) -> None:
    """want without the certificate"""
    device.hello()
    device.say(device.frame_of(M.PROOF, b"\x00\x00\x04\xff\xff"))


@_case(MAC)
def proof_trailing(device: Device) -> None:
    """a byte after PROOF"""
    device.hello()
    device.say(device.frame_of(M.PROOF, b"\x00\x00\x06\xff\xff\x00"))


@_case(NOISE)
def proof_short_noise(device: Device) -> None:
    """a PROOF cut by a byte"""
    device.hello()
    device.say(device.frame_of(M.PROOF, b"\x00\x00\x06\xff"))


@_case(NOISE56)
def proof_flag_noise_56(device: Device) -> None:
    """no room for a tagged refusal in the first frame: in clear"""
    device.hello()
    device.say(device.frame_of(M.PROOF, b"\x10\x00\x06\xff\xff"))


@_case(NOISE56)
def proof_want_noise_56(device: Device) -> None:
    """no room for a tagged refusal, and none in clear of this status: MALFORMED"""
    device.hello()
    device.say(device.frame_of(M.PROOF, b"\x00\x00\x04\xff\xff"))


@_case(MAC)
def proof_twice(device: Device) -> None:
    """PROOF after PROOF"""
    device.reach_stream()
    device.ask(ALL)


@_case(MAC)
def fetch_beyond(device: Device) -> None:
    """FETCH from the end"""
    device.reach_stream()
    device.ask(Fetch(device.example.bundle.total, 1))


@_case(MAC)
def fetch_nothing(device: Device) -> None:
    """FETCH of no bytes"""
    device.reach_stream()
    device.ask(Fetch(0, 0))


@_case(MAC)
def fetch_flipped(device: Device) -> None:
    """a bit of the tag of FETCH"""
    device.reach_stream()
    device.say(flip(device.frame(Fetch(0, 27))))


@_case(NOISE)
def fetch_flipped_noise(device: Device) -> None:
    """a bit of the tag of FETCH"""
    device.reach_stream()
    device.say(flip(device.frame(Fetch(0, 27))))


@_case(MAC)
def fetch_trailing(device: Device) -> None:
    """a byte after FETCH"""
    device.reach_stream()
    device.say(device.frame_of(M.FETCH, bytes(5)))


@_case(MAC)
def fetch_over_cap(device: Device) -> None:
    """a FETCH longer than any"""
    device.reach_stream()
    device.say(clear_frame(M.FETCH, bytes(21)))


@_case(MAC)
def fetch_replayed(device: Device) -> None:
    """the same frame twice"""
    device.reach_stream()
    fetch = device.frame(Fetch(0, 27))
    device.say(fetch)
    device.say(fetch)


@_case(MAC)
def fetch_after_ack(device: Device) -> None:
    """FETCH where the session is over: discarded"""
    device.reach_stream()
    device.ask(Ack(bytes(32)))
    device.ask(Fetch(0, 27))


@_case(NOISE)
def ack_short_noise(device: Device) -> None:
    """ACK cut by a byte"""
    device.reach_stream()
    device.say(device.frame_of(M.ACK, bytes(31)))


@_case(MAC)
def hello_cut(device: Device) -> None:
    """a HELLO without room for its nonce, in a session"""
    device.reach_stream()
    device.say(clear_frame(M.HELLO, b"CVM" + bytes(16)))

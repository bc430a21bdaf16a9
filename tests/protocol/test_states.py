"""The two tables as such, and that they fit each other."""

from protocol.constants import MessageType
from protocol.states import DEVICE, SERVER, DeviceState, ServerState, Signal


def test_every_state_has_its_row_and_can_be_reached() -> None:
    for states, table, first in (
        (ServerState, SERVER, ServerState.OPEN),
        (DeviceState, DEVICE, DeviceState.IDLE),
    ):
        assert set(table) == set(states)
        reached, new = {first}, {first}
        while new:
            new = {after for state in new for after in table[state].values()} - reached
            reached |= new
        assert reached == set(states)


def test_every_state_but_the_end_can_be_dropped_and_the_end_is_final() -> None:
    for table in (SERVER, DEVICE):
        for state, moves in table.items():
            assert (state.name == "END") == (not moves)
            assert not moves or moves[Signal.DROPPED].name == "END"


def test_hello_restarts_the_server_from_everywhere() -> None:
    assert all(moves[MessageType.HELLO] is ServerState.OPEN for moves in SERVER.values() if moves)


def test_a_session_ends_by_done_refuse_or_the_connection_alone() -> None:
    ends = {MessageType.DONE, MessageType.REFUSE, MessageType.CLEAR_REFUSE, Signal.DROPPED}
    for table in (SERVER, DEVICE):
        for moves in table.values():
            assert {cause for cause, after in moves.items() if after.name == "END"} <= ends


def test_each_end_takes_what_the_other_may_say() -> None:
    """What the server may send in a state, the device takes in the state of the same name."""
    for state in ("ASKED", "STREAM", "ACKED"):
        told = {cause for cause in SERVER[ServerState[state]] if getattr(cause, "from_server", False)}
        heard = {cause for cause in DEVICE[DeviceState[state]] if getattr(cause, "from_server", False)}
        assert told == heard

"""The order of messages: one table an end. A missing key is a protocol error; nothing else assigns a state.

SPEC.md's diagrams are generated from these tables. Whose turn it is to speak is not in them: see session.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

from protocol.constants import MessageType as M


class Signal(Enum):
    """What moves a state without being a message."""

    OPENED = "PROOF opened under the device's key"
    DROPPED = "the connection is over, or given up in silence"


class ServerState(Enum):
    """Where the server stands with one device."""

    OPEN = "waits for HELLO, or owes CHALLENGE"
    CHALLENGED = "waits for PROOF"
    KEYING = "holds PROOF unread until it is given the key"
    ASKED = "proof is good; no MANIFEST yet"
    STREAM = "MANIFEST is out"
    ACKED = "the device has acknowledged"
    END = "everything that comes is discarded"


class DeviceState(Enum):
    """Where the device stands."""

    IDLE = "nothing sent"
    HUNT = "HELLO is out; looks for its own nonce"
    CHALLENGED = "may send PROOF"
    ASKED = "PROOF is out; no MANIFEST yet"
    STREAM = "MANIFEST has come"
    ACKED = "ACK is out"
    END = "everything that comes is discarded"


Cause = M | Signal

_S = ServerState
SERVER: Final[Mapping[ServerState, Mapping[Cause, ServerState]]] = {
    _S.OPEN: {M.HELLO: _S.OPEN, M.CHALLENGE: _S.CHALLENGED, M.CLEAR_REFUSE: _S.END, Signal.DROPPED: _S.END},
    _S.CHALLENGED: {M.HELLO: _S.OPEN, M.PROOF: _S.KEYING, M.CLEAR_REFUSE: _S.END, Signal.DROPPED: _S.END},
    _S.KEYING: {M.HELLO: _S.OPEN, Signal.OPENED: _S.ASKED, M.CLEAR_REFUSE: _S.END, Signal.DROPPED: _S.END},
    _S.ASKED: {
        M.HELLO: _S.OPEN,
        M.FETCH: _S.ASKED,
        M.WAIT: _S.ASKED,
        M.MANIFEST: _S.STREAM,
        M.DONE: _S.END,
        M.REFUSE: _S.END,
        M.CLEAR_REFUSE: _S.END,
        Signal.DROPPED: _S.END,
    },
    _S.STREAM: {
        M.HELLO: _S.OPEN,
        M.FETCH: _S.STREAM,
        M.DATA: _S.STREAM,
        M.ACK: _S.ACKED,
        M.REFUSE: _S.END,
        Signal.DROPPED: _S.END,
    },
    _S.ACKED: {
        M.HELLO: _S.OPEN,
        M.ACK: _S.ACKED,
        M.WAIT: _S.ACKED,
        M.DONE: _S.END,
        M.REFUSE: _S.END,
        Signal.DROPPED: _S.END,
    },
    _S.END: {},
}

_D = DeviceState
DEVICE: Final[Mapping[DeviceState, Mapping[Cause, DeviceState]]] = {
    _D.IDLE: {M.HELLO: _D.HUNT, Signal.DROPPED: _D.END},
    _D.HUNT: {M.CHALLENGE: _D.CHALLENGED, M.CLEAR_REFUSE: _D.END, Signal.DROPPED: _D.END},
    _D.CHALLENGED: {M.PROOF: _D.ASKED, M.CLEAR_REFUSE: _D.END, Signal.DROPPED: _D.END},
    _D.ASKED: {
        M.FETCH: _D.ASKED,
        M.WAIT: _D.ASKED,
        M.MANIFEST: _D.STREAM,
        M.DONE: _D.END,
        M.REFUSE: _D.END,
        M.CLEAR_REFUSE: _D.END,
        Signal.DROPPED: _D.END,
    },
    _D.STREAM: {
        M.FETCH: _D.STREAM,
        M.DATA: _D.STREAM,
        M.ACK: _D.ACKED,
        M.REFUSE: _D.END,
        Signal.DROPPED: _D.END,
    },
    _D.ACKED: {M.ACK: _D.ACKED, M.WAIT: _D.ACKED, M.DONE: _D.END, M.REFUSE: _D.END, Signal.DROPPED: _D.END},
    _D.END: {},
}

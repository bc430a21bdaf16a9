"""A whole vend over blocking sockets, on as many connections as it takes.

result = vend(Options(host="127.0.0.1", serial="A1", token=token), DirectoryFlash(Path("flash")))
result.outcome, result.exit_code, result.meta ...
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import count

from .device import Dialogue
from .explain import explain
from .flash import Flash
from .options import Options
from .outcome import Cut, Exit, Failed, Outcome, pause_before_next
from .storage import DeviceStorage, Meta
from .transport import CutError, Transport, TransportError


class Watcher:
    """Told what happens, to show it. This one shows nothing."""

    def say(self, text: str) -> None:
        """A line for a person."""

    def progress(self, received: int, total: int) -> None:
        """Bytes of the bundle that are stored, of how many."""


@dataclass
class Traffic:
    """What the connections of one vend have cost: TCP payload in bytes, requests sent."""

    connections: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    round_trips: int = 0


@dataclass(frozen=True)
class Result:
    """How a vend has ended. `meta`: the certificate in use now, if there is one."""

    outcome: Outcome
    meta: Meta | None
    traffic: Traffic

    @property
    def exit_code(self) -> Exit:
        return self.outcome.exit_code


def vend(options: Options, flash: Flash, watcher: Watcher | None = None) -> Result:
    """Carry one vend on until it is done, or as far as `options` say. OptionError: another device's flash.

    Flash keeps what it takes to go on: after a kill at any moment call it again with the same flash.
    """
    watcher = watcher or Watcher()
    storage, traffic = DeviceStorage(flash, options.serial), Traffic()
    for number in count(1):
        outcome = _connect_once(options, storage, traffic, watcher)
        pause_s = pause_before_next(outcome, number, options)
        if pause_s is None:
            break
        watcher.say(f"{explain(outcome)} Next connection in {pause_s:.1f} s.")
        time.sleep(pause_s)
    return Result(outcome, storage.installed(), traffic)


def _connect_once(options: Options, storage: DeviceStorage, traffic: Traffic, watcher: Watcher) -> Outcome:
    dialogue = Dialogue(options, storage)
    traffic.connections += 1
    try:
        with Transport(options) as transport:
            try:
                return _converse(dialogue, transport, watcher)
            finally:
                traffic.bytes_up += transport.bytes_up
                traffic.bytes_down += transport.bytes_down
                traffic.round_trips += dialogue.round_trips
    except TransportError as error:
        return Failed(str(error))
    except CutError:
        return Cut(options.cut_after or 0)


def _converse(dialogue: Dialogue, transport: Transport, watcher: Watcher) -> Outcome:
    while dialogue.outcome is None:
        if request := dialogue.data_to_send():
            transport.send(request)
        if dialogue.turn_s is None:
            data = transport.receive()
        else:
            watcher.say(f"Queued; asking again in {dialogue.turn_s} s.")
            # The server may refuse meanwhile (it is stopping): a plain sleep would not hear it.
            data = transport.receive(dialogue.turn_s) if dialogue.turn_s else None
        if data is None:
            dialogue.ask_again()
        elif data:
            dialogue.receive_data(data)
        else:
            dialogue.receive_eof()
        if dialogue.total:
            watcher.progress(dialogue.received, dialogue.total)
    return dialogue.outcome

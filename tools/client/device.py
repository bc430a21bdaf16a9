"""A device on one connection, without the connection: bytes in, bytes out, flash between them.

    dialogue = Dialogue(options, storage)
    while dialogue.outcome is None:
        send(dialogue.data_to_send())
        if dialogue.turn_s is not None: pause that long, dialogue.ask_again(), and go round
        dialogue.receive_data(receive()), or dialogue.receive_eof()

The same for blocking sockets (vend.py) and for asyncio (tools.loadgen). One dialogue is one session.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from protocol.client import ClientSession
from protocol.constants import EPHEMERAL_SIZE, NONCE_SIZE, Kind, Status
from protocol.events import (
    Challenged,
    ClientEvent,
    DataReceived,
    DoneReceived,
    ManifestReceived,
    ProtocolFailed,
    RefuseReceived,
    WaitReceived,
)
from protocol.objects import certificate_digest
from protocol.states import DeviceState

from . import keys
from .options import Options
from .outcome import Done, Failed, Outcome, Refused
from .storage import BadBundleError, DeviceStorage, Meta

_MANIFEST_ONLY: Final = 0


class Dialogue:
    """One session, from HELLO to `outcome`. `turn_s`: seconds after which to ask again."""

    def __init__(self, options: Options, storage: DeviceStorage) -> None:
        self.outcome: Outcome | None = None
        self.turn_s: int | None = None
        self.round_trips = 0
        self.received = self.total = 0
        self._options, self._storage = options, storage
        self._session = ClientSession(
            options.serial.encode(),
            options.token,
            suite=options.suite,
            nonce_c=os.urandom(NONCE_SIZE),
            ephemeral_private=os.urandom(EPHEMERAL_SIZE),
            max_frame=options.max_frame,
            max_wait_s=options.max_wait_s,
        )
        self._first_limit = options.limit
        self._digest: bytes | None = None  # of what HAVE or ACK has named
        self._session.hello()
        self.round_trips += 1

    def data_to_send(self) -> bytes:
        """Bytes to write now."""
        return self._session.data_to_send()

    def receive_data(self, data: bytes) -> None:
        """Bytes of the server; what follows from them is in data_to_send, turn_s and outcome."""
        self._session.receive_data(data)
        self._go_on()

    def receive_eof(self) -> None:
        """The server has hung up."""
        self._session.receive_eof()
        self._go_on()

    def ask_again(self) -> None:
        """Repeat the question that was answered with WAIT."""
        self.turn_s = None
        if self._session.state is DeviceState.ACKED:
            assert self._digest, "ACK has named it"
            self._session.ack(self._digest)
        else:
            self._session.fetch(0, self._first_limit)
        self.round_trips += 1

    def _go_on(self) -> None:
        try:
            for event in self._session.events():
                self._take(event)
            # Only now, when all that came is stored: DATA of one request may come in many pieces, or in one.
            if self._session.state is DeviceState.STREAM and not self._session.answer_due:
                self._fetch_or_acknowledge()
        except BadBundleError as error:
            self.outcome = Failed(f"{error}; it was dropped, so the next connection starts over")

    def _take(self, event: ClientEvent) -> None:
        match event:
            case Challenged():
                self._prove()
            case WaitReceived(turn_s=turn_s):
                self.turn_s = turn_s
            case ManifestReceived(bundle_id=bundle_id, total=total):
                self._install_named(time=0, connect_after_s=0)  # what HAVE has named is ACTIVE, and this its successor
                self.received, self.total = self._storage.begin(bundle_id, total), total
            case DataReceived(data=data):
                self._storage.append(data)
                self.received += len(data)
            case DoneReceived():
                self._finish(event)
            case RefuseReceived():
                self._obey(event)
            case ProtocolFailed(error=error):
                self.outcome = Failed(f"the connection broke off or its bytes were not right: {error}")

    def _prove(self) -> None:
        """PROOF: HAVE for what lies verified in flash; MANIFEST alone where a part of a bundle does."""
        options, storage = self._options, self._storage
        try:
            whole = storage.verified()
        except BadBundleError:
            whole = None  # dropped: this session fetches it from its start
        in_use = storage.installed()
        if storage.kept():
            self._first_limit = _MANIFEST_ONLY
        if whole:
            self._digest = certificate_digest(whole[Kind.CERTIFICATE])
        elif in_use:
            self._digest = bytes.fromhex(in_use.certificate_id)
        # A whole bundle is itself the renewed one: to ask for another with it would renew twice.
        renew = options.renew and in_use is not None and not whole
        csr = None
        if options.makes_key:
            csr = keys.signing_request(storage.device_key(renew, options.key_type), options.serial)
        self._session.proof(options.want, self._first_limit, self._digest, csr, renew)
        self.round_trips += 1

    def _fetch_or_acknowledge(self) -> None:
        if self.received < self.total:
            self._session.fetch(self.received, self._options.limit)
        else:
            objects = self._storage.verified()
            assert objects, "all bytes have come"
            lacking = [kind.name for kind in Kind if self._options.want >> kind & 1 and kind not in objects]
            if lacking:  # an ACK would wipe the server's only copy of what never came (SPEC.md, 8.6)
                self._storage.drop_bundle()
                self.outcome = Failed(f"the bundle lacks {', '.join(lacking)}: dropped, and not acknowledged")
                return
            self._digest = certificate_digest(objects[Kind.CERTIFICATE])
            self._session.ack(self._digest)
        self.round_trips += 1

    def _finish(self, done: DoneReceived) -> None:
        """DONE: what HAVE or ACK has named is active."""
        if self._install_named(done.time, done.connect_after_s):
            self.outcome = Done(already=False)
        elif self._storage.installed():
            self._storage.abandon()
            self.outcome = Done(already=True)
        else:
            self.outcome = Failed("the server said DONE, but it has delivered nothing")

    def _install_named(self, time: int, connect_after_s: int) -> bool:
        """Put the bundle under way into use if HAVE or ACK has named its certificate; whether it has."""
        objects = self._storage.verified()
        if not objects or certificate_digest(objects[Kind.CERTIFICATE]) != self._digest:
            return False
        self._storage.install(objects, self._meta(objects, time, connect_after_s), self._options.key_format)
        return True

    def _meta(self, objects: Mapping[int, bytes], time: int, connect_after_s: int) -> Meta:
        kept = self._storage.kept()
        assert kept, "verified a moment ago"
        return Meta(
            serial=self._options.serial,
            certificate_id=certificate_digest(objects[Kind.CERTIFICATE]).hex(),
            thing_name=_text(objects, Kind.THING_NAME),
            endpoint=_text(objects, Kind.ENDPOINT),
            key_source=self._options.key_source,
            suite=self._options.suite_name,
            bundle_id=kept.bundle_id.hex(),
            connect_after_s=connect_after_s,
            time=time,
        )

    def _obey(self, refuse: RefuseReceived) -> None:
        refused = self.outcome = Refused(refuse.status, refuse.stage, refuse.retry_s, refuse.detail, refuse.tagged)
        if not refused.drops_bundle:
            return
        stale, kept = refused.status == Status.STALE, self._storage.kept()
        if stale or not (kept and kept.complete):  # a whole one may be acknowledged, and its key nowhere else
            self._storage.drop_bundle()
        if stale and self._named_in_use():
            self._storage.retire()

    def _named_in_use(self) -> bool:
        """Whether the server has judged HAVE of the certificate in use, and not the bundle under way."""
        in_use = self._storage.installed()
        return in_use is not None and not self.total and self._digest == bytes.fromhex(in_use.certificate_id)


def _text(objects: Mapping[int, bytes], kind: Kind) -> str | None:
    return objects[kind].decode(errors="replace") if kind in objects else None

"""ServerSession alone: what it judges, in which order, and what it says."""

import tracemalloc
from dataclasses import replace

import pytest

from protocol import messages
from protocol.constants import MAX_HELLOS, MIN_MAX_FRAME, MessageType, Stage, Status, Suite
from protocol.errors import LocalProtocolError
from protocol.events import AckReceived, Ended, HelloReceived, ProofPending, ProofRejected, RefuseReceived, Restarted
from protocol.framing import clear_frame
from protocol.messages import ClearRefuse, Hello
from protocol.objects import Bundle
from protocol.server import ServerSession
from protocol.states import ServerState
from tests.protocol.pair import MODES, SERIAL, Flash, Mode, Pair, Record, Wire, frames, objects, vend

NONCE = bytes(range(16))
HELLO = Hello(NONCE, Suite.MAC, 512, 0, SERIAL)
each_mode = pytest.mark.parametrize("mode", MODES, ids=str)


def hello_frame(hello: Hello = HELLO) -> bytes:
    return clear_frame(MessageType.HELLO, messages.encode(hello))


def refusal(session: ServerSession) -> ClearRefuse:
    frame = session.data_to_send()
    assert frame[:3] == bytes([0, 24, MessageType.CLEAR_REFUSE])
    message = messages.decode(MessageType.CLEAR_REFUSE, frame[3:])
    assert isinstance(message, ClearRefuse)
    assert session.ended
    return message


@pytest.mark.parametrize(
    ("hello", "status", "detail"),
    [
        (replace(HELLO, suite=2), Status.SUITE, 0b11),
        (replace(HELLO, flags=0x81), Status.FLAG, 0x81),
        (replace(HELLO, max_frame=47), Status.MAX_FRAME, 48),
        (replace(HELLO, max_frame=1401), Status.MAX_FRAME, 1400),
        (replace(HELLO, max_frame=55, suite=Suite.NOISE), Status.MAX_FRAME, 56),
        (replace(HELLO, suite=9, flags=1, max_frame=0), Status.SUITE, 0b11),
        (replace(HELLO, flags=1, max_frame=0), Status.FLAG, 1),
    ],
)
def test_inv9_a_hello_that_cannot_be_served_is_told_why(hello: Hello, status: Status, detail: int) -> None:
    session = ServerSession(set(Suite))
    session.receive_data(hello_frame(hello))
    assert refusal(session) == ClearRefuse(NONCE, status, Stage.HELLO, 3600, detail)
    (ended,) = session.events()
    assert isinstance(ended, Ended)
    assert ended.status is status


def test_the_mask_of_suites_is_of_those_offered_here() -> None:
    session = ServerSession({Suite.NOISE})
    session.receive_data(hello_frame())
    assert refusal(session).detail == 0b10


def test_a_version_of_the_future_is_refused_by_its_frozen_fields() -> None:
    session = ServerSession(set(Suite))
    session.receive_data(clear_frame(MessageType.HELLO, b"CVM\x02" + NONCE + b"anything at all" * 15))
    assert refusal(session) == ClearRefuse(NONCE, Status.VERSION, Stage.HELLO, 3600, 1)


@pytest.mark.parametrize("suite", Suite)
def test_the_bounds_of_max_frame_are_served(suite: Suite) -> None:
    for max_frame in (MIN_MAX_FRAME[suite], 1400):
        session = ServerSession(set(Suite))
        session.receive_data(hello_frame(replace(HELLO, suite=suite, max_frame=max_frame)))
        assert session.events() == [HelloReceived(replace(HELLO, suite=suite, max_frame=max_frame))]
        assert (session.suite, session.max_frame, session.serial) == (suite, max_frame, SERIAL)


def test_before_hello_the_server_is_silent() -> None:
    session = ServerSession(set(Suite))
    session.receive_data(b"GET / HTTP/1.1\r\n" * 20)
    assert session.ended
    assert session.data_to_send() == b""
    (ended,) = session.events()
    assert isinstance(ended, Ended)
    assert ended.status is None


@each_mode
def test_256_stale_bytes_before_hello_are_skipped_and_not_one_more(mode: Mode) -> None:
    for junk, served in ((256, True), (257, False)):
        pair = Pair(mode, Flash(), Record(), Wire())
        pair.server.receive_data(b"\x00\x2a\x01CV" * (junk // 5) + bytes(junk % 5))
        pair.run()
        assert pair.flash.active is served


@each_mode
def test_hello_in_any_state_opens_a_new_session(mode: Mode) -> None:
    sent = frames(vend(mode).wire.up)[:-1]
    for count in range(1, len(sent) + 1):
        record = Record()
        old = Pair(mode, Flash(), record, Wire())
        for frame in sent[:count]:
            old.server.receive_data(frame)
            old.serve()
            old.server.data_to_send()
        new = Pair(mode, Flash(), record, Wire(), seed="after the reset")
        new.server = old.server
        new.run()
        assert new.flash.active, f"after {count} frames"
        assert record.ended == []


def test_hello_while_the_server_looks_the_serial_up_drops_the_old_proof() -> None:
    pair = Pair(MODES[0], Flash(), Record(), Wire())
    first, proof = frames(vend(MODES[0]).wire.up)[:2]
    pair.server.receive_data(first)
    pair.serve()
    pair.server.receive_data(proof)
    assert pair.server.events() == [ProofPending()]
    pair.server.receive_data(hello_frame())
    assert pair.server.events() == [Restarted(), HelloReceived(HELLO)]
    with pytest.raises(LocalProtocolError):
        pair.server.authenticate(pair.record.token, True, bytes(32))


def test_hello_drops_what_was_not_sent_of_the_old_session() -> None:
    pair = Pair(MODES[0], Flash(), Record(bundle=Bundle.of(objects(2000, 0))), Wire())
    for frame in frames(vend(MODES[0]).wire.up)[:2]:
        pair.server.receive_data(frame)
        pair.serve()
    pair.server.receive_data(hello_frame())
    pair.server.events()
    assert pair.server.data_to_send() == b""


def test_the_17th_hello_is_refused() -> None:
    session = ServerSession(set(Suite))
    for _ in range(MAX_HELLOS):
        session.receive_data(hello_frame())
        assert isinstance(session.events()[-1], HelloReceived)
    session.receive_data(hello_frame())
    assert refusal(session).status == Status.BUSY


def test_inv8_unknown_serial_and_wrong_token_are_one_frame() -> None:
    sent = frames(vend(MODES[0]).wire.up)
    told = []
    for token, known in ((bytes(16), True), (bytes(range(32)), False), (bytes(32), False)):
        pair = Pair(MODES[0], Flash(), Record(), Wire())
        pair.server.receive_data(sent[0])
        pair.serve()
        pair.server.data_to_send()
        pair.server.receive_data(sent[1])
        pair.server.events()
        pair.server.authenticate(token, known, bytes(32))
        assert pair.server.events() == [ProofRejected()]
        assert pair.server.data_to_send() == b""
        pair.server.send_auth_refusal()
        told.append(pair.server.data_to_send())
        assert pair.server.ended
    assert len(set(told)) == 1
    assert told[0][19:] == bytes([Status.AUTH, Stage.PROOF, 0, 0, 0, 60, 0, 0])


@each_mode
def test_a_replayed_session_is_refused(mode: Mode) -> None:
    """The server's nonce is new, so the recorded PROOF is no proof."""
    recorded = vend(mode)
    replay = Pair(mode, Flash(), Record(), Wire(), seed="another nonce_s")
    for frame in frames(recorded.wire.up):
        replay.server.receive_data(frame)
        replay.serve()
    assert replay.record.proven == []
    assert not replay.record.acked
    assert frames(replay.server.data_to_send())[-1][2] == MessageType.CLEAR_REFUSE


@each_mode
def test_data_is_cut_as_the_transport_drains(mode: Mode) -> None:
    pair = Pair(replace(mode, pulled=False), Flash(), Record(bundle=Bundle.of(objects(60000, 0))), Wire())
    pair.device.hello()
    while not pair.flash.bundle_id:
        pair.server.receive_data(pair.device.data_to_send())
        pair.serve()
        pair.device.receive_data(pair.server.data_to_send(1))
        pair.store()
    sizes = []
    while piece := pair.server.data_to_send(4096):
        sizes.append(len(piece))
        pair.device.receive_data(piece)
        pair.store()
    assert max(sizes) < 4096 + mode.max_frame
    assert pair.flash.data == pair.record.bundle.data
    assert not pair.server.answer_due


def test_a_request_before_the_data_is_out_is_refused() -> None:
    record = Record(bundle=Bundle.of(objects(3000, 0)))
    pair = Pair(MODES[0], Flash(), record, Wire())
    recorded = frames(vend(MODES[0], bundle=record.bundle).wire.up)
    for frame in recorded[:2]:
        pair.server.receive_data(frame)
        pair.serve()
    first = pair.server.data_to_send(600)
    assert first
    pair.server.receive_data(recorded[2])
    assert [type(event) for event in pair.server.events()] == [Ended]
    assert [frame[2] for frame in frames(pair.server.data_to_send())] == [MessageType.REFUSE]


@pytest.mark.parametrize("max_frame", range(56, 72))
def test_a_first_answer_without_room_under_noise_waits_for_the_next_fetch(max_frame: int) -> None:
    types = [frame[2] for frame in frames(vend(Mode(Suite.NOISE, max_frame)).wire.down)]
    waited = [MessageType.CHALLENGE, MessageType.WAIT, MessageType.MANIFEST]
    assert types[:3] == (waited if max_frame < 70 else [waited[0], waited[2], MessageType.DATA])


def test_a_violation_where_a_tagged_refusal_has_no_room_is_refused_in_clear() -> None:
    pair = Pair(MODES[3], Flash(), Record(), Wire())
    first, proof = frames(vend(MODES[3]).wire.up)[:2]
    pair.server.receive_data(first)
    pair.serve()
    pair.server.data_to_send()
    pair.server.receive_data(proof)
    pair.server.events()
    pair.server.authenticate(pair.record.token, True, pair.server_ephemeral)
    pair.server.receive_data(clear_frame(MessageType.ACK, bytes(32)))
    assert refusal(pair.server).status == Status.MALFORMED


@pytest.mark.parametrize("max_frame", range(56, 62))
@pytest.mark.parametrize(
    ("body", "told", "in_clear"),
    [
        (b"\x10\x00\x06\xff\xff", (Status.FLAG, 0x10), (Status.FLAG, 0x10)),
        (b"\x00\x00\x04\xff\xff", (Status.WANT, 0x02), (Status.MALFORMED, 0)),
        (b"\x00\x00\x06\xff", (Status.MALFORMED, 0), (Status.MALFORMED, 0)),
    ],
)
def test_inv9_a_bad_proof_is_refused_at_once_however_small_the_frames(
    max_frame: int, body: bytes, told: tuple[Status, int], in_clear: tuple[Status, int]
) -> None:
    """Kept back behind WAIT(0), the refusal would be lost with a device that does not fetch it."""
    pair = Pair(Mode(Suite.NOISE, max_frame), Flash(), Record(), Wire())
    pair.device.hello()
    pair.server.receive_data(pair.device.data_to_send())
    pair.serve()
    pair.device.receive_data(pair.server.data_to_send())
    assert pair.device._protection
    pair.server.receive_data(pair.device._protection.seal(MessageType.PROOF, body))
    pair.device._move(MessageType.PROOF)
    pair.device.answer_due = True
    pair.serve()
    assert pair.server.ended
    pair.device.receive_data(pair.server.data_to_send())
    _, refused = pair.device.events()
    assert isinstance(refused, RefuseReceived)
    assert refused.tagged is (max_frame >= 60)
    assert (refused.status, refused.detail) == (told if refused.tagged else in_clear)


def test_inv9_a_refusal_kept_back_gives_way_to_the_deadline() -> None:
    pair = Pair(Mode(Suite.NOISE, 56), Flash(), Record(), Wire())
    pair.device.hello()
    pair.server.receive_data(pair.device.data_to_send())
    pair.serve()
    pair.answer()
    pair.server.receive_data(pair.device.data_to_send())
    pair.server.events()
    pair.server.authenticate(pair.record.token, True, pair.server_ephemeral)
    pair.server.send_refuse(Status.ISSUED, Stage.PROOF, 3600)
    assert [frame[2] for frame in frames(pair.server.data_to_send())] == [MessageType.WAIT]
    pair.server.send_refuse(Status.DEADLINE, Stage.QUEUE, 1)
    assert [frame[2] for frame in frames(pair.server.data_to_send())] == [MessageType.REFUSE]
    assert pair.server.ended


@each_mode
def test_a_refusal_at_any_time_is_believed(mode: Mode) -> None:
    """DEADLINE and DRAINING come unasked."""
    for requests in range(2, len(frames(vend(mode).wire.up))):
        pair = Pair(mode, Flash(), Record(), Wire())
        pair.device.hello()
        for _ in range(requests):
            pair.server.receive_data(pair.device.data_to_send())
            pair.serve()
            pair.answer()
        if not pair.server.ended:
            pair.server.send_refuse(Status.DEADLINE, Stage.DELIVER, 1)
            pair.answer()
            assert pair.device.ended
            assert pair.server.ended


def test_calls_that_answer_nothing_change_nothing() -> None:
    session = ServerSession(set(Suite))
    bundle = Bundle.of(objects())
    calls = [
        lambda: session.challenge(bytes(16)),
        lambda: session.authenticate(b"", True, bytes(32)),
        session.send_auth_refusal,
        lambda: session.send_wait(0),
        lambda: session.send_manifest(bundle),
        lambda: session.send_done(0, 0),
        lambda: session.send_refuse(Status.BUSY, Stage.QUEUE, 1),
        lambda: session.send_clear_refuse(Status.BUSY, Stage.HELLO, 1),
    ]
    for call in calls:
        with pytest.raises(LocalProtocolError):
            call()
    session.receive_data(hello_frame())
    assert session.events() == [HelloReceived(HELLO)]
    for call in calls[1:7]:
        with pytest.raises(LocalProtocolError):
            call()
    with pytest.raises(LocalProtocolError, match="clear"):
        session.send_clear_refuse(Status.QUOTA, Stage.HELLO, 1)
    session.challenge(bytes(16))
    for call in calls[:7]:
        with pytest.raises(LocalProtocolError):
            call()
    assert session.state is ServerState.CHALLENGED
    assert [frame[2] for frame in frames(session.data_to_send())] == [MessageType.CHALLENGE]


def test_busy_is_said_in_clear_where_a_challenge_is_due() -> None:
    session = ServerSession(set(Suite))
    session.receive_data(hello_frame())
    session.send_clear_refuse(Status.BUSY, Stage.HELLO, 5)
    assert refusal(session) == ClearRefuse(NONCE, Status.BUSY, Stage.HELLO, 5, 0)


def test_a_wait_is_bounded_and_ack_may_be_repeated() -> None:
    pair = Pair(MODES[0], Flash(), Record(), Wire())
    pair.device.hello()
    for _ in range(3):
        pair.server.receive_data(pair.device.data_to_send())
        if pair.flash.stored_digest:
            break
        pair.serve()
        pair.answer()
    digest = pair.record.digest
    assert pair.server.events() == [AckReceived(digest)]
    with pytest.raises(LocalProtocolError, match="turn"):
        pair.server.send_wait(301)
    pair.server.send_wait(300)
    pair.device.receive_data(pair.server.data_to_send())
    pair.device.ack(digest)
    pair.server.receive_data(pair.device.data_to_send())
    assert pair.server.events() == [AckReceived(digest)]


def test_eof_ends_the_session() -> None:
    session = ServerSession(set(Suite))
    session.receive_eof()
    session.receive_eof()
    session.receive_data(hello_frame())
    assert session.ended
    assert session.events() == []


def test_inv7_an_idle_connection_costs_less_than_half_a_kilobyte() -> None:
    offered = frozenset(Suite)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        idle = [ServerSession(offered) for _ in range(1000)]
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (after - before) / len(idle) < 500


def test_inv6_no_repr_shows_a_secret() -> None:
    pair = vend(MODES[0])
    secrets = [pair.record.token, pair.record.bundle.data, pair.record.bundle.data[100:110]]
    shown = repr([pair.server, pair.device, pair.device_events, pair.record.bundle])
    assert not any(repr(secret)[2:-1] in shown or secret.hex() in shown for secret in secrets)

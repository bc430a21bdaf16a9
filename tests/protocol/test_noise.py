"""Suite noise against the noiseprotocol package, an implementation of other hands."""

from random import Random

import pytest
from noise.connection import Keypair, NoiseConnection

from protocol import auth, messages
from protocol.client import ClientSession
from protocol.constants import HEADER_SIZE, MessageType, Suite
from protocol.errors import RemoteProtocolError
from protocol.events import Challenged
from protocol.framing import clear_frame
from protocol.messages import Ack, Done, Fetch, Hello, Manifest, Message, Proof
from protocol.noise import NNpsk0, NoiseProtection
from tests.protocol.pair import MODES, SERIAL, Flash, Pair, Record, Wire, frames, vend

PSK, PROLOGUE = bytes(range(32)), b"prologue"


def peer(psk: bytes, prologue: bytes, initiator: bool, ephemeral: bytes | None = None) -> NoiseConnection:
    connection = NoiseConnection.from_name(b"Noise_NNpsk0_25519_ChaChaPoly_SHA256")
    if initiator:
        connection.set_as_initiator()
    else:
        connection.set_as_responder()
    connection.set_psks(psk)
    connection.set_prologue(prologue)
    if ephemeral:
        connection.set_keypair_from_private_bytes(Keypair.EPHEMERAL, ephemeral)
    connection.start_handshake()
    return connection


@pytest.mark.filterwarnings("ignore:One of ephemeral keypairs")  # the twin is given ours
@pytest.mark.parametrize("ours_is_initiator", [True, False])
@pytest.mark.parametrize("seed", range(20))
def test_messages_are_those_of_noiseprotocol(ours_is_initiator: bool, seed: int) -> None:
    source = Random(seed)
    psk, prologue, ephemeral = source.randbytes(32), source.randbytes(seed * 7), source.randbytes(32)
    ours = NNpsk0(psk, prologue, ephemeral, ours_is_initiator)
    twin = peer(psk, prologue, ours_is_initiator, ephemeral)
    theirs = peer(psk, prologue, not ours_is_initiator)
    turns = [ours_is_initiator, not ours_is_initiator] + [source.random() < 0.5 for _ in range(12)]
    for number, we_write in enumerate(turns):
        payload = source.randbytes(source.randint(0, 200))
        handshake = number < 2
        if we_write:
            message = ours.write(payload)
            assert message == (twin.write_message(payload) if handshake else twin.encrypt(payload))
            assert payload == (theirs.read_message(message) if handshake else theirs.decrypt(message))
        else:
            message = bytes(theirs.write_message(payload) if handshake else theirs.encrypt(payload))
            assert ours.read(message) == payload
            assert payload == (twin.read_message(message) if handshake else twin.decrypt(message))


def test_noiseprotocols_initiator_completes_a_vend() -> None:
    """A device made of noiseprotocol alone against ServerSession."""
    pair = Pair(MODES[1], Flash(), Record(), Wire())
    hello = Hello(bytes(range(16)), Suite.NOISE, 512, 0, SERIAL)
    hello_frame = clear_frame(MessageType.HELLO, messages.encode(hello))
    (challenge_frame,) = _exchange(pair, hello_frame)
    transcript = auth.transcript(hello_frame, challenge_frame)
    device = peer(auth.noise_psk(auth.prk(pair.record.token), transcript), hello_frame + challenge_frame, True)

    proof = device.write_message(_inner(Proof(0, 0b110, 0)))
    (answer,) = _exchange(pair, clear_frame(MessageType.PROOF, proof))
    manifest = _message(device.read_message(answer[HEADER_SIZE:]), answer)
    assert manifest == Manifest(pair.record.bundle.bundle_id, pair.record.bundle.total)

    fetch = device.encrypt(_inner(Fetch(0, 65535)))
    (answer,) = _exchange(pair, clear_frame(MessageType.FETCH, fetch))
    data = _message(device.decrypt(answer[HEADER_SIZE:]), answer)
    assert isinstance(data, messages.Data)
    assert data.data == pair.record.bundle.data

    ack = device.encrypt(_inner(Ack(pair.record.digest)))
    (answer,) = _exchange(pair, clear_frame(MessageType.ACK, ack))
    assert _message(device.decrypt(answer[HEADER_SIZE:]), answer) == Done(1_800_000_000, 5)
    assert pair.record.acked


def _exchange(pair: Pair, frame: bytes) -> list[bytes]:
    pair.server.receive_data(frame)
    pair.serve()
    return frames(pair.server.data_to_send())


def _inner(message: Message) -> bytes:
    return bytes([messages.type_of(message)]) + messages.encode(message)


def _message(inner: bytes, frame: bytes) -> Message:
    assert inner[0] == frame[HEADER_SIZE - 1]
    return messages.decode(MessageType(inner[0]), bytes(inner[1:]))


def test_equal_device_randomness_on_two_boots_gives_no_equal_keystream() -> None:
    """A device that repeats nonce_c and ephemeral: the server's nonce makes the PSK another."""
    proofs = []
    for boot in range(2):
        device = ClientSession(
            SERIAL, Record().token, suite=Suite.NOISE, nonce_c=bytes(16), ephemeral_private=bytes(range(32))
        )
        pair = Pair(MODES[1], Flash(), Record(), Wire(), seed=boot)
        pair.device = device
        device.hello()
        pair.server.receive_data(device.data_to_send())
        pair.serve()
        device.receive_data(pair.server.data_to_send())
        assert device.events() == [Challenged()]
        device.proof(0b110, 65535)
        proofs.append(device.data_to_send())
    ephemeral = slice(HEADER_SIZE, HEADER_SIZE + 32)
    assert proofs[0][ephemeral] == proofs[1][ephemeral]
    ciphertexts = [proof[HEADER_SIZE + 32 :] for proof in proofs]
    assert len(ciphertexts[0]) == len(ciphertexts[1]) == 6 + 16
    assert ciphertexts[0][:6] != ciphertexts[1][:6]  # the plaintext is the same, so the keystream is not


class _LowOrder:
    """An ephemeral whose public key is the point at zero: X25519 with it has no result."""

    def public_key(self) -> "_LowOrder":
        return self

    def public_bytes_raw(self) -> bytes:
        return bytes(32)


def test_an_ephemeral_of_low_order_does_not_open() -> None:
    initiator = NNpsk0(PSK, PROLOGUE, bytes(range(32)), initiator=True)
    initiator._ephemeral = _LowOrder()  # type: ignore[assignment]  # what no honest peer has
    with pytest.raises(RemoteProtocolError):
        NNpsk0(PSK, PROLOGUE, bytes(range(1, 33)), initiator=False).read(initiator.write(b"x"))


def test_a_wrong_psk_is_refused_before_any_x25519() -> None:
    message = NNpsk0(PSK, PROLOGUE, bytes(range(32)), initiator=True).write(b"x")
    responder = NNpsk0(bytes(32), PROLOGUE, bytes(range(1, 33)), initiator=False)
    responder._ephemeral = _LowOrder()  # type: ignore[assignment]  # it has no exchange(): a use would show
    with pytest.raises(RemoteProtocolError):
        responder.read(message)


def test_the_type_inside_must_be_the_headers() -> None:
    device = NoiseProtection(NNpsk0(PSK, PROLOGUE, bytes(range(32)), initiator=True))
    server = NoiseProtection(NNpsk0(PSK, PROLOGUE, bytes(range(1, 33)), initiator=False))
    frame = device.seal(MessageType.PROOF, b"body")
    assert device.overhead == 17 + 32  # until the first answer is read
    with pytest.raises(RemoteProtocolError, match="type inside"):
        server.open(frame[:2] + bytes([MessageType.ACK]) + frame[3:])


def test_frames_under_noise_show_nothing_of_the_bundle() -> None:
    pair = vend(MODES[1])
    for place in range(pair.record.bundle.total - 8):
        assert pair.record.bundle.data[place : place + 8] not in pair.wire.down

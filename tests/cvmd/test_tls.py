"""TLS under a connection: real sockets, Python's own TLS on the device's side."""

import asyncio
import logging
import os
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import cvmd.listener
from cvmd.errors import ConfigError, refusal
from cvmd.errors import Kind as Why
from cvmd.tls import WARN_BEFORE, ServerTls, TlsLine
from cvmd.vending import Channel
from protocol.constants import Stage, Status, Suite
from protocol.events import Challenged, DoneReceived, ManifestReceived, RefuseReceived
from tests.cvmd.line import BUNDLE, DIGEST, DONE, OFFER, SERIAL, Node, Script, calling, listening, until
from tests.pki import Pki, ServerFiles


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def server(pki: Pki) -> ServerTls:
    return tls_of(pki.server())


def tls_of(files: ServerFiles) -> ServerTls:
    return ServerTls(str(files.certificate), str(files.key))


def only(version: ssl.TLSVersion, context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = context.maximum_version = version
    return context


# A vend.


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
@pytest.mark.parametrize("suite", Suite)
def test_a_vend_inside_of_tls(pki: Pki, server: ServerTls, suite: Suite, version: ssl.TLSVersion) -> None:
    async def test() -> None:
        trusting = only(version, pki.trusting())
        async with listening(Script(OFFER, DONE), tls=server) as node:
            async with calling(node, trusting) as device:
                await device.prove(suite=suite)
                assert await device.event() == ManifestReceived(BUNDLE.bundle_id, BUNDLE.total)
                assert await device.bundle() == BUNDLE.data
                device.ack()
                assert isinstance(await device.event(), DoneReceived)
                assert await device.event() is None
            assert [channel for _, channel, _ in node.vends] == [Channel("127.0.0.1", suite, private=True)]
            report = await node.reports.get()
            assert (report["status"], report["certificate_id"]) == ("DONE", DIGEST.hex())
            assert report["tls"] == version.name.replace("_", ".")
            assert (report["bytes_up"], report["bytes_down"]) == (device.sent, device.received)
            assert node.door.open == 0

    asyncio.run(test())


def test_every_record_may_come_byte_by_byte(pki: Pki, server: ServerTls) -> None:
    async def test() -> None:
        async with listening(Script(OFFER), tls=server) as node:
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = pki.trusting().wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
            async with calling(node) as raw:

                async def exchange(step: Any) -> Any:
                    while True:
                        try:
                            done = step()
                        except ssl.SSLWantReadError:
                            done = None
                        for byte in outgoing.read():
                            raw.writer.write(bytes([byte]))
                            await raw.writer.drain()
                        if done is not None:
                            return done
                        incoming.write(await raw.reader.read(65536))

                await exchange(lambda: tls.do_handshake() or True)
                tls.write(b"\x00\x1e\x01CVM\x01" + bytes(16) + b"\x00\x00\x02\x00\x00\x3cSN-1")
                assert (await exchange(lambda: tls.read(100)))[:3] == b"\x00\x22\x41"

    asyncio.run(test())


def test_a_refusal_and_the_end_reach_the_device(pki: Pki, server: ServerTls) -> None:
    async def test() -> None:
        async with listening(Script(refusal(Why.ISSUED)), tls=server) as node:
            async with calling(node, pki.trusting()) as device:
                await device.prove()
                assert await device.refused() == RefuseReceived(Status.ISSUED, Stage.PROOF, 3600, 0, tagged=True)
            assert (await node.reports.get())["status"] == "ISSUED"

    asyncio.run(test())


def test_a_device_that_hangs_up_is_gone(pki: Pki, server: ServerTls) -> None:
    async def test() -> None:
        async with listening(tls=server) as node:
            async with calling(node, pki.trusting()) as device:
                device.hello()
                assert await device.event() == Challenged()
            assert (await node.reports.get())["serial"] == SERIAL
            assert node.door.open == 0

    asyncio.run(test())


# What is no TLS, or none that ends well.


async def reason_of(node: Node) -> str:
    report = await node.reports.get()
    assert (report["status"], report["level"]) == ("SILENCE", logging.WARNING)
    assert "serial" not in report
    return str(report["reason"])


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"\x00\x1f\x01CVM\x01" + bytes(30), "TLS: what came is no TLS: does the device mean the plain port?"),
        (b"GET / HTTP/1.1\r\n\r\n", "TLS: a request of HTTP, and no TLS"),
        (b"\x16\x03\x01\xff\xff" + bytes(100), "TLS: packet length too long"),
    ],
)
def test_inv7_what_is_no_tls_is_hung_up_on_and_named(server: ServerTls, said: bytes, reason: str) -> None:
    async def test() -> None:
        async with listening(tls=server) as node:
            async with calling(node) as device:
                device.writer.write(said)
                assert await device.hung_up()
            assert (await reason_of(node)).startswith(reason)
            assert node.door.open == 0

    asyncio.run(test())


def test_a_device_that_does_not_take_the_certificate_says_why(server: ServerTls, tmp_path: Path) -> None:
    other = Pki(tmp_path, "other").trusting()

    def call(port: int) -> None:
        # Not asyncio's TLS, which hangs up without an alert.
        with socket.create_connection(("127.0.0.1", port)) as raw, pytest.raises(ssl.SSLCertVerificationError):
            other.wrap_socket(raw, server_hostname="127.0.0.1")

    async def test() -> None:
        async with listening(tls=server) as node:
            await asyncio.to_thread(call, node.port)
            said = await reason_of(node)
            assert said == "TLS: the device does not know the CA of tls.certificate_file: is an intermediate missing?"

    asyncio.run(test())


def test_a_device_that_is_too_old_is_named(pki: Pki, server: ServerTls) -> None:
    async def test() -> None:
        old = pki.trusting()
        old.set_ciphers("DEFAULT:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            only(ssl.TLSVersion.TLSv1_1, old)
        async with listening(tls=server) as node:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                async with calling(node, old):
                    pass
            assert await reason_of(node) == "TLS: the device speaks no TLS 1.2 or 1.3"

    asyncio.run(test())


@pytest.mark.parametrize(("said", "told"), [(b"", False), (b"\x16\x03\x01", True)])
def test_inv7_a_handshake_has_its_deadline(
    server: ServerTls, monkeypatch: pytest.MonkeyPatch, said: bytes, told: bool
) -> None:
    monkeypatch.setattr(cvmd.listener, "_SWEEP_S", 0.02)

    async def test() -> None:
        async with listening(tls=server, handshake_s=0.1) as node:
            async with calling(node) as device:
                device.writer.write(said)
                assert await device.hung_up()
            if told:
                assert await reason_of(node) == "TLS: the handshake was not finished"
            assert node.door.open == 0
            assert node.reports.empty()

    asyncio.run(test())


def test_the_deadline_of_hello_begins_behind_the_handshake(
    pki: Pki, server: ServerTls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cvmd.listener, "_SWEEP_S", 0.02)

    async def test() -> None:
        async with listening(tls=server, hello_s=0.1) as node, calling(node, pki.trusting()) as device:
            assert await device.hung_up()
            assert node.door.open == 0
            assert node.reports.empty()  # it shook hands and said nothing: there is nothing to tell

    asyncio.run(test())


def test_a_record_that_was_altered_ends_the_connection(pki: Pki, server: ServerTls) -> None:
    async def altered(node: Node) -> None:
        async with calling(node, pki.trusting()) as device:
            device.hello()
            assert await device.event() == Challenged()
            raw = device.writer.get_extra_info("socket")
            os.write(raw.fileno(), b"\x17\x03\x03\x00\x20" + bytes(32))
            await device.hung_up()

    async def test() -> None:
        async with listening(tls=server) as node:
            with pytest.raises(ssl.SSLError, match="BAD_RECORD_MAC"):  # the alert that it hears
                await altered(node)
            report = await node.reports.get()
            assert (report["serial"], report["status"]) == (SERIAL, "SILENCE")
            assert report["reason"].startswith("TLS: decryption failed")

    asyncio.run(test())


def test_who_waits_is_told_that_the_node_stops(pki: Pki, server: ServerTls) -> None:
    async def test() -> None:
        async with listening(tls=server) as node, calling(node, pki.trusting()) as device, calling(node) as silent:
            async with calling(node, pki.trusting()) as idle:
                await until(lambda: node.door.open == 3)
                draining = asyncio.create_task(node.listener.drain(60))
                assert await silent.hung_up()
                assert await idle.hung_up()
                device.writer.close()
            assert await draining == 0

    asyncio.run(test())


class Generous(asyncio.Protocol):
    """Says much more than a socket or a record takes, on the first byte; counts how often it is held up."""

    SAID = os.urandom(1000) * 16_000

    def __init__(self) -> None:
        self.paused = self.resumed = 0
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, _data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(self.SAID)
        self.transport.close()

    def pause_writing(self) -> None:
        self.paused += 1

    def resume_writing(self) -> None:
        self.resumed += 1

    def secured(self, version: str) -> None:
        pass

    def unsecured(self, reason: str) -> None:
        pass


def test_much_at_once_comes_whole_and_holds_the_writer_up(pki: Pki, server: ServerTls) -> None:
    async def test() -> None:
        above = Generous()
        listener = await asyncio.get_running_loop().create_server(
            lambda: TlsLine(server.context, above), "127.0.0.1", 0
        )
        async with listener:
            port = listener.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=pki.trusting())
            writer.write(b"?")
            assert await reader.read(-1) == above.SAID  # up to its close_notify
            writer.close()
        assert above.paused == 1
        assert above.transport is not None
        assert above.transport.is_closing()

    asyncio.run(test())


def test_inv7_who_takes_no_answers_is_heard_no_further(pki: Pki, server: ServerTls) -> None:
    """Else OpenSSL would go on answering its KeyUpdates, into memory."""

    class Talk(Generous):
        heard = 0

        def data_received(self, data: bytes) -> None:
            assert self.transport is not None
            self.heard += len(data)
            if self.heard == 1:
                self.transport.write(self.SAID)

    async def test() -> None:
        above, lines = Talk(), []

        def line() -> TlsLine:
            lines.append(TlsLine(server.context, above))
            return lines[-1]

        listener = await asyncio.get_running_loop().create_server(line, "127.0.0.1", 0)
        async with asyncio.timeout(20), listener:
            port = listener.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=pki.trusting())
            writer.write(b"?")
            await until(lambda: above.paused)
            heard_in = lines[0]._socket
            assert heard_in is not None
            assert not heard_in.is_reading()
            assert await reader.readexactly(len(above.SAID)) == above.SAID
            writer.write(b"?")
            await until(lambda: above.heard == 2)
            writer.close()

    asyncio.run(test())


# The files.


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda f: f.certificate.unlink(), "tls.certificate_file: .*server.pem: cannot be read: No such file"),
        (lambda f: f.certificate.write_text("none"), "tls.certificate_file: .*: no certificate in PEM"),
        (lambda f: f.key.unlink(), "server.key: this secret cannot be read: No such file"),
        (lambda f: f.key.chmod(0o644), "server.key: others may read"),
        (lambda f: f.key.write_text("none"), "tls.key_file: cannot be used"),
    ],
    ids=["no certificate", "not PEM", "no key", "readable key", "key not PEM"],
)
def test_a_file_that_cannot_be_used_is_named_and_what_was_read_stays(pki: Pki, spoil: Any, problem: str) -> None:
    files = pki.server()
    tls = tls_of(files)
    before = tls.context, tls.expires
    spoil(files)
    with pytest.raises(ConfigError, match=problem):
        tls_of(files)
    with pytest.raises(ConfigError, match=problem):
        tls.reload()
    assert (tls.context, tls.expires) == before


def test_a_key_of_another_certificate_and_one_with_a_password_are_named(pki: Pki) -> None:
    mine, other = pki.server("mine"), pki.server("other")
    with pytest.raises(ConfigError, match=r"tls.key_file: is not the key of the first certificate"):
        tls_of(ServerFiles(mine.certificate, other.key))
    with pytest.raises(ConfigError, match=r"tls.key_file: is encrypted: a daemon has nobody to ask"):
        tls_of(pki.server("sealed", password=b"secret"))


def test_a_new_certificate_is_that_of_new_connections(pki: Pki) -> None:
    async def test() -> None:
        tls = tls_of(pki.server())
        async with listening(tls=tls) as node, calling(node, pki.trusting()) as first:
            before = first.writer.get_extra_info("ssl_object").getpeercert(True)
            pki.server()
            tls.reload()
            async with calling(node, pki.trusting()) as second:
                assert second.writer.get_extra_info("ssl_object").getpeercert(True) != before
            first.hello()
            assert await first.event() == Challenged()

    asyncio.run(test())


@pytest.mark.parametrize(
    ("left", "says"),
    [
        (WARN_BEFORE + timedelta(minutes=1), None),
        (WARN_BEFORE, "expires on"),
        (timedelta(minutes=1), "expires on"),
        (timedelta(0), "has expired on"),
    ],
)
def test_a_certificate_that_soon_expires_is_an_error_in_the_log(
    server: ServerTls, caplog: pytest.LogCaptureFixture, left: timedelta, says: str | None
) -> None:
    async def look() -> None:
        watching = asyncio.create_task(server.watch(lambda: server.expires - left))
        await asyncio.sleep(0)
        watching.cancel()

    asyncio.run(look())
    assert [(it.levelno, says in it.getMessage()) for it in caplog.records if says] == (
        [(logging.ERROR, True)] if says else []
    )
    assert len(caplog.records) == (says is not None)
    assert server.expires > datetime.now(UTC)

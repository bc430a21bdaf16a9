"""The daemon's life: configuration → start → serve → drain. The only module that knows every class."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Coroutine, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial
from typing import Any

from cvmd import binding, systemd
from cvmd import log as logs
from cvmd.admission import Door
from cvmd.aws import aws_iot, root_cas
from cvmd.changes import Changes
from cvmd.config import Config
from cvmd.connection import Deadlines
from cvmd.database import Watch, configured, connections
from cvmd.disposal import DisposalSettings, Disposer
from cvmd.errors import ConfigError
from cvmd.heartbeat import Heartbeat
from cvmd.issuer.aws_iot import AwsIot
from cvmd.issuer.keys import P256KeyMaker, check_csr, to_pkcs8
from cvmd.issuer.rsa_keys import RsaKeyMaker
from cvmd.listener import Listener
from cvmd.meter import NO_METER, Meter
from cvmd.metrics import CONTENT_TYPE, Metrics
from cvmd.model import KeySource
from cvmd.monitor import HOST, Monitor, Page, verdict
from cvmd.node import node_id
from cvmd.ports import NODE_PREFIX, KeyMaker
from cvmd.reconcile import Reconciliation, Remedies, pacer
from cvmd.reconciler import Reconciler
from cvmd.sealing import Sealer, load_master_key
from cvmd.store import Nodes, Store, Trail
from cvmd.store.counted import CountedStore
from cvmd.threads import Pool
from cvmd.tls import ServerTls
from cvmd.vending import Lines, Services, Vend
from cvmd.worker import Worker, WorkerSettings

log = logging.getLogger(__name__)


async def serve(config: Config) -> None:
    """Run until SIGTERM or SIGINT, then drain.

    Raises ConfigError, SealError or WrongSchema if it cannot start. A database that is down is no such
    reason: devices are answered BUSY until it is back.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        node = await Node.start(config, stack)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, node.reload)
        running = [asyncio.create_task(work) for work in node.work()]
        stopped = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait([stopped, *running], return_when=asyncio.FIRST_COMPLETED)
        if stopped in done:
            await node.drain()
        for task in running:
            task.cancel()
        # A task that ended by itself is a bug, or found a database that is not for this version: the daemon ends.
        for result in await asyncio.gather(*running, return_exceptions=True):
            if isinstance(result, Exception):
                raise result


class Node:
    """One running daemon. What it holds open is let go by the exit stack that `start` was given."""

    def __init__(
        self,
        config: Config,
        store: Store,
        sealer: Sealer,
        watch: Watch,
        stack: AsyncExitStack,
        tls: ServerTls | None,
        node: bytes,
        predecessor: bytes | None,
        heartbeat: Heartbeat,
        meter: Meter,
    ) -> None:
        self._config = config
        self._store = store
        self._sealer = sealer
        self._watch = watch
        self._tls = tls
        self._status = ""
        db = Pool("database", config.database.pool)
        stack.callback(db.close)
        self._changes = Changes(store, db, poll_s=config.worker.poll_ms / 1000)
        issuer = aws_iot(config, meter)
        rsa_keys = RsaKeyMaker(config.worker.rsa_pool)
        stack.callback(rsa_keys.close)
        keys: dict[KeySource, KeyMaker] = {KeySource.EC_P256: P256KeyMaker(), KeySource.RSA2048: rsa_keys}
        self._worker = _worker(config, store, issuer, keys, sealer, self._changes, node, predecessor)
        stack.callback(self._worker.close)
        self._disposer = Disposer(
            store,
            issuer,
            DisposalSettings(config.disposal.concurrency, config.worker.lease_s, config.disposal.poll_s),
            node=node,
        )
        stack.callback(self._disposer.close)
        broken_off = threading.Event()
        may = Remedies(store.retire_orphan, store.dispose_of, unattended=True)
        pause = pacer(config.reconcile.calls_per_s, broken_off)
        reconciliation = Reconciliation(store, issuer, sealer.owns_subject, may, pause=pause)
        every_s = 3600 * config.reconcile.every_h
        self._reconciler = Reconciler(store, reconciliation.run, every_s=every_s, broken_off=broken_off)
        stack.callback(self._reconciler.close)
        services = Services(
            store=store,
            db=db,
            sealing=sealer,
            check_csr=check_csr,
            to_pkcs8=to_pkcs8,
            changes=self._changes,
            lines=Lines(store, db),
            wake_worker=self._worker.wake,
            hold_s=config.deadlines.request_s,
        )
        self._listener = _listener(config, services, meter)
        self._heartbeat = heartbeat
        stack.callback(heartbeat.close)
        self._notifier = systemd.Notifier()
        stack.callback(self._notifier.close)

    @classmethod
    async def start(cls, config: Config, stack: AsyncExitStack) -> Node:
        """Secrets, schema, listener: whatever is wrong is said before a device is let in."""
        sealer = Sealer(load_master_key(config.secrets.master_key_path))
        metrics = Metrics() if config.metrics.enabled else None
        meter = metrics or NO_METER
        database = configured(config, pool=connections(config), meter=meter)
        stack.callback(database.close)
        database.serve_alone()
        watch = Watch(config, database, sealer)
        stack.callback(watch.close)
        watch.begin()
        node, kept = node_id(config.worker.state_dir or os.environ.get("STATE_DIRECTORY", ""), stack)
        # Whoever serves a SQLite file serves it alone, so all claims in it are of the dead.
        predecessor = b"" if database.path is not None else node[:NODE_PREFIX] if kept else None
        store = CountedStore(database, Trail(sealer.audit_mac, f"node:{node[:4].hex()}"), meter)
        tls = ServerTls(config.tls.certificate_file, config.tls.key_file) if config.tls.certificate_file else None
        heartbeat = Heartbeat(Nodes(database), node, meter)
        daemon = cls(config, store, sealer, watch, stack, tls, node, predecessor, heartbeat, meter)
        if metrics is not None:
            daemon._answer_monitors(metrics, stack)
        await daemon._listen(binding.sockets(config))
        return daemon

    def _answer_monitors(self, metrics: Metrics, stack: AsyncExitStack) -> None:
        pages = {
            "/metrics": lambda: Page(200, metrics.page(), CONTENT_TYPE),
            "/healthz": verdict(self._heartbeat.stuck),
            "/readyz": verdict(self._heartbeat.unready),
        }
        monitor = Monitor(self._config.metrics.port, pages)
        stack.callback(monitor.close)
        logs.canonical("monitor", address=f"{HOST}:{monitor.port}")

    async def _listen(self, bound: binding.Bound) -> None:
        listen, tls = self._config.listen, self._config.tls
        await self._listener.start(
            bound.plain, backlog=listen.backlog, suites=listen.offered, trusted=listen.trusted_network
        )
        await self._listener.start(bound.tls, backlog=listen.backlog, suites=tls.offered, tls=self._tls)
        plain, secure = binding.addresses(bound.plain), binding.addresses(bound.tls)
        logs.canonical("listening", address=plain, tls_address=secure, suites=sorted(listen.suites), pid=os.getpid())
        self._status = "listening on " + ", ".join(it for it in (plain, secure and f"{secure} (TLS)") if it)
        self._notifier.ready(self._status)

    def reload(self) -> None:
        """SIGHUP: read the certificate of the TLS listener anew. One that cannot be used changes nothing."""
        if self._tls is None:
            log.warning("SIGHUP: there is no TLS listener, and nothing else is read anew; restart for all the rest")
            return
        self._notifier.reloading()
        try:
            self._tls.reload()
        except ConfigError as error:
            log.error("TLS: the certificate in use stays: %s", error)
        else:
            logs.canonical("reloaded", tls_expires=self._tls.expires.isoformat())
            self._tls.check_expiry(datetime.now(UTC))
        self._notifier.ready(self._status)

    def work(self) -> list[Coroutine[Any, Any, None]]:
        """What runs beside the connections, for ever."""
        return [
            self._listener.run(),
            self._worker.run(),
            self._disposer.run(),
            self._reconciler.run(),
            self._changes.run(),
            self._heartbeat.run(),
            self._heartbeat.turn(),
            self._watch.run(),
            self._feed_watchdog(),
            *([self._tls.watch()] if self._tls is not None else []),
        ]

    async def _feed_watchdog(self) -> None:
        await self._notifier.feed_watchdog()
        await asyncio.Event().wait()  # no watchdog waits: the other tasks go on

    async def drain(self) -> None:
        """Stop accepting, answer DRAINING to who waits, end what is past the intent, cut the rest and say
        how many."""
        drain_s = self._config.deadlines.drain_s
        self._notifier.stopping("draining")
        self._heartbeat.drain()
        self._changes.drain()
        self._worker.stop()
        self._disposer.stop()
        self._reconciler.stop()
        cut = await self._listener.drain(drain_s)
        left = await self._worker.finish(drain_s)
        await self._heartbeat.stopped()
        logs.canonical("stopped", connections_cut=cut, issuances_left=left)


def _worker(
    config: Config,
    store: Store,
    issuer: AwsIot,
    keys: Mapping[KeySource, KeyMaker],
    sealer: Sealer,
    changes: Changes,
    node: bytes,
    predecessor: bytes | None,
) -> Worker:
    aws = config.aws
    call_s = aws.connect_timeout_s + aws.read_timeout_s
    return Worker(
        store,
        issuer,
        keys,
        sealer,
        WorkerSettings(config.worker.concurrency, config.worker.lease_s, config.worker.poll_ms / 1000, call_s),
        node=node,
        predecessor=predecessor,
        root_ca=root_cas(config),
        data_endpoint=aws.data_endpoint or None,
        on_moved=changes.moved_from_thread,
    )


def _listener(config: Config, services: Services, meter: Meter) -> Listener:
    deadlines = config.deadlines
    return Listener(
        deadlines=Deadlines(
            handshake_s=deadlines.handshake_s,
            hello_s=deadlines.hello_s,
            proof_s=deadlines.proof_s,
            session_s=deadlines.session_s,
            progress_s=deadlines.progress_s,
            auth_delay_s=deadlines.auth_delay_ms / 1000,
        ),
        door=Door(max_connections=config.listen.max_connections, max_per_source=config.listen.max_per_source),
        vend=partial(Vend, services),
        report=partial(_report, meter),
        meter=meter,
    )


def _report(meter: Meter, fields: dict[str, Any]) -> None:
    meter.connection_ended(fields.get("status"), fields["duration_ms"] / 1000)
    logs.canonical("connection", **fields)

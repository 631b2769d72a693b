"""The daemon: assembles its parts, starts them, and stops them in order."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qoemon.common import systemd
from qoemon.common.cgroup import memory_limit
from qoemon.common.extras import how_to_add
from qoemon.config.config import Config, Http
from qoemon.config.plan import core_plan
from qoemon.core.alerting.alerts import AlertKey
from qoemon.daemon.health import Health
from qoemon.daemon.metrics import build_metrics, memory_metrics
from qoemon.daemon.reload import Reloader
from qoemon.daemon.tick_loop import TickLoop
from qoemon.engine.engine import Engine, ExtraState, SetupError
from qoemon.engine.local import LocalEngine
from qoemon.engine.storage import enter, history_store, open_store, state_directory
from qoemon.inputs.mqtt.options import broker_options
from qoemon.net.http.listener import bound, listen_fault
from qoemon.net.http.server import serve
from qoemon.net.http.stats import HttpStats, http_metrics
from qoemon.net.http.web_config import WebConfig
from qoemon.net.mqtt.client import Broker
from qoemon.outputs.latest import Latest
from qoemon.outputs.notify.notifier import Notifier
from qoemon.outputs.notify.receivers import receivers
from qoemon.outputs.page.links import Links
from qoemon.outputs.pair.options import pair_options
from qoemon.outputs.pair.pair import Pair
from qoemon.outputs.pair.routes import add_pair
from qoemon.outputs.publisher import Publisher
from qoemon.outputs.routes import application
from qoemon.state.kept_history import KeptHistory
from qoemon.state.layout import SHARDS
from qoemon.state.metrics import disk_metrics, history_metrics

LOG = logging.getLogger("qoemon.daemon")


class ListenError(Exception):
    """A port cannot be used; the message gives the reason."""


@dataclass(frozen=True)
class Daemon:
    """A running daemon; url is that of its HTTP server."""

    url: str
    latest: Latest
    engine: Engine
    tick_loop: TickLoop
    reloader: Reloader

    async def reload(self, path: Path, overrides: Sequence[str]) -> None:
        """Apply a changed configuration file with its overrides, if possible; reports the reload to systemd."""
        systemd.notify(RELOADING=1)
        await self.reloader.reload(path, overrides, self.engine, self.tick_loop)
        systemd.notify(READY=1)

    async def adopt_alerts(self, firing: Callable[[], Mapping[AlertKey, int]]) -> None:
        """As Engine.adopt_alerts, between two ticks; firing is called there."""

        async def adopt() -> None:
            await self.engine.adopt_alerts(firing())

        await self.tick_loop.between_ticks(adopt())


@contextlib.asynccontextmanager
async def running(config: Config) -> AsyncIterator[Daemon]:
    """Run the daemon while the block runs: restore the state, receive, evaluate and serve; then drain.

    raises   StateError if the state cannot be used, ListenError if a port cannot be used, ConfigError if a web
             configuration file is not valid; an ExceptionGroup if a part fails
    """
    tick_s, broker = core_plan(config).timing.tick_s, None if config.mqtt is None else broker_options(config.mqtt)
    http_stats, directory = HttpStats(), state_directory(config)
    web = WebConfig(config.http.web_config_file, http_stats)
    async with contextlib.AsyncExitStack() as ends:
        sockets = await bound_sockets(config.http)
        for listening in sockets:
            ends.callback(listening.close)
        port = sockets[0].getsockname()[1]
        pair = _pair(config, broker)
        url = public_url(config.http, web.now().scheme, port)
        notifier = Notifier(receivers(config.notify, broker, url), pair)
        latest = Latest()
        history = KeptHistory(history_store(config))
        publisher = Publisher(tick_s, latest, notifier, history.put)
        ends.callback(publisher.close)
        engine = _engine(config, publisher.dump)
        ends.callback(engine.close)
        await _listening(engine)
        ends.callback(history.close)
        reloader = Reloader(config)
        collectors = (
            build_metrics,
            reloader.metrics,
            lambda: http_metrics(http_stats),
            lambda: history_metrics(history.stats),
            lambda: disk_metrics(directory),
            lambda: memory_metrics(memory_limit()),
            notifier.metrics,
            *(() if pair is None else (pair.metrics,)),
        )
        tick_loop = TickLoop(core_plan(config).timing, engine, publisher, collectors)
        remark = None if pair is None else pair.remark
        health = Health(tick_s, engine, tick_loop, latest, None if broker is None else str(broker), remark)
        links = Links(config.http.links)
        app = application(latest, health.alive, health.ready, links, history, health.remarks, remark)
        if pair is not None:
            add_pair(app, pair)
        serving = await serve(app, sockets, web, http_stats, config.limits.http_connections)
        ends.push_async_callback(serving.cleanup)
        daemon = Daemon(url_of(web.now().scheme, config.http.host, port), latest, engine, tick_loop, reloader)
        LOG.info("serving on %s", daemon.url)
        publisher.restore(await engine.recover(publisher.add_past))
        await tick_loop.begin()
        async with _working(daemon, notifier, pair, health, config.shutdown_timeout_s):
            yield daemon


def public_url(http: Http, scheme: str, port: int) -> str:
    """The URL under which other hosts reach the daemon."""
    return url_of(scheme, _reachable(http.host), port) if http.url is None else http.url


def url_of(scheme: str, host: str, port: int) -> str:
    """The URL of a server."""
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def _reachable(host: str) -> str:
    """A host name that others can use for this listen address: the own host name if it means all addresses."""
    try:
        all_addresses = ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return host
    return socket.gethostname() if all_addresses else host


async def bound_sockets(http: Http) -> list[socket.socket]:
    """Sockets that listen where `http` says; ListenError if that is not possible."""
    try:
        return await bound(http.host, http.port)
    except OSError as error:
        raise ListenError(f"cannot listen on {http.host}:{http.port}: {listen_fault(error, 'http.port')}") from None


async def _listening(engine: Engine) -> None:
    try:
        await engine.listen()
    except OSError as error:
        raise ListenError(str(error)) from None


def _pair(config: Config, broker: Broker | None) -> Pair | None:
    if config.pair is None or broker is None:
        return None
    return Pair(pair_options(config.pair, core_plan(config).timing.tick_s), broker, secrets.token_hex(8))


def _engine(config: Config, extra_state: ExtraState) -> Engine:
    if config.clustered:
        return _spark_engine(config, extra_state)
    directory = state_directory(config)
    if directory is None:
        LOG.warning("nothing survives a restart: state.dir is not set, or state.durability is none")
    if config.workers > 1:
        from qoemon.engine.workers.pool import WorkerPool  # noqa: PLC0415 - one process needs no pool

        return WorkerPool(config, extra_state)
    if directory is None:
        return LocalEngine(config, None, extra_state)
    lock, before = enter(config, directory)
    lock.close()  # The store takes it.
    forget = bool(before and before.endswith(SHARDS))
    return LocalEngine(config, open_store(config, directory), extra_state, forget=forget)


def _spark_engine(config: Config, extra_state: ExtraState) -> Engine:
    try:
        from qoemon.engine.spark.engine import SparkEngine  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        missing = str(error.name).partition(".")[0]
        if missing == "qoemon":
            raise
        raise SetupError(
            f"engine.kind is spark, which needs the Python package {missing}, and that is not installed: "
            f"{how_to_add('spark')}"
        ) from None
    return SparkEngine(config, extra_state)


@contextlib.asynccontextmanager
async def _working(
    daemon: Daemon, notifier: Notifier, pair: Pair | None, health: Health, timeout_s: float
) -> AsyncIterator[None]:
    """Run every part in its own task; when the block ends, drain and cancel them."""
    running_parts = {
        **daemon.engine.parts(),
        "notifier": notifier.run(),
        "watchdog": feed_watchdog(health.alive),
    }
    if pair is not None:
        running_parts["pair"] = pair.run(
            notifier, daemon.adopt_alerts, lambda: not health.ready(), lambda: daemon.reloader.sections
        )
    async with asyncio.TaskGroup() as group:
        parts = [group.create_task(part, name=f"qoemon.{name}") for name, part in running_parts.items()]
        ticking = group.create_task(daemon.tick_loop.run(), name="qoemon.tick_loop")
        systemd.notify(READY=1, STATUS=f"serving on {daemon.url}")
        try:
            yield
        finally:
            health.drain()
            await _drain(daemon, notifier, pair, ticking, timeout_s)
            for part in parts:
                part.cancel()


async def _drain(
    daemon: Daemon, notifier: Notifier, pair: Pair | None, ticking: asyncio.Task[None], timeout_s: float
) -> None:
    """Stop receiving; store and acknowledge all messages that have arrived, deliver waiting notices.

    After that, the other daemon of the pair sends.
    """
    systemd.notify(STOPPING=1, STATUS="shutting down")
    daemon.engine.stop_receiving()
    daemon.tick_loop.stop()
    until_s = asyncio.get_running_loop().time() + timeout_s
    await asyncio.wait({ticking}, timeout=timeout_s)
    ticking.cancel()
    await asyncio.wait({ticking})
    if not await _done_by(until_s, notifier.flush()):
        LOG.warning("shutting down with %d undelivered notices", len(notifier.undelivered()))
    if pair is not None:
        await pair.release()
    if ticking.cancelled() or ticking.exception() is not None:
        return
    if not await _done_by(max(until_s, asyncio.get_running_loop().time() + 1), daemon.engine.finish()):
        LOG.warning("the state could not be stored in time: the journal is replayed at the next start")


async def feed_watchdog(alive: Callable[[], list[str]]) -> None:
    """Notify systemd's watchdog while the process is alive; alive: its problems."""
    every_s = systemd.watchdog_s()
    while every_s is not None:
        if not alive():
            systemd.notify(WATCHDOG=1)
        await asyncio.sleep(every_s)


async def _done_by(until_s: float, work: Coroutine[Any, Any, None]) -> bool:
    """Run it until this time of the event loop, then cancel it; returns whether it was done.

    Not with asyncio.timeout(): early versions of Python 3.11 confuse its expiry with the cancellation of this task.
    """
    task = asyncio.create_task(work)
    await asyncio.wait({task}, timeout=max(0.0, until_s - asyncio.get_running_loop().time()))
    done = task.done()
    task.cancel()
    await asyncio.wait({task})
    if done:
        task.result()
    return done

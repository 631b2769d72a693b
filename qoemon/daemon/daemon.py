"""The daemon: its parts put together, started, and ended in order."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

from qoemon.common import systemd
from qoemon.config.config import Config
from qoemon.config.plan import core_plan
from qoemon.daemon.reload import reload
from qoemon.daemon.tick_loop import TickLoop
from qoemon.engine.engine import Work
from qoemon.engine.local import Alone
from qoemon.engine.storage import layout_name, open_store, state_directory
from qoemon.inputs.mqtt.options import broker_options
from qoemon.net.http.server import Serving, serve
from qoemon.net.http.stats import HttpStats
from qoemon.net.http.web_config import WebConfig
from qoemon.outputs.latest import Latest
from qoemon.outputs.notify.notifier import Notifier
from qoemon.outputs.notify.receivers import receivers
from qoemon.outputs.publisher import Publisher
from qoemon.outputs.routes import application
from qoemon.state.directory import locked
from qoemon.state.layout import SHARDS, divide

LOG = logging.getLogger("qoemon")


class ListenError(Exception):
    """The HTTP port cannot be had; says why."""


class Daemon:
    """One qoemon, for as long as a block of `running()` lasts."""

    work: Work
    """What takes in reports, once started."""
    evaluator: TickLoop
    """What drives it, once started."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._timing = core_plan(config).timing
        self._http = HttpStats()
        self._web = WebConfig(config.http.web_config_file, self._http)
        self.board = Latest()
        self.publisher = Publisher(self._timing.tick_s, self.board)
        self._draining = False
        self.port = 0
        """The HTTP port, once started."""

    @property
    def url(self) -> str:
        """Where this daemon's HTTP side listens, once started."""
        return self._url(self._config.http.host)

    @property
    def public_url(self) -> str:
        """How others reach it, once started."""
        http = self._config.http
        return self._url(_name(http.host)) if http.url is None else http.url

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Begin where the last one stood; serve, receive and evaluate until the block ends; then drain and leave.

        raises   StateError if the state cannot be used, ListenError if the HTTP port cannot be had; an
                 ExceptionGroup if a part broke
        """
        async with contextlib.AsyncExitStack() as ends:
            self.work = self._work()
            ends.callback(self.work.close)
            self.evaluator = TickLoop(self._timing, self.work, self.publisher)
            self.evaluator.watchers.http = self._http
            ends.callback(self.evaluator.close)
            serving = await self._serving()
            ends.push_async_callback(serving.cleanup)
            LOG.info("serving on %s", self.url)
            self.publisher.restore(await self.work.recover(self.publisher.remember))
            self.work.also = self.publisher.dump
            await ends.enter_async_context(self._at_work())
            yield

    def alive(self) -> list[str]:
        """What is wrong with the process: nothing, as long as ticks come."""
        silent_s, tick_s = self.evaluator.silent_s, self._timing.tick_s
        if self.board.newest and silent_s > 3 * tick_s + 10:
            return [f"no tick for {silent_s:.0f} s, expected one every {tick_s} s: see the log"]
        return []

    def ready(self) -> list[str]:
        """Why its numbers should not be relied on, if so."""
        intake, problems = self.work.intake, self.alive()
        if self._draining:
            problems.append("shutting down")
        if away := self.work.problems():
            return [*problems, *away]
        if intake.kept.problem is not None:
            problems.append(f"{intake.kept.problem}: messages wait at the broker")
        if not intake.ingest.subscribed:
            problems.append(intake.ingest.last_error or f"not subscribed yet at {broker_options(self._config)}")
        if self.board.newest is None:
            problems.append("no tick has passed yet")
        return problems

    async def reload(self, path: Path) -> None:
        """Take over a changed configuration, if it can be."""
        systemd.notify(RELOADING=1)
        self._config = await reload(path, self._config, self.work, self.evaluator)
        systemd.notify(READY=1)

    def _url(self, host: str) -> str:
        return f"{self._web.now().scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"

    def _work(self) -> Work:
        config, directory = self._config, state_directory(self._config)
        if directory is None:
            LOG.warning("nothing survives a restart: state.dir is not set, or state.durability is none")
        if config.workers > 1:
            from qoemon.engine.workers.pool import WorkerPool  # noqa: PLC0415 - most daemons have one process

            return WorkerPool(config)
        if directory is None:
            return Alone(config, None)
        with locked(directory):
            before = divide(directory, layout_name(config))
        return Alone(config, open_store(config, directory), forget=bool(before and before.endswith(SHARDS)))

    async def _serving(self) -> Serving:
        http = self._config.http
        app = application(self.board, self.alive, self.ready, self.publisher.ticked)
        most = self._config.limits.http_connections
        try:
            serving, self.port = await serve(app, http.host, http.port, self._web, self._http, most)
        except OSError as error:
            raise ListenError(f"cannot listen on {http.host}:{http.port}: {error.strerror or error}") from None
        return serving

    @contextlib.asynccontextmanager
    async def _at_work(self) -> AsyncIterator[None]:
        """Every part in a task of its own."""
        broker = broker_options(self._config)
        notifier = Notifier(receivers(self._config.notify, broker, self.public_url))
        self.publisher.notifier = notifier
        running = {
            **self.work.parts(),
            "alerting.notifier": notifier.run(),
            "watchdog": self._feed_watchdog(),
        }
        async with asyncio.TaskGroup() as parts:
            others = [parts.create_task(part, name=f"qoemon.{name}") for name, part in running.items()]
            evaluate = parts.create_task(self.evaluator.run(), name="qoemon.daemon")
            systemd.notify(READY=1, STATUS=f"serving on {self.url}")
            try:
                yield
            finally:
                await self._drain(evaluate, notifier)
                for part in others:
                    part.cancel()

    async def _drain(self, evaluate: asyncio.Task[None], notifier: Notifier) -> None:
        """Take no more; store and acknowledge what was taken, tell what is to be told."""
        self._draining = True
        systemd.notify(STOPPING=1, STATUS="shutting down")
        self.work.leave()
        self.evaluator.stop()
        until_s = asyncio.get_running_loop().time() + self._config.shutdown_timeout_s
        await asyncio.wait({evaluate}, timeout=self._config.shutdown_timeout_s)
        evaluate.cancel()
        await asyncio.wait({evaluate})
        if not await _done_by(until_s, notifier.flush()):
            LOG.warning("%d notices are not delivered yet", len(notifier.unsent()))
        if evaluate.cancelled() or evaluate.exception() is not None:
            return
        if not await _done_by(max(until_s, asyncio.get_running_loop().time() + 1), self.work.finish()):
            LOG.warning("the state could not be stored in time: the journal is run again at the next start")

    async def _feed_watchdog(self) -> None:
        """As long as ticks come."""
        every_s = systemd.watchdog_s()
        while every_s is not None:
            if not self.alive():
                systemd.notify(WATCHDOG=1)
            await asyncio.sleep(every_s)


async def _done_by(until_s: float, work: Coroutine[Any, Any, None]) -> bool:
    """Whether it is done by this time of the event loop; it is cancelled if not.

    No timeout(): we are being cancelled, and Python 3.11's first versions take its end for that.
    """
    task = asyncio.create_task(work)
    await asyncio.wait({task}, timeout=max(0.0, until_s - asyncio.get_running_loop().time()))
    done = task.done()
    task.cancel()
    await asyncio.wait({task})
    if done:
        task.result()
    return done


def _name(host: str) -> str:
    """What others call a host that is listened on: all addresses of the machine are none that they could use."""
    try:
        everywhere = ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return host
    return socket.gethostname() if everywhere else host

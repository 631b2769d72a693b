"""The daemon: its parts put together, started, and ended in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NoReturn

from qoemon import systemd, wiring
from qoemon.alerting.notifier import Notifier
from qoemon.alerting.receivers import receivers
from qoemon.config import Config
from qoemon.evaluate import Evaluator
from qoemon.http import Board, Serving, application, serve
from qoemon.httpstate import HttpState
from qoemon.inbox import Inbox
from qoemon.ingest import Ingest
from qoemon.reload import reload
from qoemon.state.keeper import Keeper
from qoemon.state.store import Durability, Store
from qoemon.webconfig import WebConfig

LOG = logging.getLogger("qoemon")


SWITCH_S = 0.0005


class ListenError(Exception):
    """The HTTP port cannot be had; says why."""


class Daemon:
    """One qoemon, for as long as a block of `running()` lasts."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._plan = wiring.plan(config)
        http = HttpState()
        self._web = WebConfig(config.http.web_config_file, http)
        self.board = Board()
        self._inbox = Inbox(config.limits.inbox_messages, config.limits.inbox_bytes)
        self.ingest = Ingest(wiring.broker(config), self._inbox)
        self.evaluator = Evaluator(
            self._plan, lambda: wiring.pipeline(config), self._inbox, self.ingest, self.board
        )
        self.evaluator.watchers.http = http
        self._keeper: Keeper | None = None
        self._draining = self._recovering = False
        self.port = 0
        """The HTTP port, once started."""

    @property
    def url(self) -> str:
        """Where this daemon's HTTP side is, once started."""
        host = self._config.http.host
        return f"{self._web.now().scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Begin where the last one stood; serve, receive and evaluate until the block ends; then drain and leave.

        raises   StateError if the state cannot be used, ListenError if the HTTP port cannot be had; an
                 ExceptionGroup if a part broke
        """
        async with contextlib.AsyncExitStack() as ends:
            ends.callback(self.evaluator.close)
            store = self._store()
            if store is not None:
                self._keeper = Keeper(store, self.evaluator.safe)
                ends.callback(self._keeper.close)
            serving = await self._serving()
            ends.push_async_callback(serving.cleanup)
            LOG.info("serving on %s", self.url)
            if store is not None and self._keeper is not None:
                await self._recover(store, self._keeper)
            await ends.enter_async_context(self._at_work())
            yield

    def alive(self) -> list[str]:
        """What is wrong with the process: nothing, as long as ticks come."""
        newest, tick_s = self.board.newest, self._plan.timing.tick_s
        age_s = time.time() - newest.snapshot.time_s if newest else 0
        if age_s > 3 * tick_s + 10:
            return [f"the newest tick is {age_s:.0f} s old, expected one every {tick_s} s: see the log"]
        return []

    def ready(self) -> list[str]:
        """Why its numbers should not be relied on, if so."""
        state = self.ingest.state
        problems = self.alive()
        if self._draining:
            problems.append("shutting down")
        if self._recovering:
            return [*problems, "running the journal of the last daemon again: see the log for how far it is"]
        if self._keeper is not None and self._keeper.state.problem is not None:
            problems.append(f"{self._keeper.state.problem}: messages wait at the broker")
        if not state.subscribed:
            problems.append(state.last_error or f"not subscribed yet at {self.ingest.broker}")
        if self.board.newest is None:
            problems.append("no tick has passed yet")
        return problems

    async def reload(self, path: Path) -> None:
        """Take over a changed configuration, if it can be."""
        systemd.notify(RELOADING=1)
        self._config = await reload(path, self._config, self.evaluator)
        systemd.notify(READY=1)

    def _store(self) -> Store | None:
        state = self._config.state
        systemds = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
        directory = state.dir or (Path(systemds) if systemds else None)
        if directory is None or state.durability is Durability.NONE:
            LOG.warning("nothing survives a restart: state.dir is not set, or state.durability is none")
            return None
        return Store(directory, state.durability, state.journal_bytes)

    async def _serving(self) -> Serving:
        http = self._config.http
        app = application(self.board, self.alive, self.ready, self.evaluator.ticked)
        most = self._config.limits.http_connections
        try:
            serving, self.port = await serve(
                app, http.host, http.port, self._web, self.evaluator.watchers.http, most
            )
        except OSError as error:
            raise ListenError(f"cannot listen on {http.host}:{http.port}: {error.strerror or error}") from None
        return serving

    async def _recover(self, store: Store, keeper: Keeper) -> None:
        self._recovering = True
        try:
            await self.evaluator.recover(store)
        finally:
            self._recovering = False
        self.evaluator.keep(keeper, self._config.state.checkpoint_s)

    @contextlib.asynccontextmanager
    async def _at_work(self) -> AsyncIterator[None]:
        """Every part in a task of its own."""
        notifier = Notifier(receivers(self._config.notify, self.ingest.broker, self.url))
        self.evaluator.watchers.notifier = notifier
        async with asyncio.TaskGroup() as parts:
            others = [
                parts.create_task(self.ingest.run(), name="qoemon.ingest"),
                parts.create_task(notifier.run(), name="qoemon.alerting.notifier"),
                parts.create_task(self._feed_watchdog(), name="qoemon.watchdog"),
            ]
            if self._keeper is not None:
                others.append(parts.create_task(self._keeper.run(), name="qoemon.state.keeper"))
            evaluate = parts.create_task(self.evaluator.run(), name="qoemon.evaluate")
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
        self.ingest.leave()
        self.evaluator.stop()
        until_s = asyncio.get_running_loop().time() + self._config.shutdown_timeout_s
        await asyncio.wait({evaluate})
        try:
            async with asyncio.timeout_at(until_s):
                await notifier.flush()
        except TimeoutError:
            LOG.warning("%d notices are not delivered yet", len(notifier.unsent()))
        if self._keeper is None or evaluate.cancelled() or evaluate.exception() is not None:
            return
        try:
            async with asyncio.timeout_at(max(until_s, asyncio.get_running_loop().time() + 1)):
                await self.evaluator.checkpoint()
                await self._keeper.flush()
        except TimeoutError:
            LOG.warning("the state could not be stored in time: the journal is run again at the next start")

    async def _feed_watchdog(self) -> None:
        """As long as ticks come."""
        every_s = systemd.watchdog_s()
        while every_s is not None:
            if not self.alive():
                systemd.notify(WATCHDOG=1)
            await asyncio.sleep(every_s)


async def run(config: Config, path: Path | None = None) -> None:
    """Be a daemon until SIGTERM or SIGINT; on SIGHUP take over what has changed in the file at path."""
    # The event loop waits this long for its turn when the evaluation computes; Python's 5 ms add up to a tenth of a
    # second at 20,000 messages/s.
    sys.setswitchinterval(SWITCH_S)
    with cancelled_by_signals():
        daemon = Daemon(config)
        async with daemon.running():
            await _reload_when_asked(daemon, path)


async def _reload_when_asked(daemon: Daemon, path: Path | None) -> NoReturn:
    asked, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, asked.set)
    try:
        while True:
            await asked.wait()
            asked.clear()
            if path is None:
                LOG.warning("SIGHUP: there is no configuration file to reload; start qoemon with -c")
            else:
                await daemon.reload(path)
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


@contextlib.contextmanager
def cancelled_by_signals() -> Iterator[None]:
    """End the block in order on SIGTERM or SIGINT: it is cancelled, and what it has begun is taken down."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None, "called by a task"  # noqa: S101 - there is no other way to get here
    asked: list[signal.Signals] = []

    def ask(number: signal.Signals) -> None:
        LOG.info("%s: shutting down", number.name)
        asked.append(number)
        task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ask, number)
    try:
        yield
    except asyncio.CancelledError:
        if not asked:
            raise
        task.uncancel()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)

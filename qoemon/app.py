"""The daemon: its parts put together, started, and ended in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import AsyncIterator, Iterator

from qoemon import wiring
from qoemon.alerting.notifier import Notifier
from qoemon.alerting.receivers import receivers
from qoemon.config import Config
from qoemon.core.watch import Watch
from qoemon.evaluate import Evaluator
from qoemon.http import Board, application, serve
from qoemon.httpstate import HttpState
from qoemon.inbox import Inbox
from qoemon.ingest import Ingest
from qoemon.webconfig import WebConfig

LOG = logging.getLogger("qoemon")


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
        watch = Watch(self._plan, wiring.rules(config), config.regimes.core)
        self.evaluator = Evaluator(self._plan, watch, self._inbox, self.ingest, self.board)
        self.evaluator.http = http
        self._draining = False
        self.port = 0
        """The HTTP port, once started."""

    @property
    def url(self) -> str:
        """Where this daemon's HTTP side is, once started."""
        host = self._config.http.host
        return f"{self._web.now().scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve, receive and evaluate until the block ends; then take in what has arrived, and leave.

        raises   ListenError if the HTTP port cannot be had; an ExceptionGroup if a part broke
        """
        http = self._config.http
        try:
            app = application(self.board, self.alive, self.ready, self.evaluator.ticked)
            most = self._config.limits.http_connections
            runner, self.port = await serve(app, http.host, http.port, self._web, self.evaluator.http, most)
        except OSError as error:
            raise ListenError(f"cannot listen on {http.host}:{http.port}: {error.strerror or error}") from None
        LOG.info("serving on %s", self.url)
        notifier = Notifier(receivers(self._config.notify, self.ingest.broker, self.url))
        self.evaluator.notifier = notifier
        try:
            async with asyncio.TaskGroup() as parts:
                ingest = parts.create_task(self.ingest.run(), name="qoemon.ingest")
                notify = parts.create_task(notifier.run(), name="qoemon.alerting.notifier")
                evaluate = parts.create_task(self.evaluator.run(), name="qoemon.evaluate")
                try:
                    yield
                finally:
                    self._draining = True
                    self.evaluator.stop()
                    await asyncio.wait({evaluate})
                    ingest.cancel()
                    notify.cancel()
        finally:
            self.evaluator.close()
            await runner.cleanup()

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
        if not state.subscribed:
            problems.append(state.last_error or f"not subscribed yet at {self.ingest.broker}")
        if self.board.newest is None:
            problems.append("no tick has passed yet")
        return problems


async def run(config: Config) -> None:
    """Be a daemon until SIGTERM or SIGINT."""
    with cancelled_by_signals():
        daemon = Daemon(config)
        async with daemon.running():
            await asyncio.Future()


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

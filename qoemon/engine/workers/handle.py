"""The parent's handle on one worker: supervises its process, keeps unanswered requests and uncommitted batches."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import signal
import socket
import sys
import time
from asyncio.subprocess import Process
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, Protocol

import qoemon
from qoemon.common.backoff import backoff_s
from qoemon.config.config import Config
from qoemon.core.counting.counts import Event
from qoemon.core.counting.groups import Labels
from qoemon.core.sharding.shard_counts import ShardCounts
from qoemon.engine.stats import NOTHING_YET, EngineStats, WorkerStats
from qoemon.engine.workers.channel import Channel, ChannelError, opened
from qoemon.engine.workers.messages import (
    Committed,
    FreezeGroups,
    Heartbeat,
    Ready,
    RecoveryProgress,
    Reload,
    Start,
    Stop,
    TickRequest,
    TickResult,
)
from qoemon.inputs.stats import MqttStats

LOG = logging.getLogger("qoemon.engine.workers")

STEADY_S = 30.0
"""After a worker has run this long, the pause before the next restart is the shortest again."""

SHORTEST_S, LONGEST_S = 0.1, 10.0
"""Range of pauses before a restart: random, with an upper limit that doubles up to LONGEST_S."""

SILENT_S, HANGS_S = 5.0, 60.0
"""A worker sends a heartbeat every second. After SILENT_S without a message there is a problem, after HANGS_S it is
killed."""

NOT_INHERITED = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""Environment variables that systemd sets for the parent only."""


class WorkerEvents(Protocol):
    """Callbacks from workers to their pool."""

    def start_message(self, worker: int) -> Start:
        """The first message to a new process of this worker."""

    def committed(self, worker: int, number: int) -> None:
        """The worker has committed the batches up to this number."""

    def emptied(self, worker: int) -> None:
        """The worker has begun without the sessions of its previous process."""


class WorkerHandle:
    """Sends messages to a worker, and keeps unconfirmed ones for its next process."""

    def __init__(self, number: int, events: WorkerEvents) -> None:
        self._number, self._events = number, events
        self._process = ProcessSupervisor(number, self)
        self._channel: Channel | None = None
        self._activity = "is being started"
        self._up = False
        self._heard_s = 0.0
        """Monotonic time of its last message."""
        self._uncommitted: deque[tuple[int, bytes]] = deque()
        """Uncommitted batches, to be sent again to the next process if this one ends."""
        self._deferred: list[object] = []
        """Messages to send after its recovery."""
        self._frozen: Mapping[str, tuple[Labels, ...]] | None = None
        """As the worker was last told; None if it was not told yet, when those of its stored state hold."""
        self._answer: asyncio.Future[ShardCounts | None] | None = None
        self._tick_s = 0
        """The requested tick, seconds since the epoch."""
        self._stats = _ProcessStats()

    @property
    def up(self) -> bool:
        """Whether the worker has recovered, and accepts reports."""
        return self._up

    @property
    def process(self) -> ProcessSupervisor:
        """The supervisor of its process."""
        return self._process

    @property
    def stats(self) -> EngineStats:
        """Statistics of the worker, with the totals of all its processes."""
        return self._stats.engine(alive=self._channel is not None)

    @property
    def worker_stats(self) -> WorkerStats:
        """Statistics of the worker's process."""
        return self._stats.worker(up=self.problem is None, restarts=self._process.restarts)

    @property
    def problem(self) -> str | None:
        """Why the worker prevents ticks, as text; None if it does not."""
        silent_s = time.monotonic() - self._heard_s
        if self._up and silent_s > SILENT_S:
            return (
                f"worker {self._number} has sent nothing for {silent_s:.0f} s; it is killed after {HANGS_S:.0f} s"
            )
        return None if self._up else f"worker {self._number} {self._activity}: see the log"

    def send_batch(self, number: int, batch: bytes) -> None:
        """Send a packed IngestBatch; it is sent again to later processes until one commits it."""
        self._uncommitted.append((number, batch))
        if self._up and self._channel:
            self._channel.send_packed(batch)

    def send(self, message: object) -> None:
        """Send a message when the worker is up; a process that is not started yet gets its content with Start."""
        if self._up and self._channel:
            self._channel.send(message)
        elif self._channel:
            self._deferred.append(message)

    def reload(self, config: Config) -> None:
        """Have the worker continue with this configuration; frozen groups must be sent again."""
        self.send(Reload(config))
        self._frozen = None

    def freeze_groups(self, groups: Mapping[str, tuple[Labels, ...]]) -> None:
        """Have the worker, and its later processes, pool all groups of these services but these."""
        if groups != self._frozen:
            self._frozen = groups
            if self._up:
                self.send(FreezeGroups(groups))

    def request_tick(self, request: TickRequest) -> asyncio.Future[ShardCounts | None]:
        """Request the counts at a tick; the result is None if the worker ends before it has answered."""
        self._answer, self._tick_s = asyncio.get_running_loop().create_future(), request.tick_s
        # One that is not up would get it before reports that came earlier, and close their intervals without them.
        if self._up:
            self.send(request)
        else:
            self._answer.set_result(None)
        return self._answer

    def give_up(self) -> None:
        """Stop waiting for its counts."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(None)

    def stop(self) -> None:
        """Have the worker store its state, and exit."""
        self._process.stop_restarting()
        if self._up:
            self.send(Stop())
        else:
            self._process.kill()

    def connected(self, channel: Channel) -> None:
        """Called when a process has been started."""
        self._channel, self._heard_s = channel, time.monotonic()
        channel.send(self._events.start_message(self._number))

    def received(self, message: Any) -> None:
        """Called with each message of the process."""
        self._heard_s = time.monotonic()
        match message:
            case Heartbeat():
                self._stats.heartbeat = message
            case Committed(number):
                while self._uncommitted and self._uncommitted[0][0] <= number:
                    self._uncommitted.popleft()
                self._events.committed(self._number, number)
            case TickResult(counts):
                self._stats.reports = counts.events.get(Event.REPORT, 0)
                # A late result is ignored.
                if self._answer is not None and not self._answer.done() and counts.time_s == self._tick_s:
                    self._answer.set_result(counts)
            case RecoveryProgress(done):
                self._activity = f"is replaying its journal, {done:.0%} done"
            case Ready(empty):
                if empty:
                    self._events.emptied(self._number)
                self._begin()

    def disconnected(self) -> None:
        """Called when the process has ended, or is about to be killed."""
        self._up, self._channel, self._activity = False, None, "has ended and is being restarted"
        self._deferred = []
        self._stats.end_process()
        self.give_up()

    def _begin(self) -> None:
        self._up = True
        LOG.info("worker %d accepts reports, process %d", self._number, self._process.pid)
        # Also if there are none: its stored state may have those of before.
        for message in [*self._deferred, *([] if self._frozen is None else [FreezeGroups(self._frozen)])]:
            self.send(message)
        self._deferred = []
        for _, batch in self._uncommitted:
            if self._channel:
                self._channel.send_packed(batch)


class ProcessSupervisor:
    """Keeps the process of one worker alive: restarts it whenever it ends or hangs, after pauses that grow."""

    def __init__(self, number: int, handle: WorkerHandle) -> None:
        self._number, self._handle = number, handle
        self._process: Process | None = None
        self._failures = 0
        """Consecutive ones."""
        self._stopping = False
        self.restarts = 0
        self.ended = asyncio.Event()
        """Set when the process has ended and is not restarted."""

    @property
    def pid(self) -> int:
        """The process id; 0 if there is no process."""
        return self._process.pid if self._process else 0

    async def run(self) -> NoReturn:
        """Restart the process until cancelled, or until it ends after stop_restarting()."""
        while not self._stopping:
            began_s = time.monotonic()
            end = await self._run_process()
            if self._stopping:
                break
            self._failures = 0 if time.monotonic() - began_s >= STEADY_S else self._failures + 1
            self.restarts += 1
            pause_s = backoff_s(self._failures, SHORTEST_S, LONGEST_S)
            LOG.error("worker %d %s: no ticks until it is up again; restart in %.1f s", self._number, end, pause_s)
            await asyncio.sleep(pause_s)
        self.ended.set()
        while True:
            await asyncio.sleep(math.inf)

    def stop_restarting(self) -> None:
        """Do not restart the process when it ends."""
        self._stopping = True
        if self._process is None:
            self.ended.set()

    def kill(self) -> None:
        """Kill the process, if there is one."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def _run_process(self) -> str:
        """Run one process from start to end; returns how it ended, as the end of a sentence."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = self._process = await _started(theirs.fileno())
        except OSError as error:
            ours.close()
            return f"could not be started ({error.strerror or error})"
        channel = await opened(ours)
        self._handle.connected(channel)
        try:
            await self._receive(channel)
        finally:
            self._handle.disconnected()
            channel.close()
            code = await self._end(process)
        return f"was killed ({signal.Signals(-code).name})" if code < 0 else f"ended with exit code {code}"

    async def _receive(self, channel: Channel) -> None:
        """Pass on its messages until the channel is closed, or there is none for HANGS_S."""
        try:
            with contextlib.suppress(ChannelError):
                while True:
                    async with asyncio.timeout(HANGS_S):
                        message = await channel.receive()
                    self._handle.received(message)
        except TimeoutError:
            LOG.error("worker %d has sent nothing for %.0f s: it is killed", self._number, HANGS_S)

    async def _end(self, process: Process) -> int:
        """Wait a second for the process to end and log the reason, then kill it; returns its exit code."""
        # Not asyncio.timeout(): early versions of Python 3.11 confuse its expiry with a cancellation of this task.
        ending = asyncio.ensure_future(process.wait())
        await asyncio.wait({ending}, timeout=1)
        self.kill()
        code = await ending
        self._process = None
        return code


_ABSENT = EngineStats(mqtt=MqttStats())
"""Statistics of a worker without a process. If workers have connections to the broker, its own is down."""


class _ProcessStats:
    """Statistics of a worker over all its processes."""

    def __init__(self) -> None:
        self.heartbeat = self._none = Heartbeat(_ABSENT, 0.0, 0)
        self.reports = 0
        self._ended, self._ended_cpu_s = NOTHING_YET, 0.0

    def engine(self, *, alive: bool) -> EngineStats:
        return (self.heartbeat.stats if alive else _ABSENT) + self._ended

    def worker(self, *, up: bool, restarts: int) -> WorkerStats:
        cpu_s = self._ended_cpu_s + self.heartbeat.cpu_s
        return WorkerStats(up, restarts, cpu_s, self.heartbeat.memory, self.reports)

    def end_process(self) -> None:
        """Keep the totals of the process that has ended."""
        self._ended += self.heartbeat.stats.totals()
        self._ended_cpu_s += self.heartbeat.cpu_s
        self.heartbeat = self._none


async def _started(end: int) -> Process:
    """Start the process, with this descriptor as its end of the channel."""
    env = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
    home = str(Path(qoemon.__file__).parents[1])
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [home, env.get("PYTHONPATH", "")]))
    # -P: nothing is imported from the working directory. Own process group: Ctrl-C reaches only the parent.
    return await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "qoemon.engine.workers", str(end), pass_fds=(end,), env=env, process_group=0
    )

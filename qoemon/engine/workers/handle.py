"""One worker as the parent sees it: its process, started again whenever it ends, and what it owes an answer to."""

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
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import qoemon
from qoemon.common.backoff import backoff_s
from qoemon.config.config import Config
from qoemon.core.counting.counts import Event
from qoemon.core.counting.groups import Labels
from qoemon.core.sharding.shard_counts import Share
from qoemon.core.sharding.sparse import Thickener
from qoemon.engine.stats import Intake, WorkerStats, gone, together
from qoemon.engine.workers.channel import Channel, ChannelError, opened
from qoemon.engine.workers.messages import (
    Begin,
    FreezeGroups,
    Heartbeat,
    Leave,
    Ready,
    RecoveryProgress,
    Reload,
    Safe,
    TickRequest,
    Told,
)

LOG = logging.getLogger("qoemon.engine.workers")

STEADY_S = 30.0
"""A worker that lived this long was a good one: the next pause starts from the shortest again."""

SHORTEST_S, LONGEST_S = 0.1, 10.0
"""Pauses before it is started again are drawn from SHORTEST_S to a limit that doubles up to LONGEST_S."""

SILENT_S, HANGS_S = 5.0, 60.0
"""A worker says how it fares every second. One that has said nothing for SILENT_S is not well, after HANGS_S it is
ended."""

ITS_OWN = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""What systemd says to the parent only."""


@dataclass(frozen=True)
class Answer:
    """A share whose tallies are still to be made whole."""

    share: Share
    thickener: Thickener

    def whole(self) -> Share:
        """The share; to be asked before another one comes."""
        return replace(self.share, tallies=self.thickener.newest())


class Hand:
    """A worker, again and again.

    begin  what it is told first, each time
    safe   told when the takes up to a number are safe
    anew   told when it has begun without what the one before it held
    """

    def __init__(
        self,
        number: int,
        begin: Callable[[], Begin],
        safe: Callable[[int, int], object],
        anew: Callable[[int], object],
    ) -> None:
        self._number, self._begin, self._safe, self._anew = number, begin, safe, anew
        self._channel: Channel | None = None
        self._process: Process | None = None
        self._doing = "is being started"
        self.up = False
        """It has all its sessions, and takes in."""
        self._unsafe: deque[tuple[int, bytes]] = deque()
        """Takes that it has not called safe, to be told again if it ends."""
        self._later: list[object] = []
        """What was said while it ran its journal."""
        self._only: Mapping[str, tuple[Labels, ...]] = {}
        self._answer: asyncio.Future[Answer | None] | None = None
        self._tick_s = 0
        """For which tick it is asked."""
        self._heard_s = 0.0
        """When it last said something."""
        self._thickener = Thickener()
        self._fare, self._before = Heartbeat(Intake(), 0.0, 0), Heartbeat(gone(Intake()), 0.0, 0)
        """How it fares, and what its earlier lives add to that."""
        self._restarts = self._failures = self._reports = 0
        self._leaving = False
        self.ended = asyncio.Event()
        """It was told to leave, and has."""

    @property
    def intake(self) -> Intake:
        """How it goes, with the totals of all its lives."""
        here = self._fare.intake if self._channel else Intake()
        return together([here, self._before.intake])

    @property
    def state(self) -> WorkerStats:
        """How it fares."""
        fare, before = self._fare, self._before
        return WorkerStats(
            self.problem is None, self._restarts, before.cpu_s + fare.cpu_s, fare.memory, self._reports
        )

    @property
    def problem(self) -> str | None:
        """Why there are no figures, if it is its fault."""
        silent_s = time.monotonic() - self._heard_s
        if self.up and silent_s > SILENT_S:
            return f"worker {self._number} has said nothing for {silent_s:.0f} s; it is ended after {HANGS_S:.0f} s"
        return None if self.up else f"worker {self._number} {self._doing}: see the log"

    async def run(self) -> NoReturn:
        """Keep it alive until cancelled; after leave() let it end."""
        while not self._leaving:
            began_s = time.monotonic()
            said = await self._live()
            if self._leaving:
                break
            self._failures = 0 if time.monotonic() - began_s >= STEADY_S else self._failures + 1
            self._restarts += 1
            pause_s = backoff_s(self._failures, SHORTEST_S, LONGEST_S)
            LOG.error(
                "worker %d %s: no figures until it stands again; it is started anew in %.1f s",
                self._number,
                said,
                pause_s,
            )
            await asyncio.sleep(pause_s)
        self.ended.set()
        while True:
            await asyncio.sleep(math.inf)

    def take(self, number: int, take: bytes) -> None:
        """Have it take in a packed Take; it is told again and again until it says that this is safe."""
        self._unsafe.append((number, take))
        if self.up and self._channel:
            self._channel.send_packed(take)

    def say(self, word: object) -> None:
        """Tell it, once it is up; one that is not even begun will learn it from Begin."""
        if self.up and self._channel:
            self._channel.send(word)
        elif self._channel:
            self._later.append(word)

    def reload(self, config: Config) -> None:
        """Have it go on with this configuration; what it knows only is to be said anew."""
        self.say(Reload(config))
        self._only = {}

    def know_only(self, groups: Mapping[str, tuple[Labels, ...]]) -> None:
        """Have it, and those after it, pool what is beyond these groups."""
        if groups.keys() != self._only.keys():
            self._only = groups
            if self.up:
                self.say(FreezeGroups(groups))

    def ask(self, tick: TickRequest) -> asyncio.Future[Answer | None]:
        """What it has to say at a tick; None if it ends before it could."""
        self._answer, self._tick_s = asyncio.get_running_loop().create_future(), tick.tick_s
        if not self.up:
            self._answer.set_result(None)
        self.say(tick)
        return self._answer

    def give_up(self) -> None:
        """Wait no longer for its answer."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(None)

    def leave(self) -> None:
        """Let it store what it has, and end."""
        self._leaving = True
        if self.up:
            self.say(Leave())
        else:
            self._kill()
        if self._process is None:
            self.ended.set()

    async def _live(self) -> str:
        """One life, from its start to its end; how it ended."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = self._process = await _started(theirs.fileno())
        except OSError as error:
            ours.close()
            return f"could not be started ({error.strerror or error})"
        channel = self._channel = await opened(ours)
        self._thickener, self._heard_s = Thickener(), time.monotonic()
        try:
            channel.send(self._begin())
            with contextlib.suppress(ChannelError):
                while True:
                    async with asyncio.timeout(HANGS_S):
                        word = await channel.receive()
                    self._hear(word, channel)
        except TimeoutError:
            LOG.error("worker %d has said nothing for %.0f s: it is ended", self._number, HANGS_S)
        finally:
            self._end()
            channel.close()
            # It has nobody to talk to any more. If it ends by itself, let it say why. No timeout(): where we are
            # being cancelled, Python 3.11's first versions take its end for that.
            ending = asyncio.ensure_future(process.wait())
            await asyncio.wait({ending}, timeout=1)
            self._kill()
            code = await ending
            self._process = None
        return f"was killed ({signal.Signals(-code).name})" if code < 0 else f"has ended with code {code}"

    def _hear(self, word: Any, channel: Channel) -> None:
        self._heard_s = time.monotonic()
        match word:
            case Heartbeat():
                self._fare = word
            case Safe(number):
                while self._unsafe and self._unsafe[0][0] <= number:
                    self._unsafe.popleft()
                self._safe(self._number, number)
            case Told(share, tallies):
                self._thickener.put(tallies)
                self._answered(share)
            case RecoveryProgress(done):
                self._doing = f"runs its journal again, {done:.0%} done"
            case Ready(anew):
                if anew:
                    self._anew(self._number)
                self._begin_work(channel)

    def _begin_work(self, channel: Channel) -> None:
        self.up = True
        LOG.info("worker %d takes in reports, process %d", self._number, self._process.pid if self._process else 0)
        for word in [*self._later, *([FreezeGroups(self._only)] if self._only else [])]:
            channel.send(word)
        for _, take in self._unsafe:
            channel.send_packed(take)

    def _answered(self, share: Share) -> None:
        self._reports = share.events.get(Event.REPORT, 0)
        # What comes after its time is of no use, but that it came.
        if self._answer is not None and not self._answer.done() and share.time_s == self._tick_s:
            self._answer.set_result(Answer(share, self._thickener))

    def _end(self) -> None:
        """It has gone: what it told of its totals stays."""
        self.up, self._channel, self._doing = False, None, "has ended and is being started anew"
        self._later = []
        fare, before = self._fare, self._before
        self._before = Heartbeat(together([gone(fare.intake), before.intake]), before.cpu_s + fare.cpu_s, 0)
        self._fare = Heartbeat(Intake(), 0.0, 0)
        self.give_up()

    def _kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()


async def _started(end: int) -> Process:
    """The process, with that descriptor as its end of the channel."""
    env = {name: value for name, value in os.environ.items() if name not in ITS_OWN}
    home = str(Path(qoemon.__file__).parents[1])
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [home, env.get("PYTHONPATH", "")]))
    # -P: what lies in the directory that we happen to be in is not ours. Its own group: Ctrl-C is for the parent.
    return await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "qoemon.engine.workers", str(end), pass_fds=(end,), env=env, process_group=0
    )

"""The straight line of a tick: what arrived, decoded, into the Monitor, judged, rendered, published.

Everything that computes runs in one worker thread, one piece after the other, so the event loop only moves bytes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy

from qoemon.alerting.notice import Notice
from qoemon.alerting.notifier import Notifier
from qoemon.alerting.telling import notices
from qoemon.core.codec import Codec
from qoemon.core.monitor import Monitor
from qoemon.core.plan import Plan
from qoemon.core.report import Reject
from qoemon.core.watch import Watch
from qoemon.export import Exporter, Vitals
from qoemon.http import Board
from qoemon.httpstate import HttpState
from qoemon.inbox import Inbox, Message
from qoemon.ingest import Ingest
from qoemon.page.history import History

LOG = logging.getLogger("qoemon.evaluate")

LOOK_S = 0.1
"""How often the inbox is emptied: messages wait that long for their acknowledgement at the most."""

SAMPLE_S = 60.0
"""For each reason, one rejected report is shown in the log in this time."""


class Evaluator:
    """Empties the inbox, keeps the Monitor and the Watch, hangs each tick on the board, and has alerts told.

    clock  seconds since the epoch
    """

    def __init__(
        self,
        plan: Plan,
        watch: Watch,
        inbox: Inbox,
        ingest: Ingest,
        board: Board,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._tick_s = plan.timing.tick_s
        self._inbox, self._ingest, self._board, self._clock = inbox, ingest, board, clock
        self._codec, self._monitor, self._exporter = Codec(plan), Monitor(plan), Exporter()
        self._watch = watch
        self._history = History(plan.timing.tick_s)
        self.notifier = Notifier(())
        """Who is told; set once it is known where this daemon can be reached."""
        self.http = HttpState()
        """How it goes with those who ask; set by whoever serves them."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="evaluate")
        self._rejected: Counter[Reject] = Counter()
        self._shown_s: dict[Reject, float] = {}
        self._due_s = self._tick_after(clock())
        self._loop_lag_s = 0.0
        self._skipped = 0
        self._stopping = False
        self.ticked = asyncio.Condition()
        """Notified after each tick."""

    async def run(self) -> None:
        """Look at the inbox again and again, until stop(); then once more."""
        while not self._stopping:
            now_s = self._clock()
            pause_s = max(0.0, min(LOOK_S, self._due_s - now_s))
            began_s = time.monotonic()
            await asyncio.sleep(pause_s)
            self._loop_lag_s = max(self._loop_lag_s, time.monotonic() - began_s - pause_s)
            await self._look()
        await self._look()

    def stop(self) -> None:
        """Let run() end after a last look, so that what was taken in is acknowledged."""
        self._stopping = True

    async def _look(self) -> None:
        """Take in what has arrived, and make the tick if one is due."""
        now_s = self._clock()
        messages = self._inbox.take()
        if now_s >= self._due_s or now_s < self._due_s - 2 * self._tick_s:  # the second: the clock was set back
            tick_s = now_s // self._tick_s * self._tick_s
            cut = bisect_left(messages, tick_s, key=lambda message: message.arrival_s)
            await self._take_in(messages[:cut])
            messages = messages[cut:]
            await self._make_tick(int(tick_s))
        await self._take_in(messages)

    def close(self) -> None:
        """Let the thread go, once run() has ended."""
        self._thread.shutdown()

    async def _take_in(self, messages: Sequence[Message]) -> None:
        if messages:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._apply, messages)
            self._ingest.ack(messages)

    async def _make_tick(self, tick_s: int) -> None:
        lag_s = max(self._clock() - tick_s, 0.0)
        self._skipped += max(int((tick_s - self._due_s) // self._tick_s), 0)
        vitals = self._vitals(tick_lag_s=lag_s)
        self._loop_lag_s = 0.0
        self._due_s = tick_s + self._tick_s
        loop = asyncio.get_running_loop()
        firing, changed = await loop.run_in_executor(self._thread, self._publish, tick_s, vitals)
        self.notifier.tell(firing, changed, tick_s)
        async with self.ticked:
            self.ticked.notify_all()

    def _apply(self, messages: Sequence[Message]) -> None:
        """In the thread: bytes into the Monitor."""
        decoded = self._codec.decode(messages)
        self._rejected.update(decoded.rejected)
        if len(decoded.batch):
            self._monitor.apply(decoded.batch, messages[-1].arrival_s)
        for reason, sample in decoded.sample.items():
            self._show(reason, sample)

    def _publish(self, tick_s: int, vitals: Vitals) -> tuple[list[Notice], list[Notice]]:
        """In the thread: a tick from counts to bytes; the alerts that fire, and those that have changed."""
        began_s = time.perf_counter()
        snapshot = self._monitor.snapshot(tick_s)
        watched = self._watch.see(snapshot)
        past = self._history.see(snapshot, watched)
        self._board.newest = self._exporter.publish(snapshot, watched, vitals, past)
        told = notices(snapshot, watched)
        self._exporter.observe_tick(time.perf_counter() - began_s)
        return told

    def _show(self, reason: Reject, sample: str) -> None:
        now_s = time.monotonic()
        if now_s - self._shown_s.get(reason, -SAMPLE_S) >= SAMPLE_S:
            self._shown_s[reason] = now_s
            LOG.warning(
                "rejected reports, reason %s, %d so far; one of them: %.300s",
                reason,
                self._rejected[reason],
                sample,
            )

    def _tick_after(self, now_s: float) -> float:
        return now_s // self._tick_s * self._tick_s + self._tick_s

    def _vitals(self, tick_lag_s: float) -> Vitals:
        state = self._ingest.state
        return Vitals(
            connected=state.connected,
            subscribed=state.subscribed,
            connects=state.connects_total,
            connect_failures=state.connect_failures_total,
            disconnects=state.disconnects_total,
            messages=state.messages_total,
            message_bytes=state.message_bytes_total,
            retained_ignored=state.retained_ignored_total,
            bad_topics=state.bad_topics_total,
            stale_acks=state.stale_acks_total,
            last_message_age_s=None
            if state.last_message_s is None
            else max(0.0, self._clock() - state.last_message_s),
            inbox_messages=self._inbox.messages,
            inbox_bytes=self._inbox.bytes,
            dropped=self._inbox.dropped,
            withheld=self._inbox.withheld,
            rejected=dict(self._rejected),
            loop_lag_s=self._loop_lag_s,
            tick_lag_s=tick_lag_s,
            ticks_skipped=self._skipped,
            receivers=self.notifier.states,
            http=deepcopy(self.http),
        )

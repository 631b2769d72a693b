"""The history of a running daemon: takes ticks, writes what closed in its own thread, and answers questions there.

Nothing else depends on the history: while it cannot be written, the daemon continues without it, and retries
with the next rating interval.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from qoemon.core.alerting.alerts import Alert, AlertKey
from qoemon.core.alerting.decision import Decision
from qoemon.core.alerting.detector import Detections
from qoemon.core.snapshot.past import PastAlert, PastAlerts, PastQuery, PastRatings
from qoemon.core.snapshot.snapshot import Snapshot
from qoemon.state.history_store import HistoryStore, Written

LOG = logging.getLogger("qoemon.state")

MOST_WAITING = 256
"""Ticks with something to write that wait at most; beyond this the oldest is lost."""

T = TypeVar("T")


@dataclass
class HistoryStats:
    """Size and totals of a history. Totals count since the process began.

    intervals  rating intervals written, one for each service
    failures   attempts to write that failed
    lost       rating intervals that were never written, since writing failed for too long
    """

    bytes: int = 0
    intervals: int = 0
    failures: int = 0
    lost: int = 0


class KeptHistory:
    """One history. put() may be called from any thread, and does not block; the answers are awaited."""

    def __init__(self, store: HistoryStore) -> None:
        self._store, self.stats = store, HistoryStats()
        self._waiting: deque[Written] = deque()
        self._lock = threading.Lock()
        self._peaks: dict[tuple[AlertKey, int], float] = {}
        """By alert and time of firing, the worst value in this process."""
        self._failing = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="history")

    def put(self, snapshot: Snapshot, detections: Detections) -> None:
        """Add a tick; called with each tick once, in order, and with replayed ones again."""
        written = self._written(snapshot, detections)
        if not (written.closed or written.firing or written.ended):
            return
        with self._lock:
            self._waiting.append(written)
            self._drop_oldest()
        self._thread.submit(self._write).add_done_callback(_log_fault)

    async def ratings(self, query: PastQuery) -> PastRatings:
        """The ratings of a time range; PastError if they cannot be given in these steps, or OSError."""
        return await self._answer(lambda: self._store.ratings(query))

    async def alerts(self, from_s: int, to_s: int, service: str | None) -> PastAlerts:
        """The alerts that fired at some time in this range, of one service or of all; OSError."""
        return await self._answer(lambda: self._store.alerts(from_s, to_s, service))

    def close(self) -> None:
        """Write what waits, and release the thread and the database."""
        # What could not be written before waits for the next rating interval, which does not come any more.
        self._thread.submit(self._write).add_done_callback(_log_fault)
        self._thread.submit(self._store.close)
        self._thread.shutdown()
        if lost := sum(len(written.closed) for written in self._waiting):
            LOG.error("%d rating intervals are missing in the history, as it could not be written", lost)

    def _written(self, snapshot: Snapshot, detections: Detections) -> Written:
        firing = [alert for alert in detections.alerts if alert.firing]
        ended = [alert for alert in detections.alerts if alert.ended]
        worst = {(alert.key, alert.decision.since_s): self._worst(alert, alert.decision) for alert in firing}
        last = [self._past(alert, alert.before, snapshot) for alert in ended]
        self._peaks = {key: value for key, value in worst.items() if value is not None}
        return Written(
            time_s=snapshot.time_s,
            labels=snapshot.labels,
            closed=snapshot.closed,
            firing=tuple(
                self._past(alert, alert.decision, snapshot) for alert in firing if snapshot.closed or alert.changed
            ),
            ended=tuple(last),
        )

    def _worst(self, alert: Alert, firing: Decision) -> float | None:
        """The worst value of an alert since it fires, in this process."""
        now = None if alert.sample is None else alert.sample.value
        values = [self._peaks.get((alert.key, firing.since_s)), now]
        known = [value for value in values if value is not None]
        worst = max if alert.rule.metric.high_is_bad else min
        return worst(known) if known else None

    def _past(self, alert: Alert, firing: Decision, snapshot: Snapshot) -> PastAlert:
        """The alert, as it is kept; firing: the decision of its last tick at which it fired."""
        sample = alert.sample
        return PastAlert(
            alert=alert.rule.name,
            service=alert.rule.service,
            labels=dict(alert.labels),
            severity=alert.rule.severity,
            metric=str(alert.rule.metric),
            threshold=alert.rule.threshold,
            recovery=alert.rule.recovery,
            began_s=firing.breach_since_s,
            fired_s=firing.since_s,
            ended_s=snapshot.time_s if alert.ended else None,
            reason=str(firing.reason),
            ended_reason=str(alert.decision.reason) if alert.ended else None,
            value=None if sample is None else sample.value,
            peak=self._worst(alert, firing),
            users=None if sample is None else sample.users,
        )

    def _write(self) -> None:
        """Write what waits, the oldest first. Runs in the thread."""
        for written in self._each_waiting():
            try:
                self._store.write(written)
                self.stats.bytes = self._store.size_bytes()
            except OSError as error:
                self._note_failure(error)
                with self._lock:
                    self._waiting.appendleft(written)
                    self._drop_oldest()
                return
            self.stats.intervals += len(written.closed)
            if self._failing:
                LOG.info("the history is written again")
                self._failing = False

    def _drop_oldest(self) -> None:
        while len(self._waiting) > MOST_WAITING:
            self.stats.lost += len(self._waiting.popleft().closed)

    def _each_waiting(self) -> Iterator[Written]:
        while True:
            with self._lock:
                if not self._waiting:
                    return
                written = self._waiting.popleft()
            yield written

    def _note_failure(self, error: OSError) -> None:
        self.stats.failures += 1
        if not self._failing:
            LOG.error(
                "the history cannot be written: %s; it is retried at each rating interval, and everything else "
                "continues: check free disk space and permissions",
                error,
            )
            self._failing = True

    async def _answer(self, question: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, question)


def _log_fault(written: Future[None]) -> None:
    """Log an error that nobody awaits: it is a fault of this program."""
    if error := written.exception():
        LOG.error("a rating interval is missing in the history: %r", error, exc_info=error)

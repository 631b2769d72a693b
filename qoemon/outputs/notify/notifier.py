"""Delivers notices to receivers: each has a queue and a task of its own, so none waits for another.

A tick only fills queues. A failed delivery is retried with growing pauses until it succeeds; a notice is dropped
only if the receiver rejects it for good. Delivery is at least once (a response can be lost): a repeated notice has
the same id.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import NoReturn, Protocol

from qoemon.common.backoff import backoff_s
from qoemon.common.metrics import Families
from qoemon.outputs.notify.metrics import receiver_metrics
from qoemon.outputs.notify.notice import Notice
from qoemon.outputs.notify.outbox import Outbox
from qoemon.outputs.notify.receiver_stats import ReceiverStats

LOG = logging.getLogger("qoemon.outputs.notify")

SHORTEST_S = 1.0
LONGEST_S = 30.0
"""Pauses between attempts are drawn from SHORTEST_S to a limit that doubles up to LONGEST_S."""


FLUSH_POLL_S = 0.05


class DeliveryError(Exception):
    """A delivery failed. The text gives the reason and no secrets; final: a retry cannot succeed."""

    def __init__(self, reason: str, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final


class Sender(Protocol):
    """The transport to one receiver."""

    name: str
    """For logs and metrics: unique, without secrets."""

    async def send(self, notices: Sequence[Notice]) -> None:
        """Deliver these in order; DeliveryError unless the receiver accepted all."""

    async def close(self) -> None:
        """Close connections."""


class Receiver:
    """One receiver: its queue, its transport and its statistics."""

    def __init__(self, sender: Sender, outbox: Outbox) -> None:
        self._sender, self._outbox = sender, outbox
        self._enqueued = asyncio.Event()
        self._in_flight: Sequence[Notice] = ()
        self._sent = self._failed = self._rejected = 0
        self._failures = 0
        """Consecutive failures."""
        self._last_error: str | None = None

    @property
    def state(self) -> ReceiverStats:
        """Current statistics."""
        return ReceiverStats(
            name=self._sender.name,
            sent=self._sent,
            failed=self._failed,
            dropped=self._rejected + self._outbox.dropped,
            queue=len(self.undelivered),
            last_error=self._last_error,
        )

    @property
    def undelivered(self) -> list[Notice]:
        """Notices in flight or queued; those of one alert in their order."""
        return [*self._in_flight, *self._outbox]

    def enqueue(self, firing: Sequence[Notice], changed: Sequence[Notice], now_s: float) -> None:
        """See Notifier.dispatch."""
        self._outbox.enqueue(firing, changed, now_s)
        if len(self._outbox):
            self._enqueued.set()

    async def run(self) -> NoReturn:
        """Deliver until cancelled."""
        try:
            while True:
                await self._enqueued.wait()
                self._enqueued.clear()
                while batch := self._outbox.take():
                    await asyncio.sleep(await self._deliver(batch))
        finally:
            await self._sender.close()

    async def _deliver(self, batch: Sequence[Notice]) -> float:
        """Make one attempt; returns the pause after it, in seconds."""
        self._in_flight = batch
        try:
            await self._sender.send(batch)
        except DeliveryError as error:
            self._in_flight = ()
            return self._delivery_failed(batch, error)
        self._in_flight = ()
        self._sent += len(batch)
        self._failures = 0
        self._log_outcome(None)
        return 0.0

    def _delivery_failed(self, batch: Sequence[Notice], error: DeliveryError) -> float:
        self._failed += len(batch)
        if error.final:
            self._rejected += len(batch)
            self._log_outcome(f"{error}; notification dropped, no retry")
            return 0.0
        self._outbox.put_back(batch)
        self._log_outcome(f"{error}; retrying until it succeeds")
        pause_s = backoff_s(self._failures, SHORTEST_S, LONGEST_S)
        self._failures += 1
        return pause_s

    def _log_outcome(self, error: str | None) -> None:
        """Log the outcome of an attempt if it differs from the one before."""
        if error == self._last_error:
            return
        if error is None:
            LOG.info("%s: delivery works again, %d notifications queued", self._sender.name, len(self._outbox))
        else:
            LOG.warning("%s: %s", self._sender.name, error)
        self._last_error = error


class Notifier:
    """All receivers. Not thread-safe: call it on the event loop that runs it."""

    def __init__(self, receivers: Sequence[Receiver]) -> None:
        self._receivers = tuple(receivers)

    @property
    def states(self) -> tuple[ReceiverStats, ...]:
        """Current statistics of each receiver."""
        return tuple(receiver.state for receiver in self._receivers)

    def dispatch(self, firing: Sequence[Notice], changed: Sequence[Notice], now_s: float) -> None:
        """Enqueue the notices of a tick for every receiver; does not block.

        firing   all alerts that fire now
        changed  those that started firing or resolved since the tick before
        """
        for receiver in self._receivers:
            receiver.enqueue(firing, changed, now_s)

    def metrics(self) -> Families:
        """Metrics of all receivers."""
        return receiver_metrics(self.states)

    def undelivered(self) -> tuple[Notice, ...]:
        """Notices that some receiver has not got yet, oldest first.

        They are saved with the alerts' state and dispatched as changed after a restart, so none is lost; receivers
        that already had them get them again, with the same id.
        """
        waiting = {notice.id: notice for receiver in self._receivers for notice in receiver.undelivered}
        return tuple(sorted(waiting.values(), key=lambda notice: (notice.at_s, not notice.firing)))

    async def flush(self) -> None:
        """Wait until all notices are delivered."""
        while self.undelivered():
            await asyncio.sleep(FLUSH_POLL_S)

    async def run(self) -> None:
        """Deliver until cancelled; returns at once if there are no receivers."""
        async with asyncio.TaskGroup() as tasks:
            for receiver in self._receivers:
                tasks.create_task(receiver.run(), name=f"qoemon.outputs.notify.{receiver.state.name}")

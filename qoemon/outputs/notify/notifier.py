"""Telling receivers of alerts: each has an outbox and a task of its own, so none waits for another.

A tick only fills outboxes. What could not be delivered is tried again, with pauses that grow, for as long as it
waits; only what a receiver refuses for good is given up. A receiver may get the same thing twice (an answer can be
lost), but that is the same notice with the same id.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import NoReturn, Protocol

from qoemon.common.backoff import backoff_s
from qoemon.outputs.notify.notice import Notice
from qoemon.outputs.notify.outbox import Outbox
from qoemon.outputs.notify.receiver_stats import ReceiverStats

LOG = logging.getLogger("qoemon.outputs.notify")

SHORTEST_S = 1.0
LONGEST_S = 30.0
"""Pauses between attempts are drawn from SHORTEST_S to a limit that doubles up to LONGEST_S."""


FLUSH_LOOK_S = 0.05


class DeliveryError(Exception):
    """A receiver did not take what was sent; says why, without secrets. final: it never will."""

    def __init__(self, reason: str, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final


class Sender(Protocol):
    """How one receiver is told."""

    name: str
    """For logs and metrics: no secrets, each once."""

    async def send(self, notices: Sequence[Notice]) -> None:
        """Deliver these, in their order; DeliveryError if that cannot be said of all."""

    async def close(self) -> None:
        """Let go of connections."""


class Receiver:
    """One receiver: what waits for it, and how it is told."""

    def __init__(self, sender: Sender, outbox: Outbox) -> None:
        self._sender, self._outbox = sender, outbox
        self._news = asyncio.Event()
        self._under_way: Sequence[Notice] = ()
        self._sent = self._failed = self._refused = 0
        self._failures = 0
        """In a row."""
        self._last_error: str | None = None

    @property
    def state(self) -> ReceiverStats:
        """How it goes."""
        return ReceiverStats(
            name=self._sender.name,
            sent=self._sent,
            failed=self._failed,
            dropped=self._refused + self._outbox.dropped,
            queue=len(self.waiting),
            last_error=self._last_error,
        )

    @property
    def waiting(self) -> list[Notice]:
        """What has not been delivered, those of one alert in their order."""
        return [*self._under_way, *self._outbox]

    def tell(self, firing: Sequence[Notice], changed: Sequence[Notice], now_s: float) -> None:
        """As Notifier.tell."""
        self._outbox.tell(firing, changed, now_s)
        if len(self._outbox):
            self._news.set()

    async def run(self) -> NoReturn:
        """Deliver until cancelled."""
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                while batch := self._outbox.take():
                    await asyncio.sleep(await self._deliver(batch))
        finally:
            await self._sender.close()

    async def _deliver(self, batch: Sequence[Notice]) -> float:
        """One attempt; returns the pause after it, s."""
        self._under_way = batch
        try:
            await self._sender.send(batch)
        except DeliveryError as error:
            self._under_way = ()
            return self._not_delivered(batch, error)
        self._under_way = ()
        self._sent += len(batch)
        self._failures = 0
        self._fate(None)
        return 0.0

    def _not_delivered(self, batch: Sequence[Notice], error: DeliveryError) -> float:
        self._failed += len(batch)
        if error.final:
            self._refused += len(batch)
            self._fate(f"{error}; this is not tried again")
            return 0.0
        self._outbox.put_back(batch)
        self._fate(f"{error}; trying again until it works")
        pause_s = backoff_s(self._failures, SHORTEST_S, LONGEST_S)
        self._failures += 1
        return pause_s

    def _fate(self, error: str | None) -> None:
        """Log a change of it, not each attempt."""
        if error == self._last_error:
            return
        if error is None:
            LOG.info("%s takes notifications again; %d wait for it", self._sender.name, len(self._outbox))
        else:
            LOG.warning("%s: %s", self._sender.name, error)
        self._last_error = error


class Notifier:
    """All receivers. Everything is called on one event loop."""

    def __init__(self, receivers: Sequence[Receiver]) -> None:
        self._receivers = tuple(receivers)

    @property
    def states(self) -> tuple[ReceiverStats, ...]:
        """How it goes with each."""
        return tuple(receiver.state for receiver in self._receivers)

    def tell(self, firing: Sequence[Notice], changed: Sequence[Notice], now_s: float) -> None:
        """Once a tick, returns at once: all that fires now, and what has begun or ceased to since the last tick."""
        for receiver in self._receivers:
            receiver.tell(firing, changed, now_s)

    def unsent(self) -> tuple[Notice, ...]:
        """What some receiver has not got, oldest first.

        Kept with the decisions and told as changed after a restart, it is not lost; those who have had it get it
        a second time, with the same id.
        """
        waiting = {notice.id: notice for receiver in self._receivers for notice in receiver.waiting}
        return tuple(sorted(waiting.values(), key=lambda notice: (notice.at_s, not notice.firing)))

    async def flush(self) -> None:
        """Wait until every receiver has got what it was told."""
        while self.unsent():
            await asyncio.sleep(FLUSH_LOOK_S)

    async def run(self) -> None:
        """Deliver until cancelled; without receivers there is nothing to do."""
        async with asyncio.TaskGroup() as tasks:
            for receiver in self._receivers:
                tasks.create_task(receiver.run(), name=f"qoemon.outputs.notify.{receiver.state.name}")

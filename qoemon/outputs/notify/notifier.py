"""Delivers notices to receivers: each has a queue and a task of its own, so none waits for another.

A tick only fills queues. A failed delivery is retried with growing pauses until it succeeds; a notice is dropped
only if the receiver rejects it for good. Delivery is at least once (a response can be lost): a repeated notice has
the same id.

Of two daemons, one sends at a time. The queues of the other are filled as well, and it drops from them what the one
that sends has delivered: so whichever sends next continues where the other stopped.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NoReturn, Protocol

from qoemon.common.backoff import backoff_s
from qoemon.common.metrics import Families
from qoemon.outputs.notify.delivered import Delivered
from qoemon.outputs.notify.metrics import receiver_metrics
from qoemon.outputs.notify.notice import Key, Notice
from qoemon.outputs.notify.outbox import Outbox, Told
from qoemon.outputs.notify.receiver_stats import ReceiverStats

LOG = logging.getLogger("qoemon.outputs.notify")

SHORTEST_S = 1.0
LONGEST_S = 30.0
"""Pauses between attempts are drawn from SHORTEST_S to a limit that doubles up to LONGEST_S."""


FLUSH_POLL_S = 0.05


class DeliveryError(Exception):
    """A delivery failed. The text gives the reason and no secrets.

    final  a retry cannot succeed
    left   those that the receiver did not accept, in the order of the next attempt; None: all
    """

    def __init__(self, reason: str, final: bool = False, left: Sequence[Notice] | None = None) -> None:
        super().__init__(reason)
        self.final, self.left = final, left


class Sender(Protocol):
    """The transport to one receiver."""

    name: str
    """For logs and metrics: unique, without secrets."""

    async def send(self, notices: Sequence[Notice]) -> None:
        """Deliver these in order; DeliveryError unless the receiver accepted all."""

    async def close(self) -> None:
        """Close connections."""


class Turn(Protocol):
    """Which of two daemons sends."""

    @property
    def held(self) -> bool:
        """Whether this daemon may begin a delivery now."""

    def delivered(self) -> None:
        """Called when a receiver has been told of a change."""


class Alone:
    """The turn of a daemon without another one."""

    held = True

    def delivered(self) -> None:
        """Nobody else has to know."""


class Receiver:
    """One receiver: its queue, its transport and its statistics."""

    def __init__(self, sender: Sender, outbox: Outbox) -> None:
        self._sender, self._outbox = sender, outbox
        self.delivered = Delivered()
        self._enqueued = asyncio.Event()
        self._in_flight: Sequence[Notice] = ()
        self._sent = self._failed = self._rejected = 0
        self._failures = 0
        """Consecutive failures."""
        self._last_error: str | None = None

    @property
    def name(self) -> str:
        """As Sender.name."""
        return self._sender.name

    @property
    def state(self) -> ReceiverStats:
        """Current statistics."""
        return ReceiverStats(
            name=self.name,
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
        self.delivered.forget_resolved(now_s)
        self._outbox.enqueue(firing, changed, now_s)
        self.wake()

    def wake(self) -> None:
        """Look for notices to deliver."""
        if len(self._outbox):
            self._enqueued.set()

    def follow(self, settled_s: float, slack_s: float) -> None:
        """See Notifier.follow."""
        self._outbox.follow(self.delivered.newest, settled_s, slack_s)

    def take_over(self, firing: Sequence[Notice], settled_s: float, slack_s: float) -> None:
        """See Notifier.take_over. What is in flight goes back to the queue if it fails."""
        underway = {notice.key: Told(notice, notice.at_s) for notice in self._in_flight}
        known = {**self.delivered.newest, **underway}
        self._outbox.follow(known, settled_s, slack_s)
        self._outbox.take_over(known, firing)

    def resolves(self, key: Key) -> bool:
        """Whether the end of this alert waits for delivery."""
        return any(notice.key == key and not notice.firing for notice in self._outbox)

    async def run(self, turn: Turn) -> NoReturn:
        """Deliver until cancelled, while it is our turn."""
        try:
            while True:
                await self._enqueued.wait()
                self._enqueued.clear()
                # Right before each attempt: a process that was stopped meanwhile may have lost its turn.
                while turn.held and (batch := self._outbox.take()):
                    await asyncio.sleep(await self._deliver(batch, turn))
        finally:
            await self._sender.close()

    async def _deliver(self, batch: Sequence[Notice], turn: Turn) -> float:
        """Make one attempt; returns the pause after it, in seconds."""
        self._in_flight = batch
        try:
            await self._sender.send(batch)
        except DeliveryError as error:
            self._in_flight = ()
            left = batch if error.left is None else error.left
            self._accepted([notice for notice in batch if notice not in left], turn)
            return self._delivery_failed(left, error)
        self._in_flight = ()
        self._accepted(batch, turn)
        self._failures = 0
        self._log_outcome(None)
        return 0.0

    def _accepted(self, notices: Sequence[Notice], turn: Turn) -> None:
        self._sent += len(notices)
        if self.delivered.add(notices):
            turn.delivered()

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
    """All receivers. Not thread-safe: call it on the event loop that runs it.

    turn  says when to send
    """

    def __init__(self, receivers: Sequence[Receiver], turn: Turn | None = None) -> None:
        self._receivers = tuple(receivers)
        self._turn = Alone() if turn is None else turn
        self._firing: Sequence[Notice] = ()
        """All alerts that fire, as of the newest tick."""
        self.time_s = 0.0
        """Of the newest tick, seconds since the epoch."""
        self.stamp = 0
        """Of what is known about deliveries: a pair compares it with that of the other daemon."""

    @property
    def states(self) -> tuple[ReceiverStats, ...]:
        """Current statistics of each receiver; nothing waits for delivery at a daemon whose turn it is not."""
        states = (receiver.state for receiver in self._receivers)
        return tuple(states if self._turn.held else (replace(state, queue=0) for state in states))

    def dispatch(self, firing: Sequence[Notice], changed: Sequence[Notice], now_s: float) -> None:
        """Enqueue the notices of a tick for every receiver; does not block.

        firing   all alerts that fire now
        changed  those that started firing or resolved since the tick before
        """
        self._firing, self.time_s = tuple(firing), now_s
        for receiver in self._receivers:
            receiver.enqueue(firing, changed, now_s)

    def delivered(self) -> dict[str, list[Told]]:
        """By receiver, the newest notice of each alert that it has accepted; resolved ones only for a while."""
        return {receiver.name: list(receiver.delivered.newest.values()) for receiver in self._receivers}

    def learn(self, delivered: Mapping[str, Sequence[Told]], offset_s: float) -> None:
        """Know what a delivered() says, of before a restart or of the other daemon, instead of what was known.

        offset_s  of our clock from the one of the other daemon
        """
        for receiver in self._receivers:
            receiver.delivered.replace(delivered.get(receiver.name, ()), offset_s)

    def follow(self, settled_s: float, slack_s: float) -> None:
        """Drop what the daemon that sends has delivered.

        settled_s  it has delivered everything up to this time of our clock, seconds since the epoch
        slack_s    by how much the two daemons may differ in when an alert changed
        """
        for receiver in self._receivers:
            receiver.follow(settled_s, slack_s)

    def take_over(self, settled_s: float, slack_s: float) -> list[Notice]:
        """Prepare the queues to continue the deliveries of the other daemon.

        settled_s, slack_s  as for follow()
        returns  alerts that receivers take for firing, and that have not ended here: to be adopted with their begin
        """
        told: dict[Key, Notice] = {}
        for receiver in self._receivers:
            for key, each in receiver.delivered.newest.items():
                if each.notice.firing:
                    told.setdefault(key, each.notice)
            receiver.take_over(self._firing, settled_s, slack_s)
        ended = {key for key in told if any(receiver.resolves(key) for receiver in self._receivers)}
        return [notice for key, notice in told.items() if key not in ended]

    def wake(self) -> None:
        """Look for notices to deliver, since it is our turn now."""
        for receiver in self._receivers:
            receiver.wake()

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
        """Wait until all notices are delivered, if it is our turn."""
        while self._turn.held and self.undelivered():
            await asyncio.sleep(FLUSH_POLL_S)

    async def run(self) -> None:
        """Deliver until cancelled; returns at once if there are no receivers."""
        async with asyncio.TaskGroup() as tasks:
            for receiver in self._receivers:
                tasks.create_task(receiver.run(self._turn), name=f"qoemon.outputs.notify.{receiver.name}")

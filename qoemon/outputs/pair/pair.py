"""A pair of daemons: both take all reports and serve, one of them sends notifications.

The lease at the broker decides which one (lease.py). While a daemon is not connected to the broker it cannot know,
so it asks the other one over HTTP: if that one is connected, it has the lease or will take it; if it is not, the
broker is down for both, and the daemon that sent continues; if it does not answer either, it is taken for dead. So
alerts are sent also while the broker is down, which is a reason for an alert itself.

The same answers carry what has been delivered, so that the daemon that stands by knows what each receiver knows.
What one of them knows about deliveries is the whole of it, and has a stamp: a daemon takes what is newer than its
own, and nothing from one that was restarted and knows less.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from qoemon import __version__
from qoemon.common.clock import since_boot
from qoemon.common.metrics import Families
from qoemon.common.text import printable
from qoemon.core.alerting.alerts import AlertKey
from qoemon.net.mqtt.client import Broker
from qoemon.outputs.notify.http_client import Address
from qoemon.outputs.notify.login import Login
from qoemon.outputs.notify.notice import Notice
from qoemon.outputs.notify.notifier import Notifier
from qoemon.outputs.pair.lease import Lease
from qoemon.outputs.pair.metrics import PairStats, pair_metrics
from qoemon.outputs.pair.mqtt import LeaseTopic
from qoemon.outputs.pair.peer import Peer
from qoemon.outputs.pair.standing import WAIT_S, Standing

LOG = logging.getLogger("qoemon.outputs.pair")

STEP_S = 0.1
"""How often it is decided who sends."""

SEND_S = 5.0
"""A delivery begins only if the lease lasts for longer: as long as a delivery may take."""

FRESH, ALONE, EXTEND = 0.35, 0.5, 0.1
"""Parts of a lease: how old an answer of the other daemon may be, how long it must not have answered to be taken
for dead, and how long a decision without the broker is valid. The first, the last and SEND_S together are shorter
than a lease, for which a daemon that is connected again waits before it claims."""

SLACK_TICKS = 3
"""By how many ticks the two may differ in when an alert changed: each decides from what has arrived there."""

RELEASE_S = 1.0
"""Time limit for giving the lease back at a stop."""

LAST_WORD_S = 2.5
"""How long a takeover waits for what the other daemon says last, if it neither answers nor refuses to."""

MOST_TEXT = 1000
"""Characters of a remark, which is in a header of each snapshot, and of a log record with texts of others."""

Adopt = Callable[[Callable[[], Mapping[AlertKey, int]]], Coroutine[Any, Any, None]]
"""Continues alerts that the other daemon found firing: calls for them between two ticks; as Engine.adopt_alerts."""


@dataclass(frozen=True)
class PairOptions:
    """Which two daemons; tick_s: seconds from tick to tick."""

    name: str
    topic: str
    lease_s: float
    peer: Address
    login: Login | None
    tick_s: int


class Pair:
    """One daemon of the pair, and the turn of its notifier.

    run    identifies this process
    clock  steady, seconds, suspended time included
    wall   clock that notices are dated by, seconds since the epoch
    """

    def __init__(
        self,
        options: PairOptions,
        broker: Broker,
        run: str,
        clock: Callable[[], float] = since_boot,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._name, self._run, self._clock, self._wall = options.name, run, clock, wall
        self._length_s, self._slack_s = options.lease_s, SLACK_TICKS * options.tick_s
        self._lease = Lease(options.name, run, options.lease_s)
        self._options, self._client_id = options, broker.client_id
        topic_client = f"{broker.client_id}-pair-{options.name}"
        self._topic = LeaseTopic(broker, topic_client, options.topic, self._lease, self._changed, clock)
        self._peer = Peer(options.peer, options.login, lambda: self._stamp, self.follow, clock)
        self._notifier: Notifier | None = None
        self._ready: Callable[[], bool] = bool
        self._sections: Callable[[], Mapping[str, str]] = dict
        self._offline_until_s = self._unready_s = -math.inf
        self._leading = self._taken_over = self._stopping = False
        self._turns = 0
        """How often it began or ended to lead."""
        self._takeovers = 0
        self._served = 0
        """Stamp of what the other daemon knew about deliveries at its last request."""
        self._settled_s = -math.inf
        """Up to when the other daemon, while it led, had delivered all changes, by our clock."""
        self._behind = False
        """Whether we lead, and have yet to continue what the other daemon has delivered."""
        self._changes = 0
        """Number of changes, for the version of the standing."""
        self._news = asyncio.Event()
        self._faults: list[str] = []
        self._different: list[str] = []

    @property
    def held(self) -> bool:
        """As Turn.held: computed when it is needed, so that a process that was stopped sends nothing afterwards."""
        if not self._taken_over:
            return False
        now_s = self._clock()
        return self._lease.remaining_s(now_s) > SEND_S or now_s < self._offline_until_s

    def delivered(self) -> None:
        """As Turn.delivered."""
        # The time, so that a daemon that was restarted and sends alone is newer than what it did not know.
        if self._notifier is not None:
            self._notifier.stamp = max(self._stamp + 1, int(self._wall() * 1000))
        self._changed()

    @property
    def leads(self) -> bool:
        """Whether this daemon sends notifications, as of now."""
        now_s = self._clock()
        return self._lease.remaining_s(now_s) > 0 or now_s < self._offline_until_s

    def remark(self) -> str:
        """Which of the two this is, and what the other one is, for people."""
        other = self._peer.fresh(self._clock(), self._length_s / 2)
        if other is None:
            about = f"the other daemon does not answer ({self._peer.error or 'not asked yet'})"
        else:
            about = f"{other.name} {'sends them' if other.leading else 'stands by'}"
            about += "" if other.ready else ", but is not ready"
            about += "".join(f", and {difference}" for difference in self._differences(other))
        broker = "" if self._topic.online else "; not connected to the broker for the lease"
        broker += "" if self._topic.online or self._topic.error is None else f" ({self._topic.error})"
        role = "sends" if self.leads else "does not send"
        return printable(f"{self._name} {role} notifications, {about}{broker}", MOST_TEXT)

    def metrics(self) -> Families:
        """Metrics of the pair."""
        up = self._peer.fresh(self._clock(), self._length_s / 2) is not None
        return pair_metrics(PairStats(self.leads, up, self._topic.online, self._takeovers))

    async def standing(self, after: str, known: int | None = None) -> Standing:
        """What the other daemon gets, as soon as it differs from the version `after`, or WAIT_S later.

        known  stamp of what the other daemon knows about deliveries; None if somebody else asks
        """
        if known is not None:
            self._served = known
        if after == self._version and not self._stopping:
            news = asyncio.create_task(self._news.wait(), name="qoemon.outputs.pair.news")
            await asyncio.wait({news}, timeout=WAIT_S)
            news.cancel()
        notifier = self._notifier
        settled = notifier is not None and self._taken_over and not notifier.undelivered()
        newer = known is None or self._stamp > known
        return Standing(
            name=self._name,
            leading=self.leads,
            online=self._topic.online,
            ready=self._ready() and not self._stopping,
            term=self._lease.term,
            version=self._version,
            client_id=self._client_id,
            lease_s=self._length_s,
            topic=self._options.topic,
            clock_s=self._wall(),
            settled_s=notifier.time_s if notifier is not None and settled else 0.0,
            stamp=self._stamp,
            delivered=notifier.delivered() if notifier is not None and newer else None,
            release=__version__,
            sections=dict(self._sections()),
        )

    async def run(
        self, notifier: Notifier, adopt: Adopt, ready: Callable[[], bool], sections: Callable[[], Mapping[str, str]]
    ) -> None:
        """Decide who sends, until cancelled.

        ready     whether the figures of this daemon are reliable
        sections  digests of what both have in common in their configurations, by section
        """
        self._notifier, self._ready, self._sections = notifier, ready, sections
        # From before a restart; of a daemon that was none of a pair it is 0, and still more than nothing.
        notifier.stamp = max(notifier.stamp, int(any(notifier.delivered().values())))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._topic.run(), name="qoemon.outputs.pair.topic")
            tasks.create_task(self._peer.run(), name="qoemon.outputs.pair.peer")
            tasks.create_task(self._decide(tasks, notifier, adopt), name="qoemon.outputs.pair.decide")

    async def release(self) -> None:
        """Give the lease back at a stop, once the other daemon knows what has been delivered."""
        loop, self._stopping = asyncio.get_running_loop(), True
        until_s = loop.time() + RELEASE_S
        self._changed()
        while not self._known_to_peer() and loop.time() < until_s:
            await asyncio.sleep(STEP_S / 4)
        self._offline_until_s = -math.inf
        record = self._lease.release(self._clock())
        if record is None:
            return
        self._topic.publish(record)
        self._changed()
        while self._topic.online and self._lease.holder == self._name and loop.time() < until_s:
            await asyncio.sleep(STEP_S / 4)

    async def _decide(self, tasks: asyncio.TaskGroup, notifier: Notifier, adopt: Adopt) -> NoReturn:
        while True:
            self._step(self._clock())
            if self.leads is not self._leading:
                self._leading, self._turns = not self._leading, self._turns + 1
                self._changed()
                self._behind = self._leading
                if not self._leading:
                    self._stand_by()
                    tasks.create_task(adopt(dict), name="qoemon.outputs.pair.stand_by")
            if self._behind and self._leading:
                self._behind = False
                tasks.create_task(self._take_over(notifier, adopt), name="qoemon.outputs.pair.take_over")
            await asyncio.sleep(STEP_S)

    def _step(self, now_s: float) -> None:
        """Renew or claim the lease, or decide without the broker."""
        other = self._peer.fresh(now_s, FRESH * self._length_s)
        if self._topic.connected:
            if self._should_hand_over(now_s, other):
                record = self._lease.release(now_s)
                if record is not None:
                    LOG.warning("this daemon is not ready, and the other one is: handing over")
            else:
                record = self._lease.due(now_s, willing=self._willing(other))
            if record is not None:
                self._topic.publish(record)
        if not self._topic.online and not self._stopping and self._leads_offline(now_s, other):
            self._offline_until_s = now_s + EXTEND * self._length_s

    def _willing(self, other: Standing | None) -> bool:
        if self._stopping or (other is not None and other.leading):
            return False
        return other is None or self._ready() or not (other.ready and other.online)

    def _should_hand_over(self, now_s: float, other: Standing | None) -> bool:
        """Whether we lead, have not been ready for half a lease, and the other one is."""
        if not self._leading or self._ready():
            self._unready_s = now_s
            return False
        lasting = now_s - self._unready_s > self._length_s / 2
        return lasting and not self._stopping and other is not None and other.ready and other.online

    def _leads_offline(self, now_s: float, other: Standing | None) -> bool:
        """Who sends while we are not connected to the broker."""
        if other is None:
            alone = self._peer.unreachable(now_s, ALONE * self._length_s)
            return alone and not self._lease.held_elsewhere(now_s)
        if other.online:
            return False  # It takes the lease, or has it.
        ahead = (self._lease.term, self._name) > (other.term, other.name)
        if other.leading:
            return self._leading and ahead
        return self._leading or ahead

    async def _take_over(self, notifier: Notifier, adopt: Adopt) -> None:
        """Continue where the other daemon stopped, once we know where that is.

        The first tick after a restart has what is replayed: before it, nothing could be dropped.
        """
        turn, until_s = self._turns, self._clock() + LAST_WORD_S
        while turn == self._turns and not (self._has_last_word(until_s) and notifier.time_s):
            await asyncio.sleep(STEP_S / 4)
        told: list[Notice] = []

        def continued() -> Mapping[AlertKey, int]:
            # Between two ticks: none adds to the queues before its alerts are those that we continue.
            told.extend(notifier.take_over(self._settled_s, self._slack_s))
            return {_key(notice): int(notice.starts_s) for notice in told}

        if turn == self._turns:
            await adopt(continued)
        if turn != self._turns:  # It is over; if we lead again, another takeover asks first what came between.
            return
        if not self._taken_over:
            self._takeovers += 1
        self._taken_over = True
        LOG.info(
            "%s sends notifications from now on; %d alerts are known to receivers, %d notifications wait",
            self._name,
            len(told),
            len(notifier.undelivered()),
        )
        notifier.wake()
        self._changed()

    def _has_last_word(self, until_s: float) -> bool:
        """Whether the other daemon has delivered nothing that we do not know, or cannot be asked until then."""
        now_s = self._clock()
        other = self._peer.fresh(now_s, FRESH * self._length_s)
        return (other is not None and not other.leading) or self._peer.error is not None or now_s >= until_s

    def _stand_by(self) -> None:
        self._taken_over = False
        holder = self._lease.holder
        why = f"{holder} has the lease" if holder not in {None, self._name} else "the lease has ended"
        if self._stopping:
            why = "shutting down"
        level = logging.INFO if self._stopping else logging.WARNING
        LOG.log(level, "%s sends no notifications from now on: %s", self._name, printable(why, MOST_TEXT))

    def follow(self, standing: Standing) -> None:
        """Learn from an answer of the other daemon what it has delivered, and drop it here while that one sends."""
        self._compare(standing)
        if self._notifier is None:
            return
        offset_s = self._wall() - standing.clock_s
        if standing.delivered is not None and standing.stamp > self._stamp:
            self._notifier.learn(standing.delivered, offset_s)
            self._notifier.stamp, self._behind = standing.stamp, self._leading
        if standing.leading and not self._leading:
            self._settled_s = standing.settled_s + offset_s
            self._notifier.follow(self._settled_s, self._slack_s)

    def _compare(self, standing: Standing) -> None:
        """Log what does not fit in the configurations of the two, once."""
        faults = list(self._misfits(standing))
        for fault in faults:
            if fault not in self._faults:
                LOG.error("the pair is not set up: %s", printable(fault, MOST_TEXT))
        self._faults = faults
        differences = list(self._differences(standing))
        for difference in differences:
            if difference not in self._different:
                LOG.warning("the other daemon of the pair %s", printable(difference, MOST_TEXT))
        self._different = differences

    def _differences(self, standing: Standing) -> Iterator[str]:
        """What may differ for the time of an upgrade, and no longer."""
        if standing.release != __version__:
            yield f"runs qoemon {standing.release or 'of an unknown version'}, this one {__version__}"
            return  # Sections of another version may have other keys.
        ours = self._sections()
        names = sorted(name for name, digest in standing.sections.items() if ours.get(name, digest) != digest)
        if names:
            yield f"has other {', '.join(names)} in its configuration"

    def _misfits(self, standing: Standing) -> Iterator[str]:
        if standing.version.startswith(f"{self._run}."):
            yield "pair.peer.url is the URL of this daemon itself, expected that of the other one"
            return
        if standing.name == self._name:
            yield f"both daemons have pair.name {self._name}, expected a name of its own for each"
        if standing.client_id == self._client_id:
            yield (
                f"both daemons have mqtt.client_id {self._client_id}, so the broker disconnects one when the other "
                "connects; expected one of its own for each"
            )
        for key, theirs, ours in (
            ("topic", standing.topic, self._options.topic),
            ("lease", f"{standing.lease_s:g} s", f"{self._length_s:g} s"),
        ):
            if theirs != ours:
                yield f"pair.{key} is {ours} here and {theirs} in the other daemon, expected the same"

    def _known_to_peer(self) -> bool:
        """Whether the other daemon knows of all deliveries, or does not ask."""
        asks = self._peer.fresh(self._clock(), self._length_s / 2) is not None
        return not asks or self._served >= self._stamp

    def _changed(self) -> None:
        """Answer those that wait for something new."""
        self._changes += 1
        self._news.set()
        self._news = asyncio.Event()

    @property
    def _stamp(self) -> int:
        """Of what we know about deliveries."""
        return 0 if self._notifier is None else self._notifier.stamp

    @property
    def _version(self) -> str:
        return f"{self._run}.{self._changes}"


def _key(notice: Notice) -> AlertKey:
    """The alert's key in the core: label values are in the order of the labels."""
    return notice.alert, notice.service, tuple(notice.groups.values())

"""Bounded queues of notices for one receiver: of every transition, or of the newest state of each alert."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Protocol

import msgspec

from qoemon.outputs.notify.notice import Key, Notice

MOST = 10_000
"""Notices in one queue: some kB each."""

BATCH = 200
"""Notices of a RepeatingQueue that are sent at once."""


class Told(msgspec.Struct, frozen=True):
    """A notice that a receiver has accepted.

    at_s  when its alert entered this state, by the clock of the daemon that has this: the notice has the time of
          the daemon that sent it. Seconds since the epoch
    """

    notice: Notice
    at_s: float


class Outbox(Protocol):
    """A queue that is filled once a tick and emptied by the delivery task."""

    @property
    def dropped(self) -> int:
        """Notices dropped because the queue was full, since the start."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Notice]: ...

    def enqueue(self, firing: Sequence[Notice], changed: Sequence[Notice], now_s: float) -> None:
        """Add what fires at now_s, and what started firing or resolved since the call before."""

    def take(self) -> list[Notice]:
        """Remove and return the next batch; empty if the queue is."""

    def put_back(self, notices: Iterable[Notice]) -> None:
        """Return a batch from take() that could not be delivered."""

    def follow(self, delivered: Mapping[Key, Told], settled_s: float, slack_s: float) -> None:
        """Drop what another daemon has delivered; see Notifier.follow. delivered: the newest notices, by alert."""

    def take_over(self, delivered: Mapping[Key, Told], firing: Sequence[Notice]) -> None:
        """Continue with what the receiver lacks, after `delivered`: from now on take() is called. firing: all."""


class TransitionQueue:
    """Every transition, in order within each alert.

    A failed notice goes behind the other alerts, so one that the receiver always rejects does not block the rest.
    Beyond `most` notices, an alert with several loses its oldest; the newest notice of an alert is dropped only if
    there are more than `most` alerts.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._waiting: OrderedDict[Key, deque[Notice]] = OrderedDict()
        self._several: OrderedDict[Key, None] = OrderedDict()
        """The alerts with more than one notice."""
        self._count = 0
        self.dropped = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Notice]:
        return chain.from_iterable(self._waiting.values())

    def enqueue(self, _firing: Sequence[Notice], changed: Sequence[Notice], _now_s: float) -> None:
        """Add the transitions."""
        for notice in changed:
            self._notices_of(notice.key).append(notice)
            self._added(notice.key)

    def take(self) -> list[Notice]:
        """The oldest notice of the next alert in turn."""
        return [self._pop(next(iter(self._waiting)))] if self._waiting else []

    def put_back(self, notices: Iterable[Notice]) -> None:
        """Insert each before the others of its alert, and move the alert behind all others."""
        for notice in notices:
            self._notices_of(notice.key).appendleft(notice)
            self._waiting.move_to_end(notice.key)
            self._added(notice.key)

    def follow(self, delivered: Mapping[Key, Told], settled_s: float, slack_s: float) -> None:
        """Drop, of each alert, what happened up to its newest delivered notice, and what has been settled.

        Settled is what the other daemon must have delivered, or decided otherwise: its alerts may differ from ours
        if a value is close to its threshold. A restart brings back what waited when the state was saved: it may
        have been delivered since, and changes after it too.
        """
        for key in list(self._waiting):
            newest, done = delivered.get(key), 0
            newest_s = -math.inf if newest is None else newest.at_s
            for place, notice in enumerate(self._waiting[key], start=1):
                same = newest is not None and newest.notice.firing is notice.firing
                if notice.at_s < max(settled_s, newest_s) - slack_s or (same and notice.at_s <= newest_s + slack_s):
                    done = place
            for _ in range(done):
                self._pop(key)

    def take_over(self, delivered: Mapping[Key, Told], firing: Sequence[Notice]) -> None:
        """Drop what the receiver knows: that an alert fires, or does not; add what fires and was never sent."""
        for key in list(self._waiting):
            newest = delivered.get(key)
            known = newest is not None and newest.notice.firing
            if self._waiting[key][0].firing is known:
                self._pop(key)
            if newest is not None and known and key in self._waiting:
                # It ends under the id of its beginning that the receiver knows.
                ended = self._waiting[key]
                ended[0] = replace(ended[0], starts_s=newest.notice.starts_s)
        for notice in firing:
            told = delivered.get(notice.key)
            fires = told is not None and told.notice.firing
            if notice.key in self._waiting:
                fires = self._waiting[notice.key][-1].firing
            if not fires:
                self.enqueue((), (notice,), notice.at_s)

    def _notices_of(self, key: Key) -> deque[Notice]:
        return self._waiting.setdefault(key, deque())

    def _added(self, key: Key) -> None:
        self._count += 1
        if len(self._waiting[key]) > 1:
            self._several[key] = None
        if self._count > self._most:
            several = key if key in self._several else next(iter(self._several), None)
            self._pop(next(iter(self._waiting)) if several is None else several)
            self.dropped += 1

    def _pop(self, key: Key) -> Notice:
        """Remove the oldest notice of an alert."""
        waiting = self._waiting[key]
        notice = waiting.popleft()
        self._count -= 1
        if len(waiting) < 2:
            self._several.pop(key, None)
        if not waiting:
            del self._waiting[key]
        return notice


class RepeatingQueue:
    """The newest state of each alert: sent when it changes, and every resend_s while the alert fires.

    A resolve is resent too, for resolved_s: the first may have reached a receiver that was about to restart, or
    whose clock is behind.
    """

    def __init__(self, resend_s: float, resolved_s: float, most: int = MOST) -> None:
        self._resend_s, self._resolved_s, self._most = resend_s, resolved_s, most
        self._due: OrderedDict[Key, Notice] = OrderedDict()
        self._resolved: OrderedDict[Key, Notice] = OrderedDict()
        self._resent_s: float | None = None
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._due)

    def __iter__(self) -> Iterator[Notice]:
        return iter(self._due.values())

    def enqueue(self, firing: Sequence[Notice], changed: Sequence[Notice], now_s: float) -> None:
        """Add what has changed; every resend_s add all that fires or has resolved lately."""
        for notice in changed:
            self._resolved.pop(notice.key, None)
            if not notice.firing:
                self._put(self._resolved, notice)
            self._make_due(notice)
        if self._resent_s is None or not 0 <= now_s - self._resent_s < self._resend_s:  # < 0: clock set back
            self._resent_s = now_s
            self._resend(firing, now_s)

    def take(self) -> list[Notice]:
        """Up to BATCH notices, one of each alert."""
        return [self._due.popitem(last=False)[1] for _ in range(min(BATCH, len(self._due)))]

    def put_back(self, notices: Iterable[Notice]) -> None:
        """Keep those whose alert has no newer notice by now."""
        for notice in notices:
            if notice.key not in self._due:
                self._make_due(notice)

    def follow(self, delivered: Mapping[Key, Told], settled_s: float, slack_s: float) -> None:
        """Drop all: take_over() sends the newest state of each alert, and a repetition does no harm."""
        self._due.clear()

    def take_over(self, delivered: Mapping[Key, Told], firing: Sequence[Notice]) -> None:
        """Send the newest state of all alerts at the next tick, and what has resolved lately."""
        self._due.clear()
        self._resent_s = None

    def _resend(self, firing: Sequence[Notice], now_s: float) -> None:
        for notice in firing:
            self._resolved.pop(notice.key, None)
        for key in [key for key, notice in self._resolved.items() if now_s - notice.at_s > self._resolved_s]:
            del self._resolved[key]
        for notice in (*self._resolved.values(), *firing):
            self._make_due(notice)

    def _make_due(self, notice: Notice) -> None:
        self.dropped += self._put(self._due, notice)

    def _put(self, notices: OrderedDict[Key, Notice], notice: Notice) -> bool:
        """Add a notice; returns whether the oldest was dropped for it."""
        notices[notice.key] = notice
        full = len(notices) > self._most
        if full:
            notices.popitem(last=False)
        return full

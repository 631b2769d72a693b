"""What waits for a receiver, of bounded size: transitions one after the other, or how each alert stands."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Protocol

from qoemon.outputs.notify.notice import Key, Notice

MOST = 10_000
"""Notices in one outbox: some kB each."""

BATCH = 200
"""Standing notices that are sent at once."""


class Outbox(Protocol):
    """Filled once a tick, emptied by whoever delivers."""

    @property
    def dropped(self) -> int:
        """Notices given up for want of room, since the start."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Notice]: ...

    def tell(self, firing: Sequence[Notice], changed: Sequence[Notice], now_s: float) -> None:
        """What fires at now_s, and what has begun or ceased to fire since the last time."""

    def take(self) -> list[Notice]:
        """What to deliver next, taken out; nothing if nothing waits."""

    def put_back(self, notices: Iterable[Notice]) -> None:
        """Again what take() gave and could not be delivered."""


class TransitionQueue:
    """Every change, those of one alert in their order.

    What could not be delivered goes behind the other alerts, so one that a receiver chokes on does not hold up
    the rest. With more than `most`, an alert that has several loses its oldest; the newest of an alert is only
    lost if there are more alerts than room.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._waiting: OrderedDict[Key, deque[Notice]] = OrderedDict()
        self._several: OrderedDict[Key, None] = OrderedDict()
        """The alerts with more than one."""
        self._count = 0
        self.dropped = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Notice]:
        return chain.from_iterable(self._waiting.values())

    def tell(self, _firing: Sequence[Notice], changed: Sequence[Notice], _now_s: float) -> None:
        """Keep the changes."""
        for notice in changed:
            self._of(notice.key).append(notice)
            self._entered(notice.key)

    def take(self) -> list[Notice]:
        """One, of the alert whose turn it is."""
        return [self._pop(next(iter(self._waiting)))] if self._waiting else []

    def put_back(self, notices: Iterable[Notice]) -> None:
        """Before the others of its alert, behind the other alerts."""
        for notice in notices:
            self._of(notice.key).appendleft(notice)
            self._waiting.move_to_end(notice.key)
            self._entered(notice.key)

    def _of(self, key: Key) -> deque[Notice]:
        return self._waiting.setdefault(key, deque())

    def _entered(self, key: Key) -> None:
        self._count += 1
        if len(self._waiting[key]) > 1:
            self._several[key] = None
        if self._count > self._most:
            several = key if key in self._several else next(iter(self._several), None)
            self._pop(next(iter(self._waiting)) if several is None else several)
            self.dropped += 1

    def _pop(self, key: Key) -> Notice:
        """Take out the oldest of an alert."""
        waiting = self._waiting[key]
        notice = waiting.popleft()
        self._count -= 1
        if len(waiting) < 2:
            self._several.pop(key, None)
        if not waiting:
            del self._waiting[key]
        return notice


class RepeatingQueue:
    """How each alert stands: told when it changes, and again every resend_s for as long as it fires.

    A resolve is told again too, for again_s: the first may have met a receiver that was about to restart, or
    whose clock is behind ours.
    """

    def __init__(self, resend_s: float, again_s: float, most: int = MOST) -> None:
        self._resend_s, self._again_s, self._most = resend_s, again_s, most
        self._due: OrderedDict[Key, Notice] = OrderedDict()
        self._resolved: OrderedDict[Key, Notice] = OrderedDict()
        self._resent_s: float | None = None
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._due)

    def __iter__(self) -> Iterator[Notice]:
        return iter(self._due.values())

    def tell(self, firing: Sequence[Notice], changed: Sequence[Notice], now_s: float) -> None:
        """Make due what has changed, and everything if it is time to tell it again."""
        for notice in changed:
            self._resolved.pop(notice.key, None)
            if not notice.firing:
                self._put(self._resolved, notice)
            self._make_due(notice)
        if self._resent_s is None or not 0 <= now_s - self._resent_s < self._resend_s:  # 0: a clock set back
            self._resent_s = now_s
            self._all_due(firing, now_s)

    def take(self) -> list[Notice]:
        """Up to BATCH, each of another alert."""
        return [self._due.popitem(last=False)[1] for _ in range(min(BATCH, len(self._due)))]

    def put_back(self, notices: Iterable[Notice]) -> None:
        """Where nothing newer has come meanwhile."""
        for notice in notices:
            if notice.key not in self._due:
                self._make_due(notice)

    def _all_due(self, firing: Sequence[Notice], now_s: float) -> None:
        for notice in firing:
            self._resolved.pop(notice.key, None)
        for key in [key for key, notice in self._resolved.items() if now_s - notice.at_s > self._again_s]:
            del self._resolved[key]
        for notice in (*self._resolved.values(), *firing):
            self._make_due(notice)

    def _make_due(self, notice: Notice) -> None:
        self.dropped += self._put(self._due, notice)

    def _put(self, notices: OrderedDict[Key, Notice], notice: Notice) -> bool:
        """Whether the oldest had to go for it."""
        notices[notice.key] = notice
        full = len(notices) > self._most
        if full:
            notices.popitem(last=False)
        return full

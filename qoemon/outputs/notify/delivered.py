"""What a receiver has accepted: the newest notice of each alert, for the daemon that sends next."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping

from qoemon.outputs.notify.notice import Key, Notice
from qoemon.outputs.notify.outbox import MOST

RESOLVED_S = 300.0
"""How long a resolved notice is kept: longer than the other daemon takes to resolve the same alert."""


class Delivered:
    """The newest notice of each alert that one receiver has accepted, at most `most` of them."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._newest: OrderedDict[Key, Notice] = OrderedDict()

    @property
    def newest(self) -> Mapping[Key, Notice]:
        """By alert."""
        return self._newest

    def add(self, notices: Iterable[Notice]) -> bool:
        """Add notices that the receiver has accepted; returns whether one of them is no repetition."""
        changed = False
        for notice in notices:
            before = self._newest.get(notice.key)
            changed |= before is None or before.id != notice.id
            self._put(notice)
        return changed

    def replace(self, notices: Iterable[Notice]) -> None:
        """Know these instead of all before."""
        self._newest.clear()
        for notice in notices:
            self._put(notice)

    def forget_resolved(self, now_s: float) -> None:
        """Forget alerts that were resolved RESOLVED_S before now_s, seconds since the epoch."""
        old = [key for key, each in self._newest.items() if not each.firing and now_s - each.at_s > RESOLVED_S]
        for key in old:
            del self._newest[key]

    def _put(self, notice: Notice) -> None:
        self._newest[notice.key] = notice
        if len(self._newest) > self._most:
            self._newest.popitem(last=False)

"""What a receiver has accepted: the newest notice of each alert, for the daemon that sends next."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping

import msgspec

from qoemon.outputs.notify.notice import Key, Notice
from qoemon.outputs.notify.outbox import MOST, Told

RESOLVED_S = 300.0
"""How long a resolved notice is kept: longer than the other daemon takes to resolve the same alert."""


class Delivered:
    """The newest notice of each alert that one receiver has accepted, at most `most` of them."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._newest: OrderedDict[Key, Told] = OrderedDict()

    @property
    def newest(self) -> Mapping[Key, Told]:
        """By alert."""
        return self._newest

    def add(self, notices: Iterable[Notice]) -> bool:
        """Add notices that the receiver has accepted; returns whether one of them is no repetition."""
        changed = False
        for notice in notices:
            before = self._newest.get(notice.key)
            changed |= before is None or before.notice.id != notice.id
            self._put(Told(notice, notice.at_s))
        return changed

    def replace(self, told: Iterable[Told], offset_s: float) -> None:
        """Know these instead of all before. offset_s: of our clock from the one of their times."""
        self._newest.clear()
        for each in told:
            self._put(msgspec.structs.replace(each, at_s=each.at_s + offset_s))

    def forget_resolved(self, now_s: float) -> None:
        """Forget alerts that were resolved RESOLVED_S before now_s, seconds since the epoch."""
        old = [
            key for key, each in self._newest.items() if not each.notice.firing and now_s - each.at_s > RESOLVED_S
        ]
        for key in old:
            del self._newest[key]

    def _put(self, told: Told) -> None:
        self._newest[told.notice.key] = told
        if len(self._newest) > self._most:
            self._newest.popitem(last=False)

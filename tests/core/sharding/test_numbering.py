"""Numbers that are kept from tick to tick are those that looking at every group at every tick gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from qoemon.core.counting.counts import BaseCounts
from qoemon.core.counting.groups import NO_VALUE, Labels
from qoemon.core.counting.monitor import Monitor
from qoemon.core.sharding.numbering import Numbering
from tests.support.core import T0, VIDEO, plan
from tests.support.streams import FEW

LIMIT = 3
EMPTY = Monitor(plan(VIDEO)).counts(T0)[0]
GROUPS = st.lists(st.sampled_from("abcdefgh").map(lambda name: (name,)), unique=True, max_size=5).map(tuple)


def counts(groups: tuple[Labels, ...]) -> BaseCounts:
    """Of a shard with these groups; those with later letters were heard first."""
    return replace(EMPTY, groups=groups, since_s=np.array([200.0 - ord(name[0]) for name in groups]))


class Afresh(Numbering):
    """Looks at all groups at every tick."""

    def number(self, shards: list[BaseCounts]) -> list[np.ndarray]:
        self._pooled.intersection_update([labels for each in shards for labels in each.groups])
        self._shards = []
        return super().number(shards)

    def held(self, shards: list[BaseCounts]) -> np.ndarray:
        self._shards = []
        return super().held(shards)


@FEW
@given(st.lists(st.lists(GROUPS, min_size=2, max_size=4), min_size=2, max_size=12))
def test_kept_numbers_are_those_of_a_fresh_look(ticks: list[list[tuple[Labels, ...]]]) -> None:
    """Shards get and lose groups, come and go; groups beyond the limit are pooled; what no shard has is removed."""
    kept, afresh = Numbering(1, LIMIT), Afresh(1, LIMIT)
    former: list[tuple[Labels, ...]] = []
    for groups in ticks:
        # At most ticks, a shard has the groups of the tick before.
        now = [old if old and number % 2 else new for number, (old, new) in enumerate(_pairs(former, groups))]
        shards, former = [counts(each) for each in now], now
        removed = []
        for one in (kept, afresh):
            in_use = ~one.groups.free
            idle = np.flatnonzero(in_use & ~one.held(shards))
            one.groups.remove(idle)
            removed.append(idle.tolist())
        assert removed[0] == removed[1]
        numbers = [[each.tolist() for each in one.number(shards)] for one in (kept, afresh)]
        assert numbers[0] == numbers[1]
        assert kept.groups.all == afresh.groups.all
        assert kept.dump().tobytes() == afresh.dump().tobytes()
        for labels, number in zip(now[0], numbers[0][0], strict=True):
            assert kept.groups.all[number] in {labels, ("other",)}


def _pairs(
    former: list[tuple[Labels, ...]], groups: list[tuple[Labels, ...]]
) -> list[tuple[tuple[Labels, ...], tuple[Labels, ...]]]:
    return [(former[at] if at < len(former) else (), each) for at, each in enumerate(groups)]


def test_a_number_that_is_free_in_a_shard_holds_no_group() -> None:
    numbering = Numbering(1, LIMIT)
    shards = [counts((("a",), ("b",))), counts((("c",),))]
    numbering.number(shards)
    shards[0] = replace(shards[0], groups=((NO_VALUE,), ("b",)))
    for _ in range(2):  # the second time from what is kept
        assert numbering.groups.all[int(np.flatnonzero(~numbering.held(shards))[0])] == ("a",)
        numbering.number(shards)

"""A sparse tally is the dense one with fewer cells, and a shard that counts sparsely counts the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qoemon.core.arrays import Sparse, grow_histogram, to_dense
from qoemon.core.counting import tally
from qoemon.core.counting.counts import BaseCounts
from qoemon.core.counting.monitor import Monitor
from qoemon.core.counting.tally import Tally, added
from tests.support.core import VIDEO, WEB, batch, plan, responses
from tests.support.streams import FEW, FEWER, Step, streams

GROUPS, BINS = 5, 7
CELLS = st.lists(st.tuples(st.integers(0, GROUPS - 1), st.integers(0, BINS - 1)), max_size=30)
PLAN = plan(VIDEO, WEB)


@FEW
@given(CELLS, st.lists(st.integers(0, 3), min_size=GROUPS, max_size=GROUPS), CELLS)
def test_a_sparse_tally_equals_the_dense_one(
    some: list[tuple[int, int]], everywhere: list[int], more: list[tuple[int, int]]
) -> None:
    found = []
    for few_cells in (0, 2**16):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tally, "FEW_CELLS", few_cells)
            patch.setattr(tally, "CELLS_EACH", 0)
            counted = Tally(GROUPS, BINS, len(some))
        counted.add(*_columns(some))
        counted.add_to_all(3, np.array(everywhere))
        histogram = counted.histogram()
        assert isinstance(histogram, Sparse) is (few_cells == 0)
        found.append(to_dense(grow_histogram(added(histogram, *_columns(more)), GROUPS + 2)))
    assert found[0].tolist() == found[1].tolist()
    assert found[0].sum() == len(some) + sum(everywhere) + len(more)


def _columns(cells: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    group, bins = np.array(cells, np.int64).reshape(-1, 2).T
    return group, bins


def test_few_sessions_in_many_groups_are_sparse_and_many_are_not() -> None:
    assert tally.is_sparse(1000, 800, 10_000)
    assert not tally.is_sparse(1000, 800, 100_000)
    assert not tally.is_sparse(2, 800, 1)


@FEWER
@given(streams(clients=6))
def test_a_shard_that_counts_sparsely_counts_the_same(steps: list[Step]) -> None:
    """At every batch, also after a restart, and where it becomes dense again."""
    one, other = Monitor(PLAN), Monitor(PLAN)
    for number, (now_ms, said) in enumerate(steps):
        now_s = now_ms / 1000
        page = responses(now_s, [0.5, number / 3.0], session=f"w{number % 3}", seq=number)
        with pytest.MonkeyPatch.context() as patch:
            if number % 4:
                patch.setattr(tally, "FEW_CELLS", 0)
                patch.setattr(tally, "CELLS_EACH", 0)
            other.apply(batch(said), now_s)
            other.apply(page, now_s)
            theirs = other.counts(now_s)
            state, other = other.dump(), Monitor(PLAN)
            other.load(state)
        one.apply(batch(said), now_s)
        one.apply(page, now_s)
        assert list(map(_plain, one.counts(now_s))) == list(map(_plain, theirs))


def _plain(counts: BaseCounts) -> dict[str, object]:
    return {"levels": to_dense(counts.levels).tolist(), "qos": to_dense(counts.qos).tolist()} | {
        name: getattr(counts, name).tolist() for name in ("users", "active_sessions", "open_stalls", "heard")
    }

"""Sparse counts: for sending to another process, and for closed intervals in a dump."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qoemon.core.arrays import Arrays, Counts, Histogram, Sparse, named, part, to_sparse
from qoemon.core.counting.counts import ClosedInterval, IntervalCounts
from qoemon.core.counting.feedback_counts import FeedbackCounts
from qoemon.core.counting.starts import no_starts
from qoemon.core.plan.plan import Service
from qoemon.core.sharding.shard_counts import ShardCounts


def sparse_counts(counts: ShardCounts) -> ShardCounts:
    """The counts with sparse histograms: dense ones of 1,000 groups take 17 MB per service, nearly all zeros."""
    return replace(
        counts,
        services=tuple(
            replace(base, levels=to_sparse(base.levels), qos=to_sparse(base.qos)) for base in counts.services
        ),
        closed=tuple(map(sparse_interval, counts.closed)),
    )


def sparse_interval(closed: ClosedInterval) -> ClosedInterval:
    """The interval with sparse histograms."""
    services = (replace(each, levels=to_sparse(each.levels), qos=to_sparse(each.qos)) for each in closed.services)
    return replace(closed, services=tuple(services))  # what is late is sparse already


def dump_intervals(intervals: Sequence[ClosedInterval], services: Sequence[Service]) -> Arrays:
    """Sparse intervals as arrays by name; services in the order of the plan."""
    state: Arrays = {"end_s": np.array([interval.end_s for interval in intervals], np.int64)}
    for number, interval in enumerate(intervals):
        for service, counts in zip(services, interval.services, strict=True):
            state |= named(f"{number}/{service.name}/", _dump(counts))
    return state


def load_intervals(state: Mapping[str, NDArray[Any]], services: Sequence[Service]) -> list[ClosedInterval]:
    """The intervals of dump_intervals(); services without arrays have no counts."""
    return [
        ClosedInterval(end_s, tuple(_load(part(f"{number}/{each.name}/", state), each) for each in services))
        for number, end_s in enumerate(state["end_s"].tolist())
    ]


def _dump(counts: IntervalCounts) -> Arrays:
    earlier = sorted(counts.recounted)
    groups = len(counts.users)
    late: Arrays = {"late_s": np.array(sorted(counts.late), np.int64)}
    for end_s, each in counts.late.items():
        late |= named(f"late/{end_s}/", _dump(each))
    return {
        **late,
        **named("levels/", _arrays(counts.levels)),
        **named("qos/", _arrays(counts.qos)),
        "users": counts.users,
        "squares": counts.squares,
        "pairs": counts.pairs,
        "starts": counts.starts,
        **named("feedback/", counts.feedback.dump() if counts.feedback else {}),
        "earlier_s": np.array(earlier, np.int64),
        "recounted": np.array([counts.recounted[end_s] for end_s in earlier], np.int64).reshape(
            len(earlier), groups
        ),
    }


def _load(state: Arrays, service: Service) -> IntervalCounts:
    no_pairs: Counts = np.zeros((0, 0), np.int64)
    if not state:
        levels, qos = (np.zeros((0, bins), np.int64) for bins in (len(service.rated_at), service.bins.size))
        return IntervalCounts(levels, qos, np.zeros(0, np.int64), {}, np.zeros(0, np.int64), no_pairs)
    return IntervalCounts(
        levels=_histogram(part("levels/", state)),
        qos=_histogram(part("qos/", state)),
        users=state["users"],
        recounted=dict(zip(state["earlier_s"].tolist(), state["recounted"], strict=True)),
        # Earlier versions have not kept the squares: bounds count sessions then.
        squares=state.get("squares", np.zeros_like(state["users"])),
        pairs=state.get("pairs", no_pairs),
        late={
            end_s: _load(part(f"late/{end_s}/", state), service)
            for end_s in state.get("late_s", np.zeros(0, np.int64)).tolist()
        },
        starts=state.get("starts", no_starts(0)),
        feedback=FeedbackCounts.load(part("feedback/", state)),
    )


def _histogram(state: Arrays) -> Sparse:
    return Sparse(tuple(state["shape"].tolist()), state["cells"], state["counts"])


def _arrays(histogram: Histogram) -> Arrays:
    sparse = to_sparse(histogram)
    return {"shape": np.array(sparse.shape, np.int64), "cells": sparse.cells, "counts": sparse.counts}

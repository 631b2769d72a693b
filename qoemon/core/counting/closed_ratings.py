"""What the close of a rating interval adds to it and to earlier ones, as sums of ratings: for a history."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qoemon.core.arrays import Arrays, Counts, Floats, Ints, named
from qoemon.core.counting.groups import Labels
from qoemon.core.qoe.scale import Scale


@dataclass(frozen=True)
class AddedRatings:
    """What is added to the rating interval that ends at end_s, seconds since the epoch. G groups.

    sums          (G, C) expected ratings and moments, as of RatingKernel.sums()
    observations  (G,) conditions
    users         (G,) distinct sessions that this interval counts
    recounted     (G,) by the end of an earlier interval: those of them that it counted so far
    squares, pairs  (G,), (G, R) for the weights of sessions, as in IntervalCounts
    """

    end_s: int
    sums: Floats
    observations: Ints
    users: Ints
    recounted: Mapping[int, Ints]
    squares: Ints
    pairs: Counts


@dataclass(frozen=True)
class ClosedRatings:
    """The rating interval of a service that closed at closed_s, and what came late of earlier ones.

    scale   of the ratings
    groups  label values by number, at least as many as the arrays have rows
    added   the interval itself, and earlier ones
    """

    service: str
    scale: Scale
    closed_s: int
    groups: tuple[Labels, ...]
    added: tuple[AddedRatings, ...]


_COLUMNS = ("sums", "observations", "users", "squares", "pairs")


def dump_closed(closed: Sequence[ClosedRatings]) -> Arrays:
    """What has closed, as arrays by name."""
    state: Arrays = {}
    for number, each in enumerate(closed):
        scale = each.scale
        meta = {
            "service": each.service,
            "scale": (scale.low, scale.high, scale.good, scale.poor),
            "closed_s": each.closed_s,
            "groups": each.groups,
            "added": [(added.end_s, sorted(added.recounted)) for added in each.added],
        }
        state[f"{number}/meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
        for part, added in enumerate(each.added):
            prefix = f"{number}/{part}/"
            state |= named(prefix, {name: getattr(added, name) for name in _COLUMNS})
            state |= named(f"{prefix}recounted/", {str(end_s): users for end_s, users in added.recounted.items()})
    return state


def load_closed(state: Mapping[str, NDArray[Any]]) -> tuple[ClosedRatings, ...]:
    """What dump_closed() was given."""
    closed: list[ClosedRatings] = []
    while (packed := state.get(f"{len(closed)}/meta")) is not None:
        meta = json.loads(packed.tobytes())
        added = []
        for part, (end_s, earlier_s) in enumerate(meta["added"]):
            prefix = f"{len(closed)}/{part}/"
            sums, observations, users = (state[f"{prefix}{name}"] for name in _COLUMNS[:3])
            recounted = {earlier: state[f"{prefix}recounted/{earlier}"] for earlier in earlier_s}
            # Earlier versions have not kept the squares: bounds count sessions then.
            squares = state.get(f"{prefix}squares", np.zeros_like(users))
            pairs = state.get(f"{prefix}pairs", np.zeros((len(users), 0), np.int64))
            added.append(AddedRatings(end_s, sums, observations, users, recounted, squares, pairs))
        groups = tuple(tuple(labels) for labels in meta["groups"])
        scale = Scale(*meta["scale"])
        closed.append(ClosedRatings(meta["service"], scale, meta["closed_s"], groups, tuple(added)))
    return tuple(closed)

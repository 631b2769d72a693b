"""What the close of a rating interval adds to it and to earlier ones, as sums of ratings: for a history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qoemon.core.arrays import Floats, Ints
from qoemon.core.counting.groups import Labels
from qoemon.core.qoe.scale import Scale


@dataclass(frozen=True)
class AddedRatings:
    """What is added to the rating interval that ends at end_s, seconds since the epoch. G groups.

    sums          (G, C) expected ratings and moments, as of RatingKernel.sums()
    observations  (G,) conditions
    users         (G,) distinct sessions that this interval counts
    recounted     (G,) by the end of an earlier interval: those of them that it counted so far
    """

    end_s: int
    sums: Floats
    observations: Ints
    users: Ints
    recounted: Mapping[int, Ints]


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

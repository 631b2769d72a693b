"""The rating scale, and which of its ratings count as good and poor."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from qoemon.core.arrays import Counts, Floats


@dataclass(frozen=True)
class Scale:
    """Ratings are the integers from low to high.

    A rating r represents the opinions within 1/2 of r, clipped at the ends of the scale: an opinion above
    good - 1/2 is rated good or better, one up to poor + 1/2 poor or worse (Hossfeld et al. 2020, (20), (21)).
    """

    low: int = 1
    high: int = 5
    good: int = 4
    poor: int = 2

    def __post_init__(self) -> None:
        if not self.low <= self.poor < self.good <= self.high:
            raise ValueError(f"{self}: expected low <= poor < good <= high")

    @cached_property
    def ratings(self) -> Counts:
        """(K,) the ratings, ascending."""
        return np.arange(self.low, self.high + 1)

    @cached_property
    def cuts(self) -> Floats:
        """(K + 1,) boundaries between the opinions of successive ratings, scale points."""
        return np.clip(np.arange(self.low, self.high + 2) - 0.5, self.low, self.high)

    def unit(self, opinion: Floats) -> Floats:
        """Scale points, rescaled to [0, 1]."""
        return (opinion - self.low) / (self.high - self.low)


ACR5 = Scale()
"""Absolute category rating, ITU-T P.910: 1 bad, 2 poor, 3 fair, 4 good, 5 excellent."""

"""Ratings as a study found them instead of a formula: frequencies per condition, interpolated between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qoemon.core.arrays import Counts, Floats
from qoemon.core.qoe.scale import Scale


@dataclass(frozen=True)
class EmpiricalRatings:
    """The ratings of a study's conditions, by ascending MOS.

    mos     (C,) scale points, the first at the low end of the scale, the last at the high end
    shares  (C, K) share of each rating, rows sum to 1

    Between two conditions shares are mixed so that the MOS of the mixture is the one asked for. Beyond the
    outermost, mixing goes on with a condition at the end of the scale, where all users agree.
    """

    mos: Floats
    shares: Floats
    scale: Scale

    @classmethod
    def of(cls, counts: Counts, scale: Scale) -> EmpiricalRatings:
        """From how often each rating was given, (C, K); ValueError if a condition has none.

        Conditions of the same MOS are pooled.
        """
        if not len(counts) or not counts.sum(axis=1).all():
            raise ValueError("expected at least one condition, and ratings in each")
        agreed = np.eye(len(scale.ratings), dtype=np.int64)[[0, -1]]
        all_counts = np.vstack([counts, agreed])
        mos = all_counts @ scale.ratings / all_counts.sum(axis=1)
        levels, level = np.unique(mos, return_inverse=True)
        pooled = np.zeros((len(levels), len(scale.ratings)))
        np.add.at(pooled, level, all_counts)
        return cls(levels, pooled / pooled.sum(axis=1, keepdims=True), scale)

    @property
    def theta(self) -> float:
        """The SOS parameter that fits the study best, by least squares (Hossfeld et al. 2011); NaN if all agree."""
        agree_least = (self.scale.high - self.mos) * (self.mos - self.scale.low)
        variance = self.shares @ self.scale.ratings**2 - self.mos**2
        weight = agree_least @ agree_least
        return float(agree_least @ variance / weight) if weight else np.nan

    def at(self, mos: Floats) -> Floats:
        """(B,) MOS to (B, K) share of each rating."""
        above = np.clip(np.searchsorted(self.mos, mos), 1, len(self.mos) - 1)
        low, high = self.mos[above - 1], self.mos[above]
        weight = ((mos - low) / (high - low))[:, None]
        return (1 - weight) * self.shares[above - 1] + weight * self.shares[above]

"""Rating distributions measured by a study, instead of a formula, interpolated between its conditions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qoemon.core.arrays import Counts, Floats
from qoemon.core.qoe.scale import Scale


@dataclass(frozen=True)
class EmpiricalRatings:
    """Rating frequencies of a study's conditions, by ascending MOS.

    mos     (C,) scale points, the first at the low end of the scale, the last at the high end
    shares  (C, K) share of each rating, rows sum to 1

    Between two conditions their shares are mixed so that the mixture has the given MOS. Beyond the outermost
    condition, it is mixed with a condition at the end of the scale, where all users agree.
    """

    mos: Floats
    shares: Floats
    scale: Scale

    @classmethod
    def of(cls, counts: Counts, scale: Scale) -> EmpiricalRatings:
        """The ratings of a study, from the number of times that each rating was given.

        Conditions of the same MOS are pooled.

        counts  (C, K) ratings of each condition
        raises  ValueError if there is no condition, or one without ratings
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
        """SOS parameter fitted by least squares (Hossfeld et al. 2011); NaN if every MOS is an end of the scale."""
        largest = (self.scale.high - self.mos) * (self.mos - self.scale.low)
        variance = self.shares @ self.scale.ratings**2 - self.mos**2
        weight = largest @ largest
        return float(largest @ variance / weight) if weight else np.nan

    def at(self, mos: Floats) -> Floats:
        """(B, K) share of each rating at each MOS, (B,) scale points."""
        above = np.clip(np.searchsorted(self.mos, mos), 1, len(self.mos) - 1)
        low, high = self.mos[above - 1], self.mos[above]
        weight = ((mos - low) / (high - low))[:, None]
        return (1 - weight) * self.shares[above - 1] + weight * self.shares[above]

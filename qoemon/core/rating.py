"""What users at a QoS condition answer, and from a histogram of conditions what all users answer.

A rating model turns the MOS of each QoS bin into the distribution of the ratings around it. That kernel is
computed once per service; after that a window's QoE, for all its groups, is one matrix product.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scale:
    """A rating scale: integers from low to high, and what its users call good and poor.

    A rating r stands for the interval r -+ 1/2 of the continuous opinion, cut at the ends of the scale, so
    good or better means above good - 1/2, poor or worse at most poor + 1/2 (Hossfeld et al. 2020, (20), (21)).
    """

    low: int = 1
    high: int = 5
    good: int = 4
    poor: int = 2

    def __post_init__(self) -> None:
        if not self.low <= self.poor < self.good <= self.high:
            raise ValueError(f"scale {self}: expected low <= poor < good <= high")

    @cached_property
    def ratings(self) -> NDArray[np.int64]:
        """The K ratings, ascending."""
        return np.arange(self.low, self.high + 1)

    @cached_property
    def cuts(self) -> Floats:
        """(K + 1,) where the ratings' intervals end, on [0, 1]."""
        return self.unit(np.clip(np.arange(self.low, self.high + 2) - 0.5, self.low, self.high))

    def unit(self, opinion: Floats) -> Floats:
        """Scale points on [0, 1]."""
        return (opinion - self.low) / (self.high - self.low)


ACR5 = Scale()
"""Absolute category rating, ITU-T P.910: 1 bad, 2 poor, 3 fair, 4 good, 5 excellent."""

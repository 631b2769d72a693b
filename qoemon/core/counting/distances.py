"""Distances of two rating intervals in one window, in ranges: each to 8, 9 to 16, 17 to 32 and so on.

What depends on the distance is summed for each range, and taken to be even within it: a thousand groups in a day of
minutes take 16,000 numbers, and not 1.4 million.
"""

from __future__ import annotations

import numpy as np

from qoemon.core.arrays import Counts, Floats, Ints

UNITS = 256
"""Units of one pair: a session may have been counted in some of its intervals only, so that pairs are fractions."""


SINGLE = 8
"""Distances that are ranges of their own."""


def ranges(intervals: int) -> int:
    """Number of ranges of distances in windows of so many intervals."""
    return range_of(intervals - 1) + 1 if intervals > 1 else 0


def range_of(distance: int) -> int:
    """The range of a distance of 1 or more."""
    return distance - 1 if distance <= SINGLE else SINGLE + ((distance - 1) // SINGLE).bit_length() - 1


def widths(size: int) -> Ints:
    """(R,) number of distances in each of so many ranges."""
    return np.append(np.ones(SINGLE, np.int64), SINGLE * 2 ** np.arange(max(size - SINGLE, 0)))[:size]


def pairs_each(pairs: Counts) -> Floats:
    """(G, R) pairs at each distance of a range, given units in all of it. Exact: the widths are powers of two."""
    return np.asarray(pairs / (UNITS * widths(pairs.shape[1])))

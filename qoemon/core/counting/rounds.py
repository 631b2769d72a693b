"""Positions in rounds, each with at most one entry of a row: so each round works on whole columns."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from qoemon.core.arrays import Ints


def rounds(rows: Ints) -> Iterator[Ints]:
    """Positions of the entries with a row, so that each of a row comes in a round of its own, in order.

    rows  (R,) row of each entry; those below 0 are left out
    """
    bits = len(rows).bit_length()
    # Sorting numbers is ten times as fast as sorting positions by a key.
    key = np.sort(rows << bits | np.arange(len(rows)))
    key = key[np.searchsorted(key, 0) :]
    order, row = key & ((1 << bits) - 1), key >> bits
    first = np.diff(row, prepend=-1) != 0
    if first.all():
        if len(order):
            yield order
        return
    begins = np.flatnonzero(first)
    rank = np.arange(len(row)) - np.repeat(begins, np.diff(begins, append=len(row)))
    by_rank = np.argsort(rank, kind="stable")
    yield from np.split(order[by_rank], np.cumsum(np.bincount(rank))[:-1])

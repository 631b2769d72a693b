"""The types of the arrays that the core is made of, how arrays grow, and dumps of them by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
"""Numbers of occurrences."""
Ints = NDArray[np.int64]
"""Indexes, ticks, amounts."""
SmallInts = NDArray[np.int32] | NDArray[np.int64]
"""Indexes, in 32 bits where there may be a million of them."""
Flags = NDArray[np.bool_]

Arrays = dict[str, NDArray[Any]]
"""What a part of the core dumps and loads: arrays by name. Names are those of files on disk, see docs/decisions."""

Number = TypeVar("Number", np.int64, np.float64)
Column = TypeVar("Column", bound=NDArray[Any])


def grow_rows(counts: NDArray[Number], rows: int) -> NDArray[Number]:
    """The array with at least this many rows, the new ones 0; the array itself if it has them."""
    missing = rows - len(counts)
    if missing <= 0:
        return counts
    return np.concatenate([counts, np.zeros((missing, *counts.shape[1:]), counts.dtype)])


def grow_columns(column: Column, used: int, room: int) -> Column:
    """A copy with a last axis of length `room`, of which `used` elements are kept and the others are 0.

    Room costs next to nothing while nobody writes to it: the system gives memory as it is touched.
    """
    out = cast(Column, np.zeros((*column.shape[:-1], room), column.dtype))
    for place in np.ndindex(column.shape[:-1]):  # in pieces, so that other threads can run between them
        out[place][:used] = column[place][:used]
    return out


def part(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    """The arrays whose name starts with the prefix, named without it."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def named(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    """The arrays named with the prefix: the inverse of part()."""
    return {f"{prefix}{name}": array for name, array in arrays.items()}


class Sparse(NamedTuple):
    """Counts as the cells that are not 0: of 1,000 groups a histogram has millions of cells, nearly all 0.

    shape   of the whole array
    cells   (N,) flat indexes, ascending
    counts  (N,) what the cells hold
    """

    shape: tuple[int, ...]
    cells: NDArray[Any]
    counts: NDArray[Any]


Histogram = Counts | Sparse
"""(G, B) how often each of B bins occurs in each of G groups."""


def to_sparse(histogram: Histogram) -> Sparse:
    """The histogram as its cells, in 32 bits where they fit."""
    if isinstance(histogram, Sparse):
        return histogram
    flat = histogram.ravel()
    cells = np.flatnonzero(flat)
    return Sparse(histogram.shape, _narrow(cells), _narrow(flat[cells]))


def to_dense(histogram: Histogram) -> Counts:
    """The histogram as an array; the array itself if it is one."""
    if not isinstance(histogram, Sparse):
        return histogram
    counts = np.zeros(histogram.shape, np.int64)
    counts.ravel()[histogram.cells] = histogram.counts
    return counts


def _narrow(numbers: Ints) -> NDArray[Any]:
    fits = not len(numbers) or (numbers.min() >= 0 and numbers.max() < 2**32)
    return numbers.astype(np.uint32) if fits else numbers

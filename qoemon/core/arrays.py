"""Types of the arrays of the core, functions to grow arrays, and dumps of them by name."""

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
"""Indexes; 32 bits where an array may have a million of them."""
Flags = NDArray[np.bool_]

Arrays = dict[str, NDArray[Any]]
"""Arrays by name, as parts of the core dump and load them. The names are part of the format on disk."""

Number = TypeVar("Number", np.int64, np.float64)
Column = TypeVar("Column", bound=NDArray[Any])


def grow_rows(counts: NDArray[Number], rows: int) -> NDArray[Number]:
    """A copy with at least `rows` rows, new rows 0; the array itself if it has that many."""
    missing = rows - len(counts)
    if missing <= 0:
        return counts
    return np.concatenate([counts, np.zeros((missing, *counts.shape[1:]), counts.dtype)])


_FIRST_ROWS = 1024
_MANY_ROWS = 65_536
_GROWTH, _GROWTH_OF_MANY = 2, 16
"""Unused rows are cheap, see grow_columns(). Copying is not, and memory that large columns free is rarely returned
to the system."""


def room_for(rows: int, limit: int) -> int:
    """The length of the columns of a table that has outgrown its own, with room for more rows up to the limit."""
    growth = _GROWTH_OF_MANY if rows > _MANY_ROWS else _GROWTH
    return min(limit, max(_FIRST_ROWS, rows * growth))


def grow_columns(column: Column, used: int, room: int) -> Column:
    """A copy with a last axis of length `room`: the first `used` elements are copied, the others are 0.

    Unused room is cheap: the operating system allocates memory when it is first written.
    """
    out = cast(Column, np.zeros((*column.shape[:-1], room), column.dtype))
    for index in np.ndindex(column.shape[:-1]):  # in pieces, so that other threads can run between them
        out[index][:used] = column[index][:used]
    return out


def part(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    """The arrays whose names start with the prefix, by their names without it."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def named(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    """The arrays with the prefix added to their names: the inverse of part()."""
    return {f"{prefix}{name}": array for name, array in arrays.items()}


class Sparse(NamedTuple):
    """Counts as the cells that are not 0: a histogram of 1,000 groups has millions of cells, nearly all 0.

    shape   of the dense array
    cells   (N,) flat indexes, ascending
    counts  (N,) values of the cells
    """

    shape: tuple[int, ...]
    cells: NDArray[Any]
    counts: NDArray[Any]


Histogram = Counts | Sparse
"""(G, B) number of occurrences of each of B bins in each of G groups."""


def to_sparse(histogram: Histogram) -> Sparse:
    """The histogram as sparse cells, in 32 bits where they fit."""
    if isinstance(histogram, Sparse):
        return histogram
    flat = histogram.ravel()
    cells = np.flatnonzero(flat)
    return Sparse(histogram.shape, _narrow(cells), _narrow(flat[cells]))


def sparse_sum(shape: tuple[int, ...], cells: Ints, numbers: Ints) -> Sparse:
    """A histogram of this shape from (N,) numbers in (N,) cells, which may be repeated."""
    distinct, index = np.unique(cells, return_inverse=True)
    counts = np.zeros(len(distinct), np.int64)
    np.add.at(counts, index, numbers)
    return Sparse(shape, _narrow(distinct), _narrow(counts))


def grow_histogram(histogram: Histogram, groups: int) -> Histogram:
    """A copy with at least so many groups, or the histogram itself, as grow_rows()."""
    if not isinstance(histogram, Sparse):
        return grow_rows(histogram, groups)
    before, bins = histogram.shape
    return histogram._replace(shape=(max(before, groups), bins))


def dump_histogram(name: str, histogram: Histogram) -> Arrays:
    """The histogram as arrays by name: one of the name itself, or the parts of a sparse one below it."""
    if not isinstance(histogram, Sparse):
        return {name: histogram}
    shape = np.array(histogram.shape, np.int64)
    return named(f"{name}/", {"shape": shape, "cells": histogram.cells, "counts": histogram.counts})


def load_histogram(name: str, state: Mapping[str, NDArray[Any]]) -> Histogram:
    """Restore a dump_histogram()."""
    if name in state:
        return state[name]
    shape = tuple(state[f"{name}/shape"].tolist())
    return Sparse(shape, state[f"{name}/cells"], state[f"{name}/counts"])


def to_dense(histogram: Histogram) -> Counts:
    """The histogram as a dense array; the array itself if it is dense already."""
    if not isinstance(histogram, Sparse):
        return histogram
    counts = np.zeros(histogram.shape, np.int64)
    counts.ravel()[histogram.cells] = histogram.counts
    return counts


def _narrow(numbers: Ints) -> NDArray[Any]:
    fits = not len(numbers) or (numbers.min() >= 0 and numbers.max() < 2**32)
    return numbers.astype(np.uint32) if fits else numbers

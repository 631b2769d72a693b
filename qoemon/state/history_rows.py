"""Rows of the history: the sums of all groups of a service in one interval, as one compact blob.

A row a group would cost an index entry each, and ten times as long to write. All numbers are integers: sums of
ratings in units of 1 / UNITS. So adding them up is exact in any order. The bytes of all numbers are reordered, the
highest of each number first: they are nearly all 0, and deflate to almost nothing.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from qoemon.core.arrays import Ints
from qoemon.core.counting.closed_ratings import AddedRatings
from qoemon.core.counting.distances import SINGLE, widths
from qoemon.core.counting.distances import UNITS as UNITS_OF_PAIR

UNITS = 10_000
"""Units in one user: a sum of ratings is accurate to 1 / 20,000 of a user."""

PAIR = 2
"""Units in one pair of conditions of the same session, and in one square."""

OBSERVATIONS, USERS = -2, -1
"""The last columns of the values, in whole conditions and sessions."""

_HEAD = struct.Struct("<III")
_LEVEL = 1
"""Level 6 takes 3 % less, and twice the time to read."""


class DamagedError(Exception):
    """The history cannot be read."""


class Rows(NamedTuple):
    """The groups of one service in one interval.

    group   (N,) numbers of the groups in the history, ascending
    values  (N, C + 2) sums in units, then observations and users
    links   (L, 3) index of the group, time back to the end of an earlier interval in seconds, and how many of the
            users that one counted so far: a range that has both intervals counts them once
    squares (N,) sum over sessions of the square of their conditions, in units; 0 if unknown
    pairs   (P, 3) index of the group, time back to the end of an earlier interval in seconds, and units of pairs of
            conditions of a session in both: a range that has both intervals adds twice the pairs to the squares
    """

    group: Ints
    values: Ints
    links: Ints
    squares: Ints
    pairs: Ints


def rows_of(added: AddedRatings, numbers: Ints, interval_s: int) -> Rows:
    """The rows of what a close has added; numbers: (G,) of the groups in the history."""
    size = len(added.observations)
    recounted = {earlier_s: sessions for earlier_s, sessions in added.recounted.items() if sessions.any()}
    moved = sum(recounted.values(), np.zeros(size, np.int64))
    used = np.flatnonzero((added.observations > 0) | (added.users > 0) | (moved > 0))
    values = np.empty((size, added.sums.shape[1] + 2), np.int64)
    values[:, :OBSERVATIONS] = np.rint(added.sums * UNITS)
    values[:, OBSERVATIONS], values[:, USERS] = added.observations, added.users
    used = used[np.argsort(numbers[used], kind="stable")]
    links = [np.zeros((0, 3), np.int64)]
    for earlier_s in sorted(recounted, reverse=True):
        sessions = recounted[earlier_s][used]
        index = np.flatnonzero(sessions)
        links.append(np.column_stack([index, np.full(len(index), added.end_s - earlier_s), sessions[index]]))
    pairs, width = _coarser(added.pairs[used]), _coarser(widths(added.pairs.shape[1])[None])[0]
    units = np.rint(pairs * (PAIR / UNITS_OF_PAIR)).astype(np.int64)
    index, distance_range = np.nonzero(units)
    # All pairs of a range of distances are at its middle.
    back_s = ((2 * np.cumsum(width) - width + 1) * interval_s // 2)[distance_range]
    return Rows(
        numbers[used],
        values[used],
        np.concatenate(links),
        added.squares[used] * PAIR,
        np.column_stack([index, back_s, units[index, distance_range]]),
    )


def _coarser(columns: Ints) -> Ints:
    """Sums of columns of ranges, (N, R), in fewer ranges: 5 to 8 together, the others as they are."""
    size = columns.shape[1]
    begins = [at for at in (0, 1, 2, 3, 4, *range(SINGLE, size)) if at < size]
    return np.add.reduceat(columns, begins, axis=1) if begins else columns


def rolled_up(end_s: int, block_s: int, parts: Sequence[tuple[int, Rows]]) -> Rows:
    """The rows of the block that ends at end_s, from its intervals by their ends, at least one.

    Users that several of its intervals count are one user of the block, with the weight of all their conditions.
    """
    group = np.unique(np.concatenate([rows.group for _, rows in parts]))
    values = np.zeros((len(group), parts[0][1].values.shape[1]), np.int64)
    links, pairs = [], []
    squares: Ints = np.zeros(len(group), np.int64)
    units: Ints = np.zeros(len(group), np.int64)
    for part_s, rows in parts:
        at = np.searchsorted(group, rows.group)
        values[at] += rows.values
        squares[at] += rows.squares
        index, back_s, sessions = at[rows.links[:, 0]], rows.links[:, 1], rows.links[:, 2]
        blocks_back_s = end_s + (back_s - part_s) // block_s * block_s
        inside = blocks_back_s <= 0
        np.subtract.at(values[:, USERS], index[inside], sessions[inside])
        links.append(np.column_stack([index, blocks_back_s, sessions])[~inside])
        index, back_s, number = at[rows.pairs[:, 0]], rows.pairs[:, 1], rows.pairs[:, 2]
        blocks_back_s = end_s + (back_s - part_s) // block_s * block_s
        inside = blocks_back_s <= 0
        np.add.at(units, index[inside], number[inside])
        pairs.append(np.column_stack([index, blocks_back_s, number])[~inside])
    squares += 2 * units
    return Rows(group, values, _added(np.concatenate(links)), squares, _added(np.concatenate(pairs)))


def pack(rows: Rows) -> bytes:
    """The rows as a blob."""
    steps = np.diff(rows.group, prepend=0)
    numbers = np.concatenate(
        [steps, rows.values.T.ravel(), rows.links.T.ravel(), rows.squares, rows.pairs.T.ravel()]
    )
    planes = np.ascontiguousarray(numbers.astype("<i8").view(np.uint8).reshape(-1, 8).T)
    head = _HEAD.pack(len(rows.group), rows.values.shape[1], len(rows.links))
    return head + zlib.compress(planes.tobytes(), _LEVEL)


def unpack(blob: bytes) -> Rows:
    """The rows of pack(); DamagedError if it is no such blob."""
    try:
        groups, columns, links = _HEAD.unpack_from(blob)
        planes = np.frombuffer(zlib.decompress(blob[_HEAD.size :]), np.uint8).reshape(8, -1)
    except (struct.error, zlib.error, ValueError) as error:
        raise DamagedError(f"a row of the history is damaged: {error}") from None
    numbers = np.ascontiguousarray(planes.T).view("<i8").ravel().astype(np.int64)
    ends = np.cumsum([groups, groups * columns, 3 * links, groups])
    steps, values, linked, squares, pairs = np.split(numbers, ends)
    if not len(squares):  # a row of an earlier version ends with the links
        squares = np.zeros(groups, np.int64)
    return Rows(
        np.cumsum(steps),
        values.reshape(columns, groups).T,
        linked.reshape(3, links).T,
        squares,
        pairs.reshape(3, -1).T,
    )


def _added(links: Ints) -> Ints:
    """The links with those of the same group and time added up."""
    pairs, index = np.unique(links[:, :2], axis=0, return_inverse=True)
    sessions = np.zeros(len(pairs), np.int64)
    np.add.at(sessions, index.ravel(), links[:, 2])
    return np.column_stack([pairs, sessions])

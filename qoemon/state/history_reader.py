"""Reads a time range of the history, at any roll-up: adds up rows by series and step."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping

import numpy as np

from qoemon.core.arrays import Flags, Ints
from qoemon.core.qoe.rating_sums import width
from qoemon.core.snapshot.past import Kept, PastQuery, PastRatings, check_step, step_for, steps_of
from qoemon.state.history_rows import OBSERVATIONS, PAIR, UNITS, USERS, Rows, unpack
from qoemon.state.history_sql import one, scale_text

DEFAULT_S = 3600
"""Length of the range of a question without a begin."""


def read(database: sqlite3.Connection, query: PastQuery, kept: Kept) -> PastRatings:
    """The ratings of a time range; PastError if they cannot be given in these steps."""
    groups, series = _series(database, query)
    rolled_s = one(database, "SELECT until_s FROM rolled")
    from_s, to_s, step_s = _range(query, kept, rolled_s, len(series))
    adder = _Adder(groups, len(series), width(query.scale) + 2, from_s, to_s, step_s)
    for end_s, rows in _rows(database, query, from_s, to_s):
        adder.add(end_s, rows)
    adder.finish()
    known = np.flatnonzero(adder.values[:, :, OBSERVATIONS].any(axis=1))
    order = sorted(known.tolist(), key=series.__getitem__)
    values = adder.values[order]
    return PastRatings(
        query=query,
        kept=kept,
        from_s=from_s,
        to_s=to_s,
        step_s=step_s,
        series=tuple(series[number] for number in order),
        sums=values[:, :, :OBSERVATIONS] / UNITS,
        observations=values[:, :, OBSERVATIONS],
        users=values[:, :, USERS],
        users_overall=adder.users_overall[order],
        squares=adder.squares[order] / PAIR,
        squares_overall=adder.squares_overall[order] / PAIR,
    )


class _Adder:
    """Adds up rows, which come in the order of their ends.

    groups  (G,) the series of each group by its number, -1 for none; the numbers may be far apart
    """

    def __init__(
        self, groups: Mapping[int, int], series: int, columns: int, from_s: int, to_s: int, step_s: int
    ) -> None:
        self._numbers = np.array(sorted(groups), np.int64)
        # The last one is for groups that are not known any more.
        self._series_of = np.array([*(groups[number] for number in self._numbers.tolist()), -1], np.int64)
        self._from_s, self._step_s = from_s, step_s
        self.values = np.zeros((series, (to_s - from_s) // step_s, columns), np.int64)
        self.users_overall = np.zeros(series, np.int64)
        self.squares = np.zeros(self.values.shape[:2], np.int64)
        """(series, steps) in units of the rows, as are those of the whole range."""
        self.squares_overall = np.zeros(series, np.int64)
        self._groups = np.zeros((len(self._series_of), columns), np.int64)
        """(G + 1, columns) sums of the present step."""
        self._overall = np.zeros(len(self._series_of), np.int64)
        """(G + 1,) users of the groups in the whole range."""
        self._step = -1

    def add(self, end_s: int, rows: Rows) -> None:
        """Add the rows of an interval."""
        step = int(steps_of(np.array(end_s), self._from_s, self._step_s))
        if step != self._step:
            self._end_step()
            self._step = step
        group_of_row = self._places(rows.group)
        self._groups[group_of_row] += rows.values
        self._overall[group_of_row] += rows.values[:, USERS]
        group, earlier_s, sessions = group_of_row[rows.links[:, 0]], end_s - rows.links[:, 1], rows.links[:, 2]
        in_range = earlier_s > self._from_s
        np.subtract.at(self._overall, group[in_range], sessions[in_range])
        in_step = earlier_s > self._from_s + step * self._step_s
        np.subtract.at(self._groups[:, USERS], group[in_step], sessions[in_step])
        self._add_squares(end_s, step, rows, self._series_of[group_of_row])

    def _places(self, numbers: Ints) -> Ints:
        """Where groups with these numbers are in the sums."""
        if not len(self._numbers):
            return np.zeros(len(numbers), np.int64)
        places = np.searchsorted(self._numbers, numbers)
        known = self._numbers[np.minimum(places, len(self._numbers) - 1)] == numbers
        return np.where(known, places, len(self._numbers))

    def _add_squares(self, end_s: int, step: int, rows: Rows, of_row: Ints) -> None:
        size = len(self.squares_overall)
        of_pair = of_row[rows.pairs[:, 0]]

        def summed(series: Ints, units: Ints, some: Flags) -> Ints:
            # Floats hold these sums exactly: they stay far below 2**53.
            total = np.bincount(series[some], weights=units[some], minlength=size)
            return np.rint(total).astype(np.int64)

        own, earlier_s = summed(of_row, rows.squares, of_row >= 0), end_s - rows.pairs[:, 1]
        for into, from_s in (
            (self.squares[:, step], self._from_s + step * self._step_s),
            (self.squares_overall, self._from_s),
        ):
            into[:] += own + 2 * summed(of_pair, rows.pairs[:, 2], (of_pair >= 0) & (earlier_s > from_s))

    def finish(self) -> None:
        """Complete the sums, after the last row."""
        self._end_step()
        known = self._series_of >= 0
        np.add.at(self.users_overall, self._series_of[known], self._overall[known])

    def _end_step(self) -> None:
        if self._step >= 0:
            used = np.flatnonzero((self._series_of >= 0) & self._groups.any(axis=1))
            np.add.at(self.values[:, self._step], self._series_of[used], self._groups[used])
            self._groups[:] = 0


def _series(database: sqlite3.Connection, query: PastQuery) -> tuple[dict[int, int], list[tuple[str, ...]]]:
    """The series of each group by its number, -1 for none; and the values of `by` of each series."""
    series: dict[tuple[str, ...], int] = {}
    groups: dict[int, int] = {}
    for number, text in database.execute("SELECT id, value FROM labels"):
        labels: dict[str, str] = json.loads(text)
        groups[number] = -1
        if all(labels.get(name, "") in values for name, values in query.only.items()):
            values = tuple(labels.get(name, "") for name in query.by)
            groups[number] = series.setdefault(values, len(series))
    return groups, list(series)


def _range(query: PastQuery, kept: Kept, rolled_s: int, series: int) -> tuple[int, int, int]:
    """The range in whole steps, cut to what is kept, and the step."""
    if kept.oldest_s is None or kept.newest_s is None:
        at_s = query.to_s or 0
        return at_s, at_s, query.step_s or kept.interval_s
    to_s = kept.newest_s if query.to_s is None else query.to_s
    from_s = to_s - DEFAULT_S if query.from_s is None else query.from_s
    from_s, to_s = max(from_s, kept.oldest_s), min(to_s, kept.newest_s)
    resolution_s = kept.block_s if from_s < rolled_s else kept.interval_s
    length_s = max(to_s - from_s, 0)
    if query.step_s is None:
        step_s = step_for(length_s, resolution_s, series)
    else:
        step_s = query.step_s
        check_step(step_s, length_s, resolution_s, series)
    from_s = from_s // step_s * step_s
    return from_s, max(-(-to_s // step_s) * step_s, from_s), step_s


def _rows(database: sqlite3.Connection, query: PastQuery, from_s: int, to_s: int) -> Iterator[tuple[int, Rows]]:
    """The rows of a service with ends in (from_s, to_s], in order."""
    key = query.service, scale_text(query.scale)
    service = one(database, "SELECT id FROM service WHERE name = ? AND scale = ?", *key)
    if service is None:
        return
    for end_s, blob in database.execute(
        "SELECT end_s, rows FROM block WHERE service = ?1 AND end_s > ?2 AND end_s <= ?3 UNION ALL "
        "SELECT end_s, rows FROM interval WHERE service = ?1 AND end_s > ?2 AND end_s <= ?3 ORDER BY end_s",
        (service, from_s, to_s),
    ):
        yield end_s, unpack(blob)

"""Time series of a service's groups over a period of any length, in bounded memory.

A point covers one rating interval, or 2, 4, 8, ... of them when there would be too many points. It holds sums over
the conditions, so points and groups add up exactly; curves are computed from the sums on request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from qoemon.core.arrays import Counts, Floats, Ints, grow_rows
from qoemon.core.plan.plan import Service
from qoemon.core.qoe.confidence import effective_users, interval
from qoemon.core.snapshot.snapshot import ServiceSnapshot

MOST_CELLS = 1_000_000
"""Points times groups: with 1000 groups some 100 MB."""
MOST_POINTS, FEWEST_POINTS = 2000, 100

FIGURES = ("mos", "gob", "pow")


@dataclass
class Point:
    """One point of G groups.

    sums      (G, C) sums over the conditions
    most      (G, 3) maximum number of users, active sessions and open stalls at any time
    together  (3,) that of all groups together: groups need not reach their maximum at the same time
    effective (G,) maximum of the effective number of users of each group, for the bounds
    """

    sums: Floats
    most: Ints
    together: Ints
    effective: Floats

    def add(self, other: Point) -> None:
        """Add an adjacent point, of as many groups or more."""
        size = max(len(self.sums), len(other.sums))
        self.sums = grow_rows(self.sums, size) + grow_rows(other.sums, size)
        self.most = np.maximum(grow_rows(self.most, size), grow_rows(other.most, size))
        self.together = np.maximum(self.together, other.together)
        self.effective = np.maximum(grow_rows(self.effective, size), grow_rows(other.effective, size))

    def squares(self, rows: Ints) -> float:
        """Sum over the users of these groups of the squares of their conditions, as if they weighed as then."""
        rows = rows[rows < len(self.sums)]
        rows = rows[self.effective[rows] > 0]
        return float((self.sums[rows, 0] ** 2 / self.effective[rows]).sum())


@dataclass(frozen=True)
class Curve:
    """P points in the order of time; NaN where there are no data.

    edges_s  (P + 1,) begin and end of each point, seconds since the epoch
    figures  (P,) by name: mos, gob, pow
    bounds   (P, 2) by name, lower and upper
    ratings  (P, K) shares
    users, active, open_stalls  (P,) maximum at any time
    """

    edges_s: Floats
    figures: dict[str, Floats]
    bounds: dict[str, Floats]
    ratings: Floats
    users: Floats
    active: Floats
    open_stalls: Floats


class Series:
    """The points of one service; rating intervals are added once each, in order."""

    def __init__(self, service: Service, interval_s: int, confidence: float) -> None:
        each = service.kernel().distribution(np.eye(len(service.rated_at), dtype=np.int64))
        figures = np.column_stack([each.mos, each.gob, each.pow])
        ones = np.ones((len(figures), 1))
        self._matrix: Floats = np.hstack([ones, figures, figures**2, each.ratings])
        self._scale, self._confidence = service.scale, confidence
        self._interval_s, self._factor = interval_s, 1
        self._points: dict[int, Point] = {}
        self._groups = 0

    @property
    def length_s(self) -> int:
        """Length of the time that a point covers, seconds."""
        return self._interval_s * self._factor

    def add(self, end_s: int, snapshot: ServiceSnapshot) -> None:
        """Add the rating interval that ended at end_s."""
        tally = snapshot.counts
        counts: Counts = tally.windows[self._interval_s]
        users = tally.users[self._interval_s]
        most = np.column_stack([users, tally.active_sessions, tally.open_stalls])
        effective = np.asarray(snapshot.distributions[self._interval_s].effective_users, np.float64)
        self._groups = max(self._groups, len(counts))
        self._put(
            self._points,
            (end_s - 1) // self.length_s,
            Point(np.asarray(counts @ self._matrix), most, most.sum(axis=0), effective),
        )
        if len(self._points) > max(min(MOST_POINTS, MOST_CELLS // max(self._groups, 1)), FEWEST_POINTS):
            self._points = self._coarser(self._points, 2)
            self._factor *= 2

    def curve(self, groups: Sequence[int] | None = None, most_points: int = MOST_POINTS) -> Curve:
        """Curve of these groups together; of all groups by default."""
        ratio = 1
        while len(points := self._coarser(self._points, ratio)) > most_points:
            ratio *= 2
        rows = np.arange(self._groups) if groups is None else np.array(groups, np.int64)
        length_s = self.length_s * ratio
        numbers = list(points)
        sums = np.array([grow_rows(p.sums, self._groups)[rows].sum(axis=0) for p in points.values()])
        most = np.array(
            [
                p.together if groups is None else grow_rows(p.most, self._groups)[rows].sum(axis=0)
                for p in points.values()
            ]
        )
        columns = self._matrix.shape[1]
        squares = np.array([point.squares(rows) for point in points.values()])
        return self._curve(numbers, length_s, sums.reshape(-1, columns), most.reshape(-1, 3), squares)

    def _coarser(self, points: dict[int, Point], ratio: int) -> dict[int, Point]:
        out: dict[int, Point] = {}
        for number, point in points.items():
            self._put(out, number // ratio, replace(point))
        return out

    def _put(self, points: dict[int, Point], number: int, point: Point) -> None:
        if number in points:
            points[number].add(point)
        else:
            points[number] = point

    def _curve(self, numbers: list[int], length_s: int, sums: Floats, most: Ints, squares: Floats) -> Curve:
        """The curve, with one empty point for each gap of any length."""
        begins = np.array(numbers, np.float64) * length_s
        after_gap = np.flatnonzero(np.diff(begins) > length_s) + 1
        sums = np.insert(sums, after_gap, 0.0, axis=0)
        squares = np.insert(squares, after_gap, 0.0)
        maxima = np.insert(most.astype(np.float64), after_gap, 0.0, axis=0)
        edges_s = np.insert(begins, after_gap, begins[after_gap - 1] + length_s)
        edges_s = np.append(edges_s, begins[-1:] + length_s)
        with np.errstate(invalid="ignore"):
            mean = sums / sums[:, :1]
        effective = effective_users(sums[:, 0], maxima[:, 0], squares)
        low, high = float(self._scale.low), float(self._scale.high)
        ends = {"mos": (low, high), "gob": (0.0, 1.0), "pow": (0.0, 1.0)}
        return Curve(
            edges_s=edges_s,
            figures={name: mean[:, 1 + i] for i, name in enumerate(FIGURES)},
            bounds={
                name: interval(mean[:, 1 + i], mean[:, 4 + i], effective, self._confidence, *ends[name])
                for i, name in enumerate(FIGURES)
            },
            ratings=mean[:, 7:],
            users=maxima[:, 0],
            active=maxima[:, 1],
            open_stalls=maxima[:, 2],
        )

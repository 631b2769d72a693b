"""Questions about the past, and their answers: the QoE of any time range, at any roll-up, from additive sums."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from qoemon.core.arrays import Floats, Ints
from qoemon.core.qoe.rating_sums import RatedSums, rated
from qoemon.core.qoe.scale import Scale

MOST_POINTS = 1500
"""Steps in the range of one answer."""

AUTO_POINTS = 300
"""Steps in the range with an automatic step: as many as a chart can show."""

MOST_CELLS = 50_000
"""Series times steps of one answer."""

STEPS_S = (10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)
"""Automatic steps, seconds; rounded up to multiples of the resolution."""

MOST_ALERTS = 1000
"""Alerts in one answer."""


class PastError(ValueError):
    """The question cannot be answered. The text says what was expected."""


@dataclass(frozen=True)
class PastQuery:
    """Ratings of one service in a time range. Times are seconds since the epoch.

    scale         of the service; ratings on another scale are left out
    from_s, to_s  range, from_s < to_s; None: an hour before to_s, and the newest rating interval
    step_s        length of a step, seconds; None: automatic
    by            names of the labels to tell apart; the groups of all other labels are added up
    only          accepted values by label; other labels may have any value
    """

    service: str
    scale: Scale
    from_s: int | None = None
    to_s: int | None = None
    step_s: int | None = None
    by: tuple[str, ...] = ()
    only: Mapping[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Kept:
    """What a history holds. Times are seconds since the epoch.

    kept_s, fine_s      how long ratings are kept; how long of that by rating intervals, not by blocks
    interval_s, block_s  lengths of a rating interval and of a block
    oldest_s, newest_s  begin of the oldest interval and end of the newest one, of all services; None without any
    """

    kept_s: int
    fine_s: int
    interval_s: int
    block_s: int
    oldest_s: int | None
    newest_s: int | None


@dataclass(frozen=True)
class PastRatings:
    """The answer to a PastQuery: N series of T steps, each step from times_s - step_s to times_s.

    from_s, to_s   the range, rounded to whole steps and cut to what is kept
    series         values of the labels `by`, for each series that has observations
    sums           (N, T, C) expected ratings and moments
    observations   (N, T) conditions
    users          (N, T) distinct sessions of each step
    users_overall  (N,) distinct sessions of the whole range
    squares, squares_overall  (N, T), (N,) sum over these sessions of the square of their conditions; 0 if unknown
    """

    query: PastQuery
    kept: Kept
    from_s: int
    to_s: int
    step_s: int
    series: tuple[tuple[str, ...], ...]
    sums: Floats
    observations: Ints
    users: Ints
    users_overall: Ints
    squares: Floats
    squares_overall: Floats

    @property
    def times_s(self) -> list[int]:
        """(T,) ends of the steps, seconds since the epoch."""
        return list(range(self.from_s + self.step_s, self.to_s + 1, self.step_s))

    def rated(self, confidence: float) -> RatedSums:
        """The QoE of each step, flat: (N * T,)."""
        size = self.observations.size
        sums = self.sums.reshape(size, self.sums.shape[2])
        columns = self.observations.ravel(), self.users.ravel(), self.squares.ravel()
        return rated(sums, *columns, self.query.scale, confidence)

    def rated_overall(self, confidence: float) -> RatedSums:
        """The QoE of the whole range, (N,)."""
        observations = self.observations.sum(axis=1)
        columns = observations, self.users_overall, self.squares_overall
        return rated(self.sums.sum(axis=1), *columns, self.query.scale, confidence)


@dataclass(frozen=True)
class PastAlert:
    """An alert that fired. Times are seconds since the epoch.

    labels           of its group
    began_s          since when the value was past the threshold; None if unknown
    fired_s, ended_s when it began to fire, and when it stopped; None while it fires
    reason           why it fired
    ended_reason     why it ended; "reset" if the daemon no longer knows it: its rule was removed, or the state of
                     the service reset
    value, peak      of the metric when it fired, and its worst until it ended; None without data
    users            distinct sessions behind the value
    """

    alert: str
    service: str
    labels: Mapping[str, str]
    severity: str
    metric: str
    threshold: float
    recovery: float
    began_s: int | None
    fired_s: int
    ended_s: int | None
    reason: str
    ended_reason: str | None
    value: float | None
    peak: float | None
    users: int | None


@dataclass(frozen=True)
class PastAlerts:
    """Alerts that fired at some time in a range, the newest first.

    more  whether there were more than MOST_ALERTS
    """

    from_s: int
    to_s: int
    kept_s: int
    alerts: tuple[PastAlert, ...]
    more: bool


def step_for(length_s: int, resolution_s: int, series: int) -> int:
    """The shortest automatic step, seconds, for a range of this length; a multiple of the resolution.

    series  number of series
    """
    least_s = length_s / max(1, min(AUTO_POINTS, MOST_CELLS // max(series, 1)))
    steps_s = (_up(step_s, resolution_s) for step_s in STEPS_S)
    return next((step_s for step_s in steps_s if step_s >= least_s), _up(int(least_s) + 1, resolution_s))


def check_step(step_s: int, length_s: int, resolution_s: int, series: int) -> None:
    """PastError if a range of this length cannot be answered in these steps."""
    automatic = f"step={step_for(length_s, resolution_s, series)}s, or step=auto"
    if step_s % resolution_s:
        raise PastError(
            f"step is {step_s}s, expected a multiple of {resolution_s}s, the resolution of this range: "
            f"use {automatic}"
        )
    points = -(-length_s // step_s)
    if points > MOST_POINTS:
        raise PastError(
            f"step {step_s}s makes {points} points, at most {MOST_POINTS} are possible: use {automatic}"
        )
    if points * series > MOST_CELLS:
        raise PastError(
            f"{series} series of {points} points are {points * series}, at most {MOST_CELLS} are possible: "
            f"use {automatic}, fewer labels in by, or a filter"
        )


def steps_of(ends_s: Ints, from_s: int, step_s: int) -> Ints:
    """(N,) number of the step that each end of an interval is in; the first step ends at from_s + step_s."""
    return np.asarray((ends_s - from_s - 1) // step_s)


def _up(length_s: int, unit_s: int) -> int:
    return -(-length_s // unit_s) * unit_s

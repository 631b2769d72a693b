"""The quality of what was shown to each run, of services that rate it together with stalls.

A report with measures tells the quality Q of what it played: the MOS that its service's mapping of quality gives.
The quality of a run in a rating interval is the mean of Q over its reports with measures there, weighted by what
each of them played: seconds of media, to which stalls are related as well. Where nothing was played while measures
were known, the last Q holds; before the first one there is none, and the run is not rated.

Q is counted in integers, PARTS of the scale, times milliseconds: sums are exact, in whatever order they are made.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qoemon.core.arrays import Counts, Floats, Ints, SmallInts, grow_columns
from qoemon.core.counting.session_table import SessionTable
from qoemon.core.plan.plan import Service, Timing
from qoemon.core.qoe.bins import mos_level, mos_levels
from qoemon.core.qoe.distribution import rating_cdf
from qoemon.core.qoe.mapping import MediaStall
from qoemon.core.wire.batch import Batch
from qoemon.core.wire.report import ABSENT_FLOAT

PARTS = 10_000
"""Q is counted in this many parts of the scale: 0.0004 scale points from 1 to 5."""

UNKNOWN = -1
"""The quality of a run before its first measures, and of a report without any."""

MOST_MS = (2**31 - 1) // PARTS
"""Maximum of a slice (3.5 minutes in ms), so that the time times the quality fits in 32 bits."""

MOST_LONG_MS = 2**30
"""Maximum of a slice of long ticks, of which there are few: there it fits in 64 bits."""

LONG_TICK_S = 100
"""Of media that play twice as fast, more may be played in a longer tick than 32 bits hold."""

HARM_PARTS = 1_000_000
"""Probabilities are summed in millionths, so that sums over sessions are exact."""

SUM, UNMEASURED, HARM_OF_QUALITY, HARM_OF_COUNT, HARM_OF_TIME = range(5)
COLUMNS = 5
"""Columns of the counts of a group in the base window: sum of Q over its rated sessions, in PARTS of the scale;
sessions that are not rated because they told no measures; and what quality, number and time of stalls add to the
probability that a session rates poor or worse, summed in HARM_PARTS."""
HARMS = slice(HARM_OF_QUALITY, HARM_OF_TIME + 1)

_COLUMNS = ("known_ms", "sums", "last")


class Quality:
    """Columns parallel to a SessionTable.

    known_ms  (ticks in a rating interval, rows) int32, media time with measures, by slice
    sums      the same, times its quality in PARTS; int64 with ticks of more than LONG_TICK_S
    last      (rows,) int16, the newest quality; UNKNOWN before the first
    """

    def __init__(self, sessions: SessionTable, service: Service, timing: Timing) -> None:
        if not isinstance(service.mapping, MediaStall):
            raise TypeError(f"{service.mapping.name} rates no quality")
        self._mapping, self._scale = service.mapping, service.scale
        self._harm = _Harm(service, service.mapping)
        self._sessions = sessions
        is_long = timing.tick_s > LONG_TICK_S
        self._most_ms = MOST_LONG_MS if is_long else MOST_MS
        self.known_ms = np.zeros((timing.slices, 0), np.int32)
        self.sums: NDArray[Any] = np.zeros((timing.slices, 0), np.int64 if is_long else np.int32)
        self.last = np.zeros(0, np.int16)

    def of_reports(self, batch: Batch, position: Ints) -> Ints:
        """(R,) quality of these reports, in PARTS; UNKNOWN without measures."""
        measures = [batch.measures[name][position] for name in self._mapping.measures]
        quality = np.full(len(position), UNKNOWN)
        some = np.flatnonzero(measures[0] != ABSENT_FLOAT)  # the codec accepts all measures or none
        if len(some):
            mos = self._mapping.quality(*(column[some] for column in measures))
            quality[some] = np.rint((mos - self._scale.low) * (PARTS / (self._scale.high - self._scale.low)))
        return quality

    def newest(self, row: Ints, quality: Ints) -> Ints:
        """(R,) quality that these reports tell, of these rows, or else the last one that is known."""
        return np.where(quality == UNKNOWN, self.last[row], quality)

    def hear(self, row: Ints, quality: Ints, at_s: Floats) -> None:
        """Record the quality of one report of each of these rows, unless a newer one was heard and one is known."""
        is_newest = ~(at_s < self._sessions.last_s[row]) | (self.last[row] == UNKNOWN)
        some = np.flatnonzero((quality != UNKNOWN) & is_newest)
        self.last[row[some]] = quality[some]

    def add(self, slice_: Ints, row: Ints, play_ms: Ints, quality: Ints) -> None:
        """Add (R,) milliseconds that were played at a quality, UNKNOWN included, to slices of distinct rows."""
        some = np.flatnonzero((quality != UNKNOWN) & (play_ms > 0))
        cell = slice_[some] * self.known_ms.shape[1] + row[some]
        known_ms, sums = self.known_ms.reshape(-1), self.sums.reshape(-1)
        added = np.minimum(play_ms[some], self._most_ms - known_ms[cell])
        known_ms[cell] += added.astype(np.int32)
        sums[cell] += (added * quality[some]).astype(sums.dtype)

    def of_rows(self, part: slice | Ints) -> Ints:
        """(N,) quality of these runs in the rating interval, in PARTS; UNKNOWN before the first measures."""
        known_ms = self.known_ms[:, part].sum(axis=0, dtype=np.int64)
        return self.mean(known_ms, self.sums[:, part].sum(axis=0, dtype=np.int64), self.last[part])

    def mean(self, known_ms: Ints, sums: Ints, last: NDArray[Any]) -> Ints:
        """(N,) mean quality over a media time with measures; the last one without."""
        # Half up, in integers.
        found: Ints = np.where(known_ms > 0, (2 * sums + known_ms) // np.maximum(2 * known_ms, 1), last)
        return found

    def mos(self, quality: Ints) -> Floats:
        """(N,) quality as MOS, scale points."""
        return mos_of(quality, self._scale.low, self._scale.high)

    def rated(self, quality: Ints, n: Floats, t: Floats) -> Ints:
        """(N,) level of the MOS of a known quality and of stalls."""
        return mos_level(self._mapping.after_stalls(self.mos(quality), n, t), self._scale)

    def count(self, counts: Counts, group: SmallInts, quality: Ints, n: Floats, t: Floats) -> None:
        """Add the conditions of (N,) rated sessions to the counts (G, COLUMNS) of their groups."""
        np.add.at(counts[:, SUM], group, quality)
        for column, harm in enumerate(self._harm(self.mos(quality), n, t), HARM_OF_QUALITY):
            np.add.at(counts[:, column], group, harm)

    def enter(self, slice_: int, used: int) -> None:
        """Begin a tick: clear its slice."""
        self.known_ms[slice_, :used] = 0
        self.sums[slice_, :used] = 0

    def remove(self, rows: Ints) -> None:
        """Remove these runs."""
        self.known_ms[:, rows] = self.sums[:, rows] = 0
        self.last[rows] = UNKNOWN

    def grow(self, used: int, room: int, rows: int) -> None:
        """Extend the columns to `room` rows, of which `used` were in use so far, and `rows` are now."""
        if room > len(self.last):
            for name in _COLUMNS:
                setattr(self, name, grow_columns(getattr(self, name), used, room))
        self.last[used:rows] = UNKNOWN

    def dump(self, rows: Ints) -> dict[str, NDArray[Any]]:
        """The columns of these rows."""
        return {name: getattr(self, name)[..., rows] for name in _COLUMNS}

    def load(self, state: dict[str, NDArray[Any]], rows: Ints) -> None:
        """Restore a dump()."""
        for name in _COLUMNS:
            getattr(self, name)[..., rows] = state[name]


def mos_of(quality: NDArray[Any], low: float, high: float) -> Floats:
    """Quality in PARTS as MOS, scale points; UNKNOWN, and parts of one, give a number below the scale."""
    return np.asarray(low + (high - low) * (quality / PARTS))


class _Harm:
    """What each factor adds to the probability that a session rates poor or worse: its exact Shapley value.

    See snapshot/attribution.py, which does the same for bins. Quality has none that are fine enough; so the values
    are those of the exact conditions, which is why sessions are counted with them.
    """

    def __init__(self, service: Service, mapping: MediaStall) -> None:
        self._mapping, self._scale = mapping, service.scale
        upto = np.array([service.scale.poor + 0.5])
        levels = mos_levels(service.scale)
        self._poor = rating_cdf(levels, service.theta, upto, service.model, service.scale, service.study)[:, 0]
        self._best = mapping.quality.reach[-1:]

    def __call__(self, quality: Floats, n: Floats, t: Floats) -> Counts:
        """(3, N) harm of quality, number and time of stalls, in HARM_PARTS."""
        none = np.zeros(1)
        nothing, q = self._of(self._best, none, none), self._of(quality, none, none)
        harms = np.zeros((3, len(q)))
        harms[0] = q - nothing
        if len(some := np.flatnonzero((n > 0) | (t > 0))):
            harms[:, some] = self._shapley(nothing, q[some], quality[some], n[some], t[some])
        counted: Counts = np.rint(harms * HARM_PARTS).astype(np.int64)
        return counted

    def _shapley(self, nothing: Floats, q: Floats, quality: Floats, n: Floats, t: Floats) -> Floats:
        none = np.zeros(len(n))
        at_n, at_t = self._of(self._best, n, none), self._of(self._best, none, t)
        q_n, q_t, n_t = self._of(quality, n, none), self._of(quality, none, t), self._of(self._best, n, t)
        all_three = self._of(quality, n, t)
        # Over the six orders: a third first, a sixth second after each of the others, a third last.
        return np.array(
            [
                _value(nothing, q, at_n, q_n, at_t, q_t, n_t, all_three),
                _value(nothing, at_n, q, q_n, at_t, n_t, q_t, all_three),
                _value(nothing, at_t, q, q_t, at_n, n_t, q_n, all_three),
            ]
        )

    def _of(self, quality: Floats, n: Floats, t: Floats) -> Floats:
        mos = self._mapping.after_stalls(quality, n, t)
        poor: Floats = self._poor[mos_level(mos, self._scale)]
        return poor


def _value(
    nothing: Floats,
    own: Floats,
    one: Floats,
    own_one: Floats,
    other: Floats,
    own_other: Floats,
    one_other: Floats,
    all_three: Floats,
) -> Floats:
    """The Shapley value of one of three factors: own, one and other."""
    return (2 * (own - nothing) + (own_one - one) + (own_other - other) + 2 * (all_three - one_other)) / 6


def rates_quality(service: Service) -> bool:
    """Whether a service rates quality and stalls."""
    return isinstance(service.mapping, MediaStall)


def no_quality(service: Service, groups: int) -> Counts:
    """Counts of so many groups without sessions; without columns if the service rates no quality."""
    return np.zeros((groups, COLUMNS if rates_quality(service) else 0), np.int64)

"""The usual number of active sessions, and by how much the present one is below it.

The number of sessions has a daily and a weekly rhythm, and holidays that are in no calendar here. Within some
minutes, though, all of them change little: so the present number is compared with the median of 5 to 15 rating
intervals ago, and no holiday can look like a fall. What falls within minutes on ordinary days, as at the end of a
show, is learnt: a fall that also happened at this time on the two days before, or a week before, is expected.
The past can only lower the expected number: it never raises an alarm by itself.

The logarithm of the ratio of both numbers has about the variance

    1 / n + 1 / m + spread^2

with n sessions now and m expected: chance of independent viewers, and what moves many of them together. The spread
is learnt, as that of PoW is (change_point.py). A fall is certain if it is LIMIT standard deviations beyond.

From the beginning of a fall on, the expected number is held: otherwise it would follow, and the alert would end
while the viewers are still away. It falls only as it did on the days before.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qoemon.core.arrays import Arrays, Flags, Floats, Ints

LEVEL = np.dtype(
    [
        ("usual", np.int64),  # median of the last intervals, or that before the fall; 0 if unknown
        ("held", np.bool_),  # whether there is a fall
        ("from_s", np.float64),  # the time that `usual` is of, s since the epoch
        ("held_s", np.float64),  # when the fall was seen, s since the epoch
        ("expected", np.float64),  # number of sessions now without a fall; NaN if unknown
        ("spread2", np.float64),  # square of the relative deviation beyond chance
        ("age", np.int64),  # intervals learnt from
    ]
)
"""The state of one group or service."""

NEWEST, OLDEST, LEAST = 5, 15, 4
"""The median is of the intervals from NEWEST to OLDEST ago, of which LEAST must be known."""
LIMIT = 4.0
"""Standard deviations beyond which a fall is certain."""
HELD_FALL = 0.25
"""Share from which on the expected number is held, once the fall is certain: a mere dip must not hold it while an
evening ends. Also the share from which on a fall of the days before is expected again."""
HOLD_S, HOLD_KNOWN_S = 2 * 3600, 24 * 3600
"""How long at most; longer if a day before says how the number would change meanwhile."""
SPREAD_PRIOR, SPREAD_LEAST, SPREAD_START, SPREAD_MEMORY = 60, 0.03, 0.1, 1440
"""Learning of the spread: weight of its start, intervals; minimum; start; memory, intervals."""
CAUTION = 1.3
"""Factor on the learnt spread: successive intervals are correlated."""
OUTLIER = 4.0

DAY_S = 86_400
DAYS = 8
BIN_S = 300
"""Resolution of the days before."""
EARLIER = (1, 2, 7)
UNKNOWN = -1


class SessionLevels:
    """The usual number of sessions of U groups or services, and of the last 8 days.

    close() is called as each rating interval closes, in order; fall() at any time between.
    """

    def __init__(self, interval_s: int) -> None:
        self._interval_s = interval_s
        self._bins = max(DAY_S // max(BIN_S, interval_s), 1)
        self.state = np.zeros(0, LEVEL)
        self._recent: Ints = np.zeros((0, OLDEST + 1), np.int64)
        """(U, 16) sessions at the end of recent intervals, by number of the interval modulo 16."""
        self._numbers: Ints = np.full(OLDEST + 1, UNKNOWN)
        self._past = np.zeros((0, DAYS, self._bins), np.int32)
        """(U, 8, bins) sessions by day modulo 8 and time of the day (UTC)."""
        self._days: Ints = np.full(DAYS, UNKNOWN)

    def grow(self, units: int) -> None:
        """Make room for so many units, at least."""
        missing = max(units - len(self.state), 0)
        if missing:
            self.state = np.concatenate([self.state, _fresh(missing)])
            recent = np.full((missing, OLDEST + 1), UNKNOWN)
            self._recent = np.concatenate([self._recent, recent])
            past = np.full((missing, DAYS, self._bins), UNKNOWN, np.int32)
            self._past = np.concatenate([self._past, past])

    def forget(self, units: Ints) -> None:
        """Forget everything about these units."""
        self.state[units], self._recent[units], self._past[units] = _fresh(len(units)), UNKNOWN, UNKNOWN

    def fall(self, sessions: Ints) -> tuple[Floats, Floats]:
        """(U,) by which share the sessions are below the expected ones, and (U,) which share of that is certain.

        Both are NaN where nothing is expected yet. A negative certain share is within the usual variation.
        """
        expected = np.where(self.state["expected"] > 0, self.state["expected"], np.nan)
        deviation, scale = self._deviation(sessions, expected)
        return 1 - sessions / expected, 1 - np.exp(deviation + LIMIT * scale)

    def close(self, sessions: Ints, silent: Flags, end_s: int) -> None:
        """Learn from an interval that ends at end_s, seconds since the epoch.

        sessions  (U,) active ones at its end
        silent    (U,) units without any reports: their expected number is held as long as that lasts
        """
        state, number = self.state, end_s // self._interval_s
        level = self._median(number)
        usual = np.where(state["held"], state["usual"], level)
        lag_s = (NEWEST + OLDEST) // 2 * self._interval_s
        from_s = np.where(state["held"], state["from_s"], end_s - lag_s)
        ratio, known = self._recurrent(end_s, from_s)
        expected = np.where(usual > 0, usual * ratio, np.nan)
        holds, ended = self._holds(sessions, expected, silent, known, end_s)
        self._learn_spread(sessions, expected, holds)
        state["held_s"] = np.where(holds & ~state["held"], end_s, state["held_s"])
        state["held"], state["usual"], state["from_s"], state["expected"] = holds, usual, from_s, expected
        self._remember(sessions, holds, ended, number)
        self._remember_day(sessions, end_s)

    def dump(self) -> Arrays:
        """The whole state, as arrays by name."""
        return {
            "state": self.state.copy(),
            "recent": self._recent.copy(),
            "numbers": self._numbers.copy(),
            "past": self._past.copy(),
            "days": self._days.copy(),
        }

    def load(self, state: Arrays) -> None:
        """Restore a dump(); ValueError if another version wrote it."""
        fits = state["state"].dtype == LEVEL and state["past"].shape[1:] == (DAYS, self._bins)
        if not fits or state["recent"].shape[1] != OLDEST + 1:
            raise ValueError(
                f"the dumped session levels are {state['state'].dtype}, expected {LEVEL}: discard them"
            )
        self.state, self._recent, self._numbers, self._past, self._days = (
            state[name].copy() for name in ("state", "recent", "numbers", "past", "days")
        )

    def shift(self, by_s: int) -> None:
        """Move all times by whole rating intervals, in seconds, after a step of the clock.

        The days before are forgotten: their times of the day were wrong.
        """
        self.state["from_s"] += by_s
        self.state["held_s"] += by_s
        order = np.arange(OLDEST + 1)
        by = by_s // self._interval_s
        self._recent = self._recent[:, (order - by) % (OLDEST + 1)]
        numbers = self._numbers[(order - by) % (OLDEST + 1)]
        self._numbers = np.where(numbers == UNKNOWN, UNKNOWN, numbers + by)
        self._days[:] = UNKNOWN

    def _median(self, number: int) -> Ints:
        """(U,) lower median of the intervals from NEWEST to OLDEST ago; 0 if too few are known."""
        age = number - self._numbers
        recent = self._recent[:, (self._numbers != UNKNOWN) & (age >= NEWEST) & (age <= OLDEST)]
        known = (recent != UNKNOWN).sum(axis=1)
        if not recent.shape[1]:
            return np.zeros(len(recent), np.int64)
        # The unknown ones are smallest, so they come first.
        middle = recent.shape[1] - known + (np.maximum(known, 1) - 1) // 2
        middle = np.minimum(middle, recent.shape[1] - 1)
        values = np.take_along_axis(np.sort(recent, axis=1), middle[:, None], axis=1)[:, 0]
        return np.where(known >= LEAST, values, 0)

    def _deviation(self, sessions: Ints, expected: Floats) -> tuple[Floats, Floats]:
        """(U,) logarithm of the ratio of sessions to expected ones, and (U,) its standard deviation."""
        now = sessions + 0.5
        spread2 = np.maximum(CAUTION**2 * self.state["spread2"], SPREAD_LEAST**2)
        return np.log(now / (expected + 0.5)), np.sqrt(1 / now + 1 / (expected + 0.5) + spread2)

    def _holds(
        self, sessions: Ints, expected: Floats, silent: Flags, known: Flags, end_s: int
    ) -> tuple[Flags, Flags]:
        """(U,) where there is a fall, and (U,) where one has ended or has lasted for so long that it is normal."""
        state = self.state
        deviation, scale = self._deviation(sessions, expected)
        fallen = (sessions < (1 - HELD_FALL) * expected) & (state["held"] | (deviation < -LIMIT * scale))
        at_most_s = np.where(known, HOLD_KNOWN_S, HOLD_S)
        accepted = state["held"] & ~silent & (end_s - state["held_s"] >= at_most_s)
        holds = (fallen | silent & ~np.isnan(expected)) & ~accepted
        return holds, state["held"] & ~holds

    def _learn_spread(self, sessions: Ints, expected: Floats, holds: Flags) -> None:
        state = self.state
        learns = ~holds & ~np.isnan(expected)
        deviation, scale = self._deviation(sessions, expected)
        chance = 1 / (sessions + 0.5) + 1 / (expected + 0.5)
        most = OUTLIER * scale**2
        excess = np.clip(deviation**2 - chance, -most, most)
        memory = np.minimum(state["age"] + SPREAD_PRIOR, SPREAD_MEMORY)
        moved = np.maximum(state["spread2"] + (excess - state["spread2"]) / memory, 0)
        state["spread2"] = np.where(learns, moved, state["spread2"])
        state["age"] += learns

    def _remember(self, sessions: Ints, holds: Flags, ended: Flags, number: int) -> None:
        """Store the sessions of the interval; those of a fall are not usual."""
        slot = number % (OLDEST + 1)
        self._numbers[slot] = number
        self._recent[:, slot] = np.where(holds, UNKNOWN, sessions)
        # After a long fall nothing recent is known: what is there now counts as usual at once.
        empty = ended & (self._median(number + 1) == 0)
        if empty.any():
            order = np.arange(OLDEST + 1)
            numbers = number - (slot - order) % (OLDEST + 1)
            # What others have had in these slots is older.
            self._recent[:, self._numbers != numbers] = UNKNOWN
            self._numbers = numbers
            self._recent[empty] = sessions[empty, None]

    def _remember_day(self, sessions: Ints, end_s: int) -> None:
        day, at = divmod(int(end_s // (DAY_S / self._bins)), self._bins)
        slot = day % DAYS
        if self._days[slot] != day:
            self._days[slot], self._past[:, slot] = day, UNKNOWN
        self._past[:, slot, at] = np.minimum(sessions, np.iinfo(np.int32).max)

    def _recurrent(self, now_s: int, from_s: Floats) -> tuple[Floats, Flags]:
        """(U,) by which factor the number fell on the days before between these times, 1 if little; (U,) if known.

        A fall may come a bin earlier or later than on the days before.
        """
        bin_s = DAY_S / self._bins
        now = int(now_s // bin_s)
        before = (np.nan_to_num(from_s) // bin_s).astype(np.int64)
        factors = []
        for days in EARLIER:
            ago = days * self._bins
            least = np.fmin(np.fmin(self._at(now - ago - 1), self._at(now - ago)), self._at(now - ago + 1))
            most = np.fmax(self._at(before - ago - 1), self._at(before - ago))
            factors.append((least + 0.5) / (most + 0.5))
        one, two, week = factors
        # Unless both days agree, an outage of yesterday would excuse that of today.
        factor = np.fmin(np.maximum(one, two), week)
        # Smaller ones are mostly chance, and the median follows them.
        return np.where(factor <= 1 - HELD_FALL, factor, 1.0), ~np.isnan(factor)

    def _at(self, bins: Ints | int) -> Floats:
        """(U,) the number of sessions in these bins since the epoch; NaN if unknown."""
        day, at = np.divmod(np.broadcast_to(bins, len(self.state)), self._bins)
        found = self._past[np.arange(len(day)), day % DAYS, at].astype(np.float64)
        return np.where((self._days[day % DAYS] == day) & (found != UNKNOWN), found, np.nan)


def _fresh(units: int) -> NDArray[Any]:
    fresh = np.zeros(units, LEVEL)
    fresh["expected"], fresh["spread2"] = np.nan, SPREAD_START**2
    return fresh

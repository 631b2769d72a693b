"""The paper's procedure as a loop over sessions, compared with the core. `python -m benchmarks.authors`.

The loop is a direct reading of the paper: for every session its MOS, the Beta distribution of its ratings, and the
probability of every rating; then the mean over the sessions. It shares no code with the core.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
from scipy import stats

from benchmarks.bench import cpu_ms, run
from benchmarks.row import Row
from qoemon.core.arrays import Floats, Ints
from qoemon.core.counting.session_table import ROWS_AT_ONCE
from qoemon.core.counting.stalls import stall_condition
from qoemon.core.counting.window import count
from qoemon.core.plan.plan import Service
from qoemon.core.qoe.bins import mos_level
from qoemon.core.qoe.mapping import VIDEO_STALL

SESSIONS, REPEATS = 100_000, 5
LOOPED = 2_000
"""Sessions that a run of the loop measures; the time of all SESSIONS is in proportion."""
THETA = 0.3
CUTS = np.array([1.5, 2.5, 3.5, 4.5])


def by_object(a: float, b: float) -> list[float]:
    """CDF of a session's opinions at the cuts, of a distribution object."""
    upto: list[float] = stats.beta(a, b, loc=1, scale=4).cdf(CUTS).tolist()
    return upto


def by_call(a: float, b: float) -> list[float]:
    """The same without a distribution object: the fastest way in scipy.stats for one session."""
    upto: list[float] = stats.beta.cdf((CUTS - 1) / 4, a, b).tolist()
    return upto


def one_by_one(n: Floats, t: Floats, cdf: Callable[[float, float], list[float]]) -> tuple[float, float]:
    """GoB and PoW of these sessions: Hossfeld et al. 2020, arXiv:2003.12742, (22), (10)-(13), (20), (21), (14)."""
    good = poor = 0.0
    for stalls, stall_s in zip(n.tolist(), t.tolist(), strict=True):
        mos = 3.5 * np.exp(-4.5 * stall_s / 60 - 5.7 * stalls / 60) + 1.5
        a, b = (1 - THETA) / THETA * (mos - 1) / 4, (1 - THETA) / THETA * (5 - mos) / 4
        if b == 0:  # All users rate excellent; scipy.stats has no such distribution.
            good += 1
            continue
        upto = cdf(a, b)
        shares = np.diff([0, *upto, 1])
        good += shares[3:].sum()
        poor += shares[:2].sum()
    return good / len(n), poor / len(n)


class Daemon:
    """The core's computation of GoB and PoW from the sums of a rating interval, with the kernel made in advance."""

    def __init__(self) -> None:
        self._service = Service("video", VIDEO_STALL, THETA)
        self._kernel = self._service.kernel()

    def all_at_once(self, stalls: Ints, stall_ms: Ints, play_ms: Ints) -> tuple[float, float]:
        """GoB and PoW of these sessions."""
        service, group = self._service, np.zeros(ROWS_AT_ONCE, np.int64)
        levels = np.zeros((1, len(service.rated_at)), np.int64)
        for begin in range(0, len(stalls), ROWS_AT_ONCE):
            part = slice(begin, begin + ROWS_AT_ONCE)
            n, t = stall_condition(stalls[part], stall_ms[part], play_ms[part])
            count(levels, group[: len(n)], mos_level(service.mapping(n, t), service.scale))
        rated = self._kernel.distribution(levels)
        return float(rated.gob[0]), float(rated.pow[0])


def rows() -> list[Row]:
    """All figures."""
    rng = np.random.default_rng(1)
    stalls = rng.poisson(0.8, SESSIONS)
    stall_ms = np.rint(rng.gamma(np.maximum(stalls, 1), 2000) * (stalls > 0)).astype(np.int64)
    play_ms = rng.integers(40_000, 60_000, SESSIONS)
    n, t = stall_condition(stalls, stall_ms, play_ms)
    daemon = Daemon()
    ours = cpu_ms(lambda: daemon.all_at_once(stalls, stall_ms, play_ms), 4 * REPEATS)
    looped, called = _loop_ms(n, t, by_object), _loop_ms(n, t, by_call)
    some = slice(0, 5 * LOOPED)
    differences = [
        abs(theirs - mine)
        for theirs, mine in zip(
            one_by_one(n[some], t[some], by_object),
            daemon.all_at_once(stalls[some], stall_ms[some], play_ms[some]),
            strict=True,
        )
    ]
    fast = Row.of(f"{SESSIONS:,} sessions: core", "ms CPU", ours)
    slow = Row.of(f"{SESSIONS:,} sessions: loop", "ms CPU", looped)
    lean = Row.of(f"{SESSIONS:,} sessions: loop without distribution objects", "ms CPU", called)
    medians = [[row.middle or 0.0] for row in (fast, slow, lean)]
    return [
        slow,
        lean,
        fast,
        Row.ratio("loop / core", medians[1], medians[0], at_least=5000),
        Row.ratio("loop without distribution objects / core", medians[2], medians[0]),
        Row.of("difference of GoB and PoW", "share", differences, at_most=0.002),
    ]


def _loop_ms(n: Floats, t: Floats, cdf: Callable[[float, float], list[float]]) -> list[float]:
    """Milliseconds for all sessions, from those of LOOPED sessions a run."""

    def some(begin: int) -> float:
        part = slice(begin, begin + LOOPED)
        [took_ms] = cpu_ms(lambda: one_by_one(n[part], t[part], cdf), 1)
        return took_ms * SESSIONS / LOOPED

    return [some(begin) for begin in range(0, REPEATS * LOOPED, LOOPED)]


if __name__ == "__main__":
    sys.exit(run("The paper's procedure, session by session, compared with the core", rows))

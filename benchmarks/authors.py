"""Session by session against all at once: the paper's procedure as a loop. `python -m benchmarks.authors`.

The rival is what one writes from the paper at first reading: for every session its MOS, the Beta distribution that
goes with it, and the probability of every rating; then the mean over the sessions. Written anew from the equations.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import stats

from benchmarks.bench import Row, cpu_ms, run
from qoemon.core.arrays import Floats, Ints
from qoemon.core.counting.session_table import ROWS_AT_ONCE
from qoemon.core.counting.stalls import stall_condition
from qoemon.core.counting.window import count
from qoemon.core.plan.plan import Service
from qoemon.core.qoe.bins import mos_level
from qoemon.core.qoe.mapping import VIDEO_STALL

SESSIONS, REPEATS = 100_000, 5
LOOPED = 2_000
"""The loop takes this many at a time; its time is the same for each, so all of them take in proportion."""
THETA = 0.3


CUTS = np.array([1.5, 2.5, 3.5, 4.5])


def by_object(a: float, b: float) -> list[float]:
    """The CDF of a session's opinions at the cuts: a distribution, then asked."""
    upto: list[float] = stats.beta(a, b, loc=1, scale=4).cdf(CUTS).tolist()
    return upto


def by_call(a: float, b: float) -> list[float]:
    """The same by one call, without making a distribution: as fast as scipy.stats is for one session."""
    upto: list[float] = stats.beta.cdf((CUTS - 1) / 4, a, b).tolist()
    return upto


def one_by_one(n: Floats, t: Floats, cdf: Callable[[float, float], list[float]]) -> tuple[float, float]:
    """GoB and PoW of these sessions: Hossfeld et al. 2020, arXiv:2003.12742, (22), (10)-(13), (20), (21), (14)."""
    good = poor = 0.0
    for stalls, stall_s in zip(n.tolist(), t.tolist(), strict=True):
        mos = 3.5 * np.exp(-4.5 * stall_s / 60 - 5.7 * stalls / 60) + 1.5
        a, b = (1 - THETA) / THETA * (mos - 1) / 4, (1 - THETA) / THETA * (5 - mos) / 4
        if b == 0:  # all say excellent, which scipy.stats does not take
            good += 1
            continue
        upto = cdf(a, b)
        shares = np.diff([0, *upto, 1])
        good += shares[3:].sum()
        poor += shares[:2].sum()
    return good / len(n), poor / len(n)


class Daemon:
    """The core's way from sums of a rating interval to GoB and PoW; its kernel is made once, at the start."""

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
        told = self._kernel.judge(levels)
        return float(told.gob[0]), float(told.pow[0])


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
    apart = [
        abs(theirs - mine)
        for theirs, mine in zip(
            one_by_one(n[some], t[some], by_object),
            daemon.all_at_once(stalls[some], stall_ms[some], play_ms[some]),
            strict=True,
        )
    ]
    fast = Row.of(f"{SESSIONS:,} sessions, all at once", "ms CPU", ours)
    slow = Row.of(f"{SESSIONS:,} sessions, one by one", "ms CPU", looped)
    lean = Row.of("  without making distributions", "ms CPU", called)
    return [
        slow,
        lean,
        fast,
        Row.of("times faster", "times", [slow.middle / fast.middle], bar=5000, floor=True),
        Row.of("  than without making distributions", "times", [lean.middle / fast.middle]),
        Row.of("GoB and PoW apart", "share", apart, bar=0.002),
    ]


def _loop_ms(n: Floats, t: Floats, cdf: Callable[[float, float], list[float]]) -> list[float]:
    """What all sessions would take, from some of them."""

    def some(begin: int) -> float:
        part = slice(begin, begin + LOOPED)
        [took_ms] = cpu_ms(lambda: one_by_one(n[part], t[part], cdf), 1)
        return took_ms * SESSIONS / LOOPED

    return [some(begin) for begin in range(0, REPEATS * LOOPED, LOOPED)]


def main() -> None:
    """Print the table."""
    run("The paper's procedure, session by session, and the core's", rows)


if __name__ == "__main__":
    main()

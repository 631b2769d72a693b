"""A second core, slow and plain: one report, one session, one rating at a time.

Written from the design (docs: from reports to a histogram, and the mathematics), not from the structure of
qoemon.core, and without importing it. Times are whole milliseconds, conditions exact fractions; the ratings come
from scipy.stats, quadrature and root finding.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

from scipy import stats
from scipy.integrate import quad
from scipy.optimize import brentq

Group = tuple[str, ...]
Level = tuple[Group, int]
"""A group and the number of a MOS level."""
Cell = tuple[Group, int, int]
"""A group and the bins of n and t."""
MOS_STEP = 0.005
MEDIA_MS = 60_000


@dataclass(frozen=True)
class Said:
    """A good report as the oracle hears it; None where a counter is left out."""

    session: str
    at_ms: int
    group: Group = ("eu",)
    seq: int | None = None
    stalls: int | None = None
    stall_ms: int | None = None
    play_ms: int | None = None
    stalled: bool = False
    end: bool = False

    @property
    def in_stall(self) -> bool:
        return self.stalled and not self.end


@dataclass(frozen=True)
class News:
    """What a report adds to what its session said before, and since when it may have been stalling."""

    said: Said
    stalls: int
    stall_ms: int
    play_ms: int
    stalling_since_ms: int | None


@dataclass
class Session:
    """Every report of it that was accepted, in the order of acceptance."""

    heard: list[Said] = field(default_factory=list)

    @property
    def last(self) -> Said:
        return self.heard[-1]

    def accepts(self, said: Said) -> bool:
        newest = max((each.seq for each in self.heard if each.seq is not None), default=-1)
        return said.seq is None or said.seq > newest

    def news(self, interval_ms: int, *, cumulative: bool) -> Iterator[News]:
        """The differences of successive reports."""
        known: tuple[int, int, int] | None = None
        before: Said | None = None
        for said in self.heard:
            told = (said.stalls, said.stall_ms, said.play_ms)
            if cumulative:
                now = tuple(
                    new if new is not None else old for new, old in zip(told, known or (0, 0, 0), strict=True)
                )
                if known is None:
                    is_old = now[1] + now[2] > interval_ms
                    fresh = (0, 0, 0) if is_old else now
                else:  # a counter that fell began again from zero
                    fresh = tuple(n - o if n >= o else n for n, o in zip(now, known, strict=True))
                known = now
            else:
                fresh = tuple(new or 0 for new in told)
            since_ms = before.at_ms if before is not None and before.in_stall else None
            yield News(said, *fresh, since_ms)
            before = said

    def condition(self, at_ms: int, interval_ms: int, *, cumulative: bool) -> tuple[int, int, int]:
        """n stalls, t stall milliseconds, p media milliseconds in the interval that ends at at_ms."""
        begin_ms = at_ms - interval_ms
        n = t = p = 0
        for news in self.news(interval_ms, cumulative=cumulative):
            here = begin_ms <= news.said.at_ms < at_ms
            n += news.stalls * here
            p += news.play_ms * here
            t += stalled_within(news, begin_ms, at_ms)
        if self.last.in_stall:
            t += min(max(at_ms - self.last.at_ms, 0), interval_ms)
        return n, t, p


def stalled_within(news: News, begin_ms: int, end_ms: int) -> int:
    """The part of a report's new stall time that lies in [begin_ms, end_ms).

    An open stall ran on from the report that told of it, so its time lies there; the rest is where it was reported.
    """
    here = begin_ms <= news.said.at_ms < end_ms
    if news.stalling_since_ms is None:
        return news.stall_ms * here
    since_ms = news.stalling_since_ms
    ran = min(news.stall_ms, max(news.said.at_ms - since_ms, 0))
    inside = max(min(since_ms + ran, end_ms) - max(since_ms, begin_ms), 0)
    return inside + (news.stall_ms - ran) * here


def exact_condition(n: int, t_ms: int, p_ms: int) -> tuple[Fraction, Fraction] | None:
    """(stalls, stall seconds) per minute of media; None if nothing was played."""
    if p_ms == 0:
        return None
    return Fraction(n * MEDIA_MS, p_ms), Fraction(t_ms * MEDIA_MS, p_ms * 1000)


def bin_of(n: int, t_ms: int, p_ms: int) -> tuple[int, int]:
    """The bins that people read: stalls rounded to 0..20, and the 1-s slot in which the stall time ends, 0..61."""
    condition = exact_condition(n, t_ms, p_ms)
    if condition is None:
        return 20, 61
    stalls, stall_s = condition
    return min(round(stalls), 20), min(math.ceil(stall_s), 61)


def level_of(n: int, t_ms: int, p_ms: int) -> int:
    """The level nearest to the condition's MOS; nothing played is as bad as it gets."""
    condition = exact_condition(n, t_ms, p_ms)
    mos = 1.5 if condition is None else video_mos(*map(float, condition))
    return round((mos - 1) / MOS_STEP)


@dataclass
class Oracle:
    """Hears reports of one stall service and counts conditions tick by tick, from scratch each time."""

    windows_s: tuple[int, ...]
    tick_ms: int = 10_000
    interval_ms: int = 60_000
    timeout_ms: int = 300_000
    min_active_ms: int = 5_000
    cumulative: bool = True
    sessions: dict[str, Session] = field(default_factory=dict)
    base: Counter[Level] = field(default_factory=Counter)
    qos: Counter[Cell] = field(default_factory=Counter)
    closed: list[Counter[Level]] = field(default_factory=list)
    tick: int | None = None
    duplicates: int = 0

    def apply(self, batch: Iterable[Said], now_ms: int) -> None:
        """Hear the reports of a batch, those of a session in the order of their seq."""
        self.advance(now_ms)
        for said in sorted(batch, key=lambda each: -1 if each.seq is None else each.seq):
            session = self.sessions.setdefault(said.session, Session())
            if session.accepts(said):
                session.heard.append(said)
            else:
                self.duplicates += 1

    def advance(self, now_ms: int) -> None:
        """Pass every tick up to now."""
        newest = now_ms // self.tick_ms
        first = newest if self.tick is None else self.tick + 1
        for tick in range(first, newest + 1):
            self._pass(tick * self.tick_ms)
        self.tick = newest if self.tick is None else max(self.tick, newest)

    def window(self, length_s: int) -> Counter[Level]:
        """The conditions of a window: now for the base window, else summed over its closed intervals."""
        if length_s * 1000 == self.interval_ms:
            return self.base
        kept = self.closed[-(length_s * 1000 // self.interval_ms) :]
        return sum(kept, Counter())

    def active(self) -> Counter[Group]:
        """Sessions heard in the base window or in an open stall."""
        at_ms = (self.tick or 0) * self.tick_ms
        there = (s.last for s in self.sessions.values())
        heard_ms = at_ms - self.interval_ms
        return Counter(s.group for s in there if not s.end and (s.at_ms >= heard_ms or s.in_stall))

    def open_stalls(self) -> Counter[Group]:
        return Counter(s.last.group for s in self.sessions.values() if s.last.in_stall)

    def _pass(self, at_ms: int) -> None:
        judged = self._judged(at_ms)
        self.base = Counter((group, level_of(*condition)) for group, condition in judged)
        self.qos = Counter((group, *bin_of(*condition)) for group, condition in judged)
        if at_ms % self.interval_ms == 0:
            self.closed.append(self.base)
        for name, session in list(self.sessions.items()):
            leave_ms = self.interval_ms if session.last.end else self.timeout_ms
            if session.last.at_ms + leave_ms <= at_ms:
                del self.sessions[name]

    def _judged(self, at_ms: int) -> list[tuple[Group, tuple[int, int, int]]]:
        there = [
            (session.last.group, session.condition(at_ms, self.interval_ms, cumulative=self.cumulative))
            for session in self.sessions.values()
        ]
        return [(group, (n, t, p)) for group, (n, t, p) in there if t + p >= self.min_active_ms]


def video_mos(stalls: float, stall_s: float) -> float:
    """Equation (22), both per 60 s of media."""
    return 3.5 * math.exp(-4.5 * stall_s / 60 - 5.7 * stalls / 60) + 1.5


def web_mos(x_s: float) -> float:
    """Equation (15)."""
    return 4 * math.exp(-0.25 * x_s) + 1


@dataclass(frozen=True)
class Mixture:
    """What users answer on 1..5 when each (MOS, weight) is the lot of so many; ratings spread as a Beta."""

    parts: Sequence[tuple[float, float]]
    theta: float

    def cdf(self, y: float) -> float:
        """Equations (3) and (13)."""
        total = math.fsum(weight for _, weight in self.parts)
        return math.fsum(weight * self._cdf_at(mos, y) for mos, weight in self.parts) / total

    @property
    def gob(self) -> float:
        return 1 - self.cdf(3.5)

    @property
    def pow(self) -> float:
        return self.cdf(2.5)

    @property
    def ratings(self) -> list[float]:
        """Equations (20) and (21)."""
        cuts = [0.0, self.cdf(1.5), self.cdf(2.5), self.cdf(3.5), self.cdf(4.5), 1.0]
        return [high - low for low, high in pairwise(cuts)]

    @property
    def mos(self) -> float:
        return self._mean(lambda mos: mos)

    @property
    def sos(self) -> float:
        """From the moments of scipy's Betas."""
        second = self._mean(lambda mos: mos**2 + 16 * float(self._beta(mos).var()) if 1 < mos < 5 else mos**2)
        return math.sqrt(max(second - self.mos**2, 0))

    def quantile(self, q: float) -> float:
        return float(brentq(lambda y: self.cdf(y) - q, 1, 5, xtol=1e-10))

    def _mean(self, of: Callable[[float], float]) -> float:
        total = math.fsum(weight for _, weight in self.parts)
        return math.fsum(weight * of(mos) for mos, weight in self.parts) / total

    def _beta(self, mos: float) -> stats.rv_frozen:
        precision = (1 - self.theta) / self.theta
        share = (mos - 1) / 4
        return stats.beta(share * precision, (1 - share) * precision)

    def _cdf_at(self, mos: float, y: float) -> float:
        if mos in {1, 5}:
            return float(y >= mos)
        return float(self._beta(mos).cdf((y - 1) / 4))


@dataclass(frozen=True)
class Waiting:
    """The paper's web case study: lognormal waiting times, by their mean and standard deviation in seconds."""

    mean_s: float
    std_s: float

    @property
    def distribution(self) -> stats.rv_frozen:
        sigma = math.sqrt(math.log(1 + (self.std_s / self.mean_s) ** 2))
        return stats.lognorm(sigma, scale=self.mean_s * math.exp(-(sigma**2) / 2))

    def expected(self, of: Callable[[float], float]) -> float:
        """E[of(X)] by adaptive quadrature over the normal deviate of log X."""
        sigma = math.sqrt(math.log(1 + (self.std_s / self.mean_s) ** 2))
        centre = math.log(self.mean_s) - sigma**2 / 2

        def weighted(z: float) -> float:
            return of(math.exp(centre + sigma * z)) * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)

        return float(quad(weighted, -9, 9, limit=400, epsabs=1e-10)[0])

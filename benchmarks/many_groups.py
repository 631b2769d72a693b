"""False alarms of one rule over 1,000 quiet groups, and the delay of real ones. `python -m benchmarks.many_groups`.

The PoW of every group is just below the threshold and stays there; only chance moves what is seen of it. A user has
a minute in which POOR of all users would rate poor or worse, or a perfect one. Each tick renews the minute of a
sixth of the users. "Before" is a rule that compares the 95 % bound with its threshold at each tick; "now" is
qoemon's, which compares the bound for all looks of the rule. Beside the simulation is what cannot be exceeded in 30
days: the chance of that many wrong bounds in a row, from the binomial distribution, times the number of looks. The
exit code is 1 if that is more than 1, or if an outage is found too late.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from qoemon.core.alerting.false_alarms import SPAN_S, bound_error
from qoemon.core.alerting.rule import AlertMetric, Rule
from qoemon.core.arrays import Flags, Floats, Ints
from qoemon.core.qoe.confidence import interval, lower_bound_of_many

GROUPS, TICK_S, WINDOW_S = 1000, 10, 60
TICKS = WINDOW_S // TICK_S
SIZES = (30, 48, 102, 300)
POOR = 0.8
THRESHOLD, RECOVERY = 0.15, 0.10
QUIET, CALM, OUTAGE = 0.99 * THRESHOLD, 0.05, 0.5
FORS_S = (0, 60, 180)
BAR_S = 120
"""Most seconds beyond `for` that the median outage of 48 sessions may take."""


def rule(for_s: int) -> Rule:
    return Rule("ManyPoor", "video", AlertMetric.POW, WINDOW_S, THRESHOLD, RECOVERY, {}, for_s=for_s)


def past(size: int, error: float | None) -> Flags:
    """(size + 1,) whether the bound is at the threshold or beyond, by the number of users with a poor minute."""
    pow_ = POOR * np.arange(size + 1) / size
    users = np.full(size + 1, size)
    bound = interval(pow_, POOR * pow_, users)[:, 0]
    if error is not None:
        bound = np.minimum(bound, lower_bound_of_many(pow_, POOR * pow_, users, error))
    return np.asarray(bound >= THRESHOLD)


@dataclass
class Watch:
    """The firing half of decide() for all groups at once, by the number of users with a poor minute."""

    past: Flags
    quiet: Flags
    for_s: int

    def __post_init__(self) -> None:
        self.ticks: Ints = np.zeros(GROUPS, np.int64)
        self.firing: Flags = np.zeros(GROUPS, np.bool_)

    def look(self, poor: Ints) -> Flags:
        """(G,) which groups begin to fire."""
        self.ticks = (self.ticks + 1) * self.past[poor]
        begins = (self.ticks > self.for_s // TICK_S) & ~self.firing
        self.firing = (self.firing | begins) & ~self.quiet[poor]
        return np.asarray(begins)


def watches(size: int, for_s: int) -> tuple[Watch, Watch]:
    """The rule before, and now."""
    quiet = POOR * np.arange(size + 1) / size <= RECOVERY
    error = bound_error(rule(for_s), GROUPS, TICK_S)
    return Watch(past(size, None), quiet, for_s), Watch(past(size, error), quiet, for_s)


def minutes(rng: np.random.Generator, size: int, shares: Floats) -> Iterator[NDArray[np.int64]]:
    """(G,) users with a poor minute at each tick; shares: of those whose minute is renewed, by tick."""
    renewed = rng.binomial(size // TICKS, shares[0], (TICKS, GROUPS))
    for at, share in enumerate(shares):
        renewed[at % TICKS] = rng.binomial(size // TICKS, share, GROUPS)
        yield renewed.sum(axis=0)


def at_most(size: int, for_s: int) -> float:
    """What the false alarms in 30 days cannot exceed: users of windows that do not overlap are independent."""
    beyond = np.flatnonzero(past(size, bound_error(rule(for_s), GROUPS, TICK_S)))
    chance = binom.sf(beyond[0] - 1, size, QUIET / POOR) if len(beyond) else 0.0
    return float(GROUPS * SPAN_S / TICK_S * chance ** (1 + for_s // WINDOW_S))


def quiet(rng: np.random.Generator, days: float) -> bool:
    """Print the false alarms; returns whether there is at most one in 30 days."""
    print(f"False alarms in 30 days of {GROUPS} groups with a PoW of {QUIET:.4f}, threshold {THRESHOLD}\n")
    print("| sessions | for | before | now | now at most |\n|---|---|---|---|---|")
    kept = True
    for size in SIZES:
        ticks = int(days * 86_400 / TICK_S)
        pairs = [watches(size, for_s) for for_s in FORS_S]
        alarms = np.zeros((len(FORS_S), 2))
        for poor in minutes(rng, size, np.full(ticks, QUIET / POOR)):
            alarms += [[watch.look(poor).sum() for watch in pair] for pair in pairs]
        for for_s, (before, now) in zip(FORS_S, alarms * 30 / days, strict=True):
            most = at_most(size, for_s)
            print(f"| {size} | {for_s} s | {before:,.0f} | {now:,.0f} | {most:.2g} |")
            kept &= most <= 1
    return kept


def outages(rng: np.random.Generator) -> bool:
    """Print the delays; returns whether those of 48 sessions are short enough."""
    print(f"\nSeconds from PoW {CALM} to {OUTAGE} until the rule fires: median / 95 % of {GROUPS} groups\n")
    print("| sessions | for | before | now |\n|---|---|---|---|")
    kept = True
    ticks = 600 // TICK_S
    for size in SIZES:
        for for_s in FORS_S:
            delays = np.full((2, GROUPS), np.inf)
            pair = watches(size, for_s)
            shares = np.repeat([CALM / POOR, OUTAGE / POOR], [TICKS, ticks])
            for at, poor in enumerate(minutes(rng, size, shares)):
                for delay, watch in zip(delays, pair, strict=True):
                    begins = watch.look(poor) & np.isinf(delay)
                    delay[begins] = (at - TICKS + 1) * TICK_S
            before, now = (np.quantile(delay, [0.5, 0.95], method="higher") for delay in delays)
            print(f"| {size} | {for_s} s | {before[0]:.0f} / {before[1]:.0f} | {now[0]:.0f} / {now[1]:.0f} |")
            kept &= size != 48 or bool(now[0] <= for_s + BAR_S)
    return kept


def main() -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--days", type=float, default=1, help="simulated days of quiet groups, scaled to 30")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    kept = [quiet(rng, options.days), outages(rng)]
    if not all(kept):
        print("a promise is broken: see docs/uncertainty.md", file=sys.stderr)
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())

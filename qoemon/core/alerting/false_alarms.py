"""How rarely a bound may be wrong: a rule fires falsely at most once in 30 days, in all its groups together.

A bound for a confidence of 95 % is wrong on the bad side in one window of 40. A rule over 1,000 groups has 1,000 of
them at each tick. So the bound that a rule compares with its threshold is one for many looks: as many as it has
groups and ticks in 30 days (Bonferroni: it holds however groups and overlapping windows depend on each other).

With `for` a rule fires only after looks in a row, of which those a window apart share no rating interval. If these
are wrong independently of each other, each of them may be wrong that much more often. `python -m
benchmarks.many_groups` measures both.
"""

from __future__ import annotations

from qoemon.core.alerting.rule import Rule

SPAN_S = 30 * 86_400
"""Time in which one false alarm is accepted, seconds."""


def bound_error(rule: Rule, groups: int, tick_s: int) -> float:
    """Probability with which the bound of one look may be past the threshold by chance, 0 < p <= 0.5.

    groups  that the rule selects
    tick_s  seconds from look to look
    source  Bonferroni; Dunn 1961, Multiple comparisons among means
    """
    looks = max(groups, 1) * SPAN_S / tick_s
    in_a_row = 1 + int(rule.for_s // rule.window_s)
    return float(min(looks ** (-1 / in_a_row), 0.5))

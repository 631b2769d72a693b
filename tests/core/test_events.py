"""Response times: each counts once in every window that covers it."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from qoemon.core.histogram import RESPONSE_BINS
from qoemon.core.monitor import Monitor
from qoemon.core.tally import Event
from tests.core import T0, WEB, WINDOWS_S, plan, responses
from tests.core.streams import FEW

UPPER_S = RESPONSE_BINS.axes[0].upper


def recount(times_s: list[float]) -> list[int]:
    """One response at a time: the first bin whose upper end it does not exceed."""
    counts = [0] * RESPONSE_BINS.size
    for time_s in times_s:
        counts[next(i for i, upper in enumerate(UPPER_S) if time_s <= upper)] += 1
    return counts


@FEW
@given(st.lists(st.tuples(st.integers(0, 90), st.lists(st.floats(0, 500), max_size=4)), min_size=1, max_size=10))
def test_windows_equal_a_recount(reported: list[tuple[int, list[float]]]) -> None:
    """The base window covers the last interval, the longer ones the intervals that have closed."""
    monitor, history, now_s = Monitor(plan(WEB)), [], T0
    for seq, (pause_s, times_s) in enumerate(reported):
        now_s += pause_s
        monitor.apply(responses(now_s, times_s, seq=seq), now_s)
        history.append((now_s, times_s))
        (tally,) = monitor.tallies(now_s + 10)
        now_s += 10
        for length in WINDOWS_S:
            step = 10 if length == 60 else 60
            end_s = now_s // step * step
            covered = [x for at_s, times in history for x in times if end_s - length <= at_s < end_s]
            assert tally.windows[length][0].tolist() == recount(covered)


def test_a_repeated_report_brings_no_responses() -> None:
    monitor = Monitor(plan(WEB))
    for _ in range(3):
        monitor.apply(responses(T0, [0.5, 0.7], seq=4), T0)
    assert monitor.tallies(T0 + 10)[0].windows[60].sum() == 2
    assert monitor.snapshot(T0 + 10).events[Event.DUPLICATE] == 2


def test_a_refused_session_brings_no_responses() -> None:
    monitor = Monitor(plan(WEB, sessions=1))
    monitor.apply(responses(T0, [0.5], session="a"), T0)
    monitor.apply(responses(T0, [0.5] * 7, session="b"), T0)
    assert monitor.tallies(T0 + 10)[0].windows[60].sum() == 1


def test_responses_count_in_the_group_that_reported_them() -> None:
    """A condition of its own each: unlike a session it does not move when a later report names another group."""
    monitor = Monitor(plan(WEB))
    monitor.apply(responses(T0, [0.5] * 3, group="eu", seq=1), T0)
    monitor.apply(responses(T0 + 1, [0.5] * 4, group="us", seq=2), T0 + 1)
    assert monitor.tallies(T0 + 10)[0].windows[60].sum(axis=1).tolist() == [3, 4]


def test_responses_are_gone_after_the_longest_window() -> None:
    monitor = Monitor(plan(WEB))
    monitor.apply(responses(T0 + 3, list(np.geomspace(0.001, 400, 50))), T0 + 3)
    (tally,) = monitor.tallies(T0 + 60)
    assert [tally.windows[length].sum() for length in WINDOWS_S] == [50, 50, 50]
    (tally,) = monitor.tallies(T0 + 660)
    assert not any(tally.windows[length].any() for length in WINDOWS_S)
    assert tally.marginals[0].sum() == 50

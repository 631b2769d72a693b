"""The last hour in memory: what is kept, for how long, and what changed."""

from __future__ import annotations

import numpy as np
import pytest

from qoemon.outputs.history import HOUR_S, MOST_FRAMES, RECENT, STEP_S, ChangeKind, Frame, History, Past, thinned
from tests.support.core import T0
from tests.support.page import RULE, Scene


def kept(times_s: list[int], tick_s: int) -> list[int]:
    """Which times are left when each tick is thinned in its turn."""
    frames: tuple[Frame, ...] = ()
    for time_s in times_s:
        frames = thinned((*frames, Frame(time_s, {})), tick_s)
        assert len(frames) <= MOST_FRAMES
    return [frame.time_s for frame in frames]


@pytest.mark.parametrize("tick_s", [1, 2, 10, 30, 60, 300])
def test_the_newest_ticks_are_whole_and_the_hour_before_them_has_the_first_of_each_step(tick_s: int) -> None:
    times_s = list(range(T0, T0 + 2 * HOUR_S, tick_s))
    newest_s = times_s[-1]
    first_of_step = {time_s // STEP_S: time_s for time_s in reversed(times_s)}.values()
    wanted = {time_s for time_s in times_s if newest_s - time_s < RECENT * tick_s}
    wanted |= {time_s for time_s in first_of_step if newest_s - time_s < HOUR_S}
    assert kept(times_s, tick_s) == sorted(wanted)[-MOST_FRAMES:]


def test_gaps_in_time_are_handled() -> None:
    times_s = [T0, T0 + 10, T0 + HOUR_S + 5, T0 + HOUR_S + 8, T0 + 3 * HOUR_S]
    assert kept(times_s, 1) == [T0 + 3 * HOUR_S]
    assert kept(times_s[:4], 1) == [T0 + HOUR_S + 5, T0 + HOUR_S + 8]


def test_a_series_has_the_value_of_each_tick_and_nan_before_the_group_appeared() -> None:
    scene = Scene()
    published = [*scene.ticks(3, eu=(20, 5)), *scene.ticks(4, eu=(20, 5), us=(3, 3)), *scene.ticks(45)]
    past = published[-1].past
    assert past.times_s == [each.snapshot.time_s for each in published]
    for column, name in (("mos", "mos"), ("gob", "gob"), ("pow", "pow")):
        series = past.series("video", np.array([1, 0]), column)
        for number, each in enumerate(published):
            values = getattr(each.snapshot.services[0].distributions[60], name)
            wanted = [values[group] if group < len(values) else np.nan for group in (1, 0)]
            assert series[:, number] == pytest.approx(wanted, nan_ok=True, abs=1e-6)
    users = past.series("video", np.array([0]), "users")[0]
    assert users[0] == 25
    assert np.isnan(users[-1])  # All sessions have left, and their open stalls timed out.
    lower, upper = (past.series("video", np.array([0]), name)[0, 2] for name in ("pow_lower", "pow_upper"))
    assert lower < past.series("video", np.array([0]), "pow")[0, 2] < upper


def test_a_published_past_is_immutable() -> None:
    scene = Scene()
    early = scene.ticks(3, eu=(20, 5))[-1].past
    before = (early.times_s, early.series("video", np.array([0]), "pow").tolist(), early.changes)
    scene.ticks(100, eu=(5, 20), us=(9, 9))
    assert (early.times_s, early.series("video", np.array([0]), "pow").tolist(), early.changes) == before


def test_changes_of_alerts_and_regimes_are_recorded_with_their_reasons() -> None:
    scene = Scene()
    scene.ticks(30, eu=(60, 0))
    past = [*scene.ticks(12, eu=(0, 60)), *scene.ticks(60, eu=(60, 0))][-1].past
    alerts = [change for change in past.changes if change.what is ChangeKind.ALERT]
    assert [(change.name, change.after, change.reason) for change in alerts] == [
        (RULE.name, "firing", "past_threshold"),
        (RULE.name, "inactive", "recovered"),
    ]
    regimes = [change for change in past.changes if change.what is ChangeKind.REGIME]
    assert regimes[0].before == "good"
    assert regimes[0].after in {"degraded", "bad"}
    assert regimes[-1].after == "good"
    worse = next(change for change in past.changes if change.began_s and change.what is not ChangeKind.ALERT)
    assert abs(worse.began_s - (T0 + 300)) <= 120
    assert [change.time_s for change in past.changes] == sorted(change.time_s for change in past.changes)


def test_changes_older_than_an_hour_are_gone() -> None:
    scene = Scene()
    fired = [*scene.ticks(3, eu=(0, 30)), *scene.ticks(12)][-1].past
    assert fired.changes
    assert scene.ticks(HOUR_S // 10 + 120)[-1].past.changes == ()


def test_adding_a_tick_twice_adds_one_frame() -> None:
    published = Scene().tick(eu=(20, 5))
    history = History(10)
    once = history.add(published.snapshot, published.detections)
    assert history.add(published.snapshot, published.detections).times_s == once.times_s


def test_an_empty_past_has_an_empty_series() -> None:
    assert Past(10).series("video", np.array([0, 1]), "pow").shape == (2, 0)

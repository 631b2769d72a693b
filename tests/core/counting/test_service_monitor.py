"""Sessions of one service over time: those that report seldom, states of earlier versions, samples of findings."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest

from qoemon.core.counting.counts import ServiceCounts
from qoemon.core.plan.plan import Clock, Plan, Service
from qoemon.core.wire.batch import batch_of
from qoemon.core.wire.report import Report, Route
from tests.support.core import T0, VIDEO, WEB, WINDOWS_S, OneShard, cells, levels, plan
from tests.support.oracle import bin_of, level_of

EU = ("eu",)
RATE = level_of(4, 40_000, 60_000)
"""Of a viewer that stalls 4 times and for 40 s in a minute of media."""


class Feed:
    """Reports to a whole shard; fields as on the wire, times in seconds after T0."""

    def __init__(self, service: Service = VIDEO, told: Plan | None = None) -> None:
        self.service, self._plan = service, told or plan(service)
        self.monitor = OneShard(self._plan)

    def say(self, at_s: float, **fields: Any) -> None:
        batch, bad = batch_of(
            [Report(**{"session": "s", **fields})], [0], [T0 + at_s], [Route(self.service.name, EU)]
        )
        assert not len(bad)
        self.monitor.apply(batch, T0 + at_s)

    def play(self, at_s: float, **more: Any) -> None:
        """4 stalls and 40 s of stalling in 100 s, since T0."""
        hundreds = at_s / 100
        told = {"stall_count": round(4 * hundreds), "stall_s": 40 * hundreds, "play_s": 60 * hundreds}
        self.say(at_s, seq=round(at_s), **{**told, **more})

    def counts(self, at_s: float) -> ServiceCounts:
        return self.monitor.counts(T0 + at_s)[0]

    def numbers(self, at_s: float) -> list[int]:
        """Conditions in the windows of 60, 300 and 600 s."""
        tally = self.counts(at_s)
        return [int(tally.windows[length].sum()) for length in WINDOWS_S]

    def restart(self) -> None:
        state = {name: array.copy() for name, array in self.monitor.dump().items()}
        self.monitor = OneShard(self._plan)
        self.monitor.load(state)


@pytest.mark.parametrize("restart", [False, True])
def test_one_that_reports_seldom_keeps_its_last_condition_in_the_base_window(*, restart: bool) -> None:
    """It reports each 150 s; after its last word, twice that pause goes by before it leaves."""
    feed = Feed()
    for at_s in (0, 150, 300):
        feed.play(at_s)
    if restart:
        feed.restart()
    for at_s in range(310, 600, 10):
        tally = feed.counts(at_s)
        assert levels(tally, 60) == Counter({(EU, RATE): 1}), at_s
        assert cells(tally) == Counter({(EU, *bin_of(4, 40_000, 60_000)): 1})
        assert tally.users[60].tolist() == [1]
        if restart:
            feed.restart()
    assert feed.numbers(600)[0] == 0
    assert feed.counts(600).users[60].tolist() == [0]


@pytest.mark.parametrize("restart", [False, True])
def test_one_that_reports_seldom_counts_as_long_in_the_longer_windows_and_is_counted_once(*, restart: bool) -> None:
    """At 180 s it is rated in three intervals. Each one that closes then has its last condition."""
    feed = Feed()
    for at_s in (0, 150):
        feed.play(at_s)
    closes = []
    for at_s in (180, 240, 300):
        closes.append((feed.numbers(at_s)[1:], round(float(feed.counts(at_s).expected_ratings.sum()))))
        if restart:
            feed.restart()
    assert closes == [([3, 3], 3), ([4, 4], 3), ([5, 5], 3)]
    assert levels(feed.counts(300), 600) == Counter({(EU, RATE): 5})
    # The next report shows that it has ended well: of 150..300 s all was played, in two intervals and a half.
    feed.say(300, seq=300, stall_count=6, stall_s=60.0, play_s=240.0)
    if restart:
        feed.restart()
    tally = feed.counts(360)
    perfect = level_of(0, 0, 150_000)
    assert levels(tally, 600) == Counter({(EU, RATE): 3, (EU, perfect): 2}) + Counter(
        {(EU, perfect): 1} if tally.windows[600].sum() == 6 else {}
    )
    assert tally.expected_ratings.sum() == pytest.approx(5)
    assert tally.users[600].tolist() == [1]


def test_what_is_kept_counts_once_for_each_interval_that_a_window_covers() -> None:
    """Of 240 s without a word, four intervals have closed; two of them are in a window of 120 s."""
    told = plan(VIDEO, timing={"windows_s": (60, 120, 600)})
    feed = Feed(told=told)
    for at_s in (0, 239):
        feed.play(at_s)
    tally = feed.counts(480)
    assert [int(tally.windows[length].sum()) for length in (60, 120, 600)] == [1, 2, 8]
    assert [tally.users[length].tolist() for length in (60, 120, 600)] == [[1], [1], [1]]
    assert tally.expected_ratings.sum() == pytest.approx(4)


def test_whoever_weighs_the_same_weighs_the_same_however_seldom_it_reports() -> None:
    """Viewers that report each 10 s, 60 s, 90 s and 240 s, after the last word of all."""
    totals = []
    for pause_s in (10, 60, 90, 240):
        feed = Feed()
        for at_s in range(0, 721, pause_s):
            feed.play(at_s)
        tally = feed.counts(780)
        # Stalls are whole numbers in its reports.
        assert np.mean([level for _, level in levels(tally, 600).elements()]) == pytest.approx(RATE, abs=2)
        totals.append(float(tally.expected_ratings.sum()))
    assert totals == pytest.approx([12] * 4)


def test_what_is_kept_leaves_with_the_end_of_its_session() -> None:
    feed = Feed()
    for at_s in (0, 150):
        feed.play(at_s)
    feed.play(300, end=True)
    assert [feed.numbers(at_s)[0] for at_s in (310, 350, 370)] == [1, 1, 0]


def test_one_that_reports_often_keeps_nothing() -> None:
    feed = Feed()
    for at_s in range(0, 121, 40):
        feed.play(at_s)
    assert [feed.numbers(at_s)[0] for at_s in (130, 170, 180)] == [1, 1, 0]


def test_one_that_was_heard_once_keeps_nothing() -> None:
    """Its usual pause is not known before its second report."""
    feed = Feed()
    feed.say(5, seq=1, stall_count=0, stall_s=0, play_s=20)
    assert [feed.numbers(at_s)[0] for at_s in (10, 60, 70, 120)] == [1, 1, 0, 0]


def test_measurements_of_sessions_that_report_seldom_are_not_kept() -> None:
    """Each is one condition, at its time."""
    feed = Feed(WEB)
    for at_s in (0, 150, 300):
        feed.say(at_s, seq=at_s, response_s=1.0)
    assert [feed.numbers(at_s)[0] for at_s in (310, 360, 370)] == [1, 1, 0]
    assert feed.numbers(420)[2] == 3


def of_version_2(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The state as version 2 would have stored it: counters with the conditions, whole stalls, no runs."""
    meta = json.loads(state["meta"].tobytes())
    meta["version"] = 2
    meta["plan"]["timing"] = [*meta["plan"]["timing"], "arrival"]
    names = ("row", "id", "id_length", "group", "seq", "last_s", "ended")
    kept = {f"video/sessions/{name}": state[f"video/sessions/{name}"] for name in names}
    conditions = {
        "counters": state["video/sessions/counters"],
        "known": state["video/sessions/known"],
        "slices": np.array(state["video/conditions/slices"]),
        "since_s": state["video/conditions/since_s"],
    }
    assert not (conditions["slices"][0] % 1000).any(), "parts of stalls"
    conditions["slices"][0] //= 1000
    rest = {
        name: array
        for name, array in state.items()
        if not name.startswith(
            ("video/sessions/", "video/conditions/", "video/late/", "video/heard", "video/answers/")
        )
        and "kept" not in name
    }
    return {
        **rest,
        **kept,
        **{f"video/conditions/{name}": array for name, array in conditions.items()},
        "meta": np.frombuffer(json.dumps(meta).encode(), np.uint8),
    }


def test_a_state_of_version_2_continues() -> None:
    """Its slices count whole stalls, its counters are the baseline, its runs have been rated up to the close."""
    told = plan(VIDEO, timing={"clock": Clock.ARRIVAL})
    before, after = Feed(told=told), Feed(told=told)
    # All in one tick each, so that no stall is divided over two.
    for at_s, stalls in ((61, 0), (69, 1), (71, 1), (79, 3)):
        before.say(at_s, seq=at_s, stall_count=stalls, stall_s=float(stalls), play_s=at_s - 61.0 - stalls)
    before.say(79.5, seq=80, stall_count=4, stall_s=3.1, play_s=15.0, stalled=True)
    assert before.counts(80).open_stalls.tolist() == [1]
    after.monitor.monitor.load(of_version_2(before.monitor.monitor.dump()))
    after.monitor.evaluation.load(before.monitor.evaluation.dump())
    for feed in (before, after):
        feed.say(91, seq=91, stall_count=4, stall_s=10.0, play_s=19.0)
    for at_s in (100, 120, 180):
        ours, theirs = after.counts(at_s), before.counts(at_s)
        for length in WINDOWS_S:
            assert ours.windows[length].tolist() == theirs.windows[length].tolist()
            assert ours.users[length].tolist() == theirs.users[length].tolist()
        assert ours.qos.tolist() == theirs.qos.tolist()
        assert ours.open_stalls.tolist() == theirs.open_stalls.tolist() == [0]
    assert ours.expected_ratings.sum() == pytest.approx(1)

"""Response times and measures: each counts once in every window that covers it."""

from __future__ import annotations

import io
import math
from collections import Counter
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qoemon.core.counting.counts import Event, ServiceCounts
from qoemon.core.plan.plan import Plan, Service
from qoemon.core.qoe.bins import RESPONSE_BINS
from qoemon.core.qoe.mapping import LINEAR, VOICE_G107
from qoemon.core.wire.codec import Codec
from qoemon.core.wire.report import Reject
from tests.core.wire.test_codec import Message
from tests.support.core import T0, WEB, WINDOWS_S, OneShard, plan, responses, same_tally
from tests.support.streams import FEW

UPPER_S = RESPONSE_BINS.axes[0].upper
GAME = Service("game", LINEAR.with_inputs(["audio", "video"]), 0.2)
VOICE = Service("voice", VOICE_G107, 0.3)
BOTH: Plan = plan(GAME, VOICE)


def recount(times_s: list[float]) -> list[int]:
    """One response at a time: the first bin whose upper end it does not exceed."""
    counts = [0] * RESPONSE_BINS.size
    for time_s in times_s:
        counts[next(i for i, upper in enumerate(UPPER_S) if time_s <= upper)] += 1
    return counts


@FEW
@given(st.lists(st.tuples(st.integers(0, 90), st.lists(st.floats(0, 300), max_size=4)), min_size=1, max_size=10))
def test_windows_equal_a_recount(reported: list[tuple[int, list[float]]]) -> None:
    """The base window covers the last interval, the longer ones the intervals that have closed."""
    monitor, history, now_s = OneShard(plan(WEB)), [], T0
    for seq, (pause_s, times_s) in enumerate(reported):
        now_s += pause_s
        monitor.apply(responses(now_s, times_s, seq=seq), now_s)
        history.append((now_s, times_s))
        (total,) = monitor.counts(now_s + 10)
        now_s += 10
        for length in WINDOWS_S:
            step = 10 if length == 60 else 60
            end_s = now_s // step * step
            covered = [x for at_s, times in history for x in times if end_s - length <= at_s < end_s]
            assert total.windows[length][0].tolist() == recount(covered)


def test_a_repeated_report_brings_no_responses() -> None:
    monitor = OneShard(plan(WEB))
    for _ in range(3):
        monitor.apply(responses(T0, [0.5, 0.7], seq=4), T0)
    assert monitor.counts(T0 + 10)[0].windows[60].sum() == 2
    assert monitor.snapshot(T0 + 10).events[Event.DUPLICATE] == 2


def test_a_refused_session_brings_no_responses() -> None:
    monitor = OneShard(plan(WEB, sessions=1))
    monitor.apply(responses(T0, [0.5], session="a"), T0)
    monitor.apply(responses(T0, [0.5] * 7, session="b"), T0)
    assert monitor.counts(T0 + 10)[0].windows[60].sum() == 1


def test_responses_count_in_the_group_that_reported_them() -> None:
    """Each is a separate condition: unlike a session, it does not move when a later report has another group."""
    monitor = OneShard(plan(WEB))
    monitor.apply(responses(T0, [0.5] * 3, group="eu", seq=1), T0)
    monitor.apply(responses(T0 + 1, [0.5] * 4, group="us", seq=2), T0 + 1)
    assert monitor.counts(T0 + 10)[0].windows[60].sum(axis=1).tolist() == [3, 4]


def test_responses_are_gone_after_the_longest_window() -> None:
    monitor = OneShard(plan(WEB))
    monitor.apply(responses(T0 + 3, list(np.geomspace(0.001, 300, 50))), T0 + 3)
    (total,) = monitor.counts(T0 + 60)
    assert [total.windows[length].sum() for length in WINDOWS_S] == [50, 50, 50]
    (total,) = monitor.counts(T0 + 660)
    assert not any(total.windows[length].any() for length in WINDOWS_S)
    assert total.marginals[0].sum() == 50


class Calls:
    """Sends measures through the codec to a OneShard with two services that use them."""

    def __init__(self) -> None:
        self.monitor = OneShard(BOTH)
        self.rejected: Counter[Reject] = Counter()
        self._codec = Codec(BOTH)

    def hear(self, at_s: float, *reports: dict[str, Any], service: str = "game", region: str = "eu") -> None:
        """One message with these reports, as MessagePack, which can contain NaN."""
        payload = msgspec.msgpack.encode(list(reports))
        decoded = self._codec.decode([Message(f"qoe/v1/{service}/{region}", payload, at_s)])
        self.rejected += decoded.rejected
        self.monitor.apply(decoded.batch, at_s)

    def counts(self, at_s: float, service: str = "game") -> ServiceCounts:
        return next(total for total in self.monitor.counts(at_s) if total.service == service)

    def judged(self, at_s: float, service: str = "game") -> int:
        """Conditions in the base window."""
        return int(self.counts(at_s, service).windows[60].sum())


def of(audio: object, video: object, session: str = "s", **more: object) -> dict[str, Any]:
    return {"session": session, "measures": {"audio": audio, "video": video}, **more}


def mean_levels(scores: list[tuple[float, float]]) -> list[tuple[int, int]]:
    """Number of conditions by level: the one nearest to the mean of audio and video, clipped to the scale."""
    numbers = [round((min(max((audio + video) / 2, 1), 5) - 1) / 0.005) for audio, video in scores]
    return sorted(Counter(numbers).items())


SCORES = st.integers(-20, 120).map(lambda twentieths: twentieths / 20)


@FEW
@given(
    st.lists(
        st.tuples(st.integers(0, 90), st.lists(st.tuples(SCORES, SCORES), max_size=4)), min_size=1, max_size=10
    )
)
def test_each_report_with_measures_is_one_condition(
    reported: list[tuple[int, list[tuple[float, float]]]],
) -> None:
    calls, history, now_s = Calls(), [], T0
    for pause_s, scores in reported:
        now_s += pause_s
        calls.hear(now_s, *(of(*each) for each in scores))
        history.append((now_s, scores))
        now_s += 10
        total = calls.counts(now_s)
        for length in WINDOWS_S if total.groups else ():
            step = 10 if length == 60 else 60
            end_s = now_s // step * step
            covered = [each for at_s, scores in history for each in scores if end_s - length <= at_s < end_s]
            counts = total.windows[length][0]
            levels = np.flatnonzero(counts)
            told = list(zip(levels.tolist(), counts[levels].tolist(), strict=True))
            assert told == mean_levels(covered)


def test_a_service_judges_its_measures_by_its_mapping() -> None:
    calls = Calls()
    calls.hear(T0, {"session": "a", "measures": {"delay_ms": 0, "loss": 0.0, "jitter": 4}}, service="voice")
    calls.hear(T0, of(4.0, 3.0))
    game, voice = (service.distributions[60] for service in calls.monitor.snapshot(T0 + 10).services)
    assert game.mos[0] == pytest.approx(3.5, abs=1e-9)
    assert voice.mos[0] == pytest.approx(4.409, abs=0.0025)
    assert game.observations.tolist() == voice.observations.tolist() == [1]


@pytest.mark.parametrize(
    ("measures", "reason"),
    [
        ({"audio": 4.0}, Reject.SCHEMA),
        ({"video": 4.0}, Reject.SCHEMA),
        ({"Audio": 4.0, "video": 4.0}, Reject.SCHEMA),
        ({"delay_ms": 40, "loss": 0}, Reject.SCHEMA),
        ({"audio": "4", "video": 4.0}, Reject.SCHEMA),
        ({"audio": None, "video": 4.0}, Reject.SCHEMA),
        ({"audio": True, "video": 4.0}, Reject.SCHEMA),
        ({"audio": [4.0], "video": 4.0}, Reject.SCHEMA),
        ([4.0, 3.0], Reject.SCHEMA),
        (4.0, Reject.SCHEMA),
        ({"audio": math.nan, "video": 4.0}, Reject.OUT_OF_RANGE),
        ({"audio": 4.0, "video": math.inf}, Reject.OUT_OF_RANGE),
        ({"audio": -math.inf, "video": 4.0}, Reject.OUT_OF_RANGE),
        ({"audio": 4.0, "video": 1.1e9}, Reject.OUT_OF_RANGE),
        ({"audio": 4.0, "video": -1.1e9}, Reject.OUT_OF_RANGE),
    ],
)
def test_measures_that_cannot_be_judged_count_under_one_reason_and_cost_no_other(
    measures: object, reason: Reject
) -> None:
    calls = Calls()
    calls.hear(T0, of(4, 4, "a"), {"session": "bad", "measures": measures}, of(4, 4, "b"))
    assert calls.rejected == Counter({reason: 1})
    assert calls.judged(T0 + 10) == 2
    assert calls.monitor.sessions == 2


def test_a_report_without_measures_is_no_condition() -> None:
    """It shows that the session is active."""
    calls = Calls()
    told: list[dict[str, Any]] = [{"measures": {}}, {"response_s": 4.0}, {"labels": {"region": "eu"}}]
    calls.hear(T0, {"session": "a"}, *({"session": str(number), **more} for number, more in enumerate(told)))
    assert calls.rejected == Counter()
    assert calls.judged(T0 + 10) == 0
    assert calls.counts(T0 + 10).active_sessions.tolist() == [4]


def test_a_repeated_report_brings_no_measures() -> None:
    calls = Calls()
    for seq in (1, 1, 2, 1, 2):
        calls.hear(T0, of(4, 4, seq=seq))
    assert calls.judged(T0 + 10) == 2
    assert calls.monitor.events[Event.DUPLICATE] == 3


def test_measures_are_gone_after_the_longest_window() -> None:
    calls = Calls()
    calls.hear(T0 + 3, *(of(4, number / 10, f"s{number}") for number in range(50)))
    assert [calls.counts(T0 + 60).windows[length].sum() for length in WINDOWS_S] == [50, 50, 50]
    after = calls.counts(T0 + 70)
    assert [after.windows[length].sum() for length in WINDOWS_S] == [0, 50, 50]
    assert [after.users[length].sum() for length in WINDOWS_S] == [0, 50, 50]
    gone = calls.counts(T0 + 660)
    assert not any(gone.windows[length].any() for length in WINDOWS_S)
    assert not any(gone.users[length].any() for length in WINDOWS_S)
    assert gone.expected_ratings.sum() == pytest.approx(50)


def test_users_are_sessions_however_many_reports_they_send() -> None:
    calls = Calls()
    for at_s in range(0, 180, 20):
        calls.hear(T0 + at_s, of(4, 4, "a"), of(4, 3, "a"), of(2, 2, "b"))
        calls.hear(T0 + at_s, of(4, 4, "c"), region="us")
    total = calls.counts(T0 + 180)
    assert total.groups == (("eu",), ("us",))
    assert [total.windows[length].sum(axis=1).tolist() for length in WINDOWS_S] == [[9, 3], [27, 9], [27, 9]]
    assert [total.users[length].tolist() for length in WINDOWS_S] == [[2, 1]] * 3


def test_a_restart_changes_no_bit_of_measures() -> None:
    whole, resumed = Calls(), Calls()
    for at_s in range(0, 240, 15):
        file = io.BytesIO()
        np.savez(file, allow_pickle=False, **resumed.monitor.dump())
        file.seek(0)
        resumed = Calls()
        with np.load(file, allow_pickle=False) as loaded:
            resumed.monitor.load(dict(loaded))
        for calls in (whole, resumed):
            calls.hear(
                T0 + at_s, of(4, at_s / 60, f"s{at_s % 4}"), of(1, 2, "b"), region="us" if at_s % 2 else "eu"
            )
            calls.hear(T0 + at_s, {"session": "v", "measures": {"delay_ms": at_s, "loss": 0.01}}, service="voice")
        for service in ("game", "voice"):
            assert same_tally(whole.counts(T0 + at_s + 10, service), resumed.counts(T0 + at_s + 10, service))

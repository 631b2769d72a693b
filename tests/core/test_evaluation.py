"""The evaluation of several shards equals that of one, also after restarts and losses of shards."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from qoemon.core.alerting.regime import RegimeRules
from qoemon.core.alerting.rule import AlertMetric, Rule
from qoemon.core.counting.counts import Event
from qoemon.core.evaluation import Evaluation, Tick
from qoemon.core.plan.fingerprint import IncompatibleStateError
from qoemon.core.plan.plan import Plan
from qoemon.core.plan.roll_up import RollUpKey
from qoemon.core.sharding.shard_counts import ShardCounts
from qoemon.core.sharding.shard_pipeline import ShardPipeline
from qoemon.core.sharding.sparse import sparse_counts
from qoemon.core.wire.partition import Partitioner
from qoemon.outputs.snapshot_json import rolled_up, snapshot_document
from qoemon.state.frames import StoredMessage
from tests.support.core import VIDEO, WEB, plan

T0 = 1_700_000_100
SHARDS = 3
PLAN = replace(plan(VIDEO, WEB), roll_ups=((),))
RULES = (
    Rule("Poor", "video", AlertMetric.POW, 60, threshold=0.02, recovery=0.01, groups={}, confident=False),
    Rule("AllPoor", "video", AlertMetric.POW, 300, threshold=0.02, recovery=0.01, groups={}, by=()),
    Rule(
        "SomePoor",
        "video",
        AlertMetric.POW,
        60,
        threshold=0.02,
        recovery=0.01,
        groups={"region": ["eu", "us"]},
        by=(),
    ),
)
REGIMES = RegimeRules(min_sessions=5, dwell=1)


def messages(
    begin_s: float, number: int, seed: int, *, sessions: int = 200, late: bool = False
) -> list[StoredMessage]:
    """Messages of ongoing sessions in several groups, over a minute.

    late  all have a ts, which is that of their arrival or up to 200 s before
    """
    rng = np.random.default_rng(seed)
    told = []
    for at_s in np.sort(rng.uniform(begin_s, begin_s + 60, number)).tolist():
        session, group = int(rng.integers(sessions)), ("us", "eu", "asia")[int(rng.integers(3))]
        seq = int((at_s - T0) * 1000)
        ts = b',"ts":%f' % (at_s - float(rng.choice([0, 0, rng.uniform(0, 200)]))) if late else b""
        if rng.random() < 0.3:
            payload = b'{"session":"p%d","response_s":%f%s}' % (seq, rng.exponential(), ts)
            told.append(StoredMessage(f"qoe/v1/web/{group}", payload, at_s))
            continue
        stalls = (session % 5) * (seq // 20_000)
        report = b'{"session":"v%d","seq":%d,"stall_count":%d,"stall_s":%f,"play_s":%f%s}'
        payload = report % (session, seq, stalls, stalls * 0.7, seq / 1000, ts)
        told.append(StoredMessage(f"qoe/v1/video/{group}", payload, at_s))
    return told


class Divided:
    """Shards in this process; their counts are sent as to a parent that stores them."""

    def __init__(self, told: Plan = PLAN, wide: Plan | None = None, shards: int = SHARDS) -> None:
        rules = [rule for rule in RULES if rule.service in {service.name for service in told.services}]
        self.evaluation = Evaluation(told, rules, REGIMES)
        self._plan, self._partitioner = wide or told, Partitioner(shards, told)
        self.shards = [self._shard() for _ in range(shards)]

    def _shard(self) -> ShardPipeline:
        return ShardPipeline(self._plan, retain=True)

    def apply(self, told: list[StoredMessage]) -> None:
        for message in told:
            for shard, payload in self._partitioner.split(message.topic, message.payload):
                self.shards[shard].apply([message._replace(payload=payload)])

    def counts(self, tick_s: int) -> list[ShardCounts]:
        return [sparse_counts(shard.tick(tick_s)) for shard in self.shards]

    def tick(self, tick_s: int, *, stored: bool = True) -> Tick:
        tick = self.evaluation.tick(self.counts(tick_s))
        if stored:
            for number, shard in enumerate(self.shards):
                shard.forget_closed(self.evaluation.closed_s.get(number, 0))
        return tick

    def lose(self, shard: int) -> None:
        """End without a stored state."""
        self.shards[shard] = self._shard()
        self.evaluation.lose(shard)

    def restart(self, shard: int) -> None:
        """End, and begin with the stored state."""
        state, self.shards[shard] = self.shards[shard].dump(), self._shard()
        self.shards[shard].load(state)

    def restart_evaluation(self) -> None:
        state = {name: array.copy() for name, array in self.evaluation.dump().items()}
        self.evaluation = Evaluation(PLAN, RULES, REGIMES)
        assert self.evaluation.load(state) == ()


class Whole:
    """An evaluation of a single shard."""

    def __init__(self) -> None:
        self.shard, self.evaluation = ShardPipeline(PLAN), Evaluation(PLAN, RULES, REGIMES)

    def tick(self, tick_s: int) -> Tick:
        return self.evaluation.tick([self.shard.tick(tick_s)])


def minutes(number: int, **more: Any) -> list[tuple[int, list[StoredMessage]]]:
    """The ticks of some minutes, with the messages before each."""
    steps = []
    for minute in range(number):
        told = messages(T0 + 60 * minute, 400, minute, **more)
        steps += [
            (tick_s, [message for message in told if tick_s - 10 <= message.arrival_s < tick_s])
            for tick_s in range(T0 + 60 * minute + 10, T0 + 60 * minute + 61, 10)
        ]
    return steps


def figures(tick: Tick) -> tuple[dict[str, Any], dict[Any, int]]:
    """Everything that is served of a tick, with sums of groups, and the counters of alerts."""
    groups, sums = (snapshot_document(*rolled_up(*tick, by)) for by in (("region",), ()))
    return comparable(groups | {"sums": sums}), dict(tick.detections.transitions)


def comparable(told: Any) -> Any:
    """With None for NaN, which does not equal itself."""
    if isinstance(told, dict):
        return {name: comparable(each) for name, each in told.items()}
    if isinstance(told, list | tuple):
        return [comparable(each) for each in told]
    return None if isinstance(told, float) and math.isnan(told) else told


@pytest.mark.parametrize("late", [False, True])
def test_shards_give_what_the_whole_gives_tick_by_tick_to_the_last_digit(*, late: bool) -> None:
    """Also what is late, and the last conditions of sessions that pause for more than a rating interval."""
    whole, divided = Whole(), Divided()
    for tick_s, some in minutes(8, late=late):
        whole.shard.apply(some)
        divided.apply(some)
        assert figures(whole.tick(tick_s)) == figures(divided.tick(tick_s))
    assert any(alert.firing for alert in whole.tick(T0 + 490).detections.alerts)


@pytest.mark.parametrize("late", [False, True])
def test_restarts_of_shards_and_of_the_evaluation_change_no_digit(*, late: bool) -> None:
    """Nor do closed intervals that are sent again, because the receiver ended before it stored them."""
    whole, divided = Whole(), Divided()
    for number, (tick_s, some) in enumerate(minutes(8, late=late)):
        whole.shard.apply(some)
        divided.apply(some)
        if number % 7 == 3:
            divided.restart(number % SHARDS)
        if number % 5 == 2:
            divided.restart_evaluation()
        assert figures(whole.tick(tick_s)) == figures(divided.tick(tick_s, stored=number % 9 == 0))


@pytest.mark.parametrize("late", [False, True])
def test_an_evaluation_that_ends_before_it_has_stored_a_tick_gets_the_intervals_again(*, late: bool) -> None:
    whole, divided = Whole(), Divided()
    for number, (tick_s, some) in enumerate(minutes(4, late=late)):
        whole.shard.apply(some)
        divided.apply(some)
        stored = divided.evaluation.dump() if number == 10 else None
        one, other = whole.tick(tick_s), divided.tick(tick_s, stored=False)
        if stored is not None:  # It is tick 11, at the end of an interval, of which nothing was stored.
            divided.evaluation = Evaluation(PLAN, RULES, REGIMES)
            divided.evaluation.load(stored)
        assert number == 10 or figures(one)[0]["services"] == figures(other)[0]["services"]


def test_alerts_regimes_and_their_counters_are_as_before_after_a_restart() -> None:
    one, other = Divided(), Divided()
    for tick_s, some in minutes(10):
        for divided in (one, other):
            divided.apply(some)
            tick = divided.tick(tick_s)
    assert sum(tick.detections.transitions.values()) > 0
    assert any(regimes.known.any() for regimes in tick.detections.regimes.values())
    other.restart_evaluation()
    before, after = one.tick(T0 + 610), other.tick(T0 + 610)
    assert figures(before) == figures(after)
    assert [type(a.decision.since_s) for a in after.detections.alerts] == [int] * len(after.detections.alerts)
    sums = RollUpKey(())
    assert any(regimes.known.any() for regimes in after.detections.of_roll_ups[sums].values())
    for old, new in (
        (before.detections.regimes, after.detections.regimes),
        (before.detections.of_roll_ups[sums], after.detections.of_roll_ups[sums]),
    ):
        for name, regimes in old.items():
            assert regimes.reason.tolist() == new[name].reason.tolist()
            assert regimes.moved.tolist() == new[name].moved.tolist()


def test_counters_do_not_fall_when_a_shard_has_lost_its_sessions() -> None:
    """Prometheus treats a decreased counter as reset, and adds its whole value again."""
    divided = Divided()
    totals: dict[str, np.ndarray] = {}
    events: list[int] = []
    for minute in range(6):
        divided.apply(messages(T0 + 60 * minute, 400, minute))
        if minute in {2, 3}:
            divided.lose(1)
        if minute == 3:
            divided.lose(1)  # Twice between two ticks.
            divided.lose(2)
        if minute == 4:
            divided.restart_evaluation()
        tick = divided.tick(T0 + 60 * minute + 60)
        for service in tick.snapshot.services:
            before, now = totals.get(service.service.name), service.counts.expected_ratings
            assert before is None or np.all(now[: len(before)] >= before)
            totals[service.service.name] = now
        events.append(tick.snapshot.events[Event.REPORT])
        assert sum(s.counts.users[60].sum() for s in tick.snapshot.services) <= 400
    assert events == sorted(events)
    assert events[-1] < 6 * 400  # What was lost between two ticks was not counted anywhere.


def test_a_shard_that_loses_its_sessions_takes_no_history_along() -> None:
    """Of sessions that report often: of others, the last conditions are not counted yet, and lost."""
    whole, divided = Whole(), Divided()
    for tick_s, some in minutes(3, sessions=20):
        whole.shard.apply(some)
        divided.apply(some)
        before, _ = whole.tick(tick_s), divided.tick(tick_s)
    divided.lose(0)
    after = divided.tick(T0 + 190)
    for one, other in zip(before.snapshot.services, after.snapshot.services, strict=True):
        assert np.array_equal(one.counts.windows[300], other.counts.windows[300])
        assert np.array_equal(one.counts.users[300], other.counts.users[300])
        assert np.array_equal(one.counts.expected_ratings, other.counts.expected_ratings)


def test_all_shards_pool_the_same_groups_once_there_is_no_room() -> None:
    """In any order of groups: each group has all of its users or none."""
    divided = Divided(plan(WEB, groups=3), wide=plan(WEB, groups=6))
    regions = [f"r{number}" for number in range(12)]
    for tick in range(1, 5):
        for number in range(240):
            region = regions[number % 12 if tick > 1 else number % 4]
            payload = b'{"session":"s%d-%d","response_s":1}' % (tick, number)
            divided.apply([StoredMessage(f"qoe/v1/web/{region}", payload, T0 + 10.0 * tick - 5)])
        ticked = divided.tick(T0 + 10 * tick)
        for shard in divided.shards:
            shard.freeze_groups(divided.evaluation.full)
    (service,) = ticked.snapshot.services
    counts = dict(zip(service.counts.groups, service.counts.windows[60].sum(axis=1).tolist(), strict=True))
    assert counts.pop(("other",)) == 600
    assert list(counts.values()) == [120, 120, 120]
    assert counts.keys() < {(f"r{number}",) for number in range(4)}
    # Those of the first tick were counted before anybody could know.
    assert ticked.snapshot.events[Event.POOLED] == 540


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("at", [3, 17])
def test_an_evaluation_continues_with_other_shards(at: int, *, restart: bool) -> None:
    """They have counted the same reports, but for those that only totals depend on: these continue."""
    whole, divided, other = Whole(), Divided(), Divided(shards=5)
    for number in range(50):
        message = StoredMessage("qoe/v1/web/eu", b"no report %d" % number, T0 - 5.0)
        whole.shard.apply([message])
        divided.apply([message])
    for number, (tick_s, some) in enumerate(minutes(7)):
        whole.shard.apply(some)
        other.apply(some)
        expected = figures(whole.tick(tick_s))
        if number <= at:
            divided.apply(some)
            assert figures(divided.tick(tick_s)) == expected
        else:
            assert figures(other.tick(tick_s)) == expected
            assert other.evaluation.rejected == whole.evaluation.rejected
        if number == at:
            if restart:
                divided.restart_evaluation()
            counts = other.counts(tick_s)
            other.evaluation = divided.evaluation
            other.evaluation.adopt(counts)
        elif number < at:
            other.counts(tick_s)


def test_a_state_of_other_labels_is_refused() -> None:
    divided = Divided()
    divided.apply(messages(T0, 300, 1))
    divided.tick(T0 + 60)
    with pytest.raises(IncompatibleStateError, match="labels"):
        Evaluation(replace(PLAN, labels=("zone",)), (), RegimeRules()).load(divided.evaluation.dump())


def test_time_moves_with_the_clock_in_all_that_is_held() -> None:
    """By whole rating intervals, forward and back, in shards, their closed intervals and the evaluation."""
    still, moved, by_s = Divided(), Divided(), 0
    for number, (tick_s, some) in enumerate(minutes(6)):
        still.apply(some)
        moved.apply([message._replace(arrival_s=message.arrival_s + by_s) for message in some])
        one, other = still.tick(tick_s), moved.tick(tick_s + by_s, stored=number % 4 == 0)
        for a, b in zip(one.snapshot.services, other.snapshot.services, strict=True):
            assert all(np.array_equal(a.counts.windows[w], b.counts.windows[w]) for w in a.counts.windows)
            assert all(np.array_equal(a.counts.users[w], b.counts.users[w]) for w in a.counts.users)
            assert np.array_equal(a.counts.expected_ratings, b.counts.expected_ratings)
        if number in {8, 20}:
            step_s = 7200 if number == 8 else -3600
            by_s += step_s
            moved.evaluation.shift(step_s)
            for shard in moved.shards:
                shard.shift(step_s)

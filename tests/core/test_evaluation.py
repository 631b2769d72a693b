"""Shares of all shards are judged as one Monitor of all sessions would be, whatever happens to a shard."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from qoemon.core.alerting.regime import RegimeRules
from qoemon.core.counting.counts import Event
from qoemon.core.evaluation import Union
from qoemon.core.pipeline import Pipeline, Tick
from qoemon.core.plan.fingerprint import IncompatibleStateError
from qoemon.core.plan.plan import Plan
from qoemon.core.sharding.shard_counts import ShardLine, Share
from qoemon.core.sharding.sparse import Thickener, Thinner
from qoemon.core.wire.partition import Partitioner
from qoemon.outputs.snapshot_json import snapshot_document
from qoemon.state.frames import StoredMessage
from tests.support.core import VIDEO, WEB, plan

T0 = 1_700_000_100
SHARDS = 3
PLAN = plan(VIDEO, WEB)


def messages(begin_s: float, number: int, seed: int) -> list[StoredMessage]:
    """Of sessions that go on, in some groups, over a minute."""
    rng = np.random.default_rng(seed)
    told = []
    for at_s in np.sort(rng.uniform(begin_s, begin_s + 60, number)).tolist():
        session, group = int(rng.integers(200)), "eu" if rng.random() < 0.5 else "us"
        seq = int((at_s - T0) * 1000)
        if rng.random() < 0.3:
            told.append(
                StoredMessage(
                    f"qoe/v1/web/{group}", b'{"session":"p%d","response_s":%f}' % (seq, rng.exponential()), at_s
                )
            )
            continue
        stalls = (session % 5) * (seq // 20_000)
        report = b'{"session":"v%d","seq":%d,"stall_count":%d,"stall_s":%f,"play_s":%f}'
        payload = report % (session, seq, stalls, stalls * 0.7, seq / 1000)
        told.append(StoredMessage(f"qoe/v1/video/{group}", payload, at_s))
    return told


class Divided:
    """Shards in this process, their tallies sent as to a parent."""

    def __init__(self, told: Plan = PLAN) -> None:
        self.union = Union(told, (), RegimeRules(min_sessions=5))
        self._plan, self._splitter = told, Partitioner(SHARDS, told)
        self.lines = [ShardLine(told) for _ in range(SHARDS)]
        self._ways = [(Thinner(), Thickener()) for _ in range(SHARDS)]

    def apply(self, told: list[StoredMessage]) -> None:
        for message in told:
            for shard, payload in self._splitter.split(message.topic, message.payload):
                self.lines[shard].apply([message._replace(payload=payload)])

    def shares(self, tick_s: int) -> list[Share]:
        return [self._sent(shard, line.tick(tick_s)) for shard, line in enumerate(self.lines)]

    def lose(self, shard: int) -> None:
        """It ends without a store."""
        self.lines[shard], self._ways[shard] = ShardLine(self._plan), (Thinner(), Thickener())
        self.union.lose(shard)

    def _sent(self, shard: int, share: Share) -> Share:
        thinner, thickener = self._ways[shard]
        thickener.put(thinner.thin(share.tallies))
        whole = thickener.newest()
        for one, other in zip(share.tallies, whole, strict=True):
            assert np.array_equal(one.qos, other.qos)
            assert all(np.array_equal(one.windows[w], other.windows[w]) for w in one.windows)
            assert all(map(np.array_equal, one.marginals, other.marginals))
        return Share(share.time_s, whole, share.events, share.rejected, share.sessions)


def test_shards_say_what_the_whole_says_tick_by_tick() -> None:
    """Figures and regimes are the same to the last digit, groups in any order."""
    whole, divided = Pipeline(PLAN, (), RegimeRules(min_sessions=5)), Divided()
    for minute in range(8):
        told = messages(T0 + 60 * minute, 400, minute)
        for tick_s in range(T0 + 60 * minute + 10, T0 + 60 * minute + 61, 10):
            some = [message for message in told if tick_s - 10 <= message.arrival_s < tick_s]
            whole.apply(some)
            divided.apply(some)
            one, other = (
                said(ticked) for ticked in (whole.tick(tick_s), divided.union.tick(divided.shares(tick_s)))
            )
            assert one[0] == other[0]
            assert one[1] == pytest.approx(other[1], rel=1e-12)


def said(ticked: Tick) -> tuple[dict[str, Any], list[float]]:
    """What is told, and apart from it the sums of shares of users, which have no exact order."""
    told, ratings = snapshot_document(*ticked), []
    for service in told["services"]:
        service["groups"].sort(key=lambda group: group["labels"]["region"])
        for group in service["groups"]:
            ratings += group.pop("expected_ratings").values()
    return told, ratings


def test_counters_go_on_when_a_shard_has_lost_its_sessions() -> None:
    """Prometheus takes a counter that falls for one that began anew, and adds all of it once more."""
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
        ticked = divided.union.tick(divided.shares(T0 + 60 * minute + 60))
        for service in ticked.snapshot.services:
            before, now = totals.get(service.service.name), service.tally.expected_ratings
            assert before is None or np.all(now[: len(before)] >= before)
            totals[service.service.name] = now
        events.append(ticked.snapshot.events[Event.REPORT])
        assert sum(s.tally.users[60].sum() for s in ticked.snapshot.services) <= 400
    assert events == sorted(events)
    assert events[-1] < 6 * 400  # What was lost between two ticks was not counted anywhere.


def test_all_shards_pool_the_same_groups_once_the_union_has_no_room() -> None:
    """Whatever they met first: each group holds all of its users or none."""
    told = plan(WEB, groups=3)
    wide = plan(WEB, groups=6)
    divided = Divided(told)
    divided.lines = [ShardLine(wide) for _ in range(SHARDS)]
    regions = [f"r{number}" for number in range(12)]
    for tick in range(1, 5):
        for number in range(240):
            region = regions[number % 12 if tick > 1 else number % 4]
            payload = b'{"session":"s%d-%d","response_s":1}' % (tick, number)
            divided.apply([StoredMessage(f"qoe/v1/web/{region}", payload, T0 + 10.0 * tick - 5)])
        ticked = divided.union.tick(divided.shares(T0 + 10 * tick))
        for line in divided.lines:
            line.monitor.know_only(divided.union.full)
    (service,) = ticked.snapshot.services
    counts = dict(zip(service.tally.groups, service.tally.windows[60].sum(axis=1).tolist(), strict=True))
    assert counts.pop(("other",)) == 600
    assert list(counts.values()) == [120, 120, 120]
    assert counts.keys() < {(f"r{number}",) for number in range(4)}
    # Those of the first tick were taken in before anybody could know.
    assert ticked.snapshot.events[Event.POOLED] == 540


def test_what_was_dumped_is_loaded_and_groups_keep_their_numbers() -> None:
    one, other = Divided(), Divided()
    one.apply(messages(T0, 300, 1))
    ticked = one.union.tick(one.shares(T0 + 60))
    other.lines = one.lines
    assert other.union.load(one.union.dump()) == ()
    again = other.union.tick(other.shares(T0 + 70))
    for before, after in zip(ticked.snapshot.services, again.snapshot.services, strict=True):
        assert before.tally.groups == after.tally.groups
    with pytest.raises(IncompatibleStateError, match="labels"):
        Union(replace(PLAN, labels=("zone",)), (), RegimeRules()).load(one.union.dump())

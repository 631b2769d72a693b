"""A recorded stream gives the same counts as the running daemon."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import numpy as np
import pytest

from qoemon.core.alerting.decision import AlertState
from qoemon.core.alerting.detector import Detections, Detector
from qoemon.core.alerting.regime import RegimeRules
from qoemon.core.alerting.rule import AlertMetric, Rule
from qoemon.core.evaluation import Evaluation, Tick
from qoemon.core.plan.plan import Plan
from qoemon.core.sharding.shard_pipeline import ShardPipeline
from qoemon.core.snapshot.snapshot import Snapshot
from qoemon.core.wire.codec import Codec, Decoded
from qoemon.core.wire.message import Kind
from qoemon.tools.simulate.simulate import SCENARIOS, Population
from tests.support.core import T0, VIDEO, WEB, OneShard, plan, same_tally

DAY_S = 86_400
RULES = (
    Rule("Poor", "video", AlertMetric.POW, 60, threshold=0.15, recovery=0.1, groups={}, for_s=20, confident=False),
    Rule("Stuck", "video", AlertMetric.OPEN_STALLS, 60, threshold=0.5, recovery=0.4, groups={}),
)


class Message(NamedTuple):
    topic: str
    payload: bytes
    arrival_s: float
    kind: Kind = Kind.MQTT


def simulated(from_s: float, length_s: float, *, scenario: str = "outage", seed: int = 1) -> list[Message]:
    """Forty users in two regions, one of them impaired; one report per message."""
    population = Population(
        [{"region": "eu"}, {"region": "us"}],
        sessions=40,
        scenario=SCENARIOS[scenario].lasting(length_s),
        seed=seed,
        start_s=from_s,
    )
    return [
        Message(f"qoe/v1/{told.service}/{told.labels['region']}", msgspec.json.encode(told.report), from_s + at)
        for at in np.arange(0.5, length_s, 0.5).tolist()
        for told in population.step(from_s + at)
    ]


def lived(
    told: Plan, messages: list[Message], until_s: float, *, look_s: float = 2.5
) -> dict[int, tuple[Snapshot, Detections]]:
    """The counts of a daemon at each tick: it drains its inbox a few times per tick, also without messages."""
    codec, monitor = Codec(told), OneShard(told)
    watch = Detector(told, RULES, RegimeRules(min_sessions=5))
    said, waiting, tick_s = {}, list(reversed(messages)), told.timing.tick_s
    tick = int(messages[0].arrival_s // tick_s)
    while (tick + 1) * tick_s <= until_s:
        for look in range(1, round(tick_s / look_s) + 1):
            taken = []
            while waiting and waiting[-1].arrival_s < tick * tick_s + look * look_s:
                taken.append(waiting.pop())
            if taken:
                monitor.apply(codec.decode(taken).batch, taken[-1].arrival_s)
        tick += 1
        snapshot = monitor.snapshot(tick * tick_s)
        said[tick * tick_s] = snapshot, watch.observe(snapshot)
    return said


def replayed(told: Plan, messages: list[Message], until_s: float) -> list[Tick]:
    pipeline, evaluation = ShardPipeline(told), Evaluation(told, RULES, RegimeRules(min_sessions=5))
    ran = [evaluation.tick([counts]) for counts in pipeline.run(messages)]
    return [*ran, *(evaluation.tick([counts]) for counts in pipeline.until(until_s))]


def same(one: tuple[Snapshot, Detections], other: tuple[Snapshot, Detections]) -> bool:
    """To the last integer, alert and regime. Groups may come in another order, as a batch's do."""
    tallies = all(same_tally(a.counts, b.counts) for a, b in zip(one[0].services, other[0].services, strict=True))
    alerts = [[(each.key, each.decision) for each in watched.alerts] for _, watched in (one, other)]
    regimes = [
        {name: (r.regime.tolist(), r.known.tolist(), r.changes.tolist()) for name, r in watched.regimes.items()}
        for _, watched in (one, other)
    ]
    return tallies and one[0].events == other[0].events and alerts[0] == alerts[1] and regimes[0] == regimes[1]


PAUSES = {"none": (0, 10), "short": (130, 10), "past the timeout": (900, 20), "a day": (DAY_S, 60)}
"""Seconds, and the tick: who lives through a day takes long enough steps."""


@pytest.mark.parametrize(("pause_s", "tick_s"), PAUSES.values(), ids=PAUSES)
def test_a_replay_says_at_every_tick_what_was_said_live(pause_s, tick_s):
    told = plan(timing={"tick_s": tick_s})
    first = simulated(T0 + 3, 400)
    then = simulated(T0 + 403 + pause_s, 200, seed=2) if pause_s else []
    end_s = T0 + 700 + pause_s
    live, replay = lived(told, first + then, end_s), replayed(told, first + then, end_s)
    assert all(same(live[ticked.snapshot.time_s], ticked) for ticked in replay)
    # It leaves nothing out but ticks at which all was empty.
    left_out = live.keys() - {ticked.snapshot.time_s for ticked in replay}
    assert not any(service.visible.any() for at in left_out for service in live[at][0].services)
    assert bool(left_out) == (pause_s == DAY_S)
    assert any(alert.firing for ticked in replay for alert in ticked.detections.alerts)


def test_ticks_go_on_when_nothing_arrives_any_more():
    """In a total outage, open stalls continue after the last message."""
    told = plan()
    play = {"session": "s", "stall_count": 0, "stall_s": 0, "play_s": 0}
    stuck = {"session": "s", "stall_count": 1, "stall_s": 1, "play_s": 20, "stalled": True}
    messages = [
        Message("qoe/v1/video/eu", msgspec.json.encode(report), T0 + at) for at, report in ((1, play), (25, stuck))
    ]
    pipeline, evaluation = ShardPipeline(told), Evaluation(told, RULES, RegimeRules())
    ran = [evaluation.tick([counts]) for counts in pipeline.run(messages)]
    assert [ticked.snapshot.time_s for ticked in ran] == [T0 + 10, T0 + 20]
    after = [evaluation.tick([counts]) for counts in pipeline.until(T0 + 125)]
    assert [ticked.snapshot.time_s for ticked in after] == list(range(T0 + 30, T0 + 121, 10))
    assert after[-1].snapshot.services[0].counts.open_stalls.tolist() == [1]
    assert {alert.decision.state for alert in after[-1].detections.alerts} == {AlertState.FIRING}


def test_nothing_is_made_of_nothing():
    pipeline = ShardPipeline(plan())
    assert [*pipeline.run([]), *pipeline.until(T0)] == []


def test_a_clock_that_was_set_back_makes_no_tick_twice():
    told, messages = plan(), simulated(T0, 60)
    back = [message._replace(arrival_s=message.arrival_s - 30) for message in simulated(T0 + 60, 60, seed=2)]
    times = [ticked.snapshot.time_s for ticked in replayed(told, messages + back, T0 + 200)]
    assert times == sorted(set(times))


@pytest.mark.parametrize("retain", [False, True])
def test_closed_intervals_of_services_without_groups_are_dumped_and_loaded(retain):
    """An interval has closed, and its tick has not been taken yet, when the pipeline is replaced or stored."""
    told = plan(VIDEO, WEB)
    report = msgspec.json.encode({"session": "s", "play_s": 9})
    pipeline, successor = (ShardPipeline(told, retain=retain) for _ in range(2))
    for arrival_s in (T0 + 1, T0 + 61):
        pipeline.apply([Message("qoe/v1/video/eu", report, arrival_s)])
    assert successor.load(pipeline.dump()) == ()
    for counts in (pipeline.tick(T0 + 70), successor.tick(T0 + 70)):
        assert [[service.users.size for service in each.services] for each in counts.closed] == [[0, 0], [1, 0]]


def test_whoever_listens_is_told_of_every_report_and_reject():
    told, heard = plan(), list[Decoded]()
    messages = [*simulated(T0, 100), Message("qoe/v1/none/eu", b"{}", T0 + 101), Message("x", b"{}", T0 + 102)]
    pipeline = ShardPipeline(told)
    list(pipeline.run(messages, heard.append))
    assert sum(len(decoded.batch) for decoded in heard) == len(messages) - 2
    assert sum(decoded.rejected.total() for decoded in heard) == 2 == sum(pipeline.rejected.values())


@pytest.mark.parametrize("others", [0, 1])
def test_a_state_can_be_loaded_at_the_tick_at_which_a_session_ends(others: int) -> None:
    """Its last condition is still shown then; the other sessions have nothing to do with it."""
    told = plan(VIDEO, timing={"session_timeout_s": 120})
    whole, restarted = ShardPipeline(told), ShardPipeline(told)
    for tick_s in range(T0 + 10, T0 + 600, 10):
        at_s = tick_s - 5.0
        names = ["seldom"] * (tick_s in {T0 + 10, T0 + 120}) + [f"often-{number}" for number in range(others)]
        report = '{"session":"%s","play_s":%d,"stall_s":%d,"stall_count":%d}'
        played_s = tick_s - T0
        payloads = [(report % (name, played_s, played_s // 9, played_s // 9)).encode() for name in names]
        messages = [Message("qoe/v1/video/eu", payload, at_s) for payload in payloads]
        state = restarted.dump()
        restarted = ShardPipeline(told)
        restarted.load(state)
        for pipeline in (whole, restarted):
            pipeline.apply(messages)
        [one], [other] = whole.tick(tick_s).services, restarted.tick(tick_s).services
        assert one.users.tolist() == other.users.tolist()
        assert one.provisional.keys() == other.provisional.keys()
        assert {key: users.tolist() for key, users in one.provisional_users.items()} == {
            key: users.tolist() for key, users in other.provisional_users.items()
        }

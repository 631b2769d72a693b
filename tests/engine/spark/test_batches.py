"""Shards in batches come to what one process comes to, however batches are cut, repeated and rows are ordered.

All that runs on executors runs here in the test's own process, over a topic in memory.
"""

from __future__ import annotations

import os
import random
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from qoemon.config.config import Config
from qoemon.config.plan import core_plan, new_evaluation, shard_plan
from qoemon.core.counting.counts import Event
from qoemon.core.plan.fingerprint import IncompatibleStateError
from qoemon.engine.evaluations import successor
from qoemon.engine.spark.source import CheckpointError

if os.environ.get("QOEMON_REQUIRE_PARTS") != "1":
    for package in ("pyspark", "pandas", "confluent_kafka"):
        pytest.importorskip(package, reason=f"{package} is not installed: it comes with the extra spark")

from qoemon.engine.spark.offsets import write_full
from qoemon.engine.spark.position import Position
from qoemon.engine.spark.rescale import beginning_s
from tests.support.ticks import assert_same, differences, figures, one_process
from tests.support.topic import SETTINGS, Cluster, Topic, Traffic, written

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from qoemon.core.sharding.shard_counts import ShardCounts

T0 = 1_700_000_100
END_S = T0 + 100
BEHIND_S = END_S + 30
"""When even the last session is over."""


def config_of(**more: Any) -> Config:
    engine = {"kind": "spark", "checkpoint": "/checkpoint"}
    return Config.model_validate({**SETTINGS, "engine": engine, "kafka": {"brokers": ["kafka:9092"]}, **more})


CONFIG = config_of()


def topic_of(
    seed: int,
    shards: int,
    *,
    partitions: int = 3,
    steps_back: bool = False,
    bridge: Config = CONFIG,
    **traffic: Any,
) -> Topic:
    """The traffic of a seed, a fifth of it not by a bridge.

    steps_back  let the time of a tenth of the records step back by up to 5 s
    """
    topic, rng = Topic(partitions), random.Random(seed)
    messages = Traffic(seed, T0, END_S, **traffic).messages()
    for time_ms, shard, *record in written(messages, core_plan(bridge), shards, foreign=0.2, seed=seed):
        back_ms = rng.randrange(5000) if steps_back and rng.random() < 0.1 else 0
        topic.append(max(time_ms - back_ms, 1000 * T0), shard, *record)
    return topic


def truth(
    topic: Topic, config: Config = CONFIG, changes: Mapping[int, Config] | None = None
) -> list[dict[str, Any]]:
    """What is served of the ticks of one process."""
    messages = topic.messages(core_plan(config))
    return list(map(figures, one_process(config, messages, T0, BEHIND_S, changes)))


class Driver:
    """What the driver does with batches, without Spark."""

    def __init__(self, config: Config, full: Path) -> None:
        self.config, self.full = config, full
        self.evaluation, self.position = new_evaluation(config), Position()

    def take(self, ticks: Iterable[tuple[int, Sequence[ShardCounts]]]) -> Iterator[dict[str, Any]]:
        for tick_s, shards in ticks:
            match self.position.step(tick_s):
                case "evaluate":
                    yield figures(self.evaluation.tick(shards))
                    self.position = self.position.at(tick_s)
                case "adopt":
                    self.evaluation.adopt(shards)
                    self.position = self.position.adopted()
        write_full(self.full, self.evaluation.full)

    def restart(self) -> None:
        """End, and begin with the stored state."""
        state = {name: array.copy() for name, array in self.evaluation.dump().items()}
        state |= self.position.stored()
        self.evaluation, self.position = new_evaluation(self.config), Position.restored(state)
        assert self.evaluation.load(state) == ()

    def lose_sessions(self) -> None:
        """As the engine does with a new checkpoint."""
        for shard in self.evaluation.closed_s:
            self.evaluation.lose(shard)


def run(cluster: Cluster, driver: Driver, end_s: int, ticks: int = 5) -> list[dict[str, Any]]:
    """What is served of the ticks up to end_s, in batches of so many ticks."""
    found: list[dict[str, Any]] = []
    at_s = cluster.tick_s
    while at_s < end_s:
        at_s = cluster.plan_batch(min(at_s + ticks * cluster.feed.tick_s, end_s))
        found += driver.take(cluster.run())
        cluster.commit()
    return found


@pytest.mark.parametrize(
    ("seed", "shards", "most_ticks", "steps_back"),
    [(1, 4, 1, False), (2, 7, 1, True), (3, 4, 9, False), (4, 11, 30, True), (5, 1, 4, False)],
)
def test_batches_of_any_length_come_to_what_one_process_comes_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, seed: int, shards: int, most_ticks: int, *, steps_back: bool
) -> None:
    """Also if every third batch is made twice, and the evaluation restarts now and then."""
    topic, rng = topic_of(seed, shards, steps_back=steps_back), random.Random(seed)
    expected = truth(topic)
    driver = Driver(CONFIG, tmp_path / "full.json")
    cluster = Cluster(monkeypatch, shard_plan(CONFIG, shards), shards, topic, T0, driver.full)
    found, at_s = [], T0
    while at_s < BEHIND_S:
        at_s = cluster.plan_batch(min(at_s + 2 * rng.randint(1, most_ticks), BEHIND_S))
        ticks = cluster.run()
        found += driver.take(ticks)
        if rng.random() < 0.3:
            again = cluster.run()
            assert [tick_s for tick_s, _ in again] == [tick_s for tick_s, _ in ticks]
            assert list(driver.take(again)) == []
        cluster.commit()
        if rng.random() < 0.2:
            driver.restart()
    assert_same(expected, found)
    assert_diverse(found)


def assert_diverse(found: Sequence[dict[str, Any]]) -> None:
    """The traffic has everything that could go wrong."""
    last = found[-1]["all"]
    events = last["events"]
    assert min(events[str(event)] for event in (Event.REPORT, Event.DUPLICATE)) > 20, events
    assert {service["service"] for service in last["services"]} == {"video", "web", "startup"}
    assert any(alert["state"] == "firing" for each in found for alert in each["all"]["alerts"])
    groups = [group for each in found for service in each["region"]["services"] for group in service["groups"]]
    assert {group["regime"]["regime"] for group in groups if group["regime"]} & {"degraded", "bad"}
    assert any(group["open_stalls"] for group in groups)


def cluster_of(
    monkeypatch: pytest.MonkeyPatch, driver: Driver, topic: Topic, shards: int, start_s: int = T0
) -> Cluster:
    return Cluster(monkeypatch, shard_plan(driver.config, shards), shards, topic, start_s, driver.full)


CLOCK = config_of(sessions={**SETTINGS["sessions"], "clock": "report"})


@pytest.mark.parametrize(("seed", "after_s"), [(1, 82), (8, 64), (3, 90)])
def test_other_shards_continue_where_the_former_ones_were(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, seed: int, after_s: int
) -> None:
    """Records that were divided for four shards are divided for seven; users of the longest window go on exactly.

    The driver restarts before and while the new shards read what came before. What these cannot know is not here:
    how far a clock is behind, which is estimated for as long as a session lasts, and reports that come again. How
    much a session with pauses weighs depends on all of it, also on what was before the longest window: a little.
    """
    topic = topic_of(seed, 4, players=0, again=False)
    driver = Driver(CLOCK, tmp_path / "full.json")
    found, start_s = rescaled(monkeypatch, driver, topic, after_s)
    assert T0 <= start_s <= T0 + after_s - 60
    assert_same(truth(topic, CLOCK), found, of_bounds=0.02)


def test_totals_do_not_fall_after_a_rescale_whatever_the_traffic(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    topic, driver = topic_of(3, 4), Driver(CONFIG, tmp_path / "full.json")
    found, _ = rescaled(monkeypatch, driver, topic, 90)
    assert_never_falling(found)
    one, other = found[-1]["all"]["events"]["reports"], truth(topic)[-1]["all"]["events"]["reports"]
    assert abs(one - other) <= 5


def rescaled(
    monkeypatch: pytest.MonkeyPatch, driver: Driver, topic: Topic, after_s: int
) -> tuple[list[dict[str, Any]], int]:
    """What is served if four shards become seven after a time, s; and from when on these read."""
    driver.position = driver.position.running("query-4", "/4", 4)
    found = run(cluster_of(monkeypatch, driver, topic, 4), driver, T0 + after_s)
    start_s = beginning_s(core_plan(driver.config).timing, T0 + after_s)
    driver.position = driver.position.rescaled(7, "/7", start_s)
    driver.restart()
    driver.position.require(7, "/7")
    other = cluster_of(monkeypatch, driver, topic, 7, driver.position.begin_s or 0)
    assert run(other, driver, T0 + after_s - 20) == []
    driver.position = driver.position.running("query-7", "/7", 7)
    driver.restart()
    assert not driver.position.new_sessions("query-7")
    found += run(other, driver, BEHIND_S)
    assert not driver.position.adopting
    return found, start_s


def test_totals_do_not_fall_and_windows_stay_when_the_checkpoint_is_lost(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Sessions begin from scratch behind the newest tick, however late that is noticed: every report is read."""
    topic, driver = topic_of(1, 4), Driver(CONFIG, tmp_path / "full.json")
    driver.position = driver.position.running("query-1", "/lost", 4)
    found = run(cluster_of(monkeypatch, driver, topic, 4), driver, T0 + 60)
    driver.restart()
    assert driver.position.new_sessions("query-2")
    driver.lose_sessions()
    found += run(cluster_of(monkeypatch, driver, topic, 4, driver.position.begin_s or 0), driver, BEHIND_S)
    expected = truth(topic)
    assert [each["all"]["time_s"] for each in found] == [each["all"]["time_s"] for each in expected]
    assert_never_falling(found)
    # Reports that came again are not known as such.
    assert found[-1]["all"]["events"]["reports"] >= expected[-1]["all"]["events"]["reports"]
    before, after = (windows(each, "30s")["web"] for each in found[29:31])
    assert after["observations"] >= before["observations"] * 0.5


def test_windows_fill_again_when_the_state_of_the_driver_is_lost(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The sessions are in the checkpoint: within the longest window the figures are what they would have been."""
    topic, lost = topic_of(1, 4), Driver(CONFIG, tmp_path / "full.json")
    cluster = cluster_of(monkeypatch, lost, topic, 4)
    run(cluster, lost, T0 + 46)
    (tmp_path / "full.json").unlink()
    found = run(cluster, Driver(CONFIG, tmp_path / "full.json"), BEHIND_S)
    expected = truth(topic)[-len(found) :]
    assert [each["all"]["events"] for each in found] == [each["all"]["events"] for each in expected]
    assert not any(list(differences(*pair)) for pair in both(found, expected, "10s"))
    assert all(0 <= one["users"] <= other["users"] for one, other in both(found, expected, "30s"))
    assert not any(list(differences(*pair)) for pair in both(found[20:], expected[20:], "30s"))


def test_a_reload_between_two_batches_is_one_between_two_ticks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One service is rated with other parameters, one is new, one goes; counts of the others go on.

    The bridge knows the new service already: what it does not know, it does not divide by session.
    """
    services = {name: dict(settings) for name, settings in SETTINGS["services"].items()}
    services["video"]["theta"] = 0.2
    services["web"]["parameters"] = {"beta": 0.5}
    services["nothing"] = services.pop("startup")
    collector = {**SETTINGS["collector"], "startup_service": None}
    changed = config_of(services=services, collector=collector)
    topic = topic_of(4, 4, bridge=changed)
    driver = Driver(CONFIG, tmp_path / "full.json")
    cluster = cluster_of(monkeypatch, driver, topic, 4)
    found = run(cluster, driver, T0 + 50)
    driver.config, driver.evaluation = changed, successor(changed, driver.evaluation)
    cluster.feed = replace(cluster.feed, plan=shard_plan(changed, 4))
    found += run(cluster, driver, BEHIND_S)
    assert_same(truth(topic, changes={T0 + 50: changed}), found)
    assert found[-1]["all"]["events"]["reports"] > found[24]["all"]["events"]["reports"] > 0


def test_groups_that_are_full_travel_with_the_batch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """All shards pool the others from the next batch on, and a batch that comes again sees the same."""
    config, shards = config_of(limits={"groups": 3}), 5
    topic, driver = topic_of(6, shards), Driver(config, tmp_path / "full.json")
    cluster = cluster_of(monkeypatch, driver, topic, shards)
    found = run(cluster, driver, T0 + 20, ticks=1)
    full = {*driver.evaluation.full["web"], ("other", "other")}
    cluster.plan_batch(T0 + 22)
    last = cluster.run()
    known = groups_of(last)
    found += driver.take(last)
    cluster.commit()
    cluster.plan_batch(T0 + 40)
    before = cluster.run()
    driver.full.unlink()
    again = cluster.run()
    assert groups_of(again) == groups_of(before)
    assert all(groups <= had | full for groups, had in zip(groups_of(before), known, strict=True))
    found += driver.take(before)
    cluster.commit()
    found += run(cluster, driver, BEHIND_S)
    assert {*driver.evaluation.full["web"], ("other", "other")} == full
    for one, other in both(found, truth(topic), "10s"):
        assert one["observations"] == other["observations"]


def test_a_topic_may_get_further_partitions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The driver restarts for them, with a batch that was planned before; bridges write to them at once."""
    topic, driver, shards = Topic(3), Driver(CONFIG, tmp_path / "full.json"), 7
    records = written(Traffic(7, T0, END_S).messages(), core_plan(CONFIG), shards)
    grown = next(at for at, (time_ms, *_) in enumerate(records) if time_ms > 1000 * (T0 + 44))
    for record in records[:grown]:
        topic.append(*record)
    cluster = cluster_of(monkeypatch, driver, topic, shards)
    found = run(cluster, driver, T0 + 40)
    cluster.plan_batch(T0 + 44)
    topic.logs += [[], []]
    for record in records[grown:]:
        topic.append(*record)
    cluster.feed = replace(cluster.feed, partitions=5)
    found += driver.take(cluster.run())
    cluster.commit()
    found += run(cluster, driver, BEHIND_S)
    assert_same(truth(topic), found)


def test_a_topic_that_has_lost_partitions_is_another_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    topic, driver = topic_of(1, 4), Driver(CONFIG, tmp_path / "full.json")
    cluster = cluster_of(monkeypatch, driver, topic, 4)
    cluster.feed = replace(cluster.feed, partitions=2)
    with pytest.raises(
        CheckpointError, match="it knows 3 partitions of topic t, which has 2: was the topic created again"
    ):
        cluster.plan_batch(T0 + 20)


def test_a_checkpoint_of_another_number_of_shards_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also by a driver that has lost its state, and does not know of it."""
    topic, driver = topic_of(1, 4), Driver(CONFIG, tmp_path / "full.json")
    cluster = cluster_of(monkeypatch, driver, topic, 4)
    run(cluster, driver, T0 + 10)
    cluster.feed = replace(cluster.feed, shards=5)
    with pytest.raises(
        CheckpointError, match=r"among 4 shards, and engine.shards is 5: set it back, or set another"
    ):
        cluster.plan_batch(T0 + 20)


@pytest.mark.parametrize(
    ("changes", "what"), [({"labels": ["network"]}, "labels"), ({"windows": ["10s", "30s", "1m"]}, "timing")]
)
def test_a_checkpoint_of_another_plan_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, changes: dict[str, Any], what: str
) -> None:
    topic, driver = topic_of(1, 4), Driver(CONFIG, tmp_path / "full.json")
    cluster = cluster_of(monkeypatch, driver, topic, 4)
    run(cluster, driver, T0 + 10)
    cluster.feed = replace(cluster.feed, plan=shard_plan(config_of(**changes), 4))
    cluster.plan_batch(T0 + 20)
    with pytest.raises(IncompatibleStateError, match=rf"{what} differ"):
        cluster.run()


def windows(tick: dict[str, Any], window: str) -> dict[str, dict[str, Any]]:
    """Of each service that has one, this window of all groups together."""
    return {
        service["service"]: found
        for service in tick["all"]["services"]
        for group in service["groups"]
        if (found := group["windows"].get(window))
    }


def both(
    found: Sequence[dict[str, Any]], expected: Sequence[dict[str, Any]], window: str
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """That window of each service, in pairs."""
    for one, other in zip(found, expected, strict=True):
        assert one["all"]["time_s"] == other["all"]["time_s"]
        here, there = windows(one, window), windows(other, window)
        yield from ((here[name], there[name]) for name in here.keys() & there.keys())


def groups_of(ticks: Sequence[tuple[int, Sequence[ShardCounts]]]) -> list[set[Any]]:
    """The groups of web on each shard at the newest tick."""
    _, counts = ticks[-1]
    return [
        {labels for each in shard.services if each.service == "web" for labels in each.groups} for shard in counts
    ]


def assert_never_falling(found: Sequence[dict[str, Any]]) -> None:
    for before, after in pairwise(found):
        for name, total in before["all"]["events"].items():
            assert after["all"]["events"][name] >= total
        for one, other in zip(before["all"]["services"], after["all"]["services"], strict=True):
            for old, new in zip(one["groups"], other["groups"], strict=False):
                for rating, expected in old["expected_ratings"].items():
                    assert new["expected_ratings"][rating] >= expected

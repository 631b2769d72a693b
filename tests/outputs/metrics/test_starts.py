"""Startup times and failed starts as Prometheus gets them: from records of players to exposition."""

from __future__ import annotations

from itertools import pairwise

from qoemon.core.alerting.detector import Detector
from qoemon.core.alerting.regime import RegimeRules
from qoemon.core.plan.plan import Plan
from qoemon.daemon.metrics import initial_metrics
from qoemon.outputs.metrics.exporter import Exporter
from tests.support.core import T0, OneShard, plan
from tests.support.parts import parsed
from tests.support.players import Word, columns, numbered, of_player

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
GROUP = {"service": "video", "region": "eu"}
STARTED = numbered(Word(0, "s"), Word(2500, "p"), Word(90_000, "e"))
FAILED = numbered(Word(0, "s", session="b"), Word(9000, "f", session="b"))


def exported(told: Plan, *words: Word, until_s: int = 300) -> list[Samples]:
    """The samples of each tick."""
    shard, exporter, watch = OneShard(told), Exporter(), Detector(told, (), RegimeRules())
    found = []
    for tick_s in range(0, until_s, 10):
        for word in words:
            if tick_s - 10 <= word.ts_ms / 1000 < tick_s:
                shard.monitor.apply_players(columns([word]), word.arrival_s)
        snapshot = shard.snapshot(T0 + tick_s)
        published = exporter.render(snapshot, watch.observe(snapshot), initial_metrics())
        found.append(parsed(published.metrics.whole.decode()))
    return found


def value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((f"qoemon_{name}", tuple(sorted((GROUP | labels).items()))))


def test_startup_times_are_a_histogram_and_failed_starts_a_counter() -> None:
    ticks = exported(of_player(), *STARTED, *FAILED)
    last = ticks[-1]
    buckets = {bound: value(last, "startup_seconds_bucket", le=bound) for bound in ("0.25", "2", "3", "30", "+Inf")}
    assert buckets == {"0.25": 0, "2": 0, "3": 1, "30": 1, "+Inf": 1}
    assert (value(last, "startup_seconds_count"), value(last, "startup_seconds_sum")) == (1, 2.5)
    assert value(last, "start_failures_total") == 1


def test_they_begin_at_0_and_never_fall() -> None:
    ticks = exported(of_player(), *STARTED, *FAILED)
    seen = [tick for tick in ticks if value(tick, "start_failures_total") is not None]
    for name in ("start_failures_total", "startup_seconds_count", "startup_seconds_sum"):
        values = [value(tick, name) for tick in seen]
        assert values[0] == 0 < values[-1]
        assert all(before <= after for before, after in pairwise(values))


def test_without_a_collector_nobody_has_them() -> None:
    told = plan()
    assert not told.paths
    names = {name for tick in exported(told, *STARTED) for name, _ in tick}
    assert "qoemon_stall_count_count" in names
    assert not {name for name in names if name.startswith("qoemon_start")}

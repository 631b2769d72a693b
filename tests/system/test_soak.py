"""`make soak` in short: what does not depend on the speed of the machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import soak
from benchmarks.soak import Line, Sample
from qoemon.tools.simulate.load import Totals

CALM = Sample(at_s=0.0, rss_kb=100_000, descriptors=20, threads=5, tasks=30, scrape_s=0.01)
SENT = Totals(elapsed_s=600.0, reports=1000, messages=1000, unsent_reports=0, lag_s=0.0)
TOLD = {
    "qoemon_groups": 1.0,
    "qoemon_messages_total": 1000.0,
    "qoemon_reports_total": 1500.0,
    "qoemon_reports_rejected_total": 0.0,
    "qoemon_feedback_ratings_total": 10.0,
    "qoemon_tick_seconds_sum": 0.5,
    "qoemon_tick_seconds_count": 60.0,
    **dict.fromkeys(soak.TROUBLE.values(), 0.0),
}


def test_a_short_soak_leaves_nothing_behind(tmp_path: Path) -> None:
    lines = soak.soak(tmp_path, for_s=15.0, reports_per_s=200.0, sample_s=2.0)
    assert not [str(line) for line in lines if not line.timed and not line.holds]
    figures = {line.name: line.figure for line in lines}
    assert figures["reports a second"] > 0
    assert figures["records of players a second"] > 0
    assert figures["label sets seen"] >= 8


def beyond(samples: list[Sample], **told: float) -> list[str]:
    """The names of the figures that are beyond their limits."""
    playing = [replace(sample, descriptors=sample.descriptors + soak.PLAYERS) for sample in samples]
    lines = soak.table(CALM, playing, samples[-1], SENT, 500, {**TOLD, **told})
    return [line.name for line in lines if not line.holds]


def steady(**growth: float) -> list[Sample]:
    """Ten minutes, a sample every five seconds; what grows does so by so much a sample."""
    return [
        replace(CALM, at_s=5.0 * i, **{name: getattr(CALM, name) + round(i * by) for name, by in growth.items()})
        for i in range(120)
    ]


def test_a_steady_daemon_is_within_all_limits() -> None:
    noisy = [replace(sample, rss_kb=sample.rss_kb + 3000 * (i % 7 == 0)) for i, sample in enumerate(steady())]
    assert beyond(noisy) == []


@pytest.mark.parametrize(
    ("samples", "told", "word"),
    [
        (steady(rss_kb=200), {}, "resident memory grows"),
        (steady(descriptors=0.1), {}, "descriptors"),
        (steady(threads=0.1), {}, "threads"),
        (steady(tasks=0.1), {}, "asyncio tasks"),
        (steady(scrape_s=0.1), {}, "ms of a scrape"),
        (steady(), {"qoemon_messages_total": 999.0}, "did not arrive"),
        (steady(), {"qoemon_reports_total": 1499.0}, "were not counted"),
        *((steady(), {metric: 1.0}, name) for name, metric in soak.TROUBLE.items()),
    ],
)
def test_each_kind_of_trouble_is_found(samples: list[Sample], told: dict[str, float], word: str) -> None:
    assert any(word in name for name in beyond(samples, **told))


def test_a_line_beyond_its_limit_says_so() -> None:
    assert str(Line("a", 2.0, 1.0)).endswith("beyond it")
    assert "beyond" not in str(Line("a", 2.0, None))

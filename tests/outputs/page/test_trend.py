"""A rising or falling PoW is reported with its start, and noise is not."""

from __future__ import annotations

import numpy as np
import pytest

from qoemon.outputs.page.curves import Curves
from qoemon.outputs.page.detail import detail
from qoemon.outputs.page.overview import overview
from qoemon.outputs.page.query import Query
from qoemon.outputs.page.trend import turning_points
from tests.support.page import TICK_S, Scene

HALF = 0.03
"""Half of each confidence interval."""


def turn(*values: float, step_s: int = TICK_S) -> int:
    """The turning point of one row; -1 for none."""
    row = np.array([values])
    return int(turning_points(np.arange(len(values)) * step_s, row, (row - HALF, row + HALF), TICK_S)[0])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0.9, 0.9, 0.9, 0.7, 0.5, 0.3), 2),
        ((0.9, 0.9, 0.7, 0.5, 0.52, 0.3), 1),
        ((0.9, 0.2, 0.22, 0.10), 0),
        ((0.1, 0.2, 0.9, 0.7, 0.5), 2),
        ((0.9, 0.1, 0.5, 0.4, 0.3), 2),
        ((0.9, np.nan, 0.5, 0.4, 0.3), 2),
        ((0.9, 0.5, 0.1, 0.1, 0.1, 0.1), -1),
        ((0.9, 0.88, 0.89), -1),
        ((0.1, 0.5, 0.9), -1),
        ((0.5, 0.5, 0.5), -1),
        ((0.9, 0.5, np.nan), -1),
        ((np.nan, np.nan), -1),
    ],
    ids=[
        "a fall",
        "a fall with a small rise",
        "a fall with noise near its end",
        "a rise, then a fall",
        "a second fall",
        "a fall after a gap",
        "a fall that ended",
        "within the interval",
        "a rise",
        "level",
        "no newest point",
        "no data",
    ],
)
def test_a_fall_begins_at_its_turning_point(values: tuple[float, ...], expected: int) -> None:
    assert turn(*values) == expected


def test_a_run_does_not_cross_a_pause() -> None:
    assert turn(0.9, 0.5, 0.1, step_s=100) == -1


def test_noise_is_seldom_a_trend() -> None:
    """PoW of 300 users who rate independently in windows of 60 s that move by a tick of 10 s."""
    rng = np.random.default_rng(1)
    rows, ticks, share = 2000, 60, 0.1
    poor = rng.binomial(50, share, (rows, ticks + 5))
    sliding = np.lib.stride_tricks.sliding_window_view(poor, 6, axis=1).sum(axis=2) / 300
    half = 1.96 * np.sqrt(share * (1 - share) / 300)
    falls = turning_points(np.arange(ticks) * TICK_S, sliding, (sliding - half, sliding + half), TICK_S)
    assert (falls >= 0).mean() < 0.02


def test_a_recovery_is_in_the_table_in_the_summary_and_in_the_detail() -> None:
    scene = Scene()
    scene.ticks(12, eu=(0, 60), us=(60, 0))
    began_s = scene.at_s
    newest = scene.ticks(3, eu=(60, 0), us=(60, 0))[-1]
    answer = overview(newest, Query(), [])
    by_region = {row["labels"]["region"]: row["trend"] for row in answer["rows"]}
    assert by_region == {"eu": {"direction": "falling", "since_s": began_s}, "us": None}
    assert [hit["trend"] for hit in answer["summary"]["hit"]] == [by_region["eu"]]
    whole = detail(newest, "video", ("eu",), Query(), Curves())
    assert whole is not None
    assert whole["trend"] == by_region["eu"]
    newest = scene.ticks(9, eu=(60, 0), us=(60, 0))[-1]
    assert [row["trend"] for row in overview(newest, Query(), [])["rows"]] == [None, None]

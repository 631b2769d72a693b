"""Sums of groups on the page: a roll-up has rows and details as groups have, with its own last hour and changes."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from qoemon.core.plan.roll_up import RollUpKey
from qoemon.daemon.metrics import initial_metrics
from qoemon.outputs.history import History
from qoemon.outputs.metrics.exporter import Exporter
from qoemon.outputs.page.curves import Curves
from qoemon.outputs.page.detail import detail
from qoemon.outputs.page.overview import overview
from qoemon.outputs.page.query import Query, QueryError
from qoemon.outputs.page.sums import roll_ups, with_sums
from qoemon.outputs.published import PublishedTick
from tests.support.cube import PLAN, Cube, Hit, many_poor, nobody

REGIONS, CDNS = ("asia", "eu", "us"), ("a", "b")


def cdn_b(region: str, cdn: str) -> bool:
    return cdn == "b"


@cache
def newest() -> PublishedTick:
    """Two rating intervals of 6 groups of 20 viewers; in the second, those of CDN b stall. A rule for each CDN."""
    cube = Cube(many_poor(by=("cdn",), min_sessions=30), regions=REGIONS, cdns=CDNS, viewers=20)
    history, exporter = History(10), Exporter()

    def published(hit: Hit) -> PublishedTick:
        snapshot, detections = cube.tick(hit)
        return exporter.render(snapshot, detections, initial_metrics(), history.add(snapshot, detections))

    return [published(hit) for hit in (nobody, cdn_b) for _ in range(6)][-1]


def table(by: str) -> dict[str, Any]:
    return overview(newest(), Query(by=by), [], sums=with_sums(newest(), by))


def test_rows_are_the_sums_with_their_alerts_regimes_and_last_hour() -> None:
    answer = table("cdn")
    bad, good = answer["rows"]
    assert (bad["labels"], good["labels"]) == ({"cdn": "b"}, {"cdn": "a"})
    assert bad["judged"]["users"] == good["judged"]["users"] == 60
    assert (bad["firing"], good["firing"]) == (1, 0)
    assert bad["regime"]["regime"] == "bad"
    assert len(bad["pow_trend"]) == len(answer["times_s"]) == 12
    assert bad["pow_trend"][-1] == pytest.approx(bad["judged"]["pow"], abs=1e-3)
    assert (answer["by"], answer["roll_ups"]) == ("cdn", ["region", "cdn", "service"])


def test_the_summary_is_of_groups_whatever_the_table_shows() -> None:
    of_groups, of_sums = table(""), table("service")
    assert of_groups["summary"] == of_sums["summary"]
    assert [row["labels"] for row in of_sums["rows"]] == [{}]
    assert of_sums["rows"][0]["judged"]["users"] == sum(row["judged"]["users"] for row in of_groups["rows"]) == 120


def test_the_detail_of_a_sum_has_all_that_a_group_has() -> None:
    of_sum = detail(with_sums(newest(), "cdn"), "video", ("b",), Query(), Curves())
    of_group = detail(newest(), "video", ("eu", "b"), Query(), Curves())
    assert of_sum is not None
    assert of_group is not None
    assert of_sum.keys() == of_group.keys()
    assert of_sum["group"]["windows"]["1m"]["users"] == 60
    assert sum(sum(row) for row in of_sum["conditions"]["counts"]) == 60
    assert of_sum["ratings"]["share"] == pytest.approx(of_group["ratings"]["share"])
    assert [alert["alert"] for alert in of_sum["alerts"]] == ["ManyPoor"]
    kinds = {(change["what"], change["after"]) for change in of_sum["changes"]}
    assert kinds >= {("alert", "firing"), ("regime", "bad")}
    assert of_sum["past"]["users"] == [60.0] * 12


def test_a_roll_up_that_is_not_configured_is_summed_but_has_no_last_hour() -> None:
    tick = newest()
    bare = replace(tick, snapshot=replace(tick.snapshot, roll_ups={}), past=tick.past.of_roll_up(RollUpKey(("x",))))
    sums = with_sums(bare, "region")
    answer = overview(bare, Query(by="region"), [], sums=sums)
    assert {row["judged"]["users"] for row in answer["rows"]} == {40}
    assert answer["times_s"] == []
    of_sum = detail(sums, "video", ("eu",), Query(), Curves())
    assert of_sum is not None
    assert of_sum["past"]["pow"] == []


def test_any_set_of_labels_can_be_asked_for_in_any_order_and_an_unknown_label_is_an_error() -> None:
    tick = newest()
    assert with_sums(tick, "cdn,region") is with_sums(tick, "") is tick
    assert roll_ups(replace(tick.snapshot, roll_ups={})) == ["region", "cdn", "service"]
    assert PLAN.labels == ("region", "cdn")
    with pytest.raises(QueryError, match="by is 'isp', expected service, or labels out of region, cdn"):
        with_sums(tick, "isp")

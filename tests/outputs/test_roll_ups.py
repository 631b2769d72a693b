"""Sums of groups in everything that is served: JSON, metrics, page and notices."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

from qoemon.core.evaluation import Tick
from qoemon.daemon.metrics import initial_metrics
from qoemon.outputs.metrics.exporter import Exporter
from qoemon.outputs.notify.notices import notices
from qoemon.outputs.page.overview import overview
from qoemon.outputs.page.query import Query
from qoemon.outputs.snapshot_json import rolled_up, snapshot_document, snapshot_json
from tests.support.cube import REGIONS, Cube, many_poor, nobody

LOOK = "Look first at cdn=cdn-07: 100 % of the excess poor ratings, 5 % of the users."
SOME = REGIONS[:10]


@cache
def ticked() -> Tick:
    """500 groups, of which one CDN is hit in all regions; a rule for each CDN and one for a selection."""
    cube = Cube(many_poor(by=("cdn",)), replace(many_poor(by=("cdn",), groups={"region": SOME}), name="SomePoor"))
    cube.minute(nobody)
    return cube.minute(lambda region, cdn: cdn == "cdn-07")


@cache
def metrics() -> list[str]:
    rendered = Exporter().render(*ticked(), initial_metrics())
    return b"".join(rendered.metrics.pieces).decode().splitlines()


def value(name: str, **labels: str) -> list[float]:
    """The values of the samples that have these labels."""
    wanted = [f'{label}="{text}"' for label, text in labels.items()]
    found = [line for line in metrics() if line.startswith(f"{name}{{") and all(each in line for each in wanted)]
    return [float(line.rsplit(" ", 1)[1]) for line in found]


def test_json_has_the_sums_in_the_form_of_groups() -> None:
    document = snapshot_document(*rolled_up(*ticked(), ("cdn",)))
    assert document["labels"] == ["cdn"]
    (service,) = document["services"]
    groups = {group["labels"]["cdn"]: group for group in service["groups"]}
    assert len(groups) == 20
    seven = groups["cdn-07"]
    (whole,) = snapshot_document(*ticked())["services"]
    assert seven.keys() == whole["groups"][0].keys()
    assert seven["windows"]["1m"]["users"] == seven["active_sessions"] == 150
    assert seven["windows"]["1m"]["pow"] == pytest.approx(0.89, abs=0.03)
    assert seven["regime"]["regime"] == "bad"
    assert (
        service["where_first"]
        == whole["where_first"]
        == {
            "labels": {"cdn": "cdn-07"},
            "excess_share": pytest.approx(1),
            "users_share": pytest.approx(0.05),
            "text": LOOK,
        }
    )
    one, other = (snapshot_document(*rolled_up(*ticked(), by))["services"][0] for by in (("region", "cdn"), ()))
    assert one == whole
    assert [group["labels"] for group in other["groups"]] == [{}]
    assert b"".join(snapshot_json(*rolled_up(*ticked(), ("cdn",)))).startswith(b'{"time_s":')


def test_json_of_alerts_has_the_labels_of_their_sums() -> None:
    alerts = [alert for alert in snapshot_document(*ticked())["alerts"] if alert["state"] == "firing"]
    assert [(alert["labels"], alert["users"]) for alert in alerts] == [
        ({"cdn": "cdn-07"}, 150),
        ({"cdn": "cdn-07"}, 60),
    ]


def test_metrics_of_sums_have_names_of_their_own() -> None:
    """So sum() over a metric of groups counts nobody twice."""
    assert sum(value("qoemon_window_users", window="1m")) == 3000
    of_seven = {"by": "cdn", "cdn": "cdn-07", "window": "1m"}
    whole, some = value("qoemon_rollup_window_users", **of_seven)
    assert (whole, some) == (150, 60)
    assert value("qoemon_rollup_window_users", where=f"region={'|'.join(SOME)}", **of_seven) == [60]
    assert value("qoemon_rollup_window_users", by="service", window="1m") == [3000]
    (group,) = (
        group["windows"]["1m"]
        for group in snapshot_document(*rolled_up(*ticked(), ("cdn",)))["services"][0]["groups"]
        if group["labels"]["cdn"] == "cdn-07"
    )
    assert value("qoemon_rollup_pow_ratio", **of_seven)[0] == group["pow"]
    assert value("qoemon_rollup_pow_ratio_bound", bound="lower", **of_seven)[0] == group["pow_bounds"][0]
    assert value("qoemon_rollup_pow_regime", by="cdn", cdn="cdn-07") == [2]
    assert sum(value("qoemon_rollup_active_sessions", by="region")) == 3000


def test_quantiles_and_thetas_of_sums_are_exported_for_rules_only() -> None:
    assert value("qoemon_rollup_opinion_quantile", by="cdn")
    assert value("qoemon_rollup_pow_ratio_theta", by="cdn")
    assert not value("qoemon_rollup_opinion_quantile", by="region")
    assert not value("qoemon_rollup_pow_ratio_theta", by="service")


def test_metrics_of_alerts_have_the_labels_of_their_sums() -> None:
    assert 'qoemon_alert_state{alert="ManyPoor",severity="warning",service="video",cdn="cdn-07"} 3' in metrics()


def test_a_scrape_carries_only_groups_with_data() -> None:
    cube = Cube()
    cube.minute(nobody)
    left = Cube(regions=REGIONS[:1])
    left.shard, left.at_s = cube.shard, cube.at_s
    tick = [left.minute(nobody) for _ in range(25)][-1]
    assert len(tick.snapshot.services[0].counts.groups) == 500
    lines = b"".join(Exporter().render(*tick, initial_metrics()).metrics.pieces).decode().splitlines()
    gauges = [line for line in lines if line.startswith(("qoemon_pow_ratio{", "qoemon_active_sessions{"))]
    assert len(gauges) == 20 * (3 + 1)
    assert all('region="region-00"' in line for line in gauges)
    sums = [line for line in lines if line.startswith("qoemon_rollup_active_sessions{")]
    assert len(sums) == 1 + 20 + 1
    assert len(snapshot_document(*tick)["services"][0]["groups"]) == 20


def test_notices_of_sums_have_their_labels_and_where_to_look_first() -> None:
    firing, changed = notices(*ticked())
    assert not changed
    assert [(notice.groups, notice.annotations) for notice in firing] == [
        ({"cdn": "cdn-07"}, {"where_first": LOOK})
    ] * 2


def test_the_page_says_where_to_look_first_in_each_service() -> None:
    tick = ticked()
    newest = Exporter().render(*tick, initial_metrics())
    answer = overview(newest, Query(), [])
    assert [(found["service"], found["text"]) for found in answer["summary"]["where_first"]] == [("video", LOOK)]
    assert answer["summary"]["hit_total"] == 0, "each group by itself is too small for a verdict"
    assert [alert["labels"] for alert in answer["alerts"][:2]] == [{"cdn": "cdn-07"}] * 2

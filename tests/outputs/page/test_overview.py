"""The table and the summary: order and filter, affected groups, since when and what they have in common."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, get_args

import pytest

from qoemon.core.alerting.state import State
from qoemon.outputs.page.curves import Curves
from qoemon.outputs.page.detail import detail
from qoemon.outputs.page.overview import overview
from qoemon.outputs.page.query import MOST_ROWS, Query, QueryError, Sort
from tests.support.core import T0
from tests.support.page import Scene


def overview_of(scene: Scene, **crowds: tuple[int, int]) -> dict[str, Any]:
    return overview(scene.ticks(3, **crowds)[-1], Query(), [])


def regions(answer: dict[str, Any]) -> list[str]:
    return [row["labels"]["region"] for row in answer["rows"]]


CROWDS = {"eu": (40, 0), "us": (0, 24), "asia": (30, 20), "africa": (2, 1), "oceania": (20, 10)}


@pytest.mark.parametrize("sort", get_args(Sort))
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_rows_are_in_the_requested_order(sort: Sort, order: Any) -> None:
    newest = Scene().ticks(3, **CROWDS)[-1]
    answer = overview(newest, Query(sort=sort, order=order), [])
    assert sorted(regions(answer)) == sorted(CROWDS)
    keys = {
        "name": lambda row: row["labels"]["region"],
        "state": lambda row: row["firing"],
        "excess": lambda row: row["excess"],
        "users": lambda row: row["judged"]["users"],
        "poor_users": lambda row: row["judged"]["pow"] * row["judged"]["users"],
    }
    key = keys.get(sort, lambda row: row["judged"][sort])
    for above, below in pairwise(answer["rows"]):
        assert key(above) <= key(below) if order == "asc" else key(above) >= key(below)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", set(CROWDS)),
        ("region=eu", {"eu"}),
        ("OCEAN", {"oceania"}),
        ("region=a", {"asia", "africa"}),
        ("state=alert", {"us"}),
        ("asia video", {"asia"}),
        ("firing", {"us"}),
        ("web", set()),
    ],
)
def test_a_filter_needs_every_word(text: str, found: set[str]) -> None:
    newest = Scene().ticks(3, **CROWDS)[-1]
    answer = overview(newest, Query(filter=text), [])
    assert set(regions(answer)) == found
    assert (answer["matching"], answer["total"]) == (len(answer["rows"]), 5)


def test_pages_of_rows_follow_one_another_and_the_last_one_replaces_those_beyond() -> None:
    newest = Scene().ticks(3, **CROWDS)[-1]
    whole = regions(overview(newest, Query(sort="pow"), []))
    assert whole[:2] == ["us", "asia"]
    for offset in (0, 2, 4):
        answer = overview(newest, Query(sort="pow", limit=2, offset=offset), [])
        assert regions(answer) == whole[offset : offset + 2]
        assert (answer["matching"], answer["offset"], answer["limit"]) == (5, offset, 2)
    beyond = overview(newest, Query(sort="pow", limit=2, offset=1000), [])
    assert (regions(beyond), beyond["offset"]) == (whole[4:], 4)


def test_the_first_group_is_the_one_where_most_users_suffer_beyond_the_best_possible() -> None:
    """Not the one with the greatest share, nor the one with most poor users, most of whom no fix would help."""
    newest = Scene().ticks(3, small=(0, 12), suffering=(30, 30), crowd=(400, 0))[-1]
    answer = overview(newest, Query(), [])
    assert regions(answer) == ["suffering", "small", "crowd"]
    by_region = {row["labels"]["region"]: row for row in answer["rows"]}
    assert by_region["crowd"]["excess"] == pytest.approx(0, abs=1e-6)
    assert regions(overview(newest, Query(sort="poor_users"), []))[0] != "small"
    longer = overview(newest, Query(window="5m"), [])
    assert regions(longer) == ["suffering", "small", "crowd"]


def test_groups_without_data_have_no_row_but_are_counted_until_they_are_asked_for() -> None:
    scene = Scene()
    scene.ticks(3, eu=(30, 0), us=(30, 0), asia=(30, 0))
    newest = scene.ticks(60, us=(30, 0))[-1]
    answer = overview(newest, Query(window="1m"), [])
    assert (regions(answer), answer["matching"], answer["total"], answer["empty"]) == (["us"], 1, 3, 2)
    everything = overview(newest, Query(empty=True, window="1m"), [])
    assert (regions(everything), everything["empty"]) == (["us", "asia", "eu"], 2)
    assert overview(newest, Query(filter="asia", window="1m"), [])["empty"] == 1


def test_a_group_that_fires_keeps_its_row_without_data() -> None:
    scene = Scene()
    scene.ticks(12, eu=(0, 60))
    newest = scene.ticks(40)[-1]
    answer = overview(newest, Query(window="1m"), [])
    assert regions(answer) == ["eu"]
    assert answer["rows"][0]["judged"] is None


def test_an_alert_began_and_fired_at_the_same_times_wherever_it_is_shown() -> None:
    scene = Scene()
    scene.ticks(12, eu=(60, 0))
    newest = scene.ticks(6, eu=(0, 60))[-1]
    answer = overview(newest, Query(), [])
    whole = detail(newest, "video", ("eu",), Query(), Curves())
    assert whole is not None
    shown = [answer["summary"]["hit"][0], answer["alerts"][0], whole["alerts"][0]]
    times = {(each["began_s"], each["fired_s"]) for each in shown}
    assert len(times) == 1
    ((began_s, fired_s),) = times
    assert T0 + 120 < began_s <= fired_s


def test_the_summary_has_the_affected_users_and_since_when() -> None:
    scene = Scene()
    scene.ticks(12, eu=(60, 0), us=(60, 0))
    newest = scene.ticks(6, eu=(0, 60), us=(60, 0))[-1]
    summary = overview(newest, Query(), [])["summary"]
    assert summary["hit_total"] == summary["firing"] == 1
    (hit,) = summary["hit"]
    assert hit["labels"] == {"region": "eu"}
    assert hit["poor_users"] == pytest.approx(hit["pow"] * 60)
    video, web = summary["services"]
    assert video.pop("poor_users") == pytest.approx(hit["poor_users"])
    assert video.pop("state")["words"] == "alert ManyPoor for 50s"
    assert video == {"service": "video", "sums": [], "groups": 2, "hit_groups": 1, "users": 120}
    assert web.pop("state")["words"] == "no data yet"
    assert web == {"service": "web", "sums": [], "groups": 0, "hit_groups": 0, "users": 0, "poor_users": 0}
    assert T0 + 120 <= hit["began_s"] <= T0 + 180
    assert hit["alerts"] == ["ManyPoor"]
    assert hit["annotations"] == [{"runbook": "look at eu"}]


def test_services_are_not_added_up() -> None:
    scene = Scene()
    for _ in range(3):
        scene.respond("eu", 25, 0)
        newest = scene.tick(eu=(0, 60), us=(40, 0))
    video, web = overview(newest, Query(), [])["summary"]["services"]
    assert (video["groups"], video["hit_groups"], video["users"]) == (2, 1, 100)
    assert (web["groups"], web["hit_groups"], web["users"]) == (1, 0, 75)
    assert video["poor_users"] > 30
    assert web["poor_users"] < 8


def test_the_summary_says_where_to_look_first() -> None:
    def told(scene: Scene, **crowds: tuple[int, int]) -> list[dict[str, str]]:
        return [found["labels"] for found in overview_of(scene, **crowds)["summary"]["where_first"]]

    assert told(Scene(), eu=(0, 30), asia=(30, 0)) == [{"region": "eu"}]
    assert told(Scene(), eu=(0, 30), us=(0, 30)) == [{}]  # Everywhere.
    assert told(Scene(), eu=(30, 0), us=(30, 0)) == []


def test_without_groups_there_are_no_rows_and_no_affected_groups() -> None:
    answer = overview(Scene().tick(), Query(), ["not subscribed yet"])
    assert answer["rows"] == []
    assert answer["summary"]["hit"] == []
    assert answer["problems"] == ["not subscribed yet"]


def test_the_sparkline_of_a_row_is_its_pow() -> None:
    scene = Scene()
    first = scene.tick(eu=(20, 0))
    last = scene.tick(eu=(10, 10), us=(5, 0))
    answer = overview(last, Query(sort="name", order="asc"), [])
    pows = [each.snapshot.services[0].distributions[60].pow[0] for each in (first, last)]
    assert answer["rows"][0]["pow_trend"] == pytest.approx(pows, abs=1e-4)
    assert answer["times_s"] == [first.snapshot.time_s, last.snapshot.time_s]


def test_the_group_with_the_greatest_share_of_doubtful_reports_is_named_and_the_others_are_counted() -> None:
    scene = Scene()
    for region, sound, impossible in (("eu", 69, 31), ("us", 90, 10), ("asia", 0, 4), ("africa", 96, 4)):
        scene.respond(region, sound, impossible)
    newest = scene.tick(eu=(40, 0))
    wrong = "are impossible: response_s in milliseconds instead of seconds?"
    expected = {"service": "web", "labels": {"region": "eu"}, "share": 0.31, "text": wrong, "more": 1}
    assert overview(newest, Query(), [])["feed"] == expected
    for region, doubted in (("eu", {"share": 0.31, "text": wrong}), ("africa", None)):
        answer = detail(newest, "web", (region,), Query(), Curves())
        assert answer is not None
        assert answer["feed"] == doubted


def test_a_sound_feed_is_not_mentioned_nor_is_one_that_was_mended() -> None:
    scene = Scene()
    scene.respond("eu", 100, 4)
    assert overview(scene.tick(eu=(40, 0)), Query(), [])["feed"] is None
    scene.respond("eu", 0, 6)
    assert overview(scene.tick(eu=(40, 0)), Query(), [])["feed"] is not None
    newest = scene.ticks(6, eu=(40, 0))[-1]
    assert overview(newest, Query(), [])["feed"] is None


@pytest.mark.parametrize(
    "parameters",
    [
        *({"sort": "x"}, {"order": "up"}, {"limit": "-1"}, {"limit": "²"}, {"limit": "9" * 99}, {"window": "7m"}),
        *({"offset": "-1"}, {"empty": "yes"}),
    ],
)
def test_an_invalid_query_names_the_valid_values(parameters: dict[str, str]) -> None:
    newest = Scene().tick(eu=(1, 1))
    with pytest.raises(QueryError, match="expected"):
        overview(newest, Query.parse(parameters), [])


def test_the_number_of_rows_is_limited() -> None:
    assert Query.parse({"limit": "99999999"}).limit == MOST_ROWS


def test_the_detail_of_a_group_has_the_values_of_the_snapshot() -> None:
    scene = Scene()
    newest = scene.ticks(9, eu=(10, 50), us=(9, 1))[-1]
    answer = detail(newest, "video", ("eu",), Query(window="1m"), Curves())
    assert answer is not None
    rated = newest.snapshot.services[0].distributions[60]
    assert answer["ratings"]["share"] == pytest.approx(rated.ratings[0].tolist())
    assert answer["past"]["pow"][-1] == pytest.approx(rated.pow[0], abs=1e-4)
    assert sum(map(sum, answer["conditions"]["counts"])) == rated.observations[0]
    assert [alert["alert"] for alert in answer["alerts"]] == ["ManyPoor"]
    assert answer["changes"][0]["after"] == "firing"
    assert detail(newest, "video", ("nowhere",), Query(), Curves()) is None


def test_the_detail_of_an_emptied_group_has_its_past_and_no_ratings() -> None:
    scene = Scene()
    scene.ticks(3, eu=(30, 0))
    newest = scene.ticks(100)[-1]
    answer = detail(newest, "video", ("eu",), Query(), Curves())
    assert answer is not None
    assert answer["ratings"] is None
    assert answer["conditions"] is None
    assert answer["past"]["pow"][0] is not None


def test_a_group_without_a_regime_sorts_like_a_good_one() -> None:
    scene = Scene()
    scene.ticks(12, eu=(60, 0))
    newest = scene.tick(eu=(60, 0), us=(4, 5))  # Too few for an alert, and no regime yet.
    assert regions(overview(newest, Query(), [])) == ["us", "eu"]


def test_rows_and_services_have_the_one_state_that_is_shown() -> None:
    answer = overview(Scene().ticks(3, **CROWDS)[-1], Query(), [])
    states = {row["labels"]["region"]: row["state"]["state"] for row in answer["rows"]}
    assert states["us"] == "alert"
    assert states["africa"] == "too_few_users"
    assert [(each["service"], each["state"]["state"]) for each in answer["summary"]["services"]] == [
        ("video", "alert"),
        ("web", "no_data"),
    ]
    assert answer["summary"]["states"] == {state: list(states.values()).count(state) for state in map(str, State)}


def test_groups_that_fell_silent_come_after_those_that_suffer() -> None:
    scene = Scene()
    scene.ticks(3, eu=(60, 0), us=(0, 24), asia=(5, 0))
    newest = scene.ticks(8, eu=(60, 0), us=(0, 24))[-1]
    answer = overview(newest, Query(sort="state", empty=True), [])
    assert regions(answer) == ["us", "asia", "eu"]
    assert answer["rows"][1]["state"]["words"] == "no data for 1m20s"

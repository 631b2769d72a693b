"""The feedback in the JSON: counts and figures of each service, null where there are too few ratings."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from qoemon.core.plan.plan import Feedback
from qoemon.outputs.feedback_document import feedback_document
from qoemon.outputs.metrics.exporter import Exporter
from qoemon.outputs.snapshot_json import rolled_up, snapshot_document
from tests.support.core import VIDEO, WEB, plan
from tests.support.feedback import FIRST_DAY, feedback_of
from tests.support.opinions import Core, Sent, sent, viewing

PLAN = replace(plan(VIDEO, WEB), feedback=Feedback(scores=("face",)))


def document_of(ratings: list[int], **users: Any) -> dict[str, Any]:
    made = feedback_document(feedback_of(ratings, **users), VIDEO, 0.95)
    assert made is not None
    return made


def numbers(value: Any) -> Iterator[float]:
    """All numbers of a document."""
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from numbers(each)
    elif isinstance(value, float):
        yield value


def stream() -> list[Sent]:
    """One viewer rates, one gives a thumb, one is asked only, and one has nothing but a score."""
    messages = [
        *viewing(58, "a"),
        sent(65, "a", rating=4, asked=True),
        *viewing(58, "b"),
        sent(70, "b", asked=True),
    ]
    messages += [*viewing(58, "c", stall_s=6), sent(70, "c", thumb="up")]
    return [*messages, *viewing(58, "d"), sent(70, "d", scores={"face": 0.5})]


def test_what_users_said_is_counted_in_the_snapshot() -> None:
    tick = Core(PLAN).run(stream(), 500)[-1]
    video, web = snapshot_document(*tick)["services"]
    said = video["feedback"]
    assert (said["days"], said["sessions"], said["asked_sessions"], said["rated_sessions"]) == (1, 4, 3, 1)
    assert said["ratings"] == {"1": 0, "2": 0, "3": 0, "4": 1, "5": 0}
    assert said["expected_ratings"] == pytest.approx({"1": 0, "2": 0, "3": 0, "4": 0, "5": 1})
    assert said["thumbs"] == {"up": 1, "down": 0}
    assert sum(said["expected_thumbs"].values()) == pytest.approx(1)
    assert [each["sessions"] for each in said["classes"]] == [0, 1, 0, 3]
    assert said["classes"][3]["response_ratio"] == 0.5
    assert said["scores"]["by_score"]["face"] == {"sessions": 1, "rated_sessions": 0, "weight": 0, "worth": 1}
    assert said["model"] == {"state": "too_few", "way": None, "since_s": None, "witness_days": 0, "deviation": None}
    assert "29 more ratings are needed" in said["text"]
    assert web["feedback"]["rated_sessions"] == 0
    assert web["feedback"]["text"].startswith("Nobody rated web")


def test_it_is_of_the_whole_service_whatever_the_groups_are_summed_by() -> None:
    tick = Core(PLAN).run(stream(), 500)[-1]
    whole, summed = (snapshot_document(*rolled_up(*tick, by))["services"] for by in (("region",), ()))
    assert [each["feedback"] for each in whole] == [each["feedback"] for each in summed]


def test_the_published_bytes_are_valid_json_without_ratings_and_with_few() -> None:
    for messages in ([], stream()):
        tick = Core(PLAN).run(messages, 300)[-1]
        published = b"".join(Exporter().render(*tick, ()).json.pieces)
        assert json.loads(published) == snapshot_document(*tick)
        assert b"NaN" not in published


def test_figures_are_null_below_30_ratings_and_bounds_on_a_single_day() -> None:
    few, one_day, days = document_of([29]), document_of([90]), document_of([60, 60])
    figures = ("bias", "spread_ratio", "rank_ratio")
    assert [few[name] for name in figures] == [None, None, None]
    assert {each["mean_rating"] for each in few["classes"]} == {None}
    assert all(isinstance(one_day[name], float) for name in figures)
    assert one_day["bias_bounds"] == [None, None]
    low, high = days["bias_bounds"]
    assert low < days["bias"] < high
    for document in (few, one_day, days):
        assert all(map(math.isfinite, numbers(document)))
        assert msgspec.json.decode(msgspec.json.encode(document)) == document


def test_classes_are_told_by_their_ends_and_add_up_to_the_whole() -> None:
    said = document_of([100] * 28)
    ends = [(each["mos_from"], each["mos_to"]) for each in said["classes"]]
    assert ends == [(1, 2.5), (2.5, 3.5), (3.5, 4.5), (4.5, 5)]
    for name in ("sessions", "asked_sessions", "rated_sessions"):
        assert sum(each[name] for each in said["classes"]) == said[name]
    assert sum(said["ratings"].values()) == pytest.approx(sum(said["expected_ratings"].values()), rel=1e-5)
    for each in said["classes"]:
        assert each["response_ratio"] == pytest.approx(each["rated_sessions"] / each["asked_sessions"])
        assert each["mean_rating"] - each["expected_mean_rating"] == pytest.approx(each["bias"], abs=0.05)
        assert each["bias_bounds"][0] < each["bias"] < each["bias_bounds"][1]


def test_a_model_that_is_off_has_its_way_its_begin_and_the_figures_since_then() -> None:
    model = document_of([70] * 28, shift=[0.0] * 14 + [-0.35] * 14)["model"]
    assert (model["state"], model["way"], model["witness_days"]) == ("off", "lower", 28)
    assert model["since_s"] == (FIRST_DAY + 14) * 86_400
    assert model["deviation"]["rated_sessions"] == 70 * 14
    assert model["deviation"]["bias_bounds"][1] < -0.2

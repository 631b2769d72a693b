"""Answers by day and condition, as they are served."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from qoemon.core.qoe.mapping import LINEAR
from qoemon.outputs.feedback_answers import answers_json
from tests.support.core import VIDEO, WEB, plan
from tests.support.opinions import Core, sent, viewing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qoemon.core.plan.plan import Service
    from tests.support.opinions import Sent

DAY = "2023-11-14"


def document(messages: Sequence[Sent], service: Service = VIDEO, until_s: int = 400) -> dict[str, Any]:
    """What is served after these messages."""
    ticks = Core(plan(service)).run(messages, until_s)
    return json.loads(b"".join(answers_json(ticks[-1].snapshot, service.name)))


def test_the_answers_of_sessions_in_one_condition_are_counted_together() -> None:
    messages = [*viewing(58, "a"), sent(65, "a", rating=4), *viewing(58, "b"), sent(66, "b", rating=4, asked=True)]
    messages += [*viewing(58, "c"), sent(66, "c", thumb="up"), *viewing(58, "d"), sent(70, "d", asked=True)]
    # A newer rating replaces the former one, also after it was counted.
    messages += [*viewing(58, "e"), sent(70, "e", rating=1), sent(200, "e", rating=5), *viewing(58, "f")]
    [day] = document(messages, until_s=700)["days"]
    assert day == {
        "day": DAY,
        "answers": [
            {
                "condition": {"stalls_per_min": 0, "stall_s_per_min": 0},
                "mos": 5.0,
                "sessions": 6,
                "asked_sessions": 5,
                "ratings": {"4": 2, "5": 1},
                "thumbs": {"up": 1, "down": 0},
            }
        ],
    }


def test_the_model_is_that_of_the_configuration() -> None:
    found = document([])
    assert found["days"] == []
    assert (found["service"], found["mapping"], found["ratings"], found["theta"]) == (
        "video",
        "video-stall",
        "beta",
        VIDEO.theta,
    )
    assert found["parameters"] == {"scale": 3.5, "time": 4.5, "count": 5.7, "floor": 1.5}
    assert found["scale"] == {"low": 1, "high": 5, "good": 4, "poor": 2}
    assert found["axes"] == ["stalls_per_min", "stall_s_per_min"]


def test_a_condition_with_stalls_gives_the_mos_that_stands_beside_it() -> None:
    [day] = document([*viewing(58, "a", stall_s=8), sent(65, "a", rating=2)])["days"]
    [answer] = day["answers"]
    n, t = answer["condition"].values()
    assert t == pytest.approx(60 * 8 / 50, abs=0.5)
    assert n == pytest.approx(60 / 50, abs=0.2)
    assert answer["mos"] == pytest.approx(float(VIDEO.mapping(n, t)))


def test_response_times_are_named_as_in_reports() -> None:
    messages = [sent(at_s, "a", "web", response_s=2.0) for at_s in (5, 10)]
    found = document([*messages, sent(20, "a", "web", rating=3)], WEB)
    assert found["axes"] == ["response_s"]
    [answer] = [each for each in found["days"][0]["answers"] if each["ratings"]]
    assert answer["condition"]["response_s"] == pytest.approx(2.0, rel=0.02)


def test_of_measures_only_the_predicted_mos_is_kept() -> None:
    service = replace(VIDEO, mapping=LINEAR.with_inputs(["vmaf"]))
    messages = [sent(5, "a", measures={"vmaf": 3.0}), sent(20, "a", rating=3)]
    found = document(messages, service)
    assert found["axes"] == []
    [answer] = [each for each in found["days"][0]["answers"] if each["ratings"]]
    assert answer["condition"] == {}
    assert answer["mos"] == pytest.approx(3.0)


def test_an_unknown_service_has_no_answers() -> None:
    snapshot = Core(plan(VIDEO)).run([], 10)[-1].snapshot
    with pytest.raises(KeyError, match="other"):
        list(answers_json(snapshot, "other"))


def test_answers_are_the_same_object_until_an_interval_with_answers_closes() -> None:
    ticks = Core(plan(VIDEO)).run([*viewing(58, "a"), sent(65, "a", rating=4)], 700)
    found = [tick.snapshot.answers["video"].days for tick in ticks]
    changes = [after is not before for before, after in pairwise(found)]
    assert 1 <= sum(changes) <= 2
    assert sum(map(len, found)) > 0

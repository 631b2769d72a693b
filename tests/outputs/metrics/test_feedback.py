"""Metrics of ratings, and that ratings change nothing else that is published."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from qoemon.core.alerting.rule import AlertMetric, Rule
from qoemon.core.counting.feedback_counts import DAY_S
from qoemon.core.evaluation import Tick
from qoemon.core.feedback.figures import LEAST_RATINGS
from qoemon.core.plan.plan import Feedback
from qoemon.outputs.metrics.exporter import Exporter
from tests.support.core import T0, VIDEO, WEB, plan
from tests.support.opinions import USUAL, WORST, Core, Sent, rated_days, sent, times_of_days, viewing

PLAN = replace(plan(VIDEO, WEB), feedback=Feedback(scores=("face",)))
OWN = ("process_", "python_", "qoemon_tick_seconds")


OF_RATINGS = ("qoemon_feedback_", "qoemon_model_")


def published(messages: Sequence[Sent], until_s: int = 500) -> list[tuple[dict[str, float], Any]]:
    """At each tick, the samples and the JSON."""
    return rendered_ticks(Core(PLAN).run(messages, until_s))


def rendered_ticks(ticks: Sequence[Tick]) -> list[tuple[dict[str, float], Any]]:
    exporter, found = Exporter(), []
    for tick in ticks:
        rendered = exporter.render(tick.snapshot, tick.detections, ())
        lines = b"".join(rendered.metrics.pieces).decode().splitlines()
        samples = dict(line.rsplit(" ", 1) for line in lines if not line.startswith(("#", *OWN)))
        document = json.loads(b"".join(rendered.json.pieces))
        found.append(({name: float(value) for name, value in samples.items()}, document))
    return found


def test_ratings_change_nothing_else_that_is_published() -> None:
    """At every tick: beside counters, in reports of their own, and delivered twice."""
    plain = [*viewing(58, "a", stall_s=8), *viewing(120, "b"), *viewing(158, "c", stall_s=20, end=False)]
    plain += [sent(at_s, "d", "web", seq=at_s, response_s=at_s / 10) for at_s in range(5, 100, 7)]
    said = {"rating": 1, "asked": True, "thumb": "down", "scores": {"face": -1}, "ratings": {"picture": 2}}
    beside = [
        each._replace(payload=json.dumps(each.report | said).encode()) if number % 3 == 0 else each
        for number, each in enumerate(plain)
    ]
    alone = [
        sent(at_s, name, seq=5000 + at_s, ts=1_700_000_000 + at_s, **said)
        for name in "abcx"
        for at_s in (3, 70, 300)
    ]
    alone += [sent(at_s, "d", "web", seq=5000 + at_s, rating=3) for at_s in (1, 50, 150)]
    without, rated = published(plain), published([*beside, *alone, *alone])
    assert any(value for name, value in rated[-1][0].items() if name.startswith("qoemon_feedback_ratings_total"))
    for (samples, document), (with_samples, with_document) in zip(without, rated, strict=True):
        assert others(with_samples) == others(samples)
        assert without_feedback(with_document) == without_feedback(document)


def without_feedback(document: dict[str, Any]) -> dict[str, Any]:
    services = [{key: value for key, value in each.items() if key != "feedback"} for each in document["services"]]
    return document | {"services": services}


def others(samples: dict[str, float]) -> dict[str, float]:
    """The samples that are not about ratings."""
    return {
        name: value
        for name, value in samples.items()
        if not name.startswith(OF_RATINGS) and f'alert="{MODEL_OFF.name}"' not in name
    }


MODEL_OFF = Rule("ModelOff", "video", AlertMetric.MODEL, 60, 1, 1, {}, confident=False, severity="info", by=())


def of_each_kind() -> Iterator[Rule]:
    """A rule of each kind that fires on viewers who stall or leave, for groups and sums."""
    levels = {AlertMetric.MOS: (3.4, 3.6), AlertMetric.GOB: (0.7, 0.8), AlertMetric.QUANTILE: (2.5, 3.5)}
    for metric in AlertMetric:
        if metric is AlertMetric.MODEL:
            continue
        threshold, recovery = levels.get(metric, (0.1, 0.05))
        if metric is AlertMetric.ABSENT:
            threshold, recovery = 60, 0
        quantile = 0.05 if metric is AlertMetric.QUANTILE else None
        for by in (None, ()):
            name = f"{metric}-{by}"
            rule = Rule(name, "video", metric, 60, threshold, recovery, {}, quantile, by=by)
            yield replace(rule, min_sessions=1, confident=False)


@pytest.mark.parametrize("ratings", [WORST, USUAL])
def test_a_model_that_is_off_changes_no_other_alert_and_no_state(ratings: Sequence[int]) -> None:
    """Alerts of all other kinds, transitions, regimes, presence and states, of groups and sums, over days."""
    told = replace(PLAN, roll_ups=(("region",), ()), quantiles=(0.05,))
    rules = (MODEL_OFF, *of_each_kind())
    # What is usual is learnt from viewers who are there for 20 minutes, before they leave.
    others_too = [each for name in "uvwxyz" for each in viewing(1200, name, stall_s=10)]
    feeds = [[*others_too, *rated_days([said] * 5)] for said in ((), ratings)]
    times_s = [*range(10, 1501, 10), *times_of_days(6)[3:]]
    plain, rated = ([*Core(told, rules=rules).run_at(feed, times_s)] for feed in feeds)
    off = [any(each.rule is MODEL_OFF and each.firing for each in tick.detections.alerts) for tick in rated]
    assert any(off) == (ratings is WORST)
    fired = {each.rule.metric for tick in plain for each in tick.detections.alerts if each.firing}
    assert fired >= {*AlertMetric} - {AlertMetric.MODEL, AlertMetric.OPEN_STALLS}, "or it compares nothing"
    for (samples, document), (with_samples, with_document) in zip(
        rendered_ticks(plain), rendered_ticks(rated), strict=True
    ):
        assert others(with_samples) == others(samples)
        for each in (document, with_document):
            each["alerts"] = [alert for alert in each["alerts"] if alert["alert"] != MODEL_OFF.name]
        assert without_feedback(with_document) == without_feedback(document)
    for one, other in zip(plain, rated, strict=True):
        assert other.detections.states == one.detections.states


def model_metrics(samples: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in samples.items() if name.startswith("qoemon_model_")}


def test_while_the_model_holds_or_is_unknown_only_its_state_is_exported() -> None:
    core = Core(PLAN, rules=(MODEL_OFF,))
    last = model_metrics(rendered_ticks(core.run_at(rated_days([USUAL] * 6), times_of_days(7)))[-1][0])
    assert last == {
        f'qoemon_model_state{{service="{service}",state="{state}"}}': float(state == now)
        for service, now in (("video", "holds"), ("web", "too_few"))
        for state in ("too_few", "holds", "off")
    }


def test_while_the_model_is_off_the_metrics_say_since_when_and_by_how_much() -> None:
    days = rated_days([USUAL, USUAL, *[WORST] * 4], scores={"face": 0.5})
    found, _ = rendered_ticks(Core(PLAN).run_at(days, times_of_days(7)))[-1]

    def value(name: str, **labels: str) -> float:
        pairs = [f'{key}="{text}"' for key, text in sorted({"service": "video", **labels}.items())]
        return found[f"{name}{{{','.join(pairs)}}}"]

    assert value("qoemon_model_state", state="off") == 1
    began_s = (T0 // DAY_S + 2) * DAY_S
    assert value("qoemon_model_off_since_timestamp_seconds", way="lower") == began_s
    assert (value("qoemon_model_off_ratings"), value("qoemon_model_off_days")) == (80, 4)
    bias, since = value("qoemon_feedback_bias"), value("qoemon_model_off_bias")
    assert since < bias < 0
    assert value("qoemon_feedback_class_bias", **{"class": "low"}) == pytest.approx(bias)
    for name in ("qoemon_feedback_bias", "qoemon_model_off_bias"):
        assert value(f"{name}_bound", bound="lower") <= value(name) <= value(f"{name}_bound", bound="upper")
    assert value("qoemon_model_off_spread_ratio") > value("qoemon_feedback_spread_ratio") > 1
    assert value("qoemon_feedback_response_ratio", **{"class": "low"}) == 1
    assert value("qoemon_feedback_score_worth", score="face") == 1
    assert 'qoemon_feedback_class_bias{class="high",service="video"}' not in found


def test_figures_of_few_ratings_are_left_out() -> None:
    days = rated_days([USUAL], LEAST_RATINGS - 1, scores={"face": 0.5})
    found, _ = rendered_ticks(Core(PLAN).run_at(days, times_of_days(2)))[-1]
    unknown = tuple(f"qoemon_feedback_{name}" for name in ("bias", "class_bias", "spread_ratio", "score_worth"))
    assert not [name for name in found if name.startswith(unknown)]
    assert any(name.startswith("qoemon_feedback_response_ratio") for name in found)


def test_ratings_stand_beside_those_expected_in_the_same_sessions() -> None:
    messages = [*viewing(58, "a"), sent(65, "a", rating=4), *viewing(58, "b"), sent(70, "b", asked=True)]
    messages += [sent(70, "nobody", rating=4), *viewing(58, "c", stall_s=6), sent(90, "c", thumb="up")]
    samples, _ = published(messages)[-1]

    def values(name: str, **more: Sequence[str]) -> list[float]:
        [(label, texts)] = more.items() or [("", [""])]
        pairs = [sorted({"service": "video", label: text}.items()) for text in texts]
        shown = [",".join(f'{key}="{text}"' for key, text in each if key) for each in pairs]
        return [samples[f"{name}{{{labels}}}"] for labels in shown]

    ratings = "12345"
    assert values("qoemon_feedback_ratings_total", rating=ratings) == [0, 0, 0, 1, 0]
    np.testing.assert_allclose(values("qoemon_feedback_expected_ratings_total", rating=ratings), [0, 0, 0, 0, 1])
    assert values("qoemon_feedback_thumbs_total", thumb=["up", "down"]) == [1, 0]
    up, down = values("qoemon_feedback_expected_thumbs_total", thumb=["up", "down"])
    assert up + down == 1
    assert 0 < up < 1
    assert values("qoemon_feedback_asked_sessions_total") == [3]
    reasons = ["no_session", "too_late", "no_condition", "out_of_scale"]
    assert values("qoemon_feedback_unmatched_total", reason=reasons) == [1, 0, 0, 0]
    assert not any(value for name, value in samples.items() if "feedback" in name and 'service="web"' in name)

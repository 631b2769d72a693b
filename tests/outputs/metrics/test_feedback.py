"""Metrics of ratings, and that ratings change nothing else that is published."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from qoemon.core.plan.plan import Feedback
from qoemon.outputs.metrics.exporter import Exporter
from tests.support.core import VIDEO, WEB, plan
from tests.support.opinions import Core, Sent, sent, viewing

PLAN = replace(plan(VIDEO, WEB), feedback=Feedback(scores=("face",)))
OWN = ("process_", "python_", "qoemon_tick_seconds")


def published(messages: Sequence[Sent], until_s: int = 500) -> list[tuple[dict[str, float], Any]]:
    """At each tick, the samples and the JSON."""
    exporter, found = Exporter(), []
    for tick in Core(PLAN).run(messages, until_s):
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
        assert {n: v for n, v in with_samples.items() if "qoemon_feedback_" not in n} == {
            n: v for n, v in samples.items() if "qoemon_feedback_" not in n
        }
        assert without_feedback(with_document) == without_feedback(document)


def without_feedback(document: dict[str, Any]) -> dict[str, Any]:
    services = [{key: value for key, value in each.items() if key != "feedback"} for each in document["services"]]
    return document | {"services": services}


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

"""What the users of a service said beside what was predicted, as plain data for the JSON of the API."""

from __future__ import annotations

from typing import Any

import numpy as np

from qoemon.core.arrays import Floats
from qoemon.core.counting.feedback_counts import DAY_S
from qoemon.core.feedback.check import ModelState
from qoemon.core.feedback.day import class_ends, floating
from qoemon.core.feedback.figures import Estimate
from qoemon.core.plan.plan import Service
from qoemon.core.snapshot.feedback import PERIOD_DAYS, Feedback


def feedback_document(said: Feedback | None, service: Service, confidence: float) -> dict[str, Any] | None:
    """The feedback of the last PERIOD_DAYS days; None if there is none. Figures of too few ratings are null."""
    if said is None:
        return None
    total, ratings = said.total, [str(rating) for rating in service.scale.ratings.tolist()]
    return {
        "period_s": PERIOD_DAYS * DAY_S,
        "days": said.days,
        "sessions": int(total.sessions.sum()),
        "asked_sessions": int(total.asked.sum()),
        "rated_sessions": said.ratings,
        "ratings": dict(zip(ratings, total.histogram.sum(axis=0).tolist(), strict=True)),
        "expected_ratings": dict(zip(ratings, floating(total.shares).sum(axis=0).tolist(), strict=True)),
        "thumbs": {"up": int(total.thumbs_up.sum()), "down": int(total.thumbs_down.sum())},
        **_estimate("bias", said.bias),
        **_estimate("spread_ratio", said.spread),
        "rank_ratio": _null(said.rank),
        "classes": _classes(said, service),
        "model": _model(said),
        "scores": _scores(said),
        "text": _text(said),
    }


def _null(value: float | Floats) -> float | None:
    return None if np.isnan(value) else float(value)


def _estimate(name: str, figure: Estimate) -> dict[str, Any]:
    return {name: _null(figure.value), f"{name}_bounds": [_null(figure.lower), _null(figure.upper)]}


def _classes(said: Feedback, service: Service) -> list[dict[str, Any]]:
    """What was predicted and what users answered, by class of predicted MOS, lowest first."""
    ends, points = class_ends(service.scale).tolist(), said.reliability
    return [
        {
            "mos_from": ends[place],
            "mos_to": ends[place + 1],
            "asked_sessions": int(said.total.asked[place]),
            "rated_sessions": int(points.ratings[place]),
            "response_ratio": _null(said.response[place]),
            "mean_rating": _null(points.mean[place]),
            "expected_mean_rating": _null(points.expected_mean[place]),
            **_estimate("bias", Estimate(*(each[place] for each in said.bias_by_class))),
        }
        for place in range(len(ends) - 1)
    ]


def _model(said: Feedback) -> dict[str, Any]:
    """Whether the model holds; way and since_s are of a model that is off."""
    found = said.check
    return {
        "state": str(found.state),
        "way": None if found.way is None else str(found.way),
        "since_s": None if found.since is None else found.since * DAY_S,
        "witness_days": found.witnesses,
    }


def _scores(said: Feedback) -> dict[str, Any]:
    """The bias corrected by all scores and what they are worth, and each score by its name."""
    scored = said.scored
    columns = zip(said.total.scores, scored.weights.tolist(), scored.worth_of.tolist(), strict=True)
    return {
        **_estimate("bias", scored.bias),
        "worth": scored.worth,
        "by_score": {name: {"weight": weight, "worth": worth} for name, weight, worth in columns},
    }


def _text(said: Feedback) -> str:
    match said.check.state:
        case ModelState.OFF:
            return f"The model is off: users rate {said.check.way} than predicted."
        case ModelState.HOLDS:
            return "The model holds."
        case ModelState.TOO_FEW:
            return "Too few ratings to check the model."

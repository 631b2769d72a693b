"""What the users of a service said beside what was predicted, as plain data for the JSON of the API."""

from __future__ import annotations

from typing import Any

import numpy as np

from qoemon.core.arrays import Counts, Floats
from qoemon.core.counting.feedback_counts import DAY_S
from qoemon.core.feedback.day import class_ends, floating
from qoemon.core.feedback.figures import Estimate
from qoemon.core.plan.plan import Service
from qoemon.core.snapshot.feedback import PERIOD_DAYS, Feedback, Figures
from qoemon.outputs.feedback_sentence import sentence


def feedback_document(said: Feedback | None, service: Service, confidence: float) -> dict[str, Any] | None:
    """The feedback of the last PERIOD_DAYS days; None if there is none. Figures of too few ratings are null."""
    if said is None:
        return None
    return {
        "period_s": PERIOD_DAYS * DAY_S,
        **_figures(said, service),
        "model": _model(said, service),
        "scores": _scores(said),
        "text": sentence(said, service, confidence),
    }


def _figures(said: Figures, service: Service) -> dict[str, Any]:
    total, ratings = said.total, [str(rating) for rating in service.scale.ratings.tolist()]
    thumbs = np.array([total.thumbs_up.sum(), total.thumbs_down.sum()])
    good = float(floating(total.predicted_good).sum())
    return {
        "days": said.days,
        "sessions": int(total.sessions.sum()),
        "asked_sessions": int(total.asked.sum()),
        "rated_sessions": said.ratings,
        "ratings": dict(zip(ratings, total.histogram.sum(axis=0).tolist(), strict=True)),
        "expected_ratings": dict(zip(ratings, floating(total.shares).sum(axis=0).tolist(), strict=True)),
        "thumbs": _thumbs(thumbs),
        "expected_thumbs": _thumbs(np.array([good, thumbs.sum() - good])),
        **_estimate("bias", said.bias),
        **_estimate("spread_ratio", said.spread),
        "rank_ratio": null(said.rank),
        "classes": _classes(said, service),
    }


def null(value: float | Floats) -> float | None:
    """A number, or None for NaN."""
    return None if np.isnan(value) else float(value)


def _thumbs(both: Counts | Floats) -> dict[str, float]:
    up, down = both.tolist()
    return {"up": up, "down": down}


def _estimate(name: str, figure: Estimate) -> dict[str, Any]:
    return {name: null(figure.value), f"{name}_bounds": [null(figure.lower), null(figure.upper)]}


def _at(figure: Estimate, place: int) -> Estimate:
    return Estimate(*(each[place] for each in figure))


def _classes(said: Figures, service: Service) -> list[dict[str, Any]]:
    """What was predicted and what users answered, by class of predicted MOS, lowest first."""
    ends, points = class_ends(service.scale).tolist(), said.reliability
    return [
        {
            "mos_from": ends[place],
            "mos_to": ends[place + 1],
            "sessions": int(said.total.sessions[place]),
            "asked_sessions": int(said.total.asked[place]),
            "rated_sessions": int(points.ratings[place]),
            "response_ratio": null(said.response[place]),
            "mean_rating": null(points.mean[place]),
            "expected_mean_rating": null(points.expected_mean[place]),
            **_estimate("bias", _at(said.bias_by_class, place)),
            "gob": null(points.good[place]),
            "expected_gob": null(points.expected_good[place]),
            "pow": null(points.poor[place]),
            "expected_pow": null(points.expected_poor[place]),
        }
        for place in range(len(ends) - 1)
    ]


def _model(said: Feedback, service: Service) -> dict[str, Any]:
    """Whether the model holds; way, since_s and deviation are of a model that is off."""
    found = said.check
    return {
        "state": str(found.state),
        "way": None if found.way is None else str(found.way),
        "since_s": None if found.since is None else found.since * DAY_S,
        "witness_days": found.witnesses,
        "deviation": None if said.deviation is None else _figures(said.deviation, service),
    }


def _scores(said: Feedback) -> dict[str, Any]:
    """The bias corrected by all scores and what they are worth, and each score by its name."""
    scored = said.scored
    columns = zip(
        said.total.scores,
        said.total.scored.tolist(),
        scored.ratings.tolist(),
        scored.weights.tolist(),
        scored.worth_of.tolist(),
        strict=True,
    )
    return {
        **_estimate("bias", scored.bias),
        "worth": scored.worth,
        "by_score": {
            name: {"sessions": sessions, "rated_sessions": rated, "weight": weight, "worth": worth}
            for name, sessions, rated, weight, worth in columns
        },
    }

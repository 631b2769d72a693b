"""What the ratings of users say about the model of a service, as the sentence in JSON, page and `qoemon top`."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum

import numpy as np

from qoemon.core.counting.feedback_counts import DAY_S
from qoemon.core.feedback.check import CheckRules, ModelState, Way
from qoemon.core.feedback.figures import LEAST_RATINGS, Estimate
from qoemon.core.plan.plan import Service
from qoemon.core.snapshot.feedback import PERIOD_DAYS, Feedback, Figures

GUIDE = "docs/feedback.md"
"""The page of the documentation that explains how to ask users."""

_FINE_SPAN = 10
"""Scales with more points than this need one decimal place less."""


class Known(StrEnum):
    """How much the ratings of a service tell."""

    NOTHING = "nothing"
    """nobody has rated"""
    COUNTS = "counts"
    """too few ratings for a comparison with the predictions"""
    COMPARED = "compared"


def known(said: Feedback) -> Known:
    """How much these ratings tell."""
    if said.ratings <= 0:
        return Known.NOTHING
    return Known.COUNTS if said.ratings < LEAST_RATINGS else Known.COMPARED


def sentence(said: Feedback, service: Service, confidence: float) -> str:
    """What the ratings say about the model, and what to do."""
    match known(said):
        case Known.NOTHING:
            return _nothing(said, service)
        case Known.COUNTS:
            return _counts(said)
    if said.deviation is not None and said.check.way is not None and said.check.since is not None:
        return _off(said.deviation, said.check.way, said.check.since, service, confidence)
    found = f"{_rated(said.bias, service, confidence)}, {_by(said)}"
    if said.check.state is ModelState.HOLDS:
        return f"The model holds: users {found}."
    return f"{_unchecked(said)} Users {found}."


def _response(found: Figures) -> str:
    """Who the ratings are of: the share of those asked who rated, if clients report whom they asked."""
    ratings, asked = found.ratings, int(found.total.asked.sum())
    if ratings >= asked:
        return "among those who answered (how many were asked is unknown: no client reports `asked`)"
    return f"among those who answered ({100 * ratings / asked:.0f} % of {asked:,} asked)"


def day_text(day: int) -> str:
    """The date of a UTC day since the epoch."""
    return f"{datetime.fromtimestamp(day * DAY_S, UTC):%Y-%m-%d}"


def _nothing(said: Feedback, service: Service) -> str:
    asked, thumbs = int(said.total.asked.sum()), int(said.total.thumbs_up.sum() + said.total.thumbs_down.sum())
    period = f"in the last {PERIOD_DAYS} days"
    if thumbs > 0:
        return f"No ratings of {service.name} {period}, but {_many(thumbs, 'thumb')}, which count for GoB only."
    who = f"although {_many(asked, 'user')} had been asked" if asked > 0 else "and nobody was asked to"
    return f"Nobody rated {service.name} {period}, {who}. How to ask: {GUIDE}."


def _counts(said: Feedback) -> str:
    missing = LEAST_RATINGS - said.ratings
    are = f"{_many(said.ratings, 'rating')} in the last {PERIOD_DAYS} days"
    needed = f"{_many(missing, 'more rating')} {'is' if missing == 1 else 'are'} needed"
    return f"{are}, {_response(said)}. {needed} to compare them with the predictions."


def _unchecked(said: Feedback) -> str:
    """Why nothing can be said about the model although there are ratings enough, and what to do."""
    witnesses, least = said.check.witnesses, CheckRules.least_days
    if witnesses < least:
        needed = f"{least} complete days with at least {CheckRules.least_ratings} ratings are needed"
        return f"The model is not checked yet: {needed}, {witnesses} so far."
    none = f"no day of the last {CheckRules.stale_days} had {CheckRules.least_ratings} ratings"
    return f"The model cannot be checked any more: {none}. Ask more users."


def _off(found: Figures, way: Way, since: int, service: Service, confidence: float) -> str:
    by = _by(found)
    begin = f"The model is off: since {day_text(since)} users"
    command, by = f"run `qoemon feedback fit {service.name}`", _by(found)
    if way in (Way.LOWER, Way.HIGHER):
        return f"{begin} {_rated(found.bias, service, confidence)}, {by}. To look for better constants, {command}."
    more, small = ("more", "small") if way is Way.WIDER else ("less", "large")
    spread, lower, upper = (float(each) for each in found.spread)
    interval = _interval(f"{lower:.2f} to {upper:.2f}", lower, confidence)
    disagree = f"disagree {more} than predicted, their variance is {spread:.2f} times the predicted one{interval}"
    return f"{begin} {disagree}, {by}. Theta is too {small}: to look for a better one, {command}."


def _rated(bias: Estimate, service: Service, confidence: float) -> str:
    """How users rate beside the prediction."""
    places = 2 if service.scale.high - service.scale.low <= _FINE_SPAN else 1
    value, lower, upper = (float(each) for each in bias)
    rate = "rate as predicted" if _zero(value, places) else f"rate {_apart(value, places)} than predicted"
    if lower <= 0 <= upper or _zero(value, places):
        ends = f"{_apart(lower, places)} to {_apart(upper, places)}"
    else:
        ends = " to ".join(f"{abs(end):.{places}f}" for end in sorted((lower, upper), key=abs))
    return rate + _interval(ends, lower, confidence)


def _interval(ends: str, lower: float, confidence: float) -> str:
    """The confidence interval in parentheses; nothing if there is none, as with a single day."""
    return "" if np.isnan(lower) else f" ({100 * confidence:g} % CI {ends})"


def _apart(difference: float, places: int) -> str:
    return f"{abs(difference):.{places}f} {'lower' if difference < 0 else 'higher'}"


def _zero(value: float, places: int) -> bool:
    return round(value, places) == 0


def _by(found: Figures) -> str:
    return f"by {_many(found.ratings, 'rating')} on {_many(found.days, 'day')}, {_response(found)}"


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"

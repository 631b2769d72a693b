"""The sentence about ratings: what it says in each state of the model, and with few ratings or none."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from qoemon.core.feedback.answers import Answers, sums_of
from qoemon.core.feedback.check import CheckRules
from qoemon.core.feedback.prediction import predicted
from qoemon.core.qoe.scale import Scale
from qoemon.core.snapshot.feedback import FeedbackReader
from qoemon.outputs.feedback_sentence import sentence
from tests.support.core import VIDEO, WEB
from tests.support.feedback import FIRST_DAY, feedback_of

NUMBER = r"\d[\d,.-]*"
"""Also a date, or the last digits of a number."""

ANSWERED = "among those who answered (33 % of {} asked)"
FIT = "run `qoemon feedback fit video`."

SENTENCES = {
    "none": (
        [],
        {},
        "Nobody rated video in the last 28 days, and nobody was asked to. How to ask: docs/feedback.md.",
    ),
    "few": (
        [12, 8],
        {},
        (
            f"20 ratings in the last 28 days, {ANSWERED.format(60)}. "
            "10 more ratings are needed to compare them with the predictions."
        ),
    ),
    "one missing": (
        [29],
        {"asked": 1},
        (
            "29 ratings in the last 28 days, among those who answered (how many were asked is unknown: no client "
            "reports `asked`). 1 more rating is needed to compare them with the predictions."
        ),
    ),
    "one day": (
        [60],
        {},
        (
            "The model is not checked yet: 5 complete days with at least 20 ratings are needed, 1 so far. Users "
            f"rate # lower than predicted, by 60 ratings on 1 day, {ANSWERED.format(180)}."
        ),
    ),
    "holds": (
        [100] * 28,
        {},
        (
            "The model holds: users rate 0.0# higher than predicted (95 % CI # lower to # higher), by 2,800 "
            f"ratings on 28 days, {ANSWERED.format('8,400')}."
        ),
    ),
    "lower": (
        [70] * 28,
        {"shift": [0.0] * 14 + [-0.35] * 14},
        (
            "The model is off: since 2024-10-18 users rate 0.3# lower than predicted (95 % CI # to 0.4#), by 980 "
            f"ratings on 14 days, {ANSWERED.format('2,940')}. To look for better constants, {FIT}"
        ),
    ),
    "higher": (
        [70] * 28,
        {"shift": 0.35},
        (
            "The model is off: since 2024-10-04 users rate 0.3# higher than predicted (95 % CI 0.3# to 0.3#), by "
            f"1,960 ratings on 28 days, {ANSWERED.format('5,880')}. To look for better constants, {FIT}"
        ),
    ),
    "wider": (
        [70] * 28,
        {"theta": 0.5},
        (
            "The model is off: since # users disagree more than predicted, their variance is 1.# times the "
            f"predicted one (95 % CI 1.# to 1.#), by # ratings on # days, {ANSWERED.format('#')}. Theta is too "
            f"small: to look for a better one, {FIT}"
        ),
    ),
    "narrower": (
        [70] * 28,
        {"theta": 0.1},
        (
            "The model is off: since # users disagree less than predicted, their variance is 0.# times the "
            f"predicted one (95 % CI 0.# to 0.#), by # ratings on # days, {ANSWERED.format('#')}. Theta is too "
            f"large: to look for a better one, {FIT}"
        ),
    ),
    "stale": (
        [30] * 10 + [5] * 40,
        {},
        (
            "The model cannot be checked any more: no day of the last 30 had 20 ratings. Ask more users. Users "
            "rate # higher than predicted (95 % CI # lower to # higher), by 140 ratings on 28 days, "
            f"{ANSWERED.format(420)}."
        ),
    ),
}
"""Ratings of each day, their users, and the sentence, with # for a number."""


@pytest.mark.parametrize(("ratings", "users", "text"), SENTENCES.values(), ids=SENTENCES)
def test_each_state_has_its_sentence(ratings: list[int], users: dict[str, Any], text: str) -> None:
    found = sentence(feedback_of(ratings, **users), VIDEO, 0.95)
    assert re.fullmatch(re.escape(text).replace(r"\#", NUMBER), found), found


def without_ratings(asked: int, thumbs: int) -> str:
    """The sentence if so many were asked, and some of them gave a thumb."""
    thumb = (np.arange(asked) < thumbs).astype(np.int64)
    given = Answers(np.ones(asked, np.bool_), np.full(asked, np.nan), thumb, np.zeros((asked, 0)))
    days = {FIRST_DAY: sums_of(given, predicted(np.full(asked, 4.0), 0.3), VIDEO.scale)}
    return sentence(FeedbackReader(VIDEO, (), CheckRules(), 0.95).read(days, FIRST_DAY, FIRST_DAY), VIDEO, 0.95)


def test_without_ratings_it_says_who_was_asked_and_that_thumbs_are_no_ratings() -> None:
    asked = (
        "Nobody rated video in the last 28 days, although 340 users had been asked. How to ask: docs/feedback.md."
    )
    assert without_ratings(340, 0) == asked
    thumbs = "No ratings of video in the last 28 days, but 31 thumbs, which count for GoB only."
    assert without_ratings(340, 31) == thumbs


def test_differences_on_a_wide_scale_have_one_decimal_place() -> None:
    service = replace(WEB, scale=Scale(low=0, high=100, good=60, poor=40))
    found = sentence(feedback_of([70] * 28, service=service, shift=0.4), service, 0.99)
    assert re.search(r"rate \d\.\d higher than predicted \(99 % CI \d\.\d to 1?\d\.\d\), by", found), found
    assert "qoemon feedback fit web" in found


def test_a_bias_that_rounds_to_nothing_is_as_predicted() -> None:
    said = feedback_of([100] * 28)
    none = said.bias._replace(value=np.array(-0.004), lower=np.array(-0.044), upper=np.array(0.036))
    found = sentence(replace(said, bias=none), VIDEO, 0.95)
    assert found.startswith(
        "The model holds: users rate as predicted (95 % CI 0.04 lower to 0.04 higher), by 2,800"
    )

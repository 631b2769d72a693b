"""When the reports of a group are called doubtful, and with which words."""

from __future__ import annotations

import pytest

from qoemon.outputs.doubtful import QUESTIONS, Doubt, doubt
from qoemon.outputs.snapshot_json import DOUBT_KINDS


def test_every_kind_of_doubtful_reports_has_a_likely_cause() -> None:
    assert set(QUESTIONS) == set(DOUBT_KINDS)
    assert all(question.endswith("?") for question in QUESTIONS.values())


@pytest.mark.parametrize(
    ("reports", "doubtful", "mentioned"),
    [
        (0, 0, False),
        (4, 4, False),  # Too few: a laptop that woke up.
        (5, 5, True),  # A first test with one player.
        (100, 5, True),
        (101, 5, False),
        (10_000, 499, False),
        (10_000, 500, True),
    ],
)
def test_five_percent_and_five_reports_are_mentioned(reports: int, doubtful: int, mentioned: bool) -> None:
    assert (doubt(reports, {"position": doubtful}) is not None) is mentioned


@pytest.mark.parametrize(
    ("doubtful", "text"),
    [
        ({"milliseconds": 31}, "are impossible: milliseconds instead of seconds?"),
        ({"milliseconds": 20, "too_fast": 11}, "are impossible: milliseconds instead of seconds?"),
        ({"conflicting": 31}, "conflict: several players with one session id?"),
        ({"conflicting": 30, "stalled": 1}, "are impossible or conflict: several players with one session id?"),
        ({"of a newer version": 99, "stalled": 31}, "are impossible: is stalled never reset?"),
    ],
)
def test_the_text_names_what_is_wrong_and_the_cause_of_most(doubtful: dict[str, int], text: str) -> None:
    assert doubt(100, doubtful) == Doubt(0.31, 31, text)


def test_a_kind_of_a_newer_version_alone_is_not_mentioned() -> None:
    assert doubt(100, {"of a newer version": 99}) is None

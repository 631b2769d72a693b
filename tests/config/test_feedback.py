"""The section feedback: what the core takes of it, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from qoemon.config.config import load
from qoemon.config.plan import core_plan
from qoemon.config.yaml.errors import ConfigError
from qoemon.core.plan.plan import Feedback


def loaded(directory: Path, text: str) -> Feedback:
    file = directory / "qoemon.yaml"
    file.write_text(text, encoding="utf-8")
    return core_plan(load(file, {})).feedback


def test_without_the_section_ratings_count_for_five_minutes_and_no_score_is_taken() -> None:
    assert core_plan(load(None)).feedback == Feedback() == Feedback(within_s=300, scores=())


def test_the_core_takes_the_section_as_it_is(tmp_path: Path) -> None:
    assert loaded(tmp_path, "feedback: {within: 10m, scores: [face, voice]}") == Feedback(600, ("face", "voice"))


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        ("{within: 2h}", "feedback.within", "at most 1h"),
        ("{within: 0s}", "feedback.within", "above 0"),
        ("{scores: [face, face]}", "feedback.scores.1", "each name once"),
        ("{scores: [Face]}", "feedback.scores.0", "a name of lower-case letters"),
        ("{scores: face}", "feedback.scores", "list"),
    ],
)
def test_what_cannot_be_is_refused_with_its_key(text: str, key: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        loaded(tmp_path, f"feedback: {text}")
    [only] = raised.value.problems
    assert only.key.replace("[", ".").replace("]", "") == key
    assert expected in only.expected

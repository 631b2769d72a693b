"""The usual number of sessions, and falls below it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pytest

from qoemon.core.alerting.session_level import (
    DAY_S,
    HOLD_KNOWN_S,
    HOLD_S,
    LEAST,
    NEWEST,
    OLDEST,
    SessionLevels,
)
from qoemon.core.arrays import Arrays

MINUTE = 60
T0 = 19_700 * DAY_S
"""Midnight, where a day and a rating interval begin, s since the epoch."""


class Story:
    """One or several services, whose active sessions are told interval by interval."""

    def __init__(self, units: int = 1, begin_s: int = T0) -> None:
        self.levels, self.at_s = SessionLevels(MINUTE), begin_s
        self.levels.grow(units)

    def close(self, *sessions: int, silent: bool = False) -> None:
        self.at_s += MINUTE
        self.levels.close(np.array(sessions), np.full(len(sessions), silent), self.at_s)

    def closes(self, *intervals: int, silent: bool = False) -> None:
        for sessions in intervals:
            self.close(sessions, silent=silent)

    def fall(self, *sessions: int) -> tuple[list[float], list[float]]:
        fall, certain = self.levels.fall(np.array(sessions))
        return fall.round(3).tolist(), certain.round(3).tolist()

    @property
    def usual(self) -> list[int]:
        return self.levels.state["usual"].tolist()


def day(at: Callable[[int], int]) -> Iterable[int]:
    return (at(minute) for minute in range(24 * 60))


def test_the_usual_number_is_the_lower_median_of_some_minutes_ago() -> None:
    rng = np.random.default_rng(1)
    story, told = Story(), rng.integers(90, 110, 200).tolist()
    for number, sessions in enumerate(told):
        story.close(sessions)
        before = sorted(told[max(number - OLDEST, 0) : max(number - NEWEST + 1, 0)])
        assert story.usual == [before[(len(before) - 1) // 2] if len(before) >= LEAST else 0]


def test_a_fall_is_the_missing_share_of_the_usual_number() -> None:
    story = Story()
    story.closes(*[400] * 20)
    (fall,), (certain,) = story.fall(100)
    assert fall == 0.75
    assert 0 < certain < fall
    assert story.fall(400)[0] == [0.0]
    assert story.fall(600)[0] == [-0.5]


def test_before_the_usual_number_is_known_there_is_no_fall() -> None:
    story = Story()
    story.closes(*[400] * (NEWEST + LEAST - 1))
    assert np.isnan(story.fall(0)).all()
    story.close(400)
    assert story.fall(100)[0] == [0.75]


def test_of_few_sessions_a_large_fall_may_be_chance() -> None:
    few, many = Story(), Story()
    few.closes(*[12] * 20)
    many.closes(*[1200] * 20)
    assert few.fall(6)[0] == many.fall(600)[0] == [0.5]
    assert few.fall(6)[1][0] < 0 < many.fall(600)[1][0]


def test_what_varies_much_needs_a_larger_fall() -> None:
    rng = np.random.default_rng(2)
    calm, rough = Story(), Story()
    calm.closes(*[1000] * 1500)
    rough.closes(*(1000 * np.exp(0.25 * rng.standard_normal(1500))).astype(int).tolist())
    assert calm.fall(500)[1][0] > 0 > rough.fall(500)[1][0]


def test_the_number_expected_is_held_while_a_fall_lasts() -> None:
    story = Story()
    story.closes(*[400] * 20, *[150] * 60)
    assert story.usual == [400]
    assert story.fall(150)[0] == [0.625]
    story.closes(*[390] * 3)
    assert story.fall(390)[0][0] < 0.05


def test_a_lower_number_that_lasts_for_long_counts_as_usual() -> None:
    story = Story()
    story.closes(*[400] * 20, *[150] * (HOLD_S // MINUTE))
    assert story.fall(150)[0] == [0.625]
    story.closes(150, 150)
    assert story.fall(150)[0] == [0.0]


def test_a_silent_service_does_not_get_used_to_it() -> None:
    story = Story()
    story.closes(*[400] * 20)
    story.closes(*[0] * (2 * HOLD_KNOWN_S // MINUTE), silent=True)
    assert story.usual == [400]


def test_after_a_long_fall_the_first_recovered_minute_is_usual_again() -> None:
    story = Story()
    story.closes(*[400] * 20, *[100] * 60, 380, 380)
    assert story.usual == [380]


def test_a_slow_evening_is_no_fall_whatever_day_it_is() -> None:
    """Within some minutes a rhythm changes little: no day needs to be known before."""
    story = Story()
    for sessions in day(lambda minute: round(500 * np.exp(1.4 * np.cos(2 * np.pi * (minute - 1200) / 1440)))):
        story.close(sessions)
        fall = story.levels.fall(np.array([sessions]))[0][0]
        assert np.isnan(fall) or fall < 0.15


def evening(minute: int) -> int:
    """A show ends at 22:00, and half of the viewers leave."""
    return 1000 if minute < 22 * 60 else 450


def falls(story: Story, of_day: Callable[[int], int]) -> bool:
    """Whether a fall by more than 40 % is certain on any minute of the day."""
    found = False
    for sessions in day(of_day):
        story.close(sessions)
        fall, certain = story.levels.fall(np.array([sessions]))
        found |= bool(fall[0] >= 0.4 and certain[0] >= 0)
    return found


def test_what_fell_at_this_time_on_both_days_before_is_expected() -> None:
    story = Story()
    assert [falls(story, evening) for _ in range(4)] == [True, True, False, False]


def test_what_fell_at_this_time_a_week_before_is_expected() -> None:
    story = Story()
    found = [falls(story, evening if number % 7 == 2 else lambda _: 1000) for number in range(17)]
    assert [number for number, fell in enumerate(found) if fell] == [2]


def test_an_outage_of_yesterday_excuses_none_of_today() -> None:
    story = Story()
    calm = [falls(story, lambda _: 1000) for _ in range(2)]
    outage = [falls(story, lambda minute: 300 if 600 <= minute < 640 else 1000) for _ in range(2)]
    assert (calm, outage) == ([False, False], [True, True])


def test_the_days_before_only_lower_what_is_expected() -> None:
    """A morning without the usual rise, as on a holiday, is no fall."""
    story = Story()
    for _ in range(3):
        falls(story, lambda minute: 200 if minute < 480 else 1500)
    assert not falls(story, lambda _: 200)


def same(one: Arrays, other: Arrays) -> bool:
    return one.keys() == other.keys() and all(one[name].tobytes() == other[name].tobytes() for name in one)


@pytest.mark.parametrize("at", [3, 25, 90])
def test_services_are_independent_and_a_restart_changes_nothing(at: int) -> None:
    rng = np.random.default_rng(3)
    told = rng.poisson([[300, 40, 5]], (120, 3))
    told[60:, 0] //= 3
    whole, alone = Story(3), [Story() for _ in range(3)]
    for number, sessions in enumerate(told.tolist()):
        whole.close(*sessions)
        for story, one in zip(alone, sessions, strict=True):
            story.close(one)
        if number == at:
            state, whole.levels = whole.levels.dump(), SessionLevels(MINUTE)
            whole.levels.load(state)
    assert [story.levels.state[0] for story in alone] == list(whole.levels.state)
    assert same(whole.levels.dump(), whole.levels.dump())


def test_a_unit_that_is_forgotten_begins_from_scratch() -> None:
    story = Story(2)
    for _ in range(30):
        story.close(400, 400)
    story.levels.forget(np.array([0]))
    (gone, kept), _ = story.fall(100, 100)
    assert np.isnan(gone)
    assert kept == 0.75


@pytest.mark.parametrize("by", [-7 * MINUTE, 3 * MINUTE, 3600])
def test_after_a_step_of_the_clock_the_usual_number_is_the_same(by: int) -> None:
    told = np.random.default_rng(4).integers(90, 110, 60).tolist()
    one, other = Story(), Story()
    for number, sessions in enumerate(told):
        one.close(sessions)
        other.close(sessions)
        if number == 30:
            other.levels.shift(by)
            other.at_s += by
        assert one.usual == other.usual
    assert one.fall(50) == other.fall(50)


def test_a_dump_of_another_version_is_refused() -> None:
    state = SessionLevels(MINUTE).dump()
    with pytest.raises(ValueError, match="discard"):
        SessionLevels(3600).load(state)

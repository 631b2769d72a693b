"""Silence and falls, as far as the daemon has watched."""

from __future__ import annotations

import numpy as np
import pytest

from qoemon.core.alerting.presence import SETTLE, Presence, PresenceMonitor

T0 = 1_700_000_040
TICK, MINUTE = 10, 60


class Story:
    """A service whose reports are told tick by tick: heard in the last rating interval, and active sessions."""

    def __init__(self) -> None:
        self.monitor, self.at_s = PresenceMonitor(TICK, MINUTE, levels=True), T0

    def tick(self, heard: int, sessions: int | None = None, *, paused: bool = False) -> Presence:
        self.at_s += TICK
        active = np.array([heard if sessions is None else sessions])
        closes = self.at_s % MINUTE == 0
        return self.monitor.observe(active, np.array([heard]), self.at_s, closes=closes, paused=paused)

    def minutes(self, number: int, heard: int, *, paused: bool = False) -> Presence:
        return [self.tick(heard, paused=paused) for _ in range(6 * number)][-1]


def test_silence_begins_with_the_last_report() -> None:
    story = Story()
    heard = story.minutes(20, 300)
    assert (heard.silence_s[0], np.isnan(heard.since_s[0])) == (0, True)
    last_s = story.at_s
    silent = [story.tick(0) for _ in range(30)]
    # No report in the last minute: the last one arrived between the two ticks a minute ago.
    assert [each.since_s[0] for each in silent] == [last_s + TICK - MINUTE] * 30
    assert [each.silence_s[0] for each in silent] == list(range(60, 360, 10))
    assert silent[-1].usual[0] == 300
    assert story.tick(5).silence_s[0] == 0


def test_a_service_that_never_sent_a_report_is_not_silent() -> None:
    found = Story().minutes(20, 0)
    assert np.isnan([found.silence_s[0], found.since_s[0], found.fall[0]]).all()


def test_after_a_restart_silence_is_counted_from_there_but_its_age_is_true() -> None:
    story = Story()
    story.minutes(20, 300)
    state, last_s = story.monitor.dump(), story.at_s
    story.monitor = PresenceMonitor(TICK, MINUTE, levels=True)
    story.monitor.load(state)
    story.at_s += 600
    found = [story.tick(0) for _ in range(13)]
    assert found[0].since_s[0] == last_s + TICK - MINUTE
    assert found[0].silence_s[0] == TICK
    assert found[12].silence_s[0] == 120


def test_a_restart_at_once_changes_nothing() -> None:
    one, other = Story(), Story()
    for number in range(400):
        heard = 300 if number < 200 else 100
        found = [story.tick(heard) for story in (one, other)]
        assert str(found[0]) == str(found[1])
        if number in {50, 150, 210}:
            state, other.monitor = other.monitor.dump(), PresenceMonitor(TICK, MINUTE, levels=True)
            other.monitor.load(state)


@pytest.mark.parametrize("why", ["start", "gap", "paused"])
def test_while_sessions_return_after_an_interruption_no_fall_is_seen(why: str) -> None:
    story = Story()
    if why != "start":
        story.minutes(20, 300)
    if why == "gap":
        story.at_s += 120
    if why == "paused":
        story.minutes(2, 20, paused=True)
    found = [story.tick(20)]
    while not found[-1].settled:
        assert np.isnan(found[-1].fall[0])
        found.append(story.tick(20))
    assert 6 * SETTLE <= len(found) <= 6 * (SETTLE + 1)
    assert story.at_s % MINUTE == 0, "what is usual now is known as an interval closes"
    if why != "start":
        # What was usual before is still known: sessions that do not return are missed.
        assert story.minutes(1, 20).fall[0] > 0.9


@pytest.mark.parametrize("later_s", [0, 30])
def test_after_hours_the_number_from_before_is_not_what_is_usual(later_s: int) -> None:
    story = Story()
    story.minutes(60, 1000)
    story.at_s += 4 * 3600 + later_s
    falls = [story.tick(400).fall[0] for _ in range(120)]
    assert np.nanmax(falls) < 0.1


def test_the_end_of_the_fall_of_one_makes_nothing_old_of_others_recent() -> None:
    """One group falls, the daemon is away for two hours, and then there are half as many everywhere."""
    monitor, at_s = PresenceMonitor(TICK, MINUTE, levels=True), T0
    worst = np.zeros(3)
    for minutes, sessions in ((60, [1000, 1000, 1000]), (5, [300, 1000, 1000]), (30, [500, 500, 500])):
        for _ in range(6 * minutes):
            at_s += TICK
            active = np.array(sessions)
            found = monitor.observe(active, 6 * active, at_s, closes=at_s % MINUTE == 0)
            if sessions[1] == 500:
                worst = np.fmax(worst, found.certain)
        if minutes == 5:
            at_s += 7200
    assert worst[0] > 0, "it is judged by what was usual before its fall, until it has ended"
    assert (worst[1:] <= 0).all()


def test_a_silent_service_has_no_fall_as_it_has_silence() -> None:
    story = Story()
    story.minutes(20, 300)
    assert story.tick(10, 20).fall[0] > 0.9
    assert np.isnan(story.tick(0, 20).fall[0])


def test_units_that_are_forgotten_were_never_heard() -> None:
    story = Story()
    story.minutes(20, 300)
    story.monitor.forget(np.array([0, 7]))
    assert np.isnan(story.tick(0).silence_s[0])


def test_a_step_of_the_clock_changes_no_silence() -> None:
    story = Story()
    story.minutes(20, 300)
    before = story.minutes(2, 0)
    story.monitor.shift(-3600)
    story.at_s -= 3600
    after = story.tick(0)
    assert after.silence_s[0] == before.silence_s[0] + TICK
    assert after.since_s[0] == before.since_s[0] - 3600
    assert after.settled

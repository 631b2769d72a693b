"""Whether a backlog without timestamps has arrived: then what happened earlier would count as the present."""

from __future__ import annotations

import json

import pytest

from qoemon.core.counting.backlog import Backlog
from qoemon.core.counting.counts import Event
from tests.support.core import T0

TICK_S, INTERVAL_S = 10, 60
Ticks = list[tuple[int, int]]
"""Reports of each tick, and those of them without ts."""


class Feed:
    """The reports of ticks that end one after the other."""

    def __init__(self) -> None:
        self.backlog = Backlog(TICK_S, INTERVAL_S)
        self._time_s, self._reports, self._undated = T0, 0, 0

    def hear(self, ticks: Ticks, *, restart: bool = False) -> list[bool]:
        """Whether a backlog has arrived, tick by tick."""
        told = []
        for reports, undated in ticks:
            self._time_s, self._reports = self._time_s + TICK_S, self._reports + reports
            self._undated += undated
            events = {Event.REPORT: self._reports, Event.UNDATED: self._undated}
            told.append(self.backlog.observe(self._time_s, events))
            if restart:
                state = json.loads(json.dumps(self.backlog.dump()))
                self.backlog = Backlog(TICK_S, INTERVAL_S)
                self.backlog.load(state)
        return told

    def wait(self, seconds: int) -> None:
        """Move the clock, without a tick."""
        self._time_s += seconds


USUAL: Ticks = [(100, 100)] * 20
SILENT: Ticks = [(0, 0)] * 24


@pytest.mark.parametrize("restart", [False, True])
def test_after_a_silence_many_reports_at_once_are_a_backlog_for_a_rating_interval(*, restart: bool) -> None:
    """Case 8: four minutes of reports without ts come in a tick, then all is as usual."""
    feed = Feed()
    assert not any(feed.hear(USUAL + SILENT, restart=restart))
    told = feed.hear([(2500, 2500), *[(100, 100)] * 10], restart=restart)
    assert told == [True] * 6 + [False] * 5


def test_a_backlog_that_takes_several_ticks_counts_from_its_first() -> None:
    feed = Feed()
    feed.hear(USUAL + SILENT)
    assert feed.hear([(1000, 1000), (1000, 1000), (500, 500), *[(100, 100)] * 6])[:6] == [True] * 6


def test_with_timestamps_there_is_no_backlog() -> None:
    """They place the reports. Half of them is enough."""
    feed = Feed()
    feed.hear(USUAL + SILENT)
    assert not any(feed.hear([(2500, 1250), *USUAL]))


def test_a_daemon_that_was_down_finds_the_backlog_in_its_first_tick() -> None:
    """No tick was observed while it was down."""
    feed = Feed()
    feed.hear(USUAL)
    feed.wait(240)
    assert feed.hear([(2500, 2500)]) == [True]


QUIET = {
    "as usual": [*USUAL, (250, 250), (90, 90)],
    "a burst without a silence": [*USUAL, (5000, 5000), (100, 100)],
    "a tick without reports is jitter": [*USUAL, (0, 0), (200, 200), (100, 100)],
    "after a silence, no more than usual": [*USUAL, *SILENT, (100, 100), (100, 100)],
    "nothing at all": [(0, 0)] * 40,
    "the first reports there are": [(0, 0), (0, 0), (0, 0), (500, 500), (500, 500)],
}


@pytest.mark.parametrize("name", QUIET)
def test_what_is_no_backlog(name: str) -> None:
    assert not any(Feed().hear(QUIET[name]))


def test_it_moves_with_the_clock() -> None:
    feed = Feed()
    feed.hear(USUAL + SILENT)
    assert feed.hear([(2500, 2500)]) == [True]
    feed.backlog.shift(3600)
    feed.wait(3600)
    assert feed.hear([(100, 100)] * 8) == [True] * 5 + [False] * 3

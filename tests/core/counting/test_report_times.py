"""The time at which a report counts: by its ts corrected by its client's delay, by its arrival, or by its ts."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from qoemon.core.counting.counts import Event
from qoemon.core.counting.report_times import ReportTimes
from qoemon.core.counting.session_table import SessionTable
from qoemon.core.plan.plan import Clock, Plan, Service, Timing
from qoemon.core.wire.batch import batch_of
from qoemon.core.wire.report import ABSENT_FLOAT, Report, Route
from tests.support.core import T0, VIDEO, WEB, OneShard, base, levels, plan
from tests.support.oracle import level_of

EU = ("eu",)
YEAR_S = 365 * 86_400
HORIZON_S = 600
"""The longest window."""


class Client:
    """One session's reports; times are seconds after T0."""

    def __init__(self, clock: Clock = Clock.AUTO) -> None:
        self._timing = Timing(windows_s=(60, HORIZON_S), clock=clock)
        self.table = SessionTable(10)
        self.times = ReportTimes(self.table, self._timing)
        self.row = self.table.find_or_create(["s"])

    def hear(self, ts: float | None, arrival_s: float) -> float:
        """When a report counts."""
        ts_s = np.array([ABSENT_FLOAT if ts is None else T0 + ts])
        at_s, _ = self.times.place(self.row, ts_s, np.array([T0 + arrival_s]))
        self.table.hear(self.row, at_s, np.zeros(1, np.bool_), np.zeros(1, np.int64))
        return float(at_s[0]) - T0

    def restart(self) -> None:
        table, times = self.table.dump(), self.times.dump()
        self.table = SessionTable(10)
        rows = self.table.load(table)
        self.times = ReportTimes(self.table, self._timing)
        self.times.load(times, rows)
        self.row = self.table.find_or_create(["s"])


def heard(*reports: tuple[float | None, float], clock: Clock = Clock.AUTO, restart: bool = False) -> list[float]:
    """When reports of one session count, by their ts and arrival."""
    client = Client(clock)
    times = []
    for ts, arrival_s in reports:
        times.append(client.hear(ts, arrival_s))
        if restart:
            client.restart()
    return times


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("wrong_s", [-60 * YEAR_S // 2, -YEAR_S, -3600, 3600, YEAR_S, 50 * YEAR_S])
def test_a_clock_that_is_wrong_by_years_places_reports_as_one_that_is_right(
    wrong_s: float, *, restart: bool
) -> None:
    """The least difference was that of the first report; the others arrived later than they were sent."""
    told = [(0, 0), (10, 10.3), (20, 25), (30, 30.1)]
    times = heard(*((ts + wrong_s, arrival_s) for ts, arrival_s in told), restart=restart)
    assert times == pytest.approx([0, 10, 20, 30], abs=1e-3)


def test_without_ts_a_report_counts_at_its_arrival() -> None:
    assert heard((None, 3), (None, 12)) == [3, 12]
    assert heard((0, 1), (None, 12), (20, 21)) == pytest.approx([0, 12, 21])


def test_no_report_counts_after_its_arrival() -> None:
    """A clock that is fast: the first report seems to be of the future."""
    assert heard((40, 0), (50, 10)) == pytest.approx([0, 10])
    assert heard((5, 5), (90, 15)) == pytest.approx([5, 15])


@pytest.mark.parametrize("restart", [False, True])
def test_a_backlog_of_a_known_session_counts_at_the_times_of_its_reports(*, restart: bool) -> None:
    """Its clock is an hour slow. Four minutes of reports come at once after an outage, then it goes on."""
    told = [(at_s - 3600, at_s) for at_s in (0, 30)]
    told += [(at_s - 3600, 300) for at_s in range(60, 300, 30)]
    told += [(at_s - 3600, at_s) for at_s in (300, 330)]
    assert heard(*told, restart=restart) == pytest.approx(list(range(0, 331, 30)))


@pytest.mark.parametrize("restart", [False, True])
def test_a_backlog_of_a_new_session_counts_at_the_times_of_its_reports(*, restart: bool) -> None:
    """Case 7: the daemon was down, and a session began meanwhile. Its clock is right, as the last report shows."""
    told = [(at_s, 300.0) for at_s in range(60, 300, 30)] + [(300, 300), (330, 330)]
    assert heard(*told, restart=restart) == pytest.approx(list(range(60, 331, 30)))


def test_a_single_report_of_the_past_counts_then_within_the_longest_window() -> None:
    """An earlier one can be in no window, so its clock is taken to be wrong."""
    assert heard((-HORIZON_S, 0)) == [-HORIZON_S]
    assert heard((-HORIZON_S - 1, 0)) == pytest.approx([0])


@pytest.mark.parametrize("restart", [False, True])
def test_a_delay_that_stays_belongs_to_the_clock(*, restart: bool) -> None:
    """A clock that is 100 s slow: after its second report that is known, and the time of its first moves along."""
    client = Client()
    assert client.hear(-100, 0) == -100
    if restart:
        client.restart()
    assert client.hear(-90, 10) == pytest.approx(10)
    assert client.hear(-80, 20.5) == pytest.approx(20)
    # The gap between the reports is the 10 s of their ts.
    assert client.table.pause_s[client.row].tolist() == [10]


def test_a_delay_that_shrinks_while_ts_grows_belongs_to_a_backlog() -> None:
    """Reports of 10 s each come within a second, so the delay shrinks by as much as ts grows."""
    client = Client()
    for number in range(5):
        assert client.hear(10 * number, 200 + number / 5) == pytest.approx(10 * number)
    assert client.hear(200, 200.9) == pytest.approx(200)


def test_by_arrival_and_by_ts_no_clock_is_estimated() -> None:
    told = [(-100, 0), (-90, 10), (50, 20), (None, 30)]
    assert heard(*told, clock=Clock.ARRIVAL) == [0, 10, 20, 30]
    assert heard(*told, clock=Clock.REPORT) == [-100, -90, 20, 30]


def test_a_row_that_is_used_again_has_no_clock_of_the_former_session() -> None:
    client = Client()
    for at_s in (0, 10):
        client.hear(at_s - YEAR_S, at_s)
    client.times.remove(client.row)
    client.table.remove(client.row)
    client.row = client.table.find_or_create(["t"])
    assert client.hear(15, 20) == 15


class Feed:
    """Reports to a whole shard; ts and arrival are seconds after T0."""

    def __init__(self, service: Service = VIDEO, told: Plan | None = None) -> None:
        self.service, self._plan = service, told or plan(service, timing={"clock": Clock.AUTO})
        self.monitor = OneShard(self._plan)

    def say(self, arrival_s: float, *, ts: float | None = None, **fields: Any) -> None:
        report = Report(**{"session": "s", **fields, **({} if ts is None else {"ts": T0 + ts})})
        batch, bad = batch_of([report], [0], [T0 + arrival_s], [Route(self.service.name, EU)])
        assert not len(bad)
        self.monitor.apply(batch, T0 + arrival_s)

    def count(self, arrival_s: float, stalls: int, stall_s: float, play_s: float, **more: Any) -> None:
        self.say(arrival_s, stall_count=stalls, stall_s=stall_s, play_s=play_s, **more)

    def restart(self) -> None:
        state = {name: array.copy() for name, array in self.monitor.dump().items()}
        self.monitor = OneShard(self._plan)
        self.monitor.load(state)

    def rated(self, at_s: float, window_s: int = 60) -> Counter:
        return levels(self.monitor.counts(T0 + at_s)[0], window_s)


def test_auto_is_the_default() -> None:
    assert Timing().clock is Clock.AUTO


@pytest.mark.parametrize("wrong_s", [0, -100, -3 * YEAR_S, 3 * YEAR_S])
def test_a_wrong_clock_changes_no_count(wrong_s: float) -> None:
    """Also where it is within the longest window: after the second report it is known."""
    right, wrong = Feed(), Feed()
    for number in range(20):
        told = (10 * number + 1, number, 2 * number, 8 * number)
        right.count(*told, ts=told[0], seq=number)
        wrong.count(*told, ts=told[0] + wrong_s, seq=number)
    for window_s in (60, 300, 600):
        assert wrong.rated(240, window_s) == right.rated(240, window_s)
    assert right.rated(240, 300)[EU, level_of(1, 2_000, 8_000)] == 4


def test_a_clock_that_jumps_as_far_as_the_wire_allows_overflows_nothing() -> None:
    """A warning of numpy is an error here; in the daemon it would be a line on standard error."""
    feed = Feed()
    for number, ts in enumerate((1.0, 1e308, 2.0)):
        feed.say(5 * number + 1, ts=ts, seq=number, play_s=4.0 * number)
    assert feed.monitor.events[Event.REPORT] == 3


@pytest.mark.parametrize("restart", [False, True])
def test_pages_that_the_broker_kept_count_in_the_windows_of_then(*, restart: bool) -> None:
    """Case 7: the daemon was down; 180 pages of 30 s of four minutes ago come now, then good ones."""
    feed = Feed(WEB)
    for number in range(180):
        feed.say(300 + number / 1000, ts=30 + number / 10, session=f"b{number}", response_s=30.0)
    if restart:
        feed.restart()
    for number in range(100):
        feed.say(301 + number / 10, ts=301 + number / 10, session=f"g{number}", response_s=0.1)
    assert feed.rated(320).total() == 100
    # By then the sessions of the backlog have timed out by their ts. They are users all the same, and not these.
    for number in range(100):
        feed.say(350 + number / 20, ts=350 + number / 20, session=f"h{number}", response_s=0.1)
    (tally,) = feed.monitor.counts(T0 + 360)
    assert (tally.windows[60].sum(), tally.windows[600].sum(), tally.users[600].tolist()) == (200, 380, [380])
    # At 360 s the 5 minutes are those from 60 s on.
    assert (tally.windows[300].sum(), tally.users[300].tolist()) == (200, [200])
    assert tally.expected_ratings.sum() == pytest.approx(380)
    assert feed.monitor.events[Event.LATE] == 180


@pytest.mark.parametrize("restart", [False, True])
def test_a_backlog_of_a_viewer_counts_where_it_belongs(*, restart: bool) -> None:
    """As if its reports had arrived when they were sent, once the interval has closed."""
    prompt, late = Feed(), Feed()
    for number in range(30):
        at_s = 10 * number + 9.99
        told = (number, 3 * number, 7 * number) if number < 20 else (19, 57, 10 * number - 57)
        prompt.count(at_s, *told, ts=at_s - YEAR_S, seq=number)
        # Between 60 s and 240 s nothing arrives.
        late.count(240 if 60 <= at_s < 240 else at_s, *told, ts=at_s - YEAR_S, seq=number)
        if restart:
            late.restart()
    for window_s in (60, 300, 600):
        assert late.rated(360, window_s) == prompt.rated(360, window_s)
    ours, theirs = late.monitor.counts(T0 + 360)[0], prompt.monitor.counts(T0 + 360)[0]
    assert np.allclose(ours.expected_ratings, theirs.expected_ratings)
    assert {window_s: users.tolist() for window_s, users in ours.users.items()} == {
        window_s: users.tolist() for window_s, users in theirs.users.items()
    }


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize(("at", "by_s"), [(6, 3600), (6, 200), (1, 3600), (1, 200)])
def test_a_clock_that_is_set_back_counts_from_its_arrival_on(at: int, by_s: float, *, restart: bool) -> None:
    """Its seq and counters go on, so it is the same run; its differences are right again with the next report."""
    feed = Feed()
    for number in range(12):
        at_s = 10 * number + 5
        feed.count(at_s, 0, 0, 10 * number, ts=at_s - (by_s if number >= at else 0), seq=number)
        if restart:
            feed.restart()
    assert base(feed.monitor, T0 + 120) == Counter({(EU, 0, 0): 1})
    (tally,) = feed.monitor.counts(T0 + 120)
    assert tally.active_sessions.tolist() == [1]
    assert feed.rated(120, 300).total() == 2
    events = Counter(feed.monitor.events)
    assert (events[Event.LATE], events[Event.RESET], events[Event.DUPLICATE]) == (0, 0, 0)
    assert not any(number for event, number in events.items() if "implausible" in event)


@pytest.mark.parametrize("factor", [1e3, 1e9])
def test_a_time_in_milliseconds_is_none_and_changes_no_count(factor: float) -> None:
    """Its differences would be a thousand times too long, so that hardly anything fell into the windows."""
    right, wrong = Feed(), Feed()
    for number in range(40):
        told = (10 * number + 1, number // 2, number, 8 * number)
        right.count(*told, seq=number)
        wrong.count(*told, ts=(T0 + told[0]) * factor - T0, seq=number)
    for window_s in (60, 300):
        assert wrong.rated(400, window_s) == right.rated(400, window_s)
    assert wrong.monitor.events == right.monitor.events
    assert wrong.monitor.events[Event.UNDATED] == 40


@pytest.mark.parametrize("by_s", [4_000, -4_000])
@pytest.mark.parametrize("restart", [False, True])
def test_a_report_that_does_not_count_moves_no_clock(by_s: float, *, restart: bool) -> None:
    """Sent again after the device's clock was set: its session would expire, and another get its measurements."""
    feed = Feed(WEB)
    feed.say(2, ts=2, seq=1, response_s=9.0)
    feed.say(3, ts=3 + by_s, seq=1, response_s=9.0)
    assert feed.monitor.events[Event.DUPLICATE] == 1
    feed.monitor.counts(T0 + 10)
    if restart:
        feed.restart()
    feed.say(12, ts=12, seq=1, response_s=1.0, session="other")
    (tally,) = feed.monitor.counts(T0 + 20)
    assert (tally.users[60].tolist(), tally.active_sessions.tolist()) == ([2], [2])
    assert tally.squares[60].tolist() == [2]


@pytest.mark.parametrize("by_s", [3_600, -3_600])
@pytest.mark.parametrize("seq", [False, True])
def test_a_step_of_our_own_clock_changes_no_count_of_clients_with_theirs(by_s: int, *, seq: bool) -> None:
    """It is no delay of their reports."""
    undisturbed, shifted, moved_s = Feed(), Feed(), 0
    for number in range(40):
        at_s = 10 * number + 5
        more = {"seq": number} if seq else {}
        if number == 20:
            moved_s = by_s
            shifted.monitor.shift(by_s)
        undisturbed.count(at_s, number // 2, number, 8 * number, ts=at_s, **more)
        shifted.count(at_s + moved_s, number // 2, number, 8 * number, ts=at_s, **more)
    for window_s in (60, 300):
        assert shifted.rated(400 + by_s, window_s) == undisturbed.rated(400, window_s)
    assert shifted.monitor.events == undisturbed.monitor.events


def test_a_new_run_has_the_clock_of_the_run_before() -> None:
    """Its clock is 100 s slow, which is known: its first report is not taken for one of the past."""
    feed = Feed()
    for number in range(3):
        feed.count(10 * number + 5, 0, 0, 10 * number, ts=10 * number - 95, seq=number)
    feed.count(55, 1, 5, 10, ts=-45, seq=0)
    assert feed.monitor.events[Event.RESET] == 1
    assert feed.rated(60) == Counter({(EU, level_of(0, 0, 1)): 1, (EU, level_of(1, 5_000, 10_000)): 1})
    # The next one is 20 s late, so it is of 65 s.
    feed.count(85, 1, 5, 20, ts=-35, seq=1)
    assert feed.rated(130) == Counter()

"""The state of groups and services, through the whole evaluation: from reports to what is shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from qoemon.core.alerting.decision import AlertState, Reason
from qoemon.core.alerting.detector import Detections
from qoemon.core.alerting.regime import RegimeRules
from qoemon.core.alerting.rule import AlertMetric, Rule
from qoemon.core.alerting.state import GroupState, State
from qoemon.core.counting.monitor import Monitor
from qoemon.core.evaluation import Tick
from qoemon.outputs.snapshot_json import snapshot_document
from qoemon.outputs.state_document import state_document
from tests.core.alerting.test_alerts import DELTAS, EU, RULE
from tests.support.core import T0, WEB, OneShard, batch, plan, shard_counts
from tests.support.oracle import Said

ABSENT = Rule("Absent", "video", AlertMetric.ABSENT, 60, 120, 0, {}, by=(), min_sessions=30, severity="critical")
DROP = Rule("Drop", "video", AlertMetric.DROP, 60, 0.4, 0.25, {}, by=(), for_s=60, min_sessions=50)
WHOLE = ()
QUICK = RegimeRules(min_sessions=30, dwell=1)


class Daemon:
    """Viewers of some regions, tick by tick; each reports every 10 s."""

    def __init__(self, *rules: Rule) -> None:
        self._plan, self._rules = plan(DELTAS, WEB), rules
        self._whole = OneShard(self._plan, rules, QUICK)
        self.at_s = T0

    def tick(self, *, connected: bool = True, **crowds: tuple[int, int]) -> Tick:
        """The next tick; by region, how many sessions play well and how many badly."""
        said = [
            self._said(f"{region} {number}", region, bad=number >= good)
            for region, (good, bad) in crowds.items()
            for number in range(good + bad)
        ]
        if said:
            self._whole.apply(batch(said), self.at_s)
        self.at_s += 10
        counts = shard_counts(self._whole.monitor, self.at_s, 10)
        return self._whole.evaluation.tick([counts], connected=connected)

    def ticks(self, number: int, **more: Any) -> list[Tick]:
        return [self.tick(**more) for _ in range(number)]

    def lose(self) -> None:
        """Lose all sessions, as a worker that cannot read its state."""
        self._whole.monitor = Monitor(self._plan)
        self._whole.evaluation.lose(0)

    def restart(self, *, after_s: int = 0) -> None:
        """End, and begin with the stored state some time later."""
        state = self._whole.dump()
        self._whole = OneShard(self._plan, self._rules, QUICK)
        self._whole.load(state)
        self.at_s += after_s

    def _said(self, session: str, region: str, *, bad: bool) -> Said:
        stalled = {"stalls": 2, "stall_ms": 5_000} if bad else {"stalls": 0, "stall_ms": 0}
        return Said(session, self.at_s * 1000, (region,), play_ms=10_000 - 5_000 * bad, **stalled)


def state(tick: Tick, group: tuple[str, ...] | None = EU, service: str = "video") -> GroupState:
    """The state of a group, or of the whole service."""
    found = tick.detections.states[service]
    if group is None:
        return found.whole
    counts = next(each.counts for each in tick.snapshot.services if each.service.name == service)
    return found.groups[counts.groups.index(group)]


def words(tick: Tick, group: tuple[str, ...] | None = EU) -> str:
    document = state_document(state(tick, group), tick.snapshot.time_s)
    assert document is not None
    return document["words"]


def alert(detections: Detections, name: str) -> Any:
    (found,) = (each for each in detections.alerts if each.rule.name == name)
    return found


def firing(ticks: list[Tick]) -> set[str]:
    return {each.rule.name for tick in ticks for each in tick.detections.alerts if each.firing}


def test_a_new_group_learns_and_then_has_its_regime() -> None:
    daemon = Daemon()
    learning = [words(tick) for tick in daemon.ticks(45, eu=(60, 0))]
    assert list(dict.fromkeys(learning)) == [f"learning {have} of 8" for have in range(8)]
    last = daemon.ticks(9, eu=(60, 0))[-1]
    assert (state(last).state, state(last, None).state) == (State.GOOD, State.GOOD)
    assert words(last).startswith("good for ")


def test_a_small_group_does_not_learn_it_has_too_few_users() -> None:
    daemon = Daemon()
    assert {words(tick) for tick in daemon.ticks(80, eu=(12, 0))[6:]} == {"too few users (12 of 30)"}


def test_a_firing_alert_is_never_shown_as_good() -> None:
    """The regime follows the level over some intervals; the alert does not wait for it."""
    daemon = Daemon(RULE)
    good = daemon.ticks(60, eu=(60, 0))[-1]
    bad = daemon.ticks(30, eu=(0, 60))
    fired = [tick for tick in bad if alert(tick.detections, "ManyPoor").firing]
    assert state(good).state is State.GOOD
    assert {state(tick).state for tick in fired} == {State.ALERT} == {state(tick, None).state for tick in fired}
    assert len(fired) > 20
    assert words(fired[6]) == "alert ManyPoor for 1m"


def test_silence_comes_before_everything_with_its_age() -> None:
    daemon = Daemon(RULE)
    daemon.ticks(20, eu=(0, 60), us=(60, 0))
    silent = daemon.ticks(21, us=(60, 0))
    assert {state(tick).state for tick in silent[:6]} >= {State.ALERT}
    assert {state(tick).state for tick in silent[6:]} == {State.NO_DATA}
    assert words(silent[14]) == "no data for 2m30s, alert ManyPoor"
    assert words(silent[14], ("us",)).startswith("learning")
    assert alert_of_eu(silent[14]).silent_s == silent[14].snapshot.time_s - 150


def alert_of_eu(tick: Tick) -> Any:
    return next(each for each in tick.detections.alerts if each.group == EU)


def test_a_service_that_falls_silent_has_no_data_and_one_that_never_spoke_none_yet() -> None:
    daemon = Daemon()
    daemon.ticks(20, eu=(60, 0))
    last = daemon.ticks(15)[-1]
    document = snapshot_document(*last)
    video, web = document["services"]
    assert video["state"] == {
        "state": "no_data",
        "words": "no data for 2m30s",
        "since_s": last.snapshot.time_s - 150,
        "age_s": 150,
    }
    assert web["state"]["words"] == "no data yet"
    assert [group["state"]["words"] for group in video["groups"]] == ["no data for 2m30s"]


def test_of_several_groups_the_service_has_the_most_urgent_state() -> None:
    daemon = Daemon(replace(RULE, groups={"region": ["us"]}))
    last = daemon.ticks(80, eu=(60, 0), us=(0, 60), asia=(5, 0))[-1]
    assert [state(last, group).state for group in (EU, ("us",), ("asia",))] == [
        State.GOOD,
        State.ALERT,
        State.TOO_FEW_USERS,
    ]
    assert state(last, None).state is State.ALERT
    quiet = Daemon().ticks(1, eu=(60, 0))[-1]
    assert state(quiet, None).state is State.LEARNING


def test_an_outage_in_which_no_player_reaches_the_broker_fires_absent_until_reports_arrive() -> None:
    daemon = Daemon(ABSENT, DROP)
    calm = daemon.ticks(100, eu=(40, 0), us=(60, 0))
    assert firing(calm) == set()
    silent = daemon.ticks(40)
    fired = [tick for tick in silent if alert(tick.detections, "Absent").firing]
    assert firing(silent) == {"Absent"}
    first = alert(fired[0].detections, "Absent")
    assert (first.decision.reason, first.group, first.sample.value, first.sample.users) == (
        Reason.PAST_THRESHOLD,
        WHOLE,
        120,
        100,
    )
    assert fired[0].snapshot.time_s - calm[-1].snapshot.time_s == 120
    back = alert(daemon.tick(eu=(3, 0)).detections, "Absent")
    assert (back.decision.reason, back.ended) == (Reason.RECOVERED, True)


def test_absent_is_not_about_a_handful_of_sessions() -> None:
    daemon = Daemon(ABSENT)
    daemon.ticks(100, eu=(29, 0))
    reasons = [alert(tick.detections, "Absent").decision.reason for tick in daemon.ticks(40)]
    assert set(reasons) == {Reason.TOO_FEW_SESSIONS}


def test_half_of_the_sessions_gone_is_a_drop_until_they_are_back() -> None:
    daemon = Daemon(ABSENT, DROP)
    daemon.ticks(100, eu=(100, 0), us=(100, 0))
    half = daemon.ticks(60, eu=(100, 0))
    fired = [alert(tick.detections, "Drop") for tick in half]
    assert firing(half) == {"Drop"}
    assert fired[-1].firing
    assert (fired[-1].sample.value, fired[-1].sample.users) == (0.5, 200)
    back = [alert(tick.detections, "Drop") for tick in daemon.ticks(12, eu=(100, 0), us=(100, 0))]
    assert Reason.RECOVERED in {each.decision.reason for each in back}


def test_after_a_restart_of_the_daemon_nothing_is_absent_or_dropped_at_once() -> None:
    """It was down for 2 minutes, and takes another one to be connected; then sessions return one by one."""
    daemon = Daemon(ABSENT, DROP)
    daemon.ticks(100, eu=(100, 0))
    daemon.restart(after_s=120)
    after = daemon.ticks(6, connected=False)
    after += [tick for sessions in range(10, 100, 10) for tick in daemon.ticks(2, eu=(sessions, 0))]
    after += daemon.ticks(60, eu=(100, 0))
    assert firing(after) == set()


def test_without_a_connection_to_the_broker_absent_fires_and_says_so() -> None:
    daemon = Daemon(ABSENT, DROP)
    daemon.ticks(100, eu=(100, 0))
    away = daemon.ticks(30, connected=False)
    assert firing(away) == {"Absent"}
    last = away[-1].detections
    assert alert(last, "Absent").decision.reason is Reason.NOT_CONNECTED
    assert alert(last, "Drop").decision.reason is Reason.NOT_CONNECTED
    assert alert(last, "Drop").decision.state is AlertState.UNCERTAIN
    assert last.presence["video"].disconnected_s == away[0].snapshot.time_s
    assert words(away[-1]) == "no data for 5m, not connected to the broker"
    assert words(away[-1], None) == "no data for 5m, not connected to the broker, alert Absent"
    back = [tick for sessions in range(10, 100, 10) for tick in daemon.ticks(2, eu=(sessions, 0))]
    back += daemon.ticks(60, eu=(100, 0))
    assert firing(back) == set()


def test_sessions_that_a_worker_has_lost_are_no_drop_while_they_return() -> None:
    daemon = Daemon(ABSENT, DROP)
    daemon.ticks(100, eu=(100, 0))
    daemon.lose()
    after = [tick for sessions in range(5, 100, 10) for tick in daemon.ticks(2, eu=(sessions, 0))]
    after += daemon.ticks(60, eu=(100, 0))
    assert firing(after) == set()
    states = {alert(tick.detections, "Drop").decision.reason for tick in after}
    assert Reason.STARTING in states


def test_a_group_has_its_own_alerts_on_missing_sessions() -> None:
    groups = replace(ABSENT, by=None, groups={"region": ["eu"]}), replace(DROP, by=None)
    daemon = Daemon(*groups)
    daemon.ticks(100, eu=(100, 0), us=(100, 0), asia=(100, 0))
    after = daemon.ticks(60, asia=(40, 0))
    alerts = {(each.rule.name, each.group) for each in after[-1].detections.alerts if each.firing}
    # A silent group is absent, if a rule asks for it, and has not dropped.
    assert alerts == {("Absent", EU), ("Drop", ("asia",))}


RESTARTS: Mapping[str, int] = {"calm": 70, "falling": 103, "silent": 140}


@pytest.mark.parametrize("when", RESTARTS)
def test_a_restart_at_once_changes_no_state_and_no_alert(when: str) -> None:
    def story(at: int | None) -> Iterator[tuple[Any, ...]]:
        daemon = Daemon(ABSENT, DROP, RULE, replace(DROP, name="Groups", by=None))
        crowds = [{"eu": (60, 0), "us": (80, 0)}] * 100 + [{"eu": (10, 0), "us": (0, 20)}] * 30 + [{}] * 60
        for number, crowd in enumerate(crowds):
            if number == at:
                daemon.restart()
            tick = daemon.tick(**crowd)
            yield tick.detections.states, tick.detections.alerts

    whole = list(story(None))
    assert list(story(RESTARTS[when])) == whole

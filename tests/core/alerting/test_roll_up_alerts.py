"""Alerts on sums of groups: 500 groups that are too small by themselves, and one CDN hit in all of them."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from qoemon.core.alerting.alerts import Alert, Alerts
from qoemon.core.alerting.decision import AlertState, Reason
from qoemon.core.alerting.regime import Regime
from qoemon.core.evaluation import Tick
from qoemon.core.plan.roll_up import RollUpKey
from tests.support.cube import PLAN, REGIONS, Cube, many_poor, nobody

SEVEN = {"cdn": "cdn-07"}


def seven(region: str, cdn: str) -> bool:
    return cdn == "cdn-07"


def firing(tick: Tick) -> list[Alert]:
    return [alert for alert in tick.detections.alerts if alert.firing]


def test_a_cdn_that_stalls_everywhere_fires_in_its_sum_alone() -> None:
    """Each of its 25 groups has six viewers, too few for any rule; together they are 150."""
    cube = Cube(many_poor(by=("cdn",)))
    assert not firing(cube.minute(nobody))
    (alert,) = firing(cube.minute(seven))
    assert alert.labels == SEVEN
    assert alert.sample is not None
    assert alert.sample.users == 150
    assert alert.sample.confident_value > 0.6
    assert not firing(Cube(many_poor(by=None)).minute(seven))


def test_the_whole_service_is_one_sum_with_one_alert() -> None:
    cube = Cube(many_poor(by=()))
    cube.minute(nobody)
    (alert,) = cube.minute(seven).detections.alerts
    assert (alert.labels, alert.decision.reason) == ({}, Reason.NOT_PAST_THRESHOLD)
    (alert,) = firing(cube.minute(lambda region, cdn: True))
    assert alert.labels == {}
    assert alert.sample is not None
    assert alert.sample.users == 3000


def test_the_rule_selects_groups_before_it_sums_them() -> None:
    some = REGIONS[:10]
    cube = Cube(many_poor(by=("cdn",), groups={"region": some}))
    (alert,) = firing(cube.minute(lambda region, cdn: cdn == "cdn-07" and region in some))
    assert (alert.labels, alert.sample and alert.sample.users) == (SEVEN, 60)
    others = Cube(many_poor(by=("cdn",), groups={"region": some}))
    assert not firing(others.minute(lambda region, cdn: cdn == "cdn-07" and region not in some))


def test_the_rule_selects_sums_by_their_own_labels() -> None:
    cube = Cube(many_poor(by=("cdn",), groups={"cdn": ["cdn-07", "cdn-08"]}))
    tick = cube.minute(lambda region, cdn: True)
    assert [alert.labels["cdn"] for alert in firing(tick)] == ["cdn-07", "cdn-08"]
    assert len(tick.detections.alerts) == 2


def test_least_sessions_are_those_of_the_sum() -> None:
    (alert,) = firing(Cube(many_poor(by=("cdn",), min_sessions=150)).minute(seven))
    assert alert.labels == SEVEN
    reasons = {
        alert.labels["cdn"]: alert.decision.reason
        for alert in Cube(many_poor(by=("cdn",), min_sessions=151)).minute(seven).detections.alerts
    }
    assert reasons["cdn-07"] is Reason.TOO_FEW_SESSIONS


@pytest.mark.parametrize(
    ("groups", "state", "reason"),
    [(10, AlertState.FIRING, Reason.PAST_THRESHOLD), (15, AlertState.UNCERTAIN, Reason.FEED)],
)
def test_the_feed_of_a_sum_is_judged_by_all_its_reports(groups: int, state: AlertState, reason: Reason) -> None:
    """All reports of some of its 25 groups are doubtful: fewer than half, or more."""
    snapshot = Cube().minute(seven).snapshot
    (service,) = snapshot.services
    counts = service.counts
    some = [at for at, labels in enumerate(counts.groups) if labels[1] == "cdn-07"][:groups]
    doubtful = counts.doubtful.copy()
    doubtful[some, 0] = counts.heard[some]
    doubted = replace(service, counts=replace(counts, doubtful=doubtful))
    alerts = Alerts([many_poor(by=("cdn",))]).decide(replace(snapshot, services=(doubted,), roll_ups={}))
    (found,) = (alert for alert in alerts if alert.labels == SEVEN)
    assert (found.decision.state, found.decision.reason) == (state, reason)


def test_decisions_survive_a_restart() -> None:
    cube = Cube(many_poor(by=("cdn",)))
    (before,) = firing(cube.minute(seven))
    state = cube.shard.dump()
    cube.shard = Cube(many_poor(by=("cdn",))).shard
    assert cube.shard.load(state) == ()
    (after,) = firing(cube.tick(seven))
    assert after.decision.since_s == before.decision.since_s
    assert not after.changed


def test_decisions_of_another_by_are_dropped() -> None:
    cube = Cube(many_poor(by=("cdn",)))
    assert firing(cube.minute(seven))
    state = cube.shard.dump()
    cube.shard = Cube(many_poor(by=("region",))).shard
    cube.shard.load(state)
    assert {alert.names for alert in cube.tick(seven).detections.alerts} == {("region",)}


def test_states_from_before_there_were_sums_are_read() -> None:
    # Six viewers are too few for the bound of 500 groups.
    rule = many_poor(by=None, min_sessions=1, confident=False)
    snapshot = Cube(rule).minute(seven).snapshot
    alerts = Alerts([rule])
    alerts.decide(snapshot)
    before = [
        (key, {name: value for name, value in stored.items() if name != "by"})
        for key, stored in msgspec.json.decode(alerts.dump())
    ]
    again = Alerts([rule])
    again.load(msgspec.json.encode(before))
    assert {alert.decision.state for alert in again.decide(snapshot) if alert.group[1] == "cdn-07"} == {
        AlertState.FIRING
    }
    assert not any(alert.changed for alert in again.decide(snapshot))


def test_an_alert_on_a_sum_whose_viewers_fell_silent_fires_until_its_groups_are_removed() -> None:
    """Groups are removed 10 min after their last report."""
    told = replace(PLAN, limits=replace(PLAN.limits, group_idle_s=600))
    cube = Cube(many_poor(by=("cdn",)), told=told, regions=REGIONS[:10], cdns=("cdn-07", "cdn-08"))
    heard = cube.minute(seven)
    (alert,) = firing(heard)
    assert (alert.labels, alert.silent_s) == (SEVEN, None)
    rest = [cube.tick(seven, silent=seven) for _ in range(180)]
    alerts = [next((one for one in tick.detections.alerts if one.labels == SEVEN), None) for tick in rest]
    last = next(place for place, one in enumerate(alerts) if one is None)
    *silent, ended = [one for one in alerts[:last] if one is not None]
    assert not any(alerts[last:])
    assert {one.decision.state for one in silent} == {AlertState.FIRING}
    assert (silent[-1].decision.reason, silent[-1].sample) == (Reason.NO_DATA, None)
    assert silent[-1].silent_s == heard.snapshot.time_s
    assert (ended.ended, ended.decision.reason) == (True, Reason.IDLE)


def test_a_quiet_alert_on_a_sum_ends_when_the_sum_is_invisible() -> None:
    alerts = Alerts([many_poor(by=("cdn",))])
    cube = Cube(cdns=("cdn-07",))
    assert [alert.firing for alert in alerts.decide(cube.minute(nobody).snapshot)] == [False]
    (last,) = alerts.decide(cube.shard.snapshot(cube.at_s + 2000))
    assert (last.labels, last.decision.reason) == (SEVEN, Reason.GONE)


def test_sums_have_regimes_and_changes_where_groups_are_too_small() -> None:
    cube = Cube()
    for _ in range(3):
        cube.minute(nobody)
    detections = cube.minute(seven).detections
    assert not detections.regimes["video"].known.any()
    regimes = detections.of_roll_ups[RollUpKey(("cdn",))]["video"]
    groups = cube.shard.snapshot(cube.at_s).roll_ups[RollUpKey(("cdn",))].services["video"].counts.groups
    number = groups.index(("cdn-07",))
    assert regimes.regime[number] == Regime.BAD
    assert regimes.changes[number].tolist() == [1, 0]
    assert regimes.changes.sum() == 1


@pytest.mark.parametrize("again", [False, True])
def test_regimes_of_sums_survive_a_restart_and_a_step_of_the_clock(*, again: bool) -> None:
    cube, key = Cube(), RollUpKey(("cdn",))
    cube.minute(nobody)
    before = cube.minute(seven).detections.of_roll_ups[key]["video"]
    if again:
        state = cube.shard.dump()
        cube.shard = Cube().shard
        cube.shard.load(state)
    cube.shard.shift(3600)
    cube.at_s += 3600
    after = cube.tick(seven).detections.of_roll_ups[key]["video"]
    assert after.regime.tolist() == before.regime.tolist()
    assert after.since_s.tolist() == pytest.approx((before.since_s + 3600).tolist(), nan_ok=True)
    assert after.known.all()
    assert len(after.known) == len(PLAN.roll_ups[1]) * 20

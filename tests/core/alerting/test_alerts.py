"""All alerts of all groups: samples, selected groups, and state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
import pytest

from qoemon.core.alerting.alerts import Alert, Alerts
from qoemon.core.alerting.decision import AlertState, Reason
from qoemon.core.alerting.false_alarms import bound_error
from qoemon.core.alerting.rule import AlertMetric, Rule
from qoemon.core.plan.plan import Counters
from qoemon.core.qoe.confidence import lower_bound_of_many
from qoemon.core.snapshot.snapshot import Snapshot
from tests.support.core import T0, VIDEO, WEB, OneShard, batch, plan
from tests.support.oracle import Said

DELTAS = replace(VIDEO, counters=Counters.DELTA, theta_band=(0.1, 0.4))
RULE = Rule(
    name="ManyPoor",
    service="video",
    metric=AlertMetric.POW,
    window_s=60,
    threshold=0.3,
    recovery=0.2,
    groups={},
    min_sessions=20,
)
EU, US, ASIA = ("eu",), ("us",), ("asia",)


class Scene:
    """Groups of sessions that play well or badly for 10 s at a time; each tick has its snapshot."""

    def __init__(self, **limits: int) -> None:
        self._monitor = OneShard(plan(DELTAS, WEB, **limits))
        self.at_s = T0

    def tick(self, **crowds: tuple[int, int]) -> Snapshot:
        """The next tick; by region, how many sessions play well and how many badly in the 10 s before it."""
        said = [
            self._said(f"{region} {number}", region, bad=number >= good)
            for region, (good, bad) in crowds.items()
            for number in range(good + bad)
        ]
        self._monitor.apply(batch(said), self.at_s)
        self.at_s += 10
        return self._monitor.snapshot(self.at_s)

    def ticks(self, number: int, **crowds: tuple[int, int]) -> list[Snapshot]:
        return [self.tick(**crowds) for _ in range(number)]

    def _said(self, session: str, region: str, *, bad: bool) -> Said:
        stalled = {"stalls": 2, "stall_ms": 5_000, "stalled": True} if bad else {"stalls": 0, "stall_ms": 0}
        return Said(session, self.at_s * 1000, (region,), play_ms=10_000 - 5_000 * bad, **stalled)


def by_group(alerts: Iterable[Alert]) -> Mapping[tuple[str, ...], Alert]:
    return {alert.group: alert for alert in alerts}


def states(alerts: Iterable[Alert]) -> dict[tuple[str, ...], tuple[AlertState, Reason]]:
    return {alert.group: (alert.decision.state, alert.decision.reason) for alert in alerts}


def test_a_few_who_suffer_are_too_few_and_many_fire() -> None:
    scene, alerts = Scene(), Alerts([RULE])
    decided = alerts.decide(scene.tick(eu=(10, 60), us=(0, 8), asia=(60, 0)))
    assert states(decided) == {
        EU: (AlertState.FIRING, Reason.PAST_THRESHOLD),
        US: (AlertState.INACTIVE, Reason.TOO_FEW_SESSIONS),
        ASIA: (AlertState.INACTIVE, Reason.NOT_PAST_THRESHOLD),
    }
    assert {alert.key for alert in decided} == {("ManyPoor", "video", group) for group in (EU, US, ASIA)}


def test_sessions_that_count_again_and_again_are_not_many() -> None:
    """Eight sessions in five intervals are forty observations of eight users."""
    scene, alerts = Scene(), Alerts([replace(RULE, window_s=300)])
    snapshot = scene.ticks(30, us=(0, 8))[-1]
    assert snapshot.services[0].distributions[300].observations.tolist() == [40]
    assert states(alerts.decide(snapshot)) == {US: (AlertState.INACTIVE, Reason.TOO_FEW_SESSIONS)}


# The value, the end of its 95 % interval nearest to good, and the value under other thetas, by their names in a
# Distribution.
READ = {
    AlertMetric.POW: ("pow", "pow_bounds", 0, "band_pow"),
    AlertMetric.GOB: ("gob", "gob_bounds", 1, "band_gob"),
    AlertMetric.MOS: ("mos", "mos_bounds", 1, None),
}


@pytest.mark.parametrize("window_s", [60, 300])
@pytest.mark.parametrize("metric", READ)
def test_a_rule_reads_its_figure_in_its_window(metric: AlertMetric, window_s: int) -> None:
    value, bounds, end, band = READ[metric]
    scene = Scene()
    scene.ticks(6, eu=(35, 5), us=(30, 0))
    snapshot = scene.ticks(6, eu=(30, 10), us=(25, 5))[-1]
    alerts = by_group(Alerts([replace(RULE, metric=metric, window_s=window_s)]).decide(snapshot))
    service = snapshot.services[0]
    decided, users = service.distributions[window_s], service.counts.users[window_s]
    for number, group in enumerate(service.counts.groups):
        sample = alerts[group].sample
        assert sample is not None
        assert sample.value == getattr(decided, value)[number]
        outermost = max if end else min
        assert outermost(sample.confident_value, getattr(decided, bounds)[number, end]) == sample.confident_value
        assert list(sample.by_theta) == (getattr(decided, band)[number].tolist() if band else [])
        assert sample.users == users[number] == (40, 30)[number]
    worst, best = (max, min) if metric.high_is_bad else (min, max)
    eu = alerts[EU].sample
    assert eu is not None
    assert worst(eu.value, eu.confident_value) == eu.value
    assert best(eu.value, eu.confident_value) == eu.confident_value != eu.value


def test_the_bound_of_a_rule_is_one_for_all_its_groups_and_ticks() -> None:
    """Of PoW, of 1 - GoB, and of the distance from the best MOS; with `for`, of looks that share no interval."""
    scene = Scene()
    snapshot = scene.ticks(6, eu=(30, 10), us=(25, 5), asia=(30, 0))[-1]
    rated, users = snapshot.services[0].distributions[60], snapshot.services[0].counts.users[60]
    distances = {
        AlertMetric.POW: (rated.pow, rated.pow_square, 0, 1),
        AlertMetric.GOB: (1 - rated.gob, 1 - 2 * rated.gob + rated.gob_square, 1, -1),
        AlertMetric.MOS: ((5 - rated.mos) / 4, (25 - 10 * rated.mos + rated.mos_square) / 16, 5, -4),
    }
    ticks = 30 * 86_400 / 10
    for metric, (mean, square, best, span) in distances.items():
        for groups, for_s, in_a_row in (({}, 0, 1), ({"region": ["eu", "us"]}, 0, 1), ({}, 59, 1), ({}, 130, 3)):
            rule = replace(RULE, metric=metric, groups=groups, for_s=for_s)
            looks = (len(groups.get("region", [])) or 3) * ticks
            bound = best + span * lower_bound_of_many(mean, square, users, looks ** (-1 / in_a_row))
            decided = Alerts([rule], tick_s=10).decide(snapshot)
            read = [alert.sample.confident_value for alert in decided if alert.sample]
            assert read == pytest.approx(bound[: len(decided)].tolist(), abs=1e-12)
            assert bound_error(rule, len(decided), 10) == pytest.approx(looks ** (-1 / in_a_row))


def test_a_rule_reads_its_quantile() -> None:
    """The quantiles of the plan are .05, .1, .5 and .9."""
    snapshot = Scene().tick(eu=(25, 15))
    decided = snapshot.services[0].distributions[60].quantiles[0].tolist()
    rules = [replace(RULE, name=f"q{q}", metric=AlertMetric.QUANTILE, quantile=q) for q in snapshot.quantiles]
    read = [alert.sample.value for alert in Alerts(rules).decide(snapshot) if alert.sample]
    assert read == decided == sorted(set(decided))


def test_a_rule_reads_the_share_of_open_stalls() -> None:
    (alert,) = Alerts([replace(RULE, metric=AlertMetric.OPEN_STALLS, threshold=0.25)]).decide(
        Scene().tick(eu=(30, 10))
    )
    assert alert.sample is not None
    assert (alert.sample.value, alert.sample.confident_value, alert.sample.users) == (0.25, 0.25, 40)
    assert alert.decision.reason is Reason.PAST_THRESHOLD


def test_a_rule_looks_at_its_service_only() -> None:
    scene, alerts = Scene(), Alerts([RULE, replace(RULE, service="web")])
    decided = alerts.decide(scene.tick(eu=(20, 40)))
    assert [alert.key for alert in decided] == [("ManyPoor", "video", EU)]


@pytest.mark.parametrize(
    ("groups", "selected"),
    [
        ({}, {EU, US, ASIA}),
        ({"region": ["eu"]}, {EU}),
        ({"region": ["us", "asia", "africa"]}, {US, ASIA}),
        ({"region": ["e"]}, set()),
        ({"region": []}, set()),
        ({"cdn": ["eu"]}, set()),
    ],
)
def test_a_rule_selects_groups_by_whole_label_values(
    groups: dict[str, list[str]], selected: set[tuple[str, ...]]
) -> None:
    decided = Alerts([replace(RULE, groups=groups)]).decide(Scene().tick(eu=(0, 30), us=(0, 30), asia=(9, 0)))
    assert by_group(decided).keys() == selected


def test_a_change_is_told_at_its_tick_only() -> None:
    scene, alerts = Scene(), Alerts([RULE])
    snapshots = [*scene.ticks(2, eu=(0, 40)), *scene.ticks(12, eu=(40, 0))]
    decided = [alerts.decide(snapshot)[0] for snapshot in snapshots]
    fired = [alert.firing for alert in decided]
    assert fired == sorted(fired, reverse=True)
    assert fired[0]
    assert not fired[-1]
    over = fired.index(False)
    assert [at for at, alert in enumerate(decided) if alert.changed] == [0, over]
    assert [at for at, alert in enumerate(decided) if alert.ended] == [over]
    assert decided[over].decision.reason is Reason.RECOVERED
    assert decided[over].decision.since_s == snapshots[over].time_s


def test_an_alert_of_a_silent_group_fires_until_the_group_is_removed() -> None:
    """Missing reports are no recovery, however long. The longest window has 10 min, groups are removed after 20."""
    scene, alerts = Scene(group_idle_s=1200), Alerts([RULE])
    decided = [by_group(alerts.decide(scene.tick(eu=(0, 40)))).get(EU)]
    decided += [by_group(alerts.decide(snapshot)).get(EU) for snapshot in scene.ticks(250, us=(30, 0))]
    there = [alert for alert in decided if alert is not None]
    assert decided[: len(there)] == there
    *firing, last = there
    assert {alert.decision.state for alert in firing} == {AlertState.FIRING}
    assert [alert.decision.reason for alert in firing][-1] is Reason.NO_DATA
    assert (last.decision.reason, last.ended, last.sample) == (Reason.IDLE, True, None)
    began_s, gone_s = there[0].decision.since_s, last.decision.since_s
    assert gone_s - began_s >= 1200
    assert by_group(alerts.decide(scene.tick(eu=(0, 40))))[EU].decision.since_s == scene.at_s


def test_a_group_that_is_silent_while_its_alert_fires_has_recovered_when_its_reports_say_so() -> None:
    scene, alerts = Scene(), Alerts([RULE])
    snapshots = [*scene.ticks(2, eu=(0, 40)), *scene.ticks(110)]
    assert [alerts.decide(snapshot)[0].firing for snapshot in snapshots] == [True] * len(snapshots)
    assert not snapshots[-1].services[0].visible.any()
    bad, *_ = alerts.decide(scene.tick(eu=(0, 40)))
    assert (bad.firing, bad.changed) == (True, False)
    reasons = [alerts.decide(snapshot)[0].decision.reason for snapshot in scene.ticks(14, eu=(60, 0))]
    assert Reason.RECOVERED in reasons


def test_a_quiet_alert_of_a_silent_group_is_no_more_once_the_group_is_invisible() -> None:
    scene, alerts = Scene(), Alerts([RULE])
    decided = [alerts.decide(snapshot) for snapshot in [scene.tick(eu=(40, 0)), *scene.ticks(110)]]
    assert decided[0][0].decision.reason is Reason.NOT_PAST_THRESHOLD
    assert decided[-1] == ()
    assert Reason.GONE in {alert.decision.reason for each in decided for alert in each}


def test_a_restart_at_any_tick_changes_no_decision() -> None:
    rules = [RULE, replace(RULE, name="Slow", for_s=40), replace(RULE, name="Long", window_s=300, confident=False)]
    scene = Scene()
    snapshots = [
        *scene.ticks(3, eu=(40, 0), us=(30, 30)),
        *scene.ticks(12, eu=(10, 30), us=(0, 60)),
        *scene.ticks(8, eu=(40, 0)),
        *scene.ticks(62, eu=(40, 0)),
        *scene.ticks(2, eu=(0, 40), us=(0, 60)),
    ]
    whole = Alerts(rules)
    expected = [whole.decide(snapshot) for snapshot in snapshots]
    assert {alert.decision.state for decided in expected for alert in decided} >= {
        AlertState.INACTIVE,
        AlertState.PENDING,
        AlertState.FIRING,
    }
    for at in range(len(snapshots)):
        first, second = Alerts(rules), Alerts(rules)
        for snapshot in snapshots[:at]:
            first.decide(snapshot)
        second.load(first.dump())
        assert [second.decide(snapshot) for snapshot in snapshots[at : at + 3]] == expected[at : at + 3]


def test_alerts_of_rules_that_are_no_more_are_forgotten_without_a_word() -> None:
    scene = Scene()
    before = Alerts([RULE, replace(RULE, name="Dropped")])
    before.decide(scene.tick(eu=(0, 40)))
    after = Alerts([RULE])
    after.load(before.dump())
    (alert,) = after.decide(scene.tick(eu=(0, 40)))
    assert (alert.rule, alert.firing, alert.changed) == (RULE, True, False)


def test_groups_do_not_depend_on_one_another() -> None:
    crowds = {"eu": (20, 40), "us": (50, 10), "asia": (0, 8)}
    together = states(Alerts([RULE]).decide(Scene().tick(**crowds)))
    alone = {}
    for region, crowd in crowds.items():
        alone |= states(Alerts([RULE]).decide(Scene().tick(**{region: crowd})))
    assert together == alone


def test_a_group_that_is_shown_but_not_judged_has_nothing_to_read() -> None:
    """Its sessions have not been active long enough to be rated."""
    monitor = OneShard(plan(DELTAS, WEB))
    monitor.apply(batch([Said("a", T0 * 1000, play_ms=1_000)]), T0)
    snapshot = monitor.snapshot(T0 + 10)
    assert np.isnan(snapshot.services[0].distributions[60].pow).all()
    (alert,) = Alerts([RULE]).decide(snapshot)
    assert (alert.sample, alert.decision.reason) == (None, Reason.NO_DATA)


def test_an_adopted_alert_continues_with_its_begin_and_ends_when_its_group_recovers() -> None:
    """Too few sessions, or a value between the thresholds, would not have fired it here; they do not end it."""
    scene, alerts = Scene(), Alerts([replace(RULE, for_s=600)])
    alerts.adopt({("ManyPoor", "video", group): T0 - 500 for group in (EU, US)})
    decided = by_group(alerts.decide(scene.tick(eu=(10, 60), us=(0, 8))))
    for group, reason in ((EU, Reason.PAST_THRESHOLD), (US, Reason.TOO_FEW_SESSIONS)):
        decision = decided[group].decision
        assert (decision.state, decision.reason) == (AlertState.FIRING, reason)
        assert decision.since_s == T0 - 500
        assert not decided[group].changed
    decided = by_group(alerts.decide(scene.ticks(12, eu=(70, 0), us=(0, 8))[-1]))
    assert decided[EU].ended
    assert decided[EU].before.since_s == T0 - 500
    assert decided[US].firing


def test_an_adopted_alert_does_not_end_by_a_window_that_began_after_what_it_is_about() -> None:
    """This daemon has lost its state, or is new; also after it is restarted, and if the clock is set meanwhile."""
    scene, alerts = Scene(), Alerts([RULE])
    alerts.adopt({("ManyPoor", "video", EU): T0 - 500})
    first, *others = scene.ticks(7, eu=(70, 0))
    decisions = [by_group(alerts.decide(first))[EU].decision]
    restarted = Alerts([RULE])
    restarted.load(alerts.dump())
    for by_s in (3600, -3600):
        restarted.shift(by_s)
    decisions += [by_group(restarted.decide(tick))[EU].decision for tick in others]
    assert [each.reason for each in decisions] == [*[Reason.STARTING] * 6, Reason.RECOVERED]
    assert {(each.state, each.since_s) for each in decisions[:-1]} == {(AlertState.FIRING, T0 - 500)}
    assert decisions[-1].state is AlertState.INACTIVE


def test_an_alert_that_fires_here_already_takes_the_begin_that_receivers_know() -> None:
    scene, alerts = Scene(), Alerts([RULE])
    alerts.decide(scene.tick(eu=(10, 60)))
    alerts.adopt({("ManyPoor", "video", EU): T0 - 20})
    alert = by_group(alerts.decide(scene.tick(eu=(10, 60))))[EU]
    assert (alert.firing, alert.changed, alert.decision.since_s) == (True, False, T0 - 20)


def test_an_adopted_alert_of_a_group_that_is_not_known_yet_waits_for_it() -> None:
    scene, alerts = Scene(), Alerts([RULE])
    alerts.adopt({("ManyPoor", "video", ASIA): T0 - 20})
    assert ASIA not in by_group(alerts.decide(scene.tick(eu=(70, 0))))
    alert = by_group(alerts.decide(scene.tick(eu=(70, 0), asia=(0, 8))))[ASIA]
    assert (alert.decision.state, alert.decision.since_s) == (AlertState.FIRING, T0 - 20)


def test_an_adopted_alert_of_a_group_that_never_reports_ends_when_groups_are_removed() -> None:
    """Under the begin that receivers know; not one of a rule that is unknown here, or has other labels."""
    scene, alerts = Scene(), Alerts([RULE], group_idle_s=300)
    scene.ticks(1, eu=(70, 0))
    others = {("NoRule", "video", ASIA): T0 - 20, ("ManyPoor", "video", (*ASIA, "more")): T0 - 20}
    alerts.adopt({("ManyPoor", "video", ASIA): T0 - 20, **others})
    ticks = scene.ticks(32, eu=(70, 0))
    decided = [by_group(alerts.decide(tick)).get(ASIA) for tick in ticks]
    (ended,) = filter(None, decided)
    assert decided.index(ended) == 31, "310 s after the first tick"
    assert (ended.ended, ended.decision.reason, ended.before.since_s) == (True, Reason.IDLE, T0 - 20)
    assert not alerts.adopted

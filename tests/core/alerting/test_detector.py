"""Alerts and regimes over successive snapshots."""

from __future__ import annotations

import io
from collections import Counter
from copy import deepcopy
from dataclasses import astuple, replace

import numpy as np

from qoemon.core.alerting.decision import AlertState, Reason
from qoemon.core.alerting.detector import Detections, Detector
from qoemon.core.alerting.regime import Reason as RegimeReason
from qoemon.core.alerting.regime import Regime, RegimeRules, Regimes
from qoemon.core.alerting.rule import AlertMetric, Rule
from qoemon.core.plan.plan import Plan
from qoemon.core.snapshot.snapshot import Snapshot
from tests.core.alerting.test_alerts import DELTAS, RULE, Scene
from tests.support.core import WEB, plan

PLAN: Plan = plan(DELTAS, WEB)
REGIMES = RegimeRules(dwell=2, min_sessions=20)
RULES: list[Rule] = [
    RULE,
    replace(RULE, name="FewGood", metric=AlertMetric.GOB, threshold=0.62, recovery=0.7, for_s=20),
    replace(RULE, service="web"),
]


def watch() -> Detector:
    return Detector(PLAN, RULES, REGIMES)


def evening() -> list[Snapshot]:
    """Good, bad, good again, silent, and bad in another group."""
    scene = Scene()
    return [
        *scene.ticks(60, eu=(40, 0)),  # changes are detected from the ninth interval on
        *scene.ticks(18, eu=(10, 30)),
        *scene.ticks(24, eu=(40, 0)),
        *scene.ticks(6),
        *scene.ticks(12, us=(0, 30)),
    ]


def saved(state: Detector) -> dict[str, np.ndarray]:
    """Its state, written to a file without pickle and read back."""
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **state.dump())
    file.seek(0)
    with np.load(file, allow_pickle=False) as loaded:
        return dict(loaded)


def same(one: Regimes, other: Regimes) -> bool:
    return all(
        np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
        for a, b in zip(astuple(one), astuple(other), strict=True)
    )


def test_transitions_count_every_change_of_state_by_where_it_led() -> None:
    watching = watch()
    observed = [watching.observe(snapshot) for snapshot in evening()]
    counted = Counter(
        (alert.rule.name, alert.rule.service, alert.decision.state, alert.decision.reason)
        for watched in observed
        for alert in watched.alerts
        if alert.decision.state is not alert.before.state
    )
    assert observed[-1].transitions == counted
    poor = ("ManyPoor", "video")
    assert counted[*poor, AlertState.FIRING, Reason.PAST_THRESHOLD] == 2
    assert counted[*poor, AlertState.INACTIVE, Reason.RECOVERED] == 1
    assert counted["FewGood", "video", AlertState.PENDING, Reason.NOT_LONG_ENOUGH] == 2
    assert not any(service == "web" for _, service, *_ in counted)


def test_what_was_told_of_a_tick_stays_as_it_was() -> None:
    """Readers use it while the next ticks are made."""
    watching, snapshots = watch(), evening()
    detected = [watching.observe(snapshot) for snapshot in snapshots[:66]][-1]
    copy = deepcopy(detected)
    for snapshot in snapshots[66:]:
        last = watching.observe(snapshot)
    assert (detected.alerts, detected.transitions) == (copy.alerts, copy.transitions)
    assert same(detected.regimes["video"], copy.regimes["video"])
    assert last.transitions != detected.transitions
    assert not same(last.regimes["video"], detected.regimes["video"])


def test_regimes_move_with_the_intervals_that_close() -> None:
    """At other ticks the regimes are those of the last interval: the base window is not a closed interval then."""
    watching = watch()
    detected = [watching.observe(snapshot).regimes.get("video") for snapshot in evening()]
    assert detected[:5] == [None] * 5
    closed = detected[5::6]
    for at, regimes in enumerate(detected[5:]):
        assert regimes is closed[at // 6]
    assert all(regimes is not None for regimes in closed)
    assert len({id(regimes) for regimes in closed}) == 20
    assert [bool(regimes.known[0]) for regimes in closed if regimes] == [False] * 7 + [True] * 13
    levels = [int(regimes.regime[0]) for regimes in closed if regimes]
    assert levels[:13] == [Regime.GOOD] * 10 + [Regime.BAD] * 3
    assert levels[16] == Regime.GOOD


def test_a_group_of_few_has_no_regime() -> None:
    watching, scene = watch(), Scene()
    for snapshot in scene.ticks(36, us=(0, 8)):
        watched = watching.observe(snapshot)
    assert not watched.regimes["video"].known[0]
    assert watched.regimes["video"].reason[0] is RegimeReason.TOO_FEW_SESSIONS


def test_a_restart_at_any_tick_neither_forgets_nor_tells_again() -> None:
    snapshots = evening()
    whole = watch()
    expected = [whole.observe(snapshot) for snapshot in snapshots]
    for at in range(0, len(snapshots), 7):
        first, second = watch(), watch()
        for snapshot in snapshots[:at]:
            first.observe(snapshot)
        second.load(saved(first))
        resumed = [second.observe(snapshot) for snapshot in snapshots[at:]]
        assert [each.alerts for each in resumed] == [each.alerts for each in expected[at:]]
        _same_regimes(resumed, expected[at:])


def _same_regimes(resumed: list[Detections], expected: list[Detections]) -> None:
    for mine, theirs in zip(resumed, expected, strict=True):
        for service, regimes in mine.regimes.items():
            assert same(regimes, theirs.regimes[service])

"""The texts and values of notices, with and without current data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from qoemon.config.config import Config
from qoemon.config.plan import alert_rules
from qoemon.core.alerting.alerts import Alerts
from qoemon.core.alerting.decision import Reason
from qoemon.core.alerting.detector import Detections
from qoemon.core.alerting.rule import AlertMetric
from qoemon.core.counting.feedback_counts import DAY_S
from qoemon.core.evaluation import Tick
from qoemon.core.snapshot.snapshot import Snapshot
from qoemon.outputs.notify.notice import Notice
from qoemon.outputs.notify.notices import notices
from tests.core.alerting.test_alerts import RULE, Scene
from tests.core.alerting.test_state import ABSENT, DROP, Daemon
from tests.support.core import T0, VIDEO, WEB, plan
from tests.support.opinions import USUAL, WORST, Core, rated_days, times_of_days

SUMMARY = Config().alerts[0].annotations["summary"]
SILENT_TICKS = 35
"""Ticks without reports after which open stalls are just about to time out."""

ADVICE = "move the traffic of {region} away"
ANNOTATED = replace(RULE, annotations={"summary": SUMMARY, "advice": ADVICE})


def notices_of(alerts: Alerts, snapshots: Iterable[Snapshot]) -> Iterator[tuple[Snapshot, Notice]]:
    """The notices of each snapshot, each once."""
    for snapshot in snapshots:
        firing, changed = notices(snapshot, Detections(alerts.decide(snapshot), {}, {}))
        for notice in {id(each): each for each in (*firing, *changed)}.values():
            yield snapshot, notice


def clock(snapshot: Snapshot) -> str:
    return f"{datetime.fromtimestamp(snapshot.time_s, UTC):%Y-%m-%d %H:%M:%S} UTC"


def test_text_has_the_current_values() -> None:
    snapshot = Scene().tick(eu=(10, 30))
    ((_, notice),) = notices_of(Alerts([ANNOTATED]), [snapshot])
    pow_ = snapshot.services[0].distributions[60].pow[0]
    assert notice.annotations["summary"] == f"{pow_:.0%} of 40 users of video would say poor or worse"
    assert notice.figures["pow"] == notice.figures["value"] == pow_
    assert notice.figures["lower"] < pow_ < notice.figures["upper"]
    assert (notice.figures["users"], notice.figures["threshold"]) == (40, 0.3)


def test_text_of_a_silent_group_has_the_last_known_values_and_their_time() -> None:
    scene = Scene()
    found = list(notices_of(Alerts([ANNOTATED]), [*scene.ticks(2, eu=(10, 30)), *scene.ticks(110)]))
    known = [(snapshot, notice) for snapshot, notice in found if "users" in notice.figures]
    silent = found[len(known) :]
    last, before = known[-1]
    # The open stalls of 30 sessions continue.
    assert before.annotations["summary"] == "89% of 30 users of video would say poor or worse"
    expected = f"{before.annotations['summary']} (no data since {clock(last)})"
    assert [notice.annotations["summary"] for _, notice in silent] == [expected] * len(silent)
    assert {notice.annotations["advice"] for _, notice in found} == {"move the traffic of eu away"}
    assert [set(notice.figures) for _, notice in silent] == [{"threshold"}] * len(silent)
    reasons = [notice.reason for _, notice in silent]
    assert reasons == [Reason.NO_DATA] * len(silent)
    assert len(silent) > 50


def test_values_of_too_few_sessions_are_not_remembered() -> None:
    scene = Scene()
    found = list(
        notices_of(Alerts([ANNOTATED]), [scene.tick(eu=(0, 30)), *scene.ticks(6, eu=(0, 5)), *scene.ticks(60)])
    )
    enough = [(at, notice) for at, notice in found if notice.reason is Reason.PAST_THRESHOLD]
    few = [notice for _, notice in found if notice.reason is Reason.TOO_FEW_SESSIONS]
    assert few[-1].annotations["summary"] == "89% of 5 users of video would say poor or worse"
    (last, before), (_, silent) = enough[-1], found[-1]
    assert silent.reason is Reason.NO_DATA
    assert silent.annotations["summary"] == f"{before.annotations['summary']} (no data since {clock(last)})"
    assert before.figures["users"] == 30


@pytest.mark.parametrize("silent", [0, 1, 30])
def test_text_of_a_silent_group_survives_a_restart(silent: int) -> None:
    scene = Scene()
    past, rest = [scene.tick(eu=(10, 30)), *scene.ticks(SILENT_TICKS + silent)], scene.ticks(3)
    first, second = Alerts([ANNOTATED]), Alerts([ANNOTATED])
    list(notices_of(first, past))
    second.load(first.dump())
    after = [notice.annotations["summary"] for _, notice in notices_of(second, rest)]
    assert after == [notice.annotations["summary"] for _, notice in notices_of(first, rest)]
    assert "of 30 users" in after[-1]
    assert "no data since" in after[-1]


def test_clock_step_shifts_the_time_of_the_last_known_values() -> None:
    scene, alerts = Scene(), Alerts([ANNOTATED])
    ((snapshot, _),) = notices_of(alerts, [scene.tick(eu=(10, 30))])
    moved = replace(snapshot, time_s=snapshot.time_s + 3600)
    alerts.shift(3600)
    (alert,) = alerts.decide(moved)
    assert alert.before.last_figures is not None
    assert alert.before.last_figures.time_s == moved.time_s


def test_values_missing_in_old_state_are_rendered_as_n_a() -> None:
    key = '["ManyPoor", "video", ["eu"]]'
    alerts, scene = Alerts([ANNOTATED]), Scene()
    scene.tick(eu=(10, 30))
    alerts.load(f'[[{key}, {{"state": 3, "reason": "no_data", "since_s": 1.0, "past_s": null}}]]'.encode())
    ((_, notice),) = notices_of(alerts, scene.ticks(SILENT_TICKS + 3)[-1:])
    assert notice.annotations["summary"] == "n/a of n/a users of video would say poor or worse (no data now)"


def told(tick: Tick) -> dict[str, str]:
    """The summary of each alert that fires, by its rule."""
    return {notice.alert: notice.annotations["summary"] for notice in notices(*tick)[0]}


def test_texts_of_missing_sessions_say_how_many_and_since_when() -> None:
    texts = {alert.name: alert.annotations for alert in Config().alerts}
    absent = replace(ABSENT, name="ReportsAbsent", annotations=texts["ReportsAbsent"])
    drop = replace(DROP, name="SessionsDropped", annotations=texts["SessionsDropped"])
    daemon = Daemon(absent, drop)
    daemon.ticks(100, eu=(100, 0), us=(100, 0))
    half = daemon.ticks(40, eu=(100, 0))[-1]
    assert told(half) == {"SessionsDropped": "50% fewer sessions of video than usual, 200 were active before"}
    silent = daemon.ticks(30)
    last = told(silent[-1])
    assert last["ReportsAbsent"] == "No reports from video for 300 s, 200 sessions were active before"
    since = f"{datetime.fromtimestamp(silent[-1].snapshot.time_s - 300, UTC):%Y-%m-%d %H:%M:%S} UTC"
    assert last["SessionsDropped"].endswith(f"200 were active before (no data since {since})")


def test_text_says_if_there_are_no_reports_because_the_broker_is_away() -> None:
    daemon = Daemon(replace(ABSENT, annotations={"summary": "No reports from {service} for {value:.0f} s"}))
    daemon.ticks(100, eu=(100, 0))
    away = daemon.ticks(20, connected=False)
    text = told(away[-1])["Absent"]
    since = clock(away[0].snapshot)
    assert text == f"No reports from video for 200 s (qoemon has not been connected to its broker since {since})"


MODEL = next(rule for rule in alert_rules(Config()) if rule.metric is AlertMetric.MODEL and rule.service == "video")
OFF_DAYS = 6


def model_notices(then: Sequence[Sequence[int]]) -> list[Notice]:
    """The notices of changes of the default rule on the model, which is off for days; then users rate like this."""
    core, every = Core(plan(VIDEO, WEB), rules=(MODEL,)), [*[WORST] * OFF_DAYS, *then]
    half = len(times_of_days(OFF_DAYS))
    times_s, feed = times_of_days(len(every) + 1), rated_days(every)
    before = core.run_at(feed, times_s[:half])
    core.restart()
    # What is not yet counted was received before the restart.
    after = core.run_at([each for each in feed if each.arrival_s >= T0 + times_s[half - 1]], times_s[half:])
    return [notice for tick in (*before, *after) for notice in notices(*tick)[1]]


@pytest.mark.parametrize(
    ("then", "reason", "ending"),
    [
        ([USUAL] * 14, Reason.AS_PREDICTED, "users rate as predicted again"),
        ([()] * 40, Reason.TOO_FEW_RATINGS, "ended: there are too few ratings to go on"),
    ],
)
def test_texts_of_the_model_say_how_since_when_and_by_how_much(
    then: Sequence[Sequence[int]], reason: Reason, ending: str
) -> None:
    firing, resolved = model_notices(then)
    day = f"{datetime.fromtimestamp(T0, UTC):%Y-%m-%d}"
    text = firing.annotations["summary"]
    assert text.startswith(
        f"Users of video rate lower than predicted since {day}: by -2.38 points (-2.38 to -2.38)"
    )
    assert text.endswith("40 ratings on 2 days")
    assert firing.annotations["advice"].endswith(
        "Run `qoemon feedback fit video`: it proposes constants that fit these ratings"
    )
    assert (firing.severity, firing.reason, firing.groups) == ("info", Reason.RATED_LOWER, {})
    assert firing.figures["off_since_s"] == T0 // DAY_S * DAY_S
    last = resolved.annotations["summary"]
    assert last.startswith(f"Users of video rate lower than predicted since {day}: by -")
    assert last.endswith(f"days ({ending})")
    assert resolved.annotations["advice"] == firing.annotations["advice"]
    assert (resolved.reason, resolved.starts_s) == (reason, firing.starts_s)
    assert resolved.ends_s is not None

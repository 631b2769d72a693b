"""What a notice says of an alert, above all when there is nothing new to say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from qoemon.config.config import Config
from qoemon.core.alerting.alerts import Alerts
from qoemon.core.alerting.detector import Detections
from qoemon.core.alerting.rule import Reason
from qoemon.core.snapshot.snapshot import Snapshot
from qoemon.outputs.notify.notice import Notice
from qoemon.outputs.notify.notices import notices
from tests.core.alerting.test_alerts import RULE, Scene

SUMMARY = Config().alerts[0].annotations["summary"]
SILENT_TICKS = 35
"""After that many, stalls that nobody has reported the end of still run on, or are just over."""

ADVICE = "move the traffic of {region} away"
TOLD = replace(RULE, annotations={"summary": SUMMARY, "advice": ADVICE})


def told(alerts: Alerts, snapshots: Iterable[Snapshot]) -> Iterator[tuple[Snapshot, Notice]]:
    """The one notice of each snapshot that has any: of what fires, or has just ended."""
    for snapshot in snapshots:
        firing, changed = notices(snapshot, Detections(alerts.decide(snapshot), {}, {}))
        for notice in {id(each): each for each in (*firing, *changed)}.values():
            yield snapshot, notice


def clock(snapshot: Snapshot) -> str:
    return f"{datetime.fromtimestamp(snapshot.time_s, UTC):%Y-%m-%d %H:%M:%S} UTC"


def test_text_tells_the_figures_of_now() -> None:
    snapshot = Scene().tick(eu=(10, 30))
    ((_, notice),) = told(Alerts([TOLD]), [snapshot])
    pow_ = snapshot.services[0].distributions[60].pow[0]
    assert notice.annotations["summary"] == f"{pow_:.0%} of 40 users of video would say poor or worse"
    assert notice.figures["pow"] == notice.figures["value"] == pow_
    assert notice.figures["lower"] < pow_ < notice.figures["upper"]
    assert (notice.figures["users"], notice.figures["threshold"]) == (40, 0.3)


def test_text_of_a_silent_group_tells_what_was_last_known_and_when_until_it_is_gone() -> None:
    scene = Scene()
    said = list(told(Alerts([TOLD]), [*scene.ticks(2, eu=(10, 30)), *scene.ticks(110)]))
    known = [(snapshot, notice) for snapshot, notice in said if "users" in notice.figures]
    silent = said[len(known) :]
    last, before = known[-1]
    # The stalls of the 30 who were badly served run on.
    assert before.annotations["summary"] == "89% of 30 users of video would say poor or worse"
    expected = f"{before.annotations['summary']} (as of {clock(last)}, no data now)"
    assert [notice.annotations["summary"] for _, notice in silent] == [expected] * len(silent)
    assert {notice.annotations["advice"] for _, notice in said} == {"move the traffic of eu away"}
    assert [set(notice.figures) for _, notice in silent] == [{"threshold"}] * len(silent)
    reasons = [notice.reason for _, notice in silent]
    assert reasons == [Reason.NO_DATA] * (len(silent) - 1) + [Reason.GONE]
    assert len(silent) > 50


def test_last_figures_of_the_few_who_stayed_are_not_what_is_remembered() -> None:
    scene = Scene()
    said = list(told(Alerts([TOLD]), [scene.tick(eu=(0, 30)), *scene.ticks(6, eu=(0, 5)), *scene.ticks(60)]))
    enough = [(at, notice) for at, notice in said if notice.reason is Reason.PAST_THRESHOLD]
    few = [notice for _, notice in said if notice.reason is Reason.TOO_FEW_SESSIONS]
    assert few[-1].annotations["summary"] == "89% of 5 users of video would say poor or worse"
    (last, before), (_, silent) = enough[-1], said[-1]
    assert silent.reason is Reason.NO_DATA
    assert silent.annotations["summary"] == f"{before.annotations['summary']} (as of {clock(last)}, no data now)"
    assert before.figures["users"] == 30


@pytest.mark.parametrize("silent", [0, 1, 30])
def test_restart_tells_the_same_of_a_silent_group(silent: int) -> None:
    scene = Scene()
    past, rest = [scene.tick(eu=(10, 30)), *scene.ticks(SILENT_TICKS + silent)], scene.ticks(3)
    first, second = Alerts([TOLD]), Alerts([TOLD])
    list(told(first, past))
    second.load(first.dump())
    after = [notice.annotations["summary"] for _, notice in told(second, rest)]
    assert after == [notice.annotations["summary"] for _, notice in told(first, rest)]
    assert "of 30 users" in after[-1]
    assert "no data now" in after[-1]


def test_clock_that_is_set_moves_what_was_last_known_along() -> None:
    scene, alerts = Scene(), Alerts([TOLD])
    ((snapshot, _),) = told(alerts, [scene.tick(eu=(10, 30))])
    moved = replace(snapshot, time_s=snapshot.time_s + 3600)
    alerts.shift(3600)
    (alert,) = alerts.decide(moved)
    assert alert.before.seen is not None
    assert alert.before.seen.time_s == moved.time_s


def test_state_of_a_daemon_that_did_not_remember_is_told_as_unknown() -> None:
    key = '["ManyPoor", "video", ["eu"]]'
    alerts, scene = Alerts([TOLD]), Scene()
    scene.tick(eu=(10, 30))
    alerts.load(f'[[{key}, {{"state": 3, "reason": "no_data", "since_s": 1.0, "past_s": null}}]]'.encode())
    ((_, notice),) = told(alerts, scene.ticks(SILENT_TICKS + 3)[-1:])
    assert notice.annotations["summary"] == "n/a of n/a users of video would say poor or worse (no data now)"

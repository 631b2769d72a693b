"""The history of a daemon is written beside everything else, and goes on after restarts and failures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qoemon.core.alerting.detector import Detections
from qoemon.core.alerting.rule import AlertMetric, Rule
from qoemon.core.counting.feedback_counts import DAY_S
from qoemon.core.qoe.scale import ACR5
from qoemon.core.snapshot.past import PastQuery
from qoemon.core.snapshot.snapshot import Snapshot
from qoemon.state.history_store import HistoryStore
from qoemon.state.kept_history import MOST_WAITING, KeptHistory
from tests.support import opinions
from tests.support.core import T0 as SCENE_S
from tests.support.core import VIDEO, WEB, plan
from tests.support.history import LABELS, T0, Core, pages
from tests.support.page import Scene
from tests.support.patience import async_until as until

NOTHING = Detections((), {}, {})


def snapshots(minutes: int = 10) -> list[Snapshot]:
    told = pages(minutes, 20, seed=1)
    return [snapshot for _, snapshot in Core().ticks(told, T0 + 60 * minutes + 120)]


def kept(file: Path | None) -> KeptHistory:
    return KeptHistory(HistoryStore(file, 60, 86_400))


async def whole(history: KeptHistory) -> Any:
    past = await history.ratings(PastQuery("web", ACR5, by=LABELS))
    return past.series, past.times_s, past.sums.tolist(), past.users.tolist(), past.users_overall.tolist()


async def test_a_history_goes_on_after_a_restart_in_the_middle(tmp_path: Path) -> None:
    """With the last minutes replayed, as after a crash."""
    ticks, undisturbed, file = snapshots(), kept(None), tmp_path / "history.sqlite3"
    for snapshot in ticks:
        undisturbed.put(snapshot, NOTHING)
    for part in (ticks[:35], ticks[20:50], ticks[45:]):
        history = kept(file)
        for snapshot in part:
            history.put(snapshot, NOTHING)
        history.close()
    history = kept(file)
    assert await whole(history) == await whole(undisturbed)
    history.close()
    undisturbed.close()


async def test_failures_are_counted_and_made_good_once_writing_succeeds(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "qoemon.state")
    directory = tmp_path / "state"
    directory.write_text("in the way")
    history = kept(directory / "history.sqlite3")
    ticks = snapshots()
    for snapshot in ticks[:40]:
        history.put(snapshot, NOTHING)
    await until(lambda: history.stats.failures >= 5)
    assert caplog.text.count("the history cannot be written") == 1
    assert history.stats.intervals == 0
    directory.unlink()
    directory.mkdir()
    for snapshot in ticks[40:]:
        history.put(snapshot, NOTHING)
    closes = sum(len(snapshot.closed) for snapshot in ticks)
    await until(lambda: history.stats.intervals == closes)
    assert "the history is written again" in caplog.text
    assert history.stats.lost == 0
    assert history.stats.bytes > 0
    past = await history.ratings(PastQuery("web", ACR5))
    assert past.observations.sum() == 200
    history.close()


async def test_what_can_never_be_written_is_bounded_and_counted(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("in the way")
    history = kept(tmp_path / "state" / "history.sqlite3")
    closing = next(snapshot for snapshot in snapshots(2) if snapshot.closed)
    for minute in range(MOST_WAITING + 10):
        moved = replace(closing.closed[0], closed_s=closing.time_s + 60 * minute)
        history.put(replace(closing, closed=(moved,)), NOTHING)
    await until(lambda: history.stats.lost == 10)
    assert len(vars(history)["_waiting"]) == MOST_WAITING
    history.close()


async def test_what_waits_is_written_before_a_stop(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "state").write_text("in the way")
    ticks = snapshots()
    for mended in (False, True):
        history = kept(tmp_path / "state" / "history.sqlite3")
        for snapshot in ticks:
            history.put(snapshot, NOTHING)
        await until(lambda history=history: history.stats.failures >= 5)
        if mended:
            (tmp_path / "state").unlink()
            (tmp_path / "state").mkdir()
        history.close()
        assert ("rating intervals are missing in the history" in caplog.text) is not mended
        caplog.clear()
    history, undisturbed = kept(tmp_path / "state" / "history.sqlite3"), kept(None)
    for snapshot in ticks:
        undisturbed.put(snapshot, NOTHING)
    assert await whole(history) == await whole(undisturbed)
    history.close()
    undisturbed.close()


async def test_an_alert_is_kept_with_its_peak_from_firing_to_its_end() -> None:
    scene, history, firing = Scene(), kept(None), []
    for crowd in ((30, 0), (18, 12), (4, 26), (18, 12), (30, 0)):
        for each in scene.ticks(12, eu=crowd):
            history.put(each.snapshot, each.detections)
            firing += [alert.sample.value for alert in each.detections.alerts if alert.firing and alert.sample]
    (alert,) = (await history.alerts(0, SCENE_S + 3600, "video")).alerts
    assert alert.ended_reason == "recovered"
    assert alert.peak == max(firing)
    assert alert.value == firing[0] < alert.peak
    history.close()


async def test_an_alert_on_the_model_is_kept_as_others_are(tmp_path: Path) -> None:
    """With its reasons; the days that it follows from are kept in the state, longer than the history."""
    rule = Rule("ModelOff", "video", AlertMetric.MODEL, 60, 1, 1, {}, confident=False, severity="info", by=())
    days = [*[opinions.WORST] * 4, *[opinions.USUAL] * 14]
    core, file = opinions.Core(plan(VIDEO, WEB), rules=(rule,)), tmp_path / "history.sqlite3"
    history = KeptHistory(HistoryStore(file, 60, 60 * DAY_S))
    for tick in core.run_at(opinions.rated_days(days), opinions.times_of_days(len(days) + 1)):
        history.put(tick.snapshot, tick.detections)
    (alert,) = (await history.alerts(SCENE_S, SCENE_S + len(days) * DAY_S, "video")).alerts
    assert (alert.metric, alert.labels, alert.severity) == ("model", {}, "info")
    assert (alert.reason, alert.ended_reason) == ("rated_lower", "as_predicted")
    assert (alert.value, alert.peak, alert.users) == (1, 1, 40)
    assert alert.ended_s is not None
    assert (alert.ended_s - alert.fired_s) % DAY_S == 0
    history.close()

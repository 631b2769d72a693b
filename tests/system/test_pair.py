"""A pair of daemons at one broker: one sends notifications, and the other one continues where it stopped."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.support.hook import Hook
from tests.support.pair import Pair
from tests.support.parts import ROOT, Mosquitto
from tests.support.patience import until
from tests.support.viewers import EU, Viewers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.support.parts import Daemon

pytestmark = pytest.mark.mosquitto

POOR, ABSENT = "ManyPoor", "ReportsAbsent"


def settings(broker: int, webhook: str) -> dict[str, Any]:
    poor = {"service": "video", "groups": {"region": "eu"}, "metric": "pow", "threshold": 0.3, "recovery": 0.2}
    absent = {"service": "video", "by": [], "metric": "absent", "for": "8s"}
    return {
        "mqtt": {"host": "127.0.0.1", "port": broker, "reconnect": {"min": "100ms", "max": "200ms"}},
        "sessions": {"tick": "1s", "rating_interval": "5s", "timeout": "60s", "min_active": "1s"},
        "windows": ["5s", "15s"],
        "alerts": [
            poor | {"name": POOR, "min_sessions": 20},
            absent | {"name": ABSENT, "min_sessions": 20},
        ],
        "notify": {"webhooks": [{"url": webhook}]},
    }


class Stage(NamedTuple):
    """All parts."""

    broker: Mosquitto
    pair: Pair
    viewers: Viewers
    hook: Hook

    def until_told(self, *states: str) -> None:
        """Wait until the hook has got these states of the alert on poor ratings, and no others."""
        until(lambda: len(self.told) >= len(states), self.story)
        assert [told["state"] for told in self.told] == list(states), self.story()

    def roles(self) -> tuple[str, Daemon, Daemon]:
        """Wait until one daemon leads; its name, itself, and the one that stands by."""
        first = self.pair.leader()
        return first, self.pair.daemons[first], self.pair.daemons[self.pair.other(first)]

    def story(self) -> str:
        """What the hook was told, and what the daemons say."""
        what = ("state", "starts_at", "ends_at", "sent_at", "url", "figures")
        return "\n".join(str({name: told[name] for name in what}) for told in self.told) + "\n" + self.pair.logs()

    @property
    def told(self) -> list[dict[str, Any]]:
        return [told for told in self.hook.told if told["alert"] == POOR]

    def until_firing(self, daemon: Daemon, *, firing: bool = True) -> None:
        """Wait until the alert fires in a daemon, whether or not it sends notifications; or no longer does."""
        until(lambda: (state(daemon.snapshot()) == "firing") is firing, self.pair.logs)


def state(snapshot: Mapping[str, Any]) -> str | None:
    return next((each["state"] for each in snapshot.get("alerts", ()) if each["alert"] == POOR), None)


@contextmanager
def staged(directory: Path, **more: Any) -> Iterator[Stage]:
    """The parts; more: settings instead of those above."""
    with ExitStack() as parts:
        enter = parts.enter_context
        broker, hook = enter(Mosquitto(directory)), enter(Hook())
        pair = enter(Pair(directory, settings(broker.port, hook.url) | more))
        yield Stage(broker, pair, enter(Viewers(broker.port, set())), hook)


def both_killed_in_turn(stage: Stage) -> tuple[Daemon, Daemon]:
    """The leader is killed and comes back, then the other one while an alert fires; returns leader and dead one."""
    pair, (first, leader, spare) = stage.pair, stage.roles()
    stage.viewers.bad = {EU}
    stage.until_told("firing")
    stage.until_firing(spare)
    until(lambda: same_figures(leader, spare), pair.logs)
    until(lambda: knows_that_it_fires(spare), pair.logs)

    leader.kill()
    until(lambda: spare.value("qoemon_leader"), pair.logs)
    stage.viewers.bad = set()
    stage.until_told("firing", "resolved")
    firing, resolved = stage.told
    assert resolved["starts_at"] == firing["starts_at"]
    assert f"qoemon-{first}." in firing["url"]
    assert f"qoemon-{pair.other(first)}." in resolved["url"]

    leader.start()
    leader.ready()
    until(lambda: leader.value("qoemon_pair_peer_up"), pair.logs)
    assert pair.leaders == [pair.other(first)]
    assert f"{first} does not send notifications" in leader.get("/readyz").body
    assert f"{first} stands by" in spare.get("/readyz").body
    assert f"{first} stands by" in json.loads(spare.get("/api/v1/groups").body)["pair"]
    top = [sys.executable, "-m", "qoemon", "top", "--once", f"http://127.0.0.1:{spare.port}"]
    assert f"{first} stands by" in subprocess.run(top, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    stage.viewers.bad = {EU}
    stage.until_firing(leader)
    stage.until_told("firing", "resolved", "firing")

    # The one that was killed first has replayed what was sent while it was away.
    until(lambda: knows_that_it_fires(leader), pair.logs)
    spare.kill()
    until(lambda: pair.leaders == [first], pair.logs)
    return leader, spare


def test_spare_continues_where_a_killed_leader_stopped(tmp_path: Path) -> None:
    """Nothing is resolved falsely, sent twice or lost; the daemon that comes back stands by."""
    with staged(tmp_path) as stage:
        both_killed_in_turn(stage)
        stage.until_told("firing", "resolved", "firing")


def test_spare_that_was_restarted_continues_after_a_handover(tmp_path: Path) -> None:
    """A restart replays the alert from the journal; the other daemon knows that it was sent."""
    with staged(tmp_path) as stage:
        leader, spare = both_killed_in_turn(stage)
        spare.start()
        spare.ready()
        until(lambda: knows_that_it_fires(spare), stage.pair.logs)
        leader.signal(signal.SIGTERM)
        until(lambda: [stage.pair.daemons[name] for name in stage.pair.leaders] == [spare], stage.pair.logs)
        stage.until_firing(spare)
        stage.viewers.bad = set()
        stage.until_told("firing", "resolved", "firing", "resolved")


def test_pair_that_was_restarted_as_a_whole_repeats_nothing(tmp_path: Path) -> None:
    """Nobody can tell them what was delivered: it is in their states, with the id of the alert's begin."""
    with staged(tmp_path) as stage:
        pair = stage.pair
        first = pair.leader()
        stage.viewers.bad = {EU}
        stage.until_told("firing")
        until(lambda: all(map(knows_that_it_fires, pair.daemons.values())), pair.logs)
        # The one that sent gives the lease to the other one, and is away when that one is started.
        for name in (first, pair.other(first)):
            pair.daemons[name].stop()
        returned = pair.daemons[pair.other(first)]
        returned.start()
        returned.ready()
        until(lambda: returned.value("qoemon_leader"), pair.logs)
        stage.until_firing(returned)
        stage.viewers.bad = set()
        stage.until_told("firing", "resolved")
        assert stage.told[0]["starts_at"] == stage.told[1]["starts_at"]
        assert f"qoemon-{pair.other(first)}." in stage.told[1]["url"]


def test_leader_that_dies_before_the_answer_is_repeated_and_nothing_is_lost(tmp_path: Path) -> None:
    """The receiver has the notification, but nobody else can know: the spare sends it again, and its end once."""
    with staged(tmp_path) as stage:
        pair, (first, leader, spare) = stage.pair, stage.roles()
        stage.hook.mute = True
        stage.viewers.bad = {EU}
        stage.until_told("firing")
        leader.kill()
        stage.hook.mute = False
        stage.until_told("firing", "firing")
        assert f"qoemon-{pair.other(first)}." in stage.told[1]["url"]
        stage.until_firing(spare)
        stage.viewers.bad = set()
        stage.until_told("firing", "firing", "resolved")


def test_stopped_leader_sends_nothing_when_it_continues(tmp_path: Path) -> None:
    with staged(tmp_path) as stage:
        pair, (first, leader, spare) = stage.pair, stage.roles()
        stage.viewers.bad = {EU}
        stage.until_told("firing")
        stage.until_firing(spare)

        until(lambda: knows_that_it_fires(spare), pair.logs)
        leader.freeze()
        until(lambda: spare.value("qoemon_leader"), pair.logs)
        stage.viewers.bad = set()
        stage.until_told("firing", "resolved")
        leader.thaw()
        # It evaluates what has arrived meanwhile, resolves the alert for itself, and has nothing to send.
        stage.until_firing(leader, firing=False)
        until(lambda: pair.leaders == [pair.other(first)], pair.logs)
        ticks = leader.snapshot()["time_s"]
        until(lambda: leader.snapshot()["time_s"] > ticks + 2, pair.logs)
        stage.until_told("firing", "resolved")


def test_what_a_receiver_did_not_accept_is_sent_by_the_spare(tmp_path: Path) -> None:
    """The leader has tried, and ends; also a spare that lost its state neither resolves nor repeats an alert."""
    with staged(tmp_path) as stage:
        pair, (first, leader, spare) = stage.pair, stage.roles()
        stage.hook.out_of_order = True
        stage.viewers.bad = {EU}
        stage.until_firing(spare)
        until(lambda: any(value for (name, _), value in leader.samples().items() if name == FAILED), pair.logs)
        leader.kill()
        stage.hook.out_of_order = False
        stage.until_told("firing")
        assert f"qoemon-{pair.other(first)}." in stage.told[0]["url"]

        shutil.rmtree(tmp_path / f"state-{first}")
        leader.start()
        leader.ready()
        until(lambda: leader.value("qoemon_pair_peer_up"), pair.logs)
        spare.kill()
        until(lambda: leader.value("qoemon_leader"), pair.logs)
        stage.until_firing(leader)
        assert len(stage.told) == 1
        stage.viewers.bad = set()
        stage.until_told("firing", "resolved")
        assert stage.told[0]["starts_at"] == stage.told[1]["starts_at"]


def test_one_daemon_alerts_also_while_the_broker_is_down(tmp_path: Path) -> None:
    """The reports are absent for both; the lease cannot be renewed, and the alert is sent once all the same."""
    sessions = {"tick": "1s", "rating_interval": "2s", "timeout": "60s", "min_active": "1s"}
    with staged(tmp_path, sessions=sessions, windows=["2s", "4s"]) as stage:
        pair = stage.pair
        first = pair.leader()
        # What is usual is known after a dozen rating intervals.
        until(lambda: all(usual(daemon) >= 20 for daemon in pair.daemons.values()), pair.logs)
        stage.broker.stop()

        def absent() -> list[str]:
            return [told["state"] for told in stage.hook.told if told["alert"] == ABSENT]

        until(lambda: absent() == ["firing"], pair.logs)
        until(lambda: pair.leaders == [first], pair.logs)
        stage.broker.start()
        until(lambda: absent() == ["firing", "resolved"], pair.logs)
        until(lambda: all(each.value("qoemon_pair_connected") for each in pair.daemons.values()), pair.logs)
        until(lambda: pair.leaders == [first], pair.logs)
        assert absent() == ["firing", "resolved"]


FAILED = "qoemon_notifications_failed_total"


def usual(daemon: Daemon) -> float:
    return daemon.samples().get(("qoemon_service_usual_sessions", (("service", "video"),)), 0)


def knows_that_it_fires(daemon: Daemon) -> bool:
    """Whether a spare knows that the receiver was told; until then, a notification can come twice."""
    told = json.loads(daemon.get("/api/v1/pair").body)["delivered"]
    notices = [each["notice"] for of_receiver in told.values() for each in of_receiver]
    return any(notice["alert"] == POOR and notice["ends_s"] is None for notice in notices)


def same_figures(one: Daemon, other: Daemon) -> bool:
    """Whether both have the same figures of a tick, to the last digit.

    Not of every tick: a report that arrives around it can come before it here and after it there.
    """
    ours, theirs = one.snapshot(), other.snapshot()
    return ours["time_s"] == theirs["time_s"] and bool(figures(ours)) and figures(ours) == figures(theirs)


def figures(snapshot: Mapping[str, Any]) -> list[Any]:
    """The sessions and distributions of each group."""
    groups = (group for service in snapshot["services"] for group in service["groups"])
    return [(group["labels"], group["active_sessions"], group["windows"]) for group in groups]

"""A pool of real workers, driven by a test clock; messages are put into the inbox."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import sys
from typing import TYPE_CHECKING, Any

import pytest

from qoemon.config.config import Config
from qoemon.config.plan import core_plan
from qoemon.daemon.tick_loop import TickLoop
from qoemon.engine.stats import WorkerStats
from qoemon.engine.workers.messages import FreezeGroups, TickRequest
from qoemon.engine.workers.pool import WorkerPool
from qoemon.inputs.inbox import Message
from qoemon.inputs.mqtt.consumer import MqttConsumer
from qoemon.outputs.latest import Latest
from qoemon.outputs.notify.notifier import Notifier
from qoemon.outputs.publisher import Publisher
from tests.support.parts import children, parsed
from tests.support.patience import NEVER_S
from tests.support.patience import async_until as until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from qoemon.core.arrays import Arrays

T0 = 1_700_000_100
GROUP = {"service": "video", "region": "eu", "cdn": "a", "window": "1m"}
SETTINGS: dict[str, Any] = {
    "workers": 2,
    "sessions": {"tick": "10s", "rating_interval": "60s", "timeout": "60s"},
    "windows": ["1m"],
}


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes no worker that gets no time for one that hangs; a test of those sets the limits."""
    for name in ("SILENT_S", "HANGS_S"):
        monkeypatch.setattr(f"qoemon.engine.workers.handle.{name}", NEVER_S)


class Bench:
    """A pool whose broker is unreachable."""

    def __init__(self, directory: Path | None, **more: Any) -> None:
        self.settings = SETTINGS | more | ({"state": {"dir": str(directory)}} if directory else {})
        config = Config.model_validate(self.settings)
        self.now_s, self.steady_s = T0 + 1.0, 0.0
        self.latest = Latest()
        self.publisher = Publisher(10, self.latest, Notifier(()))
        self.pool = WorkerPool(config, self.publisher.dump, lambda: self.now_s)
        timing = core_plan(config).timing
        self.tick_loop = TickLoop(
            timing, self.pool, self.publisher, (), lambda: self.now_s, lambda: self.now_s - self.steady_s
        )
        self._arrived = 0

    @property
    def ingest(self) -> MqttConsumer:
        ingest = vars(self.pool)["_sources"].mqtt
        assert isinstance(ingest, MqttConsumer)
        return ingest

    @property
    def acknowledged(self) -> int:
        """Number of acknowledged messages; without a connection they are only counted."""
        return self.ingest.stats.stale_acks_total

    def watch(self, *sessions: str, region: str = "eu") -> None:
        """Send a report of each session, in separate messages."""
        for session in sessions:
            self._arrived += 1
            payload = json.dumps({"session": session, "play_s": 5.0, "stall_count": 1, "stall_s": 1.0}).encode()
            message = Message(f"qoe/v1/video/{region}/a", payload, self.now_s, 1, 1, 1)
            assert vars(self.pool)["_inbox"].put(message)

    async def tick(self, at_s: float) -> None:
        """Set the clock, and wait for the tick that is due then."""
        self.now_s = at_s
        await until(lambda: self.latest.value and self.latest.value.snapshot.time_s == at_s // 10 * 10)

    def metric(self, name: str, **labels: str) -> float:
        """The value of a sample; 0 if there is none."""
        assert self.latest.value is not None
        return parsed(self.latest.value.metrics.whole.decode()).get((name, tuple(sorted(labels.items()))), 0.0)

    def worker_stats(self) -> list[WorkerStats]:
        return [worker.worker_stats for worker in vars(self.pool)["_workers"]]

    def workers(self) -> list[int]:
        return sorted(pid for pid, command in children(os.getpid()).items() if "qoemon.engine.workers" in command)


@contextlib.asynccontextmanager
async def running(bench: Bench) -> AsyncIterator[Bench]:
    """From the start of all workers to their end."""
    bench.publisher.restore(await bench.pool.recover(bench.publisher.add_past))
    parts = bench.pool.parts()
    parts.pop("mqtt").close()
    tasks = [asyncio.create_task(part) for part in parts.values()]
    evaluate = asyncio.create_task(bench.tick_loop.run())
    try:
        await until(lambda: not bench.pool.problems())
        yield bench
    finally:
        bench.tick_loop.stop()
        await evaluate
        await bench.pool.finish()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        bench.publisher.close()
        bench.pool.close()
    assert not bench.workers()


SESSIONS = [f"s{number}" for number in range(20)]


async def test_a_tick_covers_what_arrived_before_it_with_every_worker_and_nothing_later() -> None:
    async with running(Bench(None)) as bench:
        bench.watch(*SESSIONS)
        bench.now_s = T0 + 10.0
        bench.watch("later", "and", "later still")
        await bench.tick(T0 + 10.2)
        assert bench.metric("qoemon_observations", **GROUP) == 20
        assert bench.metric("qoemon_worker_up", worker="0") == bench.metric("qoemon_worker_up", worker="1") == 1
        await bench.tick(T0 + 20.2)
        assert bench.metric("qoemon_observations", **GROUP) == 23
        by_worker = [bench.metric("qoemon_worker_reports_total", worker=str(number)) for number in range(2)]
        assert sum(by_worker) == bench.metric("qoemon_reports_total") == 23
        assert min(by_worker) > 0
        await until(lambda: bench.acknowledged == 23)


async def test_nothing_is_acknowledged_before_all_workers_that_have_a_part_have_stored_it(tmp_path: Path) -> None:
    async with running(Bench(tmp_path / "state")) as bench:
        pid = bench.workers()[1]
        os.kill(pid, signal.SIGSTOP)
        bench.watch(*SESSIONS)
        await asyncio.sleep(1)
        assert bench.acknowledged == 0
        os.kill(pid, signal.SIGCONT)
        await until(lambda: bench.acknowledged == 20)


@pytest.mark.parametrize("by_s", [-3600, -90, 90, 3600])
async def test_a_clock_that_is_set_moves_the_windows_of_all_workers_with_it(by_s: int) -> None:
    async with running(Bench(None)) as bench:
        bench.now_s = T0 + 7.0
        bench.watch(*SESSIONS)
        await bench.tick(T0 + 10.1)
        assert bench.metric("qoemon_observations", **GROUP) == 20
        bench.steady_s += by_s
        bench.now_s += by_s
        await until(lambda: bench.tick_loop.stats.clock_steps)
        await bench.tick(bench.now_s + 10)
        # What is left over when whole rating intervals are moved is time that passes.
        end_s, reported_s = bench.now_s // 10 * 10, T0 + 7 + by_s // 60 * 60
        seen = 20 if end_s - 60 <= reported_s < end_s else 0
        assert bench.metric("qoemon_observations", **GROUP) == seen
        bench.watch("after")
        await bench.tick(bench.now_s + 10)
        assert bench.metric("qoemon_observations", **GROUP) == seen + 1


async def test_while_a_worker_is_away_figures_stay_and_their_age_is_told(tmp_path: Path) -> None:
    """Results of half of the users would be mistaken for those of all."""
    async with running(Bench(tmp_path / "state")) as bench:
        bench.watch(*SESSIONS)
        await bench.tick(T0 + 10.1)
        before = bench.workers()
        os.kill(before[0], signal.SIGKILL)
        await until(bench.pool.problems)
        (problem,) = bench.pool.problems()
        assert "has ended and is being restarted" in problem
        bench.now_s = T0 + 20.1
        await until(lambda: sum(bench.metric("qoemon_worker_up", worker=str(number)) for number in range(2)) == 1)
        assert bench.metric("qoemon_observations", **GROUP) == 20
        assert bench.metric("qoemon_snapshot_timestamp_seconds") == T0 + 10
        bench.watch("meanwhile", "other")
        await until(lambda: not bench.pool.problems())
        await bench.tick(T0 + 30.1)
        assert bench.metric("qoemon_observations", **GROUP) == 22
        restarts = [bench.metric("qoemon_worker_restarts_total", worker=str(number)) for number in range(2)]
        assert sorted(restarts) == [0, 1]
        assert bench.metric("qoemon_tick_skipped_total") == 0
        assert len(set(bench.workers()) & set(before)) == 1


async def test_without_state_counters_do_not_go_back_when_a_worker_ends() -> None:
    async with running(Bench(None)) as bench:
        bench.watch(*SESSIONS)
        await bench.tick(T0 + 50.1)
        await bench.tick(T0 + 120.1)
        ratings = {"service": "video", "region": "eu", "cdn": "a", "rating": "5"}
        before = bench.metric("qoemon_expected_ratings_total", **ratings)
        cpu_s = bench.metric("qoemon_worker_cpu_seconds_total", worker="0")
        assert before > 0
        os.kill(bench.workers()[0], signal.SIGKILL)
        await until(bench.pool.problems)
        await until(lambda: not bench.pool.problems())
        await bench.tick(T0 + 130.1)
        assert bench.metric("qoemon_expected_ratings_total", **ratings) == before
        assert bench.metric("qoemon_reports_total") == 20
        assert bench.metric("qoemon_worker_cpu_seconds_total", worker="0") >= cpu_s


async def test_a_worker_that_hangs_is_told_of_and_ended_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(Bench(tmp_path / "state", sessions=SETTINGS["sessions"] | {"tick": "5s"})) as bench:
        bench.watch(*SESSIONS)
        bench.now_s = T0 + 5.1
        await until(lambda: bench.latest.value)
        monkeypatch.setattr("qoemon.engine.workers.handle.SILENT_S", 5.0)
        monkeypatch.setattr("qoemon.engine.workers.handle.HANGS_S", 12.0)
        await asyncio.sleep(2)  # It counts from the next word.
        os.kill(bench.workers()[0], signal.SIGSTOP)
        await until(bench.pool.problems)
        assert "has sent nothing for" in bench.pool.problems()[0]
        await until(lambda: sum(worker.up for worker in bench.worker_stats()) == 1)
        bench.now_s = T0 + 10.1
        await until(lambda: "no figures of this tick: worker 0 has not answered in time" in caplog.text)
        await until(lambda: any(worker.restarts for worker in bench.worker_stats()))
        monkeypatch.setattr("qoemon.engine.workers.handle.SILENT_S", NEVER_S)
        await until(lambda: not bench.pool.problems())
        await bench.tick(T0 + 20.1)
        assert bench.metric("qoemon_observations", **GROUP) == 20


async def test_a_changed_configuration_reaches_all_workers_and_windows_stay() -> None:
    async with running(Bench(None, services={"video": {"mapping": "video-stall", "theta": 0.2}})) as bench:
        bench.watch(*SESSIONS)
        await bench.tick(T0 + 10.1)
        sos = bench.metric("qoemon_sos", **GROUP)
        changed = {"video": {"mapping": "video-stall", "theta": 0.3}, "web": {"mapping": "web-iqx", "theta": 0.25}}
        wanted = Config.model_validate(bench.settings | {"services": changed})
        await bench.tick_loop.between_ticks(bench.pool.change(wanted))
        bench.watch("new")
        await bench.tick(T0 + 20.1)
        assert bench.metric("qoemon_observations", **GROUP) == 21
        assert bench.metric("qoemon_sos", **GROUP) != sos


async def test_workers_that_stop_have_stored_all_and_the_next_begin_there(tmp_path: Path) -> None:
    async with running(Bench(tmp_path / "state")) as bench:
        bench.watch(*SESSIONS)
        await bench.tick(T0 + 10.1)
    after = Bench(tmp_path / "state")
    after.now_s = T0 + 15
    async with running(after):
        await after.tick(T0 + 20.1)
        assert after.metric("qoemon_observations", **GROUP) == 20
        assert after.metric("qoemon_reports_total") == 20


async def test_a_worker_that_is_not_up_gets_no_tick_before_what_arrived_before_it(tmp_path: Path) -> None:
    """It would close the interval without these reports."""
    async with running(Bench(tmp_path)) as bench:
        handle = vars(bench.pool)["_workers"][0]
        sent: list[object] = []
        channel, vars(handle)["_channel"] = vars(handle)["_channel"], Recording(sent)
        vars(handle)["_up"] = False
        handle.send_batch(1, b"reports")
        assert handle.request_tick(TickRequest(T0 + 60, 0.0, None)).result() is None
        handle._begin()
        assert sent == [FreezeGroups({}), b"reports"] or sent == [b"reports"]
        vars(handle)["_channel"] = channel
        vars(handle)["_uncommitted"].clear()


class Recording:
    """A channel that only notes what is sent."""

    def __init__(self, sent: list[object]) -> None:
        self.send = self.send_packed = sent.append


async def test_a_clock_step_is_stored_by_the_parent_at_once(tmp_path: Path) -> None:
    """As by the workers: after a kill both must be of the same clock."""
    bench = Bench(tmp_path)
    async with running(bench):
        await bench.tick(T0 + 10.1)
        await until(lambda: not vars(bench.pool)["_unstored"])
        await bench.tick_loop.between_ticks(bench.pool.shift(3600, bench.now_s + 3600))
        assert vars(bench.pool)["_unstored"]


async def test_a_checkpoint_has_what_its_tick_left_to_send(tmp_path: Path) -> None:
    """Otherwise a kill would lose the notices of alerts that have changed in the stored state."""
    bench, published = Bench(tmp_path), []

    def told() -> Arrays:
        published.append(bench.latest.value and bench.latest.value.snapshot.time_s)
        return bench.publisher.dump()

    vars(bench.pool)["_extra_state"] = told
    async with running(bench):
        await bench.tick(T0 + 10.1)
        await until(lambda: published)
        await bench.tick(T0 + 20.1)
        await until(lambda: len(published) == 2)
    assert published == [T0 + 10, T0 + 20, T0 + 20], "the last one at the end"


async def test_another_number_of_workers_begins_anew_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(Bench(tmp_path / "state")) as bench:
        bench.watch(*SESSIONS)
        await bench.tick(T0 + 10.1)
    assert "divided differently" not in caplog.text
    after = Bench(tmp_path / "state", workers=3)
    assert "sessions were divided differently before (workers-2, now workers-3)" in caplog.text
    async with running(after):
        await after.tick(T0 + 20.1)
        assert after.metric("qoemon_sessions") == 0

    again = Bench(tmp_path / "state")
    assert "(workers-3, now workers-2)" in caplog.text
    async with running(again):
        await again.tick(T0 + 30.1)
        assert again.metric("qoemon_sessions") == 0, "what it had is out of date"


async def test_counters_do_not_fall_when_what_a_worker_has_stored_cannot_be_read(tmp_path: Path) -> None:
    async with running(Bench(tmp_path / "state")) as bench:
        bench.watch(*SESSIONS)
        await bench.tick(T0 + 50.1)
        await bench.tick(T0 + 120.1)
        before = bench.metric("qoemon_expected_ratings_total", service="video", region="eu", cdn="a", rating="1")
        os.kill(vars(bench.pool)["_workers"][0].process.pid, signal.SIGKILL)
        for file in (tmp_path / "state" / "workers-2" / "0").glob("qoemon.db*"):
            file.write_bytes(b"rubbish" * 10_000)
        await until(bench.pool.problems)
        await until(lambda: not bench.pool.problems())
        await bench.tick(T0 + 130.1)
        assert bench.metric("qoemon_sessions") < 20
        assert bench.metric("qoemon_reports_total") == 20
        after = bench.metric("qoemon_expected_ratings_total", service="video", region="eu", cdn="a", rating="1")
        assert after == before > 0


async def test_a_worker_that_cannot_be_started_is_told_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    python = sys.executable
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    bench = Bench(None)
    task = asyncio.create_task(vars(bench.pool)["_workers"][0].process.run())
    await until(lambda: "could not be started (No such file or directory)" in caplog.text)
    assert "worker 0 is being started" in bench.pool.problems()[0]
    monkeypatch.setattr(sys, "executable", python)
    await until(lambda: len(bench.pool.problems()) == 1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    bench.pool.close()


async def test_beyond_the_limit_of_groups_all_workers_pool_the_same_also_after_a_reload() -> None:
    limits = {"groups": 2}
    async with running(Bench(None, limits=limits)) as bench:
        for number in range(4):
            bench.watch(*(f"{region}-{number}" for region in "abcd"), region="first")
        await bench.tick(T0 + 10.1)
        for region in ("second", "third", "fourth"):
            bench.watch(*(f"{region}-{number}" for number in range(10)), region=region)
        await bench.tick(T0 + 20.1)
        wanted = Config.model_validate(bench.settings | {"quantiles": [0.5]})
        await bench.tick_loop.between_ticks(bench.pool.change(wanted))
        await bench.tick(T0 + 30.1)
        for region in ("second", "third", "fifth"):
            bench.watch(*(f"{region}-{number}-again" for number in range(10)), region=region)
        await bench.tick(T0 + 40.1)
        told = {
            region: bench.metric("qoemon_observations", **GROUP | {"region": region})
            for region in ("first", "second", "third", "fourth", "fifth")
        }
        other = bench.metric("qoemon_observations", service="video", region="other", cdn="other", window="1m")
        assert told["first"] == 16
        assert sorted(told.values()) == [0, 0, 0, 16, 20] or sorted(told.values()) == [0, 0, 0, 10, 16]
        assert other + sum(told.values()) == 16 + 60
        assert bench.metric("qoemon_reports_pooled_total") >= 20


async def test_a_stop_stores_the_newest_figures_also_while_those_before_them_are_being_written(
    tmp_path: Path,
) -> None:
    async with running(Bench(tmp_path)) as bench:
        (database,) = tmp_path.glob("*/parent/qoemon.db")
        other = sqlite3.connect(database, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")  # Until it is closed, nothing else is committed.
        bench.watch(*SESSIONS)
        await bench.tick(T0 + 10.1)
        bench.watch("later")
        await bench.tick(T0 + 20.1)
        writing = asyncio.create_task(until(lambda: not bench.workers()))
        writing.add_done_callback(lambda _: other.close())
    assert writing.done()
    with contextlib.closing(Bench(tmp_path).pool) as pool:
        state = await pool.recover(lambda _: None)
    totals = json.loads(state["evaluation/shards"].tobytes())
    assert sum(shard["events"]["reports"] for shard in totals.values()) == 21

"""The state of a daemon is exported and imported elsewhere, by the commands that the documentation names."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from qoemon.config.config import Config
from qoemon.config.plan import core_plan, new_evaluation
from qoemon.core.evaluation import Evaluation
from qoemon.core.sharding.shard_pipeline import ShardPipeline
from qoemon.engine.storage import open_store
from qoemon.outputs.snapshot_json import snapshot_document
from qoemon.state.recovery import Recovery, recover
from tests.support.parts import ROOT, Daemon, Mosquitto
from tests.support.patience import TEST_S, async_until
from tests.support.stream import Stream, away_from_the_close, disturbed, figures, settings, undisturbed

if TYPE_CHECKING:
    from pathlib import Path


pytestmark = [pytest.mark.mosquitto, pytest.mark.timeout(2 * TEST_S)]


def state(*arguments: str) -> str:
    """What `qoemon state` prints."""
    command = [sys.executable, "-m", "qoemon", "state", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_daemon_that_moves_counts_every_report_once(tmp_path: Path, workers: int) -> None:
    """Stopped, exported, imported, started elsewhere under the same client id, while clients go on reporting."""

    async def move(_: Mosquitto, daemon: Daemon) -> None:
        await async_until(lambda: daemon.value("qoemon_reports_total") > 1000, daemon.log.read_text)
        await asyncio.to_thread(daemon.stop)
        file, old = str(tmp_path / "state.tar.gz"), str(tmp_path / "qoemon.yaml")
        assert "is running" not in await asyncio.to_thread(state, "export", file, "-c", old)
        vars(daemon)["_settings"]["state"]["dir"] = str(tmp_path / "elsewhere")
        daemon.command()
        assert "client id killed" in (await asyncio.to_thread(imported, file, old)).stderr
        await asyncio.to_thread(daemon.start)

    final = await disturbed(tmp_path, move, workers=workers)
    assert final["events"]["reports"] == final["sent"]
    assert "restored in" in final["log"]


def imported(file: str, configuration: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "qoemon", "state", "import", file, "-c", configuration]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)


async def test_an_export_of_a_running_daemon_has_all_that_was_stored_by_then(tmp_path: Path) -> None:
    """And nothing else: with the messages after it, its figures are those of an undisturbed run."""
    await away_from_the_close()
    with Mosquitto(tmp_path) as broker:
        options: dict[str, Any] = settings(broker.port, tmp_path / "state")
        with Daemon(tmp_path, options) as daemon:
            await asyncio.to_thread(daemon.ready)
            stream, file = Stream(broker.port), str(tmp_path / "state.tar.gz")
            streaming = asyncio.create_task(stream.run())
            await async_until(lambda: daemon.value("qoemon_checkpoints_total") >= 2, daemon.log.read_text)
            before = daemon.snapshot()["events"]["reports"]
            said = await asyncio.to_thread(state, "export", file, "-c", str(tmp_path / "qoemon.yaml"))
            assert f"qoemon is running (process {daemon.pid})" in said
            after = stream.reports
            await async_until(lambda: daemon.value("qoemon_reports_total") > after, daemon.log.read_text)
            stream.stopped = True
            await streaming
            await stream.close()
    moved = {**options, "state": {**options["state"], "dir": str(tmp_path / "elsewhere")}}
    (tmp_path / "moved.yaml").write_text(json.dumps(moved))
    await asyncio.to_thread(imported, file, str(tmp_path / "moved.yaml"))
    shown = json.loads(await asyncio.to_thread(state, "show", "--json", "-c", str(tmp_path / "moved.yaml")))
    assert shown["process"] is None
    assert shown["broker_sessions"] == [[f"127.0.0.1:{broker.port}", "killed"]]
    assert {each["service"] for each in shown["services"] if each["sessions"]} == {"video", "web"}
    assert before <= counted_after(Config.model_validate(moved), stream) < stream.reports


def counted_after(config: Config, stream: Stream) -> int:
    """How many reports the imported state has, which are the first ones; those after it complete its figures."""
    plan, evaluations = core_plan(config), list[Evaluation]()

    def restore(stored: Any) -> None:
        evaluations.append(new_evaluation(config))
        evaluations[-1].load(stored)

    assert config.state.dir is not None
    store = open_store(config, config.state.dir)
    try:
        pipeline, _ = recover(
            store, lambda: ShardPipeline(plan), Recovery(restore, lambda counts: evaluations[-1].tick([counts]))
        )
    finally:
        store.close()
    reports = sum(pipeline.events.get(name, 0) for name in ("reports", "reports_duplicate"))
    rest, passed = list(stream.sent), 0
    while passed < reports:
        passed += len(json.loads(rest.pop(0).payload))
    assert passed == reports
    for counts in pipeline.run(rest):
        evaluations[-1].tick([counts])
    expected = undisturbed(stream, config)
    tick = evaluations[-1].tick([pipeline.tick(int(stream.sent[-1].arrival_s) // 2 * 2 + 2)])
    assert figures(snapshot_document(*tick)) == expected
    return reports

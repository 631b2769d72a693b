"""What commit 9bbf5c8 served of a recording, and states that it stored in the middle of it.

The files in v1/ were made by it: the recording, what it served at the last tick, and the state directories of one
process and of two workers, each with a checkpoint and a journal behind it.
"""

from __future__ import annotations

import gzip
import json
import shutil
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from qoemon.common.duration import seconds
from qoemon.config.config import Config, load
from qoemon.config.plan import core_plan, new_evaluation, shard_plan
from qoemon.core.evaluation import Evaluation, Tick
from qoemon.core.sharding.shard_pipeline import ShardPipeline
from qoemon.core.sharding.sparse import sparse_counts
from qoemon.core.wire.partition import Partitioner
from qoemon.engine.storage import open_store, open_worker_store
from qoemon.engine.workers.pool import WorkerPool
from qoemon.outputs.snapshot_json import snapshot_json
from qoemon.state.recovery import Recovery, recover
from qoemon.tools.recordings.recording import Recorded, Recording
from qoemon.tools.recordings.replay import ticks
from tests.support.figures import differences

V1 = Path(__file__).parent / "v1"
JOURNAL_ENDS_S = 1_700_000_045.0 + 29.2 * 60
"""Earlier messages are in the checkpoint or the journal."""
WORKERS = 2


def config(**more: Any) -> Config:
    return load(V1 / "qoemon.yaml").model_copy(update=more)


def served(tick: Tick) -> dict[str, Any]:
    """The snapshot."""
    document: dict[str, Any] = json.loads(b"".join(snapshot_json(*tick)))
    return document


def golden() -> dict[str, Any]:
    """The snapshot of version 1, with the present names of its fields."""
    text = gzip.decompress((V1 / "snapshot.json.gz").read_bytes())
    document: dict[str, Any] = json.loads(text.replace(b'"quantiles"', b'"opinion_quantiles"'))
    return document


def assert_as_before(now: dict[str, Any]) -> None:
    """What does not depend on when reports are sent is as it was, and the rest nearly.

    A response counts at its arrival, as in version 1. Differences of counters are spread over the time since the
    session was last heard since version 3; then stalls are counted in other intervals, and in their right number.
    Bounds count the effective number of users since then, which is smaller than the number of heads.
    """
    before = golden()
    assert now["time_s"] == before["time_s"]
    assert now["sessions"] == before["sessions"]
    for old, new in zip(groups_of(before, "web"), groups_of(now, "web"), strict=True):
        for name in ("labels", "regime", "active_sessions", "pow_contribution", "expected_ratings"):
            assert differences(new[name], old[name]) == set(), name
        assert differences(without_bounds(new["windows"]), without_bounds(old["windows"])) == set()
    for old, new in zip(groups_of(before, "video"), groups_of(now, "video"), strict=True):
        assert new["labels"] == old["labels"]
        assert new["windows"].keys() == old["windows"].keys()
        for window, figures in new["windows"].items():
            for name, within in (("pow", 0.01), ("gob", 0.01), ("mos", 0.03)):
                assert figures[name] == pytest.approx(old["windows"][window][name], abs=within)
        assert shares(new) == pytest.approx(shares(old), abs=0.01)


def without_bounds(windows: dict[str, Any]) -> dict[str, Any]:
    """The figures of each window but their bounds."""
    return {
        length: {name: figure for name, figure in figures.items() if not name.endswith("_bounds")}
        for length, figures in windows.items()
    }


def groups_of(document: dict[str, Any], service: str) -> list[dict[str, Any]]:
    """The groups of a service, in the order of their labels."""
    groups = [group for each in document["services"] if each["service"] == service for group in each["groups"]]
    return sorted(groups, key=lambda group: json.dumps(group["labels"]))


def shares(group: dict[str, Any]) -> list[float]:
    """The shares of the ratings in all of a group's."""
    ratings = list(group["expected_ratings"].values())
    return [each / max(sum(ratings), 1e-9) for each in ratings]


def later() -> tuple[list[Recorded], float]:
    """The messages after those of the states, and when the recording ends."""
    recording = Recording(V1 / "recording.jsonl.gz")
    messages = [message for message in recording.messages() if message.arrival_s >= JOURNAL_ENDS_S]
    return messages, recording.end_s


def test_a_recording_gives_what_it_gave() -> None:
    *_, last = ticks(Recording(V1 / "recording.jsonl.gz"), config(), lambda _: None)
    assert_as_before(served(last.tick))


def test_a_state_of_one_process_continues_as_if_nothing_had_happened(tmp_path: Path) -> None:
    """After the rest of the recording, windows, totals, users, alerts and regimes are as without the upgrade."""
    shutil.copytree(V1 / "state", tmp_path / "state")
    settings, evaluations = config(), list[Evaluation]()
    plan = core_plan(settings)

    def restore(state: Any) -> None:
        evaluations.append(new_evaluation(settings))
        assert evaluations[-1].load(state) == ()

    def evaluate(counts: Any) -> None:
        evaluations[-1].tick([counts])

    store = open_store(settings, tmp_path / "state")
    try:
        pipeline, state = recover(store, lambda: ShardPipeline(plan), Recovery(restore, evaluate))
    finally:
        store.close()
    assert "unsent" in state
    messages, end_s = later()
    for counts in [*pipeline.run(messages), *pipeline.until(end_s)]:
        tick = evaluations[-1].tick([counts])
    assert_as_before(served(tick))


async def test_states_of_workers_continue_as_if_nothing_had_happened(tmp_path: Path) -> None:
    """Their windows are now in the parent's state."""
    shutil.copytree(V1 / "state-workers", tmp_path / "state")
    settings = config(workers=WORKERS)
    settings = settings.model_copy(update={"state": settings.state.model_copy(update={"dir": tmp_path / "state"})})
    evaluation = await restored_by_the_pool(settings)
    shards = []
    for number in range(WORKERS):
        store = open_worker_store(settings, number)
        assert store is not None
        try:
            plan = shard_plan(settings, settings.workers)
            pipeline, _ = recover(store, lambda plan=plan: ShardPipeline(plan, retain=True), Recovery())  # type: ignore[misc]
        finally:
            store.close()
        shards.append(pipeline)
    messages, end_s = later()
    tick = evaluated(evaluation, shards, messages, end_s, settings)
    assert_as_before(served(tick))


async def restored_by_the_pool(settings: Config) -> Evaluation:
    pool = WorkerPool(settings)
    try:
        assert "unsent" in await pool.recover(lambda _: None)
        evaluation: Evaluation = vars(pool)["_evaluation"]
    finally:
        pool.close()
    return evaluation


def evaluated(
    evaluation: Evaluation, shards: list[ShardPipeline], messages: list[Recorded], end_s: float, settings: Config
) -> Tick:
    """The last tick, when the messages are routed to the shards."""
    tick_s, partitioner = int(seconds("10s")), Partitioner(WORKERS, core_plan(settings))
    newest = int(JOURNAL_ENDS_S // tick_s)
    for number, arrived in groupby(messages, lambda message: int(message.arrival_s // tick_s)):
        for passed in range(newest + 1, number + 1):
            tick = evaluation.tick([sparse_counts(shard.tick(passed * tick_s)) for shard in shards])
        newest = number
        for message in arrived:
            for shard, payload in partitioner.split(message.topic, message.payload):
                shards[shard].apply([message._replace(payload=payload)])
    for passed in range(newest + 1, int(end_s // tick_s) + 1):
        tick = evaluation.tick([sparse_counts(shard.tick(passed * tick_s)) for shard in shards])
    return tick

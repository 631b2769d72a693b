"""What commit 9bbf5c8 served of a recording, and states that it stored in the middle of it.

The files in v1/ were made by it: the recording, what it served at the last tick, digests of what it served at every
tick, and the state directories of one process and of two workers, each with a checkpoint and a journal behind it.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
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
from qoemon.daemon.metrics import initial_metrics
from qoemon.engine.storage import open_store, open_worker_store
from qoemon.engine.workers.pool import WorkerPool
from qoemon.outputs.metrics.exporter import Exporter
from qoemon.outputs.snapshot_json import snapshot_json
from qoemon.state.recovery import Recovery, recover
from qoemon.tools.recordings.recording import Recorded, Recording
from qoemon.tools.recordings.replay import ticks

V1 = Path(__file__).parent / "v1"
JOURNAL_ENDS_S = 1_700_000_045.0 + 29.2 * 60
"""Earlier messages are in the checkpoint or the journal."""
WORKERS = 2


def config(**more: Any) -> Config:
    return load(V1 / "qoemon.yaml").model_copy(update=more)


def served(tick: Tick) -> bytes:
    """The snapshot, without the event that version 1 did not count."""
    return re.sub(rb'"reports_empty":\d+,', b"", b"".join(snapshot_json(*tick)))


def golden() -> bytes:
    return gzip.decompress((V1 / "snapshot.json.gz").read_bytes())


def later() -> tuple[list[Recorded], float]:
    """The messages after those of the states, and when the recording ends."""
    recording = Recording(V1 / "recording.jsonl.gz")
    messages = [message for message in recording.messages() if message.arrival_s >= JOURNAL_ENDS_S]
    return messages, recording.end_s


def test_a_recording_gives_at_every_tick_what_it_gave() -> None:
    """To the last digit: the snapshot of each tick, and the metrics of the last."""
    digest, expected = hashlib.sha256(), json.loads((V1 / "digests.json").read_text())
    number = 0
    for number, tick in enumerate(ticks(Recording(V1 / "recording.jsonl.gz"), config(), lambda _: None), 1):  # noqa: B007
        digest.update(served(tick))
    assert served(tick) == golden()
    assert (number, digest.hexdigest()) == (expected["ticks"], expected["snapshot"])
    metrics = Exporter().render(*tick, initial_metrics()).metrics.whole.decode()
    was = gzip.decompress((V1 / "metrics.txt.gz").read_bytes()).decode()
    assert samples(metrics) == samples(was)


def samples(exposition: str) -> list[str]:
    """The sample lines, without those of the process and of metrics that version 1 did not have."""
    mqtt = (f"qoemon_mqtt_{name}" for name in ("session_expiry", "granted_qos", "sessions_lost"))
    other = ("#", "process_", "qoemon_reports_empty", *mqtt)
    return sorted(line for line in exposition.splitlines() if line and not line.startswith(other))


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
    assert served(tick) == golden()


async def test_states_of_workers_continue_as_if_nothing_had_happened(tmp_path: Path) -> None:
    """Their windows are now in the parent's state. Earlier sums of floats differ by rounding."""
    shutil.copytree(V1 / "state-workers", tmp_path / "state")
    settings = config(workers=WORKERS)
    settings = settings.model_copy(update={"state": settings.state.model_copy(update={"dir": tmp_path / "state"})})
    evaluation = await restored_by_the_pool(settings)
    shards = []
    for number in range(WORKERS):
        store = open_worker_store(settings, number)
        assert store is not None
        try:
            plan = shard_plan(settings)
            pipeline, _ = recover(store, lambda plan=plan: ShardPipeline(plan, retain=True), Recovery())  # type: ignore[misc]
        finally:
            store.close()
        shards.append(pipeline)
    messages, end_s = later()
    tick = evaluated(evaluation, shards, messages, end_s, settings)
    assert without_expected(served(tick)) == without_expected(golden())
    assert expected_of(served(tick)) == pytest.approx(expected_of(golden()), rel=1e-12)


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


def groups_of(document: bytes) -> list[dict[str, Any]]:
    return [group for service in json.loads(document)["services"] for group in service["groups"]]


def without_expected(document: bytes) -> list[dict[str, Any]]:
    """The served values of each group, without sums of floats."""
    groups = groups_of(document)
    for group in groups:
        del group["expected_ratings"]
    return sorted(groups, key=json.dumps)


def expected_of(document: bytes) -> list[float]:
    groups = sorted(groups_of(document), key=lambda group: json.dumps(group["labels"]))
    return [share for group in groups for share in group["expected_ratings"].values()]

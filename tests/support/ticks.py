"""Ticks of one process as the truth, and the comparison of what is served of ticks."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

from qoemon.config.plan import core_plan, new_evaluation, shard_plan
from qoemon.core.sharding.shard_pipeline import ShardPipeline
from qoemon.core.sharding.sparse import sparse_counts
from qoemon.core.wire.partition import Partitioner
from qoemon.engine.evaluations import successor
from qoemon.outputs.snapshot_json import rolled_up, snapshot_document

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from qoemon.config.config import Config
    from qoemon.core.evaluation import Tick
    from qoemon.core.wire.message import Arrived
    from qoemon.state.frames import StoredMessage


def one_process(
    config: Config,
    messages: Iterable[Arrived],
    start_s: int,
    end_s: int,
    changes: Mapping[int, Config] | None = None,
) -> Iterator[Tick]:
    """The ticks of a single pipeline, after start_s up to end_s.

    changes  configurations that it is reloaded with, by the tick after which that is
    """
    pipeline, evaluation, tick_s = ShardPipeline(core_plan(config)), new_evaluation(config), config.sessions.tick_s
    left = list(messages)
    for at_s in range(start_s + tick_s, end_s + 1, tick_s):
        some = list(itertools.takewhile(lambda each, at_s=at_s: each.arrival_s < at_s, left))
        del left[: len(some)]
        if some:
            pipeline.apply(some)
        yield evaluation.tick([pipeline.tick(at_s)])
        if changes and (changed := changes.get(at_s)):
            before, pipeline = pipeline, ShardPipeline(core_plan(changed))
            pipeline.load(before.dump())
            evaluation = successor(changed, evaluation)


def in_shards(
    config: Config, messages: Iterable[StoredMessage], start_s: int, end_s: int, shards: int
) -> Iterator[Tick]:
    """The ticks of several pipelines, as workers have one each."""
    divided = [ShardPipeline(shard_plan(config, shards)) for _ in range(shards)]
    evaluation, tick_s = new_evaluation(config), config.sessions.tick_s
    partitioner, left = Partitioner(shards, core_plan(config)), list(messages)
    for at_s in range(start_s + tick_s, end_s + 1, tick_s):
        while left and left[0].arrival_s < at_s:
            message = left.pop(0)
            for shard, payload in partitioner.split(message.topic, message.payload, message.kind):
                divided[shard].apply([message._replace(payload=payload)])
        yield evaluation.tick([sparse_counts(pipeline.tick(at_s)) for pipeline in divided])


def figures(tick: Tick) -> dict[str, Any]:
    """All that is served of a tick, with sums of groups, and the counters of alerts; equals in order of labels."""
    by = [tick.snapshot.labels, ("region",), ()]
    told = {",".join(labels) or "all": snapshot_document(*rolled_up(*tick, labels)) for labels in by}
    for each in told.values():
        each["alerts"].sort(key=lambda alert: (alert["alert"], alert["service"], str(alert["labels"])))
        for service in each["services"]:
            service["most_excess_poor"].sort(key=lambda most: (round(-most["excess_poor"], 9), str(most["labels"])))
    return told | {"transitions": {str(key): n for key, n in sorted(tick.detections.transitions.items(), key=str)}}


def differences(one: Any, other: Any, path: str = "", of_bounds: float = 1e-12) -> Iterator[str]:
    """Where two documents differ: counts and words at all, floats by more than 1e-12, bounds by more than that."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in one.keys() | other.keys():
            yield from differences(one.get(key, "nothing"), other.get(key, "nothing"), f"{path}/{key}", of_bounds)
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        for at, (a, b) in enumerate(zip(one, other, strict=True)):
            yield from differences(a, b, f"{path}/{at}", of_bounds)
    elif isinstance(one, float) and isinstance(other, float):
        most = of_bounds if "_bounds/" in path or path.endswith("/surest") else 1e-12
        if not (math.isclose(one, other, rel_tol=1e-12, abs_tol=most) or (math.isnan(one) and math.isnan(other))):
            yield f"{path}: {one!r} and {other!r}"
    elif one != other:
        yield f"{path}: {one!r} and {other!r}"


def assert_same(
    expected: Sequence[dict[str, Any]], found: Sequence[dict[str, Any]], of_bounds: float = 1e-12
) -> None:
    assert [each["all"]["time_s"] for each in expected] == [each["all"]["time_s"] for each in found]
    for one, other in zip(expected, found, strict=True):
        differ = list(differences(one, other, of_bounds=of_bounds))
        assert not differ, f"at {one['all']['time_s']} s: {differ[:8]}"

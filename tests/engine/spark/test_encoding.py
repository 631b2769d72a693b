"""State and counts of a shard come out of their bytes as they went in."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from qoemon.core.arrays import Sparse, to_sparse
from qoemon.core.plan.plan import Clock, Feedback
from qoemon.core.sharding.shard_counts import ShardCounts
from qoemon.core.sharding.shard_pipeline import ShardPipeline
from qoemon.core.wire.message import Kind
from tests.support.core import T0, VIDEO, WEB, plan
from tests.support.opinions import sent, viewing
from tests.support.streams import FEW

if os.environ.get("QOEMON_REQUIRE_PARTS") != "1":
    pytest.importorskip("pyarrow", reason="pyarrow is not installed: it comes with the extra spark")

from qoemon.engine.spark import encoding

PLAN = plan(VIDEO, WEB, timing={"clock": Clock.REPORT})


class Message(NamedTuple):
    topic: str
    payload: bytes
    arrival_s: float
    kind: Kind = Kind.MQTT


def hundreds(count: int) -> Iterator[Message]:
    """Reports of viewers and pages in three groups: late ones, repeated, impossible, undecodable and new runs."""
    rng = np.random.default_rng(7)
    played = np.zeros(12)
    for number in range(count):
        at_s, who = T0 + number * 2.0, int(rng.integers(12))
        played[who] += float(rng.choice([3, 8, 500]))
        report: dict[str, Any] = {
            "session": f"v{who}",
            "seq": number if number % 50 else 0,
            "ts": at_s - float(rng.choice([0, 0, 0, rng.uniform(0, 400)])),
            "stall_count": number // 9,
            "stall_s": number / 8,
            "play_s": float(played[who]),
            "stalled": bool(number % 7 == 0),
        }
        region = ("eu", "us", "île de France")[int(rng.integers(3))]
        payload = msgspec.json.encode(report) if number % 31 else b"no report"
        yield Message(f"qoe/v1/video/{region}", payload, at_s)
        page = {"session": f"p{who}", "seq": number, "ts": report["ts"], "response_s": [float(rng.exponential())]}
        yield Message(f"qoe/v1/web/{region}", msgspec.json.encode(page), at_s)


def same(one: Any, other: Any) -> bool:
    """Whether both are equal in all fields; histograms as sparse cells, arrays with their dtypes."""
    if isinstance(one, np.ndarray | Sparse) and isinstance(other, Sparse):
        one = to_sparse(one)
        return one.shape == other.shape and same(one.cells, other.cells) and same(one.counts, other.counts)
    if isinstance(one, np.ndarray):
        equal = np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
        return bool(equal and one.dtype == other.dtype and other.flags.writeable)
    if dataclasses.is_dataclass(one):
        return type(one) is type(other) and all(
            same(getattr(one, field.name), getattr(other, field.name)) for field in dataclasses.fields(one)
        )
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, tuple) and one and not isinstance(one[0], str):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def ticks() -> Iterator[tuple[ShardPipeline, ShardCounts]]:
    """A shard of all those messages after each tick, with its counts."""
    pipeline = ShardPipeline(PLAN, retain=True)
    for counts in pipeline.run(hundreds(500)):
        yield pipeline, counts
        if counts.time_s % 240 == 0:
            pipeline.forget_closed(counts.time_s - 120)


def test_counts_are_the_same_in_all_fields() -> None:
    """Of ticks with everything that counts may have."""
    seen: set[str] = set()
    for _, counts in ticks():
        assert same(counts, encoding.unpack_counts(encoding.pack_counts(counts)))
        of_services = [each for interval in counts.closed for each in interval.services]
        seen |= {name for name in ("late", "recounted") if any(getattr(each, name) for each in of_services)}
        for base in counts.services:
            seen |= {name for name in ("provisional", "provisional_users") if getattr(base, name)}
            seen |= {name for name in ("doubtful", "open_stalls", "oldest_stall_s") if getattr(base, name).any()}
        seen |= {"rejected"} if counts.rejected else set()
        seen |= {"closed"} if len(counts.closed) > 1 else set()
    assert len(seen) == 9, seen


def test_a_shard_continues_from_bytes_of_its_state() -> None:
    """At each fifth tick; the state and all that follows is the same."""
    told = list(hundreds(300))
    one, other = ShardPipeline(PLAN), ShardPipeline(PLAN)
    for number in range(0, len(told), 20):
        some = told[number : number + 20]
        for shard in (one, other):
            shard.apply(some)
        at_s = int(some[-1].arrival_s) // 10 * 10 + 10
        assert same(one.tick(at_s), other.tick(at_s))
        packed = encoding.pack_state(other.dump())
        assert same(other.dump(), encoding.unpack_state(packed))
        other = ShardPipeline(PLAN)
        other.load(encoding.unpack_state(packed))


def test_what_users_say_is_the_same() -> None:
    """Answers of an interval, and the state with those that a newer one may still replace."""
    told = dataclasses.replace(PLAN, feedback=Feedback(scores=("face", "voice")))
    messages = [*viewing(58), sent(59, rating=4, seq=900, scores={"voice": -0.5}), sent(59, "nobody", rating=1)]
    one, other = ShardPipeline(told), ShardPipeline(told)
    one.apply(messages)
    counts = one.tick(T0 + 60)
    assert counts.closed[0].services[0].feedback
    assert same(counts, encoding.unpack_counts(encoding.pack_counts(counts)))
    other.load(encoding.unpack_state(encoding.pack_state(one.dump())))
    for shard in (one, other):
        shard.apply([sent(200, rating=2, seq=901)])
    taken_back, again = (shard.tick(T0 + 240).closed[-1].services[0].feedback for shard in (one, other))
    assert sorted(taken_back.counts.tolist()) == [-1, 1]
    assert same(taken_back, again)


_DTYPES = st.one_of(
    arrays.boolean_dtypes(),
    arrays.integer_dtypes(endianness="<"),
    arrays.unsigned_integer_dtypes(endianness="<"),
    arrays.floating_dtypes(endianness="<"),
)


@FEW
@given(st.dictionaries(st.text(), arrays.arrays(_DTYPES, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0))))
def test_any_arrays_are_the_same(state: dict[str, np.ndarray[Any, Any]]) -> None:
    """Of all widths and shapes, also empty ones, with the extremes of their types."""
    assert same(state, encoding.unpack_state(encoding.pack_state(state)))


def test_the_groups_of_a_shard_are_one_object_at_all_ticks() -> None:
    """So the sum over shards need not look at them again."""
    [*_, (_, one), (_, other)] = ticks()
    first, second = (encoding.unpack_counts(encoding.pack_counts(counts)) for counts in (one, other))
    assert first.services[0].groups is second.services[0].groups


def test_a_state_takes_few_bytes() -> None:
    pipeline, _ = list(ticks())[-1]
    state = pipeline.dump()
    assert len(encoding.pack_state(state)) < sum(array.nbytes for array in state.values()) / 5


@pytest.mark.parametrize("harm", ["version", "cut", "content", "nothing", "pickle"])
def test_other_bytes_are_refused(harm: str) -> None:
    packed = encoding.pack_state({"a": np.arange(1000)})
    harmed = {
        "version": b"\x63" + packed[1:],
        "cut": packed[:-7],
        "content": encoding.pack_counts(next(ticks())[1]),
        "nothing": b"",
        "pickle": b"\x80\x04K\x01.",
    }
    with pytest.raises(encoding.EncodingError):
        encoding.unpack_state(harmed[harm])

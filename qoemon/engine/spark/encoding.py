"""State and counts of a shard as bytes: what Spark keeps for a shard, and what a shard sends to the driver.

Both are arrays and a few numbers, written with MessagePack and compressed with Zstandard: nothing of it is code, so
reading bytes of another program fails, and does no more. Integers are written as narrow as their values allow, and
the ascending cells of histograms as differences. That halves what has to be compressed.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Self, TypeVar

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from qoemon.core.arrays import Arrays, Histogram, Sparse, to_sparse
from qoemon.core.counting.counts import BaseCounts, ClosedInterval, Event, IntervalCounts
from qoemon.core.counting.feedback_counts import FeedbackCounts, no_feedback
from qoemon.core.counting.groups import Labels
from qoemon.core.sharding.shard_counts import ShardCounts
from qoemon.core.wire.report import Reject

VERSION = 1
"""First byte of all that is written here."""
_SIZE = slice(1, 9)
"""Then the size before compression, big-endian."""
_BEGIN = 9
_CODEC = pa.Codec("zstd", compression_level=1)
"""Of a dump of 15,600 sessions, level 1 takes 2 ms and 18 bytes a session, zlib 8 ms and 21 bytes, lz4 1.4 ms and
29 bytes. Level 3 gains one byte."""

_NARROW = tuple(np.dtype(kind) for kind in ("u1", "i1", "u2", "i2", "u4", "i4"))

T = TypeVar("T")


class EncodingError(Exception):
    """Bytes that were not written here, or by another version."""


class _Column(msgspec.Struct, array_like=True):
    """An array: its own dtype and shape, and its values in a dtype that may be narrower."""

    dtype: str
    shape: tuple[int, ...]
    stored: str
    values: bytes

    @classmethod
    def of(cls, array: NDArray[Any]) -> Self:
        stored = _narrowed(array)
        return cls(array.dtype.str, array.shape, stored.dtype.str, stored.tobytes())

    def array(self) -> NDArray[Any]:
        """The array, as a copy that may be written to."""
        stored = np.frombuffer(self.values, _dtype(self.stored))
        return stored.astype(_dtype(self.dtype)).reshape(self.shape)


class _Cells(msgspec.Struct, array_like=True):
    """Sparse counts; cells as differences, which are small."""

    shape: tuple[int, ...]
    dtype: str
    steps: _Column
    counts: _Column

    @classmethod
    def of(cls, histogram: Histogram) -> Self:
        sparse = to_sparse(histogram)
        steps = np.diff(sparse.cells.astype(np.int64), prepend=0)
        return cls(sparse.shape, sparse.cells.dtype.str, _Column.of(steps), _Column.of(sparse.counts))

    def sparse(self) -> Sparse:
        cells = np.cumsum(self.steps.array()).astype(_dtype(self.dtype))
        return Sparse(self.shape, cells, self.counts.array())


class _Base(msgspec.Struct, array_like=True):
    """BaseCounts of a service."""

    service: str
    groups: bytes
    since_s: _Column
    levels: _Cells
    qos: _Cells
    users: _Column
    squares: _Column
    active_sessions: _Column
    open_stalls: _Column
    oldest_stall_s: _Column
    heard: _Column
    doubtful: _Column
    provisional: dict[int, _Cells]
    provisional_users: list[tuple[int, int, _Column]]
    provisional_squares: dict[int, _Column]
    quality: _Column

    @classmethod
    def of(cls, base: BaseCounts) -> Self:
        return cls(
            service=base.service,
            groups=msgspec.msgpack.encode(base.groups),
            since_s=_Column.of(base.since_s),
            levels=_Cells.of(base.levels),
            qos=_Cells.of(base.qos),
            users=_Column.of(base.users),
            squares=_Column.of(base.squares),
            active_sessions=_Column.of(base.active_sessions),
            open_stalls=_Column.of(base.open_stalls),
            oldest_stall_s=_Column.of(base.oldest_stall_s),
            heard=_Column.of(base.heard),
            doubtful=_Column.of(base.doubtful),
            provisional={end_s: _Cells.of(counts) for end_s, counts in base.provisional.items()},
            provisional_users=[
                (end_s, age, _Column.of(users)) for (end_s, age), users in base.provisional_users.items()
            ],
            provisional_squares={
                length: _Column.of(squares) for length, squares in base.provisional_squares.items()
            },
            quality=_Column.of(base.quality),
        )

    def counts(self) -> BaseCounts:
        return BaseCounts(
            service=self.service,
            groups=_groups(self.groups),
            since_s=self.since_s.array(),
            levels=self.levels.sparse(),
            qos=self.qos.sparse(),
            users=self.users.array(),
            squares=self.squares.array(),
            active_sessions=self.active_sessions.array(),
            open_stalls=self.open_stalls.array(),
            oldest_stall_s=self.oldest_stall_s.array(),
            heard=self.heard.array(),
            doubtful=self.doubtful.array(),
            provisional={end_s: cells.sparse() for end_s, cells in self.provisional.items()},
            provisional_users={(end_s, age): users.array() for end_s, age, users in self.provisional_users},
            provisional_squares={length: squares.array() for length, squares in self.provisional_squares.items()},
            quality=self.quality.array(),
        )


class _Feedback(msgspec.Struct, array_like=True):
    """FeedbackCounts of a service."""

    scores: tuple[str, ...]
    answers: _Column
    numbers: _Column
    unmatched: _Column

    @classmethod
    def of(cls, counts: FeedbackCounts) -> Self:
        columns = map(_Column.of, (counts.answers, counts.counts, counts.unmatched))
        return cls(counts.scores, *columns)

    def counts(self) -> FeedbackCounts:
        return FeedbackCounts(self.scores, self.answers.array(), self.numbers.array(), self.unmatched.array())


class _Interval(msgspec.Struct, array_like=True):
    """IntervalCounts of a service."""

    levels: _Cells
    qos: _Cells
    users: _Column
    recounted: dict[int, _Column]
    squares: _Column
    pairs: _Column
    late: dict[int, _Interval]
    starts: _Column
    feedback: _Feedback | None = None

    @classmethod
    def of(cls, counts: IntervalCounts) -> Self:
        return cls(
            levels=_Cells.of(counts.levels),
            qos=_Cells.of(counts.qos),
            users=_Column.of(counts.users),
            recounted={end_s: _Column.of(users) for end_s, users in counts.recounted.items()},
            squares=_Column.of(counts.squares),
            pairs=_Column.of(counts.pairs),
            late={end_s: cls.of(late) for end_s, late in counts.late.items()},
            starts=_Column.of(counts.starts),
            feedback=_Feedback.of(counts.feedback) if counts.feedback else None,
        )

    def counts(self) -> IntervalCounts:
        return IntervalCounts(
            levels=self.levels.sparse(),
            qos=self.qos.sparse(),
            users=self.users.array(),
            recounted={end_s: users.array() for end_s, users in self.recounted.items()},
            squares=self.squares.array(),
            pairs=self.pairs.array(),
            late={end_s: late.counts() for end_s, late in self.late.items()},
            starts=self.starts.array(),
            feedback=no_feedback() if self.feedback is None else self.feedback.counts(),
        )


class _Counts(msgspec.Struct, array_like=True):
    """ShardCounts; closed has the end of each interval, and its services."""

    time_s: int
    services: list[_Base]
    closed: list[tuple[int, list[_Interval]]]
    events: dict[Event, int]
    rejected: dict[Reject, int]
    sessions: int


class _Named(msgspec.Struct, array_like=True):
    name: str
    column: _Column


_STATE = msgspec.msgpack.Decoder(list[_Named])
_COUNTS = msgspec.msgpack.Decoder(_Counts)
_GROUPS = msgspec.msgpack.Decoder(tuple[Labels, ...])


def pack_state(state: Arrays) -> bytes:
    """The arrays of a dump() as bytes."""
    return _compressed([_Named(name, _Column.of(array)) for name, array in state.items()])


def unpack_state(packed: bytes) -> Arrays:
    """The arrays of pack_state(); EncodingError if the bytes are not from there."""
    return {each.name: each.column.array() for each in _decoded(packed, _STATE)}


def pack_counts(counts: ShardCounts) -> bytes:
    """The counts of a shard as bytes; histograms become sparse."""
    return _compressed(
        _Counts(
            time_s=counts.time_s,
            services=[_Base.of(base) for base in counts.services],
            closed=[(each.end_s, [_Interval.of(one) for one in each.services]) for each in counts.closed],
            events=dict(counts.events),
            rejected=dict(counts.rejected),
            sessions=counts.sessions,
        )
    )


def unpack_counts(packed: bytes) -> ShardCounts:
    """The counts of pack_counts(); EncodingError if the bytes are not from there."""
    counts = _decoded(packed, _COUNTS)
    return ShardCounts(
        time_s=counts.time_s,
        services=tuple(base.counts() for base in counts.services),
        closed=tuple(ClosedInterval(end_s, tuple(one.counts() for one in some)) for end_s, some in counts.closed),
        events=counts.events,
        rejected=counts.rejected,
        sessions=counts.sessions,
    )


def _compressed(content: object) -> bytes:
    plain = msgspec.msgpack.encode(content)
    head = bytes([VERSION]) + len(plain).to_bytes(_BEGIN - 1, "big")
    return head + bytes(_CODEC.compress(plain, asbytes=True))


def _decoded(packed: bytes, decoder: msgspec.msgpack.Decoder[T]) -> T:
    if packed[:1] != bytes([VERSION]):
        raise EncodingError(f"expected bytes of version {VERSION}, found {packed[:1]!r}")
    try:
        size = int.from_bytes(packed[_SIZE], "big")
        return decoder.decode(_CODEC.decompress(packed[_BEGIN:], decompressed_size=size, asbytes=True))
    except (msgspec.MsgspecError, OSError, ValueError) as error:
        raise EncodingError(f"{len(packed):,} bytes cannot be read: {error}") from None


def _narrowed(array: NDArray[Any]) -> NDArray[Any]:
    """The array with the narrowest integers that hold its values."""
    if array.dtype.kind not in "iu" or not array.size:
        return array
    low, high = int(array.min()), int(array.max())
    for kind in _NARROW:
        if kind.itemsize >= array.dtype.itemsize:
            break
        limits = np.iinfo(kind)
        if limits.min <= low and high <= limits.max:
            return array.astype(kind)
    return array


@lru_cache(maxsize=64)
def _dtype(name: str) -> np.dtype[Any]:
    dtype = np.dtype(name)
    if dtype.hasobject:
        raise ValueError(f"an array of {name}")
    return dtype


@lru_cache(maxsize=4096)
def _groups(packed: bytes) -> tuple[Labels, ...]:
    """The groups of a shard. They rarely change: at most ticks the answer is the tuple of the tick before."""
    return tuple(map(_shared, _GROUPS.decode(packed)))


@lru_cache(maxsize=100_000)
def _shared(labels: Labels) -> Labels:
    """The same labels, as one object for all shards that have them."""
    return labels

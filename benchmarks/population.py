"""Simulated viewers as batches of columns, without the cost of encoding and decoding messages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np

from qoemon.core.arrays import Ints
from qoemon.core.plan.plan import Limits, Plan, Service, Timing
from qoemon.core.plan.topic import TopicTemplate
from qoemon.core.qoe.mapping import VIDEO_STALL, QosMapping
from qoemon.core.wire.batch import Batch
from qoemon.core.wire.player import PlayerBatch, PlayerState
from qoemon.core.wire.report import ABSENT_FLOAT, ABSENT_INT, Route

START_S = 1_700_000_040
TICK_S = 10
AT_ONCE = 10_000

B = TypeVar("B")


def plan(sessions: int, groups: int, mapping: QosMapping = VIDEO_STALL) -> Plan:
    """One video service, windows of 1 and 5 minutes, a theta band of two."""
    return Plan(
        services=(Service("video", mapping, 0.3, theta_band=(0.1, 0.3)),),
        topics=(TopicTemplate("qoe/v1/{service}/{region}/{cdn}"),),
        labels=("region", "cdn"),
        timing=Timing(tick_s=TICK_S, windows_s=(60, 300)),
        limits=Limits(sessions=sessions, groups=groups),
    )


@dataclass
class Users(ABC, Generic[B]):
    """Users, each of whom says something once a tick."""

    sessions: int
    groups: int
    ticks: int = 0

    @property
    def now_s(self) -> int:
        """Start of the current tick, seconds since the epoch."""
        return START_S + TICK_S * self.ticks

    def tick(self) -> Iterator[B]:
        """What every user says."""
        for begin in range(0, self.sessions, AT_ONCE):
            yield self._batch(np.arange(begin, min(begin + AT_ONCE, self.sessions)))
        self.ticks += 1

    @abstractmethod
    def _batch(self, rows: Ints) -> B:
        """What the users with these numbers say."""


@dataclass
class Population(Users[Batch]):
    """Viewers who report once a tick. In a tick each has .1 stalls on average; 1 % are stalled when they report.

    seed      of what they experience, and the group of the first of them
    measures  names of the measures that each report has
    """

    seed: int = 1
    measures: Sequence[str] = ()
    stalls: Ints = field(init=False)
    stall_ms: Ints = field(init=False)

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)
        self.stalls, self.stall_ms = np.full((2, self.sessions), 0)
        self._routes = _routes(np.roll(np.arange(self.groups), 1 - self.seed))

    def _batch(self, rows: Ints) -> Batch:
        size = len(rows)
        new = self._rng.poisson(0.1, size)
        self.stalls[rows] += new
        self.stall_ms[rows] += np.rint(new * self._rng.gamma(2, 500, size)).astype(np.int64) + new
        return Batch(
            routes=self._routes,
            route=rows % self.groups,
            session=[f"{i:032x}" for i in rows.tolist()],
            seq=np.full(size, self.ticks),
            arrival_s=np.full(size, self.now_s + TICK_S / 2),
            ts_s=np.full(size, ABSENT_FLOAT),
            stalls=self.stalls[rows],
            stall_ms=self.stall_ms[rows],
            play_ms=np.full(size, 9500 * (self.ticks + 1)),
            stalled=self._rng.random(size) < 0.01,
            end=np.zeros(size, np.bool_),
            response_s=np.zeros(0),
            response_of=np.zeros(0, np.int64),
            measures={name: self._rng.uniform(1, 5, size) for name in self.measures},
        )


@dataclass
class Players(Users[PlayerBatch]):
    """Players that post a record once a tick. They start and play; 1 % are stalled when they post."""

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(1)
        self._routes = _routes(np.arange(self.groups))

    def _batch(self, rows: Ints) -> PlayerBatch:
        size = len(rows)
        stalled = self._rng.random(size) < 0.01
        state = np.where(stalled, PlayerState.REBUFFERING, PlayerState.PLAYING)
        return PlayerBatch(
            routes=self._routes,
            route=rows % self.groups,
            arrival_s=np.full(size, self.now_s + TICK_S / 2),
            session=[f"{i:032x}" for i in rows.tolist()],
            seq=np.full(size, self.ticks),
            ts_ms=np.full(size, 1000 * self.now_s),
            state=(state if self.ticks else np.full(size, PlayerState.STARTING)).astype(np.int8),
            rate=np.ones(size),
            startup_ms=np.full(size, ABSENT_INT),
            heartbeat=np.ones(size, np.bool_),
            of_request=np.zeros(size, np.bool_),
            hidden=np.zeros(size, np.bool_),
        )


def _routes(groups: Ints) -> tuple[Route, ...]:
    return tuple(Route("video", (f"region-{g // 100}", f"cdn-{g % 100}")) for g in groups.tolist())

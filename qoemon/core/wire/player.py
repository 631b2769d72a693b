"""What players say about themselves, as columns: one state, and when it was true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qoemon.core.arrays import Flags, Floats, Ints
from qoemon.core.wire.batch import flags, floats, ints
from qoemon.core.wire.report import Route


class PlayerState(IntEnum):
    """State of a player, `sta` of CTA-5004-B. The numbers are part of stored states."""

    UNTOLD = 0
    """the record does not say"""
    PRELOADING = 1
    STARTING = 2
    PLAYING = 3
    SEEKING = 4
    REBUFFERING = 5
    PAUSED = 6
    WAITING = 7
    ENDED = 8
    FAILED = 9
    QUIT = 10


class PlayerRecord(NamedTuple):
    """One record of a player.

    seq         `sn`, number of the record; ABSENT_INT if missing
    ts_ms       the player's clock, milliseconds since the epoch; ABSENT_INT if missing
    rate        playback rate, 1 unless the record says otherwise
    startup_ms  `msd`, from the start to the first picture; ABSENT_INT if missing
    heartbeat   whether it was sent because time has passed, `e=t`
    of_request  whether it is about a request, `e=rr`: its ts is that of the request, not of its state
    hidden      whether the player cannot be seen, `bg`
    """

    session: str
    seq: int
    ts_ms: int
    state: PlayerState
    rate: float
    startup_ms: int
    heartbeat: bool
    of_request: bool
    hidden: bool


@dataclass(frozen=True)
class PlayerBatch:
    """R records as columns, in order of arrival; the columns are those of PlayerRecord.

    routes     the distinct routes in this batch
    route      (R,) index into routes
    arrival_s  (R,) seconds since the epoch
    """

    routes: tuple[Route, ...]
    route: Ints
    arrival_s: Floats
    session: Sequence[str]
    seq: Ints
    ts_ms: Ints
    state: NDArray[np.int8]
    rate: Floats
    startup_ms: Ints
    heartbeat: Flags
    of_request: Flags
    hidden: Flags

    def __len__(self) -> int:
        return len(self.session)


class PlayerGather:
    """Collects the records of a batch of messages, with route and arrival."""

    def __init__(self) -> None:
        self._routes: dict[Route, int] = {}
        self._route: list[int] = []
        self._arrival_s: list[float] = []
        self._records: list[PlayerRecord] = []

    def add(self, record: PlayerRecord, route: Route, arrival_s: float) -> None:
        """Append a record."""
        self._records.append(record)
        self._route.append(self._routes.setdefault(route, len(self._routes)))
        self._arrival_s.append(arrival_s)

    def batch(self) -> PlayerBatch:
        """The columns of all records."""
        columns = zip(*self._records, strict=True) if self._records else ((),) * len(PlayerRecord._fields)
        session, seq, ts_ms, state, rate, startup_ms, heartbeat, of_request, hidden = columns
        return PlayerBatch(
            routes=tuple(self._routes),
            route=ints(self._route),
            arrival_s=floats(self._arrival_s),
            session=session,
            seq=ints(seq),
            ts_ms=ints(ts_ms),
            state=np.frombuffer(bytes(state), np.int8),
            rate=floats(rate),
            startup_ms=ints(startup_ms),
            heartbeat=flags(heartbeat),
            of_request=flags(of_request),
            hidden=flags(hidden),
        )


NO_PLAYERS = PlayerGather().batch()
"""No records."""

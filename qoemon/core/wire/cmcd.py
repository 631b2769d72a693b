"""Reads the records that players send: CMCD version 2 (CTA-5004-B), event mode.

A body has a record a line; a record is a dictionary of RFC 8941. Players differ in details that the standard
forbids, so a key that is unknown or has another type than expected is ignored.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import http_sf

from qoemon.core.plan.plan import Plan
from qoemon.core.wire.player import PlayerGather, PlayerRecord, PlayerState
from qoemon.core.wire.report import ABSENT_INT, Reject, Route

Refuse = Callable[[Reject, str], object]

_STATES = {
    "d": PlayerState.PRELOADING,
    "s": PlayerState.STARTING,
    "p": PlayerState.PLAYING,
    "k": PlayerState.SEEKING,
    "r": PlayerState.REBUFFERING,
    "a": PlayerState.PAUSED,
    "w": PlayerState.WAITING,
    "e": PlayerState.ENDED,
    "f": PlayerState.FAILED,
    "q": PlayerState.QUIT,
}


class PlayerCodec:
    """Reads bodies according to a plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def read(self, body: bytes, route: Route, arrival_s: float, gather: PlayerGather, refuse: Refuse) -> None:
        """Add the records of a body to `gather`; what is rejected goes to `refuse`, a record each."""
        for line in body.splitlines():
            if not line.strip():
                continue
            try:
                found: Any = http_sf.parse(line.strip(), tltype="dictionary")
            except http_sf.StructuredFieldError as error:
                refuse(Reject.UNPARSEABLE, f"{error}: {line[:100]!r}")
                continue
            gather.add([_record({name: value for name, (value, _) in found.items()})], route, arrival_s)


def _record(found: dict[str, Any]) -> PlayerRecord:
    event = str(found.get("e", ""))
    return PlayerRecord(
        session=found.get("sid", ""),
        seq=found.get("sn", ABSENT_INT),
        ts_ms=found.get("ts", ABSENT_INT),
        state=_STATES.get(str(found.get("sta", "")), PlayerState.UNTOLD),
        rate=float(found.get("pr", 1)),
        startup_ms=found.get("msd", ABSENT_INT),
        heartbeat=event == "t",
        of_request=event == "rr",
        hidden=bool(found.get("bg", False)),
    )

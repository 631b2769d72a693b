"""The floor of ingest and of recovery: msgspec decodes the payloads, and nothing else is done with them."""

from __future__ import annotations

import time
from collections.abc import Iterable

import msgspec


class BareReport(msgspec.Struct):
    """The fields that the benchmarks send, without limits or defaults."""

    session: str
    seq: int
    stall_count: int
    stall_s: float
    play_s: float


def decode_cpu_s(payloads: Iterable[bytes]) -> float:
    """CPU seconds that decoding JSON arrays of reports takes, with what it takes to iterate over the payloads."""
    decode = msgspec.json.Decoder(list[BareReport]).decode
    began_s = time.process_time()
    for payload in payloads:
        decode(payload)
    return time.process_time() - began_s

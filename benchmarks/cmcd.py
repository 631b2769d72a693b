"""CPU of reading the records that players send, against http-sf alone. `python -m benchmarks.cmcd`."""

from __future__ import annotations

import sys
from collections import UserString
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

import http_sf

from benchmarks.bench import KILO, cpu_ms, run
from benchmarks.row import Row
from benchmarks.wrong_inputs import PLAN
from qoemon.core.wire.cmcd import fields_of
from qoemon.core.wire.codec import Codec
from qoemon.core.wire.message import Kind
from qoemon.state.frames import StoredMessage

SESSION = "26becd20-9f1c-4a55-8f5d-1c0e8a53b2a1"
SAMPLES = (
    'bl=(2000),br=(400),cid="clip-1",e=ps,mtp=(11400),sf=h,sid="{}",sn={},st=v,sta=r,ts=1795873784659,v=2',
    'cid="clip-1",e=t,sf=h,sid="{}",sn={},sta=p,ts=1795873622628,v=2',
    'br=(364),cid="clip-1",e=t,sf=d,sid="{}",sn={},st=v,sta=p,ts=1795874221862,v=2',
    'bl=(0;v 0;a),br=(300;v 64;a),cid="clip-1",e=ps,sf=d,sid="{}",sn={},st=v,sta=r,ts=1795873624555,v=2',
)
RECORDS = tuple(sample.format(SESSION, number).encode() for number in range(250) for sample in SAMPLES)
"""Records as hls.js, dash.js and shaka send them, one of each kind in turn."""
NAMES = ("bg", "e", "msd", "pr", "sid", "sn", "sta", "ts", "v")
RUNS = 9
AT_MOST = 0.5
"""What reading a record may cost, as a part of what http-sf takes for it."""


def by_http_sf(line: bytes, names: tuple[str, ...] = NAMES) -> dict[str, Any]:
    """The values of a record by http-sf alone; StructuredFieldError if it is none."""
    members: Any = http_sf.parse(line, tltype="dictionary")
    values = {name: plain(members[name][0]) for name in names if name in members}
    return {name: value for name, value in values.items() if value is not None}


def plain(value: Any) -> Any:
    """A value of http-sf as text, number or boolean; None for all others and for lists of several."""
    match value:
        case [(only, _)]:
            return plain(only)
        case UserString():
            return str(value)
        case Decimal():
            return float(value)
        case bytes() | datetime() | list():
            return None
    return value


def rows() -> Iterator[Row]:
    """Microseconds a record, and the ratio of both in the same run."""
    codec = Codec(PLAN)
    messages = [StoredMessage("/cmcd/v1/video/eu/a", record, 0.0, Kind.CMCD) for record in RECORDS]
    assert len(codec.decode(messages).players) == len(RECORDS)
    ours, theirs, whole = [], [], []
    for _ in range(RUNS):
        ours += cpu_ms(lambda: [fields_of(record, NAMES) for record in RECORDS], 1)
        theirs += cpu_ms(lambda: [by_http_sf(record) for record in RECORDS], 1)
        whole += cpu_ms(lambda: codec.decode(messages), 1)
    size = sum(map(len, RECORDS)) / len(RECORDS)
    each = KILO / len(RECORDS)
    yield Row.of(f"fields of a record of {size:.0f} bytes, qoemon", "µs", (ms * each for ms in ours))
    yield Row.of(f"fields of a record of {size:.0f} bytes, http-sf alone", "µs", (ms * each for ms in theirs))
    yield Row.ratio("fields of a record, qoemon to http-sf alone", ours, theirs, at_most=AT_MOST)
    yield Row.of("a body of one record, decoded to columns", "µs", (ms * each for ms in whole))


def main() -> int:
    """Run from the command line."""
    return run("Records of players (CMCD)", lambda: list(rows()))


if __name__ == "__main__":
    sys.exit(main())

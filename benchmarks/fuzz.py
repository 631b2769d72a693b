"""Millions of invalid messages against the codec, the templates of topics and paths, and the core. `make fuzz`.

Each report is either accepted or rejected with a reason; accepted reports can be rated; records of players are read
as http-sf alone reads them; nothing raises; memory does not grow. The first message that breaks this is printed
with the seed that reproduces it.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any
from urllib.parse import unquote

import http_sf
import msgspec
import numpy as np
import prometheus_client
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector, CollectorRegistry

from benchmarks.cmcd import NAMES, by_http_sf
from benchmarks.shard import Shard
from benchmarks.wrong_inputs import PLAN, START_S, Wrong, message
from qoemon.core.arrays import Floats
from qoemon.core.qoe.distribution import Distribution
from qoemon.core.snapshot.snapshot import Snapshot
from qoemon.core.wire.batch import MAX_COUNT, MAX_MEASURE, MAX_SECONDS, Batch
from qoemon.core.wire.cmcd import FASTEST, KEYS, LINE_BYTES, SESSION_CHARACTERS, fields_of, lines_of
from qoemon.core.wire.codec import Codec, Decoded
from qoemon.core.wire.message import Kind
from qoemon.core.wire.player import PlayerBatch, PlayerRecord, PlayerState
from qoemon.core.wire.report import ABSENT_FLOAT, ABSENT_INT, Reject, RejectedError, Report
from qoemon.outputs.metrics.qoe import qoe_families

INPUTS, ROUND = 5_000_000, 20_000
BATCH, SINGLY_EVERY = 100, 4
"""Messages that are decoded together; one batch of so many is also decoded message by message."""
GROWTH_BYTES = 32 * 2**20
"""Memory that a process may gain after its first round: the allocator keeps some of its peak."""
ROUNDING = 1e-9
PLAYER_COLUMNS = PlayerRecord._fields
PLAYER_KEYS = (*NAMES, *PLAN.players.labels)


class BrokenError(AssertionError):
    """An input broke a promise."""


@dataclass
class Outcome:
    """Result of a round of messages."""

    seed: str
    process: int = 0
    rss_bytes: int = 0
    inputs: int = 0
    accepted: int = 0
    rejected: Counter[Reject] = field(default_factory=Counter)
    broken: str = ""


def run_round(seed: str, inputs: int = ROUND) -> Outcome:
    """Make so many messages from the seed, decode and count them, and check each step."""
    rng, outcome = Random(seed), Outcome(seed, os.getpid())
    codec, shard, now_s = Codec(PLAN), Shard(PLAN), START_S
    for number, size in enumerate(_sizes(inputs)):
        now_s += rng.choice((0, 0.1, 2, 5, 9, -30, 400 if rng.random() < 0.05 else 1))
        messages = [message(rng, now_s) for _ in range(size)]
        try:
            decoded = check_decoding(codec, messages, singly=number % SINGLY_EVERY == 0)
            too_many = count(shard, decoded, now_s)
            if number % 10 == 9:
                check_snapshot(shard.tick(now_s + 10), exposed=number % 100 == 99)
        except Exception:  # noqa: BLE001 - any exception is a find
            outcome.broken = _story(seed, messages)
            return outcome
        outcome.inputs += size
        outcome.accepted += len(decoded.batch) + len(decoded.players) - too_many
        outcome.rejected.update(decoded.rejected)
        outcome.rejected[Reject.TOO_MANY] += too_many
    outcome.rss_bytes = resident_bytes()
    return outcome


def _sizes(inputs: int) -> Iterator[int]:
    for begin in range(0, inputs, BATCH):
        yield min(BATCH, inputs - begin)


def _story(seed: str, messages: Sequence[Wrong]) -> str:
    """The error, and the smallest part of the messages that still causes one."""
    error = traceback.format_exc()
    ways = (decode, follow)  # The faster one first.
    alone = next(([each] for way in ways for each in messages if breaks([each], way)), list(messages))
    shown = "\n".join(repr(each) for each in alone)
    return f"{error}\nseed {seed}, {len(alone)} of {len(messages)} messages break it:\n{shown}"


def breaks(messages: Sequence[Wrong], way: Callable[[Sequence[Wrong]], Decoded]) -> bool:
    """Whether these messages alone break a promise."""
    try:
        way(messages)
    except Exception:  # noqa: BLE001 - as above
        return True
    return False


def decode(messages: Sequence[Wrong]) -> Decoded:
    """Decode messages with a new codec, and check the result."""
    return check_decoding(Codec(PLAN), messages)


def follow(messages: Sequence[Wrong]) -> Decoded:
    """Decode and count messages from an empty state, and check each step."""
    decoded = decode(messages)
    shard = Shard(PLAN)
    count(shard, decoded, messages[-1].arrival_s)
    check_snapshot(shard.tick(messages[-1].arrival_s + 10), exposed=True)
    return decoded


def count(shard: Shard, decoded: Decoded, now_s: float) -> int:
    """Count reports and records of players; returns the number of records rejected as too many in a second."""
    shard.apply(decoded.batch, now_s)
    too_many = shard.apply_players(decoded.players, now_s)
    expect(len(np.unique(too_many)) == len(too_many), "a record is rejected twice as too many")
    expect(within(too_many, 0, len(decoded.players) - 1), "a rejected record is out of bounds")
    return len(too_many)


def check_decoding(codec: Codec, messages: Sequence[Wrong], *, singly: bool = True) -> Decoded:
    """Decode, and check that each report is accepted or rejected; singly: message by message as well.

    raises   BrokenError
    """
    together = codec.decode(messages)
    check_number(together, messages)
    check_columns(together.batch)
    check_players(together.players)
    expect(set(together.sample) == set(together.rejected), "not every reason has a sample")
    for each in messages:
        if each.kind is Kind.CMCD:
            check_fields(each.payload)
    if singly:
        parts = [codec.decode([each]) for each in messages]
        for each, alone in zip(messages, parts, strict=True):
            check_number(alone, [each])
        rejected = sum((alone.rejected for alone in parts), Counter())
        expect(together.rejected == rejected, f"rejected {together.rejected} together, {rejected} one by one")
        check_same(together.batch, [alone.batch for alone in parts])
        check_same_players(together.players, [alone.players for alone in parts])
    return together


def check_number(decoded: Decoded, messages: Sequence[Wrong]) -> None:
    """No report is lost, none is counted twice."""
    found = len(decoded.batch) + len(decoded.players) + decoded.rejected.total()
    least, most = (sum(bounds) for bounds in zip(*map(reports_in, messages), strict=True))
    expect(least <= found <= most, f"{found} reports accounted for, there are {least} to {most}")


def reports_in(sent: Wrong) -> tuple[int, int]:
    """The least and the most reports that a message may count for: one number unless its payload is damaged."""
    payload = sent.payload
    if not payload:
        return 0, 0
    return _records_in(payload) if sent.kind is Kind.CMCD else _reports_in(sent, payload)


def _records_in(body: bytes) -> tuple[int, int]:
    """The number of records; a body without any may count once, if it is rejected as a whole."""
    records = sum(1 for line in re.split(rb"[\r\n]", body) if line.strip(b" \t"))
    return records, max(1, records)


def _reports_in(sent: Wrong, payload: bytes) -> tuple[int, int]:
    keys = sessions_named(payload)
    templates = PLAN.topics if sent.kind is Kind.MQTT else PLAN.paths
    levels = next((m for template in templates if (m := template.match(sent.topic))), {"service": ""})
    if sent.kind is Kind.HTTP:
        levels = {name: unquote(level) for name, level in levels.items()}
    service = levels["service"]
    if service not in {each.name for each in PLAN.services} or len(payload) > PLAN.limits.message_bytes:
        return keys, keys
    if any(len(level) > PLAN.limits.label_length for level in levels.values()):
        return keys, keys
    packed = 0x80 <= payload[0] < 0xA0 or 0xDC <= payload[0] < 0xE0
    document = payload if packed else payload.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n")
    is_array = (document[:1] in {b"\xdc", b"\xdd"} or payload[0] >= 0x90) if packed else document[:1] == b"["
    decoder = msgspec.msgpack if packed else msgspec.json
    try:
        items = decoder.decode(document, type=list[msgspec.Raw]) if is_array else [document]
    except _MALFORMED:
        return 1, len(document)  # It is split at its commas at most.
    if len(items) > PLAN.limits.reports_per_message:
        return len(items), len(items)
    bounds = [_reports_in_item(decoder, bytes(item)) for item in items]
    return sum(least for least, _ in bounds), sum(most for _, most in bounds)


_MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def _reports_in_item(decoder: ModuleType, item: bytes) -> tuple[int, int]:
    """The least and the most reports that an item of a message may count for."""
    if _parses(decoder, item):
        return 1, 1
    most = sessions_named(item)
    # Once if it is accepted, as an ignored field may hold anything, or rejected for a value out of range, as what
    # follows is not read.
    return (1 if _parses(decoder, item, Report) else most), most


def _parses(decoder: ModuleType, item: bytes, kind: Any = Any) -> bool:
    try:
        decoder.decode(item, type=kind)
    except msgspec.ValidationError:
        return True
    except _MALFORMED:
        return False
    return True


def sessions_named(payload: bytes) -> int:
    """The reports for which a part counts that cannot be parsed: its keys `session`, at least 1."""
    return max(1, payload.count(b'"session"'), payload.count(b"\xa7session"))


def check_columns(batch: Batch) -> None:
    """Every number finite and in its range, every index in bounds."""
    reports = len(batch)
    for name in ("route", "seq", "arrival_s", "ts_s", "stalls", "stall_ms", "play_ms", "stalled", "end"):
        expect(len(getattr(batch, name)) == reports, f"{name} has another length")
    expect(all(0 < len(session) <= 128 for session in batch.session), "session out of range")
    expect(within(batch.route, 0, len(batch.routes) - 1), "route out of bounds")
    expect(all(len(route.labels) == len(PLAN.labels) for route in batch.routes), "labels missing")
    expect(within(batch.seq, 0, 2**63 - 1, ABSENT_INT), "seq out of range")
    expect(within(batch.ts_s, 0, np.finfo(np.float64).max, ABSENT_FLOAT), "ts out of range")
    expect(within(batch.stalls, 0, MAX_COUNT, ABSENT_INT), "stall_count out of range")
    for milliseconds in (batch.stall_ms, batch.play_ms):
        expect(within(milliseconds, 0, MAX_SECONDS * 1000, ABSENT_INT), "seconds out of range")
    expect(within(batch.response_s, 0, MAX_SECONDS), "response_s out of range")
    expect(
        within(batch.response_of, 0, reports - 1) and bool(np.all(np.diff(batch.response_of) >= 0)), "response_of"
    )
    for column in batch.measures.values():
        expect(within(column, -MAX_MEASURE, MAX_MEASURE), "measure out of range")


def check_players(players: PlayerBatch) -> None:
    """Every number finite and in its range, every index in bounds."""
    for name in ("route", "arrival_s", *PLAYER_COLUMNS):
        expect(len(getattr(players, name)) == len(players), f"{name} has another length")
    expect(all(0 < len(session) <= SESSION_CHARACTERS for session in players.session), "sid out of range")
    expect(within(players.route, 0, len(players.routes) - 1), "route out of bounds")
    expect(all(len(route.labels) == len(PLAN.labels) for route in players.routes), "labels missing")
    for name in ("seq", "ts_ms", "startup_ms"):
        expect(within(getattr(players, name), 0, 10**15 - 1, ABSENT_INT), f"{name} out of range")
    expect(within(players.rate, 0, FASTEST), "pr out of range")
    expect(within(players.state, 0, max(PlayerState)), "no state")


def check_fields(body: bytes) -> None:
    """Each record of a body is read as http-sf alone reads it, but for characters outside ASCII in strings."""
    for line in lines_of(body):
        if len(line) > LINE_BYTES:
            continue
        try:
            found, rejected = fields_of(line, PLAYER_KEYS), None
        except RejectedError as error:
            found, rejected = {}, error.reason
        try:
            expected = by_http_sf(_in_ascii(line), PLAYER_KEYS)
        except http_sf.StructuredFieldError:
            expect(rejected is Reject.UNPARSEABLE, f"{line!r} is no dictionary, and is read as {found}")
            continue
        if rejected is None:
            shown, wanted = ({n: _in_ascii(v) for n, v in each.items()} for each in (found, expected))
            expect(repr(shown) == repr(wanted), f"{line!r} is read as {found}, expected {expected}")
        elif line.isascii():
            many = rejected is Reject.TOO_LARGE and line.count(b",") >= KEYS
            expect(many, f"{line!r} is rejected, {rejected}; expected {expected}")


def _in_ascii(value: Any) -> Any:
    """Text, or bytes of it, with an x for each character outside ASCII; any other value as it is."""
    if isinstance(value, str):
        return "".join(char if char.isascii() else "x" for char in value)
    if not isinstance(value, bytes):
        return value
    try:
        return _in_ascii(value.decode()).encode()
    except UnicodeDecodeError:
        return value


def within(column: Floats | np.ndarray, least: float, most: float, absent: float | None = None) -> bool:
    """Whether every value is in range or absent; NaN is in none."""
    return bool(np.all((column == absent) | ((column >= least) & (column <= most))))


def check_same(whole: Batch, parts: Sequence[Batch]) -> None:
    """The columns of the batch are those of its messages, concatenated."""
    expect(list(whole.session) == [session for part in parts for session in part.session], "sessions differ")
    routes = [part.routes[number] for part in parts for number in part.route.tolist()]
    expect([whole.routes[number] for number in whole.route.tolist()] == routes, "routes differ")
    for name in ("seq", "arrival_s", "ts_s", "stalls", "stall_ms", "play_ms", "stalled", "end", "response_s"):
        expect(
            np.array_equal(getattr(whole, name), _joined(getattr(part, name) for part in parts)), f"{name} differs"
        )
    for name, column in whole.measures.items():
        expect(np.array_equal(column, _joined(part.measures[name] for part in parts)), f"measure {name} differs")


def check_same_players(whole: PlayerBatch, parts: Sequence[PlayerBatch]) -> None:
    """The columns of the batch are those of its messages, concatenated."""
    routes = [part.routes[number] for part in parts for number in part.route.tolist()]
    expect([whole.routes[number] for number in whole.route.tolist()] == routes, "routes of players differ")
    for name in PLAYER_COLUMNS:
        values = [value for part in parts for value in getattr(part, name)]
        expect(list(getattr(whole, name)) == values, f"{name} differs")


def _joined(columns: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate(list(columns))


def check_snapshot(snapshot: Snapshot, *, exposed: bool) -> None:
    """Shares are in [0, 1], scores are on the scale, and Prometheus can parse the metrics."""
    for service in snapshot.services:
        for distribution in service.distributions.values():
            check_distribution(distribution)
        expect(service.counts.qos.min(initial=0) >= 0, "a negative count")
    if exposed:
        registry = CollectorRegistry()
        registry.register(_Families(list(qoe_families(snapshot))))  # type: ignore[arg-type]
        text = prometheus_client.generate_latest(registry).decode()
        expect(sum(1 for _ in text_string_to_metric_families(text)) > 0, "nothing exposed")


def check_distribution(rated: Distribution) -> None:
    """NaN without observations, in range with them."""
    there = rated.observations > 0
    for name in ("gob", "pow", "ratings", "gob_bounds", "pow_bounds", "band_gob", "band_pow"):
        expect(within(getattr(rated, name)[there], -ROUNDING, 1 + ROUNDING), f"{name} is no share")
    for name in ("mos", "mos_bounds", "quantiles"):
        expect(within(getattr(rated, name)[there], 1 - ROUNDING, 5 + ROUNDING), f"{name} is off the scale")
    expect(bool(np.isnan(rated.mos[~there]).all()), "a score without observations")


class _Families(Collector):
    def __init__(self, found: list[Metric]) -> None:
        self._found = found

    def collect(self) -> Iterable[Metric]:
        return self._found


def expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise BrokenError(otherwise)


def resident_bytes() -> int:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def rounds(seed: int, inputs: int) -> list[tuple[str, int]]:
    """The seed and the size of each round."""
    return [(f"{seed}-{n}", min(ROUND, inputs - begin)) for n, begin in enumerate(range(0, inputs, ROUND))]


def run(seed: int, inputs: int, processes: int) -> int:
    """Run all rounds and print the table; 1 if an input broke a promise."""
    began_s, outcomes = time.monotonic(), []
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        # In order: the first round that breaks a promise ends the run.
        for outcome in pool.map(run_round, *zip(*rounds(seed, inputs), strict=True)):
            outcomes.append(outcome)
            if outcome.broken:
                pool.shutdown(cancel_futures=True)
                print(outcome.broken, f"again: python -m benchmarks.fuzz --round {outcome.seed}", sep="\n")
                return 1
    took_s = time.monotonic() - began_s
    print(*table(outcomes, took_s, processes), sep="\n")
    if grown := any(last - first > GROWTH_BYTES for first, _, last in memory(outcomes)):
        print(f"a process has grown by more than {GROWTH_BYTES / 2**20:.0f} MiB")
    return int(grown)


def memory(outcomes: Sequence[Outcome]) -> list[tuple[int, int, int]]:
    """Resident bytes of each process after its first round, after half of its rounds, and after the last."""
    by_process: dict[int, list[int]] = {}
    for outcome in outcomes:
        by_process.setdefault(outcome.process, []).append(outcome.rss_bytes)
    return [(each[0], each[len(each) // 2], each[-1]) for each in by_process.values()]


def table(outcomes: Sequence[Outcome], took_s: float, processes: int) -> Iterator[str]:
    """The results, as a Markdown table."""
    inputs, rejected = sum(each.inputs for each in outcomes), Counter[Reject]()
    for outcome in outcomes:
        rejected.update(outcome.rejected)
    yield "| what | figure |"
    yield "|---|---:|"
    yield f"| messages | {inputs:,} |"
    yield f"| messages a second, {processes} processes | {inputs / took_s:,.0f} |"
    yield f"| reports accepted | {sum(each.accepted for each in outcomes):,} |"
    for reason in Reject:
        yield f"| reports rejected, `{reason}` | {rejected[reason]:,} |"
    for sizes in memory(outcomes):
        mib = ", ".join(f"{size / 2**20:.0f}" for size in sizes)
        yield f"| MiB of a process after the first, half, all of its rounds | {mib} |"
    yield "| messages that broke a promise | 0 |"


def main() -> int:
    """Read the command line; 0 if every promise was kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=INPUTS, help="messages (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the messages (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--round", help="run only the round of this name, as printed after a failure")
    options = parser.parse_args()
    if options.round:
        outcome = run_round(options.round)
        print(outcome.broken or "kept every promise")
        return int(bool(outcome.broken))
    return run(options.seed, options.inputs, options.processes)


if __name__ == "__main__":
    sys.exit(main())

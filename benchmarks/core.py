"""What one core does with the pure part of the daemon: decode, apply, tick. `make bench`.

Figures are CPU seconds of this process, the median of several runs; they leave out the MQTT client.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator

import msgspec
import numpy as np

from qoemon.config.config import Config
from qoemon.config.plan import core_plan
from qoemon.core.counting.monitor import Monitor
from qoemon.core.wire.codec import Codec
from qoemon.inputs.inbox import Message

SESSIONS, GROUPS, ROUNDS, REPEATS = 100_000, 100, 6, 5
START_S = 1_700_000_040.0
TICK_S = 10


def messages(batch: int, round_: int) -> Iterator[Message]:
    """One report of every session, `batch` reports in a message."""
    rng = np.random.default_rng(round_)
    stalls = rng.poisson(0.1, (round_ + 1, SESSIONS)).sum(axis=0).tolist()
    for group in range(GROUPS):
        members = range(group, SESSIONS, GROUPS)
        for begin in range(0, len(members), batch):
            reports = [
                {
                    "session": f"{session:032x}",
                    "seq": round_,
                    "stall_count": stalls[session],
                    "stall_s": 2.5 * stalls[session],
                    "play_s": 10.0 * (round_ + 1),
                }
                for session in members[begin : begin + batch]
            ]
            payload = msgspec.json.encode(reports if batch > 1 else reports[0])
            topic = f"qoe/v1/video/region-{group % 10}/cdn-{group // 10}"
            yield Message(topic, payload, START_S + round_ * TICK_S + 5, 1, 1, 1)


def reports_per_second(batch: int) -> tuple[float, float]:
    """Reports a second of CPU, and the share of the time that went into decoding."""
    plan = core_plan(Config())
    codec, monitor = Codec(plan), Monitor(plan)
    decoding = applying = 0.0
    for round_ in range(ROUNDS):
        arrived = list(messages(batch, round_))
        chunk = max(10_000 // batch, 1)  # as much as arrives between two looks at the inbox under load
        for begin in range(0, len(arrived), chunk):
            part = arrived[begin : begin + chunk]
            begun = time.process_time()
            decoded = codec.decode(part)
            between = time.process_time()
            monitor.apply(decoded.batch, part[-1].arrival_s)
            decoding += between - begun
            applying += time.process_time() - between
    return SESSIONS * ROUNDS / (decoding + applying), decoding / (decoding + applying)


def tick_seconds() -> float:
    """CPU seconds of one tick with all sessions active."""
    plan = core_plan(Config())
    codec, monitor = Codec(plan), Monitor(plan)
    took = []
    for round_ in range(ROUNDS):
        now_s = START_S + round_ * TICK_S + 5
        monitor.apply(codec.decode(messages(100, round_)).batch, now_s)
        begun = time.process_time()
        monitor.snapshot(now_s + TICK_S)
        took.append(time.process_time() - begun)
    return statistics.median(took)


def median(measure: Callable[[], float]) -> tuple[float, float, float]:
    """Least, median and most of several runs."""
    runs = sorted(measure() for _ in range(REPEATS))
    return runs[0], statistics.median(runs), runs[-1]


def main() -> None:
    """Print the table."""
    print(
        f"{SESSIONS:,} sessions in {GROUPS} groups, CPU time of one core; least / median / most of {REPEATS} runs"
    )
    for batch in (100, 1):
        low, middle, high = median(lambda batch=batch: reports_per_second(batch)[0])  # type: ignore[misc]
        share = reports_per_second(batch)[1]
        figures = f"{low:>9,.0f} / {middle:>9,.0f} / {high:>9,.0f}"
        print(f"reports/s, {batch:3} a message   {figures}   decoding {share:.0%}")
    low, middle, high = median(tick_seconds)
    print(f"tick, ms                  {low * 1e3:>9.1f} / {middle * 1e3:>9.1f} / {high * 1e3:>9.1f}")


if __name__ == "__main__":
    main()

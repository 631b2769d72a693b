"""Memory over simulated hours of the soak's load, in minutes of CPU. `python -m benchmarks.growth --for 3h`.

The same users and players as in `make soak`, but with a clock of their own, through what keeps state in a daemon:
pipeline, evaluation, page and metrics, and dumps for checkpoints; without sockets, threads and files. The load
comes from another process. What is allocated tells whether something is kept. What is resident also has what the
allocator cannot return.
"""

from __future__ import annotations

import argparse
import ctypes
import time
from collections.abc import Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection

from benchmarks.collector import record
from benchmarks.memory import resident_bytes
from benchmarks.soak import PLAYERS, RECORDS_OF_VIEWING, users
from qoemon.common import duration
from qoemon.config.config import Config
from qoemon.config.plan import core_plan, new_evaluation
from qoemon.core.sharding.shard_pipeline import ShardPipeline
from qoemon.core.wire.message import Kind
from qoemon.engine import garbage, interpreter
from qoemon.outputs.history import History
from qoemon.outputs.metrics.exporter import Exporter
from qoemon.state.frames import StoredMessage
from qoemon.tools.simulate.load import TOPICS, ReportMessages

FOR_S, ROW_S, REPORTS_PER_S = 10_800.0, 600, 500.0
TIDY_S = round(garbage.EVERY_S)
PATH = "/cmcd/v1/video/eu/a"


class _Mallinfo(ctypes.Structure):
    """struct mallinfo2 of glibc, mallinfo(3)."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


def allocated_bytes() -> int:
    """What is allocated by malloc(3), in all of its arenas and in mappings of its own."""
    libc = ctypes.CDLL("libc.so.6")
    libc.mallinfo2.restype = _Mallinfo
    info = libc.mallinfo2()
    return int(info.uordblks + info.hblkhd)


def messages(start_s: float, for_s: float) -> Iterator[list[StoredMessage]]:
    """The messages of each second, in the order of their arrival."""
    population, encoder = users(start_s, for_s, REPORTS_PER_S), ReportMessages(TOPICS, (), 16, "json", 1)
    for second in range(round(for_s)):
        now_s = start_s + second
        _, reports = encoder.of_step(population.step(now_s + 0.9))
        some = [StoredMessage(each.address, each.payload, now_s + 0.9, Kind.MQTT) for each in reports]
        for player in range(PLAYERS):
            # Their viewings begin at different times.
            viewing, number = divmod(second + player, RECORDS_OF_VIEWING)
            body = record(viewing * PLAYERS + player, number, round(now_s * 1000))
            some.append(StoredMessage(PATH, body, now_s + 0.9, Kind.CMCD))
        yield some


def received(start_s: float, for_s: float) -> Iterator[list[StoredMessage]]:
    """As messages(), made in a process of its own: users with long sessions take memory, too."""
    spawn = get_context("spawn")
    receiving, sending = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_send, args=(sending, start_s, for_s), daemon=True)
    process.start()
    sending.close()
    for _ in range(round(for_s)):
        yield receiving.recv()
    process.join()


def _send(to: Connection, start_s: float, for_s: float) -> None:
    for some in messages(start_s, for_s):
        to.send(some)


def grow(for_s: float) -> Iterator[tuple[float, int, int]]:
    """Minutes, bytes allocated and bytes resident, every ROW_S."""
    interpreter.tune()
    config = Config()
    plan = core_plan(config)
    pipeline, evaluation = ShardPipeline(plan), new_evaluation(config)
    exporter, history = Exporter(), History(plan.timing.tick_s)
    start_s = time.time() // 86_400 * 86_400
    for second, some in enumerate(received(start_s, for_s), start=1):
        pipeline.apply(some)
        if second % plan.timing.tick_s == 0:
            tick = evaluation.tick([pipeline.tick(int(start_s) + second)])
            exporter.render(*tick, (), history.add(*tick))
            pipeline.dump(), evaluation.dump()
        if second % TIDY_S == 0:
            garbage.tidy()
        if second % ROW_S == 0:
            yield second / 60, allocated_bytes(), resident_bytes()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--for", dest="for_s", type=duration.seconds, default=FOR_S, help="simulated, such as 3h")
    print("| minutes | MB allocated | MB resident |", "|---:|---:|---:|", sep="\n")
    for minutes, allocated, resident in grow(parser.parse_args().for_s):
        print(f"| {minutes:.0f} | {allocated / 1e6:.2f} | {resident / 1e6:.2f} |", flush=True)


if __name__ == "__main__":
    main()

"""The cases. A round measures each once, so that other load on the machine affects qoemon and rivals alike."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from benchmarks.decoding import decode_cpu_s
from benchmarks.row import Row
from benchmarks.wire import cpu
from benchmarks.wire.figures import Figures, attempt, rival_cost
from benchmarks.wire.load import Generator, ceiling, packets, payloads
from benchmarks.wire.probes import bare_server, delays, p99, response_times
from benchmarks.wire.receivers import MosquittoSub, MqttExporter, PrometheusMqttExporter, Qoemon, versions
from benchmarks.wire.workers import PIECES, WAYS, measure, pieces
from tests.support.parts import WebMosquitto

MESSAGES, SESSIONS, GROUPS = 100_000, 20_000, 20
BATCHED, BATCH = 10_000, 100
MANY, RATE = 1_000_000, 20_000
DURABILITY = "process"
BATCHED_AT_MOST, GROWTH = 25.0, 11.0
"""Bars: over msgspec decoding, and of ten times the load."""
BUSY_S = 0.01
"""If even a bare server takes so long, response times are those of the scheduler."""
MILLI = 1e3


class Place:
    """A broker, load generators for it, and a directory for files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        # Without limits: the broker is not to drop messages of a rival that is slower than the burst.
        self.broker = WebMosquitto(directory, options=["max_inflight_messages 0", "set_tcp_nodelay true"])

    def daemon(self, qos: int = 1, durability: str | None = None, tick: str = "1s") -> Qoemon:
        """A daemon that is not started yet, in a directory of its own."""
        files = Path(tempfile.mkdtemp(dir=self.directory))
        return Qoemon(files, self.broker.port, qos, durability=durability, sessions={"tick": tick})

    @contextmanager
    def generator(self) -> Iterator[Generator]:
        """A connection that publishes."""
        with Generator(self.broker.port) as load:
            yield load


@contextmanager
def place() -> Iterator[Place]:
    """A Place with a running broker, removed at the end."""
    with tempfile.TemporaryDirectory() as directory:
        here = Place(Path(directory))
        with here.broker:
            yield here


def generator_ceiling(_: Place, figures: Figures) -> None:
    """Rate of the generator if the receiver only reads."""
    rate = ceiling(packets(payloads(MESSAGES, 1, SESSIONS, GROUPS), 1))
    figures.add("generator: maximum rate", "messages/s", rate)


def qos_1(here: Place, figures: Figures) -> None:
    """One report a message at QoS 1, acknowledged once it is journalled, compared with the barest subscriber."""
    chunks = packets(payloads(MESSAGES, 1, SESSIONS, GROUPS), 1)
    with here.generator() as load:
        name = "QoS 1: mosquitto_sub"
        sub_s = rival_cost(
            figures, name, lambda: MosquittoSub(here.broker.port, 1).cost(MESSAGES, lambda: load.flood(chunks))
        )
        if sub_s is not None:
            figures.cost(name, "message", sub_s, MESSAGES)
        with here.daemon(durability=DURABILITY) as daemon:
            ours_s = daemon.cost(MESSAGES, lambda: load.flood(chunks))
    figures.cost("QoS 1: qoemon", "message", ours_s, MESSAGES)
    figures.ratio("QoS 1: qoemon / mosquitto_sub", ours_s, sub_s, at_most=3)


def qos_0(here: Place, figures: Figures) -> None:
    """One report a message at QoS 0, compared with exporters."""
    chunks = packets(payloads(MESSAGES, 1, SESSIONS, GROUPS), 0)
    with here.generator() as load, here.daemon(qos=0, durability=DURABILITY) as daemon:
        ours_s = daemon.cost(MESSAGES, lambda: load.flood(chunks))
    figures.cost("QoS 0: qoemon", "message", ours_s, MESSAGES)
    for kind in (PrometheusMqttExporter, MqttExporter):
        _compare(here, figures, kind, chunks, ours_s)


def _compare(
    here: Place,
    figures: Figures,
    kind: type[PrometheusMqttExporter | MqttExporter],
    chunks: list[bytes],
    ours_s: float,
) -> None:
    """The rows of one exporter, for the same messages. No ratio if it loses some."""

    def measured() -> float:
        with here.generator() as load, kind(here.directory, here.broker.port) as rival:
            return rival.cost(MESSAGES, lambda: load.flood(chunks))

    name = f"QoS 0: {kind.name}"
    theirs_s = rival_cost(figures, name, measured)
    if theirs_s is not None:
        figures.cost(name, "message", theirs_s, MESSAGES)
    figures.ratio(f"QoS 0: qoemon / {kind.name}", ours_s, theirs_s, at_most=1)


def websocket(here: Place, figures: Figures) -> None:
    """One report a message at QoS 1, through a WebSocket and by TCP."""
    chunks = packets(payloads(MESSAGES, 1, SESSIONS, GROUPS), 1)
    spent_s: dict[str, float] = {}
    for transport, port in (("tcp", here.broker.port), ("websockets", here.broker.web_port)):
        files = Path(tempfile.mkdtemp(dir=here.directory))
        receiver = Qoemon(files, port, 1, durability=DURABILITY, transport=transport)
        with here.generator() as load, receiver as daemon:
            spent_s[transport] = daemon.cost(MESSAGES, lambda: load.flood(chunks))
    figures.cost("QoS 1, WebSocket: qoemon", "message", spent_s["websockets"], MESSAGES)
    figures.ratio("QoS 1, WebSocket / TCP", spent_s["websockets"], spent_s["tcp"])


def batches(here: Place, figures: Figures) -> None:
    """A hundred reports a message, compared with msgspec decoding the same payloads."""
    messages = list(payloads(BATCHED, BATCH, SESSIONS, GROUPS))
    reports = BATCHED * BATCH
    with here.daemon(durability=DURABILITY, tick="10s") as daemon, here.generator() as load:
        chunks = packets(iter(messages), 1)
        spent_s = daemon.cost(reports, lambda: load.flood(chunks))
    decoding_s = median(decode_cpu_s([payload for _, payload in messages]) for _ in range(5))
    figures.rate("100 reports a message: qoemon", "reports", reports, spent_s)
    figures.cost("100 reports a message: qoemon, CPU", "report", spent_s, reports)
    figures.cost("100 reports a message: msgspec decoding", "report", decoding_s, reports)
    figures.ratio("100 reports a message: qoemon / msgspec decoding", spent_s, decoding_s, at_most=BATCHED_AT_MOST)


def a_million_sessions(here: Place, figures: Figures) -> None:
    """Response time of the event loop under load, compared with a bare server and a tick in the same period."""
    first = packets(payloads(MANY // BATCH, BATCH, MANY, GROUPS), 1)
    length_s = 20
    chunks = packets(payloads(RATE * length_s, 1, MANY, GROUPS, begin=MANY), 1)
    with here.daemon(durability=DURABILITY, tick="10s") as daemon, here.generator() as load:
        daemon.cost(MANY, lambda: load.flood(first))
        before, ticks, began = daemon.reports(), daemon.ticks(), cpu.seconds(daemon.pid)
        with (
            bare_server() as bare_port,
            response_times(bare_port) as bare_s,
            response_times(daemon.port) as took_s,
        ):
            late_s = load.pace(chunks, RATE)
        spent_s, resident = cpu.seconds(daemon.pid) - began, cpu.resident_bytes(daemon.pid)
        daemon.cost(RATE * length_s - round(daemon.reports() - before), lambda: None)
        tick_s = daemon.ticks().mean_since(ticks)
    of = "20,000 messages/s, 1,000,000 sessions"
    figures.load(f"{of}: CPU", spent_s, length_s)
    figures.add(f"{of}: memory", "MiB", resident / 2**20)
    figures.add(f"{of}: tick, mean", "ms", tick_s * MILLI)
    figures.add(f"{of}: response time, p99", "ms", p99(took_s) * MILLI)
    figures.add(f"{of}: response time, longest", "ms", max(took_s) * MILLI)
    figures.add(f"{of}: response time of a bare server, p99", "ms", p99(bare_s) * MILLI)
    name = f"{of}: response time / (bare server + tick), p99"
    if p99(bare_s) < BUSY_S:
        figures.ratio(name, p99(took_s), p99(bare_s) + tick_s, at_most=1, resolution_s=0)
    else:
        figures.not_measurable(name, "times", f"machine too busy, a bare server took {p99(bare_s) * MILLI:.0f} ms")
    figures.add("generator: longest delay at 20,000 messages/s", "ms", late_s * MILLI)


def from_publish_to_metrics(here: Place, figures: Figures) -> None:
    """Delay of a report at 5,000 messages a second, compared with delivery by the broker and one tick."""
    rate, length_s, tick_s = 5_000, 15, 1.0
    chunks = packets(payloads(rate * length_s, 1, SESSIONS, GROUPS), 1)
    with here.daemon(durability=DURABILITY) as daemon, here.generator() as load, ThreadPoolExecutor(1) as beside:
        loading = beside.submit(load.pace, chunks, rate)
        delay = delays(here.broker.port, daemon.port, 300)
        loading.result()
    ours_s, delivery_s = p99(delay.metrics_s), p99(delay.delivery_s)
    figures.add("from publish to mosquitto_sub, p99", "ms", delivery_s * MILLI)
    figures.add("from publish to /metrics, tick 1 s, p99", "ms", ours_s * MILLI)
    name = "from publish to /metrics / (to mosquitto_sub + tick), p99"
    figures.ratio(name, ours_s, tick_s + delivery_s, at_most=1.2, resolution_s=0)


def ten_times_the_rate(here: Place, figures: Figures) -> None:
    """CPU of a daemon at 2,000 and at 20,000 messages a second, and of an idle one."""
    length_s = 6
    idle = _at_rate(here, 0, 2 * length_s)
    slow, fast = (_at_rate(here, rate, length_s) for rate in (RATE // 10, RATE))
    figures.load("idle: CPU", idle, 2 * length_s)
    figures.load("2,000 messages/s: CPU", slow, length_s)
    figures.load("20,000 messages/s: CPU", fast, length_s)
    figures.ratio("idle / 2,000 messages/s, in the same time", idle, 2 * slow, at_most=0.25)
    figures.ratio("growth: 10 times the rate", fast, slow, at_most=GROWTH)


def _at_rate(here: Place, rate: int, length_s: int) -> float:
    """CPU seconds; ticks as by default."""
    chunks = packets(payloads(rate * length_s, 1, SESSIONS, GROUPS), 1)
    with here.daemon(durability=DURABILITY, tick="10s") as daemon, here.generator() as load:
        time.sleep(1)
        began = cpu.seconds(daemon.pid)
        if rate:
            load.pace(chunks, rate)
        else:
            time.sleep(length_s)
        time.sleep(0.5)
        return cpu.seconds(daemon.pid) - began


def ten_times_the_sessions(here: Place, figures: Figures) -> None:
    """CPU of 10 s in which each session reports once, with ten ticks.

    It measures three pairs: with few sessions there is little CPU time, and other load on the machine shows.
    """
    for _ in range(3):
        few, many = (_by_size(here, sessions, 100) for sessions in (100_000, MANY))
        figures.load("100,000 sessions, 100 groups: CPU", *few)
        figures.load("1,000,000 sessions, 100 groups: CPU", *many)
        figures.ratio("growth: 10 times the sessions", *_same_length(many, few), at_most=GROWTH)


def ten_times_the_groups(here: Place, figures: Figures) -> None:
    """CPU of 10 s in which each session reports once, with ten ticks."""
    few, many = (_by_size(here, 100_000, groups) for groups in (100, 1000))
    figures.load("100,000 sessions, 1,000 groups: CPU", *many)
    figures.ratio("growth: 10 times the groups", *_same_length(many, few), at_most=GROWTH)


def _by_size(here: Place, sessions: int, groups: int) -> tuple[float, float]:
    """CPU seconds, and the seconds that passed."""
    length_s, batch = 10, 100
    chunks = packets(payloads(sessions // batch, batch, sessions, groups), 1)
    with here.daemon(durability=DURABILITY) as daemon, here.generator() as load:
        began, began_s = cpu.seconds(daemon.pid), time.monotonic()
        daemon.cost(sessions, lambda: load.flood(chunks))
        time.sleep(max(0.0, began_s + length_s - time.monotonic()))
        return cpu.seconds(daemon.pid) - began, time.monotonic() - began_s


def _same_length(many: tuple[float, float], few: tuple[float, float]) -> tuple[float, float]:
    """CPU seconds of both, as if as much time had passed with few as with many."""
    return many[0], few[0] * many[1] / few[1]


def several_workers(here: Place, figures: Figures) -> None:
    """Throughput of workers, and CPU of each process for a report: the process that spends most is the limit."""
    broker = here.broker.port, here.broker.pid
    for batch, reports in ((BATCH, 500_000), (1, 50_000)):
        kind = f"{batch} reports a message" if batch > 1 else "one report a message"
        for way in WAYS:
            load = list(pieces(reports, batch, SESSIONS, GROUPS, by_shard="shards" in way))
            files = Path(tempfile.mkdtemp(dir=here.directory))
            measured = measure(files, broker, way, load, PIECES * reports)
            figures.rate(f"{way}, {kind}: total", "reports", PIECES * reports, measured.took_s)
            for process, spent_s in measured.spent_s.items():
                figures.cost(f"{way}, {kind}: {process}", "report", spent_s, PIECES * reports)


CASES: Mapping[str, Callable[[Place, Figures], None]] = {
    "generator": generator_ceiling,
    "QoS 1": qos_1,
    "QoS 0": qos_0,
    "WebSocket": websocket,
    "100 reports a message": batches,
    "1,000,000 sessions": a_million_sessions,
    "from publish to /metrics": from_publish_to_metrics,
    "10 times the rate": ten_times_the_rate,
    "10 times the sessions": ten_times_the_sessions,
    "10 times the groups": ten_times_the_groups,
    "workers": several_workers,
}


def rows() -> list[Row]:
    """Three rounds of all cases, or one if QUICK is set."""
    figures = Figures()
    print("; ".join(f"{name}: {version}" for name, version in versions().items()), flush=True)
    for _ in range(1 if os.environ.get("QUICK") else 3):
        with place() as here:
            attempt(CASES, here, figures)
    print()
    return figures.rows()

"""The cases: each measures once; a round is all of them in turn, so that a busy machine hits rivals alike."""

from __future__ import annotations

import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from benchmarks import core
from benchmarks.bench import Row
from benchmarks.wire import cpu
from benchmarks.wire.divided import PIECES, WAYS, measure, pieces
from benchmarks.wire.load import Generator, ceiling, packets, payloads
from benchmarks.wire.probes import answers, effects, p99
from benchmarks.wire.receivers import MosquittoSub, MqttExporter, PrometheusMqttExporter, Qoemon, versions
from tests.support.parts import Mosquitto

MESSAGES, SESSIONS, GROUPS = 100_000, 20_000, 20
BATCHED, BATCH = 10_000, 100
MANY, RATE = 1_000_000, 20_000
DURABILITY = "process"
MICRO, MILLI = 1e6, 1e3

Figures = dict[str, list[float]]


class Place:
    """A broker, a way to load it, and room for files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        # Without limits: a rival that is slow at the end of a burst is slow, not short of messages.
        self.broker = Mosquitto(directory, options=["max_inflight_messages 0", "set_tcp_nodelay true"])

    def daemon(self, qos: int = 1, durability: str | None = None, tick: str = "1s") -> Qoemon:
        """One that is not started yet, with files of its own."""
        mine = Path(tempfile.mkdtemp(dir=self.directory))
        return Qoemon(mine, self.broker.port, qos, durability=durability, sessions={"tick": tick})

    @contextmanager
    def generator(self) -> Iterator[Generator]:
        """The load's connection."""
        with Generator(self.broker.port) as made:
            yield made


@contextmanager
def place() -> Iterator[Place]:
    """All that the cases need, gone at the end."""
    with tempfile.TemporaryDirectory() as directory:
        made = Place(Path(directory))
        with made.broker:
            yield made


def generators_ceiling(_: Place, figures: Figures) -> None:
    """What the generator could send, did anybody take it."""
    figures["generator: its ceiling"].append(ceiling(packets(payloads(MESSAGES, 1, SESSIONS, GROUPS), 1)))


def one_report_a_message(here: Place, figures: Figures) -> None:
    """QoS 1, acknowledged once it is safe, beside the barest subscriber."""
    chunks = packets(payloads(MESSAGES, 1, SESSIONS, GROUPS), 1)
    with here.generator() as load:
        sub_s = MosquittoSub(here.broker.port, 1).cost(MESSAGES, lambda: load.flood(chunks))
        with here.daemon(durability=DURABILITY) as daemon:
            ours_s = daemon.cost(MESSAGES, lambda: load.flood(chunks))
    figures["QoS 1: mosquitto_sub"].append(sub_s / MESSAGES * MICRO)
    figures["QoS 1: qoemon"].append(ours_s / MESSAGES * MICRO)
    figures["QoS 1: qoemon / mosquitto_sub"].append(ours_s / sub_s)


def beside_exporters(here: Place, figures: Figures) -> None:
    """QoS 0 all of them."""
    chunks = packets(payloads(MESSAGES, 1, SESSIONS, GROUPS), 0)
    spent: dict[str, float] = {}
    with here.generator() as load:
        exporters = [kind(here.directory, here.broker.port) for kind in (PrometheusMqttExporter, MqttExporter)]
        for rival in exporters:
            with rival:
                spent[rival.name] = rival.cost(MESSAGES, lambda: load.flood(chunks))
        with here.daemon(qos=0, durability=DURABILITY) as daemon:
            ours_s = daemon.cost(MESSAGES, lambda: load.flood(chunks))
    figures["QoS 0: qoemon"].append(ours_s / MESSAGES * MICRO)
    for name, spent_s in spent.items():
        figures[f"QoS 0: {name}"].append(spent_s / MESSAGES * MICRO)
        figures[f"QoS 0: qoemon / {name}"].append(ours_s / spent_s)


def hundred_reports_a_message(here: Place, figures: Figures) -> None:
    """The whole daemon, and what of it a decoder alone takes for the same."""
    chunks = packets(payloads(BATCHED, BATCH, SESSIONS, GROUPS), 1)
    reports = BATCHED * BATCH
    with here.daemon(durability=DURABILITY, tick="10s") as daemon, here.generator() as load:
        spent_s = daemon.cost(reports, lambda: load.flood(chunks))
    a_second, share = core.reports_per_second(BATCH)
    figures["100 reports a message: qoemon"].append(reports / spent_s)
    figures["100 reports a message: share of decoding"].append(share / a_second * reports / spent_s)


def a_million_sessions(here: Place, figures: Figures) -> None:
    """How soon the event loop answers, with all at once."""
    first = packets(payloads(MANY // BATCH, BATCH, MANY, GROUPS), 1)
    length_s = 20
    chunks = packets(payloads(RATE * length_s, 1, MANY, GROUPS, begin=MANY), 1)
    with here.daemon(durability=DURABILITY, tick="10s") as daemon, here.generator() as load:
        daemon.cost(MANY, lambda: load.flood(first))
        before, began = daemon.reports(), cpu.seconds(daemon.pid)
        with answers(daemon.port) as took_s:
            late_s = load.pace(chunks, RATE)
        figures["20,000 messages/s, 1,000,000 sessions: CPU"].append((cpu.seconds(daemon.pid) - began) / length_s)
        figures["20,000 messages/s, 1,000,000 sessions: memory"].append(cpu.resident_bytes(daemon.pid) / 2**20)
        daemon.cost(RATE * length_s - round(daemon.reports() - before), lambda: None)
    figures["20,000 messages/s, 1,000,000 sessions: answer, p99"].append(p99(took_s) * MILLI)
    figures["20,000 messages/s, 1,000,000 sessions: answer, longest"].append(max(took_s) * MILLI)
    figures["generator: late at 20,000 messages/s, most"].append(late_s * MILLI)


def from_publish_to_metrics(here: Place, figures: Figures) -> None:
    """Under 5,000 messages a second, with a tick of 1 s: no more than that and a fifth."""
    rate, length_s = 5_000, 15
    chunks = packets(payloads(rate * length_s, 1, SESSIONS, GROUPS), 1)
    with here.daemon(durability=DURABILITY) as daemon, here.generator() as load, ThreadPoolExecutor(1) as beside:
        loading = beside.submit(load.pace, chunks, rate)
        took_s = effects(here.broker.port, daemon.port, 300)
        loading.result()
    figures["from publish to /metrics, tick 1 s, p99"].append(p99(took_s) * MILLI)


def ten_times_the_rate(here: Place, figures: Figures) -> None:
    """CPU of a daemon at 2,000 and at 20,000 messages a second, and without any."""
    length_s = 6
    spent = {rate: _at_rate(here, rate, length_s) for rate in (0, RATE // 10, RATE)}
    figures["idle: CPU"].append(spent[0])
    figures["2,000 messages/s: CPU"].append(spent[RATE // 10])
    figures["20,000 messages/s: CPU"].append(spent[RATE])
    figures["growth: 10 times the rate"].append(spent[RATE] / spent[RATE // 10])


def _at_rate(here: Place, rate: int, length_s: int) -> float:
    """The share of a core; ticks as by default."""
    chunks = packets(payloads(rate * length_s, 1, SESSIONS, GROUPS), 1)
    with here.daemon(durability=DURABILITY, tick="10s") as daemon, here.generator() as load:
        time.sleep(1)
        began = cpu.seconds(daemon.pid)
        if rate:
            load.pace(chunks, rate)
        else:
            time.sleep(2 * length_s)
        time.sleep(0.5)
        return (cpu.seconds(daemon.pid) - began) / (length_s if rate else 2 * length_s)


def ten_times_the_sessions(here: Place, figures: Figures) -> None:
    """CPU of 10 s in which each session reports once, by ten ticks."""
    few, many = (_by_size(here, sessions, 100) for sessions in (100_000, MANY))
    figures["100,000 sessions, 100 groups: CPU"].append(few)
    figures["1,000,000 sessions, 100 groups: CPU"].append(many)
    figures["growth: 10 times the sessions"].append(many / few)


def ten_times_the_groups(here: Place, figures: Figures) -> None:
    """CPU of 10 s in which each session reports once, by ten ticks."""
    few, many = (_by_size(here, 100_000, groups) for groups in (100, 1000))
    figures["100,000 sessions, 1,000 groups: CPU"].append(many)
    figures["growth: 10 times the groups"].append(many / few)


def _by_size(here: Place, sessions: int, groups: int) -> float:
    """The share of a core."""
    length_s, batch = 10, 100
    chunks = packets(payloads(sessions // batch, batch, sessions, groups), 1)
    with here.daemon(durability=DURABILITY) as daemon, here.generator() as load:
        began, began_s = cpu.seconds(daemon.pid), time.monotonic()
        daemon.cost(sessions, lambda: load.flood(chunks))
        time.sleep(max(0.0, began_s + length_s - time.monotonic()))
        return (cpu.seconds(daemon.pid) - began) / (time.monotonic() - began_s)


def several_workers(here: Place, figures: Figures) -> None:
    """How much they take in together, and what each process has to do for a report: who does most is the limit."""
    broker = here.broker.port, here.broker.pid
    for batch, reports in ((BATCH, 500_000), (1, 50_000)):
        what = f"{batch} reports a message" if batch > 1 else "one report a message"
        for way in WAYS:
            load = list(pieces(reports, batch, SESSIONS, GROUPS, by_shard="shards" in way))
            told = measure(Path(tempfile.mkdtemp(dir=here.directory)), broker, way, load, PIECES * reports)
            figures[f"{way}, {what}: all together"].append(told.rate)
            for process, spent_s in told.spent_s.items():
                figures[f"{way}, {what}: {process}"].append(spent_s * MICRO)


CASES: tuple[Callable[[Place, Figures], None], ...] = (
    generators_ceiling,
    one_report_a_message,
    beside_exporters,
    hundred_reports_a_message,
    a_million_sessions,
    from_publish_to_metrics,
    ten_times_the_rate,
    ten_times_the_sessions,
    ten_times_the_groups,
    several_workers,
)

UNITS = {"together": "reports/s"} | dict.fromkeys(
    (f"message: {who}" for who in ("broker", "daemon", "worker")), "us/report"
)
UNITS |= {"/ ": "times", "growth": "times", "CPU": "of a core", "p99": "ms", "longest": "ms", "late": "ms"}
UNITS |= {"memory": "MiB", "share": "of it", "ceiling": "messages/s", "100 reports": "reports/s"}

BARS = {
    "QoS 1: qoemon / mosquitto_sub": 3.0,
    "QoS 0: qoemon / prometheus-mqtt-exporter": 1.0,
    "QoS 0: qoemon / mqtt-exporter": 1.0,
    "20,000 messages/s, 1,000,000 sessions: answer, p99": 50.0,
    "from publish to /metrics, tick 1 s, p99": 1200.0,
    "idle: CPU": 0.01,
    "growth: 10 times the rate": 11.0,
    "growth: 10 times the sessions": 11.0,
    "growth: 10 times the groups": 11.0,
}
FLOORS = {"100 reports a message: qoemon": 500_000.0}


def rows() -> list[Row]:
    """Three rounds of all cases, or one where QUICK is set."""
    figures: Figures = defaultdict(list)
    print("; ".join(f"{name}: {version}" for name, version in versions().items()), flush=True)
    for _ in range(1 if os.environ.get("QUICK") else 3):
        with place() as here:
            for case in CASES:
                case(here, figures)
                print(".", end="", flush=True)
    print()
    return [_row(name, runs) for name, runs in figures.items()]


def _row(name: str, runs: list[float]) -> Row:
    unit = next((unit for word, unit in UNITS.items() if word in name.replace("/s", "")), "us/message")
    return Row.of(name, unit, runs, FLOORS.get(name, BARS.get(name)), floor=name in FLOORS)

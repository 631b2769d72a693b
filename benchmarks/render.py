"""What it costs to render a tick of ten thousand groups, and to scrape it. `python -m benchmarks.render`.

CPU milliseconds of this process. The daemon renders in its worker thread; the event loop only hands out bytes.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterable, Iterator

import numpy as np
import prometheus_client
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from benchmarks.bench import Row, cpu_ms, run
from qoemon.core.alerting.detector import Detections, Detector
from qoemon.core.alerting.regime import RegimeRules
from qoemon.core.alerting.rule import AlertMetric, Rule
from qoemon.core.counting.monitor import Monitor
from qoemon.core.plan.plan import Limits, Plan, Service, Timing
from qoemon.core.plan.topic import TopicTemplate
from qoemon.core.qoe.mapping import VIDEO_STALL
from qoemon.core.snapshot.snapshot import Snapshot
from qoemon.core.wire.batch import batch_of
from qoemon.core.wire.report import Report, Route
from qoemon.daemon.own import IDLE
from qoemon.net.http.body import Body, CompressionDemand
from qoemon.net.http.server import serve
from qoemon.outputs.history import History
from qoemon.outputs.latest import Latest
from qoemon.outputs.metrics.exporter import Exporter
from qoemon.outputs.metrics.qoe import families
from qoemon.outputs.page.overview import overview
from qoemon.outputs.page.query import Query
from qoemon.outputs.published import PublishedTick
from qoemon.outputs.routes import application

GROUPS, SESSIONS_A_GROUP, REPEATS, SCRAPES = 10_000, 3, 5, 20
START_S = 1_700_000_040
MEGA = 1e6


def plan() -> Plan:
    """One video service, windows of 1 and 5 minutes, a theta band of two."""
    return Plan(
        services=(Service("video", VIDEO_STALL, 0.3, theta_band=(0.1, 0.3)),),
        topics=(TopicTemplate("qoe/v1/{service}/{region}/{cdn}"),),
        labels=("region", "cdn"),
        timing=Timing(windows_s=(60, 300)),
        limits=Limits(groups=GROUPS),
    )


def ticks(count: int) -> Iterator[Snapshot]:
    """Rating interval by rating interval, with viewers in every group."""
    monitor, rng = Monitor(plan()), np.random.default_rng(1)
    routes = [Route("video", (f"region-{g // 100}", f"cdn-{g % 100}")) for g in range(GROUPS)]
    size = GROUPS * SESSIONS_A_GROUP
    stalls, stall_s = np.zeros(size, np.int64), np.zeros(size)
    for minute in range(count):
        now_s = START_S + 60.0 * minute
        new = rng.poisson(0.3, size)
        stalls, stall_s = stalls + new, stall_s + new * rng.gamma(2, 1.5, size)
        told = zip(stalls.tolist(), stall_s.tolist(), strict=True)
        reports = [
            Report(f"{s:032x}", seq=minute, stall_count=n, stall_s=t, play_s=55.0 * (minute + 1))
            for s, (n, t) in enumerate(told)
        ]
        route = [s % GROUPS for s in range(size)]
        monitor.apply(batch_of(reports, route, [now_s + 5] * size, routes)[0], now_s + 5)
        yield monitor.snapshot(now_s + 60)


class Rendering:
    """A daemon's last steps on some ticks of ten thousand groups."""

    def __init__(self) -> None:
        rule = Rule("Poor", "video", AlertMetric.POW, 300, 0.2, 0.1, {})
        self._watch, self._history = Detector(plan(), (rule,), RegimeRules()), History(10)
        self.exporter = Exporter()
        for snapshot in ticks(3):
            self.snapshot, self.watched = snapshot, self._see(snapshot)
            self.past = self._history.see(snapshot, self.watched)

    def _see(self, snapshot: Snapshot) -> Detections:
        return self._watch.observe(snapshot)

    def publish(self) -> PublishedTick:
        """What the worker thread does at the end of each tick."""
        return self.exporter.publish(self.snapshot, self.watched, IDLE, self.past)

    def remember(self) -> object:
        """What the page's last hour costs at each tick, the oldest frame going."""
        return self._history.see(self.snapshot, self.watched)


class _Families(Collector):
    def __init__(self, told: list[Metric]) -> None:
        self._told = told

    def collect(self) -> list[Metric]:
        return self._told


def by_client(snapshot: Snapshot) -> bytes:
    """The same families by prometheus-client."""
    return prometheus_client.generate_latest(_Families(list(families(snapshot))))  # type: ignore[arg-type]


CLIENT = """
import socket, sys, time
encoding, scrapes, *ports = sys.argv[1], *map(int, sys.argv[2:])
asked = f"GET /metrics HTTP/1.1\\r\\nHost: x\\r\\nAccept-Encoding: {encoding}\\r\\nConnection: close\\r\\n\\r\\n"
space = bytearray(2**20)
for _ in range(scrapes):
    for port in ports:
        time.sleep(0.2)
        began = time.perf_counter()
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(asked.encode())
            while connection.recv_into(space):
                pass
        print(1000 * (time.perf_counter() - began))
"""
"""Another process, as Prometheus is; it reads and does not unpack. It goes from port to port in turn."""

BARE = """
import socket, sys
answer = sys.stdin.buffer.read()
with socket.create_server(("127.0.0.1", 0)) as listening:
    print(listening.getsockname()[1], flush=True)
    while True:
        connection, _ = listening.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(answer)
"""
"""A process that sends the same bytes and does nothing else."""


async def scrapes_ms(
    rendering: Rendering, encoding: str, scrapes: int, *, ticking: bool
) -> tuple[list[float], list[float]]:
    """Milliseconds until the whole of /metrics was there; and the same from a bare socket.

    ticking  whether the worker makes one tick after the other meanwhile
    """
    board = Latest()
    app = application(board, list, list, asyncio.Condition())
    serving, port = await serve(app, "127.0.0.1", 0)
    over = threading.Event()
    board.newest = rendering.publish()
    body = board.newest.exposition
    body.want()
    packed = body.packed()
    bare, bare_port = await bare_server(packed if encoding == "gzip" else body.pieces)
    worker = threading.Thread(target=_publish_on, args=(rendering, board, over))
    if ticking:
        worker.start()
    try:
        command = (sys.executable, "-c", CLIENT, encoding, str(scrapes), str(port), str(bare_port))
        client = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        told, _ = await client.communicate()
    finally:
        over.set()
        if ticking:
            worker.join()
        bare.kill()
        await bare.wait()
        await serving.cleanup()
    took_ms = [float(line) for line in told.split()]
    return took_ms[::2], took_ms[1::2]


async def bare_server(pieces: Iterable[bytes]) -> tuple[asyncio.subprocess.Process, int]:
    """A process that sends this to whoever connects, and its port."""
    pipe = asyncio.subprocess.PIPE
    server = await asyncio.create_subprocess_exec(sys.executable, "-c", BARE, stdin=pipe, stdout=pipe)
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.writelines(pieces)
    server.stdin.close()
    return server, int(await server.stdout.readline())


def _publish_on(rendering: Rendering, board: Latest, over: threading.Event) -> None:
    while not over.is_set():
        board.newest = rendering.publish()


def rows() -> list[Row]:
    """All figures."""
    rendering = Rendering()
    published = rendering.publish()
    written, view = published.metrics, published.json
    packed = b"".join(published.exposition.packed())
    shown = overview(published, Query.parse({}), [])
    of = f"{GROUPS:,} groups x 2 windows"
    return [
        Row.of(f"{of}: samples", "count", [sum(not line.startswith(b"#") for line in written.splitlines())]),
        Row.of(f"{of}: /metrics", "MB", [len(written) / MEGA]),
        Row.of(f"{of}: /metrics, gzip", "MB", [len(packed) / MEGA]),
        Row.of(f"{of}: /api/v1/snapshot", "MB", [len(view) / MEGA]),
        Row.of("render both", "ms CPU", cpu_ms(rendering.publish, REPEATS), bar=1000),
        Row.of("  /metrics by prometheus-client", "ms CPU", cpu_ms(lambda: by_client(rendering.snapshot), 1)),
        Row.of("  gzip of /metrics", "ms CPU", cpu_ms(lambda: repacked(written), REPEATS)),
        Row.of("the page's last hour, a tick", "ms CPU", cpu_ms(rendering.remember, REPEATS)),
        Row.of(
            f"the page's table, {len(shown['rows'])} rows",
            "ms CPU",
            cpu_ms(lambda: overview(published, Query.parse({}), []), REPEATS),
        ),
        *scrape_rows(rendering, "scrape with gzip, during ticks", "gzip", ticking=True, bar=30),
        *scrape_rows(rendering, "scrape without, during ticks", "identity", ticking=True),
        *scrape_rows(rendering, "scrape without, between ticks", "identity", ticking=False),
    ]


def scrape_rows(
    rendering: Rendering, name: str, encoding: str, *, ticking: bool, bar: float | None = None
) -> Iterator[Row]:
    """How long scrapes take, beside the floor of this machine."""
    ours_ms, bare_ms = asyncio.run(scrapes_ms(rendering, encoding, SCRAPES, ticking=ticking))
    yield Row.of(name, "ms", ours_ms, bar)
    yield Row.of("  the same bytes through a bare socket", "ms", bare_ms)


def repacked(written: bytes) -> tuple[bytes, ...]:
    """Compressed anew."""
    return Body([written], CompressionDemand()).packed()


def main() -> None:
    """Print the table."""
    run("Rendering, as in a tick of the daemon", rows)


if __name__ == "__main__":
    main()

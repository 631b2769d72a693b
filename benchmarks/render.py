"""CPU of rendering a tick of ten thousand groups, and the time of scraping it. `python -m benchmarks.render`.

The daemon renders in its worker thread; the event loop only sends bytes.
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

from benchmarks.bench import cpu_ms, run
from benchmarks.row import Row
from benchmarks.shard import Shard
from qoemon.core.alerting.detector import Detector
from qoemon.core.alerting.regime import RegimeRules
from qoemon.core.alerting.rule import AlertMetric, Rule
from qoemon.core.plan.plan import Limits, Plan, Service, Timing
from qoemon.core.plan.topic import TopicTemplate
from qoemon.core.qoe.mapping import VIDEO_STALL
from qoemon.core.snapshot.snapshot import Snapshot
from qoemon.core.wire.batch import batch_of
from qoemon.core.wire.report import Report, Route
from qoemon.daemon.metrics import initial_metrics
from qoemon.net.http.body import Body, CompressionDemand
from qoemon.net.http.listener import bound
from qoemon.net.http.server import serve
from qoemon.net.http.stats import HttpStats
from qoemon.net.http.web_config import WebConfig
from qoemon.outputs.history import History
from qoemon.outputs.latest import Latest
from qoemon.outputs.metrics.exporter import Exporter
from qoemon.outputs.metrics.qoe import qoe_families
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
    """Snapshots of consecutive rating intervals, with viewers in every group."""
    shard, rng = Shard(plan()), np.random.default_rng(1)
    routes = [Route("video", (f"region-{g // 100}", f"cdn-{g % 100}")) for g in range(GROUPS)]
    size = GROUPS * SESSIONS_A_GROUP
    stalls, stall_s = np.zeros(size, np.int64), np.zeros(size)
    for minute in range(count):
        now_s = START_S + 60.0 * minute
        new = rng.poisson(0.3, size)
        stalls, stall_s = stalls + new, stall_s + new * rng.gamma(2, 1.5, size)
        counters = zip(stalls.tolist(), stall_s.tolist(), strict=True)
        reports = [
            Report(f"{s:032x}", seq=minute, stall_count=n, stall_s=t, play_s=55.0 * (minute + 1))
            for s, (n, t) in enumerate(counters)
        ]
        route = [s % GROUPS for s in range(size)]
        shard.apply(batch_of(reports, route, [now_s + 5] * size, routes)[0], now_s + 5)
        yield shard.tick(now_s + 60)


class Rendering:
    """The outputs of a daemon, after some ticks of ten thousand groups."""

    def __init__(self) -> None:
        rule = Rule("Poor", "video", AlertMetric.POW, 300, 0.2, 0.1, {})
        self._detector, self._history = Detector(plan(), (rule,), RegimeRules()), History(10)
        self.exporter = Exporter()
        for snapshot in ticks(3):
            self.snapshot, self.watched = snapshot, self._detector.observe(snapshot)
            self.past = self._history.add(snapshot, self.watched)

    def publish(self) -> PublishedTick:
        """Render the tick, as the worker thread does."""
        return self.exporter.render(self.snapshot, self.watched, initial_metrics(), self.past)

    def remember(self) -> object:
        """Add a tick to the page's history of the last hour, which drops its oldest."""
        return self._history.add(self.snapshot, self.watched)


class _Families(Collector):
    def __init__(self, found: list[Metric]) -> None:
        self._found = found

    def collect(self) -> list[Metric]:
        return self._found


def by_client(snapshot: Snapshot) -> bytes:
    """The same metric families, rendered by prometheus-client."""
    return prometheus_client.generate_latest(_Families(list(qoe_families(snapshot))))  # type: ignore[arg-type]


CLIENT = """
import socket, sys, time
encoding, scrapes, *ports = sys.argv[1], *map(int, sys.argv[2:])
request = f"GET /metrics HTTP/1.1\\r\\nHost: x\\r\\nAccept-Encoding: {encoding}\\r\\nConnection: close\\r\\n\\r\\n"
space = bytearray(2**20)
for _ in range(scrapes):
    for port in ports:
        time.sleep(0.2)
        began = time.perf_counter()
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(request.encode())
            while connection.recv_into(space):
                pass
        print(1000 * (time.perf_counter() - began))
"""
"""A client in a process of its own, as Prometheus is. It scrapes the ports in turn and does not decompress."""

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
    """Milliseconds of scrapes of /metrics, and of the same bytes from a bare socket.

    ticking  whether the worker thread renders one tick after the other meanwhile
    """
    latest = Latest()
    app, stats, sockets = application(latest, list, list), HttpStats(), await bound("127.0.0.1", 0)
    serving, port = await serve(app, sockets, WebConfig(None, stats), stats), sockets[0].getsockname()[1]
    over = threading.Event()
    published = rendering.publish()
    await latest.put(published)
    body = published.metrics
    body.want()
    packed = body.packed()
    bare, bare_port = await bare_server(packed if encoding == "gzip" else body.pieces)
    worker = threading.Thread(target=_publish_on, args=(rendering, latest, over, asyncio.get_running_loop()))
    if ticking:
        worker.start()
    try:
        command = (sys.executable, "-c", CLIENT, encoding, str(scrapes), str(port), str(bare_port))
        client = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        output, _ = await client.communicate()
    finally:
        over.set()
        if ticking:
            worker.join()
        bare.kill()
        await bare.wait()
        await serving.cleanup()
    took_ms = [float(line) for line in output.split()]
    return took_ms[::2], took_ms[1::2]


async def bare_server(pieces: Iterable[bytes]) -> tuple[asyncio.subprocess.Process, int]:
    """A process that sends these bytes to each client, and its port."""
    pipe = asyncio.subprocess.PIPE
    server = await asyncio.create_subprocess_exec(sys.executable, "-c", BARE, stdin=pipe, stdout=pipe)
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.writelines(pieces)
    server.stdin.close()
    return server, int(await server.stdout.readline())


def _publish_on(
    rendering: Rendering, latest: Latest, over: threading.Event, loop: asyncio.AbstractEventLoop
) -> None:
    while not over.is_set():
        asyncio.run_coroutine_threadsafe(latest.put(rendering.publish()), loop)


def rows() -> list[Row]:
    """All figures."""
    rendering = Rendering()
    published = rendering.publish()
    metrics, view = published.metrics.whole, published.json.whole
    packed = b"".join(published.metrics.packed())
    shown = overview(published, Query.parse({}), [])
    of = f"{GROUPS:,} groups x 2 windows"
    ours_ms = cpu_ms(rendering.publish, REPEATS)
    client_ms = cpu_ms(lambda: by_client(rendering.snapshot), 1)
    return [
        Row.of(f"{of}: samples", "count", [sum(not line.startswith(b"#") for line in metrics.splitlines())]),
        Row.of(f"{of}: /metrics", "MB", [len(metrics) / MEGA]),
        Row.of(f"{of}: /metrics, gzip", "MB", [len(packed) / MEGA]),
        Row.of(f"{of}: /api/v1/snapshot", "MB", [len(view) / MEGA]),
        Row.of("rendering /metrics and JSON", "ms CPU", ours_ms),
        Row.of("prometheus-client: rendering /metrics", "ms CPU", client_ms),
        Row.ratio("rendering both / prometheus-client", ours_ms, client_ms * REPEATS, at_most=0.15),
        Row.of("gzip of /metrics", "ms CPU", cpu_ms(lambda: compressed(metrics), REPEATS)),
        Row.of("history of the page, a tick", "ms CPU", cpu_ms(rendering.remember, REPEATS)),
        Row.of(
            f"table of the page, {len(shown['rows'])} rows",
            "ms CPU",
            cpu_ms(lambda: overview(published, Query.parse({}), []), REPEATS),
        ),
        *scrape_rows(rendering, "scrape with gzip, during ticks", "gzip", ticking=True, at_most=6),
        *scrape_rows(rendering, "scrape without gzip, during ticks", "identity", ticking=True, at_most=4),
        *scrape_rows(rendering, "scrape without gzip, between ticks", "identity", ticking=False, at_most=2),
    ]


def scrape_rows(rendering: Rendering, name: str, encoding: str, *, ticking: bool, at_most: float) -> Iterator[Row]:
    """Times of scrapes, compared with a bare socket in turn."""
    ours_ms, bare_ms = asyncio.run(scrapes_ms(rendering, encoding, SCRAPES, ticking=ticking))
    yield Row.of(name, "ms", ours_ms)
    yield Row.of(f"{name}: bare socket", "ms", bare_ms)
    yield Row.ratio(f"{name} / bare socket", ours_ms, bare_ms, at_most=at_most)


def compressed(metrics: bytes) -> tuple[bytes, ...]:
    """The bytes, compressed as for a scrape."""
    return Body([metrics], CompressionDemand()).packed()


if __name__ == "__main__":
    sys.exit(run("Rendering, as in a tick of the daemon", rows))

"""The live page's requests to a daemon with a thousand groups: `python -m benchmarks.page`.

Broker, daemon and load generator are processes of their own. The requests are those of an open page, one after the
other, while ticks pass and reports arrive.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from benchmarks.bench import KILO, run
from benchmarks.row import Row
from qoemon.tools.simulate.load import Totals, publish
from qoemon.tools.simulate.simulate import SCENARIOS, Population, groups
from tests.support.parts import Daemon, Mosquitto, broker_at
from tests.support.patience import until

REGIONS, CDNS, SESSIONS, EVERY_S = 25, 40, 10_000, 10.0
SETTLED_S, ASKED_S = 75.0, 60.0
MOST_MS = 50.0

GROUP = "label.region=region-07&label.cdn=cdn-07"
REQUESTS = {
    "table and a group": f"/api/v1/groups?service=video&{GROUP}",
    "table and a sum": "/api/v1/groups?by=cdn&service=video&label.cdn=cdn-07",
    "last hour of a group": "/api/v1/history?service=video&region=region-07&cdn=cdn-07",
}


def load(port: int) -> Totals:
    """Publish the reports of the users until this process is ended; runs in a process of its own."""
    users = Population(
        groups(REGIONS, CDNS),
        sessions=SESSIONS,
        scenario=SCENARIOS["demo"].lasting(SETTLED_S + ASKED_S),
        seed=1,
        start_s=time.time(),
        report_every_s=EVERY_S,
    )
    return asyncio.run(publish(broker_at(port), users, for_s=SETTLED_S + ASKED_S + 5, qos=1))


def asked(daemon: Daemon) -> dict[str, list[float]]:
    """Milliseconds of each answer, by request."""
    took_ms: dict[str, list[float]] = {name: [] for name in REQUESTS}
    ends = time.monotonic() + ASKED_S
    while time.monotonic() < ends:
        for name, path in REQUESTS.items():
            began = time.perf_counter()
            answer = daemon.get(path)
            took_ms[name].append(KILO * (time.perf_counter() - began))
            assert answer.status == 200, answer
        time.sleep(0.05)
    return took_ms


def rows() -> list[Row]:
    """All figures."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        settings = {"state": {"dir": str(directory / "state")}, "limits": {"groups": 2 * REGIONS * CDNS}}
        with (
            Mosquitto(directory) as broker,
            Daemon(directory, {"mqtt": {"port": broker.port}, **settings}) as daemon,
            ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process,
        ):
            daemon.ready()
            publishing = process.submit(load, broker.port)
            until(lambda: daemon.value("qoemon_groups") >= REGIONS * CDNS, daemon.log.read_text)
            time.sleep(SETTLED_S)
            took_ms = asked(daemon)
            publishing.result()
    of = f"{REGIONS * CDNS:,} groups a service"
    return [row for name, runs in took_ms.items() for row in _rows(f"{of}: {name}", runs)]


def _rows(name: str, took_ms: list[float]) -> Iterator[Row]:
    yield Row.of(f"{name}, an answer", "ms", took_ms)
    yield Row.of(f"{name}, p99", "ms", [float(np.quantile(took_ms, 0.99))], at_most=MOST_MS)


if __name__ == "__main__":
    sys.exit(run("The live page's requests", rows))

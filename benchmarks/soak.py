"""The daemon under load for a long time, while sessions and groups come and go. `make soak`, `make soak FOR=2h`.

Users report over MQTT and some rate their sessions, and players post records to the collector. Broker, daemon and
the two load generators are processes of their own. The daemon has its default configuration and a state
directory, with its history. Its resources are read from /proc, the rest from its own metrics. The exit code is 1 if
a figure exceeds its limit.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import theilslopes

from benchmarks.collector import Load, post
from qoemon.common import duration
from qoemon.config.config import Config
from qoemon.tools.simulate.load import Totals, publish
from qoemon.tools.simulate.raters import Raters
from qoemon.tools.simulate.simulate import GROUPS, SCENARIOS, Population, Reported
from tests.support.parts import Daemon, Mosquitto, broker_at, unused_port
from tests.support.patience import until

REPORTS_PER_S, FOR_S, SAMPLE_S = 2000.0, 1200.0, 5.0

EVERY_S, SESSIONS_PER_RATE = 5.0, 6.0
"""Interval of players' reports; web sessions report page loads. So many sessions send a report a second."""

CYCLE_S = 600.0
"""A part of the groups degrades, fails and recovers once in this time, again and again, so that no phase of the
load is taken for growth."""

GENERATIONS, GENERATION_S = 10, 10
"""A session changes its group every ten seconds. After a hundred seconds the groups repeat."""

PLAYERS, RECORDS_PER_S, RECORDS_OF_VIEWING = 500, 500.0, 60
"""Connections of players, records that all of them post together, and records of a viewing; then another session
begins."""

RATE_SHARE, OFF = 0.05, 0.3
"""Share of the sessions whose users rate, and how much less than predicted, scale points."""

WARM_SHARE, WARM_MOST_S = 2 / 3, 3600.0
"""Left out of the slope: groups are still new, the first sessions have not timed out, and the windows fill up for
an hour."""
LONG_S = 1800.0
"""After warming up: a slope over that long is within LONG_KB, one over less within SHORT_KB a minute."""
LONG_KB, SHORT_KB = 1024 / 60, 500

TROUBLE = {
    "ticks missed": "qoemon_tick_skipped_total",
    "messages dropped": "qoemon_messages_dropped_total",
    "messages withheld": "qoemon_messages_withheld_total",
    "connections to the broker lost": "qoemon_mqtt_disconnects_total",
    "reports refused": "qoemon_reports_refused_total",
    "reports pooled": "qoemon_reports_pooled_total",
}
BY_SPEED = ("ticks missed", "messages withheld")


@dataclass(frozen=True)
class Sample:
    """The daemon at one moment."""

    at_s: float
    rss_kb: int
    descriptors: int
    threads: int
    tasks: int
    scrape_s: float


@dataclass(frozen=True)
class Line:
    """A figure and its limit; None is no limit.

    timed  whether it depends on other load of the machine, or on the length of the run
    """

    name: str
    figure: float
    most: float | None
    timed: bool = False

    @property
    def holds(self) -> bool:
        """Whether it is within its limit."""
        return self.most is None or self.figure <= self.most

    def __str__(self) -> str:
        limit = "" if self.most is None else f"{self.most:,.6g}"
        return f"| {self.name} | {self.figure:,.4g} | {limit} |" + " <- beyond it" * (not self.holds)


class Churning(Population):
    """Users whose CDN changes its name every GENERATION_S, through GENERATIONS names."""

    def step(self, now_s: float) -> list[Reported]:
        """The reports, with the current names."""
        generation = int(now_s // GENERATION_S) % GENERATIONS
        return [
            report._replace(labels={**report.labels, "cdn": f"{report.labels['cdn']}{generation}"})
            for report in super().step(now_s)
        ]


class Soaked(Daemon):
    """A daemon that is sampled from outside."""

    def sample(self) -> Sample:
        """Its resources before a scrape, which needs a descriptor itself, and the duration of the scrape."""
        assert self._process is not None
        proc = Path(f"/proc/{self._process.pid}")
        status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
        descriptors = len(list((proc / "fd").iterdir()))
        began_s = time.monotonic()
        answer = self.get("/metrics")
        took_s = time.monotonic() - began_s
        tasks = re.search(r"^qoemon_event_loop_tasks (\S+)$", answer.body, re.MULTILINE)
        assert answer.status == 200, answer
        assert tasks is not None, answer
        return Sample(
            at_s=began_s,
            rss_kb=int(status["VmRSS"].split()[0]),
            descriptors=descriptors,
            threads=int(status["Threads"]),
            tasks=int(float(tasks[1])),
            scrape_s=took_s,
        )


def users(start_s: float, for_s: float, reports_per_s: float) -> Churning:
    """The users, with an outage within that time, and one in each cycle of a longer one."""
    settings = Config()
    rating_s = settings.sessions.rating_interval_s
    return Churning(
        GROUPS,
        sessions=max(round(reports_per_s * SESSIONS_PER_RATE), len(GROUPS)),
        scenario=SCENARIOS["demo"].lasting(min(for_s, CYCLE_S)),
        seed=1,
        start_s=start_s,
        report_every_s=EVERY_S,
        raters=Raters(settings.core_services(), RATE_SHARE, OFF, interval_s=rating_s, seed=1),
    )


def load(port: int, for_s: float, reports_per_s: float) -> Totals:
    """Publish the reports of the users; runs in a process of its own."""
    return asyncio.run(publish(broker_at(port), users(time.time(), for_s, reports_per_s), for_s=for_s, qos=1))


def play(port: int, for_s: float) -> int:
    """Post the records of players, each answered with 204; returns their number. Runs in a process of its own."""
    players, sent, end_s = Load(port, _viewing, RECORDS_PER_S, PLAYERS), 0, time.monotonic() + for_s
    while time.monotonic() < end_s:
        players.send(round(RECORDS_PER_S))
        sent += round(RECORDS_PER_S)
    players.close()
    return sent


def _viewing(player: int, number: int) -> bytes:
    """The request with a record of a player."""
    viewing, number = divmod(number, RECORDS_OF_VIEWING)
    return post(viewing * PLAYERS + player, number)


def soak(directory: Path, for_s: float, reports_per_s: float, sample_s: float = SAMPLE_S) -> list[Line]:
    """Run broker, daemon and load for so long; returns the table."""
    spawn, collector = get_context("spawn"), unused_port()
    state = {"dir": str(directory / "state")}
    with (
        Mosquitto(directory) as broker,
        Soaked(
            directory, {"mqtt": {"port": broker.port}, "collector": {"port": collector}, "state": state}
        ) as daemon,
        ProcessPoolExecutor(2, mp_context=spawn) as processes,
    ):
        daemon.ready()
        before = daemon.sample()
        sending = processes.submit(load, broker.port, for_s, reports_per_s)
        playing = processes.submit(play, collector, for_s)
        samples = list(_samples(daemon, (sending, playing), sample_s))
        sent, records = sending.result(), playing.result()
        until(lambda: daemon.value("qoemon_messages_total") >= sent.messages, lambda: f"sent {sent}")
        until(lambda: daemon.value("qoemon_collector_connections") == 0, lambda: f"{daemon.samples()}")
        arrived_s = time.time()  # The tick after it covers everything.
        until(lambda: daemon.value("qoemon_snapshot_timestamp_seconds") >= arrived_s, daemon.log.read_text)
        return table(before, samples, daemon.sample(), sent, records, _metrics(daemon))


def _samples(daemon: Soaked, loads: Sequence[Future[Any]], every_s: float) -> Iterator[Sample]:
    while not all(each.done() for each in loads):
        yield daemon.sample()
        time.sleep(every_s)


def _metrics(daemon: Daemon) -> dict[str, float]:
    """The daemon's own metrics, summed over labels."""
    metrics: dict[str, float] = {}
    for (name, _), value in daemon.samples().items():
        metrics[name] = metrics.get(name, 0.0) + value
    return metrics


def table(
    before: Sample,
    samples: Sequence[Sample],
    after: Sample,
    sent: Totals,
    records: int,
    metrics: dict[str, float],
) -> list[Line]:
    """Every figure with its limit. records: those that players posted, beside the reports that were sent."""
    kept = warm(samples)
    most_kb = LONG_KB if kept[-1].at_s - kept[0].at_s >= LONG_S - 2 * SAMPLE_S else SHORT_KB
    scrape_s = np.array([sample.scrape_s for sample in kept])
    tick_s = metrics["qoemon_tick_seconds_sum"] / metrics["qoemon_tick_seconds_count"]
    gaps_s = [later.at_s - earlier.at_s for earlier, later in pairwise(samples)]
    return [
        Line("s of load", sent.elapsed_s, None),
        Line("reports a second", sent.reports / sent.elapsed_s, None),
        Line("records of players a second", records / sent.elapsed_s, None),
        Line("ratings of users", metrics["qoemon_feedback_ratings_total"], None),
        Line("label sets seen", metrics["qoemon_groups"], None),
        Line("MB resident at the end", after.rss_kb / 1e3, 400),
        Line("s of that after warming up", kept[-1].at_s - kept[0].at_s, None),
        Line("kB a minute that resident memory grows, after warming up", slope(kept), most_kb, timed=True),
        Line(
            "descriptors more than before the load, without players' connections, at most",
            _more("descriptors", before, samples) - PLAYERS,
            4,
        ),
        # The three files of the history are opened when the first interval closes.
        Line("descriptors more than before the load, after it", _more("descriptors", before, [after]), 4),
        Line("threads more than before the load, at most", _more("threads", before, samples), 3),
        # Those of requests that are being answered come and go.
        Line("asyncio tasks more than before the load, at most", _more("tasks", before, samples), 8),
        Line("asyncio tasks more than before the load, after it", _more("tasks", before, [after]), 4),
        Line("ms of a scrape, median", float(np.median(scrape_s)) * 1e3, 250, timed=True),
        Line("ms of a scrape, 99 of 100", float(np.quantile(scrape_s, 0.99)) * 1e3, 1000, timed=True),
        Line("s between two samples, most", max(gaps_s), None),
        Line("s a tick takes, mean", tick_s, 1, timed=True),
        Line("messages sent that did not arrive", sent.messages - metrics["qoemon_messages_total"], 0),
        Line(
            "reports and records sent that were not counted",
            sent.reports + records - metrics["qoemon_reports_total"],
            0,
        ),
        Line("reports rejected", metrics["qoemon_reports_rejected_total"], 0),
        *(Line(name, metrics[metric], 0, timed=name in BY_SPEED) for name, metric in TROUBLE.items()),
    ]


def warm(samples: Sequence[Sample]) -> Sequence[Sample]:
    """Samples after warming up."""
    span_s = samples[-1].at_s - samples[0].at_s
    begin_s = samples[0].at_s + min(span_s * WARM_SHARE, WARM_MOST_S)
    return [sample for sample in samples if sample.at_s >= begin_s]


def slope(samples: Sequence[Sample]) -> float:
    """kB a minute: the Theil-Sen estimate, the median over all pairs, which tolerates outliers."""
    fit = theilslopes([sample.rss_kb for sample in samples], [sample.at_s / 60 for sample in samples])
    return float(fit.slope)


def _more(what: str, before: Sample, samples: Sequence[Sample]) -> float:
    return float(max(getattr(sample, what) for sample in samples) - getattr(before, what))


def main() -> int:
    """Read the command line, print the table; 1 if a figure exceeds its limit."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--for", dest="for_s", type=duration.seconds, default=FOR_S, help="such as 20m or 2h")
    parser.add_argument("--rate", type=float, default=REPORTS_PER_S, help="reports a second (default: %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        lines = soak(Path(directory), options.for_s, options.rate)
    print("| what | figure | at most |", "|---|---:|---:|", *lines, sep="\n")
    return int(not all(line.holds for line in lines))


if __name__ == "__main__":
    sys.exit(main())

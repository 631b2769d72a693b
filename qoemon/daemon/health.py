"""Health of the daemon, as /healthz and /readyz report it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from qoemon.common import duration
from qoemon.core.alerting.state import State
from qoemon.daemon.tick_loop import TickLoop
from qoemon.engine.engine import Engine
from qoemon.engine.stats import EngineStats
from qoemon.outputs.latest import Latest


class Health:
    """Problems of the daemon, as text.

    broker  its name in these texts; None without one
    pair    says which daemon of a pair this is; None without another one
    """

    def __init__(
        self,
        tick_s: int,
        engine: Engine,
        tick_loop: TickLoop,
        latest: Latest,
        broker: str | None,
        pair: Callable[[], str] | None = None,
    ) -> None:
        self._tick_s, self._broker, self._pair = tick_s, broker, pair
        self._engine, self._tick_loop, self._latest = engine, tick_loop, latest
        self._draining = False

    def drain(self) -> None:
        """Report from now on that the daemon is shutting down."""
        self._draining = True

    def alive(self) -> list[str]:
        """Problems of the process; empty while the tick loop runs."""
        silent_s = self._tick_loop.silent_s
        if self._latest.value is not None and silent_s > 3 * self._tick_s + 10:
            return [f"no tick for {silent_s:.0f} s, expected one every {self._tick_s} s: see the log"]
        return []

    def ready(self) -> list[str]:
        """Why the metrics are not reliable; empty if they are."""
        stats, problems = self._engine.stats, self.alive()
        if self._draining:
            problems.append("shutting down")
        if away := self._engine.problems():
            return [*problems, *away]
        if stats.writer.problem is not None:
            problems.append(f"{stats.writer.problem}: {_unacknowledged(stats)}")
        if stats.mqtt is not None and not stats.mqtt.subscribed:
            problems.append(stats.mqtt.last_error or f"not subscribed yet at {self._broker}")
        if self._latest.value is None:
            problems.append("no tick has passed yet")
        return problems

    def remarks(self) -> list[str]:
        """What a reader of reliable metrics should know: the role in a pair, services that send no reports."""
        newest, pair = self._latest.value, [] if self._pair is None else [self._pair()]
        if newest is None:
            return pair
        return [
            *pair,
            *(
                _silence(name, found.whole.since_s, newest.snapshot.time_s)
                for name, found in newest.detections.states.items()
                if found.whole.state is State.NO_DATA and found.whole.since_s is not None
            ),
        ]


def _unacknowledged(stats: EngineStats) -> str:
    """What happens to reports while nothing can be stored."""
    at_broker = () if stats.mqtt is None else ("messages wait at the broker",)
    at_collector = () if stats.collector is None else ("requests are not answered",)
    return ", ".join((*at_broker, *at_collector)) or "reports wait in Kafka"


def _silence(service: str, since_s: float, now_s: int) -> str:
    age = duration.text(round(now_s - since_s))
    at = f"{datetime.fromtimestamp(since_s, UTC):%Y-%m-%d %H:%M:%S} UTC"
    return f"no reports from service {service} for {age}, since {at}"

"""The command `qoemon simulate`."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from qoemon.tools.command import USAGE, exit_on_errors, fail, info
from qoemon.tools.options import For, Seed

if TYPE_CHECKING:
    import ssl

    from qoemon.tools.simulate.load import Progress, Totals
    from qoemon.tools.simulate.simulate import Population

ScenarioName = Literal["calm", "degrade", "outage", "recover", "demo"]

REPORT_EVERY_S = 5.0
"""Interval between two reports of a session, unless both --sessions and --rate are given."""


def simulate(
    host: Annotated[str, typer.Option(help="Host of the broker.")] = "localhost",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the broker.")] = 1883,
    transport: Annotated[
        Literal["tcp", "websockets"], typer.Option(help="MQTT directly over TCP, or through a WebSocket.")
    ] = "tcp",
    websocket_path: Annotated[str, typer.Option(help="Path of the WebSocket.")] = "/mqtt",
    version: Annotated[Literal["5", "3.1.1"], typer.Option(help="MQTT version.")] = "5",
    username: Annotated[str | None, typer.Option(help="User name.", show_default="none")] = None,
    password: Annotated[
        str | None,
        typer.Option(envvar="QOEMON_SIMULATE_PASSWORD", help="Password; prefer the variable.", show_default="none"),
    ] = None,
    ca_file: Annotated[
        Path | None,
        typer.Option(help="Use TLS and trust the CAs in this PEM file.", exists=True, show_default="no TLS"),
    ] = None,
    topic: Annotated[str, typer.Option(help="Topic template.")] = "qoe/v1/{service}/{region}/{cdn}",
    scenario: Annotated[ScenarioName, typer.Option(help="How the QoS changes.")] = "demo",
    sessions: Annotated[
        int | None,
        typer.Option(min=1, help="Concurrent sessions.", show_default="1000, or 5 s of reports at --rate"),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(min=0.001, help="Reports per second in total.", show_default="one per session in 5 s"),
    ] = None,
    for_s: For = None,
    seed: Seed = 1,
    qos: Annotated[int, typer.Option(min=0, max=1, help="MQTT QoS level.")] = 1,
    shards: Annotated[int, typer.Option(min=1, help="Values of {shard} in the topic: mqtt.shards.")] = 16,
    batch: Annotated[int, typer.Option(min=1, help="Maximum number of reports in a message.")] = 1,
    encoding: Annotated[Literal["json", "msgpack"], typer.Option(help="Encoding of the reports.")] = "json",
) -> None:
    """Publish reports of simulated viewers and page loads."""
    # ruff: noqa: PLC0415 - not for --help
    import asyncio

    from qoemon.tools.simulate.load import LoadError, Target, TopicError, publish

    tls = None if ca_file is None else _trust(ca_file)
    target = Target(
        host=host,
        port=port,
        version=version,
        username=username,
        password=password,
        tls=tls,
        websocket_path=websocket_path if transport == "websockets" else None,
    )
    crowd, every_s = _crowd(sessions, rate)
    info(f"{crowd:,} sessions, each reporting every {every_s:g} s, to {target}; stop with Ctrl-C")
    progress = _ProgressLine()
    with exit_on_errors(usage=(TopicError,), failed=(LoadError,)):
        load = publish(
            target,
            _population(crowd, every_s, scenario, for_s, seed),
            rate=math.inf if rate is None else rate,
            for_s=for_s,
            qos=1 if qos else 0,
            batch=batch,
            topic=topic,
            shards=shards,
            encoding=encoding,
            on_progress=progress,
        )
        progress.end(asyncio.run(load))


def _crowd(sessions: int | None, rate: float | None) -> tuple[int, float]:
    """The number of sessions and the interval between two reports of each, s."""
    if rate is None:
        return sessions or 1000, REPORT_EVERY_S
    if sessions is None:
        return max(round(rate * REPORT_EVERY_S), 4), REPORT_EVERY_S
    return sessions, sessions / rate


def _population(sessions: int, every_s: float, name: ScenarioName, for_s: float | None, seed: int) -> Population:
    import time

    from qoemon.tools.simulate.simulate import GROUPS, SCENARIOS, Population

    scenario = SCENARIOS[name] if for_s is None else SCENARIOS[name].lasting(for_s)
    return Population(
        GROUPS, sessions=sessions, scenario=scenario, seed=seed, start_s=time.time(), report_every_s=every_s
    )


def _trust(ca_file: Path) -> ssl.SSLContext:
    import ssl

    try:
        return ssl.create_default_context(cafile=str(ca_file))
    except (ssl.SSLError, OSError) as error:
        fail(USAGE, f"--ca-file {ca_file}: {error}; expected a PEM file with CA certificates")


class _ProgressLine:
    """The progress, on one line of a terminal, or elsewhere as a line every 10 s."""

    def __init__(self) -> None:
        self._terminal, self._printed_s = sys.stderr.isatty(), -math.inf

    def __call__(self, progress: Progress) -> None:
        text = (
            f"{progress.elapsed_s:6.0f} s  {progress.phase:<12} {progress.active_sessions:,} sessions  "
            f"{progress.reports:,} reports in {progress.messages:,} messages  lag {progress.lag_s:.1f} s"
        )
        if self._terminal:
            sys.stderr.write(f"\r{text}\x1b[K")
        elif progress.elapsed_s - self._printed_s >= 10:
            self._printed_s = progress.elapsed_s
            sys.stderr.write(text + "\n")
        sys.stderr.flush()

    def end(self, totals: Totals) -> None:
        """Print the totals."""
        if self._terminal:
            sys.stderr.write("\n")
        lag = f", lag {totals.lag_s:.1f} s" if totals.lag_s > 1 else ""
        unsent = f", {totals.unsent_reports:,} not sent in time" if totals.unsent_reports else ""
        rate = totals.reports / max(totals.elapsed_s, 1e-9)
        info(f"sent {totals.reports:,} reports in {totals.elapsed_s:.0f} s, {rate:,.0f}/s{lag}{unsent}")

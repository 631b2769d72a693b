"""The command `qoemon simulate`."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from qoemon.tools.command import USAGE, exit_on_errors, fail, info, load
from qoemon.tools.options import ConfigFile, For, Seed, share

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qoemon.config.sections.collector import Collector
    from qoemon.net.mqtt.client import Broker
    from qoemon.net.mqtt.tls import Tls
    from qoemon.tools.simulate.load import Progress, Totals
    from qoemon.tools.simulate.simulate import Scenario

ScenarioName = Literal["calm", "degrade", "outage", "recover", "demo"]

REPORT_EVERY_S = 5.0
"""Interval between two reports of a session, unless both --sessions and --rate are given."""


def simulate(
    config: ConfigFile = None,
    host: Annotated[
        str | None,
        typer.Option(help="Host of the broker or the collector.", show_default="mqtt.host or collector.host"),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65535,
            help="Port of the broker or the collector.",
            show_default="mqtt.port or collector.port",
        ),
    ] = None,
    transport: Annotated[
        Literal["tcp", "websockets", "cmcd"] | None,
        typer.Option(
            help="MQTT directly over TCP, or through a WebSocket; or HTTP to the collector, where viewers' players "
            "speak CMCD and readers post JSON or MessagePack.",
            show_default="mqtt.transport, or cmcd with `mqtt: null`",
        ),
    ] = None,
    websocket_path: Annotated[
        str | None, typer.Option(help="Path of the WebSocket.", show_default="mqtt.websocket_path")
    ] = None,
    version: Annotated[
        Literal["5", "3.1.1"] | None, typer.Option(help="MQTT version.", show_default="mqtt.version")
    ] = None,
    username: Annotated[str | None, typer.Option(help="User name.", show_default="mqtt.username")] = None,
    password: Annotated[
        str | None,
        typer.Option(
            envvar="QOEMON_SIMULATE_PASSWORD",
            help="Password, or the collector's token; prefer the variable.",
            show_default="that of the configuration",
        ),
    ] = None,
    ca_file: Annotated[
        Path | None,
        typer.Option(help="Use TLS and trust the CAs in this PEM file.", exists=True, show_default="mqtt.tls"),
    ] = None,
    topic: Annotated[
        str | None,
        typer.Option(
            help="Template of the topics or paths of all services.", show_default="mqtt.topics or collector.paths"
        ),
    ] = None,
    scenario: Annotated[ScenarioName, typer.Option(help="How the QoS changes.")] = "demo",
    regions: Annotated[
        int | None,
        typer.Option(min=1, help="Number of regions, named region-01 and so on.", show_default="eu and us"),
    ] = None,
    cdns: Annotated[
        int | None, typer.Option(min=1, help="Number of CDNs, named cdn-01 and so on.", show_default="a and b")
    ] = None,
    hit: Annotated[
        str | None,
        typer.Option(
            metavar="WHERE",
            help="Where the scenario takes place, elsewhere it is calm: a region, a CDN, or REGION/CDN.",
            show_default="the first region and CDN",
        ),
    ] = None,
    sessions: Annotated[
        int | None,
        typer.Option(
            min=1, help="Concurrent users, one session each.", show_default="1000, or 5 s of reports at --rate"
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(min=0.001, help="Reports per second in total.", show_default="one per session in 5 s"),
    ] = None,
    ratings: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            parser=share,
            help="Share of the sessions whose users rate them at the end, such as 5%.",
            show_default="none",
        ),
    ] = None,
    off: Annotated[
        float, typer.Option(help="How much less than the model predicts the MOS of these users is, scale points.")
    ] = 0.0,
    for_s: For = None,
    seed: Seed = 1,
    qos: Annotated[int, typer.Option(min=0, max=1, help="MQTT QoS level.")] = 1,
    shards: Annotated[
        int | None, typer.Option(min=1, help="Values of {shard} in the topic.", show_default="mqtt.shards")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Maximum number of reports in a message or a POST.")] = 1,
    encoding: Annotated[Literal["json", "msgpack"], typer.Option(help="Encoding of the reports.")] = "json",
) -> None:
    """Send reports of simulated viewers and page loads."""
    # ruff: noqa: PLC0415 - not for --help
    import asyncio
    import time

    from qoemon.inputs.mqtt.options import broker_options
    from qoemon.tools.simulate.cmcd import PlayerMessages
    from qoemon.tools.simulate.load import LoadError, ReportMessages, TopicError, publish
    from qoemon.tools.simulate.post import post, target_of
    from qoemon.tools.simulate.raters import Raters
    from qoemon.tools.simulate.scope import Scope, ScopeError
    from qoemon.tools.simulate.simulate import SCENARIOS, Population, groups

    if off and ratings is None:
        fail(USAGE, f"--off {off:g}: nobody rates, expected --ratings SHARE as well")
    crowd, every_s = _crowd(sessions, rate)
    progress = _ProgressLine()
    with exit_on_errors(usage=(TopicError, ScopeError), failed=(LoadError,)):
        settings = load(config)
        collector = _collector(
            settings.collector,
            settings.mqtt is None,
            transport,
            {
                "--websocket-path": websocket_path,
                "--version": version,
                "--username": username,
                "--shards": shards,
                "--ratings": ratings,
            },
        )
        scope = Scope.of(settings, collector)
        places = [{**scope.constants, **place} for place in groups(regions, cdns)]
        population = Population(
            places,
            sessions=crowd,
            scenario=_scenario(SCENARIOS[scenario], for_s, hit, places),
            seed=seed,
            start_s=time.time(),
            report_every_s=every_s,
            services=(scope.viewers, scope.readers),
            shown=scope.shown,
            at_changes=collector is not None,
            raters=None
            if ratings is None
            else Raters(
                settings.core_services(), ratings, off, interval_s=settings.sessions.rating_interval_s, seed=seed
            ),
        )
        topics = scope.topics if topic is None else dict.fromkeys(scope.topics, topic)
        most = math.inf if rate is None else rate
        if collector is not None:
            target = target_of(collector, host, port, password, ca_file)
            receiver = f"the collector at {target.url}"
            reports = ReportMessages(topics, scope.report_labels, 1, encoding, batch)
            reports.check(places)
            players = PlayerMessages(population, scope.viewers, reports, scope.keys, every_s, seed)
            sent = post(target, population, players, rate=most, for_s=for_s, on_progress=progress)
        else:
            assert settings.mqtt is not None, "see _collector"  # noqa: S101 - for mypy
            broker = _addressed(broker_options(settings.mqtt), host, port, transport, websocket_path)
            broker = _authenticated(broker, version, username, password, ca_file)
            receiver = f"the MQTT broker at {broker}"
            sent = publish(
                broker,
                population,
                rate=most,
                for_s=for_s,
                qos=1 if qos else 0,
                batch=batch,
                topics=topics,
                report_labels=scope.report_labels,
                shards=shards or settings.mqtt.shards,
                encoding=encoding,
                on_progress=progress,
            )
        for reason in scope.left_out:
            info(reason)
        info(
            f"{crowd:,} sessions in {len(places):,} regions and CDNs, each reporting every {every_s:g} s, "
            f"to {receiver}; stop with Ctrl-C"
        )
        progress.end(asyncio.run(sent))


def _collector(
    section: Collector | None, without_broker: bool, transport: str | None, of_mqtt: Mapping[str, object]
) -> Collector | None:
    """The collector to which everything is posted; None if it is published to the broker.

    section         of the configuration; None: a collector with the defaults
    without_broker  whether the configuration has none
    of_mqtt         options that are not for players, by name; None if not given
    """
    from qoemon.config.sections.collector import Collector

    if transport != "cmcd" and not (without_broker and transport is None):
        if without_broker:
            fail(USAGE, f"--transport {transport}: the configuration has no broker (mqtt: null), expected cmcd")
        return None
    if given := [name for name, value in of_mqtt.items() if value is not None]:
        why = "records of players have no ratings" if given[0] == "--ratings" else "it is of MQTT"
        fail(USAGE, f"{given[0]}: not with cmcd, {why}")
    return section or Collector.model_validate({})


def _crowd(sessions: int | None, rate: float | None) -> tuple[int, float]:
    """The number of sessions and the interval between two reports of each, s."""
    if rate is None:
        return sessions or 1000, REPORT_EVERY_S
    if sessions is None:
        return max(round(rate * REPORT_EVERY_S), 4), REPORT_EVERY_S
    return sessions, sessions / rate


def _scenario(scenario: Scenario, for_s: float | None, hit: str | None, groups: list[dict[str, str]]) -> Scenario:
    from qoemon.tools.simulate.simulate import labels_of

    if for_s is not None:
        scenario = scenario.lasting(for_s)
    try:
        return scenario if hit is None else replace(scenario, affects=labels_of(hit, groups))
    except ValueError as error:
        fail(USAGE, f"--hit: {error}")


def _addressed(
    broker: Broker, host: str | None, port: int | None, transport: str | None, path: str | None
) -> Broker:
    """The broker at another address, as far as it is given."""
    from qoemon.config.sections.mqtt import WEBSOCKET_PATH

    if host or port:
        broker = replace(broker, host=host or broker.host, port=port or broker.port)
    by_websocket = broker.websocket_path is not None if transport is None else transport == "websockets"
    known = path or broker.websocket_path or WEBSOCKET_PATH
    return replace(broker, websocket_path=known if by_websocket else None)


def _authenticated(
    broker: Broker,
    version: Literal["5", "3.1.1"] | None,
    username: str | None,
    password: str | None,
    ca_file: Path | None,
) -> Broker:
    """The broker with another version, user and authority, as far as they are given."""
    if version is not None:
        broker = replace(broker, version=version)
    if username is not None:  # The password of the configuration belongs to its own user.
        broker = replace(broker, username=username, password=None, password_file=None)
    if password is not None:
        broker = replace(broker, password=password, password_file=None)
    return broker if ca_file is None else replace(broker, tls=_trusting(broker.tls, ca_file))


def _trusting(tls: Tls | None, ca_file: Path) -> Tls:
    """The options with this authority."""
    import ssl

    from qoemon.net.mqtt.tls import Tls

    try:
        ssl.create_default_context(cafile=str(ca_file))
    except (ssl.SSLError, OSError) as error:
        fail(USAGE, f"--ca-file {ca_file}: {error}; expected a PEM file with CA certificates")
    return replace(tls or Tls(ca_file=None, cert_file=None, key_file=None, key_password=None), ca_file=ca_file)


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

"""The command line. Exit codes: 0 done, 2 usage or configuration, 1 anything else."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import numpy as np
import typer
from rich.console import Console

import qoemon
from qoemon.common import duration
from qoemon.common.csvfile import ContentError, UnreadableError, opened
from qoemon.common.logs import log_to_stderr
from qoemon.config import config as configuration
from qoemon.config.config import Config
from qoemon.config.plan import core_plan, sharded
from qoemon.config.studies.conditions import read_conditions
from qoemon.config.yaml.errors import ConfigError
from qoemon.core.plan.plan import Plan, Service
from qoemon.daemon.daemon import ListenError
from qoemon.daemon.run import run as run_daemon
from qoemon.inputs.mqtt.options import broker_options
from qoemon.state.directory import StateError
from qoemon.tools import analyze as csv
from qoemon.tools.calibrate.commands import fit_command, theta_command
from qoemon.tools.demo.broker import BrokerError
from qoemon.tools.demo.demo import GROUPS
from qoemon.tools.demo.demo import demo as run_demo
from qoemon.tools.plotting import PlotError
from qoemon.tools.recordings.record import RecordError
from qoemon.tools.recordings.recording import RecordingError
from qoemon.tools.report.commands import COMMANDS as ON_RECORDINGS
from qoemon.tools.rules.alertrule import AnnotationError
from qoemon.tools.rules.scrape import prometheus_files
from qoemon.tools.rules.slo import ObjectiveError
from qoemon.tools.simulate.load import LoadError, Progress, Target, TopicError, Totals, publish
from qoemon.tools.simulate.simulate import SCENARIOS, Population
from qoemon.tools.top.fetch import URL_DEFAULT, AnswerError
from qoemon.tools.top.query import Query, QueryError, SortBy, wanted
from qoemon.tools.top.top import top as run_top

USAGE, FAILED = 2, 1

USAGE_ERRORS = (
    UnreadableError,
    csv.ThetaError,
    TopicError,
    PlotError,
    AnnotationError,
    ObjectiveError,
    QueryError,
)

FAILURES = (
    ContentError,
    AnswerError,
    BrokerError,
    ListenError,
    LoadError,
    RecordError,
    RecordingError,
    StateError,
)

app = typer.Typer(
    help="Live QoE: what share of your users would call the service good, and what share poor.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
out = Console(highlight=False)

ScenarioName = Literal["calm", "degrade", "outage", "recover", "demo"]


def _seconds(text: str) -> float:
    try:
        return duration.seconds(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", metavar="FILE", help="Configuration; the defaults without one.")
]
For = Annotated[
    float | None, typer.Option("--for", metavar="DURATION", parser=_seconds, help="End after this long, e.g. 60s.")
]
Seed = Annotated[int, typer.Option(help="The same seed, the same users.")]


def _failing_in_words(command: Callable[..., None]) -> Callable[..., None]:
    @wraps(command)
    def run(*args: Any, **options: Any) -> None:
        with _failures():
            command(*args, **options)

    return run


def main() -> None:
    """Entry point of the command `qoemon`."""
    app()


@app.callback(invoke_without_command=True)
def _common(
    version: Annotated[bool, typer.Option("--version", help="Print the version and end.", is_eager=True)] = False,
) -> None:
    if version:
        typer.echo(f"qoemon {qoemon.__version__}")
        raise typer.Exit


@app.command()
def run(config: ConfigFile = None) -> None:
    """Be the daemon: take reports from the broker, serve what users would say."""
    settings = _load(config)
    log_to_stderr(settings.log.level.upper(), settings.log.format, dated=True)
    with _failures():
        asyncio.run(run_daemon(settings, config))


@app.command()
def check(
    config: ConfigFile = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of the file, for editors.")
    ] = False,
) -> None:
    """Check a configuration, and say what it comes to."""
    if schema:
        sys.stdout.write(json.dumps(configuration.schema(), indent=2) + "\n")
        return
    settings = _load(config)
    plan = core_plan(settings)
    broker = broker_options(settings)
    typer.echo(f"{config or 'the defaults'}: no mistakes")
    typer.echo(f"reads {', '.join(broker.filters)} at {broker}, MQTT {broker.version}, QoS {broker.qos}")
    if settings.workers > 1:
        typer.echo(_division(settings))
    typer.echo(f"groups by service, {', '.join(plan.labels) or 'nothing else'}")
    windows = ", ".join(duration.text(length) for length in plan.timing.windows_s)
    typer.echo(f"every {plan.timing.tick_s} s, over windows of {windows}")
    for service in plan.services:
        typer.echo(_reach(service, plan))


@app.command()
def analyze(
    file: Annotated[str, typer.Argument(help="CSV with a row per rated experience; - is standard input.")],
    service: Annotated[str, typer.Option(help="How to judge it: a service of the configuration.")],
    config: ConfigFile = None,
    theta: Annotated[float | None, typer.Option(help="Another SOS parameter than the service's.")] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Judge row by row instead of through the bins.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False,
) -> None:
    """Judge recorded QoS from a CSV file through the same core as the daemon."""
    plan = core_plan(_load(config))
    judged = _service(plan, service)
    if theta is not None:
        judged = replace(judged, theta=theta)
    with _failures():
        csv.check_theta(judged)
        with opened(file) as rows:
            analysis = csv.analyze(
                read_conditions(rows, judged), judged, plan.quantiles, exact=exact, confidence=plan.confidence
            )
    if as_json:
        sys.stdout.write(json.dumps(analysis.as_dict(), indent=2) + "\n")
    else:
        out.print(csv.table(analysis))


@app.command("theta")
@wraps(theta_command)
def _theta(*args: Any, **options: Any) -> None:
    with _failures():
        theta_command(*args, **options)


@app.command("fit")
@wraps(fit_command)
def _fit(*args: Any, **options: Any) -> None:
    with _failures():
        fit_command(*args, **options)


for _name, _command in ON_RECORDINGS.items():
    app.command(_name)(_failing_in_words(_command))


@app.command()
def rules(
    config: ConfigFile = None,
    tests: Annotated[bool, typer.Option("--tests", help="Write tests of the rules instead, for promtool.")] = False,
    scrape: Annotated[bool, typer.Option("--scrape", help="Write an example of prometheus.yml instead.")] = False,
) -> None:
    """Write recording and alerting rules for Prometheus that mean the same as the configuration."""
    settings = _load(config)
    files = prometheus_files(settings, "FILE" if config is None else str(config))
    with _failures():
        if scrape:
            sys.stdout.write(files.scrape(f"{settings.http.host}:{settings.http.port}"))
        else:
            sys.stdout.write(files.tests() if tests else files.rules())


@app.command()
def simulate(
    host: Annotated[str, typer.Option(help="The broker.")] = "localhost",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 1883,
    version: Annotated[Literal["5", "3.1.1"], typer.Option(help="MQTT version.")] = "5",
    username: Annotated[str | None, typer.Option(help="User name at the broker.")] = None,
    password: Annotated[
        str | None, typer.Option(envvar="QOEMON_SIMULATE_PASSWORD", help="Password; better by the environment.")
    ] = None,
    ca_file: Annotated[
        Path | None, typer.Option(help="Use TLS, and trust the authorities in this PEM file.", exists=True)
    ] = None,
    topic: Annotated[str, typer.Option(help="Topic template.")] = "qoe/v1/{service}/{region}/{cdn}",
    scenario: Annotated[ScenarioName, typer.Option(help="What happens to the users.")] = "demo",
    sessions: Annotated[
        int | None, typer.Option(min=1, help="Sessions at a time; 1000 if no rate is given.")
    ] = None,
    rate: Annotated[float | None, typer.Option(min=0.001, help="Reports a second, all sessions together.")] = None,
    for_s: For = None,
    seed: Seed = 1,
    qos: Annotated[int, typer.Option(min=0, max=1)] = 1,
    shards: Annotated[int, typer.Option(min=1, help="Values of {shard} in the topic: mqtt.shards.")] = 16,
    batch: Annotated[int, typer.Option(min=1, help="Most reports in one message.")] = 1,
    encoding: Annotated[Literal["json", "msgpack"], typer.Option(help="How reports are written.")] = "json",
) -> None:
    """Be a crowd of viewers and page loads who report to a broker."""
    crowd, every_s = _crowd(sessions, rate)
    target = Target(
        host=host,
        port=port,
        version=version,
        username=username,
        password=password,
        tls=None if ca_file is None else _trust(ca_file),
    )
    story = SCENARIOS[scenario]
    population = Population(
        GROUPS,
        sessions=crowd,
        scenario=story if for_s is None else story.lasting(for_s),
        seed=seed,
        start_s=time.time(),
        report_every_s=every_s,
    )
    _say(f"{crowd:,} sessions, each reporting every {every_s:g} s, to {target}; Ctrl-C ends it")
    progress = _ProgressLine()
    with _failures():
        totals = asyncio.run(
            publish(
                target,
                population,
                rate=math.inf if rate is None else rate,
                for_s=for_s,
                qos=1 if qos else 0,
                batch=batch,
                topic=topic,
                shards=shards,
                encoding=encoding,
                on_progress=progress,
            )
        )
        progress.end(totals)


@app.command("top")
def top_command(
    url: Annotated[str, typer.Argument(help="The daemon, or its snapshot.")] = URL_DEFAULT,
    sort: Annotated[SortBy, typer.Option(help="What the worst is first by.")] = "pow",
    service: Annotated[str | None, typer.Option(help="Only this service.")] = None,
    filters: Annotated[
        list[str] | None, typer.Option("--filter", metavar="LABEL=VALUE", help="Only groups with this; repeatable.")
    ] = None,
    window: Annotated[
        float | None, typer.Option(metavar="DURATION", parser=_seconds, help="Over which window; the shortest.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Print one table and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the groups as JSON and end.")] = False,
) -> None:
    """Watch a daemon's groups in the terminal, worst first."""
    with _failures():
        query = Query(window_s=window, sort=sort, service=service, labels=wanted(filters or []))
        asyncio.run(run_top(out, url, query, once=once, as_json=as_json))


@app.command()
def demo(
    for_s: For = None,
    sessions: Annotated[int, typer.Option(min=4, help="Simulated sessions at a time.")] = 800,
    seed: Seed = 1,
    port: Annotated[int, typer.Option(min=0, max=65535, help="HTTP port; 0 takes a free one.")] = 0,
) -> None:
    """See it work: a broker, simulated users who suffer a degradation, and the daemon, all on this machine."""
    log_to_stderr("WARNING")
    with _failures():
        asyncio.run(run_demo(out, for_s=for_s, sessions=sessions, seed=seed, http_port=port))


class _ProgressLine:
    """How a load goes, on one line of a terminal, or now and then on a line of its own elsewhere."""

    def __init__(self) -> None:
        self._terminal, self._told_s = sys.stderr.isatty(), -math.inf

    def __call__(self, progress: Progress) -> None:
        text = (
            f"{progress.elapsed_s:6.0f} s  {progress.phase:<12} {progress.active_sessions:,} sessions  "
            f"{progress.reports:,} reports in {progress.messages:,} messages  lag {progress.lag_s:.1f} s"
        )
        if self._terminal:
            sys.stderr.write(f"\r{text}\x1b[K")
        elif progress.elapsed_s - self._told_s >= 10:
            self._told_s = progress.elapsed_s
            sys.stderr.write(text + "\n")
        sys.stderr.flush()

    def end(self, totals: Totals) -> None:
        """The last line."""
        if self._terminal:
            sys.stderr.write("\n")
        late = f", {totals.lag_s:.1f} s behind" if totals.lag_s > 1 else ""
        unsent = f", {totals.unsent_reports:,} not sent in time" if totals.unsent_reports else ""
        rate = totals.reports / max(totals.elapsed_s, 1e-9)
        _say(f"sent {totals.reports:,} reports in {totals.elapsed_s:.0f} s, {rate:,.0f}/s{late}{unsent}")


def _trust(ca_file: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(ca_file))
    except (ssl.SSLError, OSError) as error:
        _fail(USAGE, f"--ca-file {ca_file}: {error}; expected a PEM file with the certificates of authorities")


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _crowd(sessions: int | None, rate: float | None) -> tuple[int, float]:
    """How many sessions, and how often each reports, s: what is not given follows from a report every 5 s."""
    if rate is None:
        return sessions or 1000, 5.0
    if sessions is None:
        return max(round(rate * 5.0), 4), 5.0
    return sessions, sessions / rate


def _reach(service: Service, plan: Plan) -> str:
    """What the service's numbers can be at most and least, in words."""
    judged = service.kernel(plan.quantiles, service.mapping.reach).judge(np.eye(2, dtype=np.int64))
    reach = ", ".join(
        [
            f"MOS {judged.mos.min():.2f} to {judged.mos.max():.2f}",
            f"good {judged.gob.min():.1%} to {judged.gob.max():.1%}",
            f"poor {judged.pow.min():.1%} to {judged.pow.max():.1%}",
        ]
    )
    return (
        f"service {service.name}: {service.mapping.name}, {service.model} ratings, theta {service.theta:g}: {reach}"
    )


def _division(config: Config) -> str:
    """How workers share the sessions."""
    if sharded(config):
        return f"by {config.workers} workers, each with a connection for its part of {config.mqtt.shards} shards"
    return f"by one connection, which hands each session's reports to its worker, one of {config.workers}"


def _service(plan: Plan, name: str) -> Service:
    by_name = {service.name: service for service in plan.services}
    if name not in by_name:
        _fail(USAGE, f"there is no service {name!r} in the configuration; it has {', '.join(by_name)}")
    return by_name[name]


def _load(path: Path | None) -> Config:
    if path is None:
        return Config()
    try:
        return configuration.load(path)
    except ConfigError as error:
        _fail(
            USAGE,
            str(error),
            f"{len(error.problems)} mistake{'s' * (len(error.problems) > 1)}, nothing was started",
        )


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    """Failures that have words for the reader end in these and an exit code; bugs keep their trace."""
    try:
        yield
    except* USAGE_ERRORS as group:
        _fail(USAGE, *_words(group))
    except* ConfigError as group:
        _fail(USAGE, *_words(group), "nothing was started")
    except* FAILURES as group:
        _fail(FAILED, *_words(group))
    except* KeyboardInterrupt:
        raise typer.Exit(130) from None


def _words(group: BaseExceptionGroup[Any]) -> list[str]:
    flat: list[str] = []
    for error in group.exceptions:
        flat.extend(_words(error) if isinstance(error, BaseExceptionGroup) else [str(error)])
    return flat


def _fail(code: int, *lines: str) -> NoReturn:
    for line in lines:
        sys.stderr.write(f"qoemon: {line}\n" if "\n" not in line else f"{line}\n")
    raise typer.Exit(code)

"""The command line. Exit codes: 0 done, 2 usage or configuration, 1 anything else.

A command imports what it runs when it is called. This module imports only typer and what options need, so that
`--help`, `--version` and shell completion are quick; tests/test_start.py lists what is imported.
"""

# ruff: noqa: PLC0415 - see above
from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import qoemon
from qoemon.common import duration
from qoemon.engine.interpreter import GARBAGE
from qoemon.tools.accesslogs.commands import import_cmcd
from qoemon.tools.analyze.commands import analyze
from qoemon.tools.bridge.commands import bridge
from qoemon.tools.calibrate.commands import fit, theta, validate
from qoemon.tools.cluster.commands import demo_cluster
from qoemon.tools.command import FAILED, USAGE, ending, exit_on_errors, fail, load
from qoemon.tools.dashboards.commands import dashboards
from qoemon.tools.demo.commands import demo
from qoemon.tools.feedback import commands as feedback
from qoemon.tools.options import ConfigFile, Overrides
from qoemon.tools.paper.commands import paper
from qoemon.tools.players.commands import demo_players
from qoemon.tools.report.commands import record, replay, report
from qoemon.tools.rescale.commands import rescale
from qoemon.tools.rules.commands import rules
from qoemon.tools.shipped.commands import helm_chart, player_js, print_config, systemd_unit
from qoemon.tools.simulate.commands import simulate
from qoemon.tools.state.commands import state
from qoemon.tools.top.commands import top

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from qoemon.config.config import Config
    from qoemon.config.sections.collector import Collector
    from qoemon.config.sections.mqtt import Mqtt, Topic
    from qoemon.config.sections.notify import Notify
    from qoemon.config.sections.pair import Pair
    from qoemon.core.plan.plan import Plan, Service

VERSION = f"qoemon {qoemon.__version__}\n"

app = typer.Typer(
    help="Live QoE: the share of users who would rate the service good, and the share who would rate it poor.",
    epilog=ending(
        ("qoemon demo", "qoemon run -h"),
        {0: "done", 1: "failed", 2: "the command line or the configuration is wrong"},
    ),
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main() -> None:
    """Entry point of the command `qoemon`."""
    gc.set_threshold(*GARBAGE)  # with Python's own, a tenth of the start looks for garbage among what imports make
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # see interpreter.tune(); numpy would start a thread a core
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(VERSION)  # without the pydantic that typer converts arguments with
    else:
        app()


@app.callback(invoke_without_command=True)
def _common(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    if version:
        sys.stdout.write(VERSION)
        raise typer.Exit


def run(config: ConfigFile = None, overrides: Overrides = None) -> None:
    """Run the daemon: read QoS reports, serve estimated ratings.

    SIGHUP reloads the configuration file, with what --set gives.
    """
    import asyncio

    from qoemon.common.logs import log_to_stderr
    from qoemon.daemon.daemon import ListenError
    from qoemon.daemon.run import run as run_daemon
    from qoemon.engine.engine import EngineError, SetupError
    from qoemon.net.paced_loop import PacedLoop
    from qoemon.state.directory import StateError, UnsuitableStateError

    usage = (SetupError, UnsuitableStateError)
    with exit_on_errors(usage=usage, failed=(EngineError, ListenError, StateError)):
        settings = load(config, overrides)
        log_to_stderr(settings.log.level.upper(), settings.log.format, dated=True)
        with asyncio.Runner(loop_factory=PacedLoop) as runner:
            runner.run(run_daemon(settings, config, overrides or ()))


def check(
    config: ConfigFile = None,
    overrides: Overrides = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of the file, for editors.")
    ] = False,
    payload: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Explain how the message in this file would be read.", show_default="none"
        ),
    ] = None,
    topic: Annotated[
        str | None, typer.Option(help="Topic of that message; with --payload.", show_default="none")
    ] = None,
    path: Annotated[
        str | None,
        typer.Option(
            help="Path of that message, if it is posted to the collector; with --payload.", show_default="none"
        ),
    ] = None,
) -> None:
    """Validate a configuration file; explain a payload."""
    if sum(option is not None for option in (topic, path)) != (payload is not None):
        raise typer.BadParameter("--payload and one of --topic and --path need each other")
    if schema:
        import json

        from qoemon.config.config import schema as json_schema

        sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")
        return
    with exit_on_errors():
        settings = load(config, overrides)
    if payload is not None:
        raise typer.Exit(_explain(settings, topic, path, payload))
    typer.echo(f"{config or 'built-in defaults'}: configuration is valid")
    for line in _summary(settings):
        typer.echo(line)


_USAGE = "the command line or the configuration is wrong"
_UNUSABLE = "the file cannot be used, or --fail-if holds"
_FILE = "the file cannot be used"
_INCOMPLETE = "the installation is incomplete"

_NAMES: dict[object, str] = {print_config: "config", player_js: "player.js"}
"""Of the commands that cannot be named like their functions."""

# Each command with an example or two, and what its exit codes 0 and 1 mean.
for _command, _examples, _done, _failed in (
    (
        run,
        ("qoemon run -c qoemon.yaml", "qoemon run --set mqtt.host=broker --set 'windows=[1m, 5m]'"),
        "ended by SIGTERM or Ctrl-C",
        "the port or the state directory cannot be used",
    ),
    (
        bridge,
        ("qoemon bridge -c qoemon.yaml --set http.port=9879",),
        "ended by SIGTERM or Ctrl-C",
        "a port or the state directory cannot be used, or Kafka refuses a record",
    ),
    (
        check,
        ("qoemon check -c qoemon.yaml", "qoemon check --payload message.json --topic qoe/v1/video/eu/a"),
        "valid",
        "a report of --payload is rejected",
    ),
    (
        analyze,
        (
            "qoemon analyze sessions.csv --service video --plot ratings.png",
            "qoemon analyze sessions.csv --service video --fail-if 'pow > .2'",
        ),
        "done",
        _UNUSABLE,
    ),
    (theta, ("qoemon theta ratings.csv --plot sos.png",), "done", _FILE),
    (fit, ("qoemon fit study.csv --mapping web-iqx",), "done", _FILE),
    (
        validate,
        (
            "qoemon validate study.csv -c qoemon.yaml --service web",
            "qoemon validate study.csv -c qoemon.yaml --service web --fail-if 'gob > .1'",
        ),
        "done",
        _UNUSABLE,
    ),
    (
        record,
        (
            "qoemon record monday.jsonl.gz -c qoemon.yaml --for 1h",
            "qoemon record monday.jsonl.gz -c qoemon.yaml --daemon",
            "qoemon record monday.jsonl.gz -c qoemon.yaml --listen 127.0.0.1:9879",
        ),
        "done",
        "the broker, the port, the state or the file failed",
    ),
    (
        replay,
        ("qoemon replay monday.jsonl.gz -c qoemon.yaml --fail-if 'pow > .2' --fail-if 'mos < 3.5'",),
        "done",
        _UNUSABLE,
    ),
    (
        import_cmcd,
        (
            "qoemon import-cmcd access.log.gz --format combined --label cdn=a -o monday.jsonl.gz",
            "qoemon import-cmcd requests.json --format json --field time=ts --label-from region=pop",
        ),
        "done",
        "nothing was found, or a file failed",
    ),
    (report, ("qoemon report monday.jsonl.gz -o report/",), "done", _FILE),
    (
        rescale,
        ("qoemon rescale -c qoemon.yaml",),
        "done",
        "the state directory cannot be used, or the driver runs",
    ),
    (rules, ("qoemon rules -c qoemon.yaml > qoemon.rules.yml",), "done", ""),
    (
        print_config,
        ("qoemon config > qoemon.yaml", "qoemon config --minimal > qoemon.yaml"),
        "done",
        _INCOMPLETE,
    ),
    (
        dashboards,
        ("qoemon dashboards grafana/ -c qoemon.yaml", "qoemon dashboards --print overview > overview.json"),
        "done",
        f"the folder cannot be written, the extra `dashboards` is missing, or {_INCOMPLETE}",
    ),
    (helm_chart, ("qoemon helm-chart chart/",), "done", f"the folder cannot be written, or {_INCOMPLETE}"),
    (
        systemd_unit,
        (
            "qoemon systemd-unit > /etc/systemd/system/qoemon.service",
            "qoemon systemd-unit --template > /etc/systemd/system/qoemon@.service",
        ),
        "done",
        f"systemd could not start qoemon where it is installed, or {_INCOMPLETE}",
    ),
    (player_js, ("qoemon player.js > player.js",), "done", _INCOMPLETE),
    (simulate, ("qoemon simulate --scenario outage --for 10m",), "done", "the broker failed"),
    (
        top,
        ("qoemon top", "qoemon top http://qoemon:9877 --filter cdn=a --once"),
        "done",
        "the daemon does not answer as expected",
    ),
    (demo, ("qoemon demo --for 5m",), "ended by Ctrl-C or --for", "the broker or a port failed"),
    (
        demo_players,
        ("qoemon demo-players --for 5m",),
        "ended by Ctrl-C or --for",
        "a player, ffmpeg or a port is missing",
    ),
    (
        demo_cluster,
        ("qoemon demo-cluster --for 5m",),
        "ended by Ctrl-C or --for",
        "a part failed",
    ),
    (paper, ("qoemon paper figures/",), "done", "a file cannot be written"),
):
    app.command(_NAMES.get(_command), epilog=ending(_examples, {0: _done, 1: _failed, 2: _USAGE}))(_command)

_NO_FEEDBACK = "there are no ratings, or the daemon or the file cannot be used"
_feedback = typer.Typer(
    help="Compare ratings of users with the predictions.",
    epilog=ending(("qoemon feedback show", "qoemon feedback fit -h"), {0: "done", 1: _NO_FEEDBACK, 2: _USAGE}),
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    rich_markup_mode=None,
)
for _name, _command, _examples, _codes in (
    (
        "show",
        feedback.show,
        ("qoemon feedback show video", "qoemon feedback show --recording week.jsonl.gz -c qoemon.yaml"),
        {0: "done", 1: _NO_FEEDBACK, 2: _USAGE},
    ),
    (
        "fit",
        feedback.fit,
        ("qoemon feedback fit video", "qoemon feedback fit video --since 2026-11-01 --url http://qoemon:9877"),
        {0: "done", 1: _NO_FEEDBACK, 2: _USAGE},
    ),
    (
        "export",
        feedback.export,
        ("qoemon feedback export video > answers.csv",),
        {0: "done", 1: _NO_FEEDBACK, 2: _USAGE},
    ),
    (
        "test",
        feedback.verdict,
        ("qoemon feedback test video",),
        {
            0: "the model holds",
            1: "the model is off",
            2: "it cannot be told: a wrong command line or configuration, or no answer",
            3: "there are too few ratings to tell",
        },
    ),
):
    _feedback.command(_name, epilog=ending(_examples, _codes))(_command)
app.add_typer(_feedback, name="feedback")
app.add_typer(state, name="state")


def _explain(config: Config, topic: str | None, path: str | None, file: Path) -> int:
    """Print what the daemon would make of a message; the exit code is FAILED if a report is rejected."""
    from qoemon.config.plan import core_plan
    from qoemon.core.wire.message import Kind
    from qoemon.tools.payload import explain, posted

    try:
        payload = file.read_bytes()
    except OSError as error:
        fail(USAGE, f"{file}: cannot be read: {error.strerror}")
    kind = Kind.MQTT if path is None else posted(payload)
    explanation = explain(path or topic or "", payload, core_plan(config), kind)
    for line in explanation.lines:
        typer.echo(line)
    what = "records" if kind is Kind.CMCD else "reports"
    typer.echo(f"{explanation.accepted} {what} accepted, {explanation.rejected} rejected")
    return FAILED if explanation.rejected else 0


def _summary(config: Config) -> list[str]:
    """What the daemon would do with this configuration, line by line."""
    from qoemon.config.config import missing_defaults
    from qoemon.config.plan import core_plan
    from qoemon.core.plan.roll_up import RollUpKey

    plan = core_plan(config)
    windows = ", ".join(duration.text(length) for length in plan.timing.windows_s)
    return [
        *([] if config.mqtt is None else [_subscribes(config.mqtt)]),
        *([] if config.collector is None else [_listens(config.collector)]),
        *([_workers(config)] if config.workers > 1 else []),
        *_cluster(config),
        *([] if config.pair is None else [_pair(config.pair, config.notify)]),
        *_ignored(config.topics),
        f"groups by {', '.join(('service', *plan.labels))}",
        *([f"rolls up by {'; '.join(RollUpKey(by).name for by in plan.roll_ups)}"] if plan.roll_ups else []),
        f"evaluates every {plan.timing.tick_s} s, windows {windows}",
        *(_range(service, plan) for service in plan.services),
        *_off(config, plan),
        *([_replaced(missing)] if (missing := missing_defaults(config.services)) else []),
    ]


def _subscribes(mqtt: Mqtt) -> str:
    from qoemon.common.address import address_text

    filters = ", ".join(topic.parsed.filter for topic in mqtt.topics)
    path = mqtt.websocket_path if mqtt.transport == "websockets" else None
    brokers = " or ".join(address_text(host, port, path) for host, port in mqtt.addresses)
    return f"subscribes to {filters} at {brokers}, MQTT {mqtt.version}, QoS {mqtt.qos}"


def _listens(collector: Collector) -> str:
    from qoemon.common.address import address_text

    paths = ", ".join(path.template for path in collector.paths)
    return f"collects {paths} on {address_text(collector.host, collector.port)}"


def _pair(pair: Pair, notify: Notify) -> str:
    from urllib.parse import urlsplit

    peer = urlsplit(pair.peer.url).netloc
    sends = (
        "notifications" if notify.alertmanagers or notify.webhooks or notify.mqtt else "nothing, as notify is empty"
    )
    return (
        f"pair: this is {pair.name}, the other daemon is at {peer}; the one with the lease on {pair.topic} sends "
        f"{sends}, and is replaced {duration.text(pair.lease_s)} after its last sign of life"
    )


def _replaced(missing: Sequence[str]) -> str:
    """Which default services are no longer rated."""
    are = "are" if len(missing) > 1 else "is"
    return f"services replaces the defaults: {' and '.join(missing)} {are} no longer rated"


def _ignored(topics: Iterable[Topic]) -> Iterator[str]:
    """The levels of topics whose values are pooled, a line for each topic with such levels."""
    from qoemon.core.plan.topic import POOLED

    for topic in topics:
        levels = [str(at) for at, level in enumerate(topic.template.split("/"), 1) if level == POOLED]
        if levels:
            plural = "s" * (len(levels) > 1)
            yield f"ignores the value of level{plural} {' and '.join(levels)} of {topic.template}"


def _off(config: Config, plan: Plan) -> Iterator[str]:
    """The default alerts and regimes that do not apply to a service, as it cannot reach them."""
    for (alert, service), reason in config.alerts_off.items():
        yield f"default alert {alert} is off for {service}: {reason}; write your own alerts"
    for rated in plan.services:
        for violation in config.regimes.reach_rules(rated):
            level = str(violation.path[0])
            threshold = getattr(config.regimes, level).threshold
            yield (
                f"default regime {level} never begins for {rated.name}: its threshold is {threshold:g}, and "
                f"would have to be {violation.expected}; write your own regimes"
            )


def _workers(config: Config) -> str:
    """How workers share the sessions."""
    if config.sharded and config.mqtt is not None:
        also = "" if config.collector is None else "; requests are partitioned by session id"
        return f"{config.workers} workers, each with its own connection, share {config.mqtt.shards} shards{also}"
    behind = "the collector" if config.mqtt is None else "one connection"
    return f"{config.workers} workers behind {behind}, sessions partitioned by id"


def _cluster(config: Config) -> Iterator[str]:
    """Who does what where a cluster counts."""
    if config.clustered and config.kafka is not None:
        engine, kafka = config.engine, config.kafka
        yield f"`qoemon bridge` does that, and writes to topic {kafka.topic} of Kafka at {', '.join(kafka.brokers)}"
        yield f"counts on Spark ({engine.master}), {engine.shards} shards, checkpoint {engine.checkpoint}"


def _range(service: Service, plan: Plan) -> str:
    """The least and the greatest values that the service can reach."""
    import numpy as np

    ends = service.kernel(plan.quantiles, service.mapping.reach).distribution(np.eye(2, dtype=np.int64))
    return (
        f"service {service.name}: {service.mapping.name}, {service.model} ratings, theta {service.theta:g}: "
        f"MOS {ends.mos.min():.2f} to {ends.mos.max():.2f}, "
        f"good {100 * ends.gob.min():.1f} to {100 * ends.gob.max():.1f} %, "
        f"poor {100 * ends.pow.min():.1f} to {100 * ends.pow.max():.1f} %"
    )

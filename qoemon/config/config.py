"""The configuration: every key with its default, and the rules between sections.

`config/qoemon.yaml` has the same keys with comments. Durations and sizes have a unit in the file and are numbers
here, in seconds and bytes; the name of the field ends in the unit.
"""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, Strict

from qoemon.common import duration
from qoemon.common.logs import LogFormat
from qoemon.config.sections.alert import Alert
from qoemon.config.sections.collector import Collector, CollectorPath
from qoemon.config.sections.engine import Engine, EngineKind
from qoemon.config.sections.feedback import Feedback
from qoemon.config.sections.kafka import Kafka
from qoemon.config.sections.link import LinkTemplate, link_fault
from qoemon.config.sections.mqtt import MAX_PACKET_BYTES, Mqtt, Topic
from qoemon.config.sections.names import overlap
from qoemon.config.sections.notify import Notify
from qoemon.config.sections.pair import Pair
from qoemon.config.sections.regime import Regimes
from qoemon.config.sections.service import Services
from qoemon.config.sections.state import State
from qoemon.config.sections.types import Bytes, Count, File, Host, Label, Seconds, Share, WholeSeconds, number
from qoemon.config.sections.url import BaseUrl
from qoemon.config.sections.web import CollectorWebFile, WebFile
from qoemon.config.yaml import document as yamlfile
from qoemon.config.yaml.document import Document
from qoemon.config.yaml.errors import ConfigError, ConfigProblem, KeyPath
from qoemon.config.yaml.messages import lookup
from qoemon.config.yaml.override import override
from qoemon.config.yaml.section import Section, Violation, key
from qoemon.config.yaml.validation import validated
from qoemon.core.plan.plan import Clock
from qoemon.core.plan.plan import Service as CoreService
from qoemon.core.qoe.mapping import Qos

HttpPort = Annotated[int, Strict(), Field(ge=0, le=65535), BeforeValidator(number)]
Workers = Annotated[int, Strict(), Field(ge=1, le=64), BeforeValidator(number)]
Windows = Annotated[tuple[WholeSeconds, ...], AfterValidator(lambda windows: tuple(sorted(windows)))]


class Sessions(Section):
    """How reports become sessions, and how often their ratings are estimated."""

    tick_s: WholeSeconds = key("Interval at which everything is computed; a divisor of rating_interval.", "10s")
    rating_interval_s: WholeSeconds = key("Length of the experience that one estimated rating is about.", "60s")
    timeout_s: Seconds = key("A session without a report for longer has ended, and so has its open stall.", "5m")
    min_active_s: Seconds = key(
        "A session with less playing and stalling time in a rating interval gets no rating.", "5s"
    )
    clock: Clock = key(
        "Time of a report: its ts, corrected by the delay of its client (auto), its arrival, or its ts (report).",
        "auto",
    )

    def rules(self) -> Iterator[Violation]:
        """`tick` divides `rating_interval`; `timeout` is at least `rating_interval`, `min_active` is less."""
        interval, depends_on = duration.text(self.rating_interval_s), (("rating_interval",),)
        if self.rating_interval_s % self.tick_s:
            yield Violation(("tick",), f"a divisor of rating_interval ({interval})", depends_on)
        if self.timeout_s < self.rating_interval_s:
            yield Violation(("timeout",), f"at least rating_interval ({interval})", depends_on)
        if self.min_active_s >= self.rating_interval_s:
            yield Violation(("min_active",), f"less than rating_interval ({interval})", depends_on)


class Http(Section):
    """The HTTP server of metrics, health, JSON and the live page."""

    host: Host = key("Address to listen on; 0.0.0.0 or :: for all addresses.", "127.0.0.1")
    port: HttpPort = key("Port to listen on; 0 for any free port.", 9877)
    url: BaseUrl | None = key(
        "URL of this daemon for notifications. null: its host, or the name of the machine, and its port.", None
    )
    web_config_file: File | None = key(
        "Web configuration file in the format of Prometheus: TLS, users, headers; null: plain HTTP without users.",
        None,
    )
    links: Mapping[str, LinkTemplate] = key(
        "Links of the live page on each alert and group, by the text to show: URLs with names in braces.", {}
    )


class Limits(Section):
    """Bounds of everything that can grow; a counter reports what exceeded each."""

    inbox_messages: Count = key("Messages waiting to be evaluated and stored.", 200_000)
    inbox_bytes: Bytes = key("Bytes of topics and payloads waiting to be evaluated and stored.", "64MiB")
    message_bytes: Bytes = key("Bytes in a message; larger ones are rejected.", "256KiB")
    reports_per_message: Count = key("Reports in a message; messages with more are rejected.", 1000)
    sessions: Count = key("Sessions tracked at a time; memory grows with them.", 1_000_000)
    groups: Count = key(
        "Groups, each of about fifty time series; further ones are counted in a group named other.", 1000
    )
    group_idle_s: Seconds = key(
        "Silence, with no session and no condition in any window, after which a group frees its place; its "
        "counters are no longer exported.",
        "7d",
    )
    label_length: Count = key("Characters in a label value; reports with more are rejected.", 128)
    http_connections: Count = key(
        "Connections to the HTTP port at a time, at most half of the files that the process may open; for one "
        "more, the connection that has been idle for longest is closed.",
        512,
    )

    def rules(self) -> Iterator[Violation]:
        """`message_bytes` fits in `inbox_bytes` and in an MQTT packet."""
        if self.inbox_bytes < self.message_bytes:
            yield Violation(
                ("inbox_bytes",), f"at least message_bytes ({self.message_bytes} B)", (("message_bytes",),)
            )
        if self.message_bytes >= MAX_PACKET_BYTES:
            most = f"{MAX_PACKET_BYTES // 2**20}MiB"
            yield Violation(("message_bytes",), f"less than {most}: the largest packet, topic included")


class Log(Section):
    """The log on standard error. Of similar lines, ten a minute are written and the others counted."""

    level: Literal["debug", "info", "warning", "error"] = key("Lowest level that is logged.", "info")
    format: LogFormat = key("text for people; logfmt or json for programs.", "text")


_SERVICES = {
    "video": {"mapping": "video-stall", "theta": 0.3, "theta_band": [0.1, 0.3], "slo": 0.9},
    "web": {"mapping": "web-iqx", "theta": 0.25, "slo": 0.8},
}

_ALERTS = [
    {
        "name": "ManyPoorRatings",
        "threshold": 0.25,
        "recovery": 0.18,
        "for": "3m",
        "severity": "page",
        "annotations": {"summary": "{pow:.0%} of {users} users of {service} would say poor or worse"},
    },
    {
        "name": "ReportsAbsent",
        "by": [],
        "metric": "absent",
        "for": "2m",
        "min_sessions": 30,
        "severity": "critical",
        "annotations": {
            "summary": "No reports from {service} for {value:.0f} s, {users} sessions were active before",
        },
    },
    {
        "name": "SessionsDropped",
        "by": [],
        "metric": "drop",
        "threshold": 0.4,
        "recovery": 0.25,
        "for": "1m",
        "min_sessions": 50,
        "severity": "critical",
        "annotations": {
            "summary": "{value:.0%} fewer sessions of {service} than usual, {users} were active before",
        },
    },
    {
        "name": "ModelOff",
        "by": [],
        "metric": "model",
        "severity": "info",
        "annotations": {
            "summary": "Users of {service} rate {way} than predicted since {since}: by {bias:.2f} points "
            "({lower:.2f} to {upper:.2f}), spread {spread:.2f} times the predicted, {users} ratings on {days} days",
            "advice": "The shares of good and poor ratings of {service} are off. Run "
            "`qoemon feedback fit {service}`: it proposes constants that fit these ratings",
        },
    },
]


class Config(Section):
    """The configuration of qoemon."""

    mqtt: Mqtt | None = key("The broker, and the topics of the reports; null: no broker, only a collector.", {})
    collector: Collector | None = key(
        "The HTTP listener for players and clients that do not speak MQTT; null: none.", None
    )
    labels: tuple[Label, ...] = key("Labels that reports may have, in addition to those of the topics.", [])
    sessions: Sessions = key("How reports become sessions, and how often their ratings are estimated.", {})
    windows_s: Windows = key(
        "Time spans of the distributions: rating_interval and multiples of it.", ["1m", "5m", "1h"]
    )
    quantiles: tuple[Share, ...] = key(
        "Quantiles of the opinions to export. An opinion is a rating before rounding.", [0.05, 0.1, 0.5, 0.9]
    )
    services: Services = key("Services by name; if given, they replace the defaults.", _SERVICES)
    workers: Workers = key("Processes that count reports, each a part of the sessions; 1: this process alone.", 1)
    engine: Engine = key("What counts the reports: this process, several, or a cluster.", {})
    kafka: Kafka | None = key("The log between `qoemon bridge` and a cluster; null: none.", None)
    confidence: Share = key("Confidence level of the confidence intervals.", 0.95)
    roll_ups: tuple[tuple[Label, ...], ...] | None = key(
        "Roll-ups with regimes and metrics of their own: each a list of the labels that remain when the groups are "
        "summed over all others; [] is the whole service. null: each single label, and [].",
        None,
    )
    alerts: tuple[Alert, ...] = key(
        "Alert rules; if given, they replace the defaults. A default rule is off for a service that cannot reach "
        "its threshold or its recovery.",
        _ALERTS,
    )
    regimes: Regimes = key("Regimes of the groups: good, degraded or bad.", {})
    feedback: Feedback = key("Ratings of users, which reports may have.", {})
    notify: Notify = key("Receivers of alerts.", {})
    pair: Pair | None = key(
        "A second daemon with the same reports that stands by: one of the two sends notifications. null: none.",
        None,
    )
    state: State = key("State that survives a restart or a crash.", {})
    shutdown_timeout_s: Seconds = key("Time limit for storing state and sending notifications at a stop.", "10s")
    http: Http = key("The HTTP server of metrics, health, JSON and the live page.", {})
    limits: Limits = key("Bounds of everything that can grow.", {})
    log: Log = key("The log.", {})

    def rules(self) -> Iterator[Violation]:
        """`windows` are multiples of `rating_interval`; names are unique; alerts and topics name what exists.

        There is an input. The collector has another port than the HTTP server.
        """
        yield from self._window_rules()
        for name in ("quantiles", "labels"):
            for place in _repeated(getattr(self, name)):
                yield Violation((name, place), "each value once")
        for path, one in self._templates():
            if one.service is not None and one.service not in self.services:
                yield self._unknown_service((*path, "service"))
            for place in (place for place, name in enumerate(self.labels) if name in one.parsed.names):
                expected = f"a name that is not in {'.'.join(map(str, path))} as well"
                yield Violation(("labels", place), expected, (path,))

        yield from self._alert_rules()
        yield from self._regime_rules()
        yield from self._link_rules()
        yield from self._roll_up_rules()
        if self.mqtt is None and self.collector is None:
            expected = "a mapping, or a section collector: there is no input; leave the key out for the defaults"
            yield Violation(("mqtt",), expected, (("collector",),))
        if self.mqtt is None and self.notify.mqtt is not None:
            yield Violation(("notify", "mqtt"), "null: alerts go to the broker, and mqtt is null", (("mqtt",),))
        yield from self._pair_rules()
        yield from self._engine_rules()
        yield from self._port_rules()
        yield from self._startup_rules()
        if self.sharded and self.mqtt is not None and self.workers > self.mqtt.shards:
            expected = f"at most mqtt.shards ({self.mqtt.shards}), as topics have a level {{shard}}"
            yield Violation(("workers",), expected, (("mqtt", "shards"),))

    def core_services(self) -> tuple[CoreService, ...]:
        """The services as the core takes them."""
        return tuple(section.core_service(name) for name, section in self.services.items())

    @property
    def group_labels(self) -> tuple[str, ...]:
        """Names of the labels of a group, those of the topics first."""
        of_templates = (name for _, one in self._templates() for name in one.parsed.names)
        of_records = () if self.collector is None else self.collector.labels.values()
        return tuple(dict.fromkeys((*of_templates, *self.labels, *of_records)))

    @property
    def topics(self) -> tuple[Topic, ...]:
        """The topics of the reports; none without a broker."""
        return () if self.mqtt is None else self.mqtt.topics

    @property
    def clustered(self) -> bool:
        """Whether a cluster counts the reports."""
        return self.engine.kind is EngineKind.SPARK

    @property
    def sharded(self) -> bool:
        """Whether clients choose the shard, by a level of their topics."""
        return bool(self.topics) and all(topic.parsed.sharded for topic in self.topics)

    def _templates(self) -> Iterator[tuple[KeyPath, Topic | CollectorPath]]:
        """The topics and the paths, with the places of their keys."""
        yield from ((("mqtt", "topics", index), topic) for index, topic in enumerate(self.topics))
        paths = () if self.collector is None else self.collector.paths
        yield from ((("collector", "paths", index), path) for index, path in enumerate(paths))

    @property
    def roll_up_labels(self) -> tuple[tuple[str, ...], ...]:
        """The labels of each roll-up, in the order of group_labels, without those that are the groups."""
        labels = self.group_labels
        wanted = (*((label,) for label in labels), ()) if self.roll_ups is None else self.roll_ups
        ordered = (tuple(label for label in labels if label in by) for by in wanted)
        return tuple(by for by in dict.fromkeys(ordered) if by != labels)

    def _roll_up_rules(self) -> Iterator[Violation]:
        """Roll-ups name labels that exist, and leave out at least one; each is there once."""
        labels, seen = self.group_labels, set[frozenset[str]]()
        for place, by in enumerate(self.roll_ups or ()):
            path, depends_on = ("roll_ups", place), (("labels",), ("mqtt", "topics"))
            for at in (at for at, name in enumerate(by) if name not in labels):
                yield Violation((*path, at), _one_of_labels(labels), depends_on)
            for at in _repeated(by):
                yield Violation((*path, at), "each label once")
            if len(by) == len(labels) and set(by) == set(labels):
                expected = "fewer labels than a group has: with all of them, the sums are the groups themselves"
                yield Violation(path, expected, depends_on)
            if frozenset(by) in seen:
                yield Violation(path, "each set of labels once")
            seen.add(frozenset(by))

    def _alert_rules(self) -> Iterator[Violation]:
        """Alerts have unique names, refer to what exists, and have thresholds that their service can reach."""
        for place in _repeated([alert.name for alert in self.alerts]):
            yield Violation(("alerts", place, "name"), "a unique name")
        for index, alert in enumerate(self.alerts):
            path = ("alerts", index)
            yield from self._reference_rules(alert, path)
        for index, service, violation in self._unreachable():
            if self._wrote_alerts:
                depends_on = (*(("alerts", index, *key) for key in violation.depends_on), ("services", service))
                yield Violation(("alerts", index, *violation.path), violation.expected, depends_on)

    @property
    def _wrote_alerts(self) -> bool:
        """Whether the rules are those of the file: of the default ones, nobody has to know."""
        return "alerts" in self.model_fields_set

    def _unreachable(self) -> Iterator[tuple[int, str, Violation]]:
        """The place of each alert and the name of each service that cannot reach its thresholds, and why."""
        for index, alert in enumerate(self.alerts):
            for service in self.core_services():
                if alert.service in (None, service.name):
                    for violation in alert.reach_rules(service):
                        yield index, service.name, violation

    @cached_property
    def alerts_off(self) -> Mapping[tuple[str, str], str]:
        """By names of a default alert and of a service for which it is off: why, in words."""
        off: dict[tuple[str, str], str] = {}
        for at, service, violation in self._unreachable():
            alert, name = self.alerts[at], str(violation.path[0])
            reason = f"its {name} is {getattr(alert, name):g}, and would have to be {violation.expected}"
            off.setdefault((alert.name, service), reason)
        return off

    def _reference_rules(self, alert: Alert, path: KeyPath) -> Iterator[Violation]:
        """The service, labels, window and quantile that the alert at this path names exist."""
        labels = sorted(self.group_labels)
        sources = (("labels",), ("mqtt", "topics"))
        if alert.service is not None and alert.service not in self.services:
            yield self._unknown_service((*path, "service"))
        for name in (name for name in alert.groups if name not in labels):
            yield Violation((*path, "groups", name), f"one of the labels {', '.join(labels)}", sources)
        for place in (place for place, name in enumerate(alert.by or ()) if name not in labels):
            yield Violation((*path, "by", place), _one_of_labels(labels), sources)
        for place in _repeated(alert.by or ()):
            yield Violation((*path, "by", place), "each label once")
        if alert.window_s is not None and alert.window_s not in self.windows_s:
            windows = ", ".join(map(duration.text, self.windows_s))
            yield Violation((*path, "window"), f"one of the windows {windows}", (("windows",),))
        if alert.quantile is not None and alert.quantile not in self.quantiles:
            yield Violation((*path, "quantile"), "one of the quantiles that are exported", (("quantiles",),))
        for violation in alert.text_rules(labels):
            yield Violation((*path, *violation.path), violation.expected, sources)

    def _unknown_service(self, path: KeyPath) -> Violation:
        return Violation(path, f"one of the services, {', '.join(self.services)}", names_of=(("services",),))

    def _link_rules(self) -> Iterator[Violation]:
        """Links name only labels that exist."""
        for name, template in self.http.links.items():
            if fault := link_fault(template, self.group_labels):
                yield Violation(("http", "links", name), fault, (("labels",), ("mqtt", "topics")))

    def _startup_rules(self) -> Iterator[Violation]:
        """The service of startup times exists, and rates response times."""
        name = None if self.collector is None else self.collector.startup_service
        if name is None:
            return
        path = ("collector", "startup_service")
        if name not in self.services:
            yield self._unknown_service(path)
        elif self.services[name].core_service(name).mapping.qos is not Qos.RESPONSES:
            expected = "a service whose mapping rates response times, such as web-iqx"
            yield Violation(path, expected, (("services", name, "mapping"),))

    def _port_rules(self) -> Iterator[Violation]:
        """Players and scrapes have ports of their own, so that they share no limit and no access rule."""
        ours, pages = self.collector, self.http
        if ours is None or ours.port != pages.port or not ours.port:
            return
        if ours.host == pages.host or {ours.host, pages.host} & {"0.0.0.0", "::"}:  # noqa: S104 - compared only
            expected = f"another port than http.port ({pages.port})"
            yield Violation(("collector", "port"), expected, (("http", "port"), ("http", "host")))

    def _pair_rules(self) -> Iterator[Violation]:
        """A pair has a broker for its lease, a topic without reports, and counts on its own machines."""
        if self.pair is None:
            return
        if self.mqtt is None:
            expected = "null: the lease is at the broker, and mqtt is null"
            yield Violation(("pair",), expected, (("mqtt",),))
        if self.clustered:
            expected = "null: engine.kind is spark, and a checkpoint has one driver; let the cluster restart it"
            yield Violation(("pair",), expected, (("engine", "kind"),))
        for place, topic in enumerate(self.topics):
            if overlap(topic.template, self.pair.topic):
                expected = f"another topic than those of the reports: mqtt.topics.{place} matches it"
                yield Violation(("pair", "topic"), expected, (("mqtt", "topics"),))

    def _engine_rules(self) -> Iterator[Violation]:
        """The kind of the engine agrees with `workers`; a cluster has Kafka and a checkpoint."""
        kind = self.engine.kind
        if kind is EngineKind.WORKERS and self.workers == 1:
            yield Violation(("workers",), "2 or more, as engine.kind is workers", (("engine", "kind"),))
        if kind in {EngineKind.LOCAL, EngineKind.SPARK} and self.workers > 1:
            yield Violation(("workers",), f"1, as engine.kind is {kind}", (("engine", "kind"),))
        if kind is not EngineKind.SPARK:
            return
        if self.kafka is None:
            yield Violation(
                ("kafka",),
                "a mapping with brokers: engine.kind is spark, which reads from Kafka",
                (("engine", "kind"),),
            )
        if self.engine.checkpoint is None:
            expected = "a path or URL that all machines of the cluster can write to, as engine.kind is spark"
            yield Violation(("engine", "checkpoint"), expected, (("engine", "kind"),))

    def _regime_rules(self) -> Iterator[Violation]:
        """The thresholds of the regimes that the file has can be reached by every service."""
        for service in self.core_services():
            for violation in self.regimes.reach_rules(service):
                if violation.path[0] not in self.regimes.model_fields_set:
                    continue  # A default level that a service cannot reach never begins.
                yield Violation(("regimes", *violation.path), violation.expected, (("services", service.name),))

    def _window_rules(self) -> Iterator[Violation]:
        interval_s, depends_on = self.sessions.rating_interval_s, (("sessions", "rating_interval"),)
        interval = duration.text(interval_s)
        if odd := [duration.text(window_s) for window_s in self.windows_s if window_s % interval_s]:
            expected = f"multiples of rating_interval ({interval}), unlike {', '.join(odd)}"
            yield Violation(("windows",), expected, depends_on)
        elif interval_s not in self.windows_s:
            yield Violation(("windows",), f"rating_interval ({interval}) among them", depends_on)
        for window_s in dict.fromkeys(self.windows_s[place] for place in _repeated(self.windows_s)):
            yield Violation(("windows",), f"each window once ({duration.text(window_s)} is repeated)")


def _one_of_labels(labels: Sequence[str]) -> str:
    return f"one of the labels {', '.join(labels)}" if labels else "no label, as the topics have none"


def _repeated(values: Sequence[object]) -> list[int]:
    """The positions of the values that occurred before."""
    return [place for place, value in enumerate(values) if values.index(value) < place]


WEB_FILES = {"http": WebFile, "collector": CollectorWebFile}
"""Sections with a web configuration file, and what it may contain."""


def usual_service(mapping: str) -> str:
    """The name of the default service with that mapping; the mapping's own name if none has it."""
    return next((name for name, service in _SERVICES.items() if service["mapping"] == mapping), mapping)


def missing_defaults(services: Collection[str]) -> tuple[str, ...]:
    """The default services that a configuration with these services no longer rates."""
    return tuple(name for name in _SERVICES if name not in services)


def load(path: Path | None, env: Mapping[str, str] = os.environ, overrides: Sequence[str] = ()) -> Config:
    """The configuration in the file.

    path       None for the defaults
    overrides  KEY=VALUE each, of flags of the command line; the last one of a key is valid
    raises     ConfigError with every error in the file, in the overrides, and in the web configuration files
    """
    document = Document("the defaults", {}) if path is None else yamlfile.read(path, env)
    for text in overrides:
        override(document, text, env)
    problems: list[ConfigProblem] = []
    try:
        config = validated(document, Config)
    except ConfigError as error:
        problems += error.problems
    for section, kind in WEB_FILES.items():
        web = lookup(document.data, (section, "web_config_file"))
        if isinstance(web, str) and (file := Path(document.file).parent / web).is_file():
            try:
                validated(yamlfile.read(file, env), kind)
            except ConfigError as error:
                problems += error.problems
    if problems:
        raise ConfigError(problems)
    return config


def schema() -> dict[str, Any]:
    """The JSON Schema of the file, draft 2020-12, for editors; `load` also checks the rules between keys."""
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    whole: dict[str, Any] = _or_variable(Config.model_json_schema())
    return dialect | whole


def _or_variable(part: Any) -> Any:
    """The schema, but text with ${NAME} is valid wherever other text is not."""
    if isinstance(part, list):
        return [_or_variable(item) for item in part]
    if not isinstance(part, dict):
        return part
    if part.get("type") in ("integer", "number") or "pattern" in part or "enum" in part:
        about = {name: part[name] for name in ("title", "description", "default") if name in part}
        narrow = {name: value for name, value in part.items() if name not in about}
        return {**about, "anyOf": [narrow, {"type": "string", "pattern": r"\$\{"}]}
    return {name: _or_variable(value) for name, value in part.items()}

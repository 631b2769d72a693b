"""The configuration: every key with its default, and the rules between them.

`config/qoemon.yaml` shows the same with comments. Durations and sizes are texts with a unit in the
file and plain numbers here, in seconds and bytes; the name in the code ends in the unit.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, Strict

from qoemon.common import duration
from qoemon.common.logs import Form
from qoemon.config.sections.alert import Alert
from qoemon.config.sections.mqtt import MAX_PACKET_BYTES, Mqtt
from qoemon.config.sections.notify import Notify
from qoemon.config.sections.regime import Regimes
from qoemon.config.sections.service import Services
from qoemon.config.sections.state import State
from qoemon.config.sections.types import Bytes, Count, File, Host, Label, Seconds, Share, WholeSeconds, number
from qoemon.config.sections.url import BaseUrl
from qoemon.config.sections.web import WebFile
from qoemon.config.yaml import document as yamlfile
from qoemon.config.yaml.section import Section, Violation, key
from qoemon.config.yaml.validation import validated
from qoemon.core.plan.plan import Clock
from qoemon.core.plan.plan import Service as BaseWindow

T = TypeVar("T")

HttpPort = Annotated[int, Strict(), Field(ge=0, le=65535), BeforeValidator(number)]
Workers = Annotated[int, Strict(), Field(ge=1, le=64), BeforeValidator(number)]
Windows = Annotated[tuple[WholeSeconds, ...], AfterValidator(lambda windows: tuple(sorted(windows)))]


class Sessions(Section):
    """How reports become sessions, and when sessions are judged."""

    tick_s: WholeSeconds = key("How often everything is computed anew; divides rating_interval.", "10s")
    rating_interval_s: WholeSeconds = key("The length of experience that one virtual rating judges.", "60s")
    timeout_s: Seconds = key("A session silent for longer is over, its open stall too.", "5m")
    min_active_s: Seconds = key(
        "With less playing and stalling in a rating interval, there is nothing to judge.", "5s"
    )
    clock: Clock = key("What places a report in time: its arrival, or its own ts (report).", "arrival")

    def rules(self) -> Iterator[Violation]:
        """The tick divides the interval; the timeout is no shorter than it, min_active is shorter."""
        interval, other = duration.text(self.rating_interval_s), (("rating_interval",),)
        if self.rating_interval_s % self.tick_s:
            yield Violation(("tick",), f"a divisor of rating_interval ({interval})", other)
        if self.timeout_s < self.rating_interval_s:
            yield Violation(("timeout",), f"at least rating_interval ({interval})", other)
        if self.min_active_s >= self.rating_interval_s:
            yield Violation(("min_active",), f"less than rating_interval ({interval})", other)


class Http(Section):
    """Where metrics and health are served."""

    host: Host = key("Address to listen on; 0.0.0.0 or :: for all.", "127.0.0.1")
    port: HttpPort = key("Port to listen on; 0 takes a free one.", 9877)
    url: BaseUrl | None = key(
        "How others reach this daemon; put into notices. null: its host, or the machine's name, and its port.", None
    )
    web_config_file: File | None = key(
        "Web configuration file of Prometheus' format: TLS, users, headers; null is plain HTTP without users.", None
    )


class Limits(Section):
    """What can grow has a bound, and a counter for what went beyond it."""

    inbox_messages: Count = key("Messages that wait to be evaluated and stored.", 200_000)
    inbox_bytes: Bytes = key("Bytes of topics and payloads that wait to be evaluated and stored.", "64MiB")
    message_bytes: Bytes = key("Bytes in one message; a larger one is rejected.", "256KiB")
    reports_per_message: Count = key("Reports in one message; one with more is rejected.", 1000)
    sessions: Count = key("Sessions followed at once; memory grows with them.", 1_000_000)
    groups: Count = key(
        "Label sets, each of which is some fifty time series; more go to one group named other.", 1000
    )
    label_length: Count = key("Characters in a label value; a report with more is rejected.", 128)
    http_connections: Count = key(
        "Connections to the HTTP port at once, at most half of the files that the process may open; for one more, "
        "the one idle for longest is closed.",
        512,
    )

    def rules(self) -> Iterator[Violation]:
        """One message fits the inbox, and a packet."""
        if self.inbox_bytes < self.message_bytes:
            yield Violation(
                ("inbox_bytes",), f"at least message_bytes ({self.message_bytes} B)", (("message_bytes",),)
            )
        if self.message_bytes >= MAX_PACKET_BYTES:
            most = f"{MAX_PACKET_BYTES // 2**20}MiB"
            yield Violation(
                ("message_bytes",), f"less than {most}: a packet so large is refused, its topic included"
            )


class Log(Section):
    """What is logged: a kind of line ten times a minute, then how many more of it there were."""

    level: Literal["debug", "info", "warning", "error"] = key("The least severe level to log.", "info")
    format: Form = key("Lines of text for people, or of logfmt or JSON for programs.", "text")


_SERVICES = {
    "video": {"mapping": "video-stall", "theta": 0.3, "theta_band": [0.1, 0.3], "slo": 0.9},
    "web": {"mapping": "web-iqx", "theta": 0.25, "slo": 0.8},
}

_ALERTS = [
    {
        "name": "ManyPoorRatings",
        "enter": 0.25,
        "leave": 0.18,
        "for": "3m",
        "severity": "page",
        "annotations": {"summary": "{pow:.0%} of {users} users of {service} would say poor or worse"},
    }
]


class Config(Section):
    """The configuration of qoemon."""

    mqtt: Mqtt = key("The broker, and where on it the reports are.", {})
    labels: tuple[Label, ...] = key("Names that reports may carry in labels, beside those of the topics.", [])
    sessions: Sessions = key("How reports become sessions, and when sessions are judged.", {})
    windows_s: Windows = key("What a distribution covers: rating_interval and multiples of it.", ["1m", "5m", "1h"])
    quantiles: tuple[Share, ...] = key("Which quantiles of the ratings to export.", [0.05, 0.1, 0.5, 0.9])
    services: Services = key(
        "How each service is judged, by its name; given, they replace the defaults.", _SERVICES
    )
    workers: Workers = key(
        "Processes that take in reports, each with its share of the sessions; 1 is this one alone.", 1
    )
    confidence: Share = key("Of the bounds: how often such intervals contain the true figure.", 0.95)
    alerts: tuple[Alert, ...] = key("When to tell someone; given, they replace the default.", _ALERTS)
    regimes: Regimes = key("When the share of poor ratings is degraded or bad, and has changed.", {})
    notify: Notify = key("Who is told of alerts.", {})
    state: State = key("What survives a restart or a crash.", {})
    shutdown_timeout_s: Seconds = key("How long a stop may take to store and tell what is left.", "10s")
    http: Http = key("Where metrics and health are served.", {})
    limits: Limits = key("What can grow has a bound.", {})
    log: Log = key("What is logged.", {})

    def rules(self) -> Iterator[Violation]:
        """Windows are made of rating intervals; names are unambiguous; topics name known services."""
        yield from self._window_rules()
        for name in ("quantiles", "labels"):
            for place in _repeated(getattr(self, name)).values():
                yield Violation((name, place), "each once")
        for index, topic in enumerate(self.mqtt.topics):
            if topic.service is not None and topic.service not in self.services:
                expected = f"one of the services, {', '.join(self.services)}"
                yield Violation(("mqtt", "topics", index, "service"), expected, (("services",),))
            for place in (place for place, name in enumerate(self.labels) if name in topic.parsed.names):
                expected = f"a name that is not in mqtt.topics.{index} too"
                yield Violation(("labels", place), expected, (("mqtt", "topics"),))

        yield from self._alert_rules()
        yield from self._regime_rules()
        sharded = all("{shard}" in topic.template.split("/") for topic in self.mqtt.topics)
        if sharded and self.workers > self.mqtt.shards:
            expected = f"at most mqtt.shards ({self.mqtt.shards}), as topics have a level {{shard}}"
            yield Violation(("workers",), expected, (("mqtt", "shards"),))

    def judged(self) -> tuple[BaseWindow, ...]:
        """The services as the core is to judge them."""
        return tuple(section.judged(name) for name, section in self.services.items())

    def _alert_rules(self) -> Iterator[Violation]:
        """An alert names what there is, once, and its thresholds can be reached."""
        for place in _repeated([alert.name for alert in self.alerts]).values():
            yield Violation(("alerts", place, "name"), "another name, as it stands there twice")
        for index, alert in enumerate(self.alerts):
            where = ("alerts", index)
            for rule in self._names_of(alert):
                yield Violation((*where, *rule.where), rule.expected, rule.others)
            for service in self.judged():
                if alert.service in (None, service.name):
                    for rule in alert.reach_rules(service):
                        others = (*((*where, *other) for other in rule.others), ("services",))
                        yield Violation((*where, *rule.where), rule.expected, others)

    def _names_of(self, alert: Alert) -> Iterator[Violation]:
        """What an alert names has to exist."""
        labels = sorted({name for topic in self.mqtt.topics for name in topic.parsed.names} | set(self.labels))
        if alert.service is not None and alert.service not in self.services:
            yield Violation(("service",), f"one of the services, {', '.join(self.services)}", (("services",),))
        for name in alert.groups.keys() - set(labels):
            yield Violation(("groups", name), f"one of the labels {', '.join(labels)}", (("labels",),))
        if alert.window_s is not None and alert.window_s not in self.windows_s:
            windows = ", ".join(map(duration.text, self.windows_s))
            yield Violation(("window",), f"one of the windows {windows}", (("windows",),))
        if alert.quantile is not None and alert.quantile not in self.quantiles:
            yield Violation(("quantile",), "one of the quantiles that are exported", (("quantiles",),))
        yield from alert.text_rules(labels)

    def _regime_rules(self) -> Iterator[Violation]:
        """A regime that no input can reach is a mistake, like an alert."""
        for service in self.judged():
            for rule in self.regimes.reach_rules(service):
                yield Violation(("regimes", *rule.where), rule.expected, (("services",),))

    def _window_rules(self) -> Iterator[Violation]:
        interval_s, others = self.sessions.rating_interval_s, (("sessions", "rating_interval"),)
        interval = duration.text(interval_s)
        if odd := [duration.text(window_s) for window_s in self.windows_s if window_s % interval_s]:
            expected = f"multiples of rating_interval ({interval}), unlike {', '.join(odd)}"
            yield Violation(("windows",), expected, others)
        elif interval_s not in self.windows_s:
            yield Violation(("windows",), f"rating_interval ({interval}) among them", others)
        for window_s in _repeated(self.windows_s):
            yield Violation(("windows",), f"each window once, {duration.text(window_s)} is there twice")


def _repeated(values: Sequence[T]) -> dict[T, int]:
    """What stands in it more than once, and the place of the last."""
    return {value: place for place, value in enumerate(values) if values.index(value) < place}


def load(path: Path, env: Mapping[str, str] = os.environ) -> Config:
    """The configuration in that file; ConfigError with all the mistakes in it."""
    config = validated(yamlfile.read(path, env), Config)
    if config.http.web_config_file is not None:
        validated(yamlfile.read(config.http.web_config_file, env), WebFile)  # It has its mistakes told here too.
    return config


def schema() -> dict[str, Any]:
    """The JSON Schema of the file, draft 2020-12, for editors; what it cannot say, `load` checks."""
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    whole: dict[str, Any] = _or_variable(Config.model_json_schema())
    return dialect | whole


def _or_variable(part: Any) -> Any:
    """The schema, taking text with ${NAME} too wherever it does not take any text."""
    if isinstance(part, list):
        return [_or_variable(item) for item in part]
    if not isinstance(part, dict):
        return part
    if part.get("type") in ("integer", "number") or "pattern" in part or "enum" in part:
        about = {name: part[name] for name in ("title", "description", "default") if name in part}
        narrow = {name: value for name, value in part.items() if name not in about}
        return {**about, "anyOf": [narrow, {"type": "string", "pattern": r"\$\{"}]}
    return {name: _or_variable(value) for name, value in part.items()}

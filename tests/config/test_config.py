"""The configuration: what the sample promises, and that every error is reported with its line."""

from __future__ import annotations

import json
import re
from itertools import pairwise, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from qoemon.config.config import Config, load, schema
from qoemon.config.plan import alert_rules, core_plan
from qoemon.config.sections import names as naming
from qoemon.config.sections.mqtt import MAX_PACKET_BYTES
from qoemon.config.yaml.errors import ConfigError
from qoemon.inputs.mqtt.options import broker_options
from qoemon.net.mqtt.secret_file import current_secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qoemon.config.yaml.errors import ConfigProblem

SAMPLE = Path(__file__).parents[2] / "config" / "qoemon.yaml"

WORD = "hunter2"
"""Stands for a secret."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "qoemon.yaml"


def problems(file: Path, text: str, env: Mapping[str, str] | None = None) -> tuple[ConfigProblem, ...]:
    """The errors that load finds in this text."""
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        load(file, env or {})
    return raised.value.problems


def loaded(file: Path, text: str, env: Mapping[str, str] | None = None) -> Config:
    file.write_text(text, encoding="utf-8")
    return load(file, env or {})


def test_sample_equals_the_defaults() -> None:
    assert load(SAMPLE, {}) == Config()


def test_message_may_be_just_smaller_than_a_packet(file: Path) -> None:
    assert loaded(file, "limits: {message_bytes: 16777215}").limits.message_bytes == MAX_PACKET_BYTES - 1


def test_sample_shows_every_key() -> None:
    parts = {"": Config.model_json_schema(), **Config.model_json_schema()["$defs"]}
    keys = {key for part in parts.values() for key in part.get("properties", {})}
    assert len(keys) > 40
    words = set(re.findall(r"([a-z_0-9]+):", SAMPLE.read_text()))
    assert keys - words == set()


def test_every_key_of_the_sample_has_a_comment() -> None:
    """The second service only repeats the first."""
    text = SAMPLE.read_text()
    lines = (text[: text.index("  web:")] + text[text.index("\nhttp:") :]).splitlines()
    for before, line in pairwise(lines):
        if re.match(r" +[a-z_]+: \S", line):
            assert before.lstrip().startswith("#"), line


def test_sample_fits_the_schema_for_editors() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.validate(yaml.safe_load(SAMPLE.read_text()), schema(), jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    "text",
    ["sesions: {}", "mqtt: {port: 0}", "sessions: {tick: 10}", "windows: [90]", "services: {A b: {}}", "qos: 2"],
)
def test_schema_for_editors_refuses_what_load_refuses(file: Path, text: str) -> None:
    problems(file, text)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(text), schema(), jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    "text", ["mqtt: {port: '${PORT}'}", "sessions: {tick: '${TICK}'}", "log: {level: '${LEVEL}'}"]
)
def test_schema_for_editors_takes_variables(file: Path, text: str) -> None:
    jsonschema.validate(yaml.safe_load(text), schema(), jsonschema.Draft202012Validator)
    config = loaded(file, text, {"PORT": "1884", "TICK": "5s", "LEVEL": "debug"})
    assert (config.mqtt.port, config.sessions.tick_s, config.log.level) != (1883, 10, "info")


def test_hosts_without_a_port_have_that_of_port(file: Path) -> None:
    hosts = loaded(file, "mqtt: {hosts: [a, 'b:2', '[::1]', '[::2]:3', 10.0.0.1], port: 9}").mqtt
    assert hosts.addresses == (("a", 9), ("b", 2), ("::1", 9), ("::2", 3), ("10.0.0.1", 9))
    broker = broker_options(Config(mqtt=hosts).mqtt)
    assert broker.addresses == "a:9 or b:2 or [::1]:9 or [::2]:3 or 10.0.0.1:9"
    assert str(broker.next_address()) == "b:2"
    assert broker_options(Config().mqtt).addresses == "localhost:1883"


def test_every_key_has_a_description_and_every_default_is_in_the_schema() -> None:
    for part in (Config.model_json_schema(), *Config.model_json_schema()["$defs"].values()):
        for name, key in part.get("properties", {}).items():
            about = key if "$ref" not in key else Config.model_json_schema()["$defs"][key["$ref"].split("/")[-1]]
            assert about["description"], name
            assert ("default" in key) != (name in part.get("required", [])), name


def test_configuration_is_frozen() -> None:
    with pytest.raises(ValidationError):
        Config().http.port = 1  # type: ignore[misc]


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "{}", "\ufeff{}"])
def test_empty_file_means_the_defaults(file: Path, text: str) -> None:
    assert loaded(file, text) == Config()


SERVICE = "services: {v: {mapping: video-stall, theta: 0.3, "

# text, line, key, part of the message
CASES: list[tuple[str, int, str, str]] = [
    # keys and kinds
    ("mqtt:\n  prot: 1883", 2, "mqtt.prot", 'unknown key, expected one of host, port, .* did you mean "port"\\?'),
    ("sesions: {}", 1, "sesions", 'did you mean "sessions"'),
    ("mqtt:\n  host: a\n  host: b", 3, "mqtt.host", "the key a second time, expected it only in line 2"),
    ("mqtt: {}\nmqtt: {}", 2, "mqtt", "a second time"),
    ("[a]: b", 1, "", "a key that is not text"),
    (
        "services:\n  v:\n    theta: 0.3",
        2,
        "services.v.mapping",
        'found nothing, expected "video-stall"',
    ),
    ("mqtt: 5", 1, "mqtt", "expected a mapping"),
    ("mqtt:\n", 1, "mqtt", "found nothing, expected a mapping, or .*; leave the key out"),
    ("http:\n", 1, "http", "found nothing, expected a mapping; leave the key out"),
    ("mqtt: {port: x}", 1, "mqtt.port", 'found "x", expected a whole number from 1 to 65535'),
    ('mqtt: {port: "1883"}', 1, "mqtt.port", 'found "1883", expected a whole number .*; take the quotes away'),
    ("mqtt:\n  port: 70000", 2, "mqtt.port", "found 70000, expected a whole number from 1 to 65535"),
    ("mqtt: {port: true}", 1, "mqtt.port", "found true, expected a whole number"),
    ("mqtt: {version: 5}", 1, "mqtt.version", 'found 5, expected "5" or "3.1.1"; put it in quotes'),
    ("mqtt: {version: 3.1}", 1, "mqtt.version", 'found 3.1, expected "5" or "3.1.1"'),
    ("mqtt: {qos: 2}", 1, "mqtt.qos", "found 2, expected 0 or 1"),
    ("mqtt: {qos: true}", 1, "mqtt.qos", "found true, expected 0 or 1"),
    ("mqtt: {username: 12}", 1, "mqtt.username", "found 12, expected text that is not empty; put it in quotes"),
    ("mqtt: {client_id: ''}", 1, "mqtt.client_id", 'found "", expected text that is not empty'),
    ("mqtt: {host: 'tcp://a'}", 1, "mqtt.host", "expected a host name or an IP address alone"),
    ("mqtt: {hosts: localhost}", 1, "mqtt.hosts", "expected a list"),
    ("mqtt: {hosts: [a, 'tcp://b']}", 1, "mqtt.hosts.1", "a scheme is not needed"),
    ("mqtt: {hosts: [a, '']}", 1, "mqtt.hosts.1", "expected an address such as"),
    ("mqtt: {hosts: ['::1']}", 1, "mqtt.hosts.0", "an IPv6 address needs brackets"),
    ("mqtt: {hosts: ['[::1']}", 1, "mqtt.hosts.0", "expected an address such as"),
    ("mqtt: {hosts: ['[::1]1883']}", 1, "mqtt.hosts.0", "expected an address such as"),
    ("mqtt: {hosts: ['[a]:1883']}", 1, "mqtt.hosts.0", "expected an address such as"),
    ("mqtt: {hosts: ['a:']}", 1, "mqtt.hosts.0", "expected an address such as"),
    ("mqtt: {hosts: ['a:65536']}", 1, "mqtt.hosts.0", "expected an address such as"),
    ("mqtt:\n  host: a\n  hosts: [b]", 2, "mqtt.host", "expected either host or hosts"),
    ("mqtt:\n  hosts:\n    - a\n    - a:1883", 4, "mqtt.hosts.1", "expected each address once"),
    ("mqtt: {transport: ws}", 1, "mqtt.transport", 'found "ws", expected "tcp" or "websockets"'),
    (
        "mqtt: {transport: websockets, websocket_path: mqtt}",
        1,
        "mqtt.websocket_path",
        "expected a path such as /mqtt",
    ),
    (
        "mqtt: {transport: websockets, websocket_path: /a b}",
        1,
        "mqtt.websocket_path",
        "expected a path such as /mqtt",
    ),
    (
        "mqtt: {transport: websockets, websocket_path: '/#'}",
        1,
        "mqtt.websocket_path",
        "expected a path such as /mqtt",
    ),
    ("mqtt:\n  websocket_path: /ws", 2, "mqtt.transport", "expected websockets, as there is a websocket_path"),
    ("http: {host: ''}", 1, "http.host", "expected a host name or an IP address"),
    ("http: {url: 'qoemon:9877'}", 1, "http.url", "expected a URL such as https://"),
    ("http: {url: 'ftp://qoemon'}", 1, "http.url", "expected a URL such as https://"),
    (
        "http: {url: 'http://me:hunter2@qoemon'}",
        1,
        "http.url",
        "a value that is not shown, expected a URL without user",
    ),
    ("http: {url: 'http://qoemon/?a=b'}", 1, "http.url", "without a query"),
    ("http: {url: 9877}", 1, "http.url", "expected text"),
    ("http: {port: -1}", 1, "http.port", "found -1, expected a whole number from 0 to 65535"),
    (
        "log: {level: warn}",
        1,
        "log.level",
        'expected "debug", "info", "warning" or "error"; did you mean "warning"',
    ),
    ("sessions: {clock: arival}", 1, "sessions.clock", 'did you mean "arrival"'),
    ("labels: x", 1, "labels", "found text, expected a list"),
    # durations and sizes
    ("sessions: {tick: 10}", 1, "sessions.tick", 'found 10, expected a duration with its unit.*did you mean "10s"'),
    ("sessions: {tick: 10:30}", 1, "sessions.tick", 'found "10:30", expected a duration'),
    ("sessions: {tick: on}", 1, "sessions.tick", 'found "on", expected a duration'),
    ("sessions: {tick: true}", 1, "sessions.tick", "found true, expected a duration"),
    ("sessions: {tick: 1.5h}", 1, "sessions.tick", 'found "1.5h", expected a duration'),
    ("sessions: {tick: 0s}", 1, "sessions.tick", "expected a duration above 0"),
    ("sessions: {tick: 500ms}", 1, "sessions.tick", "expected a duration of whole seconds"),
    ("mqtt: {keepalive: 1d}", 1, "mqtt.keepalive", "expected at most 18h12m15s"),
    ("mqtt: {session_expiry: 50000d}", 1, "mqtt.session_expiry", "expected at most"),
    ("limits: {inbox_bytes: 64MB}", 1, "limits.inbox_bytes", 'found "64MB", expected a size such as "64MiB"'),
    ("limits: {inbox_bytes: true}", 1, "limits.inbox_bytes", "found true, expected a size"),
    ("limits: {message_bytes: 0B}", 1, "limits.message_bytes", "above 0"),
    ("limits: {group_idle: 7}", 1, "limits.group_idle", 'did you mean "7s"?'),
    ("limits: {sessions: 0}", 1, "limits.sessions", "found 0, expected a whole number from 1"),
    # rules between keys
    ("sessions:\n  tick: 7s", 2, "sessions.tick", r"expected a divisor of rating_interval \(1m\)"),
    (
        "sessions:\n  rating_interval: 6s\nwindows: [6s]",
        2,
        "sessions.tick",
        r'the default "10s", expected a divisor',
    ),
    ("sessions: {timeout: 30s}", 1, "sessions.timeout", "expected at least rating_interval"),
    ("sessions: {min_active: 1m}", 1, "sessions.min_active", "expected less than rating_interval"),
    ("windows: [1m, 90s]", 1, "windows", r'found \["1m", "90s"\], expected multiples of .*, unlike 1m30s'),
    ("windows: [60s, 1m]", 1, "windows", r"each window once \(1m is repeated\)"),
    ("windows: [5m]", 1, "windows", r"rating_interval \(1m\) among them"),
    ("windows: []", 1, "windows", r"rating_interval \(1m\) among them"),
    ("sessions:\n  rating_interval: 2m", 2, "windows", r'the default \["1m", "5m", "1h"\], expected'),
    ("quantiles: [0.5, 1]", 1, "quantiles.1", "found 1, expected a number above 0 and below 1"),
    ("quantiles:\n  - 0.5\n  - 0.5", 3, "quantiles.1", "found 0.5, expected each value once"),
    ("quantiles: [.nan]", 1, "quantiles.0", 'found ".nan", expected a number'),
    ("mqtt: {reconnect: {min: 2m}}", 1, "mqtt.reconnect.min", r"expected at most max \(1m\)"),
    ("limits: {inbox_bytes: 1KiB}", 1, "limits.inbox_bytes", "expected at least message_bytes"),
    (
        "limits:\n  message_bytes: 16MiB\n",
        2,
        "limits.message_bytes",
        'found "16MiB", expected less than 16MiB: the largest packet',
    ),
    ("mqtt: {password: x}", 1, "mqtt.username", "found nothing, expected the user name"),
    ("mqtt: {tls: {ca_file: nowhere.pem}}", 1, "mqtt.tls.ca_file", "can be read; no such file"),
    # services
    (
        "services:\n  v:\n    mapping: media-stall\n    theta: 0.3",
        3,
        "services.v.quality",
        "found nothing, expected a mapping of measures with the mapping media-stall",
    ),
    (
        "services: {v: {mapping: media-stall, quality: logistik, inputs: [vmaf], theta: 0.3}}",
        1,
        "services.v.quality",
        'expected voice-g107 or .* did you mean "logistic"',
    ),
    (
        "services: {v: {mapping: media-stall, quality: logistic, theta: 0.3}}",
        1,
        "services.v.mapping",
        "logistic takes one input, got 0",
    ),
    (
        "services: {v: {mapping: media-stall, quality: iqx, inputs: [response_s], theta: 0.3}}",
        1,
        "services.v.mapping",
        "media-stall takes a mapping of measures as that of quality, iqx has response_s",
    ),
    (
        (
            "services:\n  v: {mapping: media-stall, quality: iqx, inputs: [q], theta: 0.3, "
            "parameters: {qualit_beta: 1}}"
        ),
        2,
        "services.v.parameters.qualit_beta",
        "expected one of time, count, floor, quality_scale, quality_beta, quality_floor.* did you mean",
    ),
    (SERVICE + "quality: logistic}}", 1, "services.v.quality", "media-stall, and with no other"),
    ("services: {}", 1, "services", "found an empty mapping, expected a mapping of at least one"),
    (
        "services:\n  Live TV: {mapping: web-iqx, theta: 0.25}",
        2,
        "services.Live TV",
        'found "Live TV", expected a name of a-z',
    ),
    (
        SERVICE + "ratings: binomial}}",
        1,
        "services.v.ratings",
        'found "binomial", expected beta or empirical, as the mapping',
    ),
    (SERVICE + "theta_band: [0.3]}}", 1, "services.v.theta_band", r"found \[0.3\], expected a list of 2"),
    (SERVICE + "theta_band: [0.1, 0.2, 0.3]}}", 1, "services.v.theta_band", "expected a list of 2"),
    (SERVICE + "theta_band: [0.3, 0.1]}}", 1, "services.v.theta_band", "two different numbers, the lower first"),
    (SERVICE + "theta_band: [0.3, 0.3]}}", 1, "services.v.theta_band", "two different numbers"),
    (SERVICE + "theta_band: [0.4, 0.5]}}", 1, "services.v.theta_band", "a band around theta"),
    (SERVICE + "theta_band: [0, 0.5]}}", 1, "services.v.theta_band.0", "found 0, expected a number above 0"),
    (SERVICE + "parameters: {tme: 1}}}", 1, "services.v.parameters.tme", 'one of .*; did you mean "time"'),
    (SERVICE + "parameters: {time: 1e999}}}", 1, "services.v.parameters.time", "expected a number"),
    (SERVICE + "scale: {good: 2}}}", 1, "services.v.scale.poor", "expected low <= poor < good <= high"),
    (
        SERVICE + "scale: {high: 7}}}",
        1,
        "services.v.scale.high",
        "found 7, expected 5, as in the scale of video-stall",
    ),
    (
        "services:\n  v:\n    mapping: video-stal\n    theta: 0.3",
        3,
        "services.v.mapping",
        'did you mean "video-stall"',
    ),
    (
        "services:\n  v:\n    mapping: video-stall\n    theta: 1.3",
        4,
        "services.v.theta",
        "found 1.3, expected a number above 0 and below 1$",
    ),
    # labels and topics
    ("labels: [a-b]", 1, "labels.0", 'found "a-b", expected a label name'),
    ("labels: [__a]", 1, "labels.0", "expected a label name"),
    ("labels: [isp, le]", 1, "labels.1", "other than le, which qoemon or Prometheus uses"),
    ("labels: [isp, isp]", 1, "labels.1", "expected each value once"),
    ("labels: [cdn]", 1, "labels.0", "not in mqtt.topics.0 as well"),
    ("mqtt: {topics: []}", 1, "mqtt.topics", "expected a list of at least one"),
    ("mqtt: {topics: [5]}", 1, "mqtt.topics.0", "found 5, expected text or a mapping"),
    ("mqtt: {topics: [{service: web}]}", 1, "mqtt.topics.0.template", "found nothing, expected text"),
    ("mqtt:\n  topics:\n    - a/{region}", 3, "mqtt.topics.0", "a level {service}, or the key service"),
    (
        "mqtt: {topics: [{template: 'a/{service}', service: web}]}",
        1,
        "mqtt.topics.0.service",
        "expected no service",
    ),
    (
        "mqtt: {topics: [{template: a, service: wbe}]}",
        1,
        "mqtt.topics.0.service",
        "one of the services, video, web",
    ),
    (
        "mqtt:\n  topics: ['x/{service}', '{service}/x']",
        2,
        "mqtt.topics.1",
        "any topic that matches topics.0 as well",
    ),
    ("mqtt: {topics: ['$share/g/{service}']}", 1, "mqtt.topics.0", "no shared subscription: .*NATS"),
    ("mqtt: {topics: ['$SYS/{service}']}", 1, "mqtt.topics.0", "belong to the broker"),
    ("mqtt: {topics: ['/']}", 1, "mqtt.topics.0", "without empty levels"),
    ("mqtt: {topics: ['//{service}']}", 1, "mqtt.topics.0", "without empty levels"),
    ("mqtt: {topics: ['/{service}/']}", 1, "mqtt.topics.0", "without empty levels"),
    (
        "mqtt:\n  topics: ['/{service}/x', '{service}/x', '{a}/{service}/x']",
        2,
        "mqtt.topics.2",
        "any topic that matches topics.0 as well",
    ),
    ("mqtt: {topics: ['/{service}/{a}/{a}']}", 1, "mqtt.topics.0", "each {name} at most once"),
    ("mqtt: {topics: ['{service}/']}", 1, "mqtt.topics.0", "without empty levels"),
    ("mqtt: {topics: ['a//{service}']}", 1, "mqtt.topics.0", "without empty levels"),
    ("mqtt: {topics: ['']}", 1, "mqtt.topics.0", "without empty levels"),
    ("mqtt: {topics: ['{service}/a+']}", 1, "mqtt.topics.0", "no wildcards but . as a whole level"),
    (
        "mqtt:\n  topics: ['{service}/+', '{service}/x']",
        2,
        "mqtt.topics.1",
        "any topic that matches topics.0 as well",
    ),
    ("notify: {mqtt: {topic: 'a/+/{alert}/{service}/{groups}'}}", 1, "notify.mqtt.topic", "without wildcards"),
    (
        "roll_ups:\n  - [cdn]\n  - [region, isp]",
        3,
        "roll_ups.1.1",
        'found "isp", expected one of the labels region, cdn',
    ),
    ("roll_ups: [[cdn, region]]", 1, "roll_ups.0", "fewer labels than a group has"),
    ("roll_ups: [[cdn, cdn]]", 1, "roll_ups.0.1", "each label once"),
    ("roll_ups: [[], [cdn], []]", 1, "roll_ups.2", "each set of labels once"),
    (
        "alerts:\n  - {name: a, threshold: .3, recovery: .2,\n     by: [region, isp]}",
        3,
        "alerts.0.by.1",
        'found "isp", expected one of the labels cdn, region',
    ),
    ("alerts: [{name: a, threshold: .3, recovery: .2, by: [cdn, cdn]}]", 1, "alerts.0.by.1", "each label once"),
    (
        "alerts: [{name: a, threshold: .3, recovery: .2, by: [cdn], annotations: {s: '{region}'}}]",
        1,
        "alerts.0.annotations.s",
        "{region}",
    ),
    ("labels: [by]", 1, "labels.0", "other than by"),
    ("mqtt: {topics: ['{service}/#']}", 1, "mqtt.topics.0", "wildcards"),
    ("mqtt: {topics: ['{service}/a{b}']}", 1, "mqtt.topics.0", "either literal or one {name}"),
    ("mqtt: {topics: ['{service}/{}']}", 1, "mqtt.topics.0", "expected a label name"),
    ("mqtt: {topics: ['{service}/{job}']}", 1, "mqtt.topics.0", "other than job"),
    ("mqtt: {topics: ['{service}/{a}/{a}']}", 1, "mqtt.topics.0", "each {name} at most once"),
    ('mqtt: {topics: ["{service}/\\0"]}', 1, "mqtt.topics.0", "found NUL"),
    # links
    ("http:\n  links:\n    A: 'ftp://a/{region}'", 3, "http.links.A", "an http or https URL"),
    ("http:\n  links:\n    A: 'javascript:alert({region})'", 3, "http.links.A", "an http or https URL"),
    ("http:\n  links:\n    A: 'https://{region}/'", 3, "http.links.A", "behind its host"),
    ("http:\n  links:\n    A: 'https://a.{region}/'", 3, "http.links.A", "behind its host"),
    ("http:\n  links:\n    A: 'https://a:{region}/'", 3, "http.links.A", "behind its host"),
    ("http:\n  links:\n    A: 'https://me:word@a/{region}'", 3, "http.links.A", "without user"),
    ("http:\n  links:\n    A: 'https://a/{zone}'", 3, "http.links.A", "only the names region, cdn, service.*zone"),
    ("http:\n  links:\n    A: 'https://a/{region.x}'", 3, "http.links.A", "wherever there are braces"),
    # the file
    ("mqtt:\n  host: a\n   port: 1", 3, "", "found invalid YAML: mapping values are not allowed here; look"),
    ("mqtt: {", 1, "", "found invalid YAML: expected the node content, but found .* that begins in line 1; look"),
    ("- a", 1, "", "found a list, expected a mapping"),
    ("hello", 1, "", "found text, expected a mapping"),
    ("http: {port: &x 1}\nmqtt:\n  host: *x", 3, "mqtt.host", "a YAML alias"),
    ("mqtt:\n  host: !!str a", 2, "mqtt.host", "a YAML tag"),
    ("mqtt: {}\n---\nlog: {}", 2, "", "a second document"),
    ("log: {}\nmqtt: " + "[" * 30, 2, "", "more than 20 levels"),
    ("log: {}\n# \a", 2, "", "found invalid YAML: the character U\\+0007"),
    ('mqtt:\n  host: "\\ud800"', 2, "mqtt.host", "found NUL or half a character"),
    # inputs
    (
        "log: {}\nmqtt: null",
        2,
        "mqtt",
        "found nothing, expected a mapping, or a section collector: there",
    ),
    (
        "mqtt: null\ncollector: {}\nnotify:\n  mqtt: {}",
        4,
        "notify.mqtt",
        "expected null: alerts go to the broker, and mqtt is null",
    ),
    ("collector:\n  startup_service: page", 2, "collector.startup_service", "one of the services, video, web"),
    ("collector:\n  startup_service: video", 2, "collector.startup_service", "a service whose mapping rates resp"),
    # engine
    (
        "engine:\n  kind: spark\n  checkpoint: /c",
        2,
        "kafka",
        "a mapping with brokers: engine.kind is spark, which reads",
    ),
    (
        "engine:\n  kind: spark\nkafka: {brokers: ['k:9092']}",
        2,
        "engine.checkpoint",
        "a path or URL that all machines of the cluster can write to, as engine.kind is spark",
    ),
    ("engine: {kind: workers}", 1, "workers", "2 or more, as engine.kind is workers"),
    ("engine: {kind: local}\nworkers: 2", 2, "workers", "1, as engine.kind is local"),
    ("engine: {kind: flink}", 1, "engine.kind", '"local", "workers" or "spark"'),
    ("engine: {shards: 0}", 1, "engine.shards", "1 to 4096"),
    ("engine: {checkpoint: here}", 1, "engine.checkpoint", "an absolute path or a URL that all machines"),
    ("engine: {checkpoint: 's3a://'}", 1, "engine.checkpoint", "an absolute path or a URL that all machines"),
    ("kafka: {brokers: []}", 1, "kafka.brokers", "at least one"),
    ("kafka: {brokers: [kafka1]}", 1, "kafka.brokers.0", "HOST:PORT, such as kafka1:9092"),
    ("kafka: {brokers: ['k:9092'], topic: 'a b'}", 1, "kafka.topic", "the name of a topic: 1 to 249 letters"),
    ("kafka: {brokers: ['k:9092'], client: {acks: 0}}", 1, "kafka.client.acks", "qoemon sets this option itself"),
    # variables
    ("mqtt:\n  host: ${NOWHERE}", 2, "mqtt.host", r"\${NOWHERE}, a variable that is not set"),
    ("mqtt:\n  host: ${}", 2, "mqtt.host", r'"\${" without a name'),
    ("mqtt:\n  host: ${HOME", 2, "mqtt.host", r"without a name.*write \$\${"),
]


@pytest.mark.parametrize(("text", "line", "key", "words"), CASES)
def test_error_has_its_line_and_key(file: Path, text: str, line: int, key: str, words: str) -> None:
    (found,) = problems(file, text)
    assert (found.line, found.key) == (line, key)
    assert re.search(words, str(found)), found
    assert str(found).startswith(f"{file}:{line}: ")


def test_all_errors_are_reported_at_once_in_the_order_of_the_lines(file: Path) -> None:
    """Whether of the YAML, of a key alone, of keys together or across sections, and none that only follows."""
    text = """\
mqtt:
  host: ${NOWHERE}
  host: twice
  port: 0
  tls: {key_file: nowhere}
  topics: [a/b]
sessions:
  tick: 7s
  timeout: 10s
  colour: red
windows: [1m, 90s]
services:
  video: {mapping: video-stall, theta: 2, theta_band: [0.2, 0.1]}
labels: [le]
"""
    found = [(problem.line, problem.key) for problem in problems(file, text)]
    assert found == [
        (2, "mqtt.host"),
        (3, "mqtt.host"),
        (4, "mqtt.port"),
        (5, "mqtt.tls.key_file"),
        (6, "mqtt.topics.0"),
        (8, "sessions.tick"),
        (9, "sessions.timeout"),
        (10, "sessions.colour"),
        (11, "windows"),
        (13, "services.video.theta"),
        (13, "services.video.theta_band"),
        (14, "labels.0"),
    ]


def test_no_error_follows_from_another(file: Path) -> None:
    """A wrong rating_interval is one error, not one more for every key that is measured by it."""
    text = "sessions: {rating_interval: 90, tick: 9s, timeout: 90s}\nwindows: [90s]"
    assert [problem.key for problem in problems(file, text)] == ["sessions.rating_interval"]


def test_config_error_has_a_line_for_each_problem(file: Path) -> None:
    file.write_text("a: 1\nb: 2")
    with pytest.raises(ConfigError) as raised:
        load(file, {})
    first, second = str(raised.value).splitlines()
    assert first.startswith(f"{file}:1: a: found an unknown key, expected one of mqtt, collector, labels,")
    assert second.startswith(f"{file}:2: b: ")


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "no such file"), (b"a: \xff", "not UTF-8 in line 1"), (b"#" * 2**20 + b"##", "more than 1 MiB")],
)
def test_file_that_cannot_be_read_is_an_error(file: Path, content: bytes | None, words: str) -> None:
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=words) as raised:
        load(file, {})
    assert raised.value.problems[0].line is None


def test_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="found is a directory, expected a YAML file"):
        load(tmp_path, {})


def test_windows_are_in_ascending_order(file: Path) -> None:
    assert loaded(file, "windows: [1h, 60s, 5m]").windows_s == (60, 300, 3600)


def test_services_replace_the_defaults(file: Path) -> None:
    config = loaded(file, "services: {radio: {mapping: video-stall, theta: 0.2}}")
    assert list(config.services) == ["radio"]


@pytest.mark.parametrize(
    ("text", "roll_ups"),
    [
        ("", [("region",), ("cdn",), ()]),
        ("roll_ups: [[], [cdn]]", [(), ("cdn",)]),
        ("roll_ups: []", []),
        ("mqtt: {topics: ['q/{service}/{cdn}']}", [()]),
        ("mqtt: {topics: ['q/{service}']}", []),
        ("{labels: [isp], roll_ups: [[isp, region]]}", [("region", "isp")]),
    ],
)
def test_roll_ups_are_single_labels_and_the_whole_service_by_default(
    file: Path, text: str, roll_ups: list[tuple[str, ...]]
) -> None:
    assert list(core_plan(loaded(file, text)).roll_ups) == roll_ups


@pytest.mark.parametrize(
    ("by", "of_rule"),
    [
        ("null", None),
        ("[]", ()),
        ("[cdn]", ("cdn",)),
        ("[isp, region]", ("region", "isp")),
        ("[cdn, isp, region]", None),
    ],
)
def test_sums_of_a_rule_have_their_labels_in_the_order_of_groups(
    file: Path, by: str, of_rule: tuple[str, ...] | None
) -> None:
    rule = f"{{name: a, service: video, threshold: .3, recovery: .2, by: {by}}}"
    (found,) = alert_rules(loaded(file, f"{{labels: [isp], alerts: [{rule}]}}"))
    assert found.by == of_rule


def test_topics_may_begin_with_a_slash(file: Path) -> None:
    config = loaded(file, "mqtt: {topics: ['/qoe/v1/{service}/{region}/{cdn}', 'qoe/v1/{service}/{region}/{cdn}']}")
    assert [topic.parsed.filter for topic in config.mqtt.topics] == ["/qoe/v1/+/+/+", "qoe/v1/+/+/+"]
    alerts = "/alerts/{alert}/{service}/{groups}"
    told = loaded(file, f"notify: {{mqtt: {{topic: '{alerts}'}}}}").notify.mqtt
    assert told is not None
    assert told.topic == alerts


def test_topic_may_name_its_service(file: Path) -> None:
    config = loaded(file, "mqtt: {topics: [{template: 'a/{region}', service: web}, 'b/{service}']}")
    assert config.mqtt.topics[0].parsed.match("a/eu") == {"service": "web", "region": "eu"}
    assert config.mqtt.topics[1].parsed.match("b/video") == {"service": "video"}


def test_variables_are_put_in(file: Path) -> None:
    text = "mqtt: {host: '${A}.${B}', port: '${PORT}', username: u, password: 'pa$$w$rd$${A}'}"
    config = loaded(file, text, {"A": "broker", "B": "${A}", "PORT": "1884"})
    assert (config.mqtt.host, config.mqtt.port) == ("broker.${A}", 1884)
    assert password_of(config) == "pa$$w$rd${A}"


def test_what_variables_hold_is_never_shown(file: Path) -> None:
    text = "mqtt: {port: '${P}', password_file: '${P}', tls: '${P}', topics: ['${P}/+']}\nlabels: ['x${P}-']"
    found = "\n".join(map(str, problems(file, text, {"P": WORD})))
    assert found.count('found "${P}') == 3
    assert WORD not in found


RULE = "alerts: [{name: a, %s}]"


@pytest.mark.parametrize(
    ("keys", "key"),
    [
        ("metric: absent", "alerts.0.for"),
        ("metric: absent, for: 2m, threshold: 3", "alerts.0.threshold"),
        ("metric: absent, for: 2m, recovery: 3", "alerts.0.recovery"),
        ("metric: absent, for: 2m, window: 5m", "alerts.0.window"),
        ("metric: absent, for: 2m, by: [region]", "alerts.0.by"),
        ("metric: absent, for: 2m, by: [], groups: {region: eu}", "alerts.0.groups"),
        ("metric: drop, recovery: 0.2", "alerts.0.threshold"),
        ("metric: drop, threshold: 0.4", "alerts.0.recovery"),
        ("metric: drop, threshold: 1.5, recovery: 0.2", "alerts.0.threshold"),
        ("metric: drop, threshold: 0.2, recovery: 0.4", "alerts.0.threshold"),
        ("recovery: 0.1", "alerts.0.threshold"),
    ],
)
def test_rules_on_missing_sessions_have_keys_of_their_own(file: Path, keys: str, key: str) -> None:
    assert key in {problem.key for problem in problems(file, RULE % keys)}


def test_rules_on_missing_sessions_become_those_of_the_core(file: Path) -> None:
    rules = alert_rules(loaded(file, RULE % "metric: absent, for: 2m, by: [], service: video"))
    assert [(rule.threshold, rule.recovery, rule.for_s, rule.whole) for rule in rules] == [(120, 0, 0, True)]
    rules = alert_rules(
        loaded(file, RULE % "metric: drop, threshold: 0.4, recovery: 0.2, for: 1m, groups: {region: eu}")
    )
    assert [(rule.service, rule.whole) for rule in rules] == [("video", False), ("web", False)]


def test_a_rule_on_the_model_has_no_keys_but_texts(file: Path) -> None:
    text = "metric: model, annotations: {s: '{way} {since} {bias:.2f} {spread:.1f} {users} {days}'}"
    video, web = alert_rules(loaded(file, RULE % text))
    assert (video.service, web.service) == ("video", "web")
    assert (video.threshold, video.recovery, video.for_s, video.min_sessions) == (1, 1, 0, 0)
    assert (video.by, video.confident, video.roll_up) == ((), False, None)
    for name, value in {
        "threshold": 1,
        "recovery": 1,
        "window": "5m",
        "for": "1m",
        "groups": "{region: eu}",
        "by": "[region]",
        "min_sessions": 10,
        "confidence": "false",
        "theta": "all",
    }.items():
        found = problems(file, RULE % f"{text}, {name}: {value}")
        assert [problem.key for problem in found] == [f"alerts.0.{name}"]


def test_only_a_rule_on_the_model_names_its_figures(file: Path) -> None:
    for name in ("way", "since", "bias", "spread", "days"):
        text = f"metric: pow, threshold: 0.2, recovery: 0.1, annotations: {{s: '{{{name}}}'}}"
        assert [problem.key for problem in problems(file, RULE % text)] == ["alerts.0.annotations.s"]


def password_of(config: Config) -> str | None:
    """What an attempt to connect would use."""
    broker = broker_options(config.mqtt)
    return current_secret(broker.password, "password_file", broker.password_file)


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_password_comes_from_a_file_beside_the_configuration(file: Path, end: str) -> None:
    (file.parent / "word").write_bytes(f"hunter2 {end}".encode())
    config = loaded(file, "mqtt: {username: u, password_file: word}")
    assert password_of(config) == WORD + " "


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "no such file"), (b"", "not an empty one"), (b"\xffhunter2", "not UTF-8")],
)
def test_password_file_without_a_password_is_an_error(file: Path, content: bytes | None, words: str) -> None:
    if content is not None:
        (file.parent / "word").write_bytes(content)
    found = problems(file, "mqtt:\n  username: u\n  password_file: word")
    assert [(problem.line, problem.key) for problem in found] == [(3, "mqtt.password_file")]
    assert words in str(found[0])
    assert WORD not in str(found[0])


SECRETS: list[tuple[str, str]] = [
    ("mqtt: {username: u, password: hunter2, password_file: word}", "mqtt.password"),
    ("mqtt: {password: hunter2}", "mqtt.username"),
    ("mqtt: {password: [hunter2]}", "mqtt.password"),
    ("mqtt: {password: {hunter2: hunter2}}", "mqtt.password"),
    ("mqtt: {password: 1234567}", "mqtt.password"),
    ("mqtt: {pasword: hunter2}", "mqtt.pasword"),
    ("mqtt: hunter2", "mqtt"),
    ("mqtt: [hunter2]", "mqtt"),
    ("hunter2", ""),
    ("mqtt: {password: *hunter2}", "mqtt.password"),
    ("mqtt: {password: !hunter2 x}", "mqtt.password"),
    ("mqtt: {password: !hunter2!a x}", ""),
    ("mqtt: {password: '${hunter2'}", "mqtt.password"),
    ("mqtt: {password: 'hunter2}", ""),
    ("mqtt:\n  password: hunter2: x", ""),
    ("mqtt: {tls: {key_password: hunter2}}", "mqtt.tls.key_password"),
    ("mqtt: {tls: hunter2}", "mqtt.tls"),
]


@pytest.mark.parametrize(("text", "key"), SECRETS)
def test_no_error_shows_a_secret(file: Path, text: str, key: str) -> None:
    (file.parent / "word").write_text(WORD)
    found = problems(file, text)
    assert key in {problem.key for problem in found}
    shown = repr(found) + str(ConfigError(found))
    assert WORD not in shown
    assert "1234567" not in shown


def test_certificate_and_key_come_together(file: Path) -> None:
    for name in ("a.pem", "a.key"):
        (file.parent / name).touch()
    (found,) = problems(file, "mqtt:\n  tls:\n    cert_file: a.pem")
    assert (found.line, found.key) == (3, "mqtt.tls.key_file")
    tls = loaded(file, "mqtt: {tls: {cert_file: a.pem, key_file: a.key, key_password: x}}").mqtt.tls
    assert tls is not None
    assert (tls.cert_file, tls.key_file) == (file.parent / "a.pem", file.parent / "a.key")
    assert tls.key_password is not None
    assert tls.key_password.get_secret_value() == "x"


def test_configuration_never_shows_its_secrets(file: Path) -> None:
    (file.parent / "a.pem").touch()
    (file.parent / "word").write_text(WORD)
    tls = "tls: {cert_file: a.pem, key_file: a.pem, key_password: hunter2}"
    for password in ("password: hunter2", "password_file: word"):
        config = loaded(file, f"mqtt: {{username: u, {password}, {tls}}}")
        assert password_of(config) == WORD
        for shown in (repr(config), str(config), str(config.model_dump()), config.model_dump_json()):
            assert WORD not in shown


def test_message_cannot_disturb_the_terminal(file: Path) -> None:
    (found,) = problems(file, '"a\\e[31m\\n": 1')
    assert str(found).isprintable()


def outcome(file: Path) -> Config | ConfigError:
    """The result of load; any other exception than ConfigError fails the test."""
    try:
        return load(file, {"A": "1"})
    except ConfigError as error:
        return error


keys = st.sampled_from(
    [*Config.model_json_schema()["properties"], "template", "video", "theta", "tick", "a", "${A}"]
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["10s", "${A}", "{a}"]),
)
nested = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys | st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


def with_one_changed(data: Any, where: list[int], value: object) -> Any:
    """The defaults with one value, somewhere down the way, replaced."""
    if not where or not isinstance(data, dict | list) or not data:
        return value
    parts = list(data.items()) if isinstance(data, dict) else list(enumerate(data))
    name, part = parts[where[0] % len(parts)]
    changed = data.copy()
    changed[name] = with_one_changed(part, where[1:], value)
    return changed


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(where=st.lists(st.integers(0, 11), max_size=5), value=nested)
def test_any_data_is_accepted_or_rejected_with_errors(file: Path, where: list[int], value: object) -> None:
    data = with_one_changed(yaml.safe_load(SAMPLE.read_text()), where, value)
    file.write_text(json.dumps(data), encoding="utf-8")
    result = outcome(file)
    assert isinstance(result, Config) or result.problems
    assert str(result).encode()


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.text(alphabet="ab:-{}[],'\"#&*!|>%@$\n\t \0\x85\ud800é", max_size=30) | st.binary(max_size=20))
def test_any_text_is_accepted_or_rejected_with_errors(file: Path, text: str | bytes) -> None:
    file.write_bytes(text if isinstance(text, bytes) else text.encode(errors="surrogatepass"))
    result = outcome(file)
    assert isinstance(result, Config) or result.problems


levels = st.lists(st.sampled_from(["a", "b", "{x}"]), min_size=1, max_size=3)


@given(levels, levels)
def test_templates_overlap_when_some_topic_fits_both(one: list[str], other: list[str]) -> None:
    topics = [list(topic) for count in range(4) for topic in product("ab", repeat=count)]

    def fits(topic: list[str], template: list[str]) -> bool:
        return len(topic) == len(template) and all(t in ("{x}", w) for w, t in zip(topic, template, strict=True))

    both = any(fits(topic, one) and fits(topic, other) for topic in topics)
    assert naming.overlap("/".join(one), "/".join(other)) == both


EMPIRICAL = "services: {v: {mapping: web-iqx, theta: 0.2, ratings: empirical, study: %s}}"


def test_a_study_is_a_path_or_a_mapping_with_the_names_of_its_columns(file: Path, tmp_path: Path) -> None:
    plain, named = tmp_path / "plain.csv", tmp_path / "named.csv"
    plain.write_text("condition,rating\na b,4\na b,5\nc d,1\n")
    named.write_text("src;hrc;Score\na;b;4\na;b;5\nc;d;1\nc;d;NA\n")
    by_path = loaded(file, EMPIRICAL % plain).services["v"].core_service("v").study
    by_names = loaded(file, EMPIRICAL % f"{{file: {named}, condition: 'src,hrc', rating: score}}")
    study = by_names.services["v"].core_service("v").study
    assert by_path is not None
    assert study is not None
    assert study.mos.tolist() == by_path.mos.tolist() == [1, 4.5, 5]


def test_a_study_that_cannot_be_read_is_refused_with_the_keys_to_try(file: Path, tmp_path: Path) -> None:
    path = tmp_path / "study.csv"
    path.write_text("the video,subject,score\na,1,4\na,2,5\nb,1,1\n")
    (problem,) = problems(file, EMPIRICAL % path)
    assert problem.key == "services.v.study"
    proposed = re.search("try study: ({.*})", str(problem))
    assert proposed
    study = loaded(file, EMPIRICAL % proposed[1]).services["v"].study
    assert study
    assert (study.condition, study.rating) == ("the video", "score")

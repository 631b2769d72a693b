"""No error of a configuration hides another: both are reported at once, and nothing that only follows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qoemon.config.config import load
from qoemon.config.yaml.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from qoemon.config.yaml.errors import ConfigProblem

VIDEO = "video: {mapping: video-stall, theta: 0.3"
FAR = "alerts:\n  - {name: A, service: b, threshold: 0.99, recovery: 0.2}"
ALERT = "{name: A, threshold: 0.3, recovery: 0.2"


def problems(file: Path, text: str) -> tuple[ConfigProblem, ...]:
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        load(file, {})
    return raised.value.problems


# What the case is about: text, the keys of all errors in the order of their lines.
PAIRS: dict[str, tuple[str, list[str]]] = {
    "a wrong theta, an alert for an unknown service": (
        f"services:\n  video: {{mapping: video-stall, theta: 3}}\nalerts:\n  - {ALERT}, service: radio}}",
        ["services.video.theta", "alerts.0.service"],
    ),
    "an unknown key of a service, an alert for an unknown service": (
        f"services:\n  {VIDEO}, colour: red}}\nalerts:\n  - {ALERT}, service: radio}}",
        ["services.video.colour", "alerts.0.service"],
    ),
    "a missing mapping, an alert for an unknown service": (
        f"services:\n  video: {{theta: 0.3}}\nalerts:\n  - {ALERT}, service: radio}}",
        ["services.video.mapping", "alerts.0.service"],
    ),
    "a service that is no mapping, a topic of an unknown service": (
        "mqtt:\n  topics: [{template: a, service: radio}]\nservices:\n  video: 5",
        ["mqtt.topics.0.service", "services.video"],
    ),
    "a rule between keys of a service, an alert for an unknown service": (
        f"services:\n  {VIDEO}, theta_band: [0.4, 0.5]}}\nalerts:\n  - {ALERT}, service: radio}}",
        ["services.video.theta_band", "alerts.0.service"],
    ),
    "an error in one service, thresholds out of the reach of another": (
        f"services:\n  {VIDEO}, scale: 5}}\n  b: {{mapping: video-stall, theta: 0.3}}\n{FAR}",
        ["services.video.scale", "alerts.0.threshold"],
    ),
    "an error in one alert, a window that another one lacks": (
        f"alerts:\n  - {{name: A, threshold: high, recovery: 0.2}}\n  - {ALERT.replace('A', 'B')}, window: 7m}}",
        ["alerts.0.threshold", "alerts.1.window"],
    ),
    "two errors of one alert: its threshold and its service": (
        "alerts:\n  - name: A\n    threshold: high\n    recovery: 0.2\n    service: radio",
        ["alerts.0.threshold", "alerts.0.service"],
    ),
    "an unknown key of an alert, a rule, its label, its quantile": (
        (
            f"alerts:\n  - {ALERT}, colour: red,\n    groups: {{isp: x}},\n"
            "    quantile: 0.77, metric: opinion_quantile}"
        ),
        ["alerts.0.colour", "alerts.0.recovery", "alerts.0.groups.isp", "alerts.0.quantile"],
    ),
    "an alert that is no mapping, duplicate names of others": (
        f"alerts:\n  - 5\n  - {ALERT}}}\n  - {ALERT}}}",
        ["alerts.0", "alerts.2.name"],
    ),
    "three alerts of one name": (
        f"alerts:\n  - {ALERT}}}\n  - {ALERT}}}\n  - {ALERT}}}",
        ["alerts.1.name", "alerts.2.name"],
    ),
    "both thresholds out of reach": (
        "alerts:\n  - name: A\n    service: video\n    metric: mos\n    threshold: 1.2\n    recovery: 6",
        ["alerts.0.threshold", "alerts.0.recovery"],
    ),
    "a wrong kind in one topic, two others that overlap": (
        "mqtt:\n  topics:\n    - 5\n    - a/{service}\n    - '{service}/a'",
        ["mqtt.topics.0", "mqtt.topics.2"],
    ),
    "an unknown key of a topic, that it overlaps another": (
        "mqtt:\n  topics:\n    - a/{service}\n    - {template: '{service}/a', colour: red}",
        ["mqtt.topics.1.colour", "mqtt.topics.1"],
    ),
    "topics that lack a shard": (
        "mqtt:\n  topics:\n    - 'a/{service}/{shard}'\n    - 'b/{service}'\n    - 'c/{service}'",
        ["mqtt.topics.1", "mqtt.topics.2"],
    ),
    "a label that is none, another that is twice": (
        "labels:\n  - a-b\n  - isp\n  - isp",
        ["labels.0", "labels.2"],
    ),
    "an error of a topic, a label that another topic has": (
        "mqtt:\n  topics:\n    - 'a/b'\n    - 'c/{service}/{isp}'\nlabels: [isp]",
        ["mqtt.topics.0", "labels.0"],
    ),
    "an unknown key and a wrong kind": ("mqtt:\n  colour: red\n  port: x", ["mqtt.colour", "mqtt.port"]),
    "an error of a key, a rule of its section": (
        "mqtt:\n  port: 0\n  password: x\n  keepalive: 1d",
        ["mqtt.port", "mqtt.username", "mqtt.keepalive"],
    ),
    "a tick that is no divisor, windows that are no multiples": (
        "sessions:\n  rating_interval: 2m\n  tick: 7s\nwindows: [90s]",
        ["sessions.tick", "windows"],
    ),
    "constants that the mapping lacks, inputs that it does not take": (
        f"services:\n  {VIDEO}, inputs: [x],\n    parameters: {{tme: 1}}}}",
        ["services.video.mapping", "services.video.parameters.tme"],
    ),
    "a threshold of a regime that is no number, one that a service cannot reach": (
        "regimes:\n  degraded: {threshold: x, recovery: 0.1}\n  bad: {threshold: 0.99, recovery: 0.2}",
        ["regimes.degraded.threshold", "regimes.bad.threshold"],
    ),
    "a variable that is not set, an unknown service": (
        f"mqtt: {{host: '${{NOWHERE}}'}}\nalerts:\n  - {ALERT}, service: radio}}",
        ["mqtt.host", "alerts.0.service"],
    ),
    "a variable inside a service, an unknown service": (
        f"services:\n  {VIDEO}, counters: '${{NOWHERE}}'}}\nalerts:\n  - {ALERT}, service: radio}}",
        ["services.video.counters", "alerts.0.service"],
    ),
    "a section that is there twice, an error in the second": (
        "http: {port: 1}\nmqtt: {}\nhttp:\n  host: ''",
        ["http", "http.host"],
    ),
    "invalid YAML, an unknown key before and after it": (
        "sesions: {}\nmqtt:\n  host: a\n   port: 1\nhttp:\n  prot: 1",
        ["sesions", "", "http.prot"],
    ),
    "invalid YAML in two sections, an unknown service": (
        f"mqtt:\n  host: 'a\nhttp:\n  port: [1\nalerts:\n  - {ALERT}, service: radio}}",
        ["", "", "alerts.0.service"],
    ),
    "invalid YAML in the services, an alert for one of them": (
        f"services:\n  radio: {{mapping: video-stall\nalerts:\n  - {ALERT}, service: radio, colour: red}}",
        ["", "alerts.0.colour"],
    ),
}


@pytest.mark.parametrize("case", PAIRS)
def test_no_error_hides_another(tmp_path: Path, case: str) -> None:
    text, keys = PAIRS[case]
    assert [problem.key for problem in problems(tmp_path / "qoemon.yaml", text)] == keys


FOLLOWING: dict[str, tuple[str, list[str]]] = {
    "an alert for a service whose name is there": (
        f"services:\n  radio: {{mapping: none, theta: 0.3}}\nalerts:\n  - {ALERT}, service: radio}}",
        ["services.radio.mapping"],
    ),
    "an alert for a label that a broken topic may have": (
        f"mqtt:\n  topics: [5]\nalerts:\n  - {ALERT}, groups: {{isp: x}}}}",
        ["mqtt.topics.0"],
    ),
    "an alert for a window that is misspelt": (
        f"windows: [1m, 7x]\nalerts:\n  - {ALERT}, window: 7m}}",
        ["windows.1"],
    ),
    "thresholds of an alert whose metric is misspelt": (
        "alerts:\n  - name: A\n    metric: mso\n    threshold: 3\n    recovery: 4",
        ["alerts.0.metric"],
    ),
    "the reach of a service whose theta is wrong": (
        "services:\n  video: {mapping: video-stall, theta: 3}\nregimes:\n  bad: {threshold: 0.99, recovery: 0.2}",
        ["services.video.theta"],
    ),
}


@pytest.mark.parametrize("case", FOLLOWING)
def test_what_only_follows_is_not_reported(tmp_path: Path, case: str) -> None:
    text, keys = FOLLOWING[case]
    assert [problem.key for problem in problems(tmp_path / "qoemon.yaml", text)] == keys


def test_positions_in_lists_are_those_of_the_file(tmp_path: Path) -> None:
    quantiles, hosts = "\n  - 2\n  - 0.5\n  - 7\n  - 0.9\n  - 0.5", "\n    - ''\n    - a\n    - ''\n    - a"
    found = problems(tmp_path / "qoemon.yaml", f"quantiles:{quantiles}\nmqtt:\n  hosts:{hosts}")
    assert [(problem.line, problem.key) for problem in found] == [
        (2, "quantiles.0"),
        (4, "quantiles.2"),
        (6, "quantiles.4"),
        (9, "mqtt.hosts.0"),
        (11, "mqtt.hosts.2"),
        (12, "mqtt.hosts.3"),
    ]


def test_the_web_configuration_is_checked_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text("tls_server_konfig: {}")
    found = problems(tmp_path / "qoemon.yaml", "mqtt: {port: 0}\nhttp: {web_config_file: web.yaml}")
    assert {problem.key for problem in found} == {"mqtt.port", "tls_server_konfig"}


def test_invalid_yaml_is_described_in_the_words_of_the_scanner(tmp_path: Path) -> None:
    (found,) = problems(tmp_path / "qoemon.yaml", "http:\n  host: 'a\n  port: 1\n")
    words = "unexpected end of stream while scanning a quoted scalar that begins in line 2"
    assert f"found invalid YAML: {words}; look for" in str(found)


def test_flags_are_checked_with_the_file_and_named(tmp_path: Path) -> None:
    file = tmp_path / "qoemon.yaml"
    file.write_text("mqtt: {host: a, port: 1}\nalerts:\n  - {name: A, threshold: 0.3, recovery: 0.2}")
    known = ["mqtt.port=0", "alerts.0.service=radio", "http={port: x}", "windows=[1m", "sessions.tick=7s"]
    unknown = ["mqtt.hots=b", "alerts.7.name=B", "log.level", "mqtt.host.x=1"]
    with pytest.raises(ConfigError) as raised:
        load(file, {}, [*known, *unknown])
    assert {problem.key for problem in raised.value.problems} == {
        "mqtt.port",
        "mqtt.hots",
        "alerts.0.service",
        "alerts.7.name",
        "",
        "http.port",
        "windows",
        "sessions.tick",
        "mqtt.host.x",
    }
    assert all(str(problem).startswith("--set: ") for problem in raised.value.problems)


def test_flags_set_keys_of_the_file_and_of_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "qoemon.yaml"
    file.write_text("mqtt: {host: '${NOWHERE}', port: 1}\nalerts:\n  - {name: A, threshold: 0.3, recovery: 0.2}")
    flags = [
        "mqtt.host=${B}",
        "mqtt.port=2",
        "mqtt.port=3",
        "alerts.0.threshold=.25",
        "http.url=",
        "windows=[1m, 2m]",
    ]
    config = load(file, {"B": "broker", "NOWHERE": ""}, flags)
    assert (config.mqtt.host, config.mqtt.port, config.alerts[0].threshold) == ("broker", 3, 0.25)
    assert (config.http.url, config.windows_s) == (None, (60, 120))
    assert load(None, {}, ["mqtt.qos=0"]).mqtt.qos == 0
    assert load(None, {}) == load(None, {}, [])


def test_a_former_key_names_the_present_one(tmp_path: Path) -> None:
    found = problems(
        tmp_path / "qoemon.yaml",
        "alerts:\n  - {name: A, what: pow, enter: 0.3, leave: 0.2}\nregimes:\n  bad: {enter: 0.4, leave: 0.3}",
    )
    former = {each.key: each.expected for each in found if "former" in each.found}
    assert former == {
        "alerts.0.what": "its present name, metric",
        "alerts.0.enter": "its present name, threshold",
        "alerts.0.leave": "its present name, recovery",
        "regimes.bad.enter": "its present name, threshold",
        "regimes.bad.leave": "its present name, recovery",
    }

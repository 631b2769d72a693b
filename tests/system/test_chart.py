"""The Helm chart, as far as it can be tried without Kubernetes.

Helm's own library lints and renders it; what comes out is validated against the schemas of Kubernetes and of the
Prometheus operator, and its parts are compared with each other, with the image and with the configuration.
"""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
import tarfile
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from pydantic import ValidationError

from config.helm import generate
from qoemon import __version__
from qoemon.config import config as configuration
from qoemon.config.config import Config
from qoemon.tools.rules.scrape import prometheus_files
from tests.support.chart import (
    CHART,
    CLUSTER,
    NAMESPACE,
    Manifest,
    configuration_text,
    helm,
    kubernetes_validate,
    of_kind,
    one,
    refusal,
    rendered,
)
from tests.support.parts import ROOT, missing, program

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BROKER: dict[str, Any] = {"mqtt": {"host": "broker"}}

EVERYTHING: dict[str, Any] = {
    "fullnameOverride": "qoe",
    "image": {"repository": "images/qoemon", "tag": "1.2.3", "pullSecrets": [{"name": "registry"}]},
    "config": {
        "mqtt": {
            "host": "broker",
            "username": "qoemon",
            "password_file": "/etc/qoemon-secrets/broker/password",
            "tls": {"ca_file": "/etc/qoemon-secrets/ca/ca.crt"},
        },
        "collector": {"host": "0.0.0.0", "token_file": "/etc/qoemon-secrets/players/token"},  # noqa: S104
        "http": {"port": 9000},
        "limits": {"sessions": 10_000_000},
    },
    "files": {"study.csv": "condition,rating\na,5\n"},
    "secrets": {
        "broker": {"existing": "broker-password"},
        "ca": {"existing": "broker-ca"},
        "players": {"data": {"token": "a token"}},
    },
    "env": [{"name": "REGION", "value": "eu"}],
    "service": {"type": "NodePort", "annotations": {"a": "b"}},
    "serviceAccount": {"annotations": {"a": "b"}},
    "persistence": {"storageClassName": "fast"},
    "collector": {
        "service": {"type": "LoadBalancer", "annotations": {"a": "b"}},
        "ingress": {
            "enabled": True,
            "className": "nginx",
            "host": "qoe.example.org",
            "tlsSecret": "certificate",
            "annotations": {"a": "b"},
        },
    },
    "serviceMonitor": {
        "enabled": True,
        "labels": {"release": "prometheus"},
        "endpoint": {"scheme": "https", "tlsConfig": {"insecureSkipVerify": True}},
    },
    "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}, "rules": "groups: []\n"},
    "dashboards": {"enabled": True, "annotations": {"grafana_folder": "QoE"}},
    "networkPolicy": {
        "enabled": True,
        "httpFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
        "collectorFrom": [{"ipBlock": {"cidr": "192.0.2.0/24"}}],
        "egress": [{"to": [{"podSelector": {"matchLabels": {"app": "mosquitto"}}}], "ports": [{"port": 1883}]}],
    },
    "podDisruptionBudget": {"enabled": True},
    "podLabels": {"team": "video"},
    "podAnnotations": {"a": "b"},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "video", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "high",
}
"""Every value that the chart has, but those of a cluster."""

MONITORED: dict[str, Any] = {
    "serviceMonitor": {"enabled": True},
    "prometheusRule": {"enabled": True},
    "dashboards": {"enabled": True},
}

BUSY_CLUSTER: dict[str, Any] = {
    **{key: value for key, value in EVERYTHING.items() if key not in {"config", "image", "fullnameOverride"}},
    "image": {**CLUSTER["image"], "pullSecrets": [{"name": "registry"}]},
    "config": {**CLUSTER["config"], "collector": {"host": "0.0.0.0"}},  # noqa: S104
    "spark": {
        "checkpoint": {"enabled": True, "storageClassName": "shared"},
        "bridges": [
            {"name": "0", "set": {"mqtt.topics": ["qoe/v1/0/{service}/{region}/{cdn}"]}},
            {"name": "1", "set": {"mqtt.topics": ["qoe/v1/1/{service}/{region}/{cdn}"]}},
        ],
    },
}

CASES: dict[str, dict[str, Any]] = {
    "smallest": {"config": BROKER},
    "everything": EVERYTHING,
    "monitored": {"config": BROKER, **MONITORED},
    "without a broker": {"config": {"mqtt": None, "collector": {"host": "0.0.0.0"}}},  # noqa: S104
    "in maintenance": {"config": BROKER, "maintenance": True},
    "without a volume": {"config": BROKER, "persistence": {"enabled": False}},
    "with a password": {"config": {**BROKER, "http": {"web_config_file": "web.yml"}}, "files": {"web.yml": "{}"}},
    "cluster": CLUSTER,
    "busy cluster": BUSY_CLUSTER,
    "cluster by the operator": {**CLUSTER, "spark": {"operator": True}},
}


@cache
def _rendered(case: str) -> list[Manifest]:
    return rendered(CASES[case])


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def manifests(case: str) -> list[Manifest]:
    """What each of the cases is rendered to."""
    return copy.deepcopy(_rendered(case))


@pytest.fixture
def name(case: str) -> str:
    """Of the release's parts."""
    return CASES[case].get("fullnameOverride", "qoemon")


# What Helm says.


def test_the_schema_of_the_values_is_what_make_docs_writes() -> None:
    assert (CHART / "values.schema.json").read_text() == generate.values_schema()


def test_every_value_of_the_schema_has_a_default() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert set(schema["properties"]) == {*values, "global"}
    for key, value in values.items():
        part = schema["properties"][key]
        if part.get("additionalProperties") is False and "properties" in part and key != "config":
            assert set(part["properties"]) - {"claims"} == set(value), key


def test_helm_finds_nothing_to_warn_of(case: str) -> None:
    found = helm().lint(str(CHART), CASES[case], strict=True, namespace=NAMESPACE)
    assert found["errors"] == []
    assert [message for message in found["messages"] if message["severity"] > 1] == []


def test_helm_finds_nothing_to_warn_of_without_values() -> None:
    found = helm().lint(str(CHART), {}, strict=True)
    assert found["errors"] == []
    assert [message for message in found["messages"] if message["severity"] > 1] == []


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"imagee": {}}, "imagee"),
        ({"image": {"tag": 1.2}}, "tag"),
        ({"image": {"tag": "a b"}}, "tag"),
        ({"secrets": {"broker": {"existing": "a", "data": {"b": "c"}}}}, "broker"),
        ({"secrets": {"broker": {"data": {}}}}, "broker"),
        ({"secrets": {"../broker": {"existing": "a"}}}, "../broker"),
        ({"persistence": {"size": "ten"}}, "size"),
        ({"service": {"type": "Cluster"}}, "type"),
        ({"serviceMonitor": {"interval": "often"}}, "interval"),
        ({"dashboards": {"boards": {"Board.txt": "{}"}}}, "Board.txt"),
        ({"podDisruptionBudget": {"maxUnavailable": "one"}}, "maxUnavailable"),
        ({"spark": {"bridges": [{}]}}, "name"),
        ({"resources": {"request": {}}}, "request"),
        ({"replicas": 2}, "replicas"),
        ({"config": {"mqtt": {"hots": "broker"}}}, "hots"),
        ({"config": {**BROKER, "sessions": {"tick": "10"}}}, "tick"),
        ({"config": {**BROKER, "sessions": {"tick": ""}}}, "tick"),
        ({"config": {**BROKER, "http": None}}, "http"),
        (
            {"config": {**BROKER, "collector": {"host": "::"}}, "collector": {"ingress": {"enabled": True}}},
            "host",
        ),
    ],
)
def test_wrong_values_are_refused_by_the_schema(values: dict[str, Any], named: str) -> None:
    said = refusal({"config": BROKER, **values})
    assert said.startswith("qoemon:\n- at ")
    assert named in said


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "config.mqtt.host is not set: name the MQTT broker"),
        ({"config": {"mqtt": {"port": 1884}}}, "config.mqtt.host is not set"),
        ({"config": {"mqtt": None}}, "config.mqtt.host is not set"),
        ({"config": {"collector": {"host": "0.0.0.0"}}}, "config.mqtt.host is not set"),  # noqa: S104
        ({"config": {**BROKER, "collector": {}}}, "config.collector.host is a loopback address"),
        ({"config": {**BROKER, "http": {"host": "127.0.0.1"}}}, "config.http.host is a loopback address"),
        ({"config": {**BROKER, "state": {"dir": None}}}, "config.state.dir is not set"),
        (
            {"config": BROKER, "collector": {"ingress": {"enabled": True, "host": "a"}}},
            "collector.ingress.enabled needs config.collector",
        ),
        ({**CLUSTER, "maintenance": True, "spark": {"operator": True}}, "set spark.operator to false"),
        ({**CLUSTER, "persistence": {"enabled": False}}, "the driver of a cluster needs its state directory"),
    ],
)
def test_values_that_make_no_daemon_are_refused_with_what_to_do(values: dict[str, Any], said: str) -> None:
    assert said in refusal(values)


SAMPLE: dict[str, Any] = yaml.safe_load((ROOT / "config/qoemon.yaml").read_text())
"""Every key of the configuration, with its default."""

OTHERWISE: dict[str, dict[str, Any]] = {
    "mqtt": {"mqtt": None, "collector": {"host": "0.0.0.0"}},  # noqa: S104
    "mqtt.hosts": {"mqtt": {"hosts": ["broker", "broker-2"]}},
    "mqtt.websocket_path": {"mqtt": {"transport": "websockets", "websocket_path": "/"}},
    "mqtt.password": {"mqtt": {"username": "qoemon", "password": "secret"}},
    "mqtt.password_file": {"mqtt": {"username": "qoemon", "password_file": str(ROOT / "LICENSE")}},
    "mqtt.tls": {"mqtt": {"tls": {}}},
    "mqtt.topics": {"mqtt": {"topics": ["qoe/v1/{service}/{place}"]}},
    "collector": {"collector": {"host": "0.0.0.0"}},  # noqa: S104
    "sessions.rating_interval": {"sessions": {"rating_interval": "30s"}, "windows": ["30s", "5m", "1h"]},
    "engine.kind": {key: value for key, value in CLUSTER["config"].items() if key in {"engine", "kafka"}},
    "kafka": {"kafka": {"brokers": ["kafka:9092"]}},
    "services": {"services": {"video": {"mapping": "video-stall", "theta": 0.2}}},
    "roll_ups": {"roll_ups": [["cdn"]]},
    "regimes.degraded.threshold": {"regimes": {"degraded": {"threshold": 0.16, "recovery": 0.1}}},
    "regimes.degraded.recovery": {"regimes": {"degraded": {"threshold": 0.15, "recovery": 0.11}}},
    "regimes.bad.threshold": {"regimes": {"bad": {"threshold": 0.31, "recovery": 0.2}}},
    "regimes.bad.recovery": {"regimes": {"bad": {"threshold": 0.3, "recovery": 0.21}}},
    "notify.alertmanagers": {"notify": {"alertmanagers": [{"url": "http://alertmanager:9093"}]}},
    "notify.webhooks": {"notify": {"webhooks": [{"url": "https://example.org/qoemon"}]}},
    "notify.mqtt": {"notify": {"mqtt": {"topic": "qoe/v1/alerts/{alert}/{service}/{groups}"}}},
    "pair": {"pair": {"name": "a", "peer": {"url": "http://qoemon-b:9877"}}},
    "http.url": {"http": {"url": "https://qoemon.example.org"}},
    "http.web_config_file": {"http": {"web_config_file": "/dev/null"}},
    "http.links": {"http": {"links": {"Grafana": "https://grafana.example.org/"}}},
}
"""Configurations in which a key has another value than the default one, if that depends on its meaning."""


def keys(section: dict[str, Any], parents: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each key of the sample with its value; services are one key."""
    for name, value in section.items():
        path = (*parents, name)
        if isinstance(value, dict) and value and path != ("services",):
            yield from keys(value, path)
        else:
            yield path, value


def other_values(value: Any) -> list[Any]:
    """What the value of a key could be as well, by its type."""
    if isinstance(value, int | float):
        return [value * 2, value // 2, value / 2]
    if isinstance(value, list):
        return [value[:-1], ["a"]]
    if isinstance(value, str) and (amount := re.match(r"\d+(?=[a-zA-Z])", value)):
        return [f"{2 * int(amount[0])}{value[amount.end() :]}"]
    return ["a", "3.1.1", "websockets", "arrival", "power", "debug", "json", {"a": "b"}]


def with_broker(change: Mapping[str, Any]) -> dict[str, Any]:
    """The change in a configuration that the chart takes."""
    config: dict[str, Any] = {**BROKER, **change}
    if config["mqtt"] is not None:
        config["mqtt"] = {**({} if "hosts" in config["mqtt"] else BROKER["mqtt"]), **config["mqtt"]}
    return {**config, "state": {"dir": "/var/lib/qoemon", **config.get("state", {})}}


def parsed(change: Mapping[str, Any]) -> Config | None:
    """The configuration of the daemon; None if it is refused."""
    try:
        return Config.model_validate(with_broker(change))
    except ValidationError:
        return None


def changed(path: tuple[str, ...]) -> dict[str, Any]:
    """A configuration in which this key has another value."""
    default = parsed({})
    for other in other_values(dict(keys(SAMPLE))[path]):
        change: dict[str, Any] = {path[-1]: other}
        for name in reversed(path[:-1]):
            change = {name: change}
        if parsed(change) not in (None, default):
            return change
    pytest.fail(f"no other value is known for {'.'.join(path)}: add one to OTHERWISE")


@cache
def default_rules() -> str:
    return prometheus_files(Config()).rules()


@pytest.mark.parametrize(
    "change",
    [
        {"alerts": []},
        {"labels": []},
        {"collector": None},
        {"pair": None},
        {"notify": {"alertmanagers": [], "webhooks": [], "mqtt": None}},
        *OTHERWISE.values(),
        *(path for path, _ in keys(SAMPLE) if ".".join(path) not in OTHERWISE),
    ],
    ids=str,
)
def test_rules_that_do_not_fit_the_configuration_are_refused(change: dict[str, Any] | tuple[str, ...]) -> None:
    """Those of the chart are for the default one: they are refused if `qoemon rules` writes others.

    change  of the configuration, or a key of it, for another value
    """
    if isinstance(change, tuple):
        change = changed(change)
    settings = parsed(change)
    assert settings is not None
    differ = prometheus_files(settings).rules() != default_rules()
    config = with_broker(change)
    said = refusal({"config": config, "prometheusRule": {"enabled": True}})
    assert ("prometheusRule.rules is not set" in said) is differ, said
    if differ:
        assert refusal({"config": config, "prometheusRule": {"enabled": True, "rules": "groups: []"}}) == ""


# What Kubernetes would say.


@pytest.mark.parametrize("version", ["1.27", "1.37"])
def test_manifests_follow_the_schema_of_kubernetes(manifests: list[Manifest], version: str) -> None:
    """Of the oldest version that the chart allows, and of the newest one."""
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["kubeVersion"] == ">=1.27.0-0"
    native = [
        each for each in manifests if "coreos" not in each["apiVersion"] and "spark" not in each["apiVersion"]
    ]
    assert len(native) >= 5
    for each in native:
        assert kubernetes_validate().validate(each, version, strict=True) == version


@pytest.mark.parametrize("case", ["everything", "monitored", "busy cluster"])
@pytest.mark.parametrize("kind", ["ServiceMonitor", "PrometheusRule"])
def test_manifests_follow_the_schema_of_the_prometheus_operator(manifests: list[Manifest], kind: str) -> None:
    try:
        from cloudcoil.models.prometheus_operator import v1  # noqa: PLC0415 - a second, for few tests
    except ModuleNotFoundError:
        missing("cloudcoil is not installed: Python package cloudcoil-models-prometheus-operator")
    (manifest,) = of_kind(manifests, kind)
    assert manifest["apiVersion"] == "monitoring.coreos.com/v1"
    read = getattr(v1, kind).model_validate(manifest)
    # It ignores what it does not know.
    assert read.model_dump(mode="json", by_alias=True, exclude_unset=True) == manifest


def test_everything_is_of_the_release_and_in_its_namespace(manifests: list[Manifest]) -> None:
    for each in manifests:
        assert each["metadata"]["namespace"] == NAMESPACE
        assert each["metadata"]["labels"]["app.kubernetes.io/instance"] == "qoemon"
    names = [(each["kind"], each["metadata"]["name"]) for each in manifests]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", ["everything", "busy cluster"])
def test_two_releases_do_not_meet(name: str) -> None:
    values = {key: value for key, value in CASES[name].items() if key != "fullnameOverride"}
    one_release, other = (
        {(each["kind"], each["metadata"]["name"]) for each in rendered(values, release)}
        for release in ("qoemon-a", "b")
    )
    assert not one_release & other
    assert ("StatefulSet", "b-qoemon") in other


def _pods(manifests: list[Manifest]) -> Iterator[tuple[str, dict[str, Any], list[dict[str, Any]]]]:
    """Name, template, and claims of each pod of the release."""
    for each in of_kind(manifests, "StatefulSet"):
        yield each["metadata"]["name"], each["spec"]["template"], each["spec"].get("volumeClaimTemplates", [])
    for each in of_kind(manifests, "SparkApplication"):
        yield each["metadata"]["name"], each["spec"]["driverSpec"]["podTemplateSpec"], []


def _executors(manifests: list[Manifest]) -> list[dict[str, Any]]:
    """The template from which Spark makes executors, in a cluster."""
    texts = [each["data"].get("executor.yaml") for each in of_kind(manifests, "ConfigMap")]
    return [yaml.safe_load(text) for text in texts if text]


def _selects(selector: Mapping[str, str], manifests: list[Manifest]) -> list[str]:
    """Names of the pods with these labels."""
    return [each for each, pod, _ in _pods(manifests) if selector.items() <= pod["metadata"]["labels"].items()]


def test_pods_may_do_no_more_than_they_must(manifests: list[Manifest]) -> None:
    """Which is what the standard "restricted" for pods allows, and a root file system that is read-only."""
    executors = _executors(manifests)
    for pod in [*(template for _, template, _ in _pods(manifests)), *executors]:
        spec = pod["spec"]
        context = spec["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC", "initContainers"}
        for volume in spec["volumes"]:
            assert volume.keys() - {"name"} <= {"configMap", "secret", "emptyDir", "persistentVolumeClaim"}
        (container,) = spec["containers"]
        rights = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        # Spark writes into its own folders in an executor.
        rights |= {} if pod in executors else {"readOnlyRootFilesystem": True}
        assert container["securityContext"] == rights
        for dockerfile in ("Dockerfile", "config/cluster/Dockerfile"):
            user = re.findall(r"^USER (\d+):(\d+)$", (ROOT / dockerfile).read_text(), re.MULTILINE)[-1]
            assert (str(context["runAsUser"]), str(context["runAsGroup"])) == user
        assert context["fsGroup"] == context["runAsGroup"]


def test_what_is_mounted_is_there(manifests: list[Manifest], case: str) -> None:
    theirs = {secret["existing"] for secret in CASES[case].get("secrets", {}).values() if "existing" in secret}
    secrets = theirs | {each["metadata"]["name"] for each in of_kind(manifests, "Secret")}
    claims = {each["metadata"]["name"] for each in of_kind(manifests, "PersistentVolumeClaim")}
    configs = {each["metadata"]["name"] for each in of_kind(manifests, "ConfigMap")}
    accounts = {each["metadata"]["name"] for each in of_kind(manifests, "ServiceAccount")}
    templates = [(pod["spec"], claimed) for _, pod, claimed in _pods(manifests)]
    for spec, claimed in [*templates, *((each["spec"], []) for each in _executors(manifests))]:
        mounts = {each["name"]: each["mountPath"] for each in spec["containers"][0]["volumeMounts"]}
        volumes = {each["name"]: each for each in spec["volumes"]}
        assert len(volumes) == len(spec["volumes"])
        assert mounts.keys() == volumes.keys() | {each["metadata"]["name"] for each in claimed}
        assert len(set(mounts.values())) == len(mounts)
        for volume in volumes.values():
            assert volume.get("secret", {}).get("secretName") in {None, *secrets}
            assert volume.get("configMap", {}).get("name") in {None, *configs}
            assert volume.get("persistentVolumeClaim", {}).get("claimName") in {None, *claims}
        assert spec["serviceAccountName"] in accounts


def test_each_daemon_is_one_process_with_its_own_state(manifests: list[Manifest], case: str) -> None:
    for each in of_kind(manifests, "StatefulSet"):
        spec = each["spec"]
        assert spec["replicas"] == 1
        selector = spec["selector"]["matchLabels"]
        assert _selects(selector, manifests) == [each["metadata"]["name"]]
        assert spec["serviceName"] in {service["metadata"]["name"] for service in of_kind(manifests, "Service")}
        assert bool(spec.get("volumeClaimTemplates")) is (case != "without a volume")


def test_services_lead_to_ports_that_pods_have(manifests: list[Manifest], name: str, case: str) -> None:
    receivers = "bridge" if "cluster" in case else "daemon"
    leads = {}
    for service in of_kind(manifests, "Service"):
        selected = _selects(service["spec"]["selector"], manifests)
        leads[service["metadata"]["name"]] = selected
        pods = {each: pod["spec"]["containers"][0]["ports"] for each, pod, _ in _pods(manifests)}
        for port in service["spec"]["ports"]:
            assert service["spec"]["publishNotReadyAddresses"] is True
            target = port.get("targetPort", port["port"])
            having = [
                each
                for each in selected
                if any(target in (held["name"], held["containerPort"]) for held in pods[each])
            ]
            assert having, port
            if port["name"] != "http":
                continue
            assert having == selected, "all of them serve metrics"
    every = [each for each, _, _ in _pods(manifests)]
    assert leads[f"{name}-pods"] == every
    assert leads[name] == [each for each in every if "bridge" not in each]
    if f"{name}-collector" in leads:
        assert leads[f"{name}-collector"] == [
            each for each in every if ("bridge" in each) is (receivers == "bridge")
        ]


def test_policy_and_budget_are_for_all_pods_and_no_executor(manifests: list[Manifest]) -> None:
    every = [each for each, _, _ in _pods(manifests)]
    for each in of_kind(manifests, "NetworkPolicy"):
        assert _selects(each["spec"]["podSelector"]["matchLabels"], manifests) == every
        named = {port["port"] for rule in each["spec"]["ingress"] for port in rule["ports"]}
        had = {port["name"] for _, pod, _ in _pods(manifests) for port in pod["spec"]["containers"][0]["ports"]}
        assert named == had
        for executor in _executors(manifests):
            (rule,) = [rule for rule in each["spec"]["ingress"] if {"port": "driver"} in rule["ports"]]
            selector = rule["from"][0]["podSelector"]["matchLabels"]
            assert selector.items() <= executor["metadata"]["labels"].items()
    for each in of_kind(manifests, "PodDisruptionBudget"):
        assert _selects(each["spec"]["selector"]["matchLabels"], manifests) == every
    for executor in _executors(manifests):
        own = {"app.kubernetes.io/name": "qoemon", "app.kubernetes.io/instance": "qoemon"}
        assert not own.items() <= executor["metadata"]["labels"].items()


def test_players_get_through_the_ingress() -> None:
    manifests = _rendered("everything")
    (ingress,) = of_kind(manifests, "Ingress")
    (rule,) = ingress["spec"]["rules"]
    assert rule["host"] == "qoe.example.org"
    assert ingress["spec"]["tls"] == [{"hosts": ["qoe.example.org"], "secretName": "certificate"}]
    (path,) = rule["http"]["paths"]
    backend = path["backend"]["service"]
    (port,) = one(manifests, "Service", backend["name"])["spec"]["ports"]
    assert backend["port"] == {"name": port["name"]}
    assert all(each["template"].startswith(path["path"]) for each in _collector_paths())


def _collector_paths() -> list[dict[str, str]]:
    collector = Config.model_validate({"collector": {}}).collector
    assert collector is not None
    return [{"template": each if isinstance(each, str) else each.template} for each in collector.paths]


# What the daemon would say.


def _loaded(manifests: list[Manifest], name: str, tmp_path: Path) -> Config:
    """The configuration of a release, with its files and secrets below the folder."""
    for file, text in one(manifests, "ConfigMap", name)["data"].items():
        moved = text.replace("/etc/qoemon-secrets", str(tmp_path))
        (tmp_path / file).write_text(moved)
        for secret in re.findall(rf"{tmp_path}/\S+", moved):
            Path(secret).parent.mkdir(exist_ok=True)
            Path(secret).write_text("a secret")
    return configuration.load(tmp_path / "qoemon.yaml")


def test_the_configuration_is_valid(manifests: list[Manifest], name: str, case: str, tmp_path: Path) -> None:
    settings = _loaded(manifests, name, tmp_path)
    for _, pod, _ in _pods(manifests):
        (container,) = pod["spec"]["containers"]
        mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
        ports = {each["name"]: each["containerPort"] for each in container["ports"]}
        assert mounts["state"] == str(settings.state.dir)
        assert mounts["config"] == "/etc/qoemon"
        assert ports["http"] == settings.http.port
        if settings.collector is not None and "collector" in ports:
            assert ports["collector"] == settings.collector.port
    assert settings.clustered is ("cluster" in case)


@pytest.mark.parametrize("case", [case for case in CASES if "cluster" not in case])
def test_the_configuration_is_that_of_the_values(manifests: list[Manifest], name: str, case: str) -> None:
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())["config"]
    given = copy.deepcopy(CASES[case]["config"])
    for section, content in defaults.items():
        given[section] = {**content, **given.get(section, {})}
    assert yaml.safe_load(configuration_text(manifests, name)) == given


@pytest.mark.parametrize("case", [case for case in CASES if not {"operator", "maintenance"} & {*case.split()}])
def test_pods_run_the_commands_of_the_image(manifests: list[Manifest], case: str) -> None:
    for each, pod, _ in _pods(manifests):
        (container,) = pod["spec"]["containers"]
        command = "bridge" if "bridge" in each else "run"
        entry = ["qoemon"] if "cluster" in case else []  # The other image has it as its entry point.
        assert "command" not in container
        whole = [*entry, command, "-c", "/etc/qoemon/qoemon.yaml"]
        assert container["args"][: len(whole)] == whole


@pytest.mark.parametrize("case", ["everything", "busy cluster"])
def test_in_maintenance_the_pod_is_that_of_the_daemon_without_it(case: str) -> None:
    usual, waiting = (copy.deepcopy(rendered({**CASES[case], "maintenance": each})) for each in (False, True))
    name = CASES[case].get("fullnameOverride", "qoemon")
    (its,), (theirs,) = (
        one(each, "StatefulSet", name)["spec"]["template"]["spec"]["containers"] for each in (waiting, usual)
    )
    assert its.pop("command")[0] == "sh"
    for key in ("args", "startupProbe", "livenessProbe", "readinessProbe"):
        assert key not in its
        del theirs[key]
    assert waiting == usual, "nothing else differs, so bridges go on"


@pytest.mark.parametrize("case", [case for case in CASES if case != "in maintenance"])
def test_probes_restart_what_hangs_and_not_what_waits_for_its_broker(manifests: list[Manifest], case: str) -> None:
    for _, pod, _ in _pods(manifests):
        (container,) = pod["spec"]["containers"]
        probes = {each: container[f"{each}Probe"] for each in ("startup", "liveness", "readiness")}
        if case == "with a password":
            assert all(probe["tcpSocket"] == {"port": "http"} for probe in probes.values())
            continue
        assert probes["liveness"]["httpGet"] == probes["startup"]["httpGet"] == {"path": "/healthz", "port": "http"}
        assert probes["readiness"]["httpGet"] == {"path": "/readyz", "port": "http"}


def test_pods_stop_later_than_the_daemon(manifests: list[Manifest]) -> None:
    for _, pod, _ in _pods(manifests):
        assert pod["spec"]["terminationGracePeriodSeconds"] > Config().shutdown_timeout_s


@pytest.mark.parametrize(
    ("change", "rolls"),
    [
        ({"config": {**BROKER, "log": {"level": "debug"}}}, True),
        ({"files": {"study.csv": "condition,rating\na,4\n"}}, True),
        ({"secrets": {"broker": {"data": {"password": "other"}}}}, True),
        ({"service": {"annotations": {"c": "d"}}}, False),
        ({"serviceMonitor": {"enabled": True}}, False),
    ],
    ids=str,
)
def test_a_change_of_what_the_daemon_reads_restarts_it(change: dict[str, Any], rolls: bool) -> None:
    values = {"config": BROKER, "secrets": {"broker": {"data": {"password": "a"}}}}
    before, after = (
        one(rendered(each), "StatefulSet", "qoemon")["spec"]["template"] for each in (values, values | change)
    )
    assert (before != after) is rolls


def test_the_image_has_no_registry_and_the_tag_of_the_chart() -> None:
    metadata = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert metadata["version"] == metadata["appVersion"] == __version__
    (container,) = one(_rendered("smallest"), "StatefulSet", "qoemon")["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"qoemon:{__version__}"


# What Prometheus and Grafana get.


def test_the_rules_are_those_of_the_default_configuration() -> None:
    (rule,) = of_kind(_rendered("monitored"), "PrometheusRule")
    assert rule["spec"] == yaml.safe_load((ROOT / "config/prometheus/rules.yml").read_text())


@pytest.mark.prometheus
def test_promtool_accepts_the_rules(tmp_path: Path) -> None:
    (rule,) = of_kind(_rendered("monitored"), "PrometheusRule")
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump(rule["spec"]))
    promtool = program("promtool", "Debian package prometheus")
    done = subprocess.run([promtool, "check", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"SUCCESS: [1-9]\d+ rules found", done.stdout)


def test_the_boards_are_those_of_the_repository() -> None:
    boards = {
        file: (text, each["metadata"]["labels"]["grafana_dashboard"])
        for each in of_kind(_rendered("monitored"), "ConfigMap")
        for file, text in each["data"].items()
        if file.endswith(".json")
    }
    assert boards == {each.name: (each.read_text(), "1") for each in (ROOT / "dashboards").glob("*.json")}


def test_boards_of_an_own_configuration_replace_all() -> None:
    values = {"config": BROKER, "dashboards": {"enabled": True, "boards": {"qoemon-slo.json": '{"a": "{{b}}"}'}}}
    (board,) = [each for each in of_kind(rendered(values), "ConfigMap") if "qoemon.yaml" not in each["data"]]
    assert board["data"] == {"qoemon-slo.json": '{"a": "{{b}}"}'}


def test_the_package_has_rules_and_boards_and_renders_the_same(tmp_path: Path) -> None:
    """In the repository they are links, so that there is no second copy."""
    links = [path for path in (CHART / "files").rglob("*") if path.is_symlink()]
    assert len(links) == 1 + len(list((ROOT / "dashboards").glob("*.json")))
    package = tmp_path / helm().package(str(CHART), destination=str(tmp_path))
    assert package.name == f"qoemon-{__version__}.tgz"
    with tarfile.open(package) as archive:
        files = {each.name: each for each in archive.getmembers()}
        for link in links:
            member = files[f"qoemon/{link.relative_to(CHART)}"]
            assert member.isreg()
            held = archive.extractfile(member)
            assert held is not None
            assert held.read() == link.read_bytes()
    assert not [name for name in files if fnmatch(name, "*.py") or "__pycache__" in name]
    # What Helm stores with a release must fit into a Secret.
    assert package.stat().st_size < 100_000
    assert rendered(CASES["monitored"], chart=package) == _rendered("monitored")


# What the page says.

PAGE = (ROOT / "docs/kubernetes.md").read_text()


def test_rules_and_boards_of_a_configuration_become_values_as_the_page_says(tmp_path: Path) -> None:
    """The commands of the page, but for `kubectl exec`, in whose place is what it would run in the pod."""
    program("jq", "Debian package jq")
    config = BROKER | {"windows": ["1m", "10m"]}
    values = {"config": config, "prometheusRule": {"enabled": True}, "dashboards": {"enabled": True}}
    assert "is not set" in refusal(values)
    (tmp_path / "qoemon.yaml").write_text(yaml.safe_dump(config))
    (shell,) = [block for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) if "jq -n" in block]
    script = shell.partition("helm upgrade")[0].replace("/etc/qoemon/qoemon.yaml", "qoemon.yaml")
    script = script.replace("kubectl -n qoemon exec qoemon-0 -- qoemon ", f"{sys.executable} -m qoemon ")
    subprocess.run(["sh", "-e", "-c", script], cwd=tmp_path, check=True)
    written = yaml.safe_load((tmp_path / "monitoring.yaml").read_text())
    files = prometheus_files(Config.model_validate(config), "qoemon.yaml")
    assert written["prometheusRule"]["rules"] == files.rules()
    for key, more in written.items():
        values[key] |= more
    boards = {
        file: text
        for each in of_kind(rendered(values), "ConfigMap")
        for file, text in each["data"].items()
        if file.endswith(".json")
    }
    assert set(boards) == {each.name for each in (ROOT / "dashboards").glob("*.json")}
    assert {json.loads(text)["uid"] for text in boards.values()} == {file.removesuffix(".json") for file in boards}
    assert '"10m"' in boards["qoemon-overview.json"]


@pytest.mark.parametrize("text", re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
def test_values_of_the_page_are_accepted(text: str) -> None:
    values = yaml.safe_load(text)
    values.setdefault("config", {}).setdefault("mqtt", {})["host"] = "broker"
    assert refusal(values) == ""


def test_names_of_the_page_are_those_of_the_release() -> None:
    manifests = rendered({"config": BROKER})
    names = {f"{each['kind'].lower()}/{each['metadata']['name']}" for each in manifests}
    named = set(re.findall(r"(?:statefulset|service)/[a-z-]+", PAGE))
    assert named == {"statefulset/qoemon", "service/qoemon"}
    assert named <= names
    assert f"version {helm().helm_sdk_version().removeprefix('v')}, as a library" in PAGE

"""Values of the chart that an operator may well set, and what Kubernetes or Spark would refuse."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
import yaml

from qoemon.config.config import Config
from tests.support.chart import (
    CLUSTER,
    Manifest,
    configuration_text,
    kubernetes_validate,
    of_kind,
    one,
    refusal,
    rendered,
)

BROKER: dict[str, Any] = {"mqtt": {"host": "broker"}}
COLLECTOR: dict[str, Any] = {**BROKER, "collector": {"host": "0.0.0.0"}}  # noqa: S104
LONGEST = "a" * 53
"""Helm allows no longer name of a release."""


@pytest.mark.parametrize("values", [{"config": BROKER}, CLUSTER], ids=["daemon", "cluster"])
@pytest.mark.parametrize("release", [LONGEST, "1st", "tv.eu", f"{'a' * 44}.-b", "qoemon"])
def test_names_are_ones_for_kubernetes(values: dict[str, Any], release: str) -> None:
    """A release may have a long name, one with dots, and one that begins with a digit; a service may not."""
    manifests = rendered(values, release)
    for each in manifests:
        name = each["metadata"]["name"]
        assert re.fullmatch("[a-z]([a-z0-9-]*[a-z0-9])?", name), name
        assert len(name) <= 63
        if each["kind"] == "StatefulSet":
            # Its pods have a label with the name and a hash of 11 characters.
            assert len(name) <= 63 - 11
    if values is CLUSTER:
        options = yaml.safe_load(configuration_text(manifests, prefix(manifests)))["engine"]["options"]
        # Spark refuses a longer one.
        assert len(options["spark.kubernetes.executor.podNamePrefix"]) <= 47


def prefix(manifests: list[Manifest]) -> str:
    """The name of the release's parts."""
    (account,) = of_kind(manifests, "ServiceAccount")
    name: str = account["metadata"]["name"]
    return name


def test_bridges_of_a_long_name_are_different_ones() -> None:
    values = copy.deepcopy(CLUSTER)
    values["spark"] = {"bridges": [{"name": "eastside"}, {"name": "westside"}]}
    names = {each["metadata"]["name"] for each in of_kind(rendered(values, LONGEST), "StatefulSet")}
    assert len(names) == 3


@pytest.mark.parametrize(
    "values",
    [
        {
            "config": COLLECTOR,
            "collector": {"ingress": {"enabled": True, "host": "*.example.org", "tlsSecret": "certificate"}},
        },
        {"config": {**BROKER, "state": {"dir": "/var/lib/a: state #1"}}},
        {"config": BROKER, "priorityClassName": "yes", "persistence": {"storageClassName": "-"}},
        {"config": BROKER, "files": {"1": "a", "true": '"\u00e4" {{ x }}\n\u65e5\u672c\n'}},
        {"config": BROKER, "podAnnotations": {"note": 'say "hi": \u00fc'}, "podLabels": {"on": "yes"}},
        {"config": BROKER, "secrets": {"a": {"data": {"password": 'p\u00e4"s$\\\n'}}}},
        {"config": BROKER, "resources": {"limits": {"memory": None}}},
    ],
    ids=str,
)
@pytest.mark.parametrize("version", ["1.27", "1.37"])
def test_unusual_texts_are_quoted(values: dict[str, Any], version: str) -> None:
    manifests = rendered(values)
    for each in manifests:
        assert kubernetes_validate().validate(each, version, strict=True) == version
    for host in {values.get("collector", {}).get("ingress", {}).get("host")} - {None}:
        (ingress,) = of_kind(manifests, "Ingress")
        assert ingress["spec"]["rules"][0]["host"] == ingress["spec"]["tls"][0]["hosts"][0] == host
    for name, text in values.get("files", {}).items():
        assert one(manifests, "ConfigMap", "qoemon")["data"][name] == text


def test_a_digest_pins_the_image_of_pods_and_executors() -> None:
    digest = f"sha256:{'0' * 64}"
    for values in ({"config": BROKER}, CLUSTER):
        image = {"repository": "images.example.org:5000/qoemon", "tag": "1", "digest": digest}
        manifests = rendered({**values, "image": image})
        for each in of_kind(manifests, "StatefulSet"):
            (container,) = each["spec"]["template"]["spec"]["containers"]
            assert container["image"] == f"images.example.org:5000/qoemon:1@{digest}"
    options = yaml.safe_load(configuration_text(manifests))["engine"]["options"]
    assert options["spark.kubernetes.container.image"] == f"images.example.org:5000/qoemon:1@{digest}"
    assert "repository" in refusal({"config": BROKER, "image": {"repository": f"qoemon@{digest}"}})


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"files": {"qoemon.yaml": "a"}}, "qoemon.yaml"),
        ({"files": {"a b.csv": "a"}}, "a b.csv"),
        ({"files": {"folder/study.csv": "a"}}, "folder/study.csv"),
        ({"secrets": {"a": {"data": {"the password": "a"}}}}, "the password"),
        ({"podLabels": {"app.kubernetes.io/name": "a"}}, "app.kubernetes.io/name"),
        ({"podLabels": {"team": "a b"}}, "team"),
        ({"podAnnotations": {"checksum/config": "a"}}, "checksum/config"),
        ({"serviceMonitor": {"labels": {"app.kubernetes.io/instance": "a"}}}, "app.kubernetes.io/instance"),
        ({"fullnameOverride": "a-"}, "fullnameOverride"),
    ],
    ids=str,
)
def test_what_kubernetes_would_refuse_or_take_twice_is_refused(values: dict[str, Any], named: str) -> None:
    said = refusal({"config": BROKER, **values})
    assert said.startswith("qoemon:\n- at ")
    assert named in said


@pytest.mark.parametrize("folder", ["state", "/", "/opt", "/etc/qoemon", "/etc/qoemon-secrets/state/"])
def test_the_state_has_a_folder_of_its_own(folder: str) -> None:
    said = refusal({"config": {**BROKER, "state": {"dir": folder}}})
    assert f"config.state.dir is {folder}" in said
    assert "such as /var/lib/qoemon" in said


@pytest.mark.parametrize(
    ("limit", "grace", "fits"),
    [("59s", 60, True), ("59s500ms", 60, True), ("1m", 60, False), ("1m30s", 90, False), ("1m30s", 91, True)],
)
def test_a_pod_is_killed_only_after_the_time_that_the_daemon_takes_to_stop(
    limit: str, grace: int, fits: bool
) -> None:
    values = {"config": {**BROKER, "shutdown_timeout": limit}, "terminationGracePeriodSeconds": grace}
    said = refusal(values)
    assert said == "" if fits else f"terminationGracePeriodSeconds is {grace}" in said


def test_keys_of_the_endpoint_are_there_once_and_relabelings_are_added() -> None:
    own = {"action": "replace", "targetLabel": "site", "replacement": "eu"}
    endpoint = {"path": "/qoe/metrics", "interval": "30s", "relabelings": [own]}
    values = {"config": BROKER, "serviceMonitor": {"enabled": True, "endpoint": endpoint}}
    (monitor,) = of_kind(rendered(values), "ServiceMonitor")
    (scraped,) = monitor["spec"]["endpoints"]
    assert (scraped["port"], scraped["path"], scraped["interval"]) == ("http", "/qoe/metrics", "30s")
    added = [each.get("targetLabel", each.get("action")) for each in scraped["relabelings"]]
    assert added == ["instance", "labeldrop", "site"]


def test_daemons_of_a_pair_reach_each_other_through_the_policy() -> None:
    pair = {"name": "a", "peer": {"url": "http://qoemon-b:9000"}}
    monitoring = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    broker = {"to": [{"podSelector": {"matchLabels": {"app": "mosquitto"}}}], "ports": [{"port": 1883}]}
    values = {
        "config": {**BROKER, "http": {"port": 9000}, "pair": pair},
        "networkPolicy": {"enabled": True, "httpFrom": [monitoring], "egress": [broker]},
    }
    (policy,) = of_kind(rendered(values, "qoemon-a"), "NetworkPolicy")
    (incoming,) = policy["spec"]["ingress"]
    (_, to_broker, outgoing) = policy["spec"]["egress"]
    assert incoming["from"][0] == monitoring
    assert to_broker == broker
    assert outgoing["ports"] == [{"port": 9000}]
    (daemon,) = outgoing["to"]
    assert incoming["from"][1] == daemon
    other = one(rendered(values, "qoemon-b"), "StatefulSet", "qoemon-b")["spec"]["template"]["metadata"]["labels"]
    assert daemon["podSelector"]["matchLabels"].items() <= other.items()
    alone = {**values, "config": BROKER}
    (policy,) = of_kind(rendered(alone, "qoemon-a"), "NetworkPolicy")
    assert policy["spec"]["ingress"][0]["from"] == [monitoring]
    assert policy["spec"]["egress"][1:] == [broker]


CHANGES: list[dict[str, Any]] = [
    {"labels": ["isp"]},
    {"mqtt": {"host": "broker", "topics": ["qoe/v1/{service}/{place}"]}},
    {"collector": {"host": "0.0.0.0", "paths": ["/cmcd/v1/{service}/{isp}"]}},  # noqa: S104
    {"services": {"video": {"mapping": "video-stall", "theta": 0.2}}},
    {"sessions": {"rating_interval": "2m"}, "windows": ["2m"]},
    {"windows": ["1m", "10m"]},
]


@pytest.mark.parametrize(
    "change",
    [
        *CHANGES,
        {"mqtt": CLUSTER["config"]["mqtt"]},
        {"sessions": {"tick": "5s"}},
        {"collector": {"host": "::"}},
        {"alerts": []},
    ],
    ids=str,
)
def test_boards_that_do_not_fit_the_configuration_are_refused(change: dict[str, Any]) -> None:
    """Their panels would be empty, and nobody would know why."""
    pytest.importorskip("grafana_foundation_sdk", reason="needs Grafana's SDK: pip install 'qoemon[dashboards]'")
    from qoemon.tools.dashboards.boards import boards  # noqa: PLC0415 - needs the extra

    config = {**BROKER, **change}
    assert (boards(Config.model_validate(config)) != boards(Config())) is (change in CHANGES)
    said = refusal({"config": config, "dashboards": {"enabled": True}})
    assert ("dashboards.boards is not set" in said) is (change in CHANGES), said
    own = {"enabled": True, "boards": {"qoemon-slo.json": "{}"}}
    assert refusal({"config": config, "dashboards": own}) == ""

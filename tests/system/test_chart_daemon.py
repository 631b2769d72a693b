"""The daemon of the Helm chart runs.

Its pod is a process with the user, rights and volumes of the manifest. It reads the rendered configuration, and is
scraped as the rendered ServiceMonitor says.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from typing import TYPE_CHECKING, Any

import aiomqtt
import pytest
import yaml

from tests.support.chart import NAMESPACE, Manifest, Pod, of_kind, rendered
from tests.support.parts import ROOT, Mosquitto, Prometheus, get, unused_port
from tests.support.patience import WAIT_S, until

if TYPE_CHECKING:
    from pathlib import Path

PAGE = (ROOT / "docs/kubernetes.md").read_text()
PASSWORD = "a secret"  # noqa: S105


@pytest.fixture
def broker(tmp_path: Path) -> Mosquitto:
    """A mosquitto that asks for a password, not started."""
    return Mosquitto(tmp_path, users={"qoemon": PASSWORD})


@pytest.fixture
def values(broker: Mosquitto) -> dict[str, Any]:
    """Values with the password in a Secret, and rules to come."""
    return {
        "config": {
            "mqtt": {
                "host": "127.0.0.1",
                "port": broker.port,
                "username": "qoemon",
                "password_file": "/etc/qoemon-secrets/broker/password",
                "reconnect": {"max": "1s"},
            },
            "http": {"port": unused_port()},
            "sessions": {"tick": "1s"},
            "log": {"format": "${LOG_FORMAT}"},
        },
        "env": [{"name": "LOG_FORMAT", "value": "logfmt"}],
        "secrets": {"broker": {"data": {"password": PASSWORD}}},
        "serviceMonitor": {"enabled": True},
    }


def scrape_configuration(manifests: list[Manifest], pod: Pod) -> dict[str, Any]:
    """What the Prometheus operator makes of the ServiceMonitor, with the pod as the one address behind its Service.

    The operator's own relabelling is that of its documentation: it sets namespace, service, pod, container,
    endpoint and job, before that of the ServiceMonitor.
    """
    (monitor,) = of_kind(manifests, "ServiceMonitor")
    selector = monitor["spec"]["selector"]["matchLabels"]
    (service,) = [
        each for each in of_kind(manifests, "Service") if selector.items() <= each["metadata"]["labels"].items()
    ]
    (endpoint,) = monitor["spec"]["endpoints"]
    (port,) = [each for each in service["spec"]["ports"] if each["name"] == endpoint["port"]]
    found = {
        "__meta_kubernetes_namespace": NAMESPACE,
        "__meta_kubernetes_service_name": service["metadata"]["name"],
        "__meta_kubernetes_pod_name": f"{pod.name}-0",
        "__meta_kubernetes_pod_container_name": "qoemon",
        "__meta_kubernetes_service_label_job": service["metadata"]["labels"][monitor["spec"]["jobLabel"]],
    }
    given = {
        "namespace": "__meta_kubernetes_namespace",
        "service": "__meta_kubernetes_service_name",
        "pod": "__meta_kubernetes_pod_name",
        "container": "__meta_kubernetes_pod_container_name",
        "job": "__meta_kubernetes_service_label_job",
    }
    theirs = [{"source_labels": [source], "target_label": label} for label, source in given.items()]
    theirs.append({"target_label": "endpoint", "replacement": endpoint["port"]})
    keys = {"sourceLabels": "source_labels", "targetLabel": "target_label"}
    own = [{keys.get(key, key): value for key, value in each.items()} for each in endpoint["relabelings"]]
    return {
        "metrics_path": endpoint["path"],
        "honor_labels": endpoint.get("honorLabels", False),
        "static_configs": [{"targets": [f"127.0.0.1:{pod.ports[port['targetPort']]}"], "labels": found}],
        "relabel_configs": [*theirs, *own],
    }


async def report(port: int) -> None:
    """Sixty viewers, of whom none suffers."""
    client = aiomqtt.Client("127.0.0.1", port, username="qoemon", password=PASSWORD, timeout=WAIT_S)
    async with client:
        for number in range(60):
            told = {"session": f"s{number}", "seq": 0, "stall_count": 0, "stall_s": 0, "play_s": 30}
            await client.publish("qoe/v1/video/eu/a", json.dumps(told), qos=1)


@pytest.mark.mosquitto
@pytest.mark.prometheus
def test_the_pod_waits_for_its_broker_then_reports_and_prometheus_scrapes_it(
    broker: Mosquitto, values: dict[str, Any], tmp_path: Path
) -> None:
    with Pod(tmp_path, rendered(values)) as pod:
        until(lambda: "cannot connect" in pod.probe("readinessProbe").body, pod.log.read_text)
        assert pod.probe("readinessProbe").status == 503
        assert pod.probe("livenessProbe").status == 200, "without its broker it must not be restarted"
        assert pod.probe("startupProbe").status == 200
        with broker:
            until(lambda: pod.probe("readinessProbe").status == 200, pod.log.read_text)
            asyncio.run(report(broker.port))
            release = rendered({**values, "prometheusRule": {"enabled": True, "rules": rules_of(pod)}})
            rules = tmp_path / "rules.yml"
            rules.write_text(yaml.safe_dump(of_kind(release, "PrometheusRule")[0]["spec"]))
            scraped = scrape_configuration(release, pod)
            with Prometheus(
                tmp_path, {"serviceMonitor/tv/qoemon/0": pod.port}, rules=rules, access=scraped
            ) as prometheus:
                query = 'qoemon_pow_ratio{job="qoemon",service="video",window="1m"}'
                until(lambda: prometheus.query(query), lambda: prometheus.query('{__name__=~"up|qoemon_mos"}'))
                (series,) = prometheus.query(query)
                assert set(series["metric"]) == {
                    *("__name__", "job", "instance", "namespace", "service", "region", "cdn", "window"),
                }
                assert series["metric"]["instance"] == "qoemon-0"
                (up,) = prometheus.query("up")
                labels = {"job": "qoemon", "instance": "qoemon-0", "namespace": NAMESPACE}
                assert up["metric"] == {"__name__": "up", **labels}
                until(lambda: down(prometheus)["health"] == "ok", lambda: down(prometheus))
                assert down(prometheus)["state"] == "inactive", "it looks for the job qoemon"
                assert not [rule for rule in evaluated(prometheus) if rule["health"] == "err"]
            assert exported(pod).startswith("/tmp/state.tar.gz: ")  # noqa: S108
            pod.stop()
    state = list((tmp_path / "volumes/state").iterdir())
    assert state
    assert {each.stat().st_uid for each in state} == {65532}
    assert 'level=info logger=qoemon.daemon event="serving on' in pod.log.read_text()


@pytest.mark.mosquitto
def test_a_backup_is_restored_as_the_page_says(broker: Mosquitto, values: dict[str, Any], tmp_path: Path) -> None:
    values["config"]["state"] = {"checkpoint": "1s"}
    release, waiting = rendered(values), Pod(tmp_path, rendered({**values, "maintenance": True}))
    with broker, Pod(tmp_path, release) as pod:
        until(lambda: pod.probe("readinessProbe").status == 200, pod.log.read_text)
        asyncio.run(report(broker.port))
        until(lambda: sessions(pod) == 60, lambda: sessions(pod))
        exported(pod)
        pod.stop()
    # As in the root of a volume of ext4. The file of the backup is in the volume "tmp", where `kubectl cp` puts it.
    (tmp_path / "volumes/state/lost+found").mkdir(mode=0o700)
    emptied, imported = re.findall(r"exec qoemon-0 -- (find .*|qoemon state import .*)", PAGE)
    waiting.executed("sh", "-c", emptied)
    assert [each.name for each in (tmp_path / "volumes/state").iterdir()] == ["lost+found"]
    waiting.executed(sys.executable, "-m", *imported.split())
    assert sessions(waiting) == 60
    with broker, Pod(tmp_path, release) as pod:
        until(lambda: pod.probe("readinessProbe").status == 200, pod.log.read_text)
        assert sessions(pod) == 60


def sessions(pod: Pod) -> int:
    """The sessions in the state of a pod."""
    command = ("qoemon", "state", "show", "-c", "/etc/qoemon/qoemon.yaml", "--json")
    told: dict[str, Any] = json.loads(pod.executed(sys.executable, "-m", *command))
    return sum(each["sessions"] for each in told["services"])


def rules_of(pod: Pod) -> str:
    """The rules of the pod's configuration, as the page has them written."""
    return pod.executed(sys.executable, "-m", "qoemon", "rules", "-c", "/etc/qoemon/qoemon.yaml")


def exported(pod: Pod) -> str:
    """What the backup of the page prints."""
    (command,) = re.findall(r"exec qoemon-0 -- qoemon (state export .*)", PAGE)
    return pod.executed(sys.executable, "-m", "qoemon", *command.split())


def evaluated(prometheus: Prometheus) -> list[dict[str, Any]]:
    """The rules of Prometheus, with their state."""
    groups = json.loads(get(prometheus.port, "/api/v1/rules").body)["data"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


def down(prometheus: Prometheus) -> dict[str, Any]:
    """The rule that fires if there is no daemon."""
    (rule,) = [rule for rule in evaluated(prometheus) if rule["name"] == "QoemonDown"]
    return rule


def test_a_pod_can_write_nothing_but_its_volumes(values: dict[str, Any], tmp_path: Path) -> None:
    """What the test before relies on."""
    pod = Pod(tmp_path, rendered(values))
    places = ("/", "/etc", "/etc/qoemon", "/etc/qoemon-secrets/broker", "/usr", "/var/lib/qoemon", "/tmp")  # noqa: S108
    script = f"for place in {' '.join(places)}; do if touch $place/file; then echo $place; fi; done; id -u"
    assert pod.executed("sh", "-c", script).split() == ["/var/lib/qoemon", "/tmp", "65532"]  # noqa: S108
    assert pod.executed("cat", "/etc/qoemon-secrets/broker/password") == PASSWORD

"""The Helm chart with a cluster, as far as it can be tried without Kubernetes.

Its parts agree with each other, with the image and with the page.
"""

from __future__ import annotations

import copy
import os
import re
import signal
import subprocess
import sys
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from qoemon.config.config import Config
from tests.support.chart import (
    CLUSTER,
    NAMESPACE,
    Manifest,
    Pod,
    configuration_text,
    kubernetes_validate,
    of_kind,
    one,
    rendered,
)
from tests.support.kubernetes import api
from tests.support.parts import ROOT, program, unused_port
from tests.support.patience import WAIT_S, until

if TYPE_CHECKING:
    from pathlib import Path

PAGE = (ROOT / "docs/cluster.md").read_text()
DOCKERFILE = (ROOT / "config/cluster/Dockerfile").read_text()
IMAGE = "qoemon-spark:local"


@pytest.fixture(scope="module")
def release() -> list[Manifest]:
    """The release of the page."""
    return rendered(CLUSTER)


def _options(manifests: list[Manifest]) -> dict[str, str]:
    options: dict[str, str] = yaml.safe_load(configuration_text(manifests))["engine"]["options"]
    return options


def _container(manifests: list[Manifest], name: str) -> dict[str, Any]:
    (container,) = one(manifests, "StatefulSet", name)["spec"]["template"]["spec"]["containers"]
    assert isinstance(container, dict)
    return container


def test_executors_find_the_driver(release: list[Manifest]) -> None:
    service, driver, options = one(release, "Service", "qoemon-pods"), "qoemon", _options(release)
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True, "they connect before the driver is ready"
    assert one(release, "StatefulSet", driver)["spec"]["serviceName"] == "qoemon-pods"
    pod = options["spark.kubernetes.driver.pod.name"]
    assert pod == f"{driver}-0"
    assert options["spark.kubernetes.namespace"] == NAMESPACE
    assert options["spark.driver.host"] == f"{pod}.qoemon-pods.{NAMESPACE}.svc"
    asked = {options[name] for name in ("spark.driver.port", "spark.driver.blockManager.port")}
    ports = {str(port["containerPort"]) for port in _container(release, driver)["ports"]}
    assert asked < ports
    assert asked < {str(port["port"]) for port in service["spec"]["ports"]}


def test_everything_is_of_one_image(release: list[Manifest]) -> None:
    images = {_container(release, name)["image"] for name in ("qoemon", "qoemon-bridge-0")}
    assert images | {_options(release)["spark.kubernetes.container.image"]} == {IMAGE}
    (application,) = of_kind(rendered({**CLUSTER, "spark": {"operator": True}}), "SparkApplication")
    assert application["spec"]["sparkConf"]["spark.kubernetes.container.image"] == IMAGE
    assert f"--tag {IMAGE} " in PAGE
    assert f"--tag {IMAGE} " in DOCKERFILE


def test_the_driver_may_create_pods_and_nobody_else(release: list[Manifest]) -> None:
    pods = {each["metadata"]["name"]: each["spec"]["template"]["spec"] for each in of_kind(release, "StatefulSet")}
    assert {name: pod["automountServiceAccountToken"] for name, pod in pods.items()} == {
        "qoemon": True,
        "qoemon-bridge-0": False,
    }
    assert (
        yaml.safe_load(one(release, "ConfigMap", "qoemon")["data"]["executor.yaml"])["spec"][
            "automountServiceAccountToken"
        ]
        is False
    )
    (binding,) = of_kind(release, "RoleBinding")
    assert [subject["name"] for subject in binding["subjects"]] == [pods["qoemon"]["serviceAccountName"]]
    (rule,) = one(release, "Role", binding["roleRef"]["name"])["rules"]
    assert {"pods", "services", "configmaps"} <= set(rule["resources"])
    assert {"create", "get", "list", "watch", "delete"} <= set(rule["verbs"])


START = """
import sys
from pathlib import Path
from qoemon.config import config
from qoemon.engine.spark.jvm_output import JvmOutput
from qoemon.engine.spark.session import start_session
start_session(config.load(Path(sys.argv[1])).engine, JvmOutput())
sys.stdin.read()
"""
"""Starts Spark with a configuration, as the driver does."""


@pytest.mark.kafka
def test_spark_makes_the_executors_that_the_chart_wants(tmp_path: Path) -> None:
    """Spark itself, in the driver's pod; what it asks of Kubernetes is valid, and leads executors to the driver."""
    program("java", "Debian package default-jre-headless")
    with api(NAMESPACE, "qoemon-0") as kubernetes:
        config = copy.deepcopy(CLUSTER["config"])
        config["engine"]["master"] = f"k8s://{kubernetes.url}"
        options = config["engine"]["options"]
        del options["spark.jars.packages"]  # They would be fetched.
        options |= {
            "spark.driver.port": str(unused_port()),
            "spark.driver.blockManager.port": str(unused_port()),
            "spark.driver.memory": "512m",
        }
        values = {
            **CLUSTER,
            "config": config,
            "spark": {"checkpoint": {"enabled": True}},
            "secrets": {"kafka": {"data": {"ca.crt": "a certificate"}}},
            "env": [{"name": "AWS_REGION", "value": "eu"}],
        }
        manifests = rendered(values)
        command = Pod(tmp_path, manifests).inside(sys.executable, "-c", START, "/etc/qoemon/qoemon.yaml")
        log = tmp_path / "driver.log"
        with log.open("w") as said:
            driver = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=said, stderr=said, start_new_session=True
            )
        try:
            until(lambda: of_kind(kubernetes.created, "Pod"), log.read_text, limit_s=2 * WAIT_S)
        finally:
            os.killpg(driver.pid, signal.SIGKILL)  # Its JVM, too.
            driver.wait()
            assert driver.stdin is not None
            driver.stdin.close()
        executor = of_kind(kubernetes.created, "Pod")[0]
    assert kubernetes_validate().validate(executor, "1.37", strict=True) == "1.37"
    metadata, spec = executor["metadata"], executor["spec"]
    assert metadata["labels"].items() >= {
        ("app.kubernetes.io/name", "qoemon-executor"),
        ("app.kubernetes.io/instance", "qoemon"),
    }
    (owner,) = metadata["ownerReferences"]
    assert owner["uid"] == "uid-of-qoemon-0", "executors end with their driver"
    template = yaml.safe_load(one(manifests, "ConfigMap", "qoemon")["data"]["executor.yaml"])["spec"]
    assert spec["securityContext"] == template["securityContext"]
    assert spec["serviceAccountName"] == "qoemon"
    assert spec["automountServiceAccountToken"] is False
    assert {each["name"] for each in spec["volumes"]} >= {each["name"] for each in template["volumes"]}
    (container,), (wanted,) = spec["containers"], template["containers"]
    assert container["image"] == IMAGE
    assert container["securityContext"] == wanted["securityContext"]
    assert all(mount in container["volumeMounts"] for mount in wanted["volumeMounts"])
    environment = {each["name"]: each.get("value") for each in container["env"]}
    assert environment["AWS_REGION"] == "eu"
    host, port = f"qoemon-0.qoemon-pods.{NAMESPACE}.svc", options["spark.driver.port"]
    assert environment["SPARK_DRIVER_URL"] == f"spark://CoarseGrainedScheduler@{host}:{port}"
    assert environment["SPARK_EXECUTOR_CORES"] == "2"


def test_without_a_cluster_nobody_may_do_anything() -> None:
    manifests = rendered({"config": {"mqtt": {"host": "broker"}}})
    assert {each["kind"] for each in manifests}.isdisjoint({"Role", "RoleBinding", "ClusterRole"})
    (daemon,) = of_kind(manifests, "StatefulSet")
    assert daemon["spec"]["template"]["spec"]["automountServiceAccountToken"] is False
    assert "executor.yaml" not in one(manifests, "ConfigMap", "qoemon")["data"]


def test_options_of_the_values_take_precedence() -> None:
    own = {"spark.driver.port": "9999", "spark.kubernetes.container.image": "other:1"}
    config = CLUSTER["config"]
    engine = {**config["engine"], "master": "spark://one:7077", "options": own}
    manifests = rendered({**CLUSTER, "config": {**config, "engine": engine}})
    options = _options(manifests)
    assert own.items() <= options.items()
    assert options["spark.driver.blockManager.port"] == "7079"
    assert yaml.safe_load(configuration_text(manifests))["engine"]["master"] == "spark://one:7077"


def test_each_bridge_has_its_session_and_its_topics() -> None:
    topics = {name: [f"qoe/v1/{name}/{{service}}/{{region}}/{{cdn}}"] for name in ("0", "1")}
    bridges = [{"name": name, "set": {"mqtt.topics": topic}} for name, topic in topics.items()]
    manifests = rendered({**CLUSTER, "spark": {"bridges": bridges}})
    for name, topic in topics.items():
        args = _container(manifests, f"qoemon-bridge-{name}")["args"]
        given = dict(arg.split("=", 1) for option, arg in pairwise(args) if option == "--set")
        assert {key: yaml.safe_load(value) for key, value in given.items()} == {
            "mqtt.client_id": f"qoemon-bridge-{name}",
            "mqtt.topics": topic,
        }


def test_bridges_without_a_broker_get_none() -> None:
    config = {**CLUSTER["config"], "mqtt": None, "collector": {"host": "0.0.0.0"}}  # noqa: S104
    manifests = rendered({**CLUSTER, "config": config})
    assert "--set" not in _container(manifests, "qoemon-bridge-0")["args"]


def test_the_driver_has_memory_for_its_jvm(release: list[Manifest]) -> None:
    daemon = _container(rendered({"config": {"mqtt": {"host": "broker"}}}), "qoemon")["resources"]
    assert daemon["limits"]["memory"] == "2Gi"
    assert _container(release, "qoemon")["resources"]["limits"]["memory"] == "6Gi"
    assert _options(release)["spark.driver.memory"] == "2g"


def test_a_shared_volume_takes_the_place_of_s3() -> None:
    config = {**CLUSTER["config"]}
    config["engine"] = {key: value for key, value in config["engine"].items() if key != "checkpoint"}
    manifests = rendered({**CLUSTER, "config": config, "spark": {"checkpoint": {"enabled": True}}})
    claim = one(manifests, "PersistentVolumeClaim", "qoemon-checkpoint")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    checkpoint = yaml.safe_load(configuration_text(manifests))["engine"]["checkpoint"]
    executor = yaml.safe_load(one(manifests, "ConfigMap", "qoemon")["data"]["executor.yaml"])
    for pod in (one(manifests, "StatefulSet", "qoemon")["spec"]["template"], executor):
        (container,) = pod["spec"]["containers"]
        mounts = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
        (volume,) = [each for each in pod["spec"]["volumes"] if each["name"] == mounts[checkpoint]]
        assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]


def test_the_operator_starts_the_same_command() -> None:
    manifests = rendered({**CLUSTER, "spark": {"operator": True}})
    (application,) = of_kind(manifests, "SparkApplication")
    spec = application["spec"]
    assert spec["driverArgs"] == ["run", "-c", "/etc/qoemon/qoemon.yaml"]
    (home,) = re.findall(r"SPARK_HOME=(\S+)/pyspark", DOCKERFILE)
    assert spec["pyFiles"] == f"local://{home}/qoemon/__main__.py"
    assert (ROOT / "qoemon/__main__.py").exists()
    account = spec["sparkConf"]["spark.kubernetes.authenticate.driver.serviceAccountName"]
    assert one(manifests, "ServiceAccount", account)
    assert [each["metadata"]["name"] for each in of_kind(manifests, "StatefulSet")] == ["qoemon-bridge-0"]
    assert not [name for name in _options(manifests) if name.startswith(("spark.driver.h", "spark.driver.p"))]
    (spark,) = re.findall(r"^FROM apache/spark:(\S+) ", DOCKERFILE, re.MULTILINE)
    assert spec["runtimeVersions"]["sparkVersion"] == spark


def test_the_image_has_the_spark_and_python_that_the_package_wants() -> None:
    base = set(re.findall(r"^FROM python:(\d+\.\d+)-", DOCKERFILE, re.MULTILINE))
    assert len(base) == 1
    assert f"/lib/python{base.pop()}/site-packages/pyspark" in DOCKERFILE
    for source in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE):
        assert all((ROOT / name).exists() for name in source.split())


CONFIGURATIONS = [block for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) if "engine:" in block]


@pytest.mark.parametrize("text", CONFIGURATIONS)
def test_configurations_of_the_page_are_valid(text: str) -> None:
    whole = yaml.safe_load(CONFIGURATIONS[0])
    content = yaml.safe_load(text)
    whole["engine"] = {**whole["engine"], **content["engine"]}
    assert Config.model_validate(whole).clustered

"""The files for a cluster on Kubernetes, as far as they can be tried without one: they agree with each other."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from qoemon.config import config as configuration
from qoemon.config.config import Config
from tests.support.parts import ROOT

FOLDER = ROOT / "config/cluster"
PAGE = (ROOT / "docs/cluster.md").read_text()
DOCKERFILE = (FOLDER / "Dockerfile").read_text()
IMAGE = "qoemon-spark:local"


def _documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


MANIFESTS = [*_documents("kubernetes.yaml"), *_documents("spark-application.yaml")]
SETS = {each["metadata"]["name"]: each for each in MANIFESTS if each["kind"] == "StatefulSet"}
SETTINGS = configuration.load(FOLDER / "qoemon.yaml")
OPTIONS = SETTINGS.engine.options


def _one(kind: str, name: str) -> dict[str, Any]:
    (found,) = [each for each in MANIFESTS if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def _container(name: str) -> dict[str, Any]:
    (container,) = SETS[name]["spec"]["template"]["spec"]["containers"]
    assert isinstance(container, dict)
    return container


def _pods() -> dict[str, dict[str, Any]]:
    """The pod of each set, and of the operator's driver."""
    pods = {name: each["spec"]["template"] for name, each in SETS.items()}
    return pods | {"operator": _one("SparkApplication", "qoemon")["spec"]["driverSpec"]["podTemplateSpec"]}


def test_the_configuration_is_one_of_a_cluster():
    assert SETTINGS.clustered
    assert SETTINGS.kafka is not None
    assert SETTINGS.engine.master.startswith("k8s://")
    assert SETTINGS.state.dir is not None
    assert SETTINGS.http.host == "0.0.0.0"  # noqa: S104 - in its container


def test_executors_find_the_driver():
    service, driver = _one("Service", "qoemon-driver"), SETS["qoemon-driver"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert service["spec"]["selector"].items() <= driver["spec"]["template"]["metadata"]["labels"].items()
    assert driver["spec"]["serviceName"] == service["metadata"]["name"]
    assert driver["spec"]["replicas"] == 1
    pod, space = OPTIONS["spark.kubernetes.driver.pod.name"], OPTIONS["spark.kubernetes.namespace"]
    assert pod == f"{driver['metadata']['name']}-0"
    assert OPTIONS["spark.driver.host"] == f"{pod}.{service['metadata']['name']}.{space}.svc"
    ports = {port["port"] for port in service["spec"]["ports"]}
    asked = ("spark.driver.port", "spark.driver.blockManager.port")
    assert ports == {*(int(OPTIONS[name]) for name in asked), SETTINGS.http.port}


def test_everything_is_in_one_namespace_and_of_one_image():
    assert {each["metadata"]["namespace"] for each in MANIFESTS} == {OPTIONS["spark.kubernetes.namespace"]}
    conf = _one("SparkApplication", "qoemon")["spec"]["sparkConf"]
    images = {_container(name)["image"] for name in SETS}
    images |= {conf["spark.kubernetes.container.image"], OPTIONS["spark.kubernetes.container.image"]}
    assert images == {IMAGE}
    assert f"--tag {IMAGE} " in PAGE
    assert f"--tag {IMAGE} " in DOCKERFILE


def test_the_driver_may_create_pods():
    account = SETS["qoemon-driver"]["spec"]["template"]["spec"]["serviceAccountName"]
    binding = _one("RoleBinding", "qoemon-driver")
    assert [subject["name"] for subject in binding["subjects"]] == [
        _one("ServiceAccount", account)["metadata"]["name"]
    ]
    (rule,) = _one("Role", binding["roleRef"]["name"])["rules"]
    assert {"pods", "services", "configmaps"} <= set(rule["resources"])
    assert {"create", "get", "list", "watch", "delete"} <= set(rule["verbs"])
    conf = _one("SparkApplication", "qoemon")["spec"]["sparkConf"]
    assert conf["spark.kubernetes.authenticate.driver.serviceAccountName"] == account


@pytest.mark.parametrize("name", ["qoemon-driver", "qoemon-bridge", "operator"])
def test_what_is_mounted_is_a_volume_and_has_the_state(name: str):
    spec = _pods()[name]["spec"]
    mounts = {each["name"]: each["mountPath"] for each in spec["containers"][0]["volumeMounts"]}
    claims = SETS[name]["spec"]["volumeClaimTemplates"] if name in SETS else []
    volumes = {each["name"] for each in spec["volumes"]} | {each["metadata"]["name"] for each in claims}
    assert mounts.keys() == volumes
    assert mounts["state"] == str(SETTINGS.state.dir)
    (config,) = [each["configMap"]["name"] for each in spec["volumes"] if "configMap" in each]
    assert f"create configmap {config} --from-file=" in PAGE
    user = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)[-1]
    context = spec["securityContext"]
    assert (str(context["runAsUser"]), str(context["fsGroup"])) == user
    assert context["runAsNonRoot"] is True


@pytest.mark.parametrize(("name", "command"), [("qoemon-driver", "run"), ("qoemon-bridge", "bridge")])
def test_commands_read_the_configuration_that_is_mounted(name: str, command: str):
    container = _container(name)
    assert container["args"][:4] == ["qoemon", command, "-c", "/etc/qoemon/qoemon.yaml"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": SETTINGS.http.port}
    probes = [container[probe]["httpGet"] for probe in ("readinessProbe", "livenessProbe")]
    assert probes == [{"path": "/readyz", "port": "http"}, {"path": "/healthz", "port": "http"}]


def test_the_operator_starts_the_same_command():
    spec = _one("SparkApplication", "qoemon")["spec"]
    assert spec["driverArgs"] == ["run", "-c", "/etc/qoemon/qoemon.yaml"]
    (home,) = re.findall(r"SPARK_HOME=(\S+)/pyspark", DOCKERFILE)
    assert spec["pyFiles"] == f"local://{home}/qoemon/__main__.py"
    assert (ROOT / "qoemon/__main__.py").exists()
    assert spec["pyFiles"] in PAGE.replace("\n", " ")


def test_the_image_has_the_spark_and_python_that_the_package_wants():
    base = set(re.findall(r"^FROM python:(\d+\.\d+)-", DOCKERFILE, re.MULTILINE))
    assert len(base) == 1
    assert f"/lib/python{base.pop()}/site-packages/pyspark" in DOCKERFILE
    (spark,) = re.findall(r"^FROM apache/spark:(\S+) ", DOCKERFILE, re.MULTILINE)
    assert _one("SparkApplication", "qoemon")["spec"]["runtimeVersions"]["sparkVersion"] == spark
    for source in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE):
        assert all((ROOT / name).exists() for name in source.split())


CONFIGURATIONS = [block for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) if "engine:" in block]


@pytest.mark.parametrize("text", CONFIGURATIONS)
def test_configurations_of_the_page_are_valid(text: str):
    whole = yaml.safe_load(CONFIGURATIONS[0])
    content = yaml.safe_load(text)
    whole["engine"] = {**whole["engine"], **content["engine"]}
    assert Config.model_validate(whole).clustered

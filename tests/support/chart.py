"""The Helm chart, rendered by Helm's own library, and one of its pods as a process of this machine."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tests.support.parts import ROOT, Part, get, missing, program

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.support.parts import Answer

CHART = ROOT / "config/helm/qoemon"
CLUSTER: dict[str, Any] = yaml.safe_load((ROOT / "config/cluster/values.yaml").read_text())
"""Values of a cluster."""

NAMESPACE = "tv"

Manifest = dict[str, Any]


def helm() -> Any:
    """Helm's library; without it the test is skipped."""
    try:
        import helm_python  # noqa: PLC0415 - tens of megabytes, for few tests
    except ModuleNotFoundError:
        missing("helm_python is not installed: it comes with the Python package helm-python-sdk (extra dev)")
    return helm_python


def kubernetes_validate() -> Any:
    """The schemas of Kubernetes; without them the test is skipped."""
    try:
        import kubernetes_validate as library  # noqa: PLC0415 - for few tests
    except ModuleNotFoundError:
        missing("kubernetes_validate is not installed: it comes with the Python package kubernetes-validate")
    return library


def rendered(values: Mapping[str, Any], name: str = "qoemon", chart: Path = CHART) -> list[Manifest]:
    """What `helm install NAME` would send to Kubernetes, in order; an error of Helm for values that are refused."""
    library = helm()
    with library.Chart.load(chart) if chart.is_dir() else library.Chart.load_archive(chart.read_bytes()) as loaded:
        # Helm's commands do this before they render, its library does not.
        loaded.validate_schema(dict(values))
        texts = loaded.render(dict(values), name=name, namespace=NAMESPACE)
    return [
        document
        for path, text in sorted(texts.items())
        if path.endswith(".yaml")
        for document in yaml.safe_load_all(text)
        if document is not None
    ]


def refusal(values: Mapping[str, Any]) -> str:
    """With what Helm refuses the values; "" if it accepts them."""
    try:
        rendered(values)
    except helm().HelmError as error:
        return str(error)
    return ""


def one(manifests: Sequence[Manifest], kind: str, name: str) -> Manifest:
    """The manifest of a kind and name."""
    (found,) = [each for each in manifests if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def of_kind(manifests: Sequence[Manifest], kind: str) -> list[Manifest]:
    """All manifests of a kind."""
    return [each for each in manifests if each["kind"] == kind]


def configuration_text(manifests: Sequence[Manifest], name: str = "qoemon") -> str:
    """The configuration in the ConfigMap of a release."""
    text: str = one(manifests, "ConfigMap", name)["data"]["qoemon.yaml"]
    return text


def java() -> list[str]:
    """Folders of Java, its home first; [] without Java."""
    found = shutil.which("java")
    # Debian has a part of it in /etc.
    return [] if found is None else [str(Path(found).resolve().parents[1]), *map(str, Path("/etc").glob("java*"))]


class Pod(Part):
    """The container of a StatefulSet as a process, with its user, rights and volumes; all else is read-only.

    The process has a root of its own, in a mount namespace, with Python, the code and what the manifest mounts. Its
    network is that of this machine. So values must have a free port as config.http.port. Pods of one directory
    share their volumes, one after the other.

    manifests  of the release
    name       of the StatefulSet
    """

    def __init__(self, directory: Path, manifests: Sequence[Manifest], name: str = "qoemon") -> None:
        super().__init__(name, directory)
        self.manifests = manifests
        template = one(manifests, "StatefulSet", name)["spec"]["template"]
        self._spec: dict[str, Any] = template["spec"]
        (self._container,) = self._spec["containers"]
        self.ports: dict[str, int] = {each["name"]: each["containerPort"] for each in self._container["ports"]}
        self.port = self.ports["http"]
        self._volumes = directory / "volumes"
        self._volumes.mkdir(exist_ok=True)
        # A checkout may be readable for its owner only.
        shutil.copytree(ROOT / "qoemon", directory / "code/qoemon", dirs_exist_ok=True)

    def probe(self, name: str) -> Answer:
        """What the kubelet is answered, such as for "readinessProbe"."""
        asked = self._container[name]["httpGet"]
        return get(self.ports[asked["port"]], asked["path"])

    def command(self) -> Sequence[str]:
        # The entry point of the image.
        return self.inside(sys.executable, "-m", "qoemon", *self._container["args"])

    def executed(self, *command: str) -> str:
        """What a command prints in the pod, as with `kubectl exec`; it must end well."""
        return subprocess.run(self.inside(*command), check=True, stdout=subprocess.PIPE, text=True).stdout

    def inside(self, *command: str) -> list[str]:
        """The command line that runs a command in the pod."""
        unshare = [program("unshare", "Debian package util-linux"), "--mount", "--propagation", "private"]
        if os.geteuid() != 0 or subprocess.run([*unshare, "true"], check=False).returncode:
            missing("a pod needs root, and the right to make mount namespaces (CAP_SYS_ADMIN)")
        user = self._spec["securityContext"]
        binds = [
            *((f"/{each}", f"/{each}") for each in ("usr", "bin", "sbin", "lib", "lib64", "dev", "proc")),
            *((str(self._volume(mount["name"])), mount["mountPath"]) for mount in self._container["volumeMounts"]),
            *((each, each) for each in (sys.base_prefix, sys.prefix, *sys.path, *java()) if Path(each).is_dir()),
            (str(self.directory / "code"), "/code"),
        ]
        script = self.directory / "pod.sh"
        script.write_text(
            "\n".join(
                [
                    "set -e",
                    "mount -t tmpfs -o mode=755 root /mnt",
                    *(
                        f"if [ -d {source} ]; then mkdir -p /mnt{target}; mount --rbind {source} /mnt{target}; fi"
                        for source, target in binds
                    ),
                    "cp /etc/hosts /etc/nsswitch.conf /mnt/etc/",
                    # As in the image for a cluster; that for a single daemon has no name for its user.
                    f"echo qoemon:x:{user['runAsUser']}:{user['runAsGroup']}::/:/bin/sh > /mnt/etc/passwd",
                    "mount -o remount,ro /mnt",
                    'exec chroot /mnt "$@"',
                ]
            )
        )
        environment = {"PATH": "/usr/bin:/bin", "HOME": "/", "PYTHONPATH": "/code"}
        if homes := java():
            environment["JAVA_HOME"] = homes[0]
        environment |= {each["name"]: each["value"] for each in self._container.get("env", [])}
        return [
            *unshare,
            *("sh", str(script)),
            *("setpriv", f"--reuid={user['runAsUser']}", f"--regid={user['runAsGroup']}"),
            *(f"--groups={user['fsGroup']}", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"),
            *("env", "-i", *(f"{name}={value}" for name, value in environment.items())),
            *command,
        ]

    def _volume(self, name: str) -> Path:
        """The folder of a volume, as the kubelet fills it."""
        folder = self._volumes / name
        folder.mkdir(exist_ok=True)
        (volume,) = [each for each in self._spec["volumes"] if each["name"] == name] or [{"emptyDir": {}}]
        if "configMap" in volume:
            for file, text in one(self.manifests, "ConfigMap", volume["configMap"]["name"])["data"].items():
                (folder / file).write_text(text)
            return folder
        if "secret" in volume:
            for file, text in one(self.manifests, "Secret", volume["secret"]["secretName"])["data"].items():
                (folder / file).write_bytes(base64.b64decode(text))
                (folder / file).chmod(volume["secret"]["defaultMode"])
                os.chown(folder / file, 0, self._spec["securityContext"]["fsGroup"])
            return folder
        # Volumes that may be written belong to the group of the pod.
        os.chown(folder, 0, self._spec["securityContext"]["fsGroup"])
        folder.chmod(0o2775)
        return folder

"""The commands of docs/install.md, run as written: in new environments, with another HOME, outside the checkout."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_string
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import qoemon
from tests.support.parts import ROOT, get, missing, program, unused_port
from tests.support.patience import TEST_S, WAIT_S, until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.timeout(4 * TEST_S)

PAGE = (ROOT / "docs/install.md").read_text()
REPOSITORY = "https://example.org/qoemon/qoemon"


def blocks(heading: str) -> list[str]:
    """The commands of a section, block by block."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"```sh\n(.*?)```", section, re.DOTALL)


def contents(folder: Path) -> dict[Path, bytes]:
    """All files below a folder."""
    return {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


class Place:
    """A home directory and a folder to work in, without anything of the checkout but what is linked."""

    def __init__(self, folder: Path) -> None:
        self.home, self.work = folder / "home", folder / "work"
        self.home.mkdir()
        self.work.mkdir()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "QOEMON"))}
        self.env = {**kept, "HOME": str(self.home), "MANPAGER": "cat"}
        self.env.pop("VIRTUAL_ENV", None)

    def run(self, script: str, cwd: Path | None = None) -> str:
        """What the commands print, all of which must end well."""
        done = subprocess.run(
            ["bash", "-euc", script],
            cwd=cwd or self.work,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """qoemon installed from the checkout, in ~/qoemon-env."""
    place = Place(tmp_path_factory.mktemp("checkout"))
    apt_get, install, *_ = blocks("In a virtual environment")
    assert apt_get == "apt-get install python3-venv\n"
    place.run(install, cwd=ROOT)
    yield place
    shutil.rmtree(place.home)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of `make release REPOSITORY=...`."""
    for name in ("twine", "check-wheel-contents", "cyclonedx-py", "pyproject-build"):
        if not Path(sys.executable).with_name(name).exists():
            missing(f"{name} is not installed: it comes with the extra dev")
    folder = tmp_path_factory.mktemp("release") / "dist"
    command = [sys.executable, str(ROOT / ".ci/release.py"), "--to", str(folder)]
    env = os.environ | {"QOEMON_REPOSITORY": f"{REPOSITORY}/"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_first_run_is_as_the_page_says(checkout: Place) -> None:
    first, run, more = blocks("First run")
    told = checkout.run(first)
    assert told.startswith(f"qoemon {qoemon.__version__}\nmy.yaml: configuration is valid\n")
    assert "at broker.example.org:1883" in told
    assert run == "qoemon run -c my.yaml\n"
    program("man", "Debian package man-db")
    shown = checkout.run(f". ~/qoemon-env/bin/activate\n{more}")
    assert "Run the daemon: read QoS reports, serve estimated ratings." in " ".join(shown.split())
    boards = {file.name: file.read_text() for file in (checkout.work / "grafana/dashboards").iterdir()}
    assert boards == {file.name: file.read_text() for file in (ROOT / "dashboards").glob("*.json")}
    assert (checkout.work / "player.js").read_text() == (ROOT / "docs/examples/player.js").read_text()
    assert "groups:" in (checkout.work / "qoemon.rules.yml").read_text()
    assert contents(checkout.work / "chart") == contents(ROOT / "config/helm/qoemon")


def test_the_daemon_runs_from_there_and_has_its_charts(checkout: Place) -> None:
    """Without its broker it is healthy, though not ready."""
    port = unused_port()
    checkout.run("~/qoemon-env/bin/qoemon config --minimal > daemon.yaml")
    command = [
        str(checkout.home / "qoemon-env/bin/qoemon"),
        "run",
        "-c",
        "daemon.yaml",
        "--set",
        f"http.port={port}",
    ]
    log = checkout.work / "daemon.log"
    with log.open("w") as stderr:
        daemon = subprocess.Popen(command, cwd=checkout.work, env=checkout.env, stderr=stderr)
    try:
        until(lambda: get(port, "/healthz").status == 200, log.read_text)
        assert get(port, "/static/plotly.min.js").status == 200
        assert get(port, "/readyz").status == 503
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(WAIT_S) == 0
    finally:
        daemon.kill()
        daemon.wait()


def test_the_demo_runs_from_a_wheel(checkout: Place) -> None:
    checkout.run("~/qoemon-env/bin/pip install --quiet '.[demo]'", cwd=ROOT)
    assert "http://127.0.0.1:" in checkout.run("~/qoemon-env/bin/qoemon demo --for 10s")


def test_an_extra_is_added_where_qoemon_is(checkout: Place) -> None:
    """By the pip of its environment, which takes no other qoemon from the package index."""
    *_, add = blocks("In a virtual environment")
    installed = "~/qoemon-env/bin/pip freeze | grep -i '^qoemon'"
    before = checkout.run(installed)
    assert "matplotlib" not in checkout.run("~/qoemon-env/bin/pip freeze")
    checkout.run(add)
    assert checkout.run(installed) == before
    assert "matplotlib" in checkout.run("~/qoemon-env/bin/pip freeze")


def test_files_of_a_release_install_with_their_pinned_dependencies(release: Path, tmp_path: Path) -> None:
    """As a service, but in other folders; the virtual environment of the page has the same commands."""
    place = Place(tmp_path)
    (place.work / "dist").symlink_to(release)
    install, start = blocks("As a service")[:2]
    names = ("/opt/qoemon", "/etc/qoemon", "/etc/systemd/system", "/usr/local/bin")
    own = {name: f"{tmp_path}/root{name}" for name in names}
    (tmp_path / "root/opt").mkdir(parents=True)
    for name in names[2:]:
        Path(own[name]).mkdir(parents=True)
    for name, path in own.items():
        assert name in install
        install = install.replace(name, path)
    place.run(install)
    program_path = f"{own['/opt/qoemon']}/bin/qoemon"
    assert (Path(own["/etc/qoemon"]) / "qoemon.yaml").read_text() == (ROOT / "config/qoemon.yaml").read_text()
    unit = Path(own["/etc/systemd/system"]) / "qoemon.service"
    assert f"\nExecStart={program_path} run -c /etc/qoemon/qoemon.yaml\n" in unit.read_text()
    assert place.run(f"{own['/usr/local/bin']}/qoemon --version") == f"qoemon {qoemon.__version__}\n"
    assert start.endswith("systemctl daemon-reload\nsystemctl enable --now qoemon\n")
    pinned = dict(re.findall(r"^([\w-]+)==(\S+)", (ROOT / "config/requirements.txt").read_text(), re.MULTILINE))
    listed = json.loads(place.run(f"{own['/opt/qoemon']}/bin/pip list --format json"))
    versions = {package["name"].lower().replace("_", "-"): package["version"] for package in listed}
    assert versions["aiohttp"] == pinned["aiohttp"]
    assert versions["plotly"] == pinned["plotly"]
    assert versions.keys() - pinned.keys() <= {"qoemon", "pip", "setuptools"}
    shutil.rmtree(tmp_path / "root")


def test_both_ways_with_files_of_a_release_are_the_same() -> None:
    (install, *_), (_, _, environment, _) = blocks("As a service"), blocks("In a virtual environment")
    lines = [line.replace("/opt/qoemon", "~/qoemon-env") for line in install.splitlines()]
    assert lines[:3] == environment.splitlines()


def test_the_readme_connects_to_a_broker_in_the_same_way() -> None:
    section = (ROOT / "README.md").read_text().partition("\n## Connect it to your broker\n")[2]
    block = section.partition("```sh\n")[2].partition("```")[0]
    commands = [line.partition("  #")[0].strip() for line in block.splitlines()]
    assert len(commands) == 6
    for command in commands:
        moved = re.sub(r"^(python3 -m venv |\. )?venv\b", r"\1~/qoemon-env", command)
        assert f"\n{moved}\n" in PAGE, command


def test_a_release_has_its_files_and_their_sums(release: Path) -> None:
    stem = f"qoemon-{qoemon.__version__}"
    names = {f"{stem}-py3-none-any.whl", f"{stem}.tar.gz", f"{stem}.tgz", f"{stem}.cdx.json"}
    assert {file.name for file in release.iterdir()} == names | {"NOTES.md", "SHA256SUMS", "requirements.txt"}
    for line in (release / "SHA256SUMS").read_text().splitlines():
        digest, _, name = line.partition("  ")
        assert hashlib.sha256((release / name).read_bytes()).hexdigest() == digest
    assert (release / "NOTES.md").read_text().startswith(f"# qoemon {qoemon.__version__}")


def test_the_bill_of_materials_names_every_pinned_dependency(release: Path) -> None:
    bill = json.loads(next(release.glob("*.cdx.json")).read_text())
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "qoemon")
    assert bill["metadata"]["component"]["version"] == qoemon.__version__
    named = {component["name"].lower().replace("_", "-") for component in bill["components"]}
    pinned = set(re.findall(r"^([\w-]+)==", (ROOT / "config/requirements.txt").read_text(), re.MULTILINE))
    assert named == pinned
    assert all(component.get("licenses") for component in bill["components"])


def test_links_of_the_description_are_absolute(release: Path) -> None:
    with zipfile.ZipFile(next(release.glob("*.whl"))) as wheel:
        metadata = message_from_string(wheel.read(f"qoemon-{qoemon.__version__}.dist-info/METADATA").decode())
    text = metadata.get_payload()
    assert isinstance(text, str)
    targets = re.findall(r"""(?:\]\(|(?:src|srcset|href)=")([^)"\s]+)""", text)
    assert len(targets) > 20
    assert all(target.startswith("https://") for target in targets)
    tag = f"v{qoemon.__version__}"
    assert f"{REPOSITORY}/raw/{tag}/docs/pictures/page-light.png" in targets
    assert f"{REPOSITORY}/blob/{tag}/docs/install.md" in targets
    assert f"Source, {REPOSITORY}" in metadata.get_all("Project-URL", [])


def test_the_source_distribution_builds_by_itself(release: Path) -> None:
    """It has what the hooks of the build read."""
    with tarfile.open(next(release.glob("*.tar.gz"))) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {".ci/build_wheel.py", ".ci/build_metadata.py", "docs/manual.py", "config/requirements.txt"} <= names

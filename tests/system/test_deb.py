"""The Debian package: built, installed, run, upgraded, removed and purged by dpkg, in a copy of this machine."""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import qoemon
from qoemon.tools.ports import unused_port
from tests.support.parts import ROOT, get, missing, program
from tests.support.patience import TEST_S, WAIT_S, until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.timeout(4 * TEST_S)

CONFIGURATION = "/etc/qoemon/qoemon.yaml"
FOR_VERSION = {"annotated_doc", "qoemon", "shellingham", "typer"}
"""What `qoemon --version` imports of the environment."""


class Machine:
    """A copy of this machine's file system, to which programs may write.

    It is an overlay in a mount namespace, and gone, with all changes, when the process ends that has the namespace.
    """

    def __init__(self, directory: Path) -> None:
        self.root = directory / "root"
        for name in ("upper", "work", "root"):
            (directory / name).mkdir()
        layers = f"lowerdir=/,upperdir={directory}/upper,workdir={directory}/work"
        script = f"""
            mount -t overlay overlay -o {layers} {self.root} &&
            mount -t proc proc {self.root}/proc && mount --rbind /dev {self.root}/dev && echo mounted && exec cat
        """
        unshare = [program("unshare", "Debian package util-linux"), "--mount", "sh", "-c", script]
        self._holder = subprocess.Popen(
            unshare, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != b"mounted\n":
            why = self._holder.communicate()[1].decode()
            missing(f"a copy of the file system needs root and overlayfs: {why}")

    def command(self, *words: str) -> list[str]:
        """How to run a command there, as its root."""
        inside = ["nsenter", "--mount", f"--target={self._holder.pid}", "chroot", str(self.root)]
        return [*inside, "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", *words]

    def run(self, *words: str, code: int = 0) -> str:
        """What the command prints, which must end with the exit code."""
        done = subprocess.run(
            self.command(*words), capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )
        assert done.returncode == code, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def exists(self, path: str) -> bool:
        return subprocess.run(self.command("test", "-e", path), check=False).returncode == 0

    def end(self) -> None:
        """Unmount, and remove what was written."""
        self._holder.communicate()
        shutil.rmtree(self.root.parent)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """As `make deb` builds it, but not compressed."""
    program("dpkg-deb", "Debian package dpkg")
    folder = tmp_path_factory.mktemp("deb")
    command = [sys.executable, str(ROOT / ".ci/deb.py"), "--to", str(folder), "--compression", "none"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = folder.iterdir()
    yield file
    shutil.rmtree(folder)  # 400 MB


@pytest.fixture(scope="module")
def lean(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of the package's files, without most dependencies, which are 9,000 of 10,000 files."""
    tree = tmp_path_factory.mktemp("lean")
    subprocess.run(["dpkg-deb", "--control", str(package), str(tree / "DEBIAN")], check=True)
    with (
        subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as files,
        tarfile.open(fileobj=files.stdout, mode="r|") as archive,
    ):
        # As filter="fully_trusted", which Python 3.11.2 of Debian 12 does not know: the package is our own.
        archive.extraction_filter = lambda member, _: member
        for member in archive:
            dependency = member.name.partition("/site-packages/")[2].partition("/")[0]
            if not dependency or dependency in FOR_VERSION:
                archive.extract(member, tree)
    assert files.returncode == 0
    sums = tree / "DEBIAN/md5sums"
    kept = (line for line in sums.read_text().splitlines(keepends=True) if (tree / line.split()[1]).exists())
    sums.write_text("".join(kept))
    return tree


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    machine = Machine(tmp_path_factory.mktemp("machine"))
    yield machine
    machine.end()


def built(tree: Path, file: Path, compression: str) -> Path:
    """The package of these files."""
    options = ["--root-owner-group", f"-Z{compression}", "--build", str(tree), str(file)]
    subprocess.run(["dpkg-deb", *options], check=True)
    return file


def newer(tree: Path, folder: Path, **comments: str) -> Iterator[Path]:
    """The package in later versions, each with a comment before its configuration file."""
    control, configuration = tree / "DEBIAN/control", Path(f"{tree}{CONFIGURATION}")
    sample = configuration.read_text()
    for name, comment in comments.items():
        text = re.sub(r"^Version: .*", f"Version: 99.{name[1:]}", control.read_text(), flags=re.MULTILINE)
        control.write_text(text)
        configuration.write_text(comment + sample)
        yield built(tree, folder / f"{name}.deb", "none")


def settings(machine: Machine) -> dict[str, list[str]]:
    """The values of each key of the installed unit."""
    found: dict[str, list[str]] = {}
    for line in machine.run("cat", "/usr/lib/systemd/system/qoemon.service").splitlines():
        if re.match(r"\w+=", line):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def test_the_package_is_one_of_this_release(package: Path) -> None:
    def field(name: str) -> str:
        command = ["dpkg-deb", "--field", str(package), name]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    assert field("Version").startswith(f"{qoemon.__version__}-1~")
    minor = int(
        subprocess.run(["/usr/bin/python3", "-V"], check=True, capture_output=True, text=True).stdout.split(".")[1]
    )
    assert field("Depends").startswith(f"python3 (>= 3.{minor}), python3 (<< 3.{minor + 1}), ")


def test_lintian_finds_nothing_to_complain_of_but_what_is_explained(lean: Path, tmp_path: Path) -> None:
    """All of the package would take it a minute; the faults of dependencies are known."""
    lintian = program("lintian", "Debian package lintian")
    file = built(lean, tmp_path / "qoemon.deb", "xz")
    command = [lintian, "--no-cfg", "--allow-root", "--profile", "debian", "--fail-on", "error,warning", str(file)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, ""), found.stdout + found.stderr


def test_install_run_upgrade_remove_and_purge(package: Path, lean: Path, tmp_path: Path, machine: Machine) -> None:
    """In this order, as the life of a package has it."""
    machine.run("dpkg", "--install", str(package))
    _is_installed(machine)
    _runs(machine)
    changed = machine.run("cat", CONFIGURATION)
    upgrades = newer(lean, tmp_path, v1="", v2="# new\n")
    machine.run("dpkg", "--install", str(next(upgrades)))
    assert machine.run("find", "/opt/qoemon", "-name", "plotly") == ""
    assert machine.run("cat", CONFIGURATION) == changed
    assert not machine.exists(f"{CONFIGURATION}.dpkg-dist")
    machine.run("dpkg", "--force-confold", "--install", str(next(upgrades)))
    assert machine.run("cat", CONFIGURATION) == changed
    assert machine.run("cat", f"{CONFIGURATION}.dpkg-dist").startswith("# new\n")
    assert machine.run("stat", "--format=%a %U:%G", CONFIGURATION) == "640 root:qoemon\n"
    assert machine.run("qoemon", "--version") == f"qoemon {qoemon.__version__}\n"
    machine.run("dpkg", "--remove", "qoemon")
    assert not machine.exists("/usr/bin/qoemon")
    assert not machine.exists("/opt/qoemon")
    assert not machine.exists("/usr/lib/systemd/system/qoemon.service")
    assert machine.run("cat", CONFIGURATION) == changed
    assert machine.exists("/var/lib/qoemon/qoemon.db")
    machine.run("dpkg", "--purge", "qoemon")
    assert not machine.exists("/etc/qoemon/qoemon.yaml")
    assert not machine.exists("/var/lib/qoemon")


def _is_installed(machine: Machine) -> None:
    assert machine.run("qoemon", "--version") == f"qoemon {qoemon.__version__}\n"
    assert machine.run("dpkg", "--verify", "qoemon") == ""
    assert machine.run("getent", "passwd", "qoemon").endswith(":/var/lib/qoemon:/usr/sbin/nologin\n")
    assert machine.run("stat", "--format=%a %U:%G", CONFIGURATION) == "640 root:qoemon\n"
    assert machine.run("cat", CONFIGURATION) == (ROOT / "config/qoemon.yaml").read_text()
    for name in ("qoemon", "qoemon-run"):
        assert machine.run("gzip", "--test", f"/usr/share/man/man1/{name}.1.gz") == ""
    for name in ("bash-completion/completions/qoemon", "zsh/vendor-completions/_qoemon"):
        assert machine.exists(f"/usr/share/{name}")
    assert "\nUser=qoemon\nGroup=qoemon\n" in machine.run("cat", "/usr/lib/systemd/system/qoemon@.service")
    # Compiled already, and the daemon can write nothing there.
    files = machine.run("find", "/opt/qoemon", "-name", "cli*.pyc", "-path", "*qoemon/__pycache__*")
    assert len(files.splitlines()) == 1
    assert machine.run("find", "/opt/qoemon", "/usr/bin/qoemon", "!", "-user", "root") == ""


def _runs(machine: Machine) -> None:
    """The daemon by the command of the unit, as its user, with the directory that systemd makes; HTTP answers."""
    unit = settings(machine)
    port = unused_port()
    machine.run("sed", "--in-place", f"s/^  port: 9877/  port: {port}/", CONFIGURATION)
    (user,), (command,), (state,) = unit["User"], unit["ExecStart"], unit["StateDirectory"]
    directory = f"/var/lib/{state}"
    machine.run("install", "--directory", f"--owner={user}", f"--group={user}", "--mode=0700", directory)
    as_user = [
        "setpriv",
        f"--reuid={user}",
        f"--regid={user}",
        "--clear-groups",
        "--no-new-privs",
        "--inh-caps=-all",
    ]
    start = machine.command(f"STATE_DIRECTORY={directory}", *as_user, *shlex.split(command))
    with subprocess.Popen(start, stderr=subprocess.PIPE, text=True) as daemon:
        try:
            until(lambda: get(port, "/healthz").status == 200, lambda: f"{daemon.poll()} {get(port, '/healthz')}")
            assert "<title>" in get(port, "/").body
            daemon.send_signal(signal.SIGTERM)
        except BaseException:
            daemon.kill()
            raise
        assert daemon.stderr is not None
        log = daemon.communicate(timeout=WAIT_S)[1]
    assert daemon.returncode == 0, log
    assert "Traceback" not in log
    assert machine.exists(f"{directory}/qoemon.db")


def test_a_copy_of_the_machine_leaves_the_machine_alone(machine: Machine) -> None:
    machine.run("touch", "/etc/qoemon-was-here")
    assert machine.exists("/etc/qoemon-was-here")
    assert not Path("/etc/qoemon-was-here").exists()

"""Builds a Debian package into dist/, for the release of Debian or Ubuntu on which it runs. `make deb`.

It has a virtual environment of the system's Python in /opt/qoemon, with the pinned dependencies. The rest comes
from config/debian/ and from the commands. docs/decisions/0033-packages.md says why it is built so.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import platform
import re
import shutil
import subprocess
import sys
from email.utils import formatdate
from pathlib import Path
from tempfile import TemporaryDirectory

from command import run

ROOT = Path(__file__).parents[1]
DEBIAN = ROOT / "config/debian"
LOCK = ROOT / "config/requirements.txt"
PREFIX = "/opt/qoemon"
PYTHON = "/usr/bin/python3"
CONFIGURATION = "/etc/qoemon/qoemon.yaml"
MOVED = {
    "bash-completion/completions": "/usr/share/bash-completion/completions",
    "zsh/site-functions": "/usr/share/zsh/vendor-completions",
    "fish/vendor_completions.d": "/usr/share/fish/vendor_completions.d",
}
"""Where Debian has what a wheel has in share/."""


def main() -> int:
    """Build the package, and print its path."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--to", type=Path, default=ROOT / "dist", help="folder of the package")
    options.add_argument("--compression", default="xz", help="as of dpkg-deb: xz or none")
    chosen = options.parse_args()
    if shutil.which("dpkg-deb") is None or not Path(PYTHON).exists():
        raise SystemExit(
            f"make deb needs Debian or Ubuntu, with dpkg-deb and {PYTHON}: apt-get install dpkg python3"
        )
    with TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        environment(root, wheel_in(Path(folder)))
        manual_and_completions(root)
        units_and_configuration(root)
        documents(root)
        name = control_files(root)
        chosen.to.mkdir(parents=True, exist_ok=True)
        root.chmod(0o755)
        run("dpkg-deb", "--root-owner-group", f"-Z{chosen.compression}", "--build", root, chosen.to / name)
        print(chosen.to / name)
    return 0


def wheel_in(folder: Path) -> Path:
    """A wheel of this checkout."""
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT)
    (wheel,) = folder.glob("*.whl")
    return wheel


def environment(root: Path, wheel: Path) -> None:
    """Make the virtual environment below root as it is to be in PREFIX."""
    folder = Path(f"{root}{PREFIX}")
    run(PYTHON, "-m", "venv", "--without-pip", "--symlinks", folder)
    python = folder / "bin/python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-compile")
    run(*pip, "--require-hashes", "--requirement", LOCK)
    run(*pip, "--no-deps", wheel)
    (folder / "bin/python").unlink()
    (folder / "bin/python").symlink_to(PYTHON)
    for program in folder.glob("bin/*"):
        if not program.name.startswith(("python", "qoemon")):
            program.unlink()  # commands of dependencies, and scripts for shells
    for file in (folder / "bin/qoemon", folder / "pyvenv.cfg"):  # they name the environment by its path
        file.write_text(file.read_text(encoding="utf-8").replace(str(root), ""), encoding="utf-8")
    shutil.rmtree(folder / "include")
    # The daemon may write nothing there. Valid whatever times dpkg gives to files.
    compiled = ("--invalidation-mode", "unchecked-hash", "-s", root, "-p", "/", folder / "lib")
    run(PYTHON, "-m", "compileall", "-q", *compiled)
    command = Path(f"{root}/usr/bin/qoemon")
    command.parent.mkdir(parents=True)
    command.symlink_to(f"{PREFIX}/bin/qoemon")


def manual_and_completions(root: Path) -> None:
    """Move what the wheel has in share/ to where Debian looks; pages are compressed."""
    share = Path(f"{root}{PREFIX}/share")
    for page in (share / "man/man1").glob("*.1"):
        write(root, f"/usr/share/man/man1/{page.name}.gz", gzip.compress(page.read_bytes(), 9, mtime=0))
    for source, target in MOVED.items():
        for script in (share / source).iterdir():
            write(root, f"{target}/{script.name}", script.read_bytes())
    shutil.rmtree(share)


def documents(root: Path) -> None:
    """Write what Debian wants to know of a package: its licence, its changes, and what lintian may pass over."""
    write(root, "/usr/share/doc/qoemon/copyright", (DEBIAN / "copyright").read_bytes())
    write(root, "/usr/share/lintian/overrides/qoemon", (DEBIAN / "lintian-overrides").read_bytes())
    changes = ROOT / "CHANGELOG.md"
    maintainer = re.findall(r"^Maintainer: (.*)", (DEBIAN / "control").read_text(), re.MULTILINE)[0]
    # That of the package. It has one entry, as each version is built once for a release of Debian.
    own = (
        f"qoemon ({version()}) {platform.freedesktop_os_release()['VERSION_CODENAME']}; urgency=medium\n\n"
        f"  * What is new in qoemon: /usr/share/doc/qoemon/changelog.gz\n\n"
        f" -- {maintainer}  {formatdate(changes.stat().st_mtime, localtime=True)}\n"
    )
    for name, text in (("changelog.gz", changes.read_bytes()), ("changelog.Debian.gz", own.encode())):
        write(root, f"/usr/share/doc/qoemon/{name}", gzip.compress(text, 9, mtime=0))


def units_and_configuration(root: Path) -> None:
    """Write what the commands print, and the user of the daemon."""
    # postinst gives it to the group of the daemon: it may have passwords.
    write(root, CONFIGURATION, (ROOT / "config/qoemon.yaml").read_bytes(), mode=0o640)
    write(root, "/usr/lib/sysusers.d/qoemon.conf", (DEBIAN / "sysusers.conf").read_bytes())
    for name, options in (("qoemon.service", ()), ("qoemon@.service", ("--template",))):
        command = [f"{root}{PREFIX}/bin/python", "-m", "qoemon", "systemd-unit", "--user", "qoemon", *options]
        text = subprocess.run(command, cwd="/", check=True, capture_output=True, text=True).stdout
        write(root, f"/usr/lib/systemd/system/{name}", text.replace(str(root), "").encode())


def control_files(root: Path) -> str:
    """Write what dpkg reads; the name of the package's file."""
    files = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    values = {
        "VERSION": version(),
        "ARCHITECTURE": output("dpkg", "--print-architecture"),
        "SIZE": str(sum(file.stat().st_size for file in files) // 1024),
        "PYTHON": python_needed(),
    }
    control = re.sub(r"@(\w+)@", lambda found: values[found[1]], (DEBIAN / "control").read_text())
    write(root, "/DEBIAN/control", control.encode())
    write(root, "/DEBIAN/conffiles", f"{CONFIGURATION}\n".encode())
    write(root, "/DEBIAN/md5sums", "".join(md5_line(file, root) for file in files).encode())
    for script in ("postinst", "prerm", "postrm"):
        write(root, f"/DEBIAN/{script}", (DEBIAN / script).read_bytes(), mode=0o755)
    return f"qoemon_{values['VERSION']}_{values['ARCHITECTURE']}.deb"


def md5_line(file: Path, root: Path) -> str:
    """What `dpkg --verify` compares a file with."""
    return f"{hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()}  {file.relative_to(root)}\n"


def version() -> str:
    """That of qoemon, and the release of the system that it is built for: 0.1.0-1~debian12."""
    system = platform.freedesktop_os_release()
    own = output(sys.executable, "-c", "import qoemon; print(qoemon.__version__)")
    return f"{own}-1~{system['ID']}{system.get('VERSION_ID', '')}"


def python_needed() -> str:
    """The versions of Python that the environment works with: compiled dependencies are for one."""
    major, minor = map(int, output(PYTHON, "-c", "import sys; print(*sys.version_info[:2])").split())
    return f"python3 (>= {major}.{minor}), python3 (<< {major}.{minor + 1})"


def write(root: Path, path: str, content: bytes, mode: int = 0o644) -> None:
    """Write a file below root, with its folders."""
    file = Path(f"{root}{path}")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    file.chmod(mode)


def output(*command: str) -> str:
    """What a command prints."""
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())

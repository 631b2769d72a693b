"""Builds a release into dist/, and checks it; nothing is published. `make release`.

Wheel and sdist; the Helm chart; requirements.txt, the pinned dependencies; a CycloneDX SBOM of these; NOTES.md, the
section of the changelog; SHA256SUMS. With `make release REPOSITORY=URL` wheel and sdist have the addresses of the
project, see build_metadata.py.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import helm_python
from command import run

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
LOCK = ROOT / "config/requirements.txt"


def main() -> int:
    """Build and check; 0 if all went well."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--to", type=Path, default=ROOT / "dist", help="folder of the files, which is emptied")
    folder: Path = options.parse_args().to
    shutil.rmtree(folder, ignore_errors=True)
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT)
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    version = wheel.name.split("-")[1]
    run(BIN / "twine", "check", "--strict", wheel, sdist)
    run(BIN / "check-wheel-contents", wheel)
    helm_python.package(str(ROOT / "config/helm/qoemon"), destination=str(folder))
    shutil.copy(LOCK, folder)
    bill_of_materials(wheel, version, folder / f"qoemon-{version}.cdx.json")
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    (folder / "NOTES.md").write_text(notes(changelog, version), encoding="utf-8")
    files = sorted(folder.iterdir())
    sums = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files]
    (folder / "SHA256SUMS").write_text("".join(sums))
    for file in files:
        print(f"{file.stat().st_size:>10,}  {file}")
    if not os.environ.get("QOEMON_REPOSITORY"):
        print("without REPOSITORY=URL the wheel has no addresses: install it from the file, publish it to no index")
    return 0


def bill_of_materials(wheel: Path, version: str, file: Path) -> None:
    """Write the SBOM of an environment with the wheel and its pinned dependencies, licences included."""
    with TemporaryDirectory() as folder:
        environment = Path(folder) / "qoemon"
        run(sys.executable, "-m", "venv", "--without-pip", environment)
        python = environment / "bin/python"
        pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-compile")
        run(*pip, "--require-hashes", "--requirement", LOCK)
        run(*pip, "--no-deps", wheel)
        options = ("--pyproject", ROOT / "pyproject.toml", "--mc-type", "application", "--output-reproducible")
        run(BIN / "cyclonedx-py", "environment", *options, "--output-format", "JSON", "--output-file", file, python)
    bill = json.loads(file.read_text(encoding="utf-8"))
    # pyproject.toml says only that the version is elsewhere.
    bill["metadata"]["component"]["version"] = version
    file.write_text(json.dumps(bill, indent=2) + "\n", encoding="utf-8")


def notes(changelog: str, version: str) -> str:
    """The section of a version; SystemExit if the changelog has none."""
    for section in changelog.split("\n## ")[1:]:
        title, _, text = section.partition("\n")
        if title.split()[0] == version:
            return f"# qoemon {title}\n{text.rstrip()}\n"
    raise SystemExit(f"CHANGELOG.md has no section {version}, the version in qoemon/__init__.py")


if __name__ == "__main__":
    sys.exit(main())

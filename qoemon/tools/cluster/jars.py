"""The jars of Kafka, fetched once from Maven Central by mvn, which may have a mirror in its settings.

fetch() does it for any pom.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from qoemon.tools.cache import MissingError, kept

POM = Path(__file__).with_name("pom.xml")

_LONGEST_S = 600
"""Limit for fetching 44 MB."""


def version() -> str:
    """Version of Kafka, as the pom has it."""
    found = re.search(r"<kafka\.version>(.+)</kafka\.version>", POM.read_text())
    assert found, f"{POM} does not name the version of Kafka"  # noqa: S101 - a file of this package
    return found[1]


def jars() -> Path:
    """The folder with the jars of Kafka, fetched if it is not there; MissingError if they cannot be fetched."""
    return kept(f"kafka-{version()}", _fetch)


def fetch(pom: Path, folder: Path, what: str, *settings: str) -> None:
    """Fetch the jars that a pom names, and what they need.

    what      they are, for errors
    settings  further arguments of mvn
    raises    MissingError if they cannot be fetched
    """
    mvn = shutil.which("mvn")
    if mvn is None:
        raise MissingError(f"mvn is not installed, which fetches the jars of {what}: apt-get install maven")
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={folder}"]
    try:
        fetched = subprocess.run(
            [mvn, "-B", "-q", "-f", str(pom), *goal, *settings],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_LONGEST_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise MissingError(_cannot(what, f"mvn took more than {_LONGEST_S} s")) from None
    if fetched.returncode:
        errors = [line for line in fetched.stdout.splitlines() if "ERROR" in line]
        raise MissingError(_cannot(what, "\n".join(["mvn printed", *(errors[:5] or [fetched.stderr[-2000:]])])))


def _fetch(folder: Path) -> None:
    fetch(POM, folder, f"Kafka {version()}")


def _cannot(what: str, why: str) -> str:
    return (
        f"the jars of {what} cannot be fetched from Maven Central. They are fetched once; where only a "
        f"mirror can be reached, it belongs into the settings.xml of Maven. {why}"
    )

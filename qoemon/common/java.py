"""The Java of this machine, which Spark and Kafka run on."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

LEAST = 17
"""The oldest version that Spark 4 and Kafka 4 run on."""

_ANSWER_S = 30.0
_INSTALL = f"install Java {LEAST} or later: apt-get install default-jre-headless"


class JavaError(Exception):
    """There is no Java that can be used; the message says what was found and what to install."""


def java_program() -> str | None:
    """Path of `java`: that of JAVA_HOME if it is set, as Spark does, else the first one in PATH; None without."""
    home = os.environ.get("JAVA_HOME")
    return shutil.which("java", path=os.path.join(home, "bin") if home else None)  # noqa: PTH118


def java_version() -> int | None:
    """The major version of `java`, such as 17; None if there is none, or it does not run."""
    program = java_program()
    if program is None:
        return None
    try:
        answer = subprocess.run(
            [program, "-version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_ANSWER_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r'version "(?:1\.)?(\d+)', answer.stderr)  # 1.8.0 is Java 8.
    return int(found[1]) if found else None


def require_java() -> str:
    """Path of a `java` that is new enough; JavaError without one."""
    program, home = java_program(), os.environ.get("JAVA_HOME")
    if program is None:
        if home:
            raise JavaError(f"JAVA_HOME is {home}, where there is no bin/java: correct it, or {_INSTALL}")
        raise JavaError(f"Java is not installed: {_INSTALL}")
    version = java_version()
    if version is None:
        raise JavaError(f"{program} -version does not answer as expected: {_INSTALL}")
    if version < LEAST:
        raise JavaError(f"{program} is Java {version}, which is too old: {_INSTALL}, and set JAVA_HOME to it")
    return program

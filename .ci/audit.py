"""Asks the public database of vulnerabilities about all that is installed here. `make audit`.

Exit code 1 if it knows of one. Where the database can't be reached, nothing is known and nothing fails; but that is
said in as many words, since pip-audit itself would report "no known vulnerabilities".
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

COMMAND = [
    *(sys.executable, "-m", "pip_audit", "--local", "--skip-editable"),
    *("--progress-spinner", "off", "--timeout", "10", "--format", "json"),
]


def main() -> int:
    """Ask, and tell in words."""
    asked = subprocess.run(COMMAND, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
    try:
        packages = json.loads(asked.stdout)["dependencies"]
    except (ValueError, KeyError):
        said = asked.stderr.strip().splitlines() or [f"exit code {asked.returncode}"]
        print(f"audit: NOT DONE, the database of vulnerabilities gave no answer: {said[-1]}")
        return 0
    return verdict(packages)


def verdict(packages: list[dict[str, Any]]) -> int:
    """The exit code; what was found is printed."""
    known = [package for package in packages if "vulns" in package]
    for package in known:
        for found in package["vulns"]:
            mended = ", ".join(found["fix_versions"]) or "no version yet"
            print(f"audit: {package['name']} {package['version']}: {found['id']}, mended in {mended}")
    vulnerable = sum(bool(package["vulns"]) for package in known)
    if not known:
        print(f"audit: NOT DONE, the database of vulnerabilities knows none of {len(packages)} packages")
    else:
        print(f"audit: {len(known)} of {len(packages)} packages looked up, {vulnerable} vulnerable")
    return 1 if vulnerable else 0


if __name__ == "__main__":
    sys.exit(main())

"""Runs the commands of which a build is made."""

from __future__ import annotations

import subprocess


def run(*command: object) -> None:
    """Run a command; end with its exit code if it fails."""
    done = subprocess.run([str(word) for word in command], check=False)
    if done.returncode:
        raise SystemExit(done.returncode)

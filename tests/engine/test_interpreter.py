"""Memory that is freed returns to the system, in a process of its own: the settings are of the whole process."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

GAPS = """
import os
from pathlib import Path

import numpy as np
from qoemon.engine.interpreter import tune

def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

tune()
np.ones(4_000_000)  # freed at once: 32 MB
before = resident_bytes()
arrays, kept = [], []
for _ in range(100):
    arrays.append(np.ones(131_072))  # 1 MiB
    kept.append(bytes(2000))
full = resident_bytes()
arrays.clear()
print((full - before) >> 20, (resident_bytes() - before) >> 20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is one of glibc")
def test_what_is_freed_between_what_stays_returns_to_the_system() -> None:
    """By glibc alone, which has seen a larger block before, 100 MiB would remain."""
    done = subprocess.run([sys.executable, "-c", GAPS], check=True, capture_output=True, text=True)
    full, left = map(int, done.stdout.split())
    assert full >= 99
    assert left < 5

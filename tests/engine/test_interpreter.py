"""Memory that is freed returns to the system, in a process of its own: the settings are of the whole process."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from tests.support.parts import ROOT

LARGE = """
import numpy as np
from benchmarks.memory import resident_bytes
from qoemon.engine.interpreter import tune

tune()
np.ones(4_000_000)  # freed at once: 32 MB
before = resident_bytes()
arrays, kept = [], []
for _ in range(100):
    arrays.append(np.ones(131_072))  # 1 MiB
    kept.append(bytes(2000))
full = resident_bytes()
arrays.clear()
"""

SMALL = """
from benchmarks.memory import resident_bytes
from qoemon.engine.interpreter import return_free_memory

before = resident_bytes()
blocks, kept = [], []
for _ in range(100):
    blocks += [bytes(4_000) for _ in range(262)]  # 1 MiB
    kept.append(bytes(2_000))
full = resident_bytes()
blocks.clear()
return_free_memory()
"""

PRINT = "print((full - before) >> 20, (resident_bytes() - before) >> 20)"

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is about glibc")


@pytest.mark.parametrize("freed", [LARGE, SMALL], ids=["large", "small"])
def test_what_is_freed_between_what_stays_returns_to_the_system(freed: str) -> None:
    """By glibc alone, which has seen a larger block before, it would all remain."""
    command = [sys.executable, "-c", freed + PRINT]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    full, left = map(int, done.stdout.split())
    assert full >= 99
    assert left < 5

"""Garbage collection in the Python workers of executors."""

from __future__ import annotations

import subprocess
import sys

SETTLED_TWICE = """
import gc
from qoemon.engine.spark.garbage import settle
settle()
loaded = gc.get_freeze_count()
kept = [[] for _ in range(10)]
settle()
print(loaded, gc.get_freeze_count() - loaded)
"""


def test_what_is_loaded_is_left_out_once() -> None:
    done = subprocess.run([sys.executable, "-c", SETTLED_TWICE], capture_output=True, text=True, check=True)
    loaded, later = map(int, done.stdout.split())
    assert loaded > 1000
    assert later <= 0

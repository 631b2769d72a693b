"""Garbage collection in the Python workers of executors."""

from __future__ import annotations

import gc
from functools import cache

from qoemon.engine.interpreter import GARBAGE


@cache
def settle() -> None:
    """Leave what this process has loaded out of garbage collection; only the first call of a process does it.

    PySpark collects after each task, which visits all objects of all modules: 42 ms of CPU.
    """
    gc.set_threshold(*GARBAGE)
    gc.collect()
    gc.freeze()

"""Garbage collection, in a process of its own: the settings are of the whole process."""

from __future__ import annotations

import subprocess
import sys

CYCLES = """
import asyncio, gc, weakref
from qoemon.engine.garbage import collected
from qoemon.engine.interpreter import tune

class Node:
    pass

async def main():
    async with collected(every_s=0.01):
        for _ in range(2):
            node = Node()
            node.itself = node
            gone = asyncio.Event()
            weakref.finalize(node, gone.set)
            del node
            await asyncio.wait_for(gone.wait(), 30)
    print("collected", gc.get_freeze_count() > 0)

tune()
asyncio.run(main())
"""


def test_reference_cycles_are_collected_again_and_again_without_what_modules_have_made() -> None:
    """By the thresholds of the collector alone, these few objects would never be."""
    command = [sys.executable, "-c", CYCLES]
    run = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert (run.returncode, run.stdout) == (0, "collected True\n"), run.stderr

"""Calls into Spark, in threads that nobody has to wait for."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from qoemon.engine.spark.calls import at_most, in_own_thread
from tests.support.parts import ROOT
from tests.support.patience import WAIT_S


async def test_a_result_and_an_error_come_back() -> None:
    assert await in_own_thread(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await in_own_thread(divmod, 7, 0)


async def test_whoever_does_not_wait_any_more_is_not_disturbed() -> None:
    go, over = threading.Event(), threading.Event()

    def work() -> None:
        go.wait(WAIT_S)
        over.set()

    future = in_own_thread(work)
    future.cancel()
    go.set()
    await asyncio.to_thread(over.wait, WAIT_S)
    await asyncio.sleep(0)
    assert future.cancelled()


def test_a_call_that_does_not_return_is_left_behind() -> None:
    at_most(0.01, threading.Event().wait)


def test_a_process_ends_though_a_call_does_not_return() -> None:
    program = (
        "import asyncio, threading\n"
        "from qoemon.engine.spark.calls import in_own_thread\n"
        "async def main():\n"
        "    in_own_thread(threading.Event().wait)\n"
        "asyncio.run(main())\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=WAIT_S)

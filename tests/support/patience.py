"""One patience for every wait of the tests.

A test waits for an event, never for a time in which the event should happen. A limit only turns a test that would
hang into one that fails, so it is generous. QOEMON_PATIENCE multiplies all limits, for a slower machine still.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = float(os.environ.get("QOEMON_PATIENCE", "1"))

WAIT_S = 60.0 * PATIENCE
"""Limit of one wait."""

TEST_S = 10 * WAIT_S
"""Limit of one test with its fixtures, for pytest-timeout."""

NEVER_S = 100 * round(WAIT_S)
"""For a limit of the program that must not be reached: a test that waits for it fails by its own limit."""

LOOK_S = 0.02
"""Pause between two looks at what is awaited."""


def until(condition: Callable[[], object], failure: Callable[[], object] = str, *, limit_s: float = WAIT_S) -> None:
    """Wait until a condition is true.

    failure  describes the situation if that does not happen within limit_s
    """
    __tracebackhide__ = True
    deadline_s = time.monotonic() + limit_s
    while not (value := condition()):
        if time.monotonic() > deadline_s:
            give_up(value, failure, limit_s)
        time.sleep(LOOK_S)


async def async_until(condition: Callable[[], object], failure: Callable[[], object] = str) -> None:
    """Wait until a condition is true, while the event loop runs; as until()."""
    __tracebackhide__ = True
    deadline_s = time.monotonic() + WAIT_S
    while not (value := condition()):
        if time.monotonic() > deadline_s:
            give_up(value, failure)
        await asyncio.sleep(LOOK_S)


def give_up(value: object, failure: Callable[[], object], limit_s: float = WAIT_S) -> None:
    """Fail with the last value of the condition; the traceback has its text."""
    __tracebackhide__ = True
    pytest.fail(f"waited {limit_s:g} s in vain, last value {value!r}: {failure()}")

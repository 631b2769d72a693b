"""Settings of the Python interpreter, and of its allocator, in every process of the daemon."""

from __future__ import annotations

import ctypes
import gc
import sys

SWITCH_S = 0.0005
"""Thread switch interval: the event loop waits this long while another thread computes. With Python's default of
5 ms the waits add up to 0.1 s at 20,000 messages/s."""

GARBAGE = (50_000, 20, 20)
"""Thresholds of the garbage collector. With Python's defaults (700, 10, 10), full collections ran several times a
tick and stopped all threads for 50 ms, with 10,000 groups."""

MAPPED_BYTES = 128 * 1024
"""Blocks of at least this size are mappings of their own, which return to the system when they are freed. glibc
begins with this limit, but raises it to the largest block that was ever freed, and then the arrays of each tick and
checkpoint leave gaps between what stays."""

_M_MMAP_THRESHOLD = -3
"""Of mallopt(3)."""


def tune() -> None:
    """Apply the settings, once, when the process starts."""
    from threadpoolctl import threadpool_limits  # noqa: PLC0415 - the command line needs only GARBAGE

    sys.setswitchinterval(SWITCH_S)
    gc.set_threshold(*GARBAGE)
    _call_glibc("mallopt", _M_MMAP_THRESHOLD, MAPPED_BYTES)
    # Our matrix products are long and thin: a second BLAS thread costs more than it gains. With one thread, results
    # do not depend on the number of cores, to the last digit.
    threadpool_limits(limits=1, user_api="blas")
    # What the modules have made stays: a full collection need not visit it. Columns of sessions are not visited.
    gc.freeze()


def return_free_memory() -> None:
    """Return the free pages between what stays to the system: glibc keeps them.

    It takes about 1 ms for each 10 MB of small blocks, and other threads that need memory wait for it.
    """
    _call_glibc("malloc_trim", 0)


def _call_glibc(name: str, *arguments: int) -> None:
    """Call a function that other C libraries do not have: there, nothing happens."""
    if (function := getattr(ctypes.CDLL(None), name, None)) is not None:
        function(*arguments)

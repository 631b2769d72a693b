"""How the interpreter is set in a process of the daemon: once, at its start."""

from __future__ import annotations

import gc
import sys

SWITCH_S = 0.0005
"""The event loop waits this long for its turn when the evaluation computes; Python's 5 ms add up to a tenth of a
second at 20,000 messages/s."""

GARBAGE = (50_000, 20, 20)
"""Objects made before Python looks for cycles among them, and how much rarer it looks among older ones. With its
own (700, 10, 10) it looked at everything several times a tick: 50 ms without any thread, with 10,000 groups."""


def tune() -> None:
    """Set it."""
    from threadpoolctl import threadpool_limits  # noqa: PLC0415 - the command line needs only GARBAGE

    sys.setswitchinterval(SWITCH_S)
    gc.set_threshold(*GARBAGE)
    # A second thread of the BLAS costs more than it gains in our products, which are long and thin; and with one
    # the figures do not depend on how many cores there are, to the last digit.
    threadpool_limits(limits=1, user_api="blas")

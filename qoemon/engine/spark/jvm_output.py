"""What the JVM of the driver writes to standard error: the reason if it does not start, and what it says later."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections import deque

KEPT_LINES = 200
"""Lines that are kept of a JVM that does not start."""

LAST_S = 2.0
"""How long the last lines of a JVM that has ended may take."""

_EMPTY = ("WARNING: Using incubator modules",)
"""Beginnings of lines that say nothing: Spark itself asks for these modules."""

_REASON = re.compile(r"(?:Exception in thread \"main\" )?(?:[\w.$]+(?:Exception|Error): )?(.*)")


class JvmOutput:
    """The end of a pipe for the JVM's standard error; its lines are held back until begun()."""

    def __init__(self) -> None:
        reading, self.file = os.pipe()
        self._held: deque[str] | None = deque(maxlen=KEPT_LINES)
        self._silent = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._read, args=(reading,), daemon=True, name="spark.stderr")
        self._thread.start()

    def begun(self) -> None:
        """The JVM runs: pass on what it writes from now on, and what it has written."""
        os.close(self.file)  # The JVM has its own.
        with self._lock:
            held, self._held = self._held, None
            for line in held or ():
                sys.stderr.write(line)

    def fall_silent(self) -> None:
        """Drop what it writes from now on: a JVM that systemd ends tells each thread's last exception."""
        with self._lock:
            self._silent = True

    def reason(self) -> str:
        """Why the JVM does not start, in one line; empty if that is not known."""
        if self._held is None:
            return ""
        os.close(self.file)
        self._thread.join(LAST_S)
        with self._lock:
            lines = [line.strip() for line in self._held if not line.startswith("\tat ") and line.strip()]
        found = _REASON.fullmatch(lines[0]) if lines else None
        return found[1] if found else ""

    def _read(self, reading: int) -> None:
        with open(reading, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.startswith(_EMPTY):
                    continue
                with self._lock:
                    if self._held is not None:
                        self._held.append(line)
                    elif not self._silent:
                        sys.stderr.write(line)

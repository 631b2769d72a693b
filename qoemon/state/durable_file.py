"""A small file that is replaced as a whole, so that after a crash it has its old content or its new one."""

from __future__ import annotations

import os
import threading
from pathlib import Path


class DurableFile:
    """One file in a locked state directory. May be used from any thread."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()

    def __str__(self) -> str:
        return str(self._path)

    def read(self) -> bytes | None:
        """The content; None if there is no such file; OSError if it cannot be read."""
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return None

    def write(self, content: bytes) -> None:
        """Replace the content, and wait until the disk has it; OSError if that fails."""
        new = self._path.with_name(f"{self._path.name}.new")
        with self._lock:
            with new.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)
            directory = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(directory)  # The new name is part of the directory.
            finally:
                os.close(directory)

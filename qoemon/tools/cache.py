"""The folder that keeps what was made or fetched once: web players, the test stream, Kafka."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


class MissingError(Exception):
    """Something is not there and cannot be had; the message says what, why, and what to do."""


def kept(name: str, make: Callable[[Path], None]) -> Path:
    """The folder of this name in the cache of the user, made by `make` if it is not there.

    make     fills an empty folder; what it leaves behind when it fails is removed
    raises   MissingError if the folder cannot be written, and what `make` raises
    """
    folder = cache() / name
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(dir=folder.parent))
    except OSError as error:
        raise MissingError(
            f"{folder.parent}: cannot be written: {error.strerror or error}; XDG_CACHE_HOME names another folder"
        ) from None
    try:
        make(unfinished)
        # Whoever made it first at the same time has made the same.
        if not folder.is_dir():
            unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def cache() -> Path:
    """The cache folder of qoemon, as the XDG base directory specification has it."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "qoemon"

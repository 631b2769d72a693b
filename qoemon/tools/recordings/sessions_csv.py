"""Writes what each session of a replayed recording was counted with, as a CSV file.

Session ids, runs and labels are names from the wire. They are written such that a spreadsheet shows them as text:

- characters that are invisible or change how others are shown become codes, as everywhere (core/wire/escape.py), so
  a row is one line;
- a name that begins as a formula does, with = + - or @, gets an apostrophe before it. One that begins with an
  apostrophe gets another one, so different names stay different.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from qoemon.common.csvfile import UnreadableError
from qoemon.core.counting.session_log import SessionRecord
from qoemon.core.wire.escape import escape_label

_BEFORE_LABELS = ("service",)
_AFTER_LABELS = (
    "session",
    "run",
    "first_heard",
    "last_heard",
    "stall_count",
    "stall_s",
    "play_s",
    "responses",
    "startup_s",
    "ended",
    "duplicates",
    "implausible_s",
    "quality_mos",
)
_FORMULA = ("=", "+", "-", "@", "'")


class UnwritableError(Exception):
    """The file cannot be written; the message has the reason."""


class SessionsCsv:
    """Writes a new file, row by row; a context manager that closes it, and removes it if anything failed.

    labels  names of the labels, in the order of SessionRecord.labels
    raises  UnreadableError if the file exists or cannot be created; UnwritableError if it cannot be written
    """

    def __init__(self, path: Path, labels: Sequence[str]) -> None:
        self._path = path
        self.rows = 0
        """Rows written so far."""
        try:
            self._file = path.open("x", encoding="utf-8", newline="")
        except FileExistsError:
            raise UnreadableError(f"{path}: exists, expected a new file: files are not replaced") from None
        except OSError as error:
            raise UnreadableError(f"{path}: cannot be created: {error.strerror or error}") from None
        self._csv = csv.writer(self._file, lineterminator="\n")
        self._put([*_BEFORE_LABELS, *map(_column, labels), *_AFTER_LABELS])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._close()
        except UnwritableError:
            self._path.unlink()
            raise
        if kind is not None:
            self._path.unlink()  # A part of the sessions must not pass for all of them.

    def write(self, record: SessionRecord) -> None:
        """Append a row."""
        self._put(
            [
                record.service,
                *map(name_cell, record.labels),
                name_cell(escape_label(record.session)),
                name_cell(escape_label(record.run)),
                round(record.first_heard_s, 3),
                round(record.last_heard_s, 3),
                record.stalls,
                record.stall_ms / 1000,
                record.play_ms / 1000,
                record.measurements,
                "" if record.startup_ms is None else record.startup_ms / 1000,
                "true" if record.ended else "false",
                record.duplicates,
                record.implausible_ms / 1000,
                "" if record.quality_mos is None else round(record.quality_mos, 4),
            ]
        )
        self.rows += 1

    def _put(self, cells: Sequence[object]) -> None:
        try:
            self._csv.writerow(cells)
        except OSError as error:
            raise self._unwritable(error) from error

    def _close(self) -> None:
        try:
            self._file.close()
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> UnwritableError:
        return UnwritableError(f"{self._path}: cannot be written: {error.strerror or error}")


def name_cell(name: str) -> str:
    """A name as a cell that no spreadsheet takes for a formula."""
    return f"'{name}" if name.startswith(_FORMULA) else name


def _column(label: str) -> str:
    """The column of a label: its name, with label_ before it if another column has that name."""
    return f"label_{label}" if label in _AFTER_LABELS else label

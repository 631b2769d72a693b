"""A CSV file, read whole or not at all: every row that cannot be used is told by its line.

A share that silently leaves out the rows nobody could read is a wrong number that looks right.
"""

from __future__ import annotations

import csv
import io
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from qoemon.common.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

STDIN = "-"

FAULTS_SHOWN = 20
"""Rows whose fault is reported; further ones are counted."""

CELL_LENGTH = 40
"""Length at which a cell is cut in messages."""

NOT_UTF8 = "surrogateescape"
"""Bytes that are not UTF-8 pass: in a column that is ignored they do no harm, elsewhere they are no number."""


class UnreadableError(Exception):
    """The file cannot be opened; says why."""


class AnalyzeError(Exception):
    """What is in the file cannot be judged; says where, what was found and what was expected."""


class UnfitError(Exception):
    """What is wrong in the file, before its name is known: see `named`."""


@contextmanager
def opened(path: str) -> Iterator[TextIO]:
    """The file, or standard input for `-`, as `rows_of` needs it; UnreadableError if it cannot be opened."""
    if path != STDIN:
        with _open(path) as file:
            yield file
        return
    stdin = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8", errors=NOT_UTF8, newline="")
    try:
        yield stdin
    finally:
        stdin.detach()  # it is not ours to close


@contextmanager
def named(file: TextIO) -> Iterator[None]:
    """An UnfitError within becomes an AnalyzeError that begins with the file's name; one in memory has none."""
    try:
        yield
    except UnfitError as error:
        raise AnalyzeError(f"{getattr(file, 'name', 'input')}: {error}") from None


@dataclass(frozen=True)
class Row:
    """The cells of a row, and the line where it begins; `broken` is why there are none, and no row after it."""

    line: int
    cells: Sequence[str]
    broken: str = ""


def rows_of(file: TextIO) -> Iterator[Row]:
    """The rows that are not blank, the header first.

    file  from `opened`, or opened with newline=""
    """
    # A spreadsheet's byte order mark would hide the quotes of the first cell.
    lines = chain([file.readline().removeprefix("\ufeff")], file)
    # Not strict, a quote that is never closed would swallow the rest of the file without a word.
    reader = csv.reader(lines, strict=True)
    line = 1
    try:
        for cells in reader:
            # A quoted empty cell is how the only column of a file says "missing": that line is not blank.
            if cells and not (len(cells) == 1 and cells[0].isspace()):
                yield Row(line, cells)
            line = reader.line_num + 1
    except csv.Error as error:
        yield Row(line, (), f"is not CSV ({error}): is a quote not closed, or not doubled within a cell?")


@dataclass(frozen=True)
class Column:
    """A needed column. Its values go from `least` to `most`."""

    name: str
    least: float
    most: float
    expected: str
    whole: bool = False

    def fault(self, cells: Sequence[str], place: int, value: float) -> str:
        """What is wrong with its cell; empty if nothing is."""
        if self.least <= value <= self.most and (not self.whole or value.is_integer()):  # NaN is not
            return ""
        cell = cells[place] if place < len(cells) else ""
        found = f"'{printable(cell, CELL_LENGTH)}'" if cell.strip() else "nothing"
        return f"{self.name}: found {found}, expected {self.expected}"


def no_fault(*_: float) -> str:
    """For rows whose cells, each right by itself, are right together."""
    return ""


@dataclass(frozen=True)
class Written:
    """How a row is written.

    columns  those that are needed
    fault    what is wrong between their values, each right by itself; empty if nothing is
    """

    columns: tuple[Column, ...]
    fault: Callable[..., str] = no_fault

    @property
    def names(self) -> str:
        """The names of the columns, to be read."""
        return ", ".join(column.name for column in self.columns)


@dataclass(frozen=True)
class Layout:
    """Where a file has the needed columns, and how many it has in all."""

    written: Written
    places: tuple[int, ...]
    width: int

    def right(self, rows: Iterable[Row]) -> Iterator[tuple[Row, list[float]]]:
        """The rows at no fault, and their needed numbers; at the end UnfitError if others are, with all of them."""
        count, faults = 0, _Faults()
        for row in rows:
            count += 1
            values = [number(row.cells, place) for place in self.places]
            if fault := self._fault(row, values):
                faults.add(row, fault)
            else:
                yield row, values
        if faults.count:
            raise UnfitError(faults.told(count))

    def _fault(self, row: Row, values: Sequence[float]) -> str:
        """All that is wrong with a row; empty if nothing is."""
        if row.broken:
            return row.broken
        if any(row.cells[self.width :]):
            # A decimal comma moves every cell after it, into columns where it may well look right.
            return f"found {len(row.cells)} cells, expected {self.width} as in the header (decimals have a point)"
        faults = [
            fault
            for column, place, value in zip(self.written.columns, self.places, values, strict=True)
            if (fault := column.fault(row.cells, place, value))
        ]
        return "; ".join(faults) or self.written.fault(*values)


def layout(header: Row, written: Written, needs: str) -> Layout:
    """Where the header says that the columns are; UnfitError if it does not.

    needs  which header is needed for what, a clause
    """
    if header.broken:
        raise UnfitError(f"line {header.line}: {header.broken}")
    found = [cell.strip() for cell in header.cells]
    for column in written.columns:
        if (times := found.count(column.name)) > 1:
            raise UnfitError(f"line {header.line}: found the column {column.name} {times} times, expected it once")
    if missing := [column.name for column in written.columns if column.name not in found]:
        there = ", ".join(f"'{printable(cell, CELL_LENGTH)}'" for cell in found)
        raise UnfitError(
            f"line {header.line}: there is no column {', '.join(missing)}; {needs}, found {there}{_hint(found)}"
        )
    return Layout(written, tuple(found.index(column.name) for column in written.columns), len(found))


def number(cells: Sequence[str], place: int) -> float:
    """The number in a cell; NaN, which no column takes, where there is none."""
    try:
        cell = cells[place]
        return nan if "_" in cell else float(cell)  # 1_000 is a number to Python alone
    except (IndexError, ValueError):
        return nan


class _Faults:
    """The rows that cannot be judged: the first of them in words, the others counted."""

    def __init__(self) -> None:
        self.count = 0
        self._shown: list[str] = []

    def add(self, row: Row, fault: str) -> None:
        self.count += 1
        if self.count <= FAULTS_SHOWN:
            self._shown.append(f"  line {row.line}: {fault}")

    def told(self, rows: int) -> str:
        shown, more = list(self._shown), self.count - FAULTS_SHOWN
        if more > 0:
            shown.append(f"  and {more:,} more")
        head = f"{self.count:,} of {rows:,} rows cannot be judged, so nothing was computed:"
        return "\n".join([head, *shown])


def _open(path: str) -> TextIO:
    try:
        return Path(path).open(encoding="utf-8", errors=NOT_UTF8, newline="")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UnreadableError(f"{path}: cannot be read: {reason}") from error


def _hint(header: Sequence[str]) -> str:
    """What may be wrong with a header that lacks columns."""
    if any("\0" in cell for cell in header):
        return "; the file looks like UTF-16: save it as UTF-8"
    for character, name in {";": "semicolons", "\t": "tabs"}.items():
        if len(header) == 1 and character in header[0]:
            return f"; its cells look separated by {name}: separate them by commas"
    return ""

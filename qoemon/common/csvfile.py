"""Reads a CSV file whole or not at all: every row that cannot be used is reported with its line.

A share that silently leaves out unreadable rows is a wrong number that looks right.
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

MAX_ROWS_REPORTED = 20
"""Rows whose fault is reported; further ones are only counted."""

CELL_LENGTH = 40
"""Length at which a cell is cut in messages."""

NOT_UTF8 = "surrogateescape"
"""Accepts bytes that are not UTF-8: harmless in a column that is ignored, and no number in any other."""


class UnreadableError(Exception):
    """The file cannot be opened; the text has the reason."""


class ContentError(Exception):
    """The content of the file cannot be used; the text has file, line, what was found and what was expected."""


class UnnamedContentError(Exception):
    """A ContentError whose text lacks the file; `file_in_errors` adds it."""


@contextmanager
def opened(path: str) -> Iterator[TextIO]:
    """The file, or standard input for "-", as `rows_of` needs it; UnreadableError if it cannot be opened."""
    if path != STDIN:
        with _open(path) as file:
            yield file
        return
    stdin = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8", errors=NOT_UTF8, newline="")
    try:
        yield stdin
    finally:
        stdin.detach()  # Otherwise standard input would be closed with the wrapper.


@contextmanager
def file_in_errors(file: TextIO) -> Iterator[None]:
    """Turn an UnnamedContentError of the block into a ContentError with the file's name, "input" without one."""
    try:
        yield
    except UnnamedContentError as error:
        raise ContentError(f"{getattr(file, 'name', 'input')}: {error}") from None


@dataclass(frozen=True)
class Row:
    """A row of the file.

    line          its first line, from 1
    syntax_error  why it is not CSV; then it has no cells and is the last row
    """

    line: int
    cells: Sequence[str]
    syntax_error: str = ""


def rows_of(file: TextIO) -> Iterator[Row]:
    """The rows that are not blank, the header first.

    file  from `opened`, or opened with newline=""
    """
    # A spreadsheet's byte order mark would hide the quotes of the first cell.
    lines = chain([file.readline().removeprefix("\ufeff")], file)
    # Without strict, a quote that is never closed would silently swallow the rest of the file.
    reader = csv.reader(lines, strict=True)
    line = 1
    try:
        for cells in reader:
            # In a file of one column a quoted empty cell means "missing": that row is not blank.
            if cells and not (len(cells) == 1 and cells[0].isspace()):
                yield Row(line, cells)
            line = reader.line_num + 1
    except csv.Error as error:
        yield Row(line, (), f"is not CSV ({error}): is a quote not closed, or not doubled within a cell?")


@dataclass(frozen=True)
class Column:
    """A required column of numbers.

    least, most  range of the values, both included
    expected     the range in words
    whole        whether only whole numbers are valid
    """

    name: str
    least: float
    most: float
    expected: str
    whole: bool = False

    def fault(self, cells: Sequence[str], place: int, value: float) -> str:
        """What is wrong with the cell at this place of a row, whose number is value; "" if it is valid."""
        if self.least <= value <= self.most and (not self.whole or value.is_integer()):  # False for NaN.
            return ""
        cell = cells[place] if place < len(cells) else ""
        found = _quoted(cell) if cell.strip() else "nothing"
        return f"{self.name}: found {found}, expected {self.expected}"


def no_fault(*_: float) -> str:
    """The fault of rows that have no rule between their cells: none."""
    return ""


@dataclass(frozen=True)
class RowFormat:
    """The format of a row.

    columns  the required columns
    fault    what is wrong between the values of the columns, each valid by itself; "" if nothing is
    """

    columns: tuple[Column, ...]
    fault: Callable[..., str] = no_fault

    @property
    def names(self) -> str:
        """The names of the columns, for a message."""
        return ", ".join(column.name for column in self.columns)


@dataclass(frozen=True)
class Layout:
    """The places of the required columns in a file, and its number of columns."""

    row_format: RowFormat
    places: tuple[int, ...]
    width: int

    def valid_rows(self, rows: Iterable[Row]) -> Iterator[tuple[Row, list[float]]]:
        """The valid rows with their required numbers; after the last row UnnamedContentError if any was invalid."""
        count, faults = 0, _Faults()
        for row in rows:
            count += 1
            values = [number(row.cells, place) for place in self.places]
            if fault := self._fault(row, values):
                faults.add(row, fault)
            else:
                yield row, values
        if faults.count:
            raise UnnamedContentError(faults.summary(count))

    def _fault(self, row: Row, values: Sequence[float]) -> str:
        """Everything that is wrong with a row; "" if nothing is."""
        if row.syntax_error:
            return row.syntax_error
        if any(row.cells[self.width :]):
            # A decimal comma moves every later cell into the next column, where it may look valid.
            return f"found {len(row.cells)} cells, expected {self.width} as in the header (decimals have a point)"
        faults = [
            fault
            for column, place, value in zip(self.row_format.columns, self.places, values, strict=True)
            if (fault := column.fault(row.cells, place, value))
        ]
        return "; ".join(faults) or self.row_format.fault(*values)


def layout(header: Row, row_format: RowFormat, needs: str) -> Layout:
    """The places of the columns after the header; UnnamedContentError if one is missing or there twice.

    needs  which header is needed for what, a clause
    """
    if header.syntax_error:
        raise UnnamedContentError(f"line {header.line}: {header.syntax_error}")
    found = [cell.strip() for cell in header.cells]
    for column in row_format.columns:
        if (times := found.count(column.name)) > 1:
            raise UnnamedContentError(
                f"line {header.line}: found the column {column.name} {times} times, expected it once"
            )
    if missing := [column.name for column in row_format.columns if column.name not in found]:
        there = ", ".join(map(_quoted, found))
        raise UnnamedContentError(
            f"line {header.line}: there is no column {', '.join(missing)}; {needs}, found {there}{_hint(found)}"
        )
    return Layout(row_format, tuple(found.index(column.name) for column in row_format.columns), len(found))


def number(cells: Sequence[str], place: int) -> float:
    """The number in a cell; NaN, which no column accepts, if it has none."""
    try:
        cell = cells[place]
        return nan if "_" in cell else float(cell)  # Only Python reads 1_000 as a number.
    except (IndexError, ValueError):
        return nan


class _Faults:
    """The invalid rows: the first MAX_ROWS_REPORTED in words, the others counted."""

    def __init__(self) -> None:
        self.count = 0
        self._reported: list[str] = []

    def add(self, row: Row, fault: str) -> None:
        self.count += 1
        if self.count <= MAX_ROWS_REPORTED:
            self._reported.append(f"  line {row.line}: {fault}")

    def summary(self, rows: int) -> str:
        lines, more = list(self._reported), self.count - MAX_ROWS_REPORTED
        if more > 0:
            lines.append(f"  and {more:,} more")
        head = f"{self.count:,} of {rows:,} rows cannot be used, so nothing was computed:"
        return "\n".join([head, *lines])


def _open(path: str) -> TextIO:
    try:
        return Path(path).open(encoding="utf-8", errors=NOT_UTF8, newline="")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UnreadableError(f"{path}: cannot be read: {reason}") from error


def _quoted(cell: str) -> str:
    return f"'{printable(cell, CELL_LENGTH)}'"


def _hint(header: Sequence[str]) -> str:
    """The probable reason why columns are missing from a header."""
    if any("\0" in cell for cell in header):
        return "; the file looks like UTF-16: save it as UTF-8"
    for character, name in {";": "semicolons", "\t": "tabs"}.items():
        if len(header) == 1 and character in header[0]:
            return f"; its cells look separated by {name}: separate them by commas"
    return ""

"""Reads the rows of a CSV file as it was saved: separator, byte order mark, gzip and comments are found by itself.

The separator is the one by which the first rows have as many cells as the header. csvcolumns.py reads numbers and
names from the rows. docs/decisions/0030-study-files.md
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import shlex
import sys
import zlib
from contextlib import contextmanager
from itertools import chain, islice
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TextIO, cast

from qoemon.common.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any, BinaryIO

STDIN = "-"

CELL_LENGTH = 40
"""Length at which a cell is cut in messages."""

SAMPLE = 200
"""Lines from which the separator and the kind of the file are found."""

NOT_UTF8 = "surrogateescape"
"""Accepts bytes that are not UTF-8: harmless in a column that is ignored, and no number in any other."""

SEPARATORS = ",;\t|"

_GZIP, _ZIP, _UTF16 = b"\x1f\x8b", b"PK\x03\x04", (b"\xff\xfe", b"\xfe\xff")


_DECIMAL_COMMA = re.compile(r"\s*[+-]?\d+,\d+\s*")


class UnreadableError(Exception):
    """The file cannot be opened; the text has the reason."""


class ContentError(Exception):
    """The content of the file cannot be used; the text has file, line, what was found and what was expected.

    fault    the text without the options
    options  with which the file can probably be read, values by name
    """

    def __init__(self, fault: str, options: Mapping[str, str] | None = None) -> None:
        self.fault, self.options = fault, dict(options or {})
        written = " ".join(f"--{name} {shlex.quote(value)}" for name, value in self.options.items())
        between = "\n  " if "\n" in fault else "; "
        super().__init__(f"{fault}{between}try {written}" if written else fault)


class UnnamedContentError(ContentError):
    """A ContentError whose text lacks the file; `file_in_errors` adds it."""


@contextmanager
def opened(path: str) -> Iterator[TextIO]:
    """The text of the file, or of standard input for "-", decompressed; UnreadableError if it cannot be opened."""
    standard = path == STDIN
    binary: io.BufferedReader[Any]
    binary = io.BufferedReader(cast("Any", sys.stdin.buffer)) if standard else _open(path)
    try:
        text = _text(binary, path)
        try:
            yield text
        finally:
            text.detach()
    finally:
        if standard:
            binary.detach()  # Otherwise standard input would be closed with the wrapper.
        else:
            binary.close()


@contextmanager
def file_in_errors(file: TextIO) -> Iterator[None]:
    """Turn an UnnamedContentError of the block into a ContentError with the file's name, "input" without one."""
    name = getattr(file, "name", "input")
    try:
        yield
    except UnnamedContentError as error:
        raise ContentError(f"{name}: {error.fault}", error.options) from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ContentError(f"{name}: is not a whole gzip file: {error}") from None


class Row(NamedTuple):
    """A row of the file.

    line          its first line, from 1
    syntax_error  why it is not CSV; then it has no cells and is the last row
    """

    line: int
    cells: Sequence[str]
    syntax_error: str = ""


class Sheet:
    """A header, and the rows below it.

    header     names of the columns, without the spaces around them
    line       of the header; 0 if the file has none
    first      the first rows below the header
    separator  of cells
    """

    def __init__(self, rows: Iterable[Row], header: Sequence[str], line: int, separator: str = ",") -> None:
        rest = iter(rows)
        self.header, self.line, self.separator = [cell.strip() for cell in header], line, separator
        self.first = list(islice(rest, SAMPLE))
        self._rest = rest

    def rows(self) -> Iterator[Row]:
        """All rows below the header, once."""
        return chain(self.first, self._rest)

    def find(self, name: str) -> list[int]:
        """The columns of this name: as it is written, or otherwise in upper or lower case."""
        exact = [place for place, cell in enumerate(self.header) if cell == name]
        return exact or [place for place, cell in enumerate(self.header) if plain(cell) == plain(name)]

    def cells(self, place: int) -> list[str]:
        """The cells of a column in the first rows."""
        return [row.cells[place].strip() if place < len(row.cells) else "" for row in self.first]


def read_sheet(file: TextIO, needs: str, names: Sequence[str] = ()) -> Sheet:
    """The sheet in a file; UnnamedContentError if it has no header.

    file   from `opened`, or opened with newline=""
    needs  which header is needed for what, a clause
    names  header of a file that has none
    """
    lines = list(islice(file, SAMPLE))
    if lines:
        lines[0] = lines[0].removeprefix("\ufeff")  # It would hide the quotes of the first cell.
    top = next((at for at, line in enumerate(lines) if not _is_above(line)), len(lines))
    separator = _named_separator(lines[:top]) or _separator(lines[top:])
    if not names and (commented := _commented_header(lines[:top], lines[top:], separator)):
        top -= 1
        lines[top] = commented
    rows = _rows(chain(lines[top:], file), separator, top + 1)
    first = next(rows, None)
    if first is None:
        raise UnnamedContentError(f"there is nothing in it; {needs}")
    if first.syntax_error:
        raise UnnamedContentError(f"line {first.line}: {first.syntax_error}")
    if any("\0" in cell for cell in first.cells):
        raise UnnamedContentError("the file looks like UTF-16: save it as UTF-8")
    if names:
        return Sheet(chain([first], rows), names, 0, separator)
    return Sheet(rows, first.cells, first.line, separator)


def plain(name: str) -> str:
    """A name of a column by which spellings of it are compared: "Stall Count" is stall_count."""
    return "_".join(name.casefold().replace("-", " ").replace("_", " ").split())


def number(cell: str) -> float:
    """The number in a cell; NaN if it has none."""
    try:
        return nan if "_" in cell else float(cell)  # Only Python reads 1_000 as a number.
    except ValueError:
        return nan


def quoted(cell: str) -> str:
    """A cell in a message."""
    return f"'{printable(cell, CELL_LENGTH)}'"


def names_in(text: str) -> tuple[str, ...]:
    """The names in a list such as a,b,"c,d"."""
    cells = next(csv.reader([text], skipinitialspace=True), [])
    return tuple(name for cell in cells if (name := cell.strip()))


def list_of(names: Iterable[str]) -> str:
    """The list from which `names_in` reads these names."""
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow(list(names))
    return out.getvalue()


def _open(path: str) -> io.BufferedReader[Any]:
    try:
        return Path(path).open("rb")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UnreadableError(f"{path}: cannot be read: {reason}") from error


def _text(binary: io.BufferedReader[Any], path: str) -> io.TextIOWrapper:
    try:
        magic = binary.peek(4)[:4]
    except OSError as error:
        raise UnreadableError(f"{path}: cannot be read: {error.strerror}") from error
    if magic == _ZIP:
        raise UnreadableError(f"{path}: cannot be read: it is a spreadsheet or an archive, save the table as CSV")
    if magic.startswith(_UTF16):
        return io.TextIOWrapper(binary, encoding="utf-16", errors="replace", newline="")
    plain_bytes = gzip.GzipFile(fileobj=binary) if magic.startswith(_GZIP) else binary
    return io.TextIOWrapper(cast("BinaryIO", plain_bytes), encoding="utf-8", errors=NOT_UTF8, newline="")


def _rows(lines: Iterable[str], separator: str, line: int) -> Iterator[Row]:
    """The rows that are not blank."""
    if separator == " ":
        lines = (each.strip() + "\n" for each in lines)
    # Without strict, a quote that is never closed would silently swallow the rest of the file.
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=separator == " ", strict=True)
    above = line
    try:
        for cells in reader:
            # In a file of one column a quoted empty cell means "missing": that row is not blank.
            if cells and not (len(cells) == 1 and cells[0].isspace()):
                yield Row(line, cells)
            line = reader.line_num + above
    except csv.Error as error:
        yield Row(line, (), f"is not CSV ({error}): is a quote not closed, or not doubled within a cell?")


def _is_above(line: str) -> bool:
    """Whether a line stands above the table: it is blank, a comment, or what Excel writes there."""
    return not line.strip() or line.startswith("#") or line[:4].casefold() == "sep="


def _named_separator(above: Sequence[str]) -> str:
    named = [line[4:5] for line in above if line[:4].casefold() == "sep="]
    return named[0] if named and named[0] in f"{SEPARATORS} " else ""


def _separator(lines: Sequence[str]) -> str:
    """The separator by which most lines have as many cells as the first, and more than one; a comma without any."""
    found = {each: _fit(lines, each) for each in SEPARATORS}
    best = max(found, key=lambda each: found[each])
    if found[best][1] > 1:
        return best
    share, width = _fit([line.strip() for line in lines], " ")
    if width > 1 and share == 1:
        return " "
    # A single column of decimal commas has no separator: not the comma, at any rate.
    numbers = [line for line in lines[1:] if line.strip()]
    return ";" if numbers and all(map(_DECIMAL_COMMA.fullmatch, numbers)) else ","


def _fit(lines: Sequence[str], separator: str) -> tuple[float, int]:
    """The share of rows that have as many cells as the first, and that number; (0, 0) if it is 1."""
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=separator == " ")
    try:
        widths = [len(cells) for cells in reader if cells]
    except csv.Error:
        return 0, 0
    if not widths or widths[0] < 2:
        return 0, 0
    below = widths[1:-1] if len(lines) == SAMPLE else widths[1:]  # The last one may be cut within a cell.
    return (below.count(widths[0]) / len(below) if below else 1), widths[0]


def _commented_header(above: Sequence[str], below: Sequence[str], separator: str) -> str:
    """The last comment if it is the header, as NumPy writes it, or as a first column named "#" looks."""
    if not above or not above[-1].startswith("#") or not below:
        return ""
    line = above[-1]
    bare = line[1:].lstrip()
    text = line if bare.startswith(separator) else bare
    names, cells = (next(_rows([each], separator, 1), Row(1, ())).cells for each in (text, below[0]))
    return text if len(names) == len(cells) > 1 and any(number(cell) == number(cell) for cell in cells) else ""

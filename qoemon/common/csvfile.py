"""Reads the rows of a CSV file as it was saved: separator, byte order mark, gzip and comments are found by itself.

The separator is the one by which the first rows have as many cells as the header. csvcolumns.py reads numbers and
names from the rows. docs/decisions/0030-study-files.md
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import shlex
import sys
import zlib
from contextlib import contextmanager
from itertools import chain, islice
from math import isnan, nan
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

MOSTLY = 0.9
"""Share of the rows with as many cells as the first that makes it the header."""

NOT_UTF8 = "latin-1 where not utf-8"
"""Reads bytes that are not UTF-8 as Latin-1, in which older spreadsheets save; they are no digits."""


def _as_latin1(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("latin-1"), error.end


codecs.register_error(NOT_UTF8, _as_latin1)

SEPARATORS = ",;\t|"

_GZIP, _UTF16 = b"\x1f\x8b", (b"\xff\xfe", b"\xfe\xff")

_BINARY = {
    b"PK\x03\x04": "a spreadsheet or an archive",
    b"\xd0\xcf\x11\xe0": "an old spreadsheet",
    b"PAR1": "Parquet",
    b"ARROW1": "Arrow",
    b"MATLAB": "a file of MATLAB",
    b"\x89HDF": "HDF5",
    b"$FL2": "a file of SPSS",
    b"$FL3": "a file of SPSS",
    b"<stata": "a file of Stata",
    b"%PDF": "a PDF",
    b"\x93NUMPY": "an array of NumPy",
    b"SQLite": "a database of SQLite",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ": "compressed with xz",
    b"\x28\xb5\x2f\xfd": "compressed with Zstandard",
    b"7z\xbc\xaf": "an archive",
    b"Rar!": "an archive",
    b"RDX": "a file of R",
}
"""Formats by their first bytes."""

_TEXT = (
    (re.compile(r"\s*(\{|\[\s*($|[{\[]))"), "JSON"),
    (re.compile(r"\s*<(!doctype|html|\?xml|[a-z]+>)", re.IGNORECASE), "HTML or XML"),
    (re.compile(r"version https://git-lfs"), "only the pointer of Git LFS (git lfs pull gets the file)"),
    (re.compile(r"@relation\b", re.IGNORECASE), "ARFF"),
    (re.compile(r"\w+ = ['\"\[{(]"), "a program"),
)
"""Formats by their first line."""


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
    if kind := _other_format(lines, top):
        raise UnnamedContentError(f"the file is {kind}: save the table as CSV in UTF-8")
    separator = _named_separator(lines[:top]) or _separator(lines[top:])
    if not names and (commented := _commented_header(lines[:top], lines[top:], separator)):
        top -= 1
        lines[top] = commented
    elif not names and (begin := _begin(lines[top:], separator)):
        raise UnnamedContentError(
            f"the table seems to begin in line {top + begin}: remove the lines above it, or begin them with #"
        )
    rows = _rows(chain(lines[top:], file), separator, top + 1)
    first = next(rows, None)
    if first is None:
        raise UnnamedContentError(f"there is nothing in it; {needs}")
    if first.syntax_error:
        raise UnnamedContentError(f"line {first.line}: {first.syntax_error}")
    if names:
        return Sheet(chain([first], rows), names, 0, separator)
    header = ["", *first.cells] if _are_rows_of_r(lines[top:], separator) else first.cells
    return Sheet(rows, header, first.line, separator)


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
        magic = binary.peek(8)[:8]
    except OSError as error:
        raise UnreadableError(f"{path}: cannot be read: {error.strerror}") from error
    if kind := next((kind for start, kind in _BINARY.items() if magic.startswith(start)), ""):
        raise UnreadableError(f"{path}: cannot be read: it is {kind}, save the table as CSV")
    if magic.startswith(_UTF16):
        return io.TextIOWrapper(binary, encoding="utf-16", errors="replace", newline="")
    plain_bytes = gzip.GzipFile(fileobj=binary) if magic.startswith(_GZIP) else binary
    return io.TextIOWrapper(cast("BinaryIO", plain_bytes), encoding="utf-8", errors=NOT_UTF8, newline="")


def _rows(lines: Iterable[str], separator: str, line: int) -> Iterator[Row]:
    """The rows that are not blank."""
    if separator == " ":
        lines = (each.strip() + "\n" for each in lines)
    rest = iter(lines)
    above = list(islice(rest, 2))
    # Without strict, a quote that is never closed would silently swallow the rest of the file.
    reader = csv.reader(
        chain(above, rest), delimiter=separator, skipinitialspace=_spaced(above, separator), strict=True
    )
    offset = line
    try:
        for cells in reader:
            # In a file of one column a quoted empty cell means "missing": that row is not blank.
            if cells and not (len(cells) == 1 and cells[0].isspace()):
                yield Row(line, cells)
            line = reader.line_num + offset
    except csv.Error as error:
        yield Row(line, (), f"is not CSV ({error}): is a quote not closed, or not doubled within a cell?")


def _spaced(lines: Sequence[str], separator: str) -> bool:
    """Whether spaces stand between a separator and a quote, where they would be a part of the cell."""
    return separator == " " or any(f'{separator} "' in line for line in lines)


def _other_format(lines: Sequence[str], top: int) -> str:
    """What the text is instead of CSV; "" if nothing says so."""
    if any("\0" in line for line in lines):
        return "UTF-16, or no text"
    return next((kind for pattern, kind in _TEXT if top < len(lines) and pattern.match(lines[top])), "")


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
    by_space = [line.strip() for line in lines]
    share, width = _fit(by_space, " ")
    if width > 1 and share == 1:
        return " "
    if named := next((each for each in (*SEPARATORS, " ") if _are_rows_of_r(lines, each)), ""):
        return named
    # A single column of decimal commas has no separator: not the comma, at any rate.
    numbers = [line for line in lines[1:] if line.strip()]
    return ";" if numbers and all(map(_DECIMAL_COMMA.fullmatch, numbers)) else ","


def _cells(lines: Sequence[str], separator: str) -> list[tuple[int, list[str]]]:
    """The cells of each row that is not blank, after its line from 1; [] if the lines are not CSV."""
    complete = lines[:-1] if len(lines) == SAMPLE else lines  # The last one may be cut within a cell.
    rows = list(_rows(complete, separator, 1))
    return [] if rows and rows[-1].syntax_error else [(row.line, [*row.cells]) for row in rows]


def _are_rows_of_r(lines: Sequence[str], separator: str) -> bool:
    """Whether all rows have a name, all different, before the columns of the header: write.table of R."""
    found = [cells for _, cells in _cells(lines, separator)]
    if len(found) < 3:
        return False
    width, below = len(found[0]), found[1:]
    names = [cells[0] for cells in below]
    if {len(cells) for cells in below} != {width + 1} or len(set(names)) < len(names):
        return False
    # 1,5 below a single name is a decimal comma.
    return width > 1 or (separator == " " and names == [str(at) for at in range(1, len(names) + 1)])


def _begin(lines: Sequence[str], separator: str) -> int:
    """Line of a header below a title, from 1; 0 if the header is where it should be."""
    share, width = _fit(lines, separator)
    if (width > 1 and share > MOSTLY) or _are_rows_of_r(lines, separator):
        return 0
    for each in SEPARATORS:
        found = _cells(lines, each)
        widths = [len(cells) for _, cells in found]
        usual = max(widths, key=widths.count, default=0)
        above = widths.index(usual) if usual > 1 else 0
        header = found[above][1] if above else []
        if above and len(found) > above + 2 and set(widths[above:]) == {usual} and _are_names(header):
            return found[above][0]
    return 0


def _are_names(cells: Sequence[str]) -> bool:
    return all(cell.strip() and isnan(number(cell)) for cell in cells)


def _fit(lines: Sequence[str], separator: str) -> tuple[float, int]:
    """The share of rows that have as many cells as the first, and that number; (0, 0) if it is 1."""
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=_spaced(lines[:2], separator))
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

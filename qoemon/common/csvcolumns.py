"""Reads columns of numbers and names from the rows of a CSV file, whole or not at all.

Every row that cannot be used is reported with its line: a share that silently leaves out unreadable rows is a wrong
number that looks right. Only a row that lacks a value by an explicit mark, such as NA, is left out, and counted.
Rows are read in blocks, so that the cost of a cell is that of a call of C.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from math import inf, isfinite, nan
from typing import TYPE_CHECKING

import numpy as np

from qoemon.common.csvfile import UnnamedContentError, number, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from qoemon.common.csvfile import Row, Sheet

    Floats = np.ndarray[Any, np.dtype[np.float64]]
    Ints = np.ndarray[Any, np.dtype[np.int64]]
    Flags = np.ndarray[Any, np.dtype[np.bool_]]

MISSING = ("", "na", "n/a", "#n/a", "<na>", "nan", "null", "none", "-", "--", "?", ".")
"""Cells that say that there is no value, in any case."""

MAX_ROWS_REPORTED = 20
"""Rows whose fault is reported; further ones are only counted."""

DISTINCT = 10
"""Different invalid cells of a column that are remembered."""

FLAGS = {"true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0}

BLOCK = 10_000
"""Rows that are read together."""


@dataclass(frozen=True)
class Column:
    """A column of numbers.

    least, most  range of the values, both included
    expected     the range in words
    whole        whether only whole numbers are valid
    words        words that are numbers, in lower case
    """

    name: str
    least: float
    most: float
    expected: str
    whole: bool = False
    words: Mapping[str, float] = field(default_factory=dict, hash=False)

    def valid(self, values: Floats) -> Flags:
        """Which values are valid, (N,); False for NaN."""
        with np.errstate(invalid="ignore"):
            inside = (self.least <= values) & (values <= self.most)
            return np.asarray(inside & (np.rint(values) == values) if self.whole else inside)


@dataclass(frozen=True)
class Source:
    """Where the values of a column are: a place in each row times a factor, or one value for all rows.

    place     index of the cell; -1 for a value that is the same in all rows
    factor    of the number in the cell, or that value
    by_option whether an option says so
    """

    place: int
    factor: float = 1.0
    by_option: bool = False


@dataclass(frozen=True)
class Names:
    """A column of names, which may be joined from several.

    required  whether a row without it is invalid, instead of left out
    instead   the name of rows without one; "" if they have none
    """

    name: str
    places: tuple[int, ...]
    expected: str
    required: bool = True
    instead: str = ""


@dataclass(frozen=True)
class Labels:
    """N names, of which L differ.

    names  (L,) in the order of the file
    code   (N,) index of each into names
    """

    names: tuple[str, ...]
    code: Ints


@dataclass(frozen=True)
class Values:
    """The N usable rows.

    numbers  (N,) by name of the column
    labels   by name of the column
    lines    (N,) line of each
    rows     number of rows of the file
    missing  number of rows that were left out as they lack a value, by name of the column
    ends     smallest and largest number, by name of the column
    """

    numbers: Mapping[str, Floats]
    labels: Mapping[str, Labels]
    lines: Ints
    rows: int
    missing: Mapping[str, int]
    ends: Mapping[str, tuple[float, float]]

    def notes(self, what: str) -> tuple[str, ...]:
        """What was left out, in words; what: what a row is, in the plural."""
        return tuple(
            f"{count:,} of {self.rows:,} {what} are left out: {name} is missing"
            for name, count in self.missing.items()
        )


class RowsError(UnnamedContentError):
    """Rows cannot be used.

    share    of the rows
    invalid  different cells that are invalid, at most DISTINCT, by name of the column
    ends     smallest and largest number in each column, by its name
    """

    def __init__(
        self,
        fault: str,
        share: float,
        invalid: Mapping[str, Sequence[str]],
        ends: Mapping[str, tuple[float, float]],
    ) -> None:
        super().__init__(fault)
        self.share, self.invalid, self.ends = share, invalid, ends


def no_fault(*_: float) -> str:
    """The fault of rows that have no rule between their cells: none."""
    return ""


@dataclass(frozen=True)
class RowFormat:
    """What is read of each row.

    columns    of numbers, and where they are
    names      columns of names
    fault      what is wrong between the numbers of a row, each valid by itself; "" if nothing is
    exempt     name of a column of flags: rows with it need no other number; "" if there is none
    missing    further cells that say that there is no value
    """

    columns: Sequence[tuple[Column, Source]]
    names: Sequence[Names] = ()
    fault: Callable[..., str] = no_fault
    exempt: str = ""
    missing: Sequence[str] = ()


def read_columns(sheet: Sheet, row_format: RowFormat) -> Values:
    """The columns of a sheet; RowsError if any row is invalid, UnnamedContentError if none is left."""
    reader = _Reader(row_format, len(sheet.header), commas=sheet.separator != ",")
    if not sheet.first:
        raise UnnamedContentError("there is a header but no row below it")
    rows = sheet.rows()
    while block := list(islice(rows, BLOCK)):
        reader.add(block)
    return reader.values()


class _Reader:
    """Reads the rows block by block, and keeps what can be used of them."""

    def __init__(self, row_format: RowFormat, width: int, *, commas: bool) -> None:
        marks = {*MISSING, *(each.casefold() for each in row_format.missing)}
        self._format, self._width, self._commas = row_format, width, commas
        self._numbers = [_NumberReader(*each, marks, commas=commas) for each in row_format.columns]
        self._names = [_NameReader(each) for each in row_format.names]
        self._faults, self._missing = _Faults(), Counter[str]()
        self._lines: list[Ints] = []
        self._rows = 0

    def add(self, block: Sequence[Row]) -> None:
        """Read these rows, at most BLOCK."""
        self._rows += len(block)
        broken = self._broken(block)
        for number_reader in self._numbers:
            number_reader.read(block)
        for name_reader in self._names:
            name_reader.read(block)
        self._exempt()
        readers: list[_NumberReader | _NameReader] = [*self._numbers, *self._names]
        invalid = np.logical_or.reduce([each.invalid for each in readers])
        invalid[list(broken)] = True
        missing = np.logical_or.reduce([each.missing for each in readers]) & ~invalid
        usable = ~(invalid | missing)
        in_words = not self._faults.full
        for at in np.flatnonzero(invalid).tolist() if in_words else ():
            said = [fault for each in readers if (fault := each.fault(at))]
            self._faults.add(block[at], broken.get(at) or "; ".join(said))
        if not in_words:
            self._faults.count += int(invalid.sum())
        if self._format.fault is not no_fault:
            self._relate(block, usable, in_words=in_words)
        for each in readers:
            # A row that lacks several values counts for the first of them.
            self._missing[each.name] += int((each.missing & missing).sum())
            missing &= ~each.missing
            each.keep(usable)
        self._lines.append(np.fromiter((row.line for row in block), np.int64, len(block))[usable])

    def values(self) -> Values:
        """All usable rows; RowsError if any row was invalid, UnnamedContentError if none is usable."""
        for each in self._numbers:
            each.check_decimals()
        if self._faults.count:
            raise RowsError(
                self._faults.summary(self._rows),
                self._faults.count / self._rows,
                {each.name: list(each.different) for each in self._numbers if each.different},
                {each.name: each.ends for each in self._numbers},
            )
        lines = np.concatenate(self._lines)
        missing = {name: count for name, count in self._missing.items() if count}
        if not len(lines):
            found = ", ".join(f"{name} in {count:,}" for name, count in missing.items())
            raise UnnamedContentError(f"no row can be used: all {self._rows:,} lack a value ({found})")
        return Values(
            numbers={each.name: each.column_kept() for each in self._numbers},
            labels={each.name: each.labels() for each in self._names},
            lines=lines,
            rows=self._rows,
            missing=missing,
            ends={each.name: each.ends for each in self._numbers},
        )

    def _broken(self, block: Sequence[Row]) -> dict[int, str]:
        """What is wrong with rows as such, by their index in the block."""
        width, broken = self._width, {}
        for at, row in enumerate(block):
            if row.syntax_error:
                broken[at] = row.syntax_error
            elif len(row.cells) > width and any(row.cells[width:]):
                # A decimal comma moves every later cell into the next column, where it may look valid.
                found = f"found {len(row.cells)} cells, expected {width} as in the header"
                broken[at] = found if self._commas else f"{found} (decimals have a point)"
        return broken

    def _exempt(self) -> None:
        """Ask nothing of rows with the flag of exemption but that flag."""
        flags = next((each for each in self._numbers if each.name == self._format.exempt), None)
        if flags is None:
            return
        exempt = flags.numbers == 1
        for each in self._numbers:
            if each is not flags:
                each.numbers[exempt] = nan
                each.missing &= ~exempt
                each.invalid &= ~exempt

    def _relate(self, block: Sequence[Row], usable: Flags, *, in_words: bool) -> None:
        """Find what is wrong between the numbers of a row."""
        checked = np.flatnonzero(
            usable & np.logical_and.reduce([~np.isnan(each.numbers) for each in self._numbers])
        )
        columns = [each.numbers[checked].tolist() for each in self._numbers]
        for at, *numbers in zip(checked.tolist(), *columns, strict=True):
            if fault := self._format.fault(*numbers):
                usable[at] = False
                if in_words:
                    self._faults.add(block[at], fault)
                else:
                    self._faults.count += 1


class _NumberReader:
    """Reads a column of numbers; numbers, missing and invalid are those of the last block."""

    def __init__(self, column: Column, source: Source, marks: set[str], *, commas: bool) -> None:
        self.name, self.ends, self.different = column.name, (inf, -inf), dict[str, None]()
        self.numbers, self.missing, self.invalid = np.zeros(0), np.zeros(0, bool), np.zeros(0, bool)
        self._column, self._source, self._marks, self._commas = column, source, marks, commas
        self._more_marks = len(marks) > len(MISSING)
        self._texts: Sequence[str | None] = []
        self._line_of: dict[str, int] = {}
        self._kept: list[Floats] = []

    def read(self, block: Sequence[Row]) -> None:
        """Read the column of these rows."""
        place = self._source.place
        self.missing = np.zeros(len(block), bool)
        if place < 0:
            self.numbers, self.invalid = np.full(len(block), self._source.factor), np.zeros(len(block), bool)
            return
        try:
            texts = [row.cells[place] for row in block]
            self._texts = texts
            joined = " ".join(texts)
            if "_" in joined or (self._commas and "," in joined):
                raise ValueError
            numbers = np.fromiter(map(float, texts), np.float64, len(block))
        except (IndexError, ValueError):
            numbers = self._read_each(block)
        if self._more_marks or np.isnan(numbers).any():
            self.missing = np.fromiter(map(self._is_missing, self._texts), np.bool_, len(block))
            numbers[self.missing] = nan
        self.numbers = numbers if self._source.factor == 1 else numbers * self._source.factor
        self._note(block)
        self.invalid = ~self.missing & ~self._column.valid(self.numbers)
        for at in np.flatnonzero(self.invalid).tolist() if len(self.different) < DISTINCT else ():
            self.different[(self._texts[at] or "").strip()] = None

    def fault(self, at: int) -> str:
        """What is wrong with the cell of this row of the block; "" if nothing is."""
        if not self.invalid[at]:
            return ""
        cell = self._texts[at] or ""
        found = quoted(cell) if cell.strip() else "nothing"
        return f"{self.name}: found {found}, expected {self._column.expected}"

    def keep(self, usable: Flags) -> None:
        """Keep these of the numbers of the block."""
        self._kept.append(self.numbers[usable])

    def column_kept(self) -> Floats:
        """All numbers that were kept."""
        kept, self._kept = np.concatenate(self._kept), []
        return kept

    def check_decimals(self) -> None:
        """Raise UnnamedContentError if some decimals have a comma and others a point: one of them is none."""
        if {",", "."} <= self._line_of.keys():
            lines = f"a comma in line {self._line_of[',']} and a point in line {self._line_of['.']}"
            raise UnnamedContentError(f"{self.name}: decimals have {lines}, expected the same in all")

    def _note(self, block: Sequence[Row]) -> None:
        """Remember the ends of the column, and how its decimals are written."""
        finite = self.numbers[np.isfinite(self.numbers)]
        if len(finite):
            self.ends = min(self.ends[0], float(finite.min())), max(self.ends[1], float(finite.max()))
        for mark in ",." if self._commas else "":
            if mark not in self._line_of:
                texts = zip(block, self._texts, self.numbers.tolist(), strict=True)
                lines = (row.line for row, text, value in texts if text and mark in text and isfinite(value))
                if line := next(lines, 0):
                    self._line_of[mark] = line

    def _read_each(self, block: Sequence[Row]) -> Floats:
        place = self._source.place
        self._texts = [row.cells[place] if place < len(row.cells) else None for row in block]
        return np.fromiter(map(self._number, self._texts), np.float64, len(block))

    def _number(self, text: str | None) -> float:
        if text is None:
            return nan
        if self._source.by_option and text.rstrip().endswith("%"):
            text = text.rstrip()[:-1]
        if (value := self._column.words.get(text.strip().casefold())) is not None:
            return value
        if self._commas and text.count(",") == 1 and "." not in text:
            text = text.replace(",", ".")
        return number(text)

    def _is_missing(self, text: str | None) -> bool:
        return text is not None and text.strip().casefold() in self._marks


class _NameReader:
    """Reads a column of names; missing and invalid are those of the last block."""

    def __init__(self, names: Names) -> None:
        self.name, self.missing, self.invalid = names.name, np.zeros(0, bool), np.zeros(0, bool)
        self._format, self._codes = names, np.zeros(0, np.int64)
        self._known: dict[str, int] = {}
        self._kept: list[Ints] = []

    def read(self, block: Sequence[Row]) -> None:
        """Read the names of these rows."""
        known, instead = self._known, self._format.instead
        names = ((name or instead) for name in self._texts(block))
        codes = (known.setdefault(name, len(known)) if name else -1 for name in names)
        self._codes = np.fromiter(codes, np.int64, len(block))
        absent, none = self._codes < 0, np.zeros(len(block), bool)
        self.invalid, self.missing = (absent, none) if self._format.required else (none, absent)

    def fault(self, at: int) -> str:
        """What is wrong with the name of this row of the block; "" if nothing is."""
        return f"{self.name}: found nothing, expected {self._format.expected}" if self.invalid[at] else ""

    def keep(self, usable: Flags) -> None:
        """Keep these of the names of the block."""
        self._kept.append(self._codes[usable])

    def labels(self) -> Labels:
        """All names that were kept."""
        codes, self._kept = np.concatenate(self._kept), []
        used, code = np.unique(codes, return_inverse=True)
        if len(used) == len(self._known):
            return Labels(tuple(self._known), codes)
        names = tuple(self._known)
        return Labels(tuple(names[each] for each in used.tolist()), code.astype(np.int64))

    def _texts(self, block: Sequence[Row]) -> Iterable[str]:
        if len(self._format.places) == 1:
            place = self._format.places[0]
            return (row.cells[place].strip() if place < len(row.cells) else "" for row in block)
        last = max(self._format.places)
        return (
            ", ".join(row.cells[place].strip() for place in self._format.places) if last < len(row.cells) else ""
            for row in block
        )


class _Faults:
    """The invalid rows: the first MAX_ROWS_REPORTED in words, the others counted."""

    def __init__(self) -> None:
        self.count = 0
        self._reported: list[tuple[int, str]] = []

    @property
    def full(self) -> bool:
        """Whether the rows of further blocks need no words."""
        return len(self._reported) >= MAX_ROWS_REPORTED

    def add(self, row: Row, fault: str) -> None:
        """Report a row."""
        self.count += 1
        self._reported.append((row.line, fault))

    def summary(self, rows: int) -> str:
        """The message of all of them."""
        head = f"{self.count:,} of {rows:,} rows cannot be used, so nothing was computed:"
        lines = [f"  line {line}: {fault}" for line, fault in sorted(self._reported)[:MAX_ROWS_REPORTED]]
        more = self.count - MAX_ROWS_REPORTED
        return "\n".join([head, *lines, *([f"  and {more:,} more"] if more > 0 else [])])


def cut(lines: Sequence[str]) -> list[str]:
    """The first MAX_ROWS_REPORTED lines, and how many more there are."""
    more = len(lines) - MAX_ROWS_REPORTED
    return [*lines[:MAX_ROWS_REPORTED], *([f"and {more:,} more"] if more > 0 else [])]

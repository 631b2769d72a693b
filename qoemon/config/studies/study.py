"""Reads the CSV file of a subjective study: conditions, and the ratings that people gave under them.

It is read whole or not at all, and every row that cannot be used is reported with its line. A study is read for
one of two purposes: how far ratings spread around their mean (`Ratings`, for `qoemon sos` and empirical ratings),
and how their mean depends on the quality of service (`Study`, for `qoemon fit`).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from itertools import chain
from math import inf, isfinite, nan
from typing import TYPE_CHECKING, TextIO

import numpy as np

from qoemon.common.csvfile import (
    Column,
    ContentError,
    Row,
    RowFormat,
    UnnamedContentError,
    file_in_errors,
    layout,
    number,
    rows_of,
)
from qoemon.config.studies.conditions import ConditionFormat, condition_format
from qoemon.config.studies.ratings import Ratings
from qoemon.core.qoe.mapping import Qos
from qoemon.core.qoe.scale import ACR5

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qoemon.core.arrays import Counts, Floats
    from qoemon.core.qoe.mapping import QosMapping

CONDITION, RATING, MOS, COUNT, WEIGHT = "condition", "rating", "mos", "n", "weight"
"""Names of the columns of a study; any other column may be an input of a mapping."""

MAX_WEIGHT = 1e9


class StudyError(ContentError):
    """The study cannot be used for this purpose; the text has what is missing."""


@dataclass(frozen=True)
class Study:
    """C distinct conditions and the mean rating of each.

    mapping   the mapping that the conditions are for, with its inputs named
    inputs    the names of its inputs if they are columns of the file; () for a mapping with inputs of its own
    names     (C,) each condition as text: its columns and their values
    axes      (C,) each: the arguments of the mapping
    mos       (C,) scale points
    weights   (C,) weight of each MOS: its number of ratings, or as in the file
    ratings   the ratings of the same conditions; None if the file has only their means
    """

    mapping: QosMapping
    inputs: tuple[str, ...]
    names: tuple[str, ...]
    axes: tuple[Floats, ...]
    mos: Floats
    weights: Floats
    ratings: Ratings | None


def read_ratings(file: TextIO, low: float = ACR5.low, high: float = ACR5.high) -> Ratings:
    """The ratings in a file with the columns condition and rating.

    file       from `csvfile.opened`, or opened with newline=""
    low, high  ends of the scale; ratings need not be whole numbers
    raises     ContentError with everything that is wrong in the file; StudyError if low and high are no scale
    """
    if not (isfinite(low) and isfinite(high) and low < high):
        raise StudyError(f"found a scale from {low:g} to {high:g}, expected two numbers, the lower first")
    row_format = RowFormat((_Name(CONDITION, -inf, inf, "a name of what was rated"), _answer(RATING, low, high)))
    conditions: dict[str, list[float]] = {}
    with file_in_errors(file):
        for cells, (_, rating) in _study_file(file, f"ratings need a header with {row_format.names}").read(
            row_format
        ):
            conditions.setdefault(cells[0], []).append(rating)
    return Ratings.of(low, high, {name: np.array(ratings) for name, ratings in conditions.items()})


def read_study(file: TextIO, mapping: QosMapping, inputs: Sequence[str] = ()) -> Study:
    """The conditions in a file to which the mapping can be fitted.

    The file has a column rating, with a row for each rating; or a column mos, with a row for each condition, and
    optionally its number of ratings n or its weight. Its other columns are those that `qoemon analyze` reads for
    the mapping, or the inputs.

    file     from `csvfile.opened`, or opened with newline=""
    mapping  a mapping without inputs gets those columns as inputs that are named, or all that hold numbers
    inputs   names of columns
    raises   ContentError with everything that is wrong in the file; StudyError if the mapping rejects the inputs
    """
    with file_in_errors(file):
        source = _study_file(file, "a study needs a header with rating or mos, and with what was rated")
        study_format = _study_format(source, mapping, tuple(inputs))
        return study_format.pooled(source.read(RowFormat(study_format.columns, study_format.fault)))


_Numbers = tuple[float, ...]
_Cells = tuple[tuple[str, ...], _Numbers]
"""The required cells of a row, as texts and as numbers."""


@dataclass(frozen=True)
class _StudyFile:
    """A file whose header and first row have been read."""

    header: Row
    first: Row
    rest: Iterator[Row]
    needs: str

    @property
    def names(self) -> list[str]:
        """The names of the columns in the header."""
        return [cell.strip() for cell in self.header.cells]

    def read(self, row_format: RowFormat) -> list[_Cells]:
        """The required cells of all rows; UnnamedContentError if any row is invalid."""
        there = layout(self.header, row_format, self.needs)
        return [
            (tuple(row.cells[place].strip() for place in there.places), tuple(values))
            for row, values in there.valid_rows(chain([self.first], self.rest))
        ]


def _study_file(file: TextIO, needs: str) -> _StudyFile:
    rows = rows_of(file)
    header, first = next(rows, None), next(rows, None)
    if header is None:
        raise UnnamedContentError(f"there is nothing in it; {needs}")
    if header.syntax_error:
        raise UnnamedContentError(f"line {header.line}: {header.syntax_error}")
    if first is None:
        raise UnnamedContentError(f"there is a header but no row below it; {needs}")
    return _StudyFile(header, first, rows, needs)


@dataclass(frozen=True)
class _StudyFormat:
    """The columns of a study that are read: the conditions, the answer (rating or mos), and its weight if any."""

    mapping: QosMapping
    inputs: tuple[str, ...]
    conditions: ConditionFormat
    answer: Column
    weight: tuple[Column, ...]

    @property
    def columns(self) -> tuple[Column, ...]:
        """All columns that are read."""
        return (*self.conditions.columns, self.answer, *self.weight)

    def fault(self, *values: float) -> str:
        """What is wrong between the values of a row; "" if nothing is."""
        qos = values[: len(self.conditions.columns)]
        if self.mapping.qos is Qos.STALLS and qos[2] == 0:
            return "play_s: found nothing played, expected some: all mappings put this at their lowest MOS"
        return self.conditions.fault(*qos)

    def pooled(self, rows: Sequence[_Cells]) -> Study:
        """The study, with rows pooled that are the same condition to the mapping."""
        width = len(self.conditions.columns)
        values = np.array([numbers for _, numbers in rows]).T
        axes = self.conditions.axes(*values[:width])
        answers, weights = values[width], values[width + 1] if self.weight else np.ones(len(rows))
        place = _places(axes)
        first = np.unique(place, return_index=True)[1]
        total = np.bincount(place, weights).astype(np.float64)
        names = tuple(map(self._name, values[:width, first].T.tolist()))
        return Study(
            mapping=self.mapping,
            inputs=self.inputs,
            names=names,
            axes=tuple(axis[first] for axis in axes),
            mos=np.bincount(place, weights * answers) / total,
            weights=total,
            ratings=self._ratings(names, place, answers) if self.answer.name == RATING else None,
        )

    def _name(self, values: Sequence[float]) -> str:
        columns = zip(self.conditions.columns, values, strict=True)
        return ", ".join(f"{column.name} {repr(value).removesuffix('.0')}" for column, value in columns)

    def _ratings(self, names: Sequence[str], place: Counts, answers: Floats) -> Ratings:
        scale = self.mapping.scale
        return Ratings(scale.low, scale.high, tuple(names), place, answers)


def _study_format(source: _StudyFile, mapping: QosMapping, inputs: tuple[str, ...]) -> _StudyFormat:
    if mapping.inputs and inputs:
        raise StudyError(f"{mapping.name} has inputs of its own, {', '.join(mapping.inputs)}: name no others")
    named = mapping if mapping.inputs else _with_inputs(source, mapping, inputs)
    answer = _only(
        (RATING, MOS), source.names, "either rating, with a row a rating, or mos, with a row a condition"
    )
    weights = [name for name in (COUNT, WEIGHT) if answer == MOS and name in source.names and name not in inputs]
    return _StudyFormat(
        named,
        () if mapping.inputs else named.inputs,
        _conditions(named),
        _answer(answer, mapping.scale.low, mapping.scale.high),
        (_weight(_only(weights, source.names, "one of them")),) if weights else (),
    )


def _only(choices: Sequence[str], names: Sequence[str], expected: str) -> str:
    there = [name for name in choices if name in names]
    if len(there) != 1:
        found = f"the columns {' and '.join(there)}" if there else f"no column {' or '.join(choices)}"
        raise UnnamedContentError(f"found {found}, expected {expected}")
    return there[0]


def _with_inputs(source: _StudyFile, mapping: QosMapping, inputs: tuple[str, ...]) -> QosMapping:
    """The mapping with the named inputs, or else with every column that has a number in the first row."""
    reserved = (CONDITION, RATING, MOS, COUNT, WEIGHT, "")
    numeric = (name for place, name in enumerate(source.names) if isfinite(number(source.first.cells, place)))
    try:
        return mapping.with_inputs(inputs or [name for name in numeric if name not in reserved])
    except ValueError as error:
        raise StudyError(f"{error}; name the columns that are its inputs") from None


def _places(axes: Sequence[Floats]) -> Counts:
    """(N,) the number of each row's distinct condition, counted in order of appearance."""
    known: dict[_Numbers, int] = {}
    return np.array(
        [known.setdefault(at, len(known)) for at in zip(*(axis.tolist() for axis in axes), strict=True)]
    )


@dataclass(frozen=True)
class _Name(Column):
    """A column of text: any cell that is not blank is valid."""

    def fault(self, cells: Sequence[str], place: int, value: float) -> str:
        named = place < len(cells) and cells[place].strip()
        return "" if named else super().fault(cells, place, nan)


def _answer(name: str, low: float, high: float) -> Column:
    return Column(name, low, high, f"a number from {low:g} to {high:g}")


def _weight(name: str) -> Column:
    return Column(name, sys.float_info.min, MAX_WEIGHT, f"a number above 0, up to {MAX_WEIGHT:,.0f}")


def _conditions(mapping: QosMapping) -> ConditionFormat:
    """The format of `qoemon analyze`, but measures have no limits: a study may have them in any unit."""
    if mapping.qos is not Qos.MEASURES:
        return condition_format(mapping)
    most = sys.float_info.max
    return ConditionFormat(tuple(Column(name, -most, most, "a number") for name in mapping.inputs))

"""A CSV file of a subjective study: what people rated, and under which conditions.

Read like a file of experiences in `analyze`: whole or not at all, and every row that cannot be used is told by its
line. Two questions are asked of a study: how far ratings spread around their mean (`Ratings`, for `sos`), and how
their mean follows from the quality of service (`Study`, for `fit`).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from itertools import chain
from math import inf, isfinite, nan
from typing import TYPE_CHECKING, TextIO

import numpy as np

from qoemon.common.csvfile import AnalyzeError, Column, Row, UnfitError, Written, layout, named, number, rows_of
from qoemon.config.studies.conditions import WrittenConditions, written_for
from qoemon.core.qoe.mapping import Qos
from qoemon.core.qoe.scale import ACR5

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from qoemon.core.arrays import Counts, Floats
    from qoemon.core.qoe.mapping import QosMapping

CONDITION, RATING, MOS, COUNT, WEIGHT = "condition", "rating", "mos", "n", "weight"
"""What columns of a study are called; all others may be inputs of a mapping."""

MOST_WEIGHT = 1e9


class StudyError(AnalyzeError):
    """What the study holds does not answer the question; says what is missing."""


@dataclass(frozen=True)
class Ratings:
    """What people said, by condition in the order of the file.

    low, high   ends of the scale, scale points
    conditions  (n,) the ratings of each, at least one
    """

    low: float
    high: float
    conditions: Mapping[str, Floats]


@dataclass(frozen=True)
class Study:
    """C distinct conditions, and what people said there on average.

    mapping   what the conditions are for, with its inputs named
    inputs    their names if the file gave them; none for a mapping with inputs of its own
    names     (C,) the columns of each condition as a text
    axes      (C,) an input of the mapping, as its formula takes them
    mos       (C,) scale points
    weights   (C,) what each MOS counts: the ratings it is the mean of, or as the file says
    ratings   the ratings of the same conditions; None where the file tells only means
    """

    mapping: QosMapping
    inputs: tuple[str, ...]
    names: tuple[str, ...]
    axes: tuple[Floats, ...]
    mos: Floats
    weights: Floats
    ratings: Ratings | None


def read_ratings(file: TextIO, low: float = ACR5.low, high: float = ACR5.high) -> Ratings:
    """The ratings in a file with the columns condition and rating; AnalyzeError tells all that is wrong in it.

    file       from `csvfile.opened`, or opened with newline=""
    low, high  ends of the scale; ratings need not be whole numbers
    raises     StudyError if they are no scale
    """
    if not (isfinite(low) and isfinite(high) and low < high):
        raise StudyError(f"found a scale from {low:g} to {high:g}, expected two numbers, the lower first")
    written = Written((_Name(CONDITION, -inf, inf, "a name of what was rated"), _answer(RATING, low, high)))
    conditions: dict[str, list[float]] = {}
    with named(file):
        for cells, (_, rating) in _begun(file, f"ratings need a header with {written.names}").read(written):
            conditions.setdefault(cells[0], []).append(rating)
    return Ratings(low, high, {name: np.array(ratings) for name, ratings in conditions.items()})


def read_study(file: TextIO, mapping: QosMapping, inputs: Sequence[str] = ()) -> Study:
    """The conditions in a file that the mapping can be fitted to; AnalyzeError tells all that is wrong in it.

    The file has a column rating, and a row a rating; or mos, and a row a condition, with its number of ratings n or
    its weight if there is either. Besides, it has the columns of the mapping's service, as `analyze` reads them, or
    those of its inputs.

    file     from `csvfile.opened`, or opened with newline=""
    mapping  as it has its name: without inputs yet if it has none of its own
    inputs   which columns are its inputs then; all that hold numbers if not given
    raises   StudyError if the mapping does not take these inputs
    """
    with named(file):
        begun = _begun(file, "a study needs a header with rating or mos, and with what was rated")
        wanted = _wanted(begun, mapping, tuple(inputs))
        return wanted.pooled(begun.read(Written(wanted.columns, wanted.fault)))


_Numbers = tuple[float, ...]
_Cells = tuple[tuple[str, ...], _Numbers]
"""The needed cells of a row, as texts and as numbers."""


@dataclass(frozen=True)
class _Begun:
    """A file of which the header and the first row have been read."""

    header: Row
    first: Row
    rest: Iterator[Row]
    needs: str

    @property
    def names(self) -> list[str]:
        """What the header calls the columns."""
        return [cell.strip() for cell in self.header.cells]

    def read(self, written: Written) -> list[_Cells]:
        """The needed cells of all rows, if none of them is at fault."""
        there = layout(self.header, written, self.needs)
        return [
            (tuple(row.cells[place].strip() for place in there.places), tuple(values))
            for row, values in there.right(chain([self.first], self.rest))
        ]


def _begun(file: TextIO, needs: str) -> _Begun:
    rows = rows_of(file)
    header, first = next(rows, None), next(rows, None)
    if header is None:
        raise UnfitError(f"there is nothing in it; {needs}")
    if header.broken:
        raise UnfitError(f"line {header.line}: {header.broken}")
    if first is None:
        raise UnfitError(f"there is a header but no row below it; {needs}")
    return _Begun(header, first, rows, needs)


@dataclass(frozen=True)
class _Wanted:
    """Which columns of a study are read: those of the conditions, what was answered, what it counts."""

    mapping: QosMapping
    inputs: tuple[str, ...]
    conditions: WrittenConditions
    answer: Column
    weight: tuple[Column, ...]

    @property
    def columns(self) -> tuple[Column, ...]:
        """All of them."""
        return (*self.conditions.columns, self.answer, *self.weight)

    def fault(self, *values: float) -> str:
        """What is wrong between the cells of a row."""
        qos = values[: len(self.conditions.columns)]
        if self.mapping.qos is Qos.STALLS and qos[-1] == 0:
            return "play_s: found nothing played, expected some: all mappings put this at their lowest MOS"
        return self.conditions.fault(*qos)

    def pooled(self, rows: Sequence[_Cells]) -> Study:
        """The rows, pooled where the mapping sees the same condition."""
        width = len(self.conditions.columns)
        values = np.array([numbers for _, numbers in rows]).T
        axes = self.conditions.condition(*values[:width])
        answers, weights = values[width], values[width + 1] if self.weight else np.ones(len(rows))
        place = _places(axes)
        first = np.unique(place, return_index=True)[1]
        total = np.bincount(place, weights).astype(np.float64)
        names = tuple(map(self._told, values[:width, first].T.tolist()))
        return Study(
            mapping=self.mapping,
            inputs=self.inputs,
            names=names,
            axes=tuple(axis[first] for axis in axes),
            mos=np.bincount(place, weights * answers) / total,
            weights=total,
            ratings=self._ratings(names, place, answers) if self.answer.name == RATING else None,
        )

    def _told(self, values: Sequence[float]) -> str:
        columns = zip(self.conditions.columns, values, strict=True)
        return ", ".join(f"{column.name} {repr(value).removesuffix('.0')}" for column, value in columns)

    def _ratings(self, names: Sequence[str], place: Counts, answers: Floats) -> Ratings:
        scale = self.mapping.scale
        return Ratings(scale.low, scale.high, {name: answers[place == at] for at, name in enumerate(names)})


def _wanted(begun: _Begun, mapping: QosMapping, inputs: tuple[str, ...]) -> _Wanted:
    if mapping.inputs and inputs:
        raise StudyError(f"{mapping.name} has inputs of its own, {', '.join(mapping.inputs)}: name no others")
    named = mapping if mapping.inputs else _with_inputs(begun, mapping, inputs)
    answer = _only((RATING, MOS), begun.names, "either rating, with a row a rating, or mos, with a row a condition")
    weights = [name for name in (COUNT, WEIGHT) if answer == MOS and name in begun.names and name not in inputs]
    return _Wanted(
        named,
        () if mapping.inputs else named.inputs,
        _conditions(named),
        _answer(answer, mapping.scale.low, mapping.scale.high),
        (_weight(_only(weights, begun.names, "one of them")),) if weights else (),
    )


def _only(choices: Sequence[str], names: Sequence[str], expected: str) -> str:
    there = [name for name in choices if name in names]
    if len(there) != 1:
        found = f"the columns {' and '.join(there)}" if there else f"no column {' or '.join(choices)}"
        raise UnfitError(f"found {found}, expected {expected}")
    return there[0]


def _with_inputs(begun: _Begun, mapping: QosMapping, inputs: tuple[str, ...]) -> QosMapping:
    """The mapping of the inputs that are named, or else of all columns that begin with a number."""
    reserved = (CONDITION, RATING, MOS, COUNT, WEIGHT, "")
    numeric = (name for place, name in enumerate(begun.names) if isfinite(number(begun.first.cells, place)))
    try:
        return mapping.with_inputs(inputs or [name for name in numeric if name not in reserved])
    except ValueError as error:
        raise StudyError(f"{error}; name the columns that are its inputs") from None


def _places(axes: Sequence[Floats]) -> Counts:
    """Which distinct condition each row has, (N,), in the order of the rows."""
    known: dict[_Numbers, int] = {}
    return np.array(
        [known.setdefault(at, len(known)) for at in zip(*(axis.tolist() for axis in axes), strict=True)]
    )


@dataclass(frozen=True)
class _Name(Column):
    """A column of texts."""

    def fault(self, cells: Sequence[str], place: int, value: float) -> str:
        named = place < len(cells) and cells[place].strip()
        return "" if named else super().fault(cells, place, nan)


def _answer(name: str, low: float, high: float) -> Column:
    return Column(name, low, high, f"a number from {low:g} to {high:g}")


def _weight(name: str) -> Column:
    return Column(name, sys.float_info.min, MOST_WEIGHT, f"a number above 0, up to {MOST_WEIGHT:,.0f}")


def _conditions(mapping: QosMapping) -> WrittenConditions:
    """As `analyze` reads them; but a study may have measures in any unit, beyond what reports may carry."""
    if mapping.qos is not Qos.MEASURES:
        return written_for(mapping)
    most = sys.float_info.max
    return WrittenConditions(tuple(Column(name, -most, most, "a number") for name in mapping.inputs))

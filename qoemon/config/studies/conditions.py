"""Reads CSV files of conditions: a row is the QoS of one experience, in the columns of a service's mapping.

Stalls have the columns stall_count, stall_s and play_s, web pages response_s, and mappings on measures one column
for each input; a mapping of stalls and measures has both. `qoemon analyze` reads such files; studies (study.py)
have the same columns, and the ratings beside them. Reading (reading.py) has the names of columns that are called
otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, TextIO

import numpy as np

from qoemon.common.csvcolumns import FLAGS, Column, Labels, RowFormat, RowsError, Source, no_fault, read_columns
from qoemon.common.csvfile import Sheet, UnnamedContentError, file_in_errors, list_of, read_sheet
from qoemon.config.studies import proposal
from qoemon.config.studies.reading import (
    AS_IT_IS,
    COUNT,
    FAILED,
    GROUP,
    WEIGHT,
    Reading,
    found,
    names_of,
    source_of,
)
from qoemon.core.counting.stalls import stall_condition
from qoemon.core.qoe.mapping import RESPONSE, Qos, QosMapping
from qoemon.core.wire.batch import MAX_COUNT, MAX_MEASURE, MAX_SECONDS

if TYPE_CHECKING:
    from qoemon.core.arrays import Floats, Ints
    from qoemon.core.plan.plan import Service

INSTANT_S = 0.001
"""The shortest time that counts, as for sessions: bins have whole milliseconds."""

RATIO = "rebuffering_ratio"
"""Share of the session's time that it stalled, stall_s / (stall_s + play_s): may stand for stall_s."""

MAX_WEIGHT = 1e9


@dataclass(frozen=True)
class Conditions:
    """The conditions of N experiences.

    columns  (N,) each: the required columns of the file by name, in their units; NaN where the request failed
    failed   (N,) whether the request failed; None if the file does not say so
    count    (N,) how many users each row is; None if each is one
    weight   (N,) weight of each row; None if all weigh the same
    group    the group of each row; None if the file has none
    notes    what was left out or assumed, in words
    """

    columns: Mapping[str, Floats]
    failed: np.ndarray[tuple[int], np.dtype[np.bool_]] | None = None
    count: Floats | None = None
    weight: Floats | None = None
    group: Labels | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    @cached_property
    def weights(self) -> Floats:
        """(N,) what each row counts."""
        given = self.count if self.count is not None else self.weight
        return np.ones(len(self)) if given is None else given

    @property
    def users(self) -> float:
        """Number of users with as much information: with weights, Kish's effective number (sum w)^2 / sum w^2."""
        total = float(self.weights.sum())
        return total if self.weight is None else total**2 / float((self.weights**2).sum())

    @property
    def failures(self) -> int:
        """Number of experiences that failed."""
        if self.failed is None:
            return 0
        return round(self.weights[self.failed].sum()) if self.weight is None else int(self.failed.sum())

    @cached_property
    def worked(self) -> Conditions:
        """Those that did not fail."""
        return self if self.failed is None else self.at(np.flatnonzero(~self.failed))

    def by_group(self) -> Iterator[tuple[str, Conditions]]:
        """The conditions of each group that has any, in the order of the file."""
        if self.group is None:
            return
        order = np.argsort(self.group.code, kind="stable")
        ends = np.cumsum(np.bincount(self.group.code, minlength=len(self.group.names)))
        for name, rows in zip(self.group.names, np.split(order, ends[:-1]), strict=True):
            group = self.at(rows)
            if group.weights.sum() > 0:
                yield name, group

    def at(self, rows: Ints) -> Conditions:
        """These rows, by their index, without groups and notes."""

        def some(column: Floats | None) -> Floats | None:
            return None if column is None else column[rows]

        return Conditions(
            {name: column[rows] for name, column in self.columns.items()},
            None if self.failed is None else self.failed[rows],
            some(self.count),
            some(self.weight),
        )


def _unchanged(*columns: Floats) -> tuple[Floats, ...]:
    return columns


@dataclass(frozen=True)
class ConditionFormat:
    """The format of a row for the conditions of one mapping.

    columns  the required columns
    fault    what is wrong between the values of the columns, each valid by itself; "" if nothing is
    axes     the columns, (N,) each -> the arguments of the mapping, (N,) each
    """

    columns: tuple[Column, ...]
    fault: Callable[..., str] = no_fault
    axes: Callable[..., tuple[Floats, ...]] = _unchanged

    @property
    def names(self) -> str:
        """The names of the columns, for a message."""
        return ", ".join(column.name for column in self.columns)


@dataclass(frozen=True)
class QosColumns:
    """The columns of a file from which those of a ConditionFormat follow.

    columns  with their places in the file
    fault    what is wrong between their values; "" if nothing is
    derived  these columns, (N,) each -> those of the format, (N,) each
    notes    what is assumed, in words
    """

    columns: tuple[tuple[Column, Source], ...]
    fault: Callable[..., str]
    derived: Callable[..., tuple[Floats, ...]] = _unchanged
    notes: tuple[str, ...] = ()


def condition_format(mapping: QosMapping) -> ConditionFormat:
    """The format in which the conditions of a mapping are read."""
    measures = tuple(_measure(name) for name in mapping.measures)
    of_kind = _FORMATS.get(mapping.qos)
    if of_kind is None:
        return ConditionFormat(measures)
    return replace(of_kind, columns=(*of_kind.columns, *measures)) if measures else of_kind


def qos_columns(sheet: Sheet, reading: Reading, row_format: ConditionFormat, needs: str) -> QosColumns:
    """The columns of the format in a file; UnnamedContentError with the options to try if some are missing.

    needs  which columns are needed for what, a clause
    """
    there = {column: source for column in row_format.columns if (source := source_of(sheet, reading, column.name))}
    missing = [column.name for column in row_format.columns if column not in there]
    if missing == [_STALL_S.name] and (ratio := source_of(sheet, reading, RATIO)):
        sources = {**there, _STALL_S: ratio}
        columns = tuple((_RATIO if c is _STALL_S else c, sources[c]) for c in row_format.columns)
        return QosColumns(columns, _ratio_fault, _from_ratio)
    if missing == [_STALL_S.name] and reading.stall_s:
        length_s = reading.stall_s

        def with_length(stalls: Floats, *others: Floats) -> tuple[Floats, ...]:
            return stalls, stalls * length_s, *others

        note = f"the file has no seconds of stalls: each is taken to be {length_s:g} s long"
        return QosColumns(tuple(there.items()), _length_fault(row_format.fault, length_s), with_length, (note,))
    if missing:
        by_ratio = _STALL_S in row_format.columns and source_of(sheet, reading, RATIO)
        asked = proposal.for_columns(
            sheet,
            [name for name in missing if not (by_ratio and name == _STALL_S.name)],
            stalls=_STALL_S in row_format.columns,
        )
        words = f"; {asked.words}" if asked.words else ""
        raise UnnamedContentError(
            f"line {sheet.line}: there is no column {', '.join(missing)}; {needs}, found {found(sheet)}{words}",
            asked.options,
        )
    return QosColumns(tuple(there.items()), row_format.fault)


def read_conditions(file: TextIO, service: Service, reading: Reading = AS_IT_IS) -> Conditions:
    """The conditions in a CSV file, one for each row.

    file     from `csvfile.opened`, or opened with newline=""
    reading  names of the columns in the file
    raises   ContentError with everything that is wrong in the file
    """
    row_format = condition_format(service.mapping)
    needs = f"service {service.name} needs a header with {row_format.names}"
    with file_in_errors(file):
        sheet = read_sheet(file, f"{needs}, and a row per rated experience below it", reading.header)
        qos = qos_columns(sheet, reading, row_format, needs)
        inputs = [column.name for column in row_format.columns]
        others = [
            (column, source)
            for column in _OTHERS
            if column.name not in inputs and (source := source_of(sheet, reading, column.name))
        ]
        names = [column.name for column, _ in others]
        if COUNT in names and WEIGHT in names:
            raise UnnamedContentError(f"found the columns {COUNT} and {WEIGHT}, expected one of them")
        group = None
        if GROUP not in inputs:
            group = names_of(sheet, GROUP, reading.group, "a name of the group", instead="(none)")
        width = len(qos.columns)
        whole = RowFormat(
            (*qos.columns, *others),
            (group,) if group else (),
            qos.fault if qos.fault is no_fault else lambda *numbers: qos.fault(*numbers[:width]),
            exempt=FAILED if FAILED in names else "",
            missing=reading.missing,
        )
        try:
            values = read_columns(sheet, whole)
        except RowsError as error:
            raise UnnamedContentError(error.fault, _of_percent(error)) from None
        for name in (COUNT, WEIGHT):
            if name in names and not values.numbers[name].any():
                raise UnnamedContentError(f"{name}: found 0 in all rows, expected more in one of them")
    read = [values.numbers[column.name] for column, _ in qos.columns]
    return Conditions(
        columns=dict(zip(inputs, qos.derived(*read), strict=True)),
        failed=values.numbers[FAILED] == 1 if FAILED in names else None,
        count=values.numbers.get(COUNT) if COUNT in names else None,
        weight=values.numbers.get(WEIGHT) if WEIGHT in names else None,
        group=values.labels.get(GROUP),
        notes=(*values.notes("experiences"), *qos.notes, *unlikely(values.numbers)),
    )


def _of_percent(error: RowsError) -> proposal.Options | None:
    """The option that makes shares of percentages, if these are all that is wrong."""
    if not error.invalid or not all(cell.endswith("%") for cells in error.invalid.values() for cell in cells):
        return None
    return {"columns": list_of(f"{name}={name}/100" for name in error.invalid)}


def unlikely(numbers: Mapping[str, Floats]) -> tuple[str, ...]:
    """What is probably in another unit, with the option that converts it."""
    return tuple(
        f"most of {name} exceed {longest:,} s: if they are milliseconds, --columns {name}=COLUMN/1000"
        for name, longest in proposal.LONGEST_S.items()
        if name in numbers and len(numbers[name]) and np.mean(numbers[name] > longest) > 0.5
    )


def _measure(name: str) -> Column:
    return Column(name, -MAX_MEASURE, MAX_MEASURE, f"a number from -{MAX_MEASURE:,.0f} to {MAX_MEASURE:,.0f}")


def _stall_fault(stalls: float, stall_s: float, play_s: float, *_: float) -> str:
    if stalls > 0 and stall_s == 0:
        return f"stall_s: found 0 with stall_count {stalls:.0f}, expected the time that the stalls took"
    if stall_s + play_s < INSTANT_S:
        return "play_s: found nothing played and nothing stalled, expected at least a millisecond of either"
    return ""


def _ratio_fault(stalls: float, ratio: float, play_s: float, *_: float) -> str:
    if stalls > 0 and ratio == 0:
        return f"{RATIO}: found 0 with stall_count {stalls:.0f}, expected the share of the time that stalled"
    if play_s < INSTANT_S:
        return "play_s: found nothing played, expected at least a millisecond: a ratio says nothing without it"
    return ""


def _from_ratio(stalls: Floats, ratio: Floats, play_s: Floats, *others: Floats) -> tuple[Floats, ...]:
    return stalls, ratio / (1 - ratio) * play_s, play_s, *others


def _length_fault(fault: Callable[..., str], length_s: float) -> Callable[..., str]:
    def with_length(stalls: float, *others: float) -> str:
        return fault(stalls, stalls * length_s, *others)

    return with_length


def _stall_axes(stalls: Floats, stall_s: Floats, play_s: Floats, *measures: Floats) -> tuple[Floats, ...]:
    integers = (stalls, stall_s * 1000, play_s * 1000)
    counts, stall_ms, play_ms = (np.rint(column).astype(np.int64) for column in integers)
    return *stall_condition(counts, stall_ms, play_ms), *measures


_SECONDS = f"seconds from 0 to {MAX_SECONDS:,.0f}, such as 2.5"
_STALL_S = Column("stall_s", 0, MAX_SECONDS, _SECONDS)
_RATIO = Column(
    RATIO, 0, 0.999999, "a share of the time from 0 to 1 (of percent: --columns rebuffering_ratio=COLUMN/100)"
)

_FORMATS: Mapping[Qos, ConditionFormat] = {
    Qos.STALLS: ConditionFormat(
        columns=(
            Column("stall_count", 0, MAX_COUNT, f"a whole number from 0 to {MAX_COUNT:,}", whole=True),
            _STALL_S,
            Column("play_s", 0, MAX_SECONDS, _SECONDS),
        ),
        fault=_stall_fault,
        axes=_stall_axes,
    ),
    Qos.RESPONSES: ConditionFormat((Column(RESPONSE, 0, MAX_SECONDS, _SECONDS),)),
}
"""Formats by kind of QoS; measures have none, since each mapping names its own columns."""

_OTHERS: Sequence[Column] = (
    Column(FAILED, 0, 1, "1 or 0, true or false, yes or no", whole=True, words=FLAGS),
    Column(COUNT, 0, MAX_COUNT, f"a whole number from 0 to {MAX_COUNT:,}", whole=True),
    Column(WEIGHT, 0, MAX_WEIGHT, f"a number from 0 to {MAX_WEIGHT:,.0f}"),
)
"""Columns that any file of conditions may have."""

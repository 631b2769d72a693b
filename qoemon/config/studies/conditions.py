"""Reads CSV files of conditions: a row is the QoS of one experience, in the columns of a service's mapping.

Stalls have the columns stall_count, stall_s and play_s, web pages response_s, and mappings on measures one column
for each input; a mapping of stalls and measures has both. Other columns are ignored. `qoemon analyze` reads such
files; studies (study.py) have the same columns, and the ratings beside them.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TextIO

import numpy as np

from qoemon.common.csvfile import Column, RowFormat, UnnamedContentError, file_in_errors, layout, rows_of
from qoemon.core.counting.stalls import stall_condition
from qoemon.core.qoe.mapping import RESPONSE, Qos, QosMapping
from qoemon.core.wire.batch import MAX_COUNT, MAX_MEASURE, MAX_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qoemon.core.arrays import Floats
    from qoemon.core.plan.plan import Service

INSTANT_S = 0.001
"""The shortest time that counts, as for sessions: bins have whole milliseconds."""


@dataclass(frozen=True)
class Conditions:
    """The conditions of N experiences.

    columns  (N,) each: the required columns of the file by name, in their units
    """

    columns: Mapping[str, Floats]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))


def _unchanged(*columns: Floats) -> tuple[Floats, ...]:
    return columns


@dataclass(frozen=True)
class ConditionFormat(RowFormat):
    """The format of a row for the conditions of one mapping.

    axes  the columns, (N,) each -> the arguments of the mapping, (N,) each
    """

    axes: Callable[..., tuple[Floats, ...]] = _unchanged


def condition_format(mapping: QosMapping) -> ConditionFormat:
    """The format in which the conditions of a mapping are read."""
    measures = tuple(_measure(name) for name in mapping.measures)
    of_kind = _FORMATS.get(mapping.qos)
    if of_kind is None:
        return ConditionFormat(measures)
    return replace(of_kind, columns=(*of_kind.columns, *measures)) if measures else of_kind


def read_conditions(file: TextIO, service: Service) -> Conditions:
    """The conditions in a CSV file, one for each row.

    file    from `csvfile.opened`, or opened with newline=""
    raises  ContentError with everything that is wrong in the file
    """
    row_format = condition_format(service.mapping)
    needs = f"service {service.name} needs a header with {row_format.names}"
    columns = [array("d") for _ in row_format.columns]  # 8 bytes a value: files may have millions of rows.
    with file_in_errors(file):
        rows = rows_of(file)
        header = next(rows, None)
        if header is None:
            raise UnnamedContentError(f"there is nothing in it; {needs}, and a row per rated experience below it")
        for _, values in layout(header, row_format, needs).valid_rows(rows):
            for column, value in zip(columns, values, strict=True):
                column.append(value)
        if not columns[0]:
            raise UnnamedContentError("there is a header but no row; expected a row per rated experience below it")
    return Conditions({c.name: np.array(values) for c, values in zip(row_format.columns, columns, strict=True)})


def _measure(name: str) -> Column:
    return Column(name, -MAX_MEASURE, MAX_MEASURE, f"a number from -{MAX_MEASURE:,.0f} to {MAX_MEASURE:,.0f}")


def _stall_fault(stalls: float, stall_s: float, play_s: float, *_: float) -> str:
    if stalls > 0 and stall_s == 0:
        return f"stall_s: found 0 with stall_count {stalls:.0f}, expected the time that the stalls took"
    if stall_s + play_s < INSTANT_S:
        return "play_s: found nothing played and nothing stalled, expected at least a millisecond of either"
    return ""


def _stall_axes(stalls: Floats, stall_s: Floats, play_s: Floats, *measures: Floats) -> tuple[Floats, ...]:
    integers = (stalls, stall_s * 1000, play_s * 1000)
    counts, stall_ms, play_ms = (np.rint(column).astype(np.int64) for column in integers)
    return *stall_condition(counts, stall_ms, play_ms), *measures


_SECONDS = f"seconds from 0 to {MAX_SECONDS:,.0f}, such as 2.5"

_FORMATS: Mapping[Qos, ConditionFormat] = {
    Qos.STALLS: ConditionFormat(
        columns=(
            Column("stall_count", 0, MAX_COUNT, f"a whole number from 0 to {MAX_COUNT:,}", whole=True),
            Column("stall_s", 0, MAX_SECONDS, _SECONDS),
            Column("play_s", 0, MAX_SECONDS, _SECONDS),
        ),
        fault=_stall_fault,
        axes=_stall_axes,
    ),
    Qos.RESPONSES: ConditionFormat((Column(RESPONSE, 0, MAX_SECONDS, _SECONDS),)),
}
"""Formats by kind of QoS; measures have none, since each mapping names its own columns."""

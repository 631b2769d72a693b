"""CSV files of conditions: a row is one rated experience."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

import numpy as np

from qoemon.common.csvfile import Column, UnfitError, Written, layout, named, rows_of
from qoemon.core.counting.stalls import stall_condition
from qoemon.core.qoe.mapping import RESPONSE, Qos, QosMapping
from qoemon.core.wire.batch import MAX_COUNT, MAX_MEASURE, MAX_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qoemon.core.arrays import Floats
    from qoemon.core.plan.plan import Service


INSTANT_S = 0.001
"""The shortest time that counts, as for sessions: the bins know whole milliseconds."""


@dataclass(frozen=True)
class Conditions:
    """What N experiences were like.

    columns  (N,) each: by name, the needed columns of the file, in their units
    """

    columns: Mapping[str, Floats]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))


Bounds = tuple[float, float]
"""The lower and the upper end of a confidence interval."""


def read(file: TextIO, service: Service) -> Conditions:
    """The conditions in a CSV file, as many as it has rows; AnalyzeError tells all that is wrong in it.

    file  from `opened`, or opened with newline=""
    """
    with named(file):
        return _read(file, written_for(service.mapping), service.name)


def _as_written(*columns: Floats) -> tuple[Floats, ...]:
    return columns


@dataclass(frozen=True)
class WrittenConditions(Written):
    """How conditions of one kind are written in a file.

    condition  the columns, (N,) each, to the axes that the mapping takes, (N,) each
    """

    condition: Callable[..., tuple[Floats, ...]] = _as_written


def written_for(mapping: QosMapping) -> WrittenConditions:
    """How the conditions of a mapping are written in a file, a row an experience."""
    return _KINDS.get(mapping.qos) or WrittenConditions(tuple(_measure(name) for name in mapping.inputs))


def _measure(name: str) -> Column:
    return Column(name, -MAX_MEASURE, MAX_MEASURE, f"a number from -{MAX_MEASURE:,.0f} to {MAX_MEASURE:,.0f}")


def _read(file: TextIO, written: WrittenConditions, service: str) -> Conditions:
    rows = rows_of(file)
    needs = f"service {service} needs a header with {written.names}"
    header = next(rows, None)
    if header is None:
        raise UnfitError(f"there is nothing in it; {needs}, and a row per rated experience below it")
    columns = [array("d") for _ in written.columns]
    for _, values in layout(header, written, needs).right(rows):
        for column, value in zip(columns, values, strict=True):
            column.append(value)
    if not columns[0]:
        raise UnfitError("there is a header but no row; expected a row per rated experience below it")
    return Conditions({c.name: np.array(values) for c, values in zip(written.columns, columns, strict=True)})


def _stall_fault(stalls: float, stall_s: float, play_s: float) -> str:
    if stalls > 0 and stall_s == 0:
        return f"stall_s: found 0 with stall_count {stalls:.0f}, expected the time that the stalls took"
    if stall_s + play_s < INSTANT_S:
        return "play_s: found nothing played and nothing stalled, expected at least a millisecond of either"
    return ""


def _stall_condition(stalls: Floats, stall_s: Floats, play_s: Floats) -> tuple[Floats, Floats]:
    return stall_condition(
        *(np.rint(column).astype(np.int64) for column in (stalls, stall_s * 1000, play_s * 1000))
    )


_SECONDS = f"seconds from 0 to {MAX_SECONDS:,.0f}, such as 2.5"


_KINDS: Mapping[Qos, WrittenConditions] = {
    Qos.STALLS: WrittenConditions(
        columns=(
            Column("stall_count", 0, MAX_COUNT, f"a whole number from 0 to {MAX_COUNT:,}", whole=True),
            Column("stall_s", 0, MAX_SECONDS, _SECONDS),
            Column("play_s", 0, MAX_SECONDS, _SECONDS),
        ),
        fault=_stall_fault,
        condition=_stall_condition,
    ),
    Qos.RESPONSES: WrittenConditions((Column(RESPONSE, 0, MAX_SECONDS, _SECONDS),)),
}
"""Measures are the mapping's own to name."""

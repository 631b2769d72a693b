"""Where the columns are that a file of a study has by other names than qoemon's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Literal

from qoemon.common.csvcolumns import Names, Source
from qoemon.common.csvfile import Sheet, UnnamedContentError, number, quoted
from qoemon.common.text import did_you_mean

CONDITION, USER, GROUP, RATING, MOS, SD, COUNT, WEIGHT, FAILED = (
    "condition",
    "user",
    "group",
    "rating",
    "mos",
    "sd",
    "n",
    "weight",
    "failed",
)
"""Names of the columns that are not QoS; any other column may be an input of a mapping."""

VARIANCE, CI, SE = SPREADS = ("variance", "ci", "se")
"""Columns from which sd follows, by an option only: the variance, half of the 95 % interval, the standard error."""

OF_COLUMN, OF_ROW, NAME_OF_ROW, RATING_OF, COUNT_OF = MADE = (
    "name of the column",
    "number of the row",
    "name of the row",
    "rating in the column",
    "number in the column",
)
"""Columns that matrix.py makes; no file has such columns."""

Wide = Literal["conditions", "users"]
"""What a row of a matrix of ratings is; its columns are the other."""


@dataclass(frozen=True)
class Reading:
    """How a file is to be read. What is empty has the names that qoemon knows, if the file has them.

    condition, user, group  columns that together name what was rated, who rated it, and which figures to give
    columns    expressions by qoemon's name: COLUMN, COLUMN/NUMBER, COLUMN*NUMBER, or a NUMBER for all rows
    header     names of the columns of a file without a header
    wide       what a row is, if the file is a matrix of ratings
    counts     columns with the number of times that each rating was given, from the lowest rating to the highest
    words      the ratings in words, from the lowest to the highest
    missing    cells that say that there is no value, beside csvcolumns.MISSING
    stall_s    mean length of a stall, of files that count stalls without their seconds; 0 if not given
    """

    condition: Sequence[str] = ()
    user: Sequence[str] = ()
    group: Sequence[str] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    header: Sequence[str] = ()
    wide: Wide | None = None
    counts: Sequence[str] = ()
    words: Sequence[str] = ()
    missing: Sequence[str] = ()
    stall_s: float = 0.0


AS_IT_IS = Reading()

_PRODUCT = re.compile(r"(?P<column>.*\S)\s*(?P<sign>[*/])\s*(?P<number>[^*/]+)")


def source_of(sheet: Sheet, reading: Reading, name: str) -> Source | None:
    """Where the column of this name is, None if the file has none; UnnamedContentError if an option is wrong."""
    expression = reading.columns.get(name)
    if expression is None:
        place = _place(sheet, name)
        return None if place is None else Source(place)
    place = _place(sheet, expression)
    if place is not None:
        return Source(place, by_option=True)
    if isfinite(constant := number(expression)):
        return Source(-1, constant)
    if product := _PRODUCT.fullmatch(expression):
        factor = number(product["number"])
        if not isfinite(factor) or factor == 0:
            raise UnnamedContentError(
                f"{name}: found {quoted(expression)}, expected COLUMN/NUMBER or COLUMN*NUMBER"
            )
        place = place_of(sheet, product["column"])
        return Source(place, factor if product["sign"] == "*" else 1 / factor, by_option=True)
    return Source(place_of(sheet, expression), by_option=True)


def names_of(
    sheet: Sheet, name: str, columns: Sequence[str], expected: str, *, required: bool = True, instead: str = ""
) -> Names | None:
    """The columns that together are the names, or the column of that name; None if the file has none."""
    if columns:
        return Names(name, tuple(place_of(sheet, each) for each in columns), expected, required, instead)
    place = _place(sheet, name)
    return None if place is None else Names(name, (place,), expected, required, instead)


def found(sheet: Sheet) -> str:
    """The columns of the file, in words."""
    most = 20
    names = [quoted(each) for each in sheet.header if each not in MADE]
    names, more = names[:most], len(names) - most
    return ", ".join(names) + (f" and {more} more" if more > 0 else "")


def _place(sheet: Sheet, name: str) -> int | None:
    places = sheet.find(name)
    if len(places) > 1:
        raise UnnamedContentError(
            f"line {sheet.line}: found the column {name} {len(places)} times, expected it once"
        )
    return places[0] if places else None


def place_of(sheet: Sheet, name: str) -> int:
    """The place of the column of this name; UnnamedContentError if the file has none."""
    place = _place(sheet, name)
    if place is None:
        advice = did_you_mean(name, sheet.header)
        raise UnnamedContentError(
            f"line {sheet.line}: there is no column {name}; found {found(sheet)}{'; ' * bool(advice)}{advice}"
        )
    return place

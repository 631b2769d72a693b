"""Turns matrices of ratings into a row for each rating: a column for each user, each condition, or each rating.

The rows keep the line that they come from, so what is wrong with a cell is reported where it is in the file.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain

from qoemon.common.csvcolumns import MISSING
from qoemon.common.csvfile import Row, Sheet, UnnamedContentError, names_in, number, plain, quoted
from qoemon.config.studies import proposal
from qoemon.config.studies.reading import (
    CONDITION,
    COUNT,
    COUNT_OF,
    NAME_OF_ROW,
    OF_COLUMN,
    OF_ROW,
    RATING,
    RATING_OF,
    USER,
    Reading,
    Wide,
    place_of,
)


def rows_of_matrix(
    sheet: Sheet, reading: Reading, wide: Wide, scale: tuple[float, float], known: Sequence[str]
) -> tuple[Sheet, Reading, tuple[str, ...]]:
    """The ratings of a matrix one by one, how to read them, and what was left out in words.

    wide   what a row is
    scale  ends of the scale
    known  names of columns that are no ratings, if they are there
    """
    headed = reading.header or not _is_data(sheet, scale)
    if not headed:
        sheet = Sheet(
            chain([Row(sheet.line, sheet.header)], sheet.rows()),
            [str(at) for at in range(1, len(sheet.header) + 1)],
            0,
            sheet.separator,
        )
    labels = _labels(sheet, reading, scale, known)
    free = [place for place in range(len(sheet.header)) if place not in labels]
    if RATING in reading.columns:
        ratings = [place for place in free if place in _matching(sheet, reading.columns[RATING])]
        aside = []
    else:
        aside = [place for place in free if _is_figure(sheet, place, reading.words)]
        ratings = [place for place in free if place not in aside]
    if not ratings:
        raise UnnamedContentError("found no column of ratings beside the names of the rows")
    own = reading.condition if wide == "conditions" else reading.user
    named = [sheet.header[place] or NAME_OF_ROW for place in labels]
    header = [*named, OF_ROW, OF_COLUMN, RATING_OF]
    row_names = own or named[:1] or (OF_ROW,)
    by_rows = wide == "conditions"
    read = replace(
        reading,
        condition=row_names if by_rows else (OF_COLUMN,),
        user=(OF_COLUMN,) if by_rows else row_names,
        columns={**reading.columns, RATING: RATING_OF},
    )
    of = [sheet.header[place] or f"column {place + 1}" for place in range(len(sheet.header))]
    notes = [f"the columns {', '.join(of[place] for place in aside)} are no ratings: left out"] if aside else []
    if twice := [name for name, times in Counter(of[place] for place in ratings).items() if times > 1]:
        notes.append(f"several columns are named {', '.join(twice)}: they are taken as one")

    def long(rows: Iterator[Row]) -> Iterator[Row]:
        for at, each in enumerate(rows, start=1):
            if each.syntax_error or any(each.cells[len(sheet.header) :]):
                yield each if each.syntax_error else _too_long(each, len(sheet.header))
                continue
            ids = [each.cells[place] if place < len(each.cells) else "" for place in labels]
            if figure := next((cell for cell in ids if plain(cell) in proposal.TABLE_FIGURES), ""):
                yield Row(each.line, (), f"the row {quoted(figure)} has no ratings, but figures of them: remove it")
                continue
            for place in ratings:
                cell = each.cells[place] if place < len(each.cells) else ""
                yield Row(each.line, [*ids, str(at), of[place], cell])

    return Sheet(long(sheet.rows()), header, sheet.line, sheet.separator), read, tuple(notes)


def _matching(sheet: Sheet, patterns: str) -> list[int]:
    """The places of the columns with these names, in which * is any text."""
    places = []
    for name in names_in(patterns):
        if "*" not in name:
            places += sheet.find(name) or [place_of(sheet, name)]
            continue
        pattern = re.compile(".*".join(map(re.escape, name.split("*"))))
        places += [place for place, each in enumerate(sheet.header) if pattern.fullmatch(each)]
    return places


def rows_of_counts(
    sheet: Sheet, reading: Reading, columns: Sequence[str], scale: tuple[float, float]
) -> tuple[Sheet, Reading]:
    """The ratings of a file with a column for each, from the lowest to the highest, and how to read them."""
    places = [place_of(sheet, each) for each in columns]
    if len(places) < 2:
        raise UnnamedContentError(f"found {', '.join(columns)}, expected a column for each rating of the scale")
    low, high = scale
    step = (high - low) / (len(places) - 1)
    points = [f"{low + at * step:.12g}" for at in range(len(places))]

    def long(rows: Iterator[Row]) -> Iterator[Row]:
        for each in rows:
            if each.syntax_error or any(each.cells[len(sheet.header) :]):
                yield each if each.syntax_error else _too_long(each, len(sheet.header))
                continue
            own = [*each.cells[: len(sheet.header)], *[""] * (len(sheet.header) - len(each.cells))]
            for point, place in zip(points, places, strict=True):
                yield Row(each.line, [*own, point, own[place]])

    read = replace(reading, columns={**reading.columns, RATING: RATING_OF, COUNT: COUNT_OF})
    return Sheet(long(sheet.rows()), [*sheet.header, RATING_OF, COUNT_OF], sheet.line, sheet.separator), read


def _too_long(row: Row, width: int) -> Row:
    return Row(row.line, (), f"found {len(row.cells)} cells, expected {width} as in the header")


def _is_data(sheet: Sheet, scale: tuple[float, float]) -> bool:
    """Whether the first line is a row of ratings, instead of names or of numbers that count the columns."""
    low, high = scale
    if not all(proposal.is_number_or_missing(cell) for cell in sheet.header[1:]):
        return False
    values = [value for cell in sheet.header[1:] if (value := number(cell.replace(",", "."))) == value]
    if len(values) > 3 and values == [values[0] + at for at in range(len(values))]:
        return False
    return bool(values) and all(low <= value <= high for value in values)


def _labels(sheet: Sheet, reading: Reading, scale: tuple[float, float], known: Sequence[str]) -> list[int]:
    """Places of the columns that name the row: those that are named, or else the first ones without ratings."""
    named = [place_of(sheet, each) for each in (*reading.condition, *reading.user)]
    for name in known:
        named += sheet.find(reading.columns.get(name, name))
    if named:
        return list(dict.fromkeys(named))
    low, high = scale
    labels = []
    for place in range(len(sheet.header) - 1):
        cells = [cell for cell in sheet.cells(place) if cell.casefold() not in MISSING]
        worded = {each.casefold() for each in reading.words}
        values = [low if cell.casefold() in worded else number(cell.replace(",", ".")) for cell in cells]
        on_scale = sum(low <= value <= high for value in values)
        counting = len(values) > 3 and values == [values[0] + at for at in range(len(values))]
        known_name = plain(sheet.header[place]) in ({CONDITION, USER} if place else {"", CONDITION, USER})
        if known_name or counting or 2 * on_scale < len(values):
            labels.append(place)
        else:
            break
    return labels


def _is_figure(sheet: Sheet, place: int, words: Sequence[str]) -> bool:
    """Whether a column has a figure of the row, or no number or word of the scale at all in the first rows."""
    if plain(sheet.header[place]) in proposal.TABLE_FIGURES:
        return True
    worded = {each.casefold() for each in words}
    given = [cell for cell in sheet.cells(place) if cell.casefold() not in MISSING]
    return bool(given) and not any(
        cell.casefold() in worded or proposal.is_number_or_missing(cell) for cell in given
    )

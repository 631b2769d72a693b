"""Reads the file of a subjective study: conditions, and the ratings that people gave under them.

It is read whole or not at all, and every row that cannot be used is reported with its line; only rows without a
value are left out, and counted. A study is read for one of two purposes: how far ratings spread around their mean
(`Ratings` or `Moments`, for `qoemon theta` and empirical ratings), and how their mean depends on the quality of
service (`Study`, for `qoemon fit`). How the file names its columns is in reading.py; matrix.py makes rows of single
ratings from matrices and counts.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from math import isfinite, isnan, nan, sqrt
from typing import TYPE_CHECKING, TextIO

import numpy as np

from qoemon.common.csvcolumns import Column, Names, RowFormat, RowsError, Source, Values, read_columns
from qoemon.common.csvfile import (
    ContentError,
    Sheet,
    UnnamedContentError,
    file_in_errors,
    list_of,
    number,
    plain,
    read_sheet,
)
from qoemon.config.studies import proposal
from qoemon.config.studies.conditions import (
    MAX_WEIGHT,
    ConditionFormat,
    QosColumns,
    condition_format,
    qos_columns,
    unlikely,
)
from qoemon.config.studies.matrix import rows_of_counts, rows_of_matrix
from qoemon.config.studies.ratings import Moments, Ratings
from qoemon.config.studies.reading import (
    AS_IT_IS,
    CI,
    CONDITION,
    COUNT,
    MOS,
    RATING,
    SD,
    SE,
    SPREADS,
    USER,
    VARIANCE,
    WEIGHT,
    Reading,
    found,
    names_of,
    place_of,
    source_of,
)
from qoemon.core.qoe.mapping import MAPPINGS, MediaStall, Qos
from qoemon.core.qoe.scale import ACR5

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qoemon.core.arrays import Floats, Ints
    from qoemon.core.qoe.mapping import QosMapping

MAX_RATINGS = 10_000_000
"""Ratings of a study: more are a mistake in a column of counts."""

MOSTLY_MISSING = 0.5
"""Share of the rows with the same text instead of a rating that makes it more than a mark of missing ones."""

Z95 = 1.96
"""Standard errors in half of a 95 % interval of a mean, as in ITU-R BT.500."""

FEW = 10
"""With fewer ratings nothing is said of the part of the scale that they use."""

RESERVED = frozenset((CONDITION, RATING, MOS, SD, COUNT, WEIGHT, USER))
"""Columns that are no inputs of a mapping unless they are named."""


class StudyError(ContentError):
    """The study cannot be used for this purpose; the text has what is missing."""


@dataclass(frozen=True)
class Study:
    """C distinct conditions and the mean rating of each.

    mapping   the mapping that the conditions are for, with its inputs named
    inputs    the names of its inputs that are columns of the file by choice; () for a mapping with its own
    names     (C,) each condition as text: its columns and their values
    axes      (C,) each: the arguments of the mapping
    mos       (C,) scale points
    weights   (C,) weight of each MOS: its number of ratings, or as in the file
    ratings   the ratings of the same conditions; None if the file has only their means
    notes     what was left out or assumed, in words
    """

    mapping: QosMapping
    inputs: tuple[str, ...]
    names: tuple[str, ...]
    axes: tuple[Floats, ...]
    mos: Floats
    weights: Floats
    ratings: Ratings | None
    notes: tuple[str, ...] = ()


def read_ratings(
    file: TextIO, low: float = ACR5.low, high: float = ACR5.high, reading: Reading = AS_IT_IS
) -> Ratings | Moments:
    """The ratings in a file with the columns condition and rating, or what it says of them: mos, sd and n.

    file       from `csvfile.opened`, or opened with newline=""
    low, high  ends of the scale; ratings need not be whole numbers
    reading    names of the columns in the file, and its form
    raises     ContentError with everything that is wrong in the file; StudyError if low and high are no scale
    """
    if not (isfinite(low) and isfinite(high) and low < high):
        raise StudyError(f"found a scale from {low:g} to {high:g}, expected two numbers, the lower first")
    with file_in_errors(file):
        needs = "ratings need a header with condition and rating"
        source = _rated_sheet(file, needs, reading, (low, high))
        if rating := source_of(source.sheet, source.reading, RATING):
            return _ratings(source, rating, low, high)
        mean, sd, size = (source_of(source.sheet, source.reading, name) for name in (MOS, SD, COUNT))
        by_option = next((each for each in SPREADS if each in source.reading.columns), "")
        spread = source_of(source.sheet, source.reading, by_option) if by_option else sd
        if mean and spread and size:
            return _moments(source, (mean, spread, size), by_option or SD, low, high)
        asked = (proposal.for_moments if mean else proposal.for_ratings)(source.sheet, low, high)
        absent = ", ".join(name for name, there in ((SD, sd), (COUNT, size)) if not there) if mean else RATING
        words = f"; {asked.words}" if asked.words else ""
        needs = "means need their standard deviation sd and number n, or a row for each rating" if mean else needs
        raise UnnamedContentError(
            f"line {source.sheet.line}: there is no column {absent}; {needs}, found {found(source.sheet)}{words}",
            asked.options,
        )


def empirical(ratings: Ratings | Moments) -> Ratings:
    """The ratings themselves; StudyError if only their means are known."""
    if isinstance(ratings, Moments):
        raise StudyError("found the means of ratings, expected a row for each rating")
    return ratings


def read_study(
    file: TextIO,
    mapping: QosMapping,
    inputs: Sequence[str] = (),
    reading: Reading = AS_IT_IS,
    scale: tuple[float, float] | None = None,
) -> Study:
    """The conditions in a file to which the mapping can be fitted.

    The file has a column rating, with a row for each rating; or a column mos, with a row for each condition, and
    optionally its number of ratings n or its weight. Its other columns are those that `qoemon analyze` reads for
    the mapping, or the inputs.

    file     from `csvfile.opened`, or opened with newline=""
    mapping  a mapping without inputs gets those columns as inputs that are named, or all that hold numbers
    inputs   names of columns
    reading  names of the columns in the file, and its form
    scale    ends of the scale of the ratings; that of the mapping if None
    raises   ContentError with everything that is wrong in the file; StudyError if the mapping rejects the inputs
    """
    ends = scale or (mapping.scale.low, mapping.scale.high)
    with file_in_errors(file):
        needs = "a study needs a header with rating or mos, and with what was rated"
        known = [*inputs, *(column.name for column in condition_format(mapping).columns)]
        source = _rated_sheet(file, needs, reading, ends, known)
        return _study(source, mapping, tuple(inputs), ends)


@dataclass(frozen=True)
class _Source:
    """A sheet with a row for each rating or mean, and how it is read.

    notes    what was left out, in words
    counted  whether each row is a rating with the number of times that it was given
    """

    sheet: Sheet
    reading: Reading
    notes: tuple[str, ...] = ()
    counted: bool = False


def _rated_sheet(
    file: TextIO, needs: str, reading: Reading, scale: tuple[float, float], known: Sequence[str] = ()
) -> _Source:
    sheet = read_sheet(file, needs, reading.header)
    if reading.wide:
        return _Source(*rows_of_matrix(sheet, reading, reading.wide, scale, known))
    single = source_of(sheet, reading, RATING) or source_of(sheet, reading, MOS)
    counts = reading.counts or (() if single else _plain_counts(sheet, scale))
    if counts:
        return _Source(*rows_of_counts(sheet, reading, counts, scale), counted=True)
    return _Source(sheet, reading)


def _plain_counts(sheet: Sheet, scale: tuple[float, float]) -> Sequence[str]:
    """The columns 1, 2, 3, 4, 5 of a scale from 1 to 5, if they have counts."""
    counts = proposal.counted(sheet, *scale)
    return counts if counts and all(each.isdecimal() for each in counts) and len(sheet.header) > len(counts) else ()


def _read(source: _Source, row_format: RowFormat, answer: str) -> Values:
    """The columns; if most of the answers are off the scale, the error proposes another."""
    try:
        return read_columns(source.sheet, row_format)
    except RowsError as error:
        raise UnnamedContentError(error.fault, _other_options(error, answer, source.sheet, row_format)) from None


def _other_options(error: RowsError, answer: str, sheet: Sheet, row_format: RowFormat) -> proposal.Options | None:
    """The mark of missing ratings, their words, or their scale, if that is all that is wrong."""
    if list(error.invalid) != [answer]:
        return None
    cells = error.invalid[answer]
    column, place = next((column, source.place) for column, source in row_format.columns if column.name == answer)
    if not column.words and (words := proposal.words_of(cells)):
        return {"words": list_of(words)}
    wordy = any(isnan(number(cell.replace(",", ".").removesuffix("%"))) for cell in cells)
    if len(cells) == 1 and (cells[0] in proposal.NOT_RATED or (wordy and error.share < MOSTLY_MISSING)):
        is_mark = cells[0] and (not wordy or not any(map(str.isdigit, cells[0])))
        return {"missing": list_of(cells)} if is_mark else None
    if all(cell.endswith("%") for cell in cells):
        ends = {} if (column.least, column.most) == (0, 100) else {"low": "0", "high": "100"}
        return {"columns": list_of([f"{answer}={sheet.header[place]}"]), **ends}
    if wordy:
        return None
    scale = proposal.scale_of(*error.ends[answer])
    same = scale and (float(scale["low"]), float(scale["high"])) == (column.least, column.most)
    return None if same else scale


def _ratings(source: _Source, rating: Source, low: float, high: float) -> Ratings:
    sheet, reading = source.sheet, source.reading
    condition = names_of(sheet, CONDITION, reading.condition, "a name of what was rated")
    if condition is None:
        asked = proposal.for_condition(sheet, sheet.header[rating.place])
        raise UnnamedContentError(
            f"line {sheet.line}: there is no column {CONDITION}; ratings need a header with condition and rating, "
            f"found {found(sheet)}",
            asked.options,
        )
    user = names_of(sheet, USER, reading.user, "who rated", required=False)
    times = _times(source)
    columns = [(_answer(RATING, low, high, reading.words), rating), *times]
    names = [condition, *([user] if user else [])]
    values = _read(source, RowFormat(columns, names, missing=reading.missing), RATING)
    notes = (
        *source.notes,
        *values.notes("ratings"),
        *_narrow(values.numbers[RATING], low, high),
        *(() if times else _unused(source)),
    )
    label = values.labels[CONDITION]
    code, given = label.code, values.numbers[RATING]
    users = values.labels[USER].code if user else None
    if not times:
        return Ratings(low, high, label.names, code, given, users, notes)
    repeats = _repeats(values.numbers[COUNT])
    code, given = np.repeat(code, repeats), np.repeat(given, repeats)
    rated, code = np.unique(code, return_inverse=True)
    names_rated = tuple(label.names[each] for each in rated.tolist())
    return Ratings(low, high, names_rated, code, given, None if users is None else np.repeat(users, repeats), notes)


def _times(source: _Source) -> list[tuple[Column, Source]]:
    """The column with the number of times that a rating was given, of a file of counts or by an option."""
    if not source.counted and COUNT not in source.reading.columns:
        return []
    there = source_of(source.sheet, source.reading, COUNT)
    return [(_times_given(), there)] if there else []


def _unused(source: _Source) -> tuple[str, ...]:
    if source_of(source.sheet, source.reading, COUNT) is None:
        return ()
    return (f"{COUNT} is not used: if each rating was given that many times, --columns {COUNT}={COUNT}",)


def _repeats(times: Floats) -> Ints:
    repeats = times.astype(np.int64)
    if not 0 < repeats.sum() <= MAX_RATINGS:
        raise UnnamedContentError(
            f"its columns count {repeats.sum():,} ratings, expected from 1 to {MAX_RATINGS:,}: are they counts?"
        )
    return repeats


def _moments(
    source: _Source, places: tuple[Source, Source, Source], spread: str, low: float, high: float
) -> Moments:
    sheet, reading = source.sheet, source.reading
    name = names_of(sheet, CONDITION, reading.condition, "a name of what was rated")
    columns = (
        _answer(MOS, low, high),
        _spread_column(spread, high - low),
        Column(COUNT, 1, MAX_RATINGS, f"a whole number from 1 to {MAX_RATINGS:,}", whole=True),
    )

    def fault(mos: float, found: float, n: float) -> str:
        sd = float(_deviation(spread, np.array(found), np.array(n)))
        # Published figures are rounded, to one digit at worst.
        most = sqrt(max((high - mos) * (mos - low), 0) * n / max(n - 1, 1)) + 0.03 * (high - low)
        if sd <= most:
            return ""
        what = "is it the variance?" if spread == SD else f"{spread} {found:g} of {n:g} ratings is not possible"
        return f"sd: found {sd:.3g}, but ratings with the mean {mos:g} have at most {most:.2g}: {what}"

    row_format = RowFormat(
        tuple(zip(columns, places, strict=True)), (name,) if name else (), fault, missing=reading.missing
    )
    values = _read(source, row_format, MOS)
    mos, given, size = (values.numbers[each.name] for each in columns)
    sd = _deviation(spread, given, size)
    notes = (*source.notes, *values.notes("conditions"), *_narrow(mos, low, high))
    names = _once(values, name is not None)
    return Moments(low, high, names, mos, np.where(size > 1, sd**2, nan), size.astype(np.int64), notes)


def _spread_column(name: str, width: float) -> Column:
    """The column that says how far ratings differ, on a scale this wide."""
    if name == VARIANCE:
        return Column(name, 0, width**2, f"a variance from 0 to {width**2:g}")
    what = {SD: "a standard deviation", CI: "half of a 95 % interval", SE: "a standard error"}[name]
    return Column(name, 0, width, f"{what} from 0 to {width:g}")


def _deviation(name: str, given: Floats, size: Floats) -> Floats:
    """The standard deviation of ratings from this column and the number of ratings."""
    if name == VARIANCE:
        return np.sqrt(given)
    if name in {CI, SE}:
        return given * np.sqrt(size) / (Z95 if name == CI else 1)
    return given


def _once(values: Values, named: bool) -> tuple[str, ...]:
    """The names of the conditions, their lines if they have none; UnnamedContentError if one is there twice."""
    if not named:
        return tuple(f"line {line}" for line in values.lines.tolist())
    label = values.labels[CONDITION]
    times = np.bincount(label.code)
    if times.max() > 1:
        twice = int(times.argmax())
        first, second = values.lines[label.code == twice][:2].tolist()
        raise UnnamedContentError(
            f"the condition {label.names[twice]} has a mean in line {first} and another in line {second}: "
            "name more columns with --condition, or the column rating if these are single ratings"
        )
    return tuple(label.names[each] for each in label.code.tolist())


def _narrow(answers: Floats, low: float, high: float) -> tuple[str, ...]:
    """What is said of answers that use so little of the scale that it is probably another one."""
    least, most = float(answers.min()), float(answers.max())
    other = proposal.scale_of(least, most)
    if other is None or len(answers) < FEW or float(other["high"]) - float(other["low"]) > (high - low) / 4:
        return ()
    options = " ".join(f"--{name} {value}" for name, value in other.items())
    used = f"all ratings are from {least:g} to {most:g} on a scale from {low:g} to {high:g}"
    return (f"{used}: if that is another scale, {options}",)


@dataclass(frozen=True)
class _StudyFormat:
    """The columns of a study that are read: the conditions, the answer (rating or mos), and its weight if any."""

    mapping: QosMapping
    inputs: tuple[str, ...]
    conditions: ConditionFormat
    qos: QosColumns
    answer: tuple[Column, Source]
    weight: tuple[tuple[Column, Source], ...]
    user: Names | None

    @property
    def columns(self) -> tuple[tuple[Column, Source], ...]:
        """All columns that are read."""
        return (*self.qos.columns, self.answer, *self.weight)

    def fault(self, *values: float) -> str:
        """What is wrong between the values of a row; "" if nothing is."""
        qos = values[: len(self.qos.columns)]
        if self.mapping.qos is Qos.STALLS and qos[self._play] == 0:
            return "play_s: found nothing played, expected some: all mappings put this at their lowest MOS"
        return self.qos.fault(*qos)

    def pooled(self, values: Values, scale: tuple[float, float], notes: Sequence[str]) -> Study:
        """The study, with rows pooled that are the same condition to the mapping."""
        read = [values.numbers[column.name] for column, _ in self.qos.columns]
        qos = self.qos.derived(*read)
        axes = self.conditions.axes(*qos)
        answer, weight = self.answer[0].name, self.weight[0][0].name if self.weight else ""
        answers = values.numbers[answer]
        weights = values.numbers[weight] if weight else np.ones(len(answers))
        users = values.labels[USER].code if self.user else None
        counted = answer == RATING and bool(weight)
        if counted:
            repeats = _repeats(weights)
            qos, axes = (tuple(np.repeat(each, repeats) for each in every) for every in (qos, axes))
            answers, weights = np.repeat(answers, repeats), np.ones(int(repeats.sum()))
            users = None if users is None else np.repeat(users, repeats)
        place = _places(axes)
        first = np.unique(place, return_index=True)[1]
        total = np.bincount(place, weights).astype(np.float64)
        names = tuple(map(self._name, zip(*(each[first].tolist() for each in qos), strict=True)))
        notes = (
            *notes,
            *values.notes("rows"),
            *self.qos.notes,
            *unlikely(values.numbers),
            *_narrow(answers, *scale),
        )
        ratings = Ratings(*scale, names, place, answers, users, notes) if answer == RATING else None
        return Study(
            mapping=self.mapping,
            inputs=self.inputs,
            names=names,
            axes=tuple(axis[first] for axis in axes),
            mos=np.bincount(place, weights * answers) / total,
            weights=total,
            ratings=ratings,
            notes=notes,
        )

    @property
    def _play(self) -> int:
        return [column.name for column, _ in self.qos.columns].index("play_s")

    def _name(self, values: Sequence[float]) -> str:
        columns = zip(self.conditions.columns, values, strict=True)
        return ", ".join(f"{column.name} {repr(value).removesuffix('.0')}" for column, value in columns)


def _study(source: _Source, mapping: QosMapping, inputs: tuple[str, ...], scale: tuple[float, float]) -> Study:
    sheet, reading = source.sheet, source.reading
    if mapping.inputs and inputs:
        raise StudyError(f"{mapping.name} has inputs of its own, {', '.join(mapping.inputs)}: name no others")
    named = mapping if mapping.inputs else _with_inputs(source, mapping, inputs)
    answer = _only(
        source,
        (RATING, MOS),
        "either rating, with a row a rating, or mos, with a row a condition",
        scale,
        required=True,
    )[0]
    weight: list[tuple[Column, Source]] = []
    if answer[0] == MOS:
        free = [name for name in (COUNT, WEIGHT) if name not in inputs]
        weight = [(_weight(name), place) for name, place in _only(source, free, "one of them", scale)]
    else:
        weight = _times(source)
    conditions = _conditions(named)
    needs = f"{named.name} needs a header with {conditions.names}"
    study_format = _StudyFormat(
        named,
        _given_names(mapping, named),
        conditions,
        qos_columns(sheet, reading, conditions, needs),
        (_answer(answer[0], *scale, reading.words), answer[1]),
        tuple(weight),
        None if USER in named.inputs else names_of(sheet, USER, reading.user, "who rated", required=False),
    )
    names = [study_format.user] if study_format.user else []
    row_format = RowFormat(study_format.columns, names, study_format.fault, missing=reading.missing)
    return study_format.pooled(_read(source, row_format, answer[0]), scale, source.notes)


def _only(
    source: _Source, choices: Sequence[str], expected: str, scale: tuple[float, float], *, required: bool = False
) -> list[tuple[str, Source]]:
    """The one of these columns that the file has; UnnamedContentError if it has several, or none and needs one."""
    places = ((name, source_of(source.sheet, source.reading, name)) for name in choices)
    there = [(name, place) for name, place in places if place]
    by_option = [name for name, _ in there if name in source.reading.columns]
    if len(by_option) == 1:
        there = [(name, place) for name, place in there if name in by_option]
    if len(there) > 1:
        raise UnnamedContentError(
            f"found the columns {' and '.join(name for name, _ in there)}, expected {expected}"
        )
    if required and not there:
        asked = proposal.for_answer(source.sheet, *scale)
        raise UnnamedContentError(
            f"found no column {' or '.join(choices)}, expected {expected}; found {found(source.sheet)}",
            asked.options,
        )
    return there


def _given_names(mapping: QosMapping, named: QosMapping) -> tuple[str, ...]:
    """The inputs of the named mapping whose names the configuration gives, instead of the mapping itself."""
    if isinstance(mapping, MediaStall):
        return () if MAPPINGS[mapping.quality.name].inputs else mapping.measures
    return () if mapping.inputs else named.inputs


def _with_inputs(rated: _Source, mapping: QosMapping, inputs: tuple[str, ...]) -> QosMapping:
    """The mapping with the named inputs, or else with every column that has a number in the first row."""
    sheet, reading = rated.sheet, rated.reading
    taken = {place_of(sheet, each) for each in (*reading.condition, *reading.user)}
    taken |= {source.place for name in (RATING, MOS, COUNT) if (source := source_of(sheet, reading, name))}
    own = [name for name in reading.columns if name not in RESERVED]
    first = sheet.first[0].cells if sheet.first else ()
    numeric = (
        name
        for at, name in enumerate(sheet.header)
        if at not in taken and at < len(first) and isfinite(number(first[at].strip().replace(",", ".")))
    )
    free = [name for name in numeric if name and plain(name) not in RESERVED | proposal.TABLE_FIGURES]
    try:
        return mapping.with_inputs(inputs or own or free)
    except ValueError as error:
        raise StudyError(
            f"{error}; name the columns that are its inputs, such as --inputs {free[0] if free else 'a'}"
        ) from None


def _places(axes: Sequence[Floats]) -> Ints:
    """(N,) the number of each row's distinct condition, counted in order of appearance."""
    _, first, place = np.unique(np.column_stack(axes), axis=0, return_index=True, return_inverse=True)
    order = np.empty(len(first), np.int64)
    order[np.argsort(first)] = np.arange(len(first))
    return np.asarray(order[place.reshape(-1)])


def _answer(name: str, low: float, high: float, words: Sequence[str] = ()) -> Column:
    points = np.linspace(low, high, len(words)).tolist() if len(words) > 1 else ()
    worded = dict(zip((each.casefold() for each in words), points, strict=False))
    also = f", or one of {', '.join(words)}" if worded else ""
    return Column(name, low, high, f"a number from {low:g} to {high:g}{also}", words=worded)


def _times_given() -> Column:
    return Column(COUNT, 0, MAX_RATINGS, f"a number of ratings from 0 to {MAX_RATINGS:,}", whole=True)


def _weight(name: str) -> Column:
    return Column(name, sys.float_info.min, MAX_WEIGHT, f"a number above 0, up to {MAX_WEIGHT:,.0f}")


def _conditions(mapping: QosMapping) -> ConditionFormat:
    """The format of `qoemon analyze`, but measures have no limits: a study may have them in any unit."""
    if mapping.qos is not Qos.MEASURES:
        return condition_format(mapping)
    most = sys.float_info.max
    return ConditionFormat(tuple(Column(name, -most, most, "a number") for name in mapping.inputs))

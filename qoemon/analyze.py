"""A CSV file of rated experiences, judged through the same core as the live sessions.

A row is one experience: what its user lived through, not what the user said. The file is used whole or not at all:
a share that silently leaves out the rows nobody could read is a wrong number that looks right.
"""

from __future__ import annotations

import csv
import io
import sys
from array import array
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
from rich import box
from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from qoemon.core.batch import MAX_COUNT, MAX_SECONDS
from qoemon.core.histogram import histogram, mos_level, response_bin
from qoemon.core.mapping import Qos, RatingModel
from qoemon.core.rating import rating_cdf
from qoemon.core.scale import ACR5
from qoemon.core.stalls import stall_condition
from qoemon.mistake import shortened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from qoemon.core.histogram import Ints
    from qoemon.core.plan import Service
    from qoemon.core.rating import Distribution
    from qoemon.core.scale import Floats

STDIN = "-"

FAULTS_SHOWN = 20

NOT_UTF8 = "surrogateescape"
"""Bytes that are not UTF-8 pass: in a column that is ignored they do no harm, elsewhere they are no number."""

CHUNK = 20_000
"""Conditions that are judged at once row by row: each takes some 80 numbers, so this is 13 MB."""

INSTANT_S = 0.001
"""The shortest time that counts, as for sessions: the bins know whole milliseconds."""

ACR_NAMES = {1: "bad", 2: "poor", 3: "fair", 4: "good", 5: "excellent"}


class UnreadableError(Exception):
    """The file cannot be opened; says why."""


class AnalyzeError(Exception):
    """What is in the file cannot be judged; says where, what was found and what was expected."""


class ThetaError(ValueError):
    """The service's ratings cannot have this theta; says which they can have."""


@dataclass(frozen=True)
class Conditions:
    """What N experiences were like.

    columns  (N,) each: by name, the needed columns of the file, in their units
    """

    columns: Mapping[str, Floats]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))


@dataclass(frozen=True)
class Shares:
    """Share of ratings good or better, poor or worse."""

    gob: float
    pow: float


@dataclass(frozen=True)
class Analysis:
    """What the users of these experiences would answer.

    service       how it was judged
    observations  rows of the file
    mos, sos      scale points: mean and standard deviation over all users and their ratings
    gob, pow      share of ratings good or better, poor or worse
    ratings       share of each rating
    quantiles     scale points, by quantile
    theta_band    the shares if theta were another, by theta; empty for a service without a band
    """

    service: Service
    observations: int
    mos: float
    sos: float
    gob: float
    pow: float
    ratings: Mapping[int, float]
    quantiles: Mapping[float, float]
    theta_band: Mapping[float, Shares]

    def as_dict(self) -> dict[str, Any]:
        """The same for JSON."""
        return {
            "service": self.service.name,
            "observations": self.observations,
            "mos": self.mos,
            "sos": self.sos,
            "gob": self.gob,
            "pow": self.pow,
            "ratings": {str(rating): share for rating, share in self.ratings.items()},
            "quantiles": {str(q): opinion for q, opinion in self.quantiles.items()},
            "theta": self.service.theta,
            "theta_band": {
                str(theta): {"gob": shares.gob, "pow": shares.pow} for theta, shares in self.theta_band.items()
            },
        }


@contextmanager
def opened(path: str) -> Iterator[TextIO]:
    """The file, or standard input for `-`, as `read` needs it; UnreadableError if it cannot be opened."""
    if path != STDIN:
        with _open(path) as file:
            yield file
        return
    stdin = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8", errors=NOT_UTF8, newline="")
    try:
        yield stdin
    finally:
        stdin.detach()  # it is not ours to close


def read(file: TextIO, service: Service) -> Conditions:
    """The conditions in a CSV file, as many as it has rows; AnalyzeError tells all that is wrong in it.

    file  from `opened`, or opened with newline=""
    """
    try:
        return _read(file, _WRITTEN[service.mapping.qos], service.name)
    except _UnfitError as error:
        name = getattr(file, "name", "input")  # a file in memory has none
        raise AnalyzeError(f"{name}: {error}") from None


def analyze(conditions: Conditions, service: Service, quantiles: Sequence[float], *, exact: bool) -> Analysis:
    """What the users would answer; ThetaError if the service's theta cannot be.

    conditions  at least one, from `read` for this service
    quantiles   which quantiles of the ratings to tell, each in (0, 1)
    exact       judge each condition by itself, instead of counting them in the bins of the live sessions
    """
    check_theta(service)
    written, columns = _WRITTEN[service.mapping.qos], tuple(conditions.columns.values())
    if exact:
        said = _one_by_one(service.mapping(*written.condition(*columns)), service, quantiles)
    else:
        one_group = np.zeros(len(conditions), np.int64)
        counts = histogram(one_group, written.bins(service, *columns), 1, len(service.judged_at))
        said = service.kernel(tuple(quantiles)).judge(counts)
    return _analysis(said, service, quantiles)


def check_theta(service: Service) -> None:
    """ThetaError if the service's ratings cannot have its theta, as after replacing it."""
    scale = service.scale
    try:
        rating_cdf(np.array([float(scale.low)]), service.theta, scale.cuts, service.model, scale)
    except ValueError as error:
        fixed = service.model is RatingModel.BINOMIAL
        advice = "; give no theta, or set its ratings to beta in the configuration" if fixed else ""
        raise ThetaError(f"service {service.name}: {error}{advice}") from None


def table(analysis: Analysis) -> Group:
    """The analysis in words and figures, for rich to print; 80 columns are enough."""
    service, count = analysis.service, analysis.observations
    experiences = f"{count:,} rated experience{'' if count == 1 else 's'}"
    summary = (
        f"Of {experiences} of {service.name}, {_percent(analysis.gob)} of users would say good or better, "
        f"{_percent(analysis.pow)} poor or worse."
    )
    judged = f"Judged by {service.mapping.name}, {service.model} ratings, theta {service.theta:g}."
    return Group(Text(summary), _ratings_table(analysis), _figures_table(analysis), Text(judged))


class _UnfitError(Exception):
    """What is wrong in the file, before its name is known."""


@dataclass(frozen=True)
class _Column:
    """A needed column. Its values go from 0 to `most`."""

    name: str
    most: float
    expected: str
    whole: bool = False

    def fault(self, cells: Sequence[str], place: int, value: float) -> str:
        """What is wrong with its cell; empty if nothing is."""
        if 0 <= value <= self.most and (not self.whole or value.is_integer()):  # NaN is not
            return ""
        cell = cells[place] if place < len(cells) else ""
        found = repr(shortened(cell, 40)) if cell.strip() else "nothing"
        return f"{self.name}: found {found}, expected {self.expected}"


@dataclass(frozen=True)
class _Written:
    """How conditions of one kind are written in a file; the callables take a value or an array a column.

    fault      what is wrong between the cells of a row, each right by itself; empty if nothing is
    bins       (N,) bin numbers
    condition  (N,) an axis: what the mapping takes
    """

    columns: tuple[_Column, ...]
    fault: Callable[..., str]
    bins: Callable[..., Ints]
    condition: Callable[..., tuple[Floats, ...]]

    @property
    def names(self) -> str:
        """The names of the columns, to be read."""
        return ", ".join(column.name for column in self.columns)


@dataclass(frozen=True)
class _Row:
    """The cells of a row, and the line where it begins; `broken` is why there are none, and no row after it."""

    line: int
    cells: Sequence[str]
    broken: str = ""


@dataclass(frozen=True)
class _Layout:
    """Where a file has the needed columns, and how many it has in all."""

    written: _Written
    places: tuple[int, ...]
    width: int

    def values(self, row: _Row) -> list[float]:
        """The needed numbers of a row."""
        return [_number(row.cells, place) for place in self.places]

    def fault(self, row: _Row, values: Sequence[float]) -> str:
        """All that is wrong with a row; empty if nothing is."""
        if row.broken:
            return row.broken
        if any(row.cells[self.width :]):
            # A decimal comma moves every cell after it, into columns where it may well look right.
            return f"found {len(row.cells)} cells, expected {self.width} as in the header (decimals have a point)"
        faults = [
            fault
            for column, place, value in zip(self.written.columns, self.places, values, strict=True)
            if (fault := column.fault(row.cells, place, value))
        ]
        return "; ".join(faults) or self.written.fault(*values)


class _Faults:
    """The rows that cannot be judged: the first of them in words, the others counted."""

    def __init__(self) -> None:
        self.count = 0
        self._shown: list[str] = []

    def add(self, row: _Row, fault: str) -> None:
        self.count += 1
        if self.count <= FAULTS_SHOWN:
            self._shown.append(f"  line {row.line}: {fault}")

    def told(self, rows: int) -> str:
        shown, more = list(self._shown), self.count - FAULTS_SHOWN
        if more > 0:
            shown.append(f"  and {more:,} more")
        head = f"{self.count:,} of {rows:,} rows cannot be judged, so nothing was computed:"
        return "\n".join([head, *shown])


def _open(path: str) -> TextIO:
    try:
        return Path(path).open(encoding="utf-8", errors=NOT_UTF8, newline="")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UnreadableError(f"{path}: cannot be read: {reason}") from error


def _read(file: TextIO, written: _Written, service: str) -> Conditions:
    rows = _rows(file)
    needs = f"service {service} needs a header with {written.names}"
    header = next(rows, None)
    if header is None:
        raise _UnfitError(f"there is nothing in it; {needs}, and a row per rated experience below it")
    layout = _layout(header, written, needs)
    columns, faults, count = [array("d") for _ in written.columns], _Faults(), 0
    for row in rows:
        count += 1
        values = layout.values(row)
        if fault := layout.fault(row, values):
            faults.add(row, fault)
        for column, value in zip(columns, values, strict=True):
            column.append(value)
    if faults.count:
        raise _UnfitError(faults.told(count))
    if not count:
        raise _UnfitError("there is a header but no row; expected a row per rated experience below it")
    return Conditions({c.name: np.array(values) for c, values in zip(written.columns, columns, strict=True)})


def _rows(file: TextIO) -> Iterator[_Row]:
    """The rows that are not blank, the header first."""
    # A spreadsheet's byte order mark would hide the quotes of the first cell.
    lines = chain([file.readline().removeprefix("\ufeff")], file)
    # Not strict, a quote that is never closed would swallow the rest of the file without a word.
    reader = csv.reader(lines, strict=True)
    line = 1
    try:
        for cells in reader:
            # A quoted empty cell is how the only column of a file says "missing": that line is not blank.
            if cells and not (len(cells) == 1 and cells[0].isspace()):
                yield _Row(line, cells)
            line = reader.line_num + 1
    except csv.Error as error:
        yield _Row(line, (), f"is not CSV ({error}): is a quote not closed, or not doubled within a cell?")


def _layout(header: _Row, written: _Written, needs: str) -> _Layout:
    """Where the header says that the columns are."""
    if header.broken:
        raise _UnfitError(f"line {header.line}: {header.broken}")
    found = [cell.strip() for cell in header.cells]
    for column in written.columns:
        if (times := found.count(column.name)) > 1:
            raise _UnfitError(f"line {header.line}: found the column {column.name} {times} times, expected it once")
    if missing := [column.name for column in written.columns if column.name not in found]:
        there = ", ".join(repr(shortened(cell, 40)) for cell in found)
        raise _UnfitError(
            f"line {header.line}: there is no column {', '.join(missing)}; {needs}, found {there}{_hint(found)}"
        )
    return _Layout(written, tuple(found.index(column.name) for column in written.columns), len(found))


def _hint(header: Sequence[str]) -> str:
    """What may be wrong with a header that lacks columns."""
    if any("\0" in cell for cell in header):
        return "; the file looks like UTF-16: save it as UTF-8"
    for character, name in {";": "semicolons", "\t": "tabs"}.items():
        if len(header) == 1 and character in header[0]:
            return f"; its cells look separated by {name}: separate them by commas"
    return ""


def _number(cells: Sequence[str], place: int) -> float:
    """The number in a cell; NaN, which no column takes, where there is none."""
    try:
        cell = cells[place]
        return nan if "_" in cell else float(cell)  # 1_000 is a number to Python alone
    except (IndexError, ValueError):
        return nan


def _stall_fault(stalls: float, stall_s: float, play_s: float) -> str:
    if stalls > 0 and stall_s == 0:
        return f"stall_s: found 0 with stall_count {stalls:.0f}, expected the time that the stalls took"
    if stall_s + play_s < INSTANT_S:
        return "play_s: found nothing played and nothing stalled, expected at least a millisecond of either"
    return ""


def _stall_levels(service: Service, *columns: Floats) -> Ints:
    return mos_level(service.mapping(*_stall_condition(*columns)), service.scale)


def _stall_condition(stalls: Floats, stall_s: Floats, play_s: Floats) -> tuple[Floats, Floats]:
    return stall_condition(
        *(np.rint(column).astype(np.int64) for column in (stalls, stall_s * 1000, play_s * 1000))
    )


_SECONDS = f"seconds from 0 to {MAX_SECONDS:,.0f}, such as 2.5"
_WRITTEN: Mapping[Qos, _Written] = {
    Qos.STALLS: _Written(
        columns=(
            _Column("stall_count", MAX_COUNT, f"a whole number from 0 to {MAX_COUNT:,}", whole=True),
            _Column("stall_s", MAX_SECONDS, _SECONDS),
            _Column("play_s", MAX_SECONDS, _SECONDS),
        ),
        fault=_stall_fault,
        bins=_stall_levels,
        condition=_stall_condition,
    ),
    Qos.RESPONSES: _Written(
        columns=(_Column("response_s", MAX_SECONDS, _SECONDS),),
        fault=lambda _: "",
        bins=lambda _, response_s: response_bin(response_s),
        condition=lambda response_s: (response_s,),
    ),
}


def _one_by_one(mos: Floats, service: Service, quantiles: Sequence[float]) -> Distribution:
    """What the users of all rows answer, given the MOS of each, (N,).

    In chunks, for the memory. Rows of the same MOS, such as all without a stall, are judged once.
    """
    distinct, rows = np.unique(mos, return_counts=True)
    total = np.zeros(1)
    for start in range(0, len(distinct), CHUNK):
        chunk = slice(start, start + CHUNK)
        kernel = service.kernel(tuple(quantiles), distinct[chunk])
        total = total + kernel.total(rows[None, chunk])
    number = np.array([len(mos)])
    return kernel.tell(total, number, number)


def _analysis(said: Distribution, service: Service, quantiles: Sequence[float]) -> Analysis:
    """The only group of a distribution, as plain numbers."""
    shares = zip(said.band_gob[0].tolist(), said.band_pow[0].tolist(), strict=True)
    return Analysis(
        service=service,
        observations=int(said.observations[0]),
        mos=float(said.mos[0]),
        sos=float(said.sos[0]),
        gob=float(said.gob[0]),
        pow=float(said.pow[0]),
        ratings=dict(zip(service.scale.ratings.tolist(), said.ratings[0].tolist(), strict=True)),
        quantiles=dict(zip(quantiles, said.quantiles[0].tolist(), strict=True)),
        theta_band={theta: Shares(*pair) for theta, pair in zip(service.theta_band, shares, strict=True)},
    )


def _ratings_table(analysis: Analysis) -> Table:
    names = ACR_NAMES if analysis.service.scale.ratings.tolist() == ACR5.ratings.tolist() else {}
    out = Table("Rating", box=box.SIMPLE_HEAD)
    out.add_column("Users", justify="right")
    out.add_column()
    for rating, share in sorted(analysis.ratings.items(), reverse=True):
        bar = ProgressBar(total=1, completed=share, width=40)
        out.add_row(f"{rating} {names.get(rating, '')}".rstrip(), _percent(share), bar)
    return out


def _figures_table(analysis: Analysis) -> Table:
    scale = analysis.service.scale
    out = Table("Figure", box=box.SIMPLE_HEAD)
    out.add_column("Value", justify="right")
    out.add_column("Meaning")
    out.add_row("MOS", f"{analysis.mos:.2f}", f"mean of all ratings, from {scale.low} to {scale.high}")
    out.add_row("SOS", f"{analysis.sos:.2f}", "their standard deviation")
    for q, opinion in analysis.quantiles.items():
        out.add_row(f"quantile {q:g}", f"{opinion:.2f}", f"{100 * q:g} % of users rate this or lower")
    out.add_row("GoB", _percent(analysis.gob), f"good or better: {scale.good} and above")
    out.add_row("PoW", _percent(analysis.pow), f"poor or worse: {scale.poor} and below")
    for theta, shares in analysis.theta_band.items():
        if theta != analysis.service.theta:
            differ = f"if users differ {'less' if theta < analysis.service.theta else 'more'}: theta {theta:g}"
            out.add_row("GoB", _percent(shares.gob), differ)
            out.add_row("PoW", _percent(shares.pow), differ)
    return out


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"

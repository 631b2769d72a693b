"""Proposes the options with which a file can be read, from the names of its columns and its first rows.

A proposal is a guess that a person reads before using it, so nothing here changes how a file is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from qoemon.common.csvcolumns import MISSING
from qoemon.common.csvfile import Sheet, list_of, number, plain
from qoemon.config.studies.reading import (
    CI,
    CONDITION,
    COUNT,
    FAILED,
    GROUP,
    MADE,
    MOS,
    RATING,
    SD,
    SE,
    SPREADS,
    USER,
    VARIANCE,
    WEIGHT,
)

Options = Mapping[str, str]
"""Values by name of the option."""

WORDS: Mapping[str, Sequence[str]] = {
    CONDITION: (
        "condition",
        "pvs",
        "stimulus",
        "stimuli",
        "stim",
        "video",
        "vid",
        "clip",
        "sequence",
        "seq",
        "image",
        "img",
        "file",
        "filename",
        "sample",
        "item",
        "scene",
        "playback",
        "trace",
        "playlist",
        "url",
        "flickr",
        "name",
        "content",
        "src",
        "hrc",
        "test",
        "page",
        "utterance",
        "system",
        "bedingung",
        "sequenz",
        "séquence",
        "id",
        "key",
    ),
    USER: (
        "user",
        "subject",
        "observer",
        "rater",
        "participant",
        "worker",
        "viewer",
        "listener",
        "tester",
        "assessor",
        "annotator",
        "evaluator",
        "respondent",
        "person",
        "subj",
        "obs",
        "uid",
        "pid",
        "proband",
        "teilnehmer",
        "versuchsperson",
        "who",
    ),
    RATING: (
        "rating",
        "score",
        "opinion",
        "vote",
        "acr",
        "grade",
        "quality",
        "qoe",
        "answer",
        "response",
        "stars",
        "value",
        "overall",
        "os",
        "ovrl",
        "choice",
        "bewertung",
        "qualité",
        "note",
        "mos",
    ),
    MOS: ("mos", "mean", "average", "avg", "dmos", "score", "rating", "quality"),
    VARIANCE: ("variance", "var"),
    CI: ("ci", "ci95", "confidence"),
    SE: ("se", "sem", "stderr", "error", "err"),
    SD: ("sd", "std", "stdev", "stddev", "sos", "sigma", "deviation", "dev"),
    COUNT: (
        "n",
        "votes",
        "count",
        "ratings",
        "raters",
        "observers",
        "subjects",
        "users",
        "number",
        "num",
        "total",
        "size",
        "nb",
    ),
    WEIGHT: ("weight",),
    FAILED: ("failed", "failure", "error", "abandoned"),
    GROUP: ("group", "region", "country", "cdn", "client", "isp"),
    "response_s": (
        "response",
        "plt",
        "load",
        "onload",
        "speedindex",
        "lcp",
        "elapsed",
        "latency",
        "duration",
        "delay",
        "time",
        "wait",
        "ttfb",
        "rtt",
        "median",
        "p50",
    ),
    "stall_count": (
        "stalls",
        "stall",
        "stalling",
        "rebuffer",
        "rebuffers",
        "rebuffering",
        "rebufferings",
        "buffering",
        "interruptions",
        "interruption",
        "freezes",
        "freeze",
    ),
    "stall_s": ("stall", "stalls", "stalling", "rebuffer", "rebuffering", "buffering", "interruption", "freeze"),
    "play_s": (
        "play",
        "played",
        "playtime",
        "watched",
        "watch",
        "vid",
        "video",
        "media",
        "duration",
        "length",
        "run",
        "session",
    ),
}
"""Words in the names of columns that published studies have, the likeliest first."""

LENGTH_WORDS = frozenset(("s", "sec", "secs", "seconds", "ms", "time", "duration", "length", "len", "dur", "total"))

TABLE_FIGURES = frozenset(
    (
        "mos",
        "dmos",
        "mean",
        "average",
        "avg",
        "sd",
        "std",
        "stdev",
        "stddev",
        "sos",
        "var",
        "variance",
        "ci",
        "ci95",
        "se",
        "sem",
        "median",
        "n",
        "votes",
    )
)
"""Names of columns with a figure of all ratings of a row, beside ratings of the row."""

SCALES = ((0, 1), (1, 5), (0, 5), (1, 7), (1, 9), (0, 10), (1, 10), (0, 100))
"""Usual scales, the shortest first."""

PERSONAL = frozenset(
    (
        "age",
        "gender",
        "sex",
        "email",
        "ip",
        "vision",
        "submitdate",
        "startdate",
        "timestamp",
        "lastpage",
        "startlanguage",
    )
)
"""Words in the names of columns that surveys have beside the answers of a person."""

ENDS = frozenset(("low", "lower", "high", "upper", "lb", "ub", "min", "max"))
"""Words in the names of columns with one end of an interval."""

ACR_WORDS = ("bad", "poor", "fair", "good", "excellent")

FEW_ALIKE = 4
"""Columns of ratings with names alike that make a matrix likelier than a column of ratings."""

WORDED = (
    ACR_WORDS,
    ("very annoying", "annoying", "slightly annoying", "perceptible but not annoying", "imperceptible"),
    ("much worse", "worse", "slightly worse", "about the same", "slightly better", "better", "much better"),
    ("schlecht", "dürftig", "ordentlich", "gut", "ausgezeichnet"),
    ("mauvais", "médiocre", "assez bon", "bon", "excellent"),
)
"""The words of usual scales, lowest first: ITU-T P.800 and P.910."""

MANY = 8
"""Columns of ratings that make a matrix likelier than a column of ratings among other numbers."""

ONCE = 0.8
"""Share of the ratings that are the only one of their user for a condition: some studies repeat a few."""

NOT_RATED = ("-1", "-1.0", "-99", "-999", "99", "999")
"""Marks of missing ratings that are numbers, so that an option must name them."""

LONGEST_S = {"response_s": 300, "stall_s": 7200, "play_s": 86_400}
"""Times beyond which most values are probably milliseconds."""


@dataclass(frozen=True)
class Proposal:
    """What a file looks like, and the options for it.

    words  a clause; "" if there is nothing to say
    """

    words: str = ""
    options: Options | None = None


_NO_SPREAD = Proposal(
    "theta needs how far ratings differ: their sd and their number n beside mos (or half of the 95 % interval, "
    "--columns ci=COLUMN,n=24), or each rating"
)


def for_ratings(sheet: Sheet, low: float, high: float) -> Proposal:
    """The options for a file without a column of ratings."""
    if bare := _without_header(sheet, low, high):
        return bare
    if counts := counted(sheet, low, high):
        return _of_counts(sheet, counts)
    columns = _columns(sheet)
    return _pairs(columns) or _of_table(columns, low, high)


def _of_table(columns: Sequence[_ColumnOfSample], low: float, high: float) -> Proposal:
    """The options for a file with a header that names no column of ratings."""
    user, spread, answer = _named(columns, USER), _spread(columns), _answer(columns)
    mean = _named([each for each in columns if spread and each is not spread[1]], MOS, (_numeric,))
    alike = _alike(columns)
    wide = _wide(columns, low, high)
    if wide and len(alike) >= MANY:
        return wide
    if spread and mean:
        return _of_moments(columns, mean, *spread)
    among = len(alike) >= FEW_ALIKE and answer in alike
    if answer and not (wide and (among or len(_scale_columns(columns, low, high)) >= MANY)):
        return Proposal("", _long(columns, answer, user))
    return wide or (_NO_SPREAD if _named(columns, MOS, (_numeric,)) else Proposal())


def for_answer(sheet: Sheet, low: float, high: float) -> Proposal:
    """The options for a study without a column rating or mos."""
    columns = _columns(sheet)
    answer, alike, wide = _answer(columns), _alike(columns), _wide(columns, low, high)
    if wide and len(alike) >= FEW_ALIKE and (answer is None or answer in alike):
        return wide
    if answer is None and (mean := _named(columns, MOS, (_numeric,))):
        return Proposal("", {"columns": list_of([f"{MOS}={mean.name}"])})
    return Proposal("", {"rating": answer.name} if answer else None)


def for_condition(sheet: Sheet, rating: str) -> Proposal:
    """The options for a file that lacks the column of conditions, but has this one of ratings."""
    columns = [each for each in _columns(sheet) if each.name != rating]
    return Proposal("", {**_labels(columns, _named(columns, USER))})


def for_moments(sheet: Sheet, low: float, high: float) -> Proposal:
    """The options for a file with a mean, but without a standard deviation or a number of ratings."""
    if counts := counted(sheet, low, high):
        return _of_counts(sheet, counts)
    columns = _columns(sheet)
    mean, spread = _named(columns, MOS, (_numeric,)), _spread(columns)
    wide = _wide(columns, low, high)
    if wide and len(_alike(columns)) >= MANY:
        return wide
    if mean and spread:
        return _of_moments(columns, mean, *spread)
    if wide:
        return wide
    answer, user = _answer(columns), _named(columns, USER)
    if answer and (user or _repeats(_named(columns, CONDITION))):
        return Proposal("", _long(columns, answer, user))
    return _NO_SPREAD


def for_columns(sheet: Sheet, missing: Sequence[str], *, stalls: bool = False) -> Proposal:
    """The options for a file without these columns of QoS."""
    columns = _columns(sheet)
    if not any(each.name and np.isnan(number(each.name)) for each in columns):
        return Proposal("its first line is no header", {"header": list_of(_header(columns, missing))})
    taken: dict[str, str] = {}
    for name in missing:
        tests = (_numeric, _whole) if name == "stall_count" else (_numeric,)
        left = [each for each in columns if each.name not in taken.values()]
        if name == "stall_s":
            left = [each for each in left if LENGTH_WORDS & set(each.words)]
        elif name == "stall_count":
            left = [each for each in left if not LENGTH_WORDS & set(each.words)]
        if column := _named(left, name, tests):
            taken[name] = column.name
    options = {}
    if pairs := [f"{name}={_in_seconds(name, columns, column)}" for name, column in taken.items()]:
        options["columns"] = list_of(pairs)
    if stalls and "stall_s" in missing and "stall_s" not in taken and set(missing) - {"stall_s"} <= taken.keys():
        options["stall-length"] = "4s"
        return Proposal("it counts stalls without their seconds: state their mean length, such as 4s", options)
    return Proposal("", options or None)


def scale_of(least: float, most: float) -> Options | None:
    """The usual scale on which these values are; None if there is none."""
    if least < 0 and most <= -2 * least:
        end = max(-least, most)
        return {"low": f"{-end:g}", "high": f"{end:g}"} if end <= 10 else None
    ends = next(((low, high) for low, high in SCALES if low <= least and most <= high), None)
    return {"low": str(ends[0]), "high": str(ends[1])} if ends else None


def counted(sheet: Sheet, low: float, high: float) -> Sequence[str]:
    """The columns that look like the number of times that each rating was given, lowest first; () without any."""
    if not (float(low).is_integer() and float(high).is_integer() and high - low < 20):
        return ()
    points = range(int(low), int(high) + 1)
    names = [each.strip() for each in sheet.header]
    lower = {plain(each): each for each in names}
    if len(points) == len(ACR_WORDS) and all(word in lower for word in ACR_WORDS):
        return [lower[word] for word in ACR_WORDS]
    stems = dict.fromkeys(match[1] for each in names if (match := re.fullmatch(r"(.*?)\d+", each)))
    for stem in stems:
        wanted = [f"{stem}{point}" for point in points]
        same = [each for each in names if re.fullmatch(re.escape(stem) + r"\d+", each)]
        if same == wanted and _are_counts(sheet, [names.index(each) for each in wanted], high):
            return wanted
    return ()


def is_number_or_missing(cell: str) -> bool:
    """Whether a cell has a number, or says that it has none."""
    return cell.casefold() in MISSING or not np.isnan(number(cell.replace(",", ".")))


@dataclass(frozen=True, eq=False)
class _ColumnOfSample:
    """A column of the first rows.

    values  (n,) its cells as numbers, NaN for those that have none
    """

    name: str
    cells: Sequence[str]
    values: np.ndarray[tuple[int], np.dtype[np.float64]]

    @property
    def words(self) -> Sequence[str]:
        """The words in its name, in lower case."""
        apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", self.name)
        return [each for each in re.split(r"[^0-9a-zA-Z]+", apart.casefold()) if each]


Test = Callable[[_ColumnOfSample], bool]


def _columns(sheet: Sheet) -> list[_ColumnOfSample]:
    cells = [sheet.cells(place) for place in range(len(sheet.header))]
    return [
        _ColumnOfSample(name, each, np.array([_number(cell) for cell in each], np.float64))
        for name, each in zip(sheet.header, cells, strict=True)
        if name not in MADE
    ]


def words_of(cells: Sequence[str]) -> Sequence[str]:
    """The words of the scale on which these cells are, lowest first; () if there is none."""
    if not cells or not all(np.isnan(number(cell.replace(",", "."))) for cell in cells):
        return ()
    if known := next((words for words in WORDED if {cell.casefold() for cell in cells} <= set(words)), ()):
        return known
    numbered = {match[1]: cell for cell in cells if (match := re.match(r"\(?(-?\d+)\b[^\d]*$", cell))}
    points = sorted(map(int, numbered))
    if len(numbered) < len(cells) or len(points) < 4 or points != [*range(points[0], points[0] + len(points))]:
        return ()
    return [numbered[str(point)] for point in points]


def _number(cell: str) -> float:
    """The number in a cell, with a decimal comma or a percent sign too, or that of a word of a scale."""
    value = number(cell.replace(",", ".").removesuffix("%"))
    if not np.isnan(value):
        return value
    return next((words.index(cell.casefold()) + 1.0 for words in WORDED if cell.casefold() in words), value)


def _numeric(column: _ColumnOfSample) -> bool:
    there = [cell for cell in column.cells if cell.casefold() not in MISSING]
    return bool(there) and int(np.isfinite(column.values).sum()) >= 0.9 * len(there)


def _whole(column: _ColumnOfSample) -> bool:
    values = column.values[np.isfinite(column.values)]
    return bool(len(values)) and bool((np.rint(values) == values).all())


def _repeats(column: _ColumnOfSample | None) -> bool:
    return column is not None and len(set(column.cells)) < len(column.cells)


def _named(columns: Sequence[_ColumnOfSample], name: str, tests: Sequence[Test] = ()) -> _ColumnOfSample | None:
    """The column that is likeliest by its name; None if none is."""
    return next(iter(_ranked(columns, name, tests)), None)


def _ranked(columns: Sequence[_ColumnOfSample], name: str, tests: Sequence[Test] = ()) -> list[_ColumnOfSample]:
    """The columns by how likely their name is: as a whole, by a word in it and with an id first, or by a part."""
    fitting = [each for each in columns if each.name and all(test(each) for test in tests)]
    words = WORDS.get(name) or tuple(part for part in plain(name).split("_") if len(part) > 2)
    ranked = [
        (kind, place, 0 if {"id", "name", "s"} & set(each.words) else 1, at)
        for at, each in enumerate(fitting)
        for place, word in enumerate((name, *words))
        if (kind := _likeness(each, word)) is not None
    ]
    return [fitting[at] for at in dict.fromkeys(at for *_, at in sorted(ranked))]


def _condition(columns: Sequence[_ColumnOfSample], user: _ColumnOfSample | None) -> Sequence[str]:
    """The columns that name conditions, one or else two: several users rate each, and each user mostly once."""
    likely = _ranked(columns, CONDITION)

    def once(*names: _ColumnOfSample) -> float:
        """Share of ratings that are a user's only one for a condition; 0 if most conditions have one rating."""
        keys = list(zip(*(each.cells for each in names), strict=True))
        if len(set(keys)) > len(keys) / 2:
            return 0.0
        return len(set(zip(keys, user.cells, strict=True))) / len(keys) if user else 1.0

    choices = [*((each,) for each in likely), *combinations(likely, 2)]
    chosen = next((names for names in choices if once(*names) >= ONCE), None)
    if chosen is None:
        by_id = (each for each in likely if "id" in each.words and once(each))
        chosen = tuple(each for each in (next(by_id, None), *likely[:1], *columns[:1]) if each)[:1]
    return [each.name for each in sorted(chosen, key=columns.index)]


def _likeness(column: _ColumnOfSample, word: str) -> int | None:
    if plain(column.name) == word:
        return 0
    singular = [each.removesuffix("s") for each in column.words]
    if word in column.words or word in singular:
        return 1
    return 2 if len(word) >= 4 and word in column.name.casefold() else None


def _answer(columns: Sequence[_ColumnOfSample]) -> _ColumnOfSample | None:
    return _named(columns, RATING, (_numeric,))


def _long(columns: Sequence[_ColumnOfSample], answer: _ColumnOfSample, user: _ColumnOfSample | None) -> Options:
    options = _labels([each for each in columns if each is not answer], user)
    return options if plain(answer.name) == RATING else {**options, "rating": answer.name}


def _labels(columns: Sequence[_ColumnOfSample], user: _ColumnOfSample | None) -> Options:
    """The columns that name what was rated, and who rated it, if their names are not qoemon's."""
    options = {}
    condition = _condition([each for each in columns if each.name and each is not user], user)
    if condition and [plain(each) for each in condition] != [CONDITION]:
        options["condition"] = list_of(condition)
    if user and plain(user.name) != USER:
        options["user"] = list_of([user.name])
    return options


def _spread(columns: Sequence[_ColumnOfSample]) -> tuple[str, _ColumnOfSample] | None:
    """What says how far ratings differ: sd, or what it can be computed from, and the column; None without any."""
    for name in (SD, VARIANCE, CI, SE):
        errors = set(WORDS[SE]) if name == SD else ENDS
        left = [each for each in columns if not errors & set(each.words) and not ENDS & set(each.words)]
        if column := _named(left, name, (_numeric,)):
            return name, column
    return None


def _of_moments(
    columns: Sequence[_ColumnOfSample], mean: _ColumnOfSample, spread: str, deviation: _ColumnOfSample
) -> Proposal:
    rest = [each for each in columns if each not in (mean, deviation)]
    size = _named(rest, COUNT, (_numeric, _whole))
    named = ((MOS, mean), (spread, deviation), (COUNT, size))
    pairs = [
        f"{name}={each.name}" for name, each in named if each and (name in SPREADS or plain(each.name) != name)
    ]
    half = "ci is half of the 95 % interval, 1.96 standard errors" if spread == CI else ""
    condition = _once([each for each in rest if each is not size])
    options = {}
    if condition and [plain(each) for each in condition] != [CONDITION]:
        options["condition"] = list_of(condition)
    if size:
        return Proposal(half, {**options, "columns": list_of(pairs)})
    words = f"{half}{'; ' * bool(half)}state how many ratings each mean has, such as 24"
    return Proposal(words, {**options, "columns": list_of([*pairs, f"{COUNT}=24"])})


def _once(columns: Sequence[_ColumnOfSample]) -> Sequence[str]:
    """The columns that together name each row differently, as few as possible, the likeliest; () without any."""
    likely = _ranked(columns, CONDITION)
    names = [*likely, *(each for each in columns if each.name and each not in likely)][:MANY]
    for width in (1, 2, 3):
        for chosen in combinations(names, width):
            keys = list(zip(*(each.cells for each in chosen), strict=True))
            if chosen[0] in likely and len(set(keys)) == len(keys):
                return [each.name for each in sorted(chosen, key=columns.index)]
    return [each.name for each in likely[:1]]


def _of_counts(sheet: Sheet, counts: Sequence[str]) -> Proposal:
    words = "each of its rows has the number of times that each rating was given"
    return Proposal(words, {"counts": list_of(counts), **_names(sheet, CONDITION, exclude=counts)})


def _names(sheet: Sheet, name: str, exclude: Sequence[str]) -> Options:
    column = _named([each for each in _columns(sheet) if each.name not in exclude], name)
    return {} if column is None or plain(column.name) == name else {name: list_of([column.name])}


def _scale_columns(columns: Sequence[_ColumnOfSample], low: float, high: float) -> list[_ColumnOfSample]:
    """The columns of numbers of which most are on the scale, without figures of a row."""

    def on_scale(each: _ColumnOfSample) -> bool:
        values = each.values[np.isfinite(each.values)]
        given = values[~np.isin(values, [float(mark) for mark in NOT_RATED])]
        return bool(len(given)) and float(np.mean((low <= given) & (given <= high))) >= 0.9

    return [each for each in columns if _numeric(each) and on_scale(each) and plain(each.name) not in TABLE_FIGURES]


def _alike(columns: Sequence[_ColumnOfSample]) -> list[_ColumnOfSample]:
    """The largest set of columns of numbers whose names differ in a number or a letter only, such as clip_1."""
    stems: dict[str, list[_ColumnOfSample]] = {}
    for each in columns:
        if each.name and plain(each.name) not in TABLE_FIGURES and _numeric(each):
            stems.setdefault(_stem(each.name), []).append(each)
    return max(stems.values(), key=len, default=[])


def _stem(name: str) -> str:
    counted = re.sub(r"\d+", "#", name)
    return counted if counted != name else re.sub(r"(?<![^\W_])[^\W\d_](?![^\W_])", "#", name)


def _pairs(columns: Sequence[_ColumnOfSample]) -> Proposal | None:
    """What is said of rows with several ratings, and the names of what was rated in as many other columns."""
    stems: dict[str, list[_ColumnOfSample]] = {}
    for each in columns:
        stems.setdefault(_stem(each.name), []).append(each)
    several = [each for each in stems.values() if len(each) > 1 and "#" in _stem(each[0].name)]
    answers = next((each for each in several if all(map(_numeric, each))), [])
    for names in several:
        if len(names) == len(answers) and not any(map(_numeric, names)) and all(map(_repeats, names)):
            words = (
                f"each row has ratings of what {names[0].name} to {names[-1].name} name: make a row for each rating"
            )
            return Proposal(words)
    return None


def _wide(columns: Sequence[_ColumnOfSample], low: float, high: float) -> Proposal | None:
    alike = _alike(columns)
    scored, scale = _scale_columns(columns, low, high), None
    if len(alike) >= FEW_ALIKE:
        scored, scale = alike, _scale_among(alike, low, high)
    elif len(scored) < 4 or 2 * len(scored) < len(columns):
        return None
    options: dict[str, str] = {}
    others = [each for each in columns if each not in scored]
    by_users = _rows_are_users(scored, others)
    if by_users:
        options["wide"] = "users"
        ids = [each for each in others if {"id", "uuid"} & set(each.words) and not _repeats(each)]
        user = _named(others, USER) or next(iter(ids), None)
        if user and user is not columns[0]:
            options["user"] = list_of([user.name])
    else:
        options["wide"] = "conditions"
        named = _once(others)
        if named and others and _repeats(others[0]):
            options["condition"] = list_of(named)
    given = list(dict.fromkeys(cell for each in scored for cell in each.cells if cell.casefold() not in MISSING))
    if words := words_of(given):
        options["words"] = list_of(words)
    beside = [each for each in others if _numeric(each) and plain(each.name) not in TABLE_FIGURES]
    if scored is alike and ({"user", "condition"} & options.keys() or beside) and others != columns[:1]:
        options["rating"] = _pattern(scored, columns)
    form = (
        "its rows look like users, with a column for each condition"
        if by_users
        else "its rows look like conditions, with a column for each user (or else --wide users)"
    )
    return Proposal(form, {**options, **(scale or {})})


def _scale_among(columns: Sequence[_ColumnOfSample], low: float, high: float) -> Options | None:
    """The scale of these ratings; None if it is the given one, or none."""
    values = np.concatenate([each.values for each in columns])
    values = values[np.isfinite(values)]
    given = values[~np.isin(values, [float(mark) for mark in NOT_RATED])]
    if len(given) == 0 or float(np.mean((low <= given) & (given <= high))) >= 0.9:
        return None
    return scale_of(float(values.min()), float(values.max())) or scale_of(float(given.min()), float(given.max()))


def _rows_are_users(scored: Sequence[_ColumnOfSample], others: Sequence[_ColumnOfSample]) -> bool:
    """Whether rows are users by the names of the columns; otherwise they are conditions."""
    words = {word.rstrip("0123456789") for each in scored for word in each.words}
    if words & set(WORDS[USER]):
        return False
    if others and _named(others[:1], USER):
        return True
    return any(PERSONAL & set(each.words) or _named([each], USER) for each in others)


def _pattern(chosen: Sequence[_ColumnOfSample], columns: Sequence[_ColumnOfSample]) -> str:
    """The names of the chosen columns, by their common beginning if no other column has it."""
    first, last = min(each.name for each in chosen), max(each.name for each in chosen)
    start = first[: next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), 0)]
    if start and sum(each.name.startswith(start) for each in columns) == len(chosen):
        return list_of([f"{start}*"])
    return list_of([each.name for each in chosen])


def _without_header(sheet: Sheet, low: float, high: float) -> Proposal | None:
    """The proposal for a file whose first line has numbers where names should be."""
    if sheet.line == 0:
        return None
    numbers = [is_number_or_missing(cell) for cell in sheet.header]
    columns = _columns(sheet)
    if counted(sheet, low, high) or not any(numbers) or any(map(_is_name, columns)):
        return None
    if len(columns) >= 4 and all(map(_numeric, columns)) and sum(numbers) == len(numbers):
        scale = _scale_among(columns, low, high)
        words = (
            "it looks like a matrix without a header: a row a condition and a column a user (or else --wide users)"
        )
        return Proposal(words, {"wide": "conditions", **(scale or {})})
    if len(columns) >= 4 and len(_scale_columns(columns, low, high)) >= 0.8 * len(columns):
        words = (
            "it looks like a matrix without a header: a row a condition and a column a user (or else --wide users)"
        )
        return Proposal(words, {"wide": "conditions"})
    header = _guessed_header(columns, low, high)
    words = "its first line is no header"
    if header == [MOS, SD]:
        words += (
            "; if its columns are mean and standard deviation, state how many ratings each mean has, such as 24"
        )
        return Proposal(words, {"header": list_of(header), "columns": f"{COUNT}=24"})
    return Proposal(words, {"header": list_of(header)})


def _is_name(column: _ColumnOfSample) -> bool:
    """Whether the name of a column is one that published studies have, or no number while its cells are."""
    if is_number_or_missing(column.name):
        return False
    known = any(_likeness(column, word) in {0, 1} for kind in (CONDITION, USER, RATING) for word in WORDS[kind])
    return known or _numeric(column)


def _guessed_header(columns: Sequence[_ColumnOfSample], low: float, high: float) -> list[str]:
    """condition, rating, and names for what is left; rating is the last column on the scale that has two values."""
    scored = _scale_columns(columns, low, high)
    rating = scored[-1] if scored else columns[-1]
    rest = [each for each in columns if each is not rating]
    condition = next((each for each in rest if not _numeric(each)), rest[0] if rest else None)
    if len(columns) == 2 and condition and _numeric(condition) and not _repeats(condition):
        return [MOS, SD]
    return [
        RATING if each is rating else CONDITION if each is condition else f"column{at}"
        for at, each in enumerate(columns, start=1)
    ]


def _header(columns: Sequence[_ColumnOfSample], wanted: Sequence[str]) -> list[str]:
    return [*wanted[: len(columns)], *(f"column{at}" for at in range(len(wanted) + 1, len(columns) + 1))]


def _are_counts(sheet: Sheet, places: Sequence[int], high: float) -> bool:
    """Whether these columns have whole numbers, and sums that say that they are no ratings themselves."""
    values = np.array([[number(cell) for cell in sheet.cells(place)] for place in places])
    if values.size == 0 or not np.array_equal(values, np.rint(values)) or (values < 0).any():
        return False
    return bool((values == 0).any() or (values > high).any())


def _in_seconds(name: str, columns: Sequence[_ColumnOfSample], column: str) -> str:
    """The column as an expression, divided by 1000 if it looks like milliseconds."""
    found = next(each for each in columns if each.name == column)
    values = found.values[np.isfinite(found.values)]
    long = name in LONGEST_S and len(values) > 0 and float(np.median(values)) > LONGEST_S[name]
    thousandths = name.endswith("_s") and (long or "ms" in found.words)
    return f"{column}/1000" if thousandths else column

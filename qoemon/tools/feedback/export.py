"""Answers as CSV, a row for each day and condition, in the columns that studies have.

`qoemon theta`, `fit` and `validate` read them. There is no session id and no time of day in it.
"""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, TextIO

from qoemon.config import plugins
from qoemon.core.qoe.mapping import MEDIA_S
from qoemon.core.qoe.scale import ACR5

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qoemon.tools.feedback.documents import Answers

STALLS = ("stall_count", "stall_s", "play_s")


def write(answers: Answers, file: TextIO) -> int:
    """Write the answers with a header; returns the number of rows below it."""
    ratings = range(answers.scale.low, answers.scale.high + 1)
    rows = csv.writer(file, lineterminator="\n")
    figures = ("predicted_mos", "sessions", "asked", "thumbs_up", "thumbs_down")
    rows.writerow(["day", "condition", *_columns(answers), *figures, *ratings])
    written = 0
    for day in answers.days:
        for each in day.answers:
            values = _values(each.condition)
            rows.writerow(
                [
                    day.day,
                    _named(values, each.mos),
                    *values,
                    f"{each.mos:.3f}",
                    each.sessions,
                    each.asked_sessions,
                    each.thumbs.up,
                    each.thumbs.down,
                    *(each.ratings.get(rating, 0) for rating in ratings),
                ]
            )
            written += 1
    return written


def commands(answers: Answers) -> list[str]:
    """The commands that read such a file, FILE, with their options."""
    counts = f"--counts {','.join(str(each) for each in range(answers.scale.low, answers.scale.high + 1))}"
    scale = answers.scale
    ends = "" if (scale.low, scale.high) == (ACR5.low, ACR5.high) else f" --low {scale.low} --high {scale.high}"
    theta = f"qoemon theta FILE {counts}{ends}"
    if not answers.axes:
        return [theta]
    own = plugins.find(answers.mapping).inputs if answers.mapping in plugins.names() else ()
    inputs = "" if own else f" --inputs {','.join(answers.inputs)}"
    return [
        theta,
        f"qoemon fit FILE --mapping {answers.mapping}{inputs} {counts}{ends}",
        f"qoemon validate FILE -c CONFIG --service {answers.service} {counts}",
    ]


def _columns(answers: Answers) -> tuple[str, ...]:
    return STALLS if len(answers.axes) == 2 else tuple(answers.axes)


def _values(condition: Mapping[str, float]) -> list[str]:
    """The cells of a condition."""
    if len(condition) != 2:
        return [f"{value:.6g}" for value in condition.values()]
    n, t = condition.values()
    # Of a session that plays and stalls for a minute together: so the number of its stalls is whole.
    play_s = MEDIA_S**2 / (MEDIA_S + t)
    stalls = round(n * play_s / MEDIA_S)
    # Studies have no stall without a time: clients that count stalls without it get the shortest one.
    stall_s = max(t * play_s / MEDIA_S, 0.001 * (stalls > 0))
    return [str(stalls), f"{stall_s:.3f}", f"{play_s:.3f}"]


def _named(values: list[str], mos: float) -> str:
    """The name of a condition with these cells."""
    if not values:
        return f"MOS {mos:.2f}"
    stalls, stall_s = (values[0], values[1]) if len(values) == len(STALLS) else ("", values[0])
    return f"{stalls} stalls {stall_s} s a minute" if stalls else f"{stall_s} s"

"""The figures of a service's feedback as text and tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from qoemon.common.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qoemon.tools.feedback.documents import Bounds, Figures

MOST_RATINGS = 11
"""Ratings of a scale with more points are not listed one by one."""


def summary(service: str, figures: Figures) -> Group:
    """The sentence, then observed beside predicted ratings, and the figures that follow from them, for rich."""
    return Group(Text(f"{service}: {printable(figures.text)}"), *_tables(figures))


def _tables(figures: Figures) -> Iterator[Table]:
    if not figures.rated_sessions:
        return
    if len(figures.ratings) <= MOST_RATINGS:
        yield _ratings(figures)
    yield _classes(figures)
    yield _figures(figures)


def _ratings(figures: Figures) -> Table:
    out = _table("Rating", "Users", "Predicted")
    for rating, users in figures.ratings.items():
        expected = figures.expected_ratings.get(rating)
        out.add_row(Text(rating), f"{users:,}", "-" if expected is None else f"{expected:,.1f}")
    return out


def _classes(figures: Figures) -> Table:
    out = _table("Predicted MOS", "Asked", "Rated", "Answered", "Mean rating", "Predicted", "Difference")
    for each in figures.classes:
        out.add_row(
            f"{each.mos_from:g} to {each.mos_to:g}",
            f"{each.asked_sessions:,}",
            f"{each.rated_sessions:,}",
            "-" if each.response_ratio is None else f"{100 * each.response_ratio:.0f} %",
            _number(each.mean_rating, ".2f"),
            _number(each.expected_mean_rating, ".2f"),
            _estimate(each.bias, each.bias_bounds, "+.2f"),
        )
    return out


def _figures(figures: Figures) -> Table:
    out = _table("Among those who answered", "Value")
    out.add_row("Ratings", f"{figures.rated_sessions:,}")
    out.add_row("Days with ratings", f"{figures.days}")
    out.add_row("Rating minus prediction", _estimate(figures.bias, figures.bias_bounds, "+.2f"))
    out.add_row("Variance over prediction", _estimate(figures.spread_ratio, figures.spread_ratio_bounds, ".2f"))
    out.add_row("Ranked probability score over expectation", _number(figures.rank_ratio, ".2f"))
    for name, score in figures.scores.by_score.items():
        out.add_row(Text(f"Worth of score {name}"), _number(score.worth, ".2f"))
    return out


def _table(first: str, *others: str) -> Table:
    out = Table(first, box=box.SIMPLE_HEAD)
    for heading in others:
        out.add_column(heading, justify="right")
    return out


def _estimate(value: float | None, bounds: Bounds, form: str) -> str:
    """The figure, with the ends of its interval if they are known."""
    lower, upper = bounds
    if value is None or lower is None or upper is None:
        return _number(value, form)
    return f"{value:{form}} ({lower:{form}} to {upper:{form}})"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else f"{value:{form}}"

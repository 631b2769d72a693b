"""Table of groups for the terminal, with rating bars and sparklines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from qoemon.common.text import SHORT, printable

_RATINGS = (("█", "#d55e00"), ("▓", "#e69f00"), ("▒", "#999999"), ("░", "#56b4e9"), ("·", "#0072b2"))
"""Glyph and colour of each rating, worst first. Shades differ without colour; the colours suit the colour-blind."""

_BAR = 18
"""Cells of a rating bar: four labels of usual length still fit in 80 columns."""

_BAD = 0.2
"""A PoW of at least this is printed bold."""


def groups_table(view: dict[str, Any], window: str, title: str) -> Table:
    """Table of all groups of a view in one window: sessions, MOS, GoB, PoW and the ratings as a bar."""
    table = Table(
        title=title, title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0), pad_edge=False
    )
    for name in ("service", *view["labels"]):
        table.add_column(name, no_wrap=True)
    for name in ("sessions", "stalled", "MOS", "good", "poor"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("ratings", no_wrap=True)
    for service in view["services"]:
        for group in service["groups"]:
            # Text is not read as markup.
            names = (Text(printable(name, SHORT)) for name in (service["service"], *group["labels"].values()))
            table.add_row(*names, *_figures(group, window))
    return table


def bar(shares: Sequence[float], width: int = _BAR) -> Text:
    """Bar of `width` characters for shares of the ratings, worst first."""
    text, upto, drawn = Text(), 0.0, 0
    for (glyph, colour), share in zip(_shades(len(shares)), shares, strict=True):
        upto += share
        text.append(glyph * (round(upto * width) - drawn), style=colour)
        drawn = round(upto * width)
    return text


def legend(ratings: Sequence[str]) -> Text:
    """Key to the parts of a bar."""
    text = Text("ratings: ")
    for rating, (glyph, colour) in zip(ratings, _shades(len(ratings)), strict=True):
        text.append(f"{glyph}{glyph} {rating}  ", style=colour)
    return text


_BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float | None], top: float) -> str:
    """One block character for each value between 0 and top; a blank for None."""
    highest = len(_BLOCKS) - 1
    return "".join(
        " " if value is None else _BLOCKS[max(0, min(highest, round(value / top * highest)))] for value in values
    )


def _shades(ratings: int) -> list[tuple[str, str]]:
    """Glyph and colour of each rating; scales with more than five ratings use some twice."""
    return [_RATINGS[index * (len(_RATINGS) - 1) // max(ratings - 1, 1)] for index in range(ratings)]


def _figures(group: dict[str, Any], window: str) -> tuple[str | Text, ...]:
    counts = (f"{group['active_sessions']:,}", f"{group['open_stalls']:,}")
    estimate = group["windows"].get(window)
    if estimate is None:
        return (*counts, "-", "-", "-", Text("no data", style="dim"))
    poor = Text(f"{estimate['pow']:.1%}", style="bold #d55e00" if estimate["pow"] >= _BAD else "")
    return (
        *counts,
        f"{estimate['mos']:.2f}",
        f"{estimate['gob']:.1%}",
        poor,
        bar(list(estimate["ratings"].values())),
    )

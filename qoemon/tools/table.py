"""Groups as a table in the terminal, and what it is drawn with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from qoemon.common.text import SHORT, printable

_RATINGS = (("█", "#d55e00"), ("▓", "#e69f00"), ("▒", "#999999"), ("░", "#56b4e9"), ("·", "#0072b2"))
"""Worst first: told apart by their shade without colours, and by colours that the colour-blind tell apart."""

_BAR = 18
"""With it, four labels of usual length fit in 80 columns."""

_BAD = 0.2
"""From this share of poor ratings on, a figure is printed bold."""


def groups_table(view: dict[str, Any], window: str, title: str) -> Table:
    """Every group of a view in one window: sessions, MOS, GoB, PoW and the ratings as a bar."""
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
    """Shares of the ratings, worst first, as one bar of so many characters."""
    text, upto, drawn = Text(), 0.0, 0
    for (glyph, colour), share in zip(_shades(len(shares)), shares, strict=True):
        upto += share
        text.append(glyph * (round(upto * width) - drawn), style=colour)
        drawn = round(upto * width)
    return text


def legend(ratings: Sequence[str]) -> Text:
    """What the parts of a bar mean."""
    text = Text("ratings: ")
    for rating, (glyph, colour) in zip(ratings, _shades(len(ratings)), strict=True):
        text.append(f"{glyph}{glyph} {rating}  ", style=colour)
    return text


_BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float | None], top: float) -> str:
    """A block a value, from 0 to top; a blank where there is none."""
    highest = len(_BLOCKS) - 1
    return "".join(
        " " if value is None else _BLOCKS[max(0, min(highest, round(value / top * highest)))] for value in values
    )


def _shades(ratings: int) -> list[tuple[str, str]]:
    """A glyph and a colour for each rating of the scale; scales with more than five share some."""
    return [_RATINGS[index * (len(_RATINGS) - 1) // max(ratings - 1, 1)] for index in range(ratings)]


def _figures(group: dict[str, Any], window: str) -> tuple[str | Text, ...]:
    there = (f"{group['active_sessions']:,}", f"{group['open_stalls']:,}")
    judged = group["windows"].get(window)
    if judged is None:
        return (*there, "-", "-", "-", Text("nothing to judge yet", style="dim"))
    poor = Text(f"{judged['pow']:.1%}", style="bold #d55e00" if judged["pow"] >= _BAD else "")
    return (*there, f"{judged['mos']:.2f}", f"{judged['gob']:.1%}", poor, bar(list(judged["ratings"].values())))

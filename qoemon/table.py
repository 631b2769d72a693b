"""Groups as a table in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

_RATINGS = (("█", "#d55e00"), ("▓", "#e69f00"), ("▒", "#999999"), ("░", "#56b4e9"), ("·", "#0072b2"))
"""Worst first: told apart by their shade without colours, and by colours that the colour-blind tell apart."""


def groups_table(view: dict[str, Any], window: str, title: str) -> Table:
    """Every group of a view in one window: sessions, MOS, GoB, PoW and the ratings as a bar."""
    table = Table(title=title, title_justify="left", title_style="bold", expand=False, pad_edge=False)
    table.add_column("service")
    for label in view["labels"]:
        table.add_column(label)
    for name in ("sessions", "stalled", "MOS", "good", "poor"):
        table.add_column(name, justify="right")
    table.add_column(legend())
    for service in view["services"]:
        for group in service["groups"]:
            table.add_row(service["service"], *group["labels"].values(), *_numbers(group, window))
    return table


def bar(shares: Sequence[float], width: int = 20) -> Text:
    """Shares of the ratings, worst first, as one bar of so many characters."""
    text, begun, drawn = Text(), 0.0, 0
    for index, share in enumerate(shares):
        begun += share
        upto = round(begun * width)
        glyph, colour = _RATINGS[index * (len(_RATINGS) - 1) // max(len(shares) - 1, 1)]
        text.append(glyph * (upto - drawn), style=colour)
        drawn = upto
    return text


def legend() -> Text:
    """What the parts of the bar mean."""
    text = Text("ratings ")
    for rating, (glyph, colour) in enumerate(_RATINGS, 1):
        text.append(f"{rating}{glyph} ", style=colour)
    return text


def _numbers(group: dict[str, Any], window: str) -> tuple[str | Text, ...]:
    presence = (f"{group['active_sessions']:,}", f"{group['open_stalls']:,}")
    judged = group["windows"].get(window)
    if judged is None:
        return (*presence, "-", "-", "-", Text("nothing to judge yet", style="dim"))
    poor = Text(f"{judged['pow']:.1%}", style="bold #d55e00" if judged["pow"] > 0.2 else "")
    return (*presence, f"{judged['mos']:.2f}", f"{judged['gob']:.1%}", poor, bar(list(judged["ratings"].values())))

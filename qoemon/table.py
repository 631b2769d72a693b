"""Groups as a table in the terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich.cells import cell_len, set_cell_size
from rich.table import Table
from rich.text import Text

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
            table.add_row(service["service"], *group["labels"].values(), *_figures(group, window))
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

_LONGEST = 64
"""No value from the wire takes more characters than this, however wide the terminal is."""

_MARKS_AT_MOST = 2
"""Combining marks on one letter: enough for any script, too few to paint over the lines above."""


def plain(text: str) -> str:
    """Text from the wire as one line that a terminal cannot take for an order.

    Whatever is not printed as itself (control characters, ANSI's escape, line ends, marks that turn the direction
    of writing) is shown as a replacement character: left out, it would let two values look the same.
    """
    shown, marks = [], 0
    for character in unicodedata.normalize("NFC", text[:_LONGEST]):
        marks = marks + 1 if unicodedata.category(character).startswith("M") else 0
        if marks <= _MARKS_AT_MOST:
            shown.append(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}")
    return "".join(shown) + "…" * (len(text) > _LONGEST)


def sparkline(values: Sequence[float | None], top: float) -> str:
    """A block a value, from 0 to top; a blank where there is none."""
    highest = len(_BLOCKS) - 1
    return "".join(
        " " if value is None else _BLOCKS[max(0, min(highest, round(value / top * highest)))] for value in values
    )


@dataclass
class Column:
    """A column that may have to give way.

    least   cells that it needs at least; it is cut down to that where room is short
    weight  where that is not enough, the column with the least weight is left out
    needs   cells that its values take uncut; width, those that it gets
    """

    name: str
    cells: Sequence[Text]
    least: int
    weight: int
    justify: Literal["left", "right"] = "left"
    needs: int = 0
    width: int = 0

    def __post_init__(self) -> None:
        self.needs = max(self.least, *(cell.cell_len for cell in self.cells), 0)
        self.width = max(self.needs, cell_len(self.name))


def fitted(columns: Sequence[Column], width: int) -> list[Column]:
    """Those columns that have room side by side, each cut as much as it must be."""
    kept = list(columns)
    while (over := taken(kept) - width) > 0:
        wide = [column for column in kept if column.width > column.least]
        if wide:
            # Names give way before values; by steps of one, so that the long ones end up equally long.
            max(wide, key=lambda column: (column.width > column.needs, column.width)).width -= 1
        elif len(kept) > 1:
            kept.remove(min(kept, key=lambda column: column.weight))
        else:
            kept[0].width -= over
    return kept


def taken(columns: Sequence[Column]) -> int:
    """Cells that columns take side by side, with a blank between them."""
    return sum(column.width + 1 for column in columns) - 1


def lines(columns: Sequence[Column]) -> list[Text]:
    """The columns as lines of text, their names first; what is too long loses its middle."""
    names = [Text(column.name, style="bold") for column in columns]
    rows = [names, *zip(*(column.cells for column in columns), strict=True)]
    return [Text(" ").join(_cell(cell, column) for cell, column in zip(row, columns, strict=True)) for row in rows]


def _cell(text: Text, column: Column) -> Text:
    cell = text.copy()
    if cell.cell_len > column.width:
        return Text(_cut(cell.plain, column.width), style=cell.style)
    room = column.width - cell.cell_len
    if column.justify == "right":
        cell.pad_left(room)
    else:
        cell.pad_right(room)
    return cell


def _cut(text: str, width: int) -> str:
    """The beginning and the end of a text: what tells europe-west-1 from europe-west-2 comes last."""
    tail = (width - 1) // 2
    head = set_cell_size(text, max(width - 1 - tail, 0))
    return set_cell_size(f"{head}…{set_cell_size(text[::-1], tail)[::-1]}", width)


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

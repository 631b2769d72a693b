"""Columns of text side by side, that give way where room is short."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.cells import cell_len, set_cell_size
from rich.text import Text


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

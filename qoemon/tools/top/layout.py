"""Columns of text side by side, which are narrowed or omitted if the terminal is too narrow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.cells import cell_len, set_cell_size
from rich.text import Text


@dataclass
class Column:
    """A column of the table.

    least   minimum width, cells; columns are narrowed to it if the room is short
    weight  if that is not enough, the column with the least weight is omitted
    needs   cells of its longest value; width: cells that it gets
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
    """The columns that fit side by side in `width` cells, narrowed as necessary."""
    kept = list(columns)
    while (over := taken(kept) - width) > 0:
        wide = [column for column in kept if column.width > column.least]
        if wide:
            # Names are cut before values; in steps of one, so that long columns end up equally wide.
            max(wide, key=lambda column: (column.width > column.needs, column.width)).width -= 1
        elif len(kept) > 1:
            kept.remove(min(kept, key=lambda column: column.weight))
        else:
            kept[0].width -= over
    return kept


def taken(columns: Sequence[Column]) -> int:
    """Width of the columns side by side, with a blank between them, cells."""
    return sum(column.width + 1 for column in columns) - 1


def lines(columns: Sequence[Column]) -> list[Text]:
    """The columns as lines of text, names first; values that are too long lose their middle."""
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
    """The text without its middle: europe-west-1 and europe-west-2 differ only at the end."""
    tail = (width - 1) // 2
    head = set_cell_size(text, max(width - 1 - tail, 0))
    return set_cell_size(f"{head}…{set_cell_size(text[::-1], tail)[::-1]}", width)

"""A measured figure beside the bar that it has to hold."""

from __future__ import annotations

from math import inf
from typing import NamedTuple


class Row(NamedTuple):
    """A figure, and the least and the most that it may be; NaN is missed."""

    name: str
    value: float
    least: float = -inf
    most: float = inf
    unit: str = ""

    @property
    def held(self) -> bool:
        """Whether the figure is within its bar."""
        return self.least <= self.value <= self.most

    def __str__(self) -> str:
        ends = [
            f"{name} {end:g}" for name, end in (("at least", self.least), ("at most", self.most)) if abs(end) < inf
        ]
        verdict = "holds" if self.held else "MISSED"
        return f"{self.name:<76} {self.value:>8.4g}{self.unit}  ({', '.join(ends)}) {verdict}"

"""What the command `qoemon top` can be given; imports nothing, as its help needs no more."""

from typing import Literal

SortBy = Literal["pow", "mos", "gob", "sessions", "name"]

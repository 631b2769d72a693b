"""Columns of a table of sessions, as attributes of an object: one per name, an element per row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qoemon.core.arrays import Ints, grow_columns


class Columns:
    """Columns with the names and types of a subclass, without rows at first.

    TYPES  dtype of each column
    NEW    its value in the row of a new session; 0 if it is not given
    """

    TYPES: Mapping[str, type[np.generic]]
    NEW: Mapping[str, Any]

    def __init__(self) -> None:
        for name, dtype in self.TYPES.items():
            setattr(self, name, np.zeros(0, dtype))

    def grow(self, used: int, room: int) -> None:
        """Extend the columns to `room` rows, of which `used` are in use."""
        for name in self.TYPES:
            setattr(self, name, grow_columns(getattr(self, name), used, room))

    def clear(self, rows: Ints | slice) -> None:
        """Make these rows those of new sessions."""
        for name in self.TYPES:
            getattr(self, name)[rows] = self.NEW.get(name, 0)

    def dump_columns(self, rows: Ints) -> dict[str, NDArray[Any]]:
        """The columns of these rows, as a copy."""
        return {name: getattr(self, name)[rows] for name in self.TYPES}

    def load_columns(self, state: Mapping[str, NDArray[Any]], rows: Ints) -> None:
        """Restore the columns of a dump into these rows."""
        for name in self.TYPES:
            getattr(self, name)[rows] = state[name]

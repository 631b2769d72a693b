"""What the subcommands that draw share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


class PlotError(Exception):
    """There can be no picture; says why, and what to do."""

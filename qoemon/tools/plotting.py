"""What the subcommands that draw share: colours, and the error when a chart cannot be made.

matplotlib is needed for drawing alone, so it is an extra.
"""

from __future__ import annotations

BLUE, ORANGE, SKY, AMBER, GREY = "#0072b2", "#d55e00", "#56b4e9", "#e69f00", "#8c8c8c"
"""Okabe and Ito's palette: the colour-blind can distinguish them, on white and on black."""


class PlotError(Exception):
    """A chart cannot be drawn or written; the message says why and what to do."""


def require_matplotlib(purpose: str) -> None:
    """Raise PlotError if matplotlib is not installed; purpose: what needs it, such as "a report"."""
    try:
        import matplotlib.figure  # noqa: F401, PLC0415
    except ImportError:
        raise PlotError(f"{purpose} needs matplotlib: pip install 'qoemon[plot]'") from None

"""What the subcommands that draw share: colours, curves, files, and the error when a chart cannot be made.

matplotlib is needed for drawing alone, so it is an extra.
"""

from __future__ import annotations

import html
import io
from typing import TYPE_CHECKING

from qoemon.common.extras import how_to_add

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from qoemon.tools.curves import Curves

BLUE, ORANGE, SKY, AMBER, GREY = "#0072b2", "#d55e00", "#56b4e9", "#e69f00", "#8c8c8c"
"""Okabe and Ito's palette: the colour-blind can distinguish them, on white and on black."""

BLACK = "#222222"

SUFFIXES = (".png", ".svg", ".pdf", ".html")


class PlotError(Exception):
    """A chart cannot be drawn or written; the message says why and what to do."""


def require_matplotlib(purpose: str) -> None:
    """Raise PlotError if matplotlib is not installed; purpose: what needs it, such as "a report"."""
    try:
        import matplotlib.figure  # noqa: F401, PLC0415
    except ImportError:
        raise PlotError(f"{purpose} needs matplotlib: {how_to_add('plot')}") from None


def require_plot(path: Path) -> None:
    """Raise PlotError if a plot cannot be written in the format of the file's suffix."""
    require_matplotlib("a plot")
    # Without a suffix, matplotlib would append one and write another file than the one named.
    if path.suffix.lower() not in SUFFIXES:
        found = f"the suffix {path.suffix}" if path.suffix else "no suffix"
        expected = f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"
        raise PlotError(f"{path}: found {found}, expected a file that ends in {expected}")


def save(figure: Figure, path: Path, title: str) -> None:
    """Write the plot in the format of the file's suffix; PlotError if that fails. title: of an HTML page."""
    require_plot(path)
    try:
        if path.suffix.lower() == ".html":
            path.write_text(_page(figure, title), encoding="utf-8")
        else:
            # Without its date, the same plot is the same file.
            metadata = {"Date": None, "Creator": None} if path.suffix.lower() == ".svg" else {}
            figure.savefig(path, metadata=metadata)
    except OSError as error:
        raise PlotError(f"{path}: cannot be written: {error.strerror or error}") from error


def draw_cdfs(axes: Axes, curves: Curves) -> None:
    """Draw the CDFs of the users' MOS, of their opinions, and of their ratings."""
    axes.plot(curves.opinions, curves.mos_cdf, color=BLACK, linewidth=1, linestyle=":", label="MOS of the users")
    if curves.opinion_cdf is not None:
        axes.plot(curves.opinions, curves.opinion_cdf, color=BLUE, label="opinions (continuous)")
    low, high = curves.opinions[0], curves.opinions[-1]
    steps = [low, *curves.ratings[1:], high], [*curves.rating_cdf, 1]
    axes.step(*steps, color=ORANGE, where="post", linestyle="--", label="ratings")
    axes.set(xlabel="scale points", ylabel="share at or below", ylim=(0, 1.02), xlim=(low, high))


def draw_shares(axes: Axes, curves: Curves, theta: float, band: tuple[float, ...] = ()) -> None:
    """Draw GoB and PoW over theta; theta of the service as a line, its band as an area."""
    if band:
        axes.axvspan(min(band), max(band), color=GREY, alpha=0.2, linewidth=0, label="theta_band")
    axes.axvline(theta, color=GREY, linewidth=1, label=f"θ {theta:g} of the service")
    axes.plot(curves.thetas, curves.gob, color=BLUE, label="GoB: good or better")
    axes.plot(curves.thetas, curves.pow, color=ORANGE, linestyle="--", label="PoW: poor or worse")
    axes.set(xlabel="SOS parameter θ (Beta ratings)", ylabel="share of users", ylim=(0, 1), xlim=(0, 1))


def _page(figure: Figure, title: str) -> str:
    """An HTML page with the plot as SVG, which fetches nothing."""
    out = io.StringIO()
    figure.savefig(out, format="svg")
    svg = out.getvalue()
    head = f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{html.escape(title)}</title>\n'
    return f"{head}<style>svg {{ max-width: 100%; height: auto }}</style>\n{svg[svg.index('<svg') :]}</html>\n"

"""Plot of a study's conditions around its SOS parabola."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qoemon.tools.plotting import BLUE, ORANGE, require_plot, save

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    from qoemon.core.arrays import Floats
    from qoemon.tools.calibrate.sos import RatedCondition, Sos

SMALLEST, LARGEST = 25.0, 120.0
"""Marker areas of the conditions with the fewest and the most ratings, square points."""


def draw(sos: Sos, path: Path) -> None:
    """Write the plot in the format of the file's suffix; PlotError if matplotlib is missing or the file fails."""
    require_plot(path)
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(7, 4.5), dpi=150, layout="constrained")
    _plot(figure.add_subplot(), sos)
    save(figure, path, "SOS parameter")


def _plot(axes: Axes, sos: Sos) -> None:
    mos = np.linspace(sos.low, sos.high, 201)
    parabola = (sos.high - mos) * (mos - sos.low)
    lower, upper = sos.interval
    axes.fill_between(
        mos,
        lower * parabola,
        upper * parabola,
        color=BLUE,
        alpha=0.2,
        linewidth=0,
        label=f"{100 * sos.confidence:g} % interval: {lower:.3f} to {upper:.3f}",
    )
    axes.plot(mos, sos.theta * parabola, color=BLUE, linewidth=2, label=_formula_text(sos))
    axes.scatter(
        [each.mos for each in sos.used],
        [each.variance for each in sos.used],
        s=_areas(sos.used),
        color=ORANGE,
        edgecolor="black",
        linewidth=0.7,
        zorder=3,
        label=f"conditions ({_range([each.ratings for each in sos.used])} ratings each)",
    )
    _label_axes(axes, sos, highest=max(*(each.variance for each in sos.used), upper * parabola.max()))


def _label_axes(axes: Axes, sos: Sos, *, highest: float) -> None:
    margin = 0.03 * (sos.high - sos.low)
    axes.set_xlim(sos.low - margin, sos.high + margin)
    axes.set_ylim(0, 1.3 * highest or 1)  # room for the legend above the parabola
    opinions = f" of ratings, {sos.of_opinions.value:.3f} of opinions" if sos.rounded else ""
    axes.set_title(f"How far users differ: SOS parameter θ = {sos.theta:.3f}{opinions}")
    axes.set_xlabel(f"MOS of the condition (scale points, {sos.low:g} to {sos.high:g})")
    axes.set_ylabel("variance of its ratings (scale points²)")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper center", ncols=2, fontsize="small", frameon=False)


def _formula_text(sos: Sos) -> str:
    return f"s² = {sos.theta:.3f} ({sos.high:g} − MOS)(MOS − {sos.low:g})"


def _areas(conditions: tuple[RatedCondition, ...]) -> Floats:
    """Marker areas, larger for conditions with more ratings: these should lie nearer to the parabola."""
    ratings = np.array([each.ratings for each in conditions])
    share = (ratings - ratings.min()) / max(np.ptp(ratings), 1)
    return np.asarray(SMALLEST + (LARGEST - SMALLEST) * share if np.ptp(ratings) else np.full(len(ratings), 50.0))


def _range(numbers: list[int]) -> str:
    least, most = min(numbers), max(numbers)
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"

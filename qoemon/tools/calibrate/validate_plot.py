"""Plot of predicted against observed MOS, GoB and PoW."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qoemon.core.qoe.confidence import interval
from qoemon.tools.plotting import BLUE, GREY, ORANGE, require_plot, save

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    from qoemon.core.arrays import Floats
    from qoemon.tools.calibrate.validate import Validation


def draw(validation: Validation, path: Path) -> None:
    """Write the plot in the format of the file's suffix; PlotError if matplotlib is missing or the file fails.

    The bars of observed shares are their 95 % intervals, as if each rating came from another user.
    """
    require_plot(path)
    from matplotlib.figure import Figure  # noqa: PLC0415

    observed, predicted, scale = validation.observed, validation.predicted, validation.service.scale
    panels = [("MOS (scale points)", validation.study.mos, validation.predicted_mos, (scale.low, scale.high), BLUE)]
    if observed is not None:
        panels += [
            ("GoB: share good or better", observed.gob, predicted.gob, (0, 1), BLUE),
            ("PoW: share poor or worse", observed.pow, predicted.pow, (0, 1), ORANGE),
        ]
    figure = Figure(figsize=(3.9 * len(panels), 4.2), dpi=150, layout="constrained")
    for at, (title, people, model, ends, colour) in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), at + 1)
        _scatter(axes, title, people, model, ends, colour)
        if at:
            _bars(axes, people, model, validation.study.weights)
    service = validation.service
    title = f"{service.name}: {service.mapping.name} beside {len(validation.study.names):,} rated conditions"
    figure.suptitle(title, fontsize="large", parse_math=False)
    save(figure, path, title)


def _scatter(axes: Axes, title: str, people: Floats, model: Floats, ends: tuple[float, float], colour: str) -> None:
    axes.plot(ends, ends, color=GREY, linewidth=1)
    axes.scatter(people, model, s=30, color=colour, edgecolor="black", linewidth=0.5, zorder=3)
    margin = 0.03 * (ends[1] - ends[0])
    limits = (ends[0] - margin, ends[1] + margin)
    axes.set(xlim=limits, ylim=limits, xlabel="what people said", ylabel="predicted", aspect="equal")
    axes.set_title(title, fontsize="medium")
    axes.grid(alpha=0.3)


def _bars(axes: Axes, people: Floats, model: Floats, ratings: Floats) -> None:
    """The interval of each observed share, of so many ratings."""
    lower, upper = interval(people, people, ratings).T
    axes.errorbar(people, model, xerr=[people - lower, upper - people], fmt="none", ecolor=GREY, elinewidth=1)

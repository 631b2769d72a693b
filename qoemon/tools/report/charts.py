"""Charts of one service over a period."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qoemon.core.arrays import Floats
from qoemon.core.qoe.mapping import Qos
from qoemon.tools.plotting import BLUE, GREY, ORANGE, SKY
from qoemon.tools.report.figure import WIDTH, Chart, legend, margins, name_of, rating_colours
from qoemon.tools.report.period import ServicePeriod
from qoemon.tools.report.series import Curve
from qoemon.tools.report.whole import band_note, cdf, conditions, conditions_title, distribution

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_PANELS = 8
FINE, COARSE = 600, 240
"""Maximum number of points of a full-width and of a small chart: more would not be visible."""

SHORT = 0.006
"""A line shorter than this share of the chart's width also gets a dot."""

TITLES = {"mos": "MOS", "gob": "good or better", "pow": "poor or worse"}
DAY_S = 86_400.0


def service_charts(period: ServicePeriod) -> list[Chart]:
    """All charts of a service that has data."""
    name = period.service.name
    worst = period.worst_first()[:MOST_PANELS]
    overall = period.series.curve(most_points=FINE)
    shown = f"the {len(worst)} groups with most excess poor ratings" if len(worst) > 1 else "its group"
    rows = (len(worst) + 1) // 2
    return [
        Chart(
            f"{name}-shares",
            f"{name}: good or better, poor or worse",
            f"Share of users who would rate good or better, and poor or worse, over time, in {shown}; "
            "shaded: confidence intervals.",
            _panels_height(rows),
            lambda figure: _panels(figure, period, worst, ("gob", "pow"), "share of users (%)"),
        ),
        Chart(
            f"{name}-mos",
            f"{name}: mean opinion score",
            f"Mean opinion score over time, in {shown}; shaded: confidence intervals.",
            _panels_height(rows),
            lambda figure: _panels(figure, period, worst, ("mos",), "MOS (scale points)"),
        ),
        Chart(
            f"{name}-ratings",
            f"{name}: ratings over time",
            "Shares of the ratings over time, all groups together.",
            3.4,
            lambda figure: _stack(figure, period, overall),
        ),
        Chart(
            f"{name}-distribution",
            f"{name}: ratings over the whole period",
            f"Share of each rating over the whole period, all groups together{band_note(period)}.",
            3.4,
            lambda figure: distribution(figure, period),
        ),
        Chart(
            f"{name}-cdf",
            f"{name}: cumulative distribution of opinions",
            "Cumulative distribution of opinions over the whole period, all groups and the worst.",
            3.6,
            lambda figure: cdf(figure, period, worst[:3]),
        ),
        Chart(
            f"{name}-conditions",
            f"{name}: {conditions_title(period)}",
            "How often each condition occurred over the whole period, all groups together.",
            3.6,
            lambda figure: conditions(figure, period),
        ),
        Chart(
            f"{name}-users",
            f"{name}: sessions",
            "Sessions over time, all groups together.",
            3.2,
            lambda figure: _users(figure, period, overall),
        ),
    ]


def time_axis(axes: Axes, begin_s: float, end_s: float, *, label: bool = True) -> None:
    """Format the x axis as UTC time from begin_s to end_s."""
    from datetime import UTC  # noqa: PLC0415

    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter  # noqa: PLC0415

    locator = AutoDateLocator(tz=UTC, minticks=3, maxticks=5)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=UTC))  # type: ignore[no-untyped-call]
    margin_s = 0.01 * (end_s - begin_s)
    axes.set_xlim((begin_s - margin_s) / DAY_S, (end_s + margin_s) / DAY_S)
    if label:
        axes.set_xlabel("time (UTC)", loc="left")  # the date is on the right


def _panels_height(rows: int) -> float:
    return 1.85 + 1.35 * rows


def _panels(
    figure: Figure, period: ServicePeriod, groups: Sequence[int], names: Sequence[str], ylabel: str
) -> None:
    """One small panel per group, the worst first, all with the same axes."""
    columns = min(len(groups), 2)
    rows = -(-len(groups) // columns)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    figure.subplots_adjust(**margins(figure, legend=True), hspace=0.32, wspace=0.18)
    scale = 1 if names == ("mos",) else 100
    low, high = (period.service.scale.low, period.service.scale.high) if names == ("mos",) else (0, 100)
    for panel, axes in enumerate(grid.flat):
        if panel >= len(groups):
            axes.set_axis_off()
            continue
        curve = period.series.curve([groups[panel]], COARSE)
        for name, colour in zip(names, (BLUE, ORANGE), strict=False):
            _curve_with_interval(axes, curve, name, colour, scale)
        axes.set_title(name_of(period.groups[groups[panel]], 24), loc="left", pad=3)
        margin = 0.03 * (high - low)  # keeps lines at the limits visible
        axes.set_ylim(low - margin, high + margin)
        below = panel + columns >= len(groups)
        axes.tick_params(labelbottom=below)
        time_axis(axes, curve.edges_s[0], curve.edges_s[-1], label=below)
    figure.supylabel(ylabel, x=0.12 / WIDTH, fontsize=10, va="center")
    _add_legend(figure, [(TITLES[name], colour) for name, colour in zip(names, (BLUE, ORANGE), strict=False)])


def _curve_with_interval(axes: Axes, curve: Curve, name: str, colour: str, scale: float) -> None:
    edges = curve.edges_s / DAY_S
    lower, upper = scale * curve.bounds[name].T
    axes.stairs(upper, edges, baseline=lower, fill=True, color=colour, alpha=0.25, linewidth=0)
    _line(axes, edges, scale * curve.figures[name], colour)


def _line(axes: Axes, edges: Floats, values: Floats, colour: str) -> None:
    axes.stairs(values, edges, baseline=None, color=colour, linewidth=1.3)
    turns = np.diff(np.isfinite(values).astype(np.int64), prepend=0, append=0)
    begins, ends = np.flatnonzero(turns > 0), np.flatnonzero(turns < 0)
    # A few intervals in a long period are too short to be visible as a line.
    short = edges[ends] - edges[begins] < SHORT * (edges[-1] - edges[0])
    middle = (edges[begins] + edges[ends]) / 2
    axes.plot(middle[short], values[begins[short]], "o", color=colour, markersize=3)


def _add_legend(figure: Figure, keys: Sequence[tuple[str, str]], *, bounds: bool = True) -> None:
    from matplotlib.lines import Line2D  # noqa: PLC0415
    from matplotlib.patches import Patch  # noqa: PLC0415

    handles: list[Any] = [Line2D([], [], color=colour, linewidth=2) for _, colour in keys]
    labels = [text for text, _ in keys]
    if bounds:
        handles.append(Patch(color=GREY, alpha=0.4))
        labels.append("confidence interval")
    legend(figure, handles, labels)


def _stack(figure: Figure, period: ServicePeriod, curve: Curve) -> None:
    from matplotlib.patches import Patch  # noqa: PLC0415

    axes = figure.subplots()
    figure.subplots_adjust(**margins(figure, legend=True))
    edges, upto = curve.edges_s / DAY_S, np.zeros(len(curve.users))
    colours = rating_colours(curve.ratings.shape[1])
    for share, colour in zip(100 * curve.ratings.T, colours, strict=True):
        axes.stairs(upto + share, edges, baseline=upto, fill=True, color=colour, linewidth=0.5)
        upto = upto + share
    axes.set_ylim(0, 100)
    axes.set_ylabel("share of users (%)")
    time_axis(axes, curve.edges_s[0], curve.edges_s[-1])
    ratings = [f"rating {rating}" for rating in period.service.scale.ratings.tolist()]
    legend(figure, [Patch(color=colour) for colour in colours], ratings)


def _users(figure: Figure, period: ServicePeriod, curve: Curve) -> None:
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

    axes = figure.subplots()
    figure.subplots_adjust(**margins(figure, legend=True))
    edges = curve.edges_s / DAY_S
    lines = [("active sessions", BLUE, curve.active), ("rated in a rating interval", SKY, curve.users)]
    if period.service.mapping.qos is Qos.STALLS:
        lines.append(("with an open stall", ORANGE, curve.open_stalls))
    for _, colour, values in lines:
        _line(axes, edges, values, colour)
    axes.set_ylim(0, 1.1 * max(float(curve.active.max()), float(curve.users.max()), 1))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel("sessions")
    time_axis(axes, curve.edges_s[0], curve.edges_s[-1])
    _add_legend(figure, [(text, colour) for text, colour, _ in lines], bounds=False)

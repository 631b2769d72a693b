"""Charts of a service over the whole period, without a time axis: ratings, opinions, conditions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qoemon.core.arrays import Floats
from qoemon.core.qoe.distribution import Distribution, rating_cdf
from qoemon.core.qoe.mapping import RatingModel
from qoemon.tools.plotting import AMBER, BLUE, ORANGE
from qoemon.tools.report.figure import INK, SMALL, legend, margins, name_of, rating_colours
from qoemon.tools.report.period import ServicePeriod

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def band_note(period: ServicePeriod) -> str:
    """Part of the caption of distribution() on theta_band; empty without a band."""
    return ", with the range over theta_band" if _band(period) else ""


def distribution(figure: Figure, period: ServicePeriod) -> None:
    """Draw the share of each rating, with the range over theta_band."""
    axes = figure.subplots()
    band = _band(period)
    ratings = period.service.scale.ratings
    figure.subplots_adjust(**margins(figure, legend=bool(band)))
    shares = 100 * _overall(period).ratings[0]
    axes.bar(ratings, shares, color=rating_colours(len(ratings)), width=0.7)
    lower = np.min([shares, *(100 * each for each in band.values())], axis=0)
    upper = np.max([shares, *(100 * each for each in band.values())], axis=0)
    if band:
        bars = axes.errorbar(
            ratings, shares, [shares - lower, upper - shares], fmt="none", ecolor=INK, capsize=4, linewidth=1.2
        )
        thetas = ", ".join(f"{theta:g}" for theta in band)
        legend(figure, [bars], [f"from theta {period.service.theta:g} to the band's {thetas}"])
    for rating, share, top in zip(ratings.tolist(), shares, upper, strict=True):
        axes.annotate(
            f"{share:.1f}", (rating, top), (0, 3), textcoords="offset points", ha="center", fontsize=SMALL
        )
    axes.set_xticks(ratings)
    axes.set_ylim(0, 1.15 * max(upper.max(), 1))
    axes.set_xlabel(f"rating (scale points, {ratings[0]} is worst)")
    axes.set_ylabel("share of users (%)")


def _band(period: ServicePeriod) -> dict[float, Floats]:
    """Shares of the ratings under each further theta of the band, by theta."""
    return {
        theta: replace(period.service, theta=theta, model=RatingModel.BETA)
        .kernel()
        .distribution(_levels(period))
        .ratings[0]
        for theta in period.service.theta_band
        if theta != period.service.theta
    }


def cdf(figure: Figure, period: ServicePeriod, worst: Sequence[int]) -> None:
    """Draw the cumulative distribution of opinions of all users and of the worst groups, and the ratings' steps."""
    axes = figure.subplots()
    figure.subplots_adjust(**margins(figure, legend=True))
    service, scale = period.service, period.service.scale
    opinions = np.linspace(scale.low, scale.high, 201)
    each = rating_cdf(service.rated_at, service.theta, opinions, service.model, scale, service.study)
    keys = []
    several = worst if len(period.worst_first()) > 1 else []
    for group, (colour, line) in zip([None, *several], _LINES, strict=False):
        levels = _levels(period, group)[0]
        axes.step(opinions, 100 * (levels @ each) / levels.sum(), where="post", color=colour, linestyle=line)
        name = "all users" if group is None else name_of(period.groups[group], 11)
        keys.append((name, axes.lines[-1]))
    if service.model is RatingModel.BETA:  # The other models have only ratings.
        upto = 100 * _overall(period).ratings[0].cumsum()
        axes.step(scale.ratings, upto, where="post", color=INK, linestyle=":", linewidth=1.2)
        keys.append(("ratings", axes.lines[-1]))
    for at, text in ((scale.poor + 0.5, "poor or worse"), (scale.good - 0.5, "good or better")):
        axes.axvline(at, color=INK, linewidth=0.8, alpha=0.5, linestyle=":")
        poor = at < scale.good - 0.5
        axes.annotate(
            text,
            (at, 100),
            (-4 if poor else 4, -4),
            textcoords="offset points",
            ha="right" if poor else "left",
            va="top",
            fontsize=SMALL,
            alpha=0.8,
        )
    axes.set_xlim(scale.low, scale.high)
    axes.set_ylim(0, 112)
    axes.set_yticks(range(0, 101, 20))
    axes.set_xlabel(f"opinion (scale points, {scale.low} is worst)")
    axes.set_ylabel("share of users up to it (%)")
    legend(figure, [line for _, line in keys], [text for text, _ in keys])


_LINES = ((INK, "-"), (ORANGE, "-"), (AMBER, "--"), (BLUE, "-."))


def conditions_title(period: ServicePeriod) -> str:
    """Title of the chart of the conditions."""
    axes = len(period.service.bins.axes)
    return {2: "stalls and stall time", 1: "response times"}.get(axes, "mean opinions")


def conditions(figure: Figure, period: ServicePeriod) -> None:
    """Draw how often each condition occurred."""
    totals = period.totals
    assert totals is not None, "a service without data has no charts"  # noqa: S101
    bins = period.service.bins
    if len(bins.axes) == 2:
        _heatmap(figure, totals.qos.reshape([len(axis.values) for axis in bins.axes]))
    elif len(bins.axes) == 1:
        _responses(figure, bins.axes[0].values, totals.qos)
    else:
        _opinions(figure, period)


def _heatmap(figure: Figure, counts: Any) -> None:
    from matplotlib.colors import LogNorm  # noqa: PLC0415

    axes = figure.subplots()
    figure.subplots_adjust(**margins(figure, right=0.8))
    share = np.ma.masked_equal(100 * counts / counts.sum(), 0)
    lowest = float(share.min())
    highest = float(share.max())
    norm = LogNorm(min(lowest, highest / 10), highest)
    # Edges of the bins: 0 has a column of its own, left of the bins of one second.
    n_edges, t_edges = np.arange(counts.shape[0] + 1) - 0.5, np.arange(counts.shape[1] + 1) - 1.0
    mesh = axes.pcolormesh(t_edges, n_edges, share, norm=norm, cmap="cividis", rasterized=True)
    bar = figure.colorbar(mesh, ax=axes, pad=0.015, fraction=0.06)
    ticks = np.geomspace(min(lowest, highest / 10), highest, 4)
    bar.set_ticks(list(ticks), labels=[f"{float(f'{tick:.2g}'):g}" for tick in ticks])
    bar.ax.minorticks_off()
    bar.set_label("share of sessions (%)")
    bar.outline.set_visible(False)
    axes.grid(visible=False)
    axes.set_xticks([-0.5, 10, 20, 30, 40, 50, 60.5], ["0", "10", "20", "30", "40", "50", "60+"])
    axes.set_yticks([0, 5, 10, 15, 20], ["0", "5", "10", "15", "20+"])
    axes.set_xlabel("stall time (s per minute of media)")
    axes.set_ylabel("stalls (per minute)")


def _responses(figure: Figure, seconds: Floats, counts: Any) -> None:
    axes = figure.subplots()
    figure.subplots_adjust(**margins(figure))
    merged = 6  # bins of 2 % are narrower than a line
    size = len(counts) // merged * merged
    shares = 100 * counts[:size].reshape(-1, merged).sum(axis=1) / counts.sum()
    edges = np.append(seconds[:size:merged], seconds[size - 1])
    nonzero = np.flatnonzero(shares)
    axes.stairs(shares, edges, fill=True, color=BLUE, linewidth=0)
    axes.set_xscale("log")
    axes.set_xlim(edges[max(nonzero[0] - 1, 0)], edges[min(nonzero[-1] + 2, len(edges) - 1)])
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_ylim(0, 1.1 * shares.max())
    axes.set_xlabel("response time (s)")
    axes.set_ylabel("share of responses (%)")


def _opinions(figure: Figure, period: ServicePeriod) -> None:
    axes = figure.subplots()
    figure.subplots_adjust(**margins(figure))
    scale = period.service.scale
    edges = np.linspace(scale.low, scale.high, 41)
    levels = _levels(period)[0]
    shares, _ = np.histogram(period.service.rated_at, edges, weights=100 * levels / levels.sum())
    axes.stairs(shares, edges, fill=True, color=BLUE, linewidth=0)
    axes.set_xlim(scale.low, scale.high)
    axes.set_ylim(0, 1.1 * shares.max())
    axes.set_xlabel("MOS of the condition (scale points)")
    axes.set_ylabel("share of conditions (%)")


def _overall(period: ServicePeriod) -> Distribution:
    distribution = period.overall_distribution()
    assert distribution is not None, "a service without data has no charts"  # noqa: S101
    return distribution


def _levels(period: ServicePeriod, group: int | None = None) -> Any:
    totals = period.totals
    assert totals is not None, "a service without data has no charts"  # noqa: S101
    return totals.levels.sum(axis=0, keepdims=True) if group is None else totals.levels[group : group + 1]

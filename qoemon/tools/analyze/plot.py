"""Plot of an analysis: the CDFs of MOS, opinions and ratings, and GoB and PoW over theta."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qoemon.tools.curves import curves
from qoemon.tools.plotting import draw_cdfs, draw_shares, require_plot, save

if TYPE_CHECKING:
    from pathlib import Path

    from qoemon.core.arrays import Counts, Floats
    from qoemon.core.plan.plan import Service


def draw(counts: Counts | Floats, service: Service, path: Path) -> None:
    """Write the plot of these conditions, (B,) counts in the bins of the service, in the format of the suffix.

    The shares over theta are those of Beta ratings, whatever the ratings of the service: theta shapes only these.

    raises  PlotError if matplotlib is missing or the file cannot be written
    source  Hossfeld et al. 2020, arXiv:2003.12742, Figures 3 to 5
    """
    require_plot(path)
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(9, 3.8), dpi=150, layout="constrained")
    distributions, shares = figure.subplots(1, 2)
    found = curves(counts, service)
    title = f"{service.name}: {counts.sum():,.0f} rated experiences, {service.mapping.name}"
    draw_cdfs(distributions, found)
    draw_shares(shares, found, service.theta, service.theta_band)
    distributions.set_title(f"MOS, opinions and ratings ({service.model}, θ {service.theta:g})", fontsize="medium")
    shares.set_title("GoB and PoW over θ", fontsize="medium")
    for axes in (distributions, shares):
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small", frameon=False)
    figure.suptitle(title, fontsize="large", parse_math=False)
    save(figure, path, title)

"""Draws the paper's figures, and those of docs/concepts.md, from the numbers of curves.py.

With one version of matplotlib, the same numbers give the same file: no date, and no random ids.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qoemon.tools.paper import curves
from qoemon.tools.paper.curves import OPINIONS, System
from qoemon.tools.plotting import BLACK, BLUE, ORANGE, draw_shares

STYLE: Any = {
    "svg.hashsalt": "qoemon",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "path.simplify_threshold": 0.5,
}
GREEN, PINK = "#009e73", "#cc79a7"
COLOURS = (BLUE, ORANGE, GREEN, PINK)
"""Distinguishable with colour blindness."""


def draw(folder: Path) -> list[Path]:
    """Write every figure as an SVG file into the folder; the files."""
    files = []
    with mpl.rc_context(STYLE):
        for name, (fill, width, panels) in FIGURES.items():
            figure = Figure(figsize=(width, 3.1), layout="constrained")
            fill(*figure.subplots(1, panels, squeeze=False)[0])
            files.append(folder / f"{name}.svg")
            figure.savefig(files[-1], metadata={"Date": None, "Creator": None})
    return files


def _same_mos(axes: Axes) -> None:
    for place, each in enumerate(curves.same_mos()):
        label = f"{each.name}: GoB {each.gob:.0%}, PoW {each.pow:.0%}"
        axes.bar(np.arange(1, 6) + 0.27 * (place - 1), each.ratings, 0.25, color=COLOURS[place], label=label)
    axes.set(xlabel="rating", ylabel="share of users", ylim=(0, 0.75))
    axes.legend(loc="upper left", title="MOS 3.5", title_fontsize="medium", alignment="left")


def _spread(deviation: Axes, shares: Axes) -> None:
    for colour, each in zip(COLOURS, curves.spreads(), strict=True):
        deviation.plot(each.mos, each.sos, color=colour, label=f"θ {each.theta:g}")
        shares.plot(each.mos, each.gob, color=colour)
        shares.plot(each.mos, each.pow, color=colour, linestyle="--")
    deviation.set(xlabel="MOS", ylabel="standard deviation of ratings", ylim=(0, 1.75))
    deviation.legend(ncols=2)
    shares.set(xlabel="MOS", ylabel="share of users", ylim=(0, 1))
    shares.text(4.25, 0.55, "GoB", ha="right")
    shares.text(1.75, 0.55, "PoW")


def _web(*panels: Axes) -> None:
    for axes, system in zip(panels, curves.web(), strict=True):
        _cdfs(axes, system)
        assert system.exact is not None  # noqa: S101 - for mypy
        axes.step(OPINIONS, system.exact, color=ORANGE, where="post", linestyle="--", label="ratings, binomial")
    panels[0].legend(loc="lower right")


def _video(*panels: Axes) -> None:
    for axes, system in zip(panels, curves.story().systems, strict=True):
        _cdfs(axes, system)
    panels[1].legend(loc="lower right")


def _cdfs(axes: Axes, system: System) -> None:
    axes.plot(OPINIONS, system.mos_cdf, color=BLACK, linewidth=1, linestyle=":", label="MOS of the users")
    axes.plot(OPINIONS, system.beta, color=BLUE, label="opinions, Beta")
    of = system.answers
    axes.set_title(f"{of.name}\nMOS {of.mos:.2f}, GoB {of.gob:.0%}, PoW {of.pow:.0%}", fontsize="medium")
    axes.set(xlabel="scale", ylabel="share at or below", ylim=(0, 1), xlim=(1, 5))


def _theta(*panels: Axes) -> None:
    for axes, (name, found) in zip(panels, curves.by_theta().items(), strict=True):
        draw_shares(axes, found, 0.3, (0.1, 0.3))
        axes.set_title(name, fontsize="medium")
    panels[1].legend(loc="upper right")


def _story(mos: Axes, shares: Axes) -> None:
    story = curves.story()
    mos.plot(story.minutes, story.mean_mos, color=BLACK, linestyle="--", label="all users")
    mos.plot(story.minutes, story.hit_mos, color=BLUE, label="the affected group")
    mos.set(xlabel="minutes", ylabel="MOS", ylim=(1, 5))
    mos.legend(loc="lower left")
    shares.plot(story.minutes, story.all_pow, color=BLACK, linestyle="--")
    shares.fill_between(story.minutes, *story.pow_bounds.T, color=BLUE, alpha=0.2, linewidth=0, label="95 % bounds")
    shares.plot(story.minutes, story.hit_pow, color=BLUE)
    shares.set(xlabel="minutes", ylabel="PoW", ylim=(0, 1))
    shares.legend(loc="upper left")


FIGURES: dict[str, tuple[Callable[..., None], float, int]] = {
    "same-mos": (_same_mos, 6.5, 1),
    "spread": (_spread, 7.5, 2),
    "web": (_web, 9.0, 3),
    "video": (_video, 7.0, 2),
    "theta": (_theta, 7.0, 2),
    "story": (_story, 8.0, 2),
}
"""By file name: the function that draws it, the width in inches, the number of panels."""

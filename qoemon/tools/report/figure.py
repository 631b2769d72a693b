"""Frame of every chart: title, legend, source, style; rendered as SVG for the page and as PNG.

Margins are set in inches, not by a layout engine, so that nothing is cut or overlaps by construction. Text stays
text in the SVG, so it can be searched and read aloud, and has the colour of the page's text, light or dark.
"""

from __future__ import annotations

import io
import re
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len, set_cell_size

from qoemon.common.text import SHORT, printable
from qoemon.tools.plotting import AMBER, BLUE, GREY, ORANGE, SKY

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RATING_COLOURS = (ORANGE, AMBER, GREY, SKY, BLUE)
"""Worst rating first."""

INK = "#1b2027"
"""Colour of text and axes; in the page it becomes that of the page's text."""

WIDTH = 5.6
"""Width of a chart, inches. The page stretches it to its column: the narrower the chart, the larger its text."""

TOP, LEGEND, BOTTOM, LEFT, RIGHT = 0.46, 0.27, 0.86, 0.8, 0.2
"""Margins, inches. A legend adds LEGEND to the top."""

SMALL = 9
"""Size of the smallest text but the source, points."""

_STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": INK,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 10,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.unicode_minus": True,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "grid.alpha": 0.15,
    "grid.color": INK,
    "grid.linewidth": 0.6,
    "hatch.color": INK,
    "hatch.linewidth": 0.5,
    "legend.frameon": False,
    "path.simplify": True,
    "savefig.dpi": 150,
    "svg.fonttype": "none",
    "text.color": INK,
    "text.parse_math": False,  # labels come from clients: a $ is a dollar
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
}


@dataclass(frozen=True)
class Chart:
    """A chart to draw. name: of its file, unique in a report; about: caption."""

    name: str
    title: str
    about: str
    height: float
    """Inches."""
    draw: Callable[[Figure], None]


@dataclass(frozen=True)
class RenderedChart:
    """A chart as SVG and PNG."""

    chart: Chart
    svg: str
    png: bytes


@contextmanager
def chart_style(chart: Chart) -> Iterator[None]:
    """Context with the matplotlib style in which charts are drawn and saved."""
    from matplotlib import rc_context  # noqa: PLC0415

    with rc_context({**_STYLE, "svg.hashsalt": chart.name}), warnings.catch_warnings():
        # Labels may be in any script; the browser substitutes fonts for the SVG.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield


def framed_figure(chart: Chart, source: str) -> Figure:
    """Draw a chart with its title, and the source of its numbers below; call it within chart_style()."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(WIDTH, chart.height))
    chart.draw(figure)
    _add_texts(figure, chart.title, source)
    return figure


def render_chart(chart: Chart, source: str) -> RenderedChart:
    """Draw a chart and render it as SVG and PNG."""
    with chart_style(chart):
        figure = framed_figure(chart, source)
        return RenderedChart(chart, _svg(figure, chart), _png(figure))


def margins(figure: Figure, *, legend: bool = False, left: float = LEFT, right: float = RIGHT) -> dict[str, float]:
    """Margins as arguments of subplots_adjust, shares of the figure."""
    height = float(figure.get_figheight())
    top = TOP + (LEGEND if legend else 0)
    return {"left": left / WIDTH, "right": 1 - right / WIDTH, "top": 1 - top / height, "bottom": BOTTOM / height}


def legend(figure: Figure, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """Add a legend of one line below the title."""
    height = float(figure.get_figheight())
    figure.legend(
        handles,
        labels,
        loc="upper left",
        bbox_to_anchor=(0.05 / WIDTH, 1 - 0.34 / height),
        ncols=len(labels),
        fontsize=SMALL,
        handlelength=1.3,
        handletextpad=0.5,
        columnspacing=1.1,
        borderaxespad=0,
    )


def rating_colours(ratings: int) -> list[str]:
    """A colour for each rating, worst first; scales with more than five ratings use some twice."""
    return [RATING_COLOURS[i * (len(RATING_COLOURS) - 1) // max(ratings - 1, 1)] for i in range(ratings)]


def name_of(labels: Sequence[str], cells: int = 40) -> str:
    """A group's label values as one line of at most `cells` cells, escaped."""
    text = " / ".join(printable(label, SHORT) or "(none)" for label in labels) or "all"
    return fitted(text, cells)


def fitted(text: str, cells: int) -> str:
    """The text truncated to `cells` terminal cells; a wide character takes two."""
    return text if cell_len(text) <= cells else set_cell_size(text, cells - 1).rstrip() + "…"


def _add_texts(figure: Figure, title: str, source: str) -> None:
    height = float(figure.get_figheight())
    figure.text(0.1 / WIDTH, 1 - 0.1 / height, fitted(title, 52), fontsize=12, weight="bold", va="top")
    lines = textwrap.wrap(source, 84, max_lines=2, placeholder=" …")
    figure.text(0.1 / WIDTH, 0.06 / height, "\n".join(lines), fontsize=8, alpha=0.8, va="bottom")


def _png(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", facecolor="white", metadata={"Software": None})
    return out.getvalue()


def _svg(figure: Figure, chart: Chart) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = out.getvalue()
    svg = text[text.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, count=1, flags=re.DOTALL)
    # All charts share one page: unreferenced ids would occur several times.
    svg = re.sub(r'<g id="\w+">', "<g>", svg)
    svg = svg.replace(INK, "currentColor")
    return svg.replace("<svg", f'<svg role="img" aria-labelledby="{chart.name}"', 1)

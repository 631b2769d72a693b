"""Writes a report: the HTML page, and its charts as PNG files beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from qoemon.common import duration
from qoemon.common.csvfile import UnreadableError
from qoemon.common.text import SHORT, printable
from qoemon.core.arrays import Floats
from qoemon.tools.recordings.recording import Recording
from qoemon.tools.report import advice, compare, tables
from qoemon.tools.report.charts import MOST_PANELS, service_charts
from qoemon.tools.report.figure import Chart, RenderedChart, render_chart
from qoemon.tools.report.headline import headline
from qoemon.tools.report.page import Section, Tile, page
from qoemon.tools.report.period import Period, ServicePeriod
from qoemon.tools.report.replay import Replayed
from qoemon.tools.report.timelines import alert_chart, regime_chart

OnChart = Callable[[str], None]
"""Called with the title of each chart before it is drawn."""


def write(
    path: Path,
    recording: Recording,
    replayed: Replayed,
    other: Replayed | None,
    names: compare.Names,
    title: str | None,
    on_chart: OnChart,
) -> list[Path]:
    """Write the report and return its files, the page first; UnreadableError if one cannot be written.

    path      an .html file, or a directory
    names     of the configuration and of the one compared with
    on_chart  called with the title of each chart before it is drawn
    """
    html = path if path.suffix.lower() in {".html", ".htm"} else path / "report.html"
    render = _Renderer(f"{printable(recording.path.name, SHORT)}, {tables.span_text(replayed.period)}", on_chart)
    sections = _sections(replayed, other, names, render)
    text = page(title or f"QoE of {recording.path.name}", _facts(recording, replayed, names), sections)
    files = [(html, text.encode())]
    files += [(html.with_name(f"{html.stem}-{one.chart.name}.png"), one.png) for one in render.done]
    for file, content in files:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        except OSError as error:
            raise UnreadableError(f"{file}: cannot be written: {error.strerror or error}") from None
    return [file for file, _ in files]


class _Renderer:
    """Renders charts and keeps them."""

    def __init__(self, source: str, on_chart: OnChart) -> None:
        self._source, self._on_chart = source, on_chart
        self.done: list[RenderedChart] = []

    def __call__(self, charts: Sequence[Chart | None], by: str) -> list[RenderedChart]:
        """Render the charts that are not None; by: the mapping or configuration, for the source line."""
        new = []
        for chart in charts:
            if chart is not None:
                self._on_chart(chart.title)
                new.append(render_chart(chart, f"Source: {self._source}; {by}"))
        self.done += new
        return new


def _facts(recording: Recording, replayed: Replayed, names: compare.Names) -> list[tuple[str, str]]:
    period, plan = replayed.period, replayed.period.plan
    length = duration.text(period.end_s - (period.begin_s or period.end_s))
    facts = [
        ("recording", f"{recording.path.name}, {recording.size:,} bytes, {recording.read:,} messages"),
        ("from", recording.header.source or "unknown"),
        ("period", f"{tables.span_text(period)} ({length})" if period.begin_s else "no data"),
        ("rating intervals", f"{period.intervals:,} of {duration.text(plan.timing.interval_s)}"),
        ("configuration", names[0]),
    ]
    if recording.cut is not None:
        facts.append(
            ("incomplete", f"the file is truncated in line {recording.cut:,}; the report covers the lines before")
        )
    return facts


def _sections(replayed: Replayed, other: Replayed | None, names: compare.Names, render: _Renderer) -> list[Section]:
    period = replayed.period
    sections = [headline(replayed)]
    sections += [_service(each, period, render) for each in period.services.values()]
    sections.append(_alerts(period, render))
    if other is not None:
        sections.append(
            Section(
                f"Compared with {names[1]}",
                charts=render(compare.charts(period, other.period, names), f"{names[0]} and {names[1]}"),
                tables=compare.tables(period, other.period, names),
            )
        )
    sections.append(
        Section(
            "Feed quality",
            notes=[advice.REMEMBERED],
            tables=[advice.table(replayed.feed_quality, period.plan.timing)],
        )
    )
    return sections


def _service(service: ServicePeriod, period: Period, render: _Renderer) -> Section:
    settings = service.service
    title = f"Service {settings.name}"
    together = service.overall_distribution()
    if together is None:
        why = "no rating interval closed" if not period.intervals else "no sessions"
        return Section(title, [f"No data: {why}. What arrived is in the section on feed quality."])
    by = f"service {settings.name}: {settings.mapping.name}, theta {settings.theta:g}"
    labels = period.plan.labels
    tiles = [
        Tile(f"{together.mos[0]:.2f}", "mean opinion score"),
        Tile(tables.share(together.gob[0]), f"would rate good or better {_range_text(together.gob_bounds[0])}"),
        Tile(tables.share(together.pow[0]), f"would rate poor or worse {_range_text(together.pow_bounds[0])}"),
        Tile(f"{together.observations[0]:,}", "observations"),
    ]
    return Section(
        title,
        notes=list(_service_notes(service, period)),
        tiles=tiles,
        charts=render([*service_charts(service), regime_chart(service, period)], by),
        tables=[
            tables.group_table(service, labels),
            tables.regime_table(service, labels, period.end_s),
            tables.change_table(service, labels),
        ],
    )


def _range_text(bounds: Floats) -> str:
    return f"({100 * bounds[0]:.1f} to {100 * bounds[1]:.1f})"


def _service_notes(service: ServicePeriod, period: Period) -> list[str]:
    """Notes on the mapping, the confidence intervals and what the charts omit."""
    groups = len(service.worst_first())
    longest = duration.text(max(period.plan.timing.windows_s))
    model = f"Model: {compare.model_text(service.service)}."
    notes = [f"{model} Confidence intervals of the whole period count the users of its fullest {longest}."]
    if groups > MOST_PANELS:
        notes.append(
            f"Charts by group show {MOST_PANELS} of {groups:,} groups, those with most excess poor ratings."
        )
    if service.series.length_s > period.plan.timing.interval_s:
        notes.append(
            f"The period is long: each point of a chart covers at least {duration.text(service.series.length_s)}."
        )
    return notes


def _alerts(period: Period, render: _Renderer) -> Section:
    log = period.alerts
    notes = [] if log.fired else ["No alert of the configuration would have fired."]
    if log.spans.left_out:
        notes.append(f"{log.spans.left_out:,} spans of alerts were omitted from the chart.")
    chart = alert_chart(period)
    return Section(
        "Alerts",
        notes=notes,
        charts=render([chart], "alerts of the configuration"),
        tables=[tables.fired_table(log.fired, period.plan.labels, period.end_s, "Alerts that fired", log.left_out)],
    )

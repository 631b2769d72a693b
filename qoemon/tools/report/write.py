"""From what was replayed to the files: the page, and its charts as PNG beside it."""

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
from qoemon.tools.report.figure import Chart, Drawn, drawn
from qoemon.tools.report.page import Section, Tile, page
from qoemon.tools.report.period import Period, ServicePeriod
from qoemon.tools.report.replay import Replayed
from qoemon.tools.report.timelines import alert_chart, regime_chart

Told = Callable[[str], None]
"""Told of each chart before it is drawn."""


def write(
    path: Path,
    recording: Recording,
    replayed: Replayed,
    other: Replayed | None,
    names: compare.Names,
    title: str | None,
    told: Told,
) -> list[Path]:
    """Write the report; the files, the page first. UnreadableError if one cannot be written.

    path  an .html file, or a directory
    """
    html = path if path.suffix.lower() in {".html", ".htm"} else path / "report.html"
    draw = _Draw(f"{printable(recording.path.name, SHORT)}, {tables.span_text(replayed.period)}", told)
    sections = _sections(replayed, other, names, draw)
    text = page(title or f"QoE of {recording.path.name}", _facts(recording, replayed, names), sections)
    files = [(html, text.encode())]
    files += [(html.with_name(f"{html.stem}-{one.chart.name}.png"), one.png) for one in draw.done]
    for file, content in files:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        except OSError as error:
            raise UnreadableError(f"{file}: cannot be written: {error.strerror or error}") from None
    return [file for file, _ in files]


class _Draw:
    """Draws charts and remembers them."""

    def __init__(self, source: str, told: Told) -> None:
        self._source, self._told = source, told
        self.done: list[Drawn] = []

    def __call__(self, charts: Sequence[Chart | None], by: str) -> list[Drawn]:
        """Those that are there; by says how they were judged."""
        new = []
        for chart in charts:
            if chart is not None:
                self._told(chart.title)
                new.append(drawn(chart, f"Source: {self._source}; {by}"))
        self.done += new
        return new


def _facts(recording: Recording, replayed: Replayed, names: compare.Names) -> list[tuple[str, str]]:
    period, plan = replayed.period, replayed.period.plan
    length = duration.text(period.end_s - (period.begin_s or period.end_s))
    facts = [
        ("recording", f"{recording.path.name}, {recording.size:,} bytes, {recording.read:,} messages"),
        ("from", recording.header.source or "not said"),
        ("period", f"{tables.span_text(period)} ({length})" if period.begin_s else "nothing was judged"),
        ("judged", f"every {duration.text(plan.timing.interval_s)}, {period.intervals:,} times"),
        ("configuration", names[0]),
    ]
    if recording.cut is not None:
        facts.append(("incomplete", f"the file breaks off in line {recording.cut:,}; what was before is here"))
    return facts


def _sections(replayed: Replayed, other: Replayed | None, names: compare.Names, draw: _Draw) -> list[Section]:
    period = replayed.period
    sections = [_service(each, period, draw) for each in period.services.values()]
    sections.append(_alerts(period, draw))
    if other is not None:
        sections.append(
            Section(
                f"Compared with {names[1]}",
                charts=draw(compare.charts(period, other.period, names), f"{names[0]} and {names[1]}"),
                tables=compare.tables(period, other.period, names),
            )
        )
    sections.append(
        Section(
            "Doctor",
            notes=[advice.REMEMBERED],
            tables=[advice.table(replayed.doctor, period.plan.timing)],
        )
    )
    return sections


def _service(service: ServicePeriod, period: Period, draw: _Draw) -> Section:
    judged = service.service
    title = f"Service {judged.name}"
    together = service.judged_together()
    if together is None:
        why = "No rating interval closed" if not period.intervals else "Nobody was there to be judged"
        return Section(title, [f"{why}: there is nothing to show. What came is in the doctor's table."])
    by = f"service {judged.name}: {judged.mapping.name}, theta {judged.theta:g}"
    labels = period.plan.labels
    tiles = [
        Tile(f"{together.mos[0]:.2f}", "mean opinion score"),
        Tile(tables.share(together.gob[0]), f"would rate good or better {_ends(together.gob_bounds[0])}"),
        Tile(tables.share(together.pow[0]), f"would rate poor or worse {_ends(together.pow_bounds[0])}"),
        Tile(f"{together.observations[0]:,}", "experiences judged"),
    ]
    return Section(
        title,
        notes=list(_service_notes(service, period)),
        tiles=tiles,
        charts=draw([*service_charts(service), regime_chart(service, period)], by),
        tables=[
            tables.group_table(service, labels),
            tables.regime_table(service, labels, period.end_s),
            tables.turn_table(service, labels),
        ],
    )


def _ends(bounds: Floats) -> str:
    return f"({100 * bounds[0]:.1f} to {100 * bounds[1]:.1f})"


def _service_notes(service: ServicePeriod, period: Period) -> list[str]:
    """How it was judged, and what the charts leave out."""
    judged, groups = service.service, len(service.worst_first())
    longest = duration.text(max(period.plan.timing.windows_s))
    bounds = f"The bounds over the whole period count as many users as there were in its fullest {longest}"
    notes = [f"Judged by {compare.described(judged)}. {bounds}: there were at least so many."]
    if groups > MOST_PANELS:
        notes.append(
            f"Charts by group show {MOST_PANELS} of {groups:,} groups, those with most needless poor ratings."
        )
    if service.series.length_s > period.plan.timing.interval_s:
        notes.append(
            f"The period is long, so a point of a chart covers at least {duration.text(service.series.length_s)}."
        )
    return notes


def _alerts(period: Period, draw: _Draw) -> Section:
    log = period.alerts
    notes = [] if log.fired else ["No alert of the configuration fired, or would have."]
    if log.spans.left_out:
        notes.append(f"{log.spans.left_out:,} spans of alerts were left out of the chart.")
    chart = alert_chart(period)
    return Section(
        "Alerts",
        notes=notes,
        charts=draw([chart], "alerts of the configuration"),
        tables=[tables.fired_table(log.fired, period.plan.labels, period.end_s, "Alerts that fired", log.left_out)],
    )

"""The report shows what was recorded: its figures add up, its charts are complete, its page is self-contained."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from qoemon.config.config import Config, load
from qoemon.config.plan import core_plan
from qoemon.core.alerting.decision import AlertState
from qoemon.core.alerting.regime import Regime
from qoemon.core.counting.counts import DOUBTS
from qoemon.core.evaluation import Tick
from qoemon.tools.recordings.recording import Header, Recorded, Recording, Writer
from qoemon.tools.recordings.replay import ticks
from qoemon.tools.report import advice, compare, series
from qoemon.tools.report.charts import service_charts
from qoemon.tools.report.episodes import Spans
from qoemon.tools.report.figure import Chart, chart_style, framed_figure, render_chart
from qoemon.tools.report.page import STYLE
from qoemon.tools.report.period import Period
from qoemon.tools.report.replay import Replayed, replay
from qoemon.tools.report.tables import group_table
from qoemon.tools.report.timelines import alert_chart, regime_chart
from qoemon.tools.simulate.simulate import SCENARIOS, Population
from tests.test_cli import qoemon_cli

if TYPE_CHECKING:
    from collections.abc import Iterator

START_S = 1_700_000_040
LENGTH_S = 1500
GROUPS = [{"region": region, "cdn": cdn} for region in ("eu", "us") for cdn in ("a", "b")]

NASTY = [
    "<script>alert(1)",
    '"><img src=x onerror=alert(1)>',
    "_under",
    "$x^2$",
    "\u202egnp",
    "日本語" * 40,
    "[red]",
]
NASTY += ["a\x1b[31mb", "x" * 10_000, "\ud7ff\u0301" * 30, "#1b2027", " ", "&amp;", "{0}%s"]

MINE = """\
alerts: [{name: ManyPoorRatings, threshold: 0.2, recovery: 0.1, for: 30s, min_sessions: 10}]
"""
OTHER = """\
services:
  video: {mapping: video-stall, theta: 0.1}
  web: {mapping: web-iqx, theta: 0.25}
alerts: [{name: ManyPoorRatings, threshold: 0.02, recovery: 0.01, min_sessions: 10, confidence: false}]
"""


def written(path: Path, messages: list[Recorded], end_s: float) -> Recording:
    with Writer(path, Header(started_s=START_S, source="broker:1883")) as writer:
        writer.write(messages)
        writer.silence(end_s)
    return Recording(path)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """One region's CDN degrades, fails and recovers."""
    population = Population(
        GROUPS,
        sessions=200,
        scenario=SCENARIOS["demo"].lasting(LENGTH_S),
        seed=1,
        start_s=START_S,
        report_every_s=10,
    )
    messages = [
        Recorded(
            f"qoe/v1/{reported.service}/{reported.labels['region']}/{reported.labels['cdn']}",
            msgspec.json.encode(reported.report),
            float(START_S + at),
        )
        for at in range(2, LENGTH_S, 2)
        for reported in population.step(START_S + at)
    ]
    return written(tmp_path_factory.mktemp("report") / "story.jsonl.gz", messages, START_S + LENGTH_S)


@pytest.fixture(scope="module")
def nasty(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Hostile labels; the groups at the front of the list have most stalls."""
    messages = []
    for tick in range(30):
        for number, label in enumerate(NASTY):
            stalls = 0 if number == len(NASTY) - 1 else tick * (len(NASTY) - number)
            report = {"stall_count": stalls, "stall_s": float(stalls), "play_s": 10.0 * tick, "seq": tick}
            messages += [
                Recorded(
                    "qoe/v1/video/any/b",
                    msgspec.json.encode({"session": f"{number}-{user}", "labels": {"who": label}, **report}),
                    START_S + 10.0 * tick + 1,
                )
                for user in range(3)
            ]
        messages.append(Recorded("qoe/v1/video/<i>/b", b"<script>alert(2)</script>\xff", START_S + 10.0 * tick + 2))
    return written(tmp_path_factory.mktemp("nasty") / "<nasty>.jsonl.gz", messages, START_S + 400)


def configured(**settings: Any) -> Config:
    return Config.model_validate(settings)


NASTY_CONFIG = configured(labels=["who"], limits={"label_length": 20_000})


def replayed_with(recording: Recording, config: Config | None = None) -> Replayed:
    return replay(recording, config or Config(), lambda _: None)


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "mine.yaml"
    path.write_text(MINE)
    return path


@pytest.fixture(scope="module")
def baseline(recording: Recording, mine: Path) -> Replayed:
    return replayed_with(recording, load(mine))


@pytest.fixture(scope="module")
def every_tick(recording: Recording, mine: Path) -> list[Tick]:
    return [replayed.tick for replayed in ticks(recording, load(mine), lambda _: None)]


def of_service(ticked: Tick, name: str) -> Any:
    return next(each for each in ticked.snapshot.services if each.service.name == name)


@pytest.mark.parametrize("name", ["video", "web"])
def test_the_totals_are_what_the_daemon_would_have_counted(name, baseline, every_tick):
    """qoemon_expected_ratings_total at the end of the recording, group by group."""
    service, last = baseline.period.services[name], of_service(every_tick[-1], name)
    assert service.groups == last.counts.groups
    expected = service.kernel.sums(service.totals.levels)[:, :5]
    assert np.allclose(expected, last.counts.expected_ratings, rtol=1e-12)
    assert expected.sum() > 1000


@pytest.mark.parametrize("name", ["video", "web"])
def test_each_point_of_a_chart_equals_the_snapshot(name, baseline, every_tick):
    closes = [each for each in every_tick if each.snapshot.time_s % 60 == 0]
    assert len(closes) == baseline.period.intervals == LENGTH_S // 60
    for group in range(len(GROUPS)):
        curve = baseline.period.services[name].series.curve([group])
        assert curve.edges_s.tolist() == [START_S + 60 * i for i in range(LENGTH_S // 60 + 1)]
        snapshots = [of_service(each, name) for each in closes]
        here = [each.distributions[60] for each in snapshots]
        rows = [group if group < len(each.mos) else None for each in here]
        for figure in ("mos", "gob", "pow"):
            truth = [
                np.nan if row is None else getattr(each, figure)[row] for each, row in zip(here, rows, strict=True)
            ]
            assert np.allclose(curve.figures[figure], truth, equal_nan=True)
            bounds = [getattr(each, f"{figure}_bounds")[row or 0] for each, row in zip(here, rows, strict=True)]
            there = ~np.isnan(truth)
            assert np.allclose(curve.bounds[figure][there], np.array(bounds)[there], atol=1e-9)


def test_the_main_cause_is_the_factor_with_the_largest_part_of_the_excess(baseline):
    """An outage: players stand still. The factors of a group add up to what good conditions would avoid."""
    video = baseline.period.services["video"]
    assert video.totals.poor_by.sum(axis=1) == pytest.approx(video.totals.excess, rel=1e-9)
    table = group_table(video, ("region", "cdn"))
    worst = dict(zip(table.columns, table.rows[0], strict=True))
    (group,) = (number for number, labels in enumerate(video.groups) if labels == (worst["region"], worst["cdn"]))
    by_factor = dict(zip(video.factors, video.totals.poor_by[group], strict=True))
    assert worst["main cause"] == f"stall duration, {by_factor['stall_time'] / sum(by_factor.values()):.1%}"
    assert by_factor["stall_time"] > 2 * by_factor["stall_count"]


def test_coarser_points_lose_nobody(baseline):
    whole = baseline.period.services["video"].series
    fine, coarse = whole.curve(), whole.curve(most_points=7)
    assert len(coarse.users) <= 7 < len(fine.users)
    for curve in (fine, coarse):
        assert np.nansum(curve.ratings, axis=1) == pytest.approx(np.ones(len(curve.users)))
    assert coarse.active.max() == fine.active.max()
    assert coarse.users.max() == fine.users.max()


def test_a_period_of_any_length_stays_bounded(recording, baseline, monkeypatch):
    """With any number of intervals, a series keeps a bounded number of points, and all conditions."""
    monkeypatch.setattr(series, "FEWEST_POINTS", 4)
    monkeypatch.setattr(series, "MOST_POINTS", 8)
    short = replayed_with(recording).period.services["video"].series
    assert short.length_s > 60
    curve, fine = short.curve(), baseline.period.services["video"].series.curve()
    assert len(curve.users) <= 9  # one more where it does not begin at a multiple
    weights = [total.sums[:, 0].sum() for total in short._points.values()]
    truth = [total.sums[:, 0].sum() for total in baseline.period.services["video"].series._points.values()]
    assert sum(weights) == sum(truth)
    assert np.nanmax(curve.figures["pow"]) <= np.nanmax(fine.figures["pow"])


def test_a_gap_is_a_gap_however_long(tmp_path):
    def watching(at_s: float) -> list[Recorded]:
        return [
            Recorded(
                "qoe/v1/video/eu/a",
                msgspec.json.encode({"session": f"s{at_s}", "seq": i, "play_s": 5.0 * i, "stall_s": 0}),
                at_s + 5 * i,
            )
            for i in range(40)
        ]

    day = 86_400
    found = replayed_with(
        written(tmp_path / "r.gz", watching(START_S) + watching(START_S + day), START_S + day + 600.0)
    )
    curve = found.period.services["video"].series.curve()
    assert np.isfinite(curve.figures["mos"]).sum() == 8
    assert len(curve.users) < 200
    assert (np.diff(curve.edges_s) > 0).all()


def test_alerts_last_from_their_first_tick_to_their_last(baseline, every_tick):
    firing = {
        (alert.rule.name, alert.rule.service, alert.group, ticked.snapshot.time_s): alert.sample
        for ticked in every_tick
        for alert in ticked.detections.alerts
        if alert.firing
    }
    assert baseline.period.alerts.fired
    counted = 0
    for fired in baseline.period.alerts.fired:
        end_s = baseline.period.end_s + 1 if fired.to_s is None else fired.to_s
        at = [
            t
            for *key, t in firing
            if tuple(key) == (fired.rule, fired.service, fired.group) and fired.from_s <= t < end_s
        ]
        assert at == list(range(int(fired.from_s), int(end_s), 10))
        readings = [firing[fired.rule, fired.service, fired.group, t] for t in at]
        assert fired.worst == max(sample.value for sample in readings if sample)
        counted += len(at)
        spans = baseline.period.alerts.spans.of((fired.rule, fired.service, fired.group), baseline.period.end_s)
        assert (fired.from_s, fired.to_s or baseline.period.end_s) in [
            (span.from_s, span.to_s) for span in spans if span.state == AlertState.FIRING
        ]
    assert counted == len(firing)


def test_regimes_are_those_of_the_ticks(baseline, every_tick):
    service = baseline.period.services["video"]
    seconds = {group: [0, 0, 0] for group in service.groups}
    for ticked in every_tick[:-1]:
        regimes = ticked.detections.regimes.get("video")
        for number, known in enumerate([] if regimes is None else regimes.known.tolist()):
            if known:
                seconds[service.groups[number]][int(regimes.regime[number])] += 10
    for group, truth in seconds.items():
        found = service.regimes.spans.seconds(group, baseline.period.end_s)
        assert [found[regime] for regime in Regime] == truth
    assert any(truth[Regime.BAD] for truth in seconds.values())
    entered = [change for change in service.regimes.changes if change.entered is not None]
    assert {change.group for change in entered} == {("eu", "a")}


def test_spans_are_bounded_and_what_is_left_out_is_counted(monkeypatch):
    monkeypatch.setattr("qoemon.tools.report.episodes.MOST_SPANS", 3)
    spans: Spans[str] = Spans()
    for at in range(10):
        spans.set("key", at % 2, float(at))
    assert [(span.state, span.from_s) for span in spans.of("key", 20.0)] == [(0, 0), (1, 1), (0, 2), (1, 9)]
    assert spans.left_out == 6


def test_the_same_configuration_differs_in_nothing(baseline):
    tables = compare.tables(baseline.period, baseline.period, ("one", "other"))
    assert {table.title for table in tables if "only under" in table.title or "differ" in table.title} == {
        "Alerts only under one",
        "Alerts only under other",
        "video: regimes that differ",
        "web: regimes that differ",
    }
    for table in tables:
        if "only under" in table.title or "differ" in table.title:
            assert not table.rows
        if table.title.endswith("both configurations"):
            assert {row[index] for row in table.rows for index in (4, 7, 10)} == {"+0.00", "+0.0"}


def test_another_theta_and_threshold_differ(baseline, recording, tmp_path):
    (tmp_path / "other.yaml").write_text(OTHER)
    other = replayed_with(recording, load(tmp_path / "other.yaml"))
    tables = {table.title: table for table in compare.tables(baseline.period, other.period, ("one", "two"))}
    mine, theirs = baseline.period.services["video"].distribution(), other.period.services["video"].distribution()
    for row, group in zip(
        tables["video: both configurations"].rows, baseline.period.services["video"].worst_first(), strict=True
    ):
        assert row[8] == f"{mine.pow[group]:.1%}"
        assert row[9] == f"{theirs.pow[group]:.1%}"
        assert row[4] == "+0.00", "theta does not move the MOS"
    assert len(tables["Alerts only under two"].rows) > len(tables["Alerts only under one"].rows)
    assert any("theta 0.1" in cell for row in tables["Two configurations"].rows for cell in row)


def every_chart(replayed: Replayed, other: Replayed) -> list[Chart]:
    period = replayed.period
    charts = [chart for each in period.services.values() if each.distribution() for chart in service_charts(each)]
    charts += [found for each in period.services.values() if (found := regime_chart(each, period))]
    charts += compare.charts(period, other.period, ("one.yaml", "two.yaml"))
    alerts = alert_chart(period)
    return charts if alerts is None else [*charts, alerts]


def texts(figure: Any) -> Iterator[Text]:
    """What a reader sees: tick labels outside the axes' limits are not drawn."""
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text().strip():
            yield text
    yield from ()


def seen_texts(figure: Any) -> list[Text]:
    hidden = set()
    for axes in figure.axes:
        for axis, (low, high) in ((axes.xaxis, sorted(axes.get_xlim())), (axes.yaxis, sorted(axes.get_ylim()))):
            places = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
            hidden |= {
                label
                for tick in places
                for label in (tick.label1, tick.label2)
                if not low <= tick.get_loc() <= high or not (label.get_visible() and axes.axison)
            }
            if not axes.axison:
                hidden |= {axis.label, axis.offsetText, axes.title}
    return [text for text in texts(figure) if text not in hidden]


def faults_of(chart: Chart) -> list[str]:
    """Faults of a chart: texts cut or overlapping, axes without name or unit, nothing drawn."""
    with chart_style(chart):
        figure = framed_figure(
            chart, "Source: story.jsonl.gz, 2023-11-14 22:14:00 to 2023-11-14 23:14:00 UTC; service x"
        )
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        renderer = canvas.get_renderer()
        boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in seen_texts(figure)]
        faults = [
            f"{text!r} is cut"
            for text, box in boxes
            if box.x0 < 0 or box.y0 < 0 or box.x1 > figure.bbox.x1 + 1 or box.y1 > figure.bbox.y1 + 1
        ]
        faults += [
            f"{one!r} and {other!r} overlap"
            for (one, a), (other, b) in combinations(boxes, 2)
            if min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1
        ]
        shown = [text for text, _ in boxes]
        faults += [
            f"no {what}" for what in (chart.title, "Source: story.jsonl.gz") if not any(what in s for s in shown)
        ]
        panels = [axes for axes in figure.axes if axes.axison]
        named = [axes.get_xlabel() for axes in panels if axes.get_xlabel()]
        if not named or not all("(" in name for name in named):
            faults.append(f"x axes are named {named}")
        if not any(axes.get_ylabel() for axes in panels) and not figure.get_supylabel():
            faults.append("no name of the y axis")
        if not all(axes.has_data() or axes.images for axes in panels):
            faults.append("an empty panel")
        return faults


def test_no_chart_is_empty_cut_or_overlapping(baseline, nasty, recording, tmp_path):
    (tmp_path / "other.yaml").write_text(OTHER)
    other = replayed_with(recording, load(tmp_path / "other.yaml"))
    bad = replayed_with(nasty, NASTY_CONFIG)
    charts = [*every_chart(baseline, other), *every_chart(bad, bad)]
    assert len(charts) >= 25
    assert {chart.name: found for chart in charts if (found := faults_of(chart))} == {}


def test_the_text_of_a_chart_is_not_small_beside_that_of_the_page(baseline):
    """Where a column is as narrow as it gets; its source is as large as a footnote."""
    narrowest_px = float(re.search(r"figure svg \{[^}]*min-width: ([\d.]+)rem", STYLE)[1]) * 15
    for chart in every_chart(baseline, baseline):
        with chart_style(chart):
            figure = framed_figure(chart, "Source: x")
            sizes = {text.get_text(): text.get_fontsize() for text in seen_texts(figure)}
        shown_px = {text: points * narrowest_px / (72 * figure.get_figwidth()) for text, points in sizes.items()}
        assert shown_px.pop("Source: x") >= 8.5
        assert min(shown_px.values()) >= 10, shown_px


def test_the_check_of_charts_sees_faults(baseline):
    chart = service_charts(baseline.period.services["video"])[3]

    def spoilt(figure: Any) -> None:
        chart.draw(figure)
        figure.text(0.98, 0.5, "beyond the edge")
        figure.axes[0].set_xlabel("rating")

    faults = faults_of(replace(chart, draw=spoilt))
    assert "'beyond the edge' is cut" in faults
    assert "x axes are named ['rating']" in faults


class Page(HTMLParser):
    """Tags, attributes and texts of the page, as a browser parses them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def made(recording: Recording, tmp_path: Path, *options: str) -> tuple[Path, str]:
    result = qoemon_cli("report", str(recording.path), "-o", str(tmp_path / "out"), *options)
    assert result.exit_code == 0, result.stderr
    return tmp_path / "out", (tmp_path / "out" / "report.html").read_text()


KINDS = ("shares", "mos", "ratings", "distribution", "cdf", "conditions", "users", "compared")
CHARTS = {f"{service}-{kind}" for service in ("video", "web") for kind in KINDS} | {"video-regimes", "alerts"}
"""Too few sessions browse for a regime to be known."""


def test_the_page_holds_every_chart_and_needs_nothing_else(recording, mine, tmp_path):
    (tmp_path / "other.yaml").write_text(OTHER)
    options = ("-c", str(mine), "--compare", str(tmp_path / "other.yaml"), "--title", "A <b>day</b>")
    folder, text = made(recording, tmp_path, *options)
    page = Page(text)
    pictures = sorted(folder.glob("*.png"))
    assert {picture.stem.removeprefix("report-") for picture in pictures} == CHARTS
    assert page.tags.count("svg") == page.tags.count("figcaption") == len(CHARTS)
    assert all(picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" for picture in pictures)
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert set(ids) >= CHARTS
    for tag, name, value in page.attributes:
        if name in {"href", "xlink:href", "src"}:
            assert value.startswith(("#", "data:")), (tag, name, value)
        assert not name.startswith("on")
    assert not re.search(r"url\((?!#|'#|\"#)|@import", text)
    assert not {"script", "link rel=stylesheet", "img", "iframe", "object"} & set(page.tags)
    words = "".join(page.words)
    for expected in (
        "A <b>day</b>",
        "Service video",
        "Service web",
        "Alerts that fired",
        "ManyPoorRatings",
        "Feed quality",
    ):
        assert expected in words
    assert "b" not in page.tags or "A <b>" not in text


def test_labels_from_the_wire_stay_text(nasty, tmp_path):
    config = tmp_path / "qoemon.yaml"
    config.write_text("labels: [who]\nlimits: {label_length: 20000}\n")
    _, text = made(nasty, tmp_path, "-c", str(config))
    page = Page(text)
    assert not {"script", "img", "i"} & set(page.tags)
    assert not [each for each in page.attributes if each[1].startswith("on")]
    words = "".join(page.words)
    for label in ("<script>alert(1)", '"><img src=x onerror=alert(1)>', "$x^2$", "_under", "[red]", "日本語日本語"):
        assert label in words
    assert not set(text) & {"\u202e", "\x1b"}
    assert "x" * 1000 not in text


def test_figures_of_the_page_are_those_of_the_replay(recording, baseline, tmp_path):
    _, text = made(recording, tmp_path)
    words = "".join(Page(text).words)
    for service in baseline.period.services.values():
        together = service.overall_distribution()
        for shown in (f"{together.mos[0]:.2f}", f"{together.gob[0]:.1%}", f"{together.observations[0]:,}"):
            assert shown in words
    assert f"{recording.read:,} messages" in words


def test_the_report_begins_with_a_summary_that_names_the_worst_group_and_its_alert(
    recording, baseline, mine, tmp_path
):
    _, text = made(recording, tmp_path, "-c", str(mine))
    assert '<section id="part0">\n<h2>Summary</h2>' in text
    summary = text[text.index('<section id="part0">') : text.index('<section id="part1">')]
    words = " ".join("".join(Page(summary).words).split())
    service = baseline.period.services["video"]
    excess = service.totals.excess
    assert f"About {excess.sum():,.0f} of" in words
    assert f"Look first at video eu / a: {excess[service.groups.index(('eu', 'a'))] / excess.sum():.1%} of" in words
    assert "mainly due to" in words
    fired, end_s = baseline.period.alerts.fired, baseline.period.end_s
    assert f"{len(fired)} alert" in words
    longest = max(fired, key=lambda one: (one.to_s or end_s) - one.from_s)
    assert f"fired for longest is {longest.rule} of {longest.service} eu / a: from 2023-" in words


def test_the_summary_of_a_calm_recording_says_that_nothing_happened(tmp_path):
    calm = [
        Recorded(
            "qoe/v1/video/eu/a",
            msgspec.json.encode(
                {"session": f"s{user}", "seq": i, "play_s": 10.0 * i, "stall_count": 0, "stall_s": 0}
            ),
            START_S + 10 * i + 1,
        )
        for i in range(20)
        for user in range(20)
    ]
    _, text = made(written(tmp_path / "calm.gz", calm, START_S + 240.0), tmp_path)
    summary = text[text.index('<section id="part0">') : text.index('<section id="part1">')]
    assert re.search(r"None of the \d+ ratings of video is poor or worse beyond those", summary)
    assert "No alert of the configuration would have fired." in summary


def test_the_same_recording_makes_the_same_report(baseline):
    chart = service_charts(baseline.period.services["video"])[0]
    assert render_chart(chart, "s") == render_chart(chart, "s")


def test_an_empty_recording_makes_a_report_that_says_so(tmp_path):
    _, text = made(written(tmp_path / "r.gz", [], START_S), tmp_path)
    assert "No data: no rating interval closed" in text
    assert not list((tmp_path / "out").glob("*.png"))


def test_the_report_names_where_a_recording_is_truncated(recording, tmp_path):
    cut = tmp_path / "cut.gz"
    cut.write_bytes(recording.path.read_bytes()[:100_000])
    result = qoemon_cli("report", str(cut), "-o", str(tmp_path / "r.html"))
    assert result.exit_code == 0
    assert "the file is truncated here" in result.stderr
    assert "the file is truncated in line" in (tmp_path / "r.html").read_text()


def test_without_matplotlib_the_error_says_what_to_do(recording, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = qoemon_cli("report", str(recording.path), "-o", str(tmp_path / "out"))
    assert result.exit_code == 2
    assert "pip install 'qoemon[plot]'" in result.stderr
    assert not (tmp_path / "out").exists()


def test_where_nothing_can_be_written_it_says_so(recording, tmp_path):
    (tmp_path / "file").write_text("in the way")
    result = qoemon_cli("report", str(recording.path), "-o", str(tmp_path / "file" / "out"))
    assert result.exit_code == 2
    assert "cannot be written" in result.stderr


def test_every_finding_has_a_meaning_and_every_problem_advice(nasty, baseline):
    for replayed in (baseline, replayed_with(nasty, NASTY_CONFIG)):
        timing = replayed.period.plan.timing
        found = advice.findings(replayed.feed_quality, timing)
        assert all(one.meaning and (one.advice != "-" or not one.problem) for one in found)
    assert [one.check for one in found if one.service == "any"] == ["rejected, unparseable"]


def wrong_clients(path: Path) -> Recording:
    """Twelve sound players, four that report milliseconds, two with one session id, and one with a backlog."""
    messages = []

    def add(at_s: float, session: str, late_s: float = 0, **counters: float) -> None:
        report = {"session": session, "ts": START_S + at_s, "stall_count": 0, "stall_s": 0, **counters}
        messages.append(Recorded("qoe/v1/video/eu/a", msgspec.json.encode(report), START_S + at_s + late_s))

    for step in range(1, 30):
        at_s = 10 * step
        for number in range(12):
            add(at_s, f"sound {number}", seq=step, play_s=at_s)
        for number in range(4):
            add(at_s + 1, f"ms {number}", seq=step, play_s=1000 * at_s)
        if step <= 12 or step > 20:
            add(at_s, "late", 205 - at_s if 4 <= step <= 12 else 0, seq=step, play_s=at_s)
        add(at_s + 2, "same", play_s=1000 + at_s, stall_count=10, stall_s=50)
        add(at_s + 3, "same", play_s=at_s)
    messages.sort(key=lambda each: each.arrival_s)
    return written(path, messages, START_S + 360)


def test_doubtful_reports_are_counted_by_kind_with_cause_and_advice(tmp_path):
    replayed = replayed_with(wrong_clients(tmp_path / "wrong.jsonl.gz"))
    found = {one.check: one for one in advice.findings(replayed.feed_quality, replayed.period.plan.timing)}
    units = found["impossible, milliseconds"]
    assert units.found.startswith("112 of ")  # All but the first report of each, which sets the baseline.
    assert (units.problem, units.advice) == (True, "have clients send seconds")
    assert found["conflicting reports"].problem
    assert "UUID" in found["conflicting reports"].advice
    assert found["late reports"].found.startswith("9 of ")
    assert not found["late reports"].problem


def test_every_kind_of_doubtful_reports_has_a_line():
    assert tuple(advice.DOUBTFUL) == DOUBTS


def test_a_sound_feed_has_one_line_without_a_problem(tmp_path):
    report = {"session": "s", "seq": 1, "ts": START_S + 1.0, "play_s": 1, "stall_count": 0, "stall_s": 0}
    message = Recorded("qoe/v1/video/eu/a", msgspec.json.encode(report), START_S + 1.0)
    replayed = replayed_with(written(tmp_path / "sound.jsonl.gz", [message], START_S + 120.0))
    (line,) = advice.doubt_findings(replayed.feed_quality)
    assert (line.check, line.found, line.problem) == ("impossible or conflicting reports", "none", False)


def test_replay_prints_doubtful_reports_and_nothing_of_a_sound_feed(recording, tmp_path):
    path = tmp_path / "wrong.jsonl.gz"
    wrong_clients(path)
    result = qoemon_cli("replay", str(path))
    assert result.exit_code == 0
    assert "Doubtful reports:\n" in result.stdout
    assert re.search(r"  impossible, milliseconds: 112 of \d+ \(.*%\); .* milliseconds, probably", result.stdout)
    assert "Doubtful reports" not in qoemon_cli("replay", str(recording.path)).stdout


@pytest.mark.parametrize(
    ("clock", "skew_s", "problems"),
    [
        ("auto", None, {"reports without ts"}),
        ("auto", 3600, set()),
        ("arrival", None, set()),
        ("arrival", 3600, set()),
        ("report", None, {"reports without ts"}),
        ("report", 3600, {"clock skew"}),
        ("report", 1, set()),
    ],
)
def test_a_wrong_clock_is_a_problem_where_it_is_believed_and_none_where_it_is_needed(
    clock, skew_s, problems, tmp_path
):
    ts = {} if skew_s is None else {"ts": START_S + 1 + skew_s}
    report = {"session": "s", "seq": 1, "play_s": 1, **ts}
    message = Recorded("qoe/v1/video/eu/a", msgspec.json.encode(report), START_S + 1)
    path = tmp_path / "clock.jsonl.gz"
    replayed = replayed_with(written(path, [message], START_S + 70), configured(sessions={"clock": clock}))
    found = advice.findings(replayed.feed_quality, replayed.period.plan.timing)
    assert {one.check for one in found if one.problem and one.service == "video"} == problems


def test_a_period_knows_where_it_begins(baseline):
    assert (baseline.period.begin_s, baseline.period.end_s) == (START_S, START_S + LENGTH_S)
    assert Period(core_plan(Config())).begin_s is None


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["table", "json"])
def test_replay_fails_if_a_condition_holds_for_a_service_over_the_whole_recording(recording, baseline, form):
    distribution = baseline.period.services["video"].overall_distribution()
    assert distribution is not None
    truth = float(distribution.pow[0])
    assert 0.02 < truth < 0.9
    above, below = f"pow > {truth - 0.01:.3f}", f"pow > {truth + 0.01:.3f}"
    failed = qoemon_cli("replay", str(recording.path), *form, "--fail-if", "mos < 1.1", "--fail-if", above)
    assert failed.exit_code == 1
    assert f"video: pow is {truth:.4g}, and --fail-if is {above}" in failed.stderr
    assert "mos" not in failed.stderr
    passed = qoemon_cli("replay", str(recording.path), *form, "--fail-if", "mos < 1.1")
    assert passed.exit_code == 0
    assert f"video: pow is {truth:.4g}" not in qoemon_cli("replay", str(recording.path), "--fail-if", below).stderr
    assert failed.stdout == passed.stdout


def test_replay_of_nothing_fails_if_there_is_a_condition(tmp_path):
    path = written(tmp_path / "empty.jsonl.gz", [], START_S + 200).path
    assert qoemon_cli("replay", str(path)).exit_code == 0
    result = qoemon_cli("replay", str(path), "--fail-if", "pow > .9")
    assert result.exit_code == 1
    assert "no ratings were estimated, so --fail-if cannot be evaluated" in result.stderr
    assert qoemon_cli("replay", str(path), "--fail-if", "pow").exit_code == 2

"""Panels with a common style: each has a unit and a description of what it shows and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.builders.dashboard import FieldColor, ThresholdsConfig
from grafana_foundation_sdk.builders.heatmap import YAxisConfig
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    GraphTresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")

SHARE, MOS, COUNT, SECONDS, BYTES, PER_SECOND = "percentunit", "none", "short", "s", "bytes", "cps"

RED, ORANGE, YELLOW, LIGHT_GREEN, GREEN, BLUE = "red", "orange", "yellow", "light-green", "green", "blue"

Panel: TypeAlias = (
    timeseries.Panel | stat.Panel | statetimeline.Panel | heatmap.Panel | table.Panel | bargauge.Panel
)
P = TypeVar("P", timeseries.Panel, stat.Panel, statetimeline.Panel, heatmap.Panel, table.Panel, bargauge.Panel)


class Ask(NamedTuple):
    """A query. step: its minimum interval, for metrics that change more slowly than they are scraped."""

    expr: str
    legend: str = ""
    step: str | None = None


class About(NamedTuple):
    """Title, description, unit and size of a panel: width in 24ths of the board, height in rows."""

    title: str
    description: str
    unit: str
    width: int
    height: int = 8


class Steps(NamedTuple):
    """Colours by value: `first` below all steps, then (lower end, colour) ascending."""

    first: str
    then: tuple[tuple[float, str], ...] = ()


PLAIN = Steps(BLUE)
GOOD_SHARE = Steps(RED, ((0.6, ORANGE), (0.75, YELLOW), (0.85, GREEN)))
POOR_SHARE = Steps(GREEN, ((0.1, YELLOW), (0.15, ORANGE), (0.3, RED)))
OPINION = Steps(RED, ((3, ORANGE), (3.5, YELLOW), (4, GREEN)))


def number(about: About, asks: Sequence[Ask], steps: Steps = PLAIN) -> stat.Panel:
    """The current value, one tile per series."""
    panel = _made(stat.Panel(), about, steps)
    for place, ask in enumerate(asks):
        panel.with_target(_query(ask, place).instant())
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    return panel.graph_mode(BigValueGraphMode.NONE).color_mode(BigValueColorMode.VALUE)


def curves(about: About, asks: Sequence[Ask], steps: Steps = PLAIN) -> timeseries.Panel:
    """Lines over time. Series whose name ends in `lower` or `upper` are thin; steps are drawn as dashed lines."""
    panel = _ranged(_made(timeseries.Panel(), about, steps), asks)
    if steps.then:
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(GraphTresholdsStyleMode.DASHED))
    panel.color_scheme(FieldColor().mode(FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
    if about.unit == SHARE:
        panel.axis_soft_min(0)
    dashed = {"fill": "dash", "dash": [4, 4]}
    thin = [DynamicConfigValue("custom.lineWidth", 1), DynamicConfigValue("custom.lineStyle", dashed)]
    panel.override_by_regexp("/ (lower|upper)$/", thin)
    return panel.line_width(2).show_points(VisibilityMode.NEVER).legend(_legend()).tooltip(_tooltip())


def areas(about: About, ask: Ask, colours: Mapping[str, str]) -> timeseries.Panel:
    """Stacked areas as shares of the total; colours by the names of series."""
    panel = curves(about, [ask]).fill_opacity(70).line_width(0)
    for name, colour in colours.items():
        fixed = DynamicConfigValue("color", {"mode": "fixed", "fixedColor": colour})
        panel.override_by_name(name, [fixed])
    return panel.stacking(common.StackingConfig().mode(StackingMode.PERCENT))


def states(about: About, asks: Sequence[Ask], words: Sequence[tuple[str, str]]) -> statetimeline.Panel:
    """A state timeline, one line per series; words: (name, colour) of the values 0, 1, ..."""
    steps = Steps(words[0][1], tuple((n, colour) for n, (_, colour) in enumerate(words) if n))
    panel = _ranged(_made(statetimeline.Panel(), about, steps), asks)
    names = {str(n): ValueMappingResult(word, colour, index=n) for n, (word, colour) in enumerate(words)}
    panel.mappings([ValueMap(names)])
    return panel.show_value(VisibilityMode.AUTO).merge_values(True).legend(_legend()).fill_opacity(80)


def bars(about: About, asks: Sequence[Ask], steps: Steps = PLAIN) -> bargauge.Panel:
    """The current value, one bar per series."""
    panel = _made(bargauge.Panel(), about, steps)
    for place, ask in enumerate(asks):
        panel.with_target(_query(ask, place).instant())
    return panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"])).min(0)


def rows(about: About, ask: Ask, hidden: Sequence[str]) -> table.Panel:
    """A table, one row per series. hidden: columns to leave out."""
    panel = _made(table.Panel(), about, PLAIN)
    panel.with_target(_query(ask, 0).instant().format(PromQueryFormat.TABLE))
    without = {"excludeByName": dict.fromkeys(("Time", "__name__", *hidden), True)}
    return panel.with_transformation(DataTransformerConfig("organize", options=without))


def density(about: About, ask: Ask) -> heatmap.Panel:
    """A Prometheus histogram over time; the unit is that of its buckets."""
    panel = _made(heatmap.Panel(), about, PLAIN)
    panel.with_target(_query(ask, 0).range().format(PromQueryFormat.HEATMAP))
    return panel.calculate(False).y_axis(YAxisConfig().unit(about.unit)).show_tooltip()


def _made(panel: P, about: About, steps: Steps) -> P:
    panel.title(about.title).description(about.description).unit(about.unit).datasource(SOURCE)
    levels = [Threshold(None, steps.first), *(Threshold(value, colour) for value, colour in steps.then)]
    panel.thresholds(ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(levels))
    return panel.span(about.width).height(about.height)


def _ranged(panel: P, asks: Sequence[Ask]) -> P:
    for place, ask in enumerate(asks):
        panel.with_target(_query(ask, place).range())
    return panel


def _query(ask: Ask, place: int) -> prometheus.Dataquery:
    query = prometheus.Dataquery().expr(ask.expr).ref_id(chr(ord("A") + place)).datasource(SOURCE)
    query.legend_format(ask.legend or "__auto")
    return query if ask.step is None else query.interval(ask.step)


def _legend() -> common.VizLegendOptions:
    legend = common.VizLegendOptions().show_legend(True).display_mode(LegendDisplayMode.LIST)
    return legend.placement(LegendPlacement.BOTTOM)


def _tooltip() -> common.VizTooltipOptions:
    return common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI)

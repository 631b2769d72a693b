"""The board about one group or a few: ratings, windows, theta, conditions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.builders.dashboard import AnnotationQuery
from grafana_foundation_sdk.models import dashboard as models

from qoemon.tools.dashboards.board import filled, frame, with_groups, with_windows
from qoemon.tools.dashboards.overview import ratings, regimes
from qoemon.tools.dashboards.panels import COUNT, MOS, SECONDS, SHARE, SOURCE, About, Ask, bars, curves, density
from qoemon.tools.dashboards.promql import MINUTES

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders.dashboard import Dashboard

    from qoemon.tools.dashboards.panels import Panel
    from qoemon.tools.dashboards.promql import Queries

HERE = "{{service}} {{window}}"


def group_detail(queries: Queries) -> Dashboard:
    """The board about one group or a few."""
    board = frame("Group detail", "One group or a few: ratings of the users, and their causes.", "now-3h")
    board = with_windows(with_groups(board, queries), queries)
    board.annotation(_Changes(queries))
    return filled(board, [*_opinions(queries), *_shares(queries), *_conditions(queries)])


class _Changes(AnnotationQuery):
    """Marks changes of PoW found by the change detector."""

    def __init__(self, queries: Queries) -> None:
        super().__init__()
        self.name("Changes of PoW").datasource(SOURCE).enable(True).icon_color("purple")
        by = f"{queries.group}, direction"
        self.expr(f"{queries.increase('qoemon_pow_regime_changes_total', MINUTES, by)} > 0")
        self._text = f"{queries.legend}: {{{{direction}}}}"

    def build(self) -> models.AnnotationQuery:
        titled = _Titled()
        titled.__dict__.update(super().build().__dict__)
        titled.title_format = self._text
        return titled


class _Titled(models.AnnotationQuery):
    """An annotation with the title that Prometheus sources support and the SDK's model lacks."""

    title_format = ""

    def to_json(self) -> dict[str, object]:
        return {**super().to_json(), "titleFormat": self.title_format}


def _opinions(queries: Queries) -> list[Panel]:
    spread = About(
        "Rating distribution",
        "Share of users who would give each rating, in the selected windows. Two peaks mean two kinds of users: "
        "split the group by one more label.",
        SHARE,
        8,
    )
    quantiles = About(
        "Opinion quantiles",
        "Quantiles of the opinions, by group: this share of users is at or below the value. The lowest quantile "
        "shows the users with the worst quality. Quantiles cannot be summed over groups.",
        MOS,
        8,
    )
    rating = queries.weighted("qoemon_rating_ratio", split="rating")
    each = f"max by ({queries.group}, window, quantile) ({queries.windowed('qoemon_opinion_quantile')})"
    return [
        bars(spread, [Ask(rating, f"{HERE}: {{{{rating}}}}")]),
        ratings(queries, 8),
        curves(quantiles, [Ask(each, f"{queries.legend} {{{{window}}}} q{{{{quantile}}}}")]),
    ]


def _shares(queries: Queries) -> list[Panel]:
    windows = (
        "Short windows react sooner, long windows are more precise. If the short one has recovered and the long "
        "one has not, the incident is over."
    )
    theta = (
        "for each theta of the band. If the lines lie far apart, the value depends on theta: calibrate it with "
        "`qoemon fit` before you make promises. Services without theta_band have no lines."
    )
    charts = (
        ("Good or better, by window", f"Share of users, good or better. {windows}", "qoemon_gob_ratio", ""),
        ("Poor or worse, by window", f"Share of users, poor or worse. {windows}", "qoemon_pow_ratio", ""),
        ("Good or better, by theta", f"Share of users, good or better, {theta}", "qoemon_gob_ratio_theta", "theta"),
        ("Poor or worse, by theta", f"Share of users, poor or worse, {theta}", "qoemon_pow_ratio_theta", "theta"),
    )
    return [
        curves(
            About(title, text, SHARE, 6),
            [Ask(queries.weighted(metric, split=split), HERE + (f" theta {{{{{split}}}}}" if split else ""))],
        )
        for title, text, metric, split in charts
    ]


def _conditions(queries: Queries) -> list[Panel]:
    advice = (
        "Brighter means more often. A second band far up means that some of the users have a separate problem. "
        "Select one service."
    )
    charts = (
        (
            "Stalls",
            f"Stalls per minute of play and stall time, one value per session and rating interval. {advice}",
            COUNT,
            "stall_count",
        ),
        (
            "Stall seconds",
            f"Stall seconds per minute of media, one value per session and rating interval. {advice}",
            SECONDS,
            "stall_seconds",
        ),
        ("Response times", f"Response times, one value per response. {advice}", SECONDS, "response_seconds"),
    )
    return [
        *(
            density(About(title, text, unit, 8), Ask(_buckets(queries, f"qoemon_{name}"), "{{le}}", queries.base))
            for title, text, unit, name in charts
        ),
        curves(
            About(
                "Poor ratings by factor",
                "Part of the share of poor ratings that each factor accounts for. The parts of a service add up to "
                "what good conditions would avoid. Fix the factor with the highest line first.",
                SHARE,
                12,
            ),
            [Ask(queries.attribution(), "{{service}} {{factor}}")],
        ),
        regimes(queries, 12),
    ]


def _buckets(queries: Queries, name: str) -> str:
    return queries.increase(f"{name}_bucket", MINUTES, "le")

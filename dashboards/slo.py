"""The board about service level objectives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dashboards.board import filled, frame, with_groups
from dashboards.overview import ratings
from dashboards.panels import (
    COUNT,
    GOOD_SHARE,
    GREEN,
    ORANGE,
    RED,
    SHARE,
    YELLOW,
    About,
    Ask,
    Steps,
    bars,
    curves,
    number,
)
from dashboards.promql import RATINGS

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders.dashboard import Dashboard

    from dashboards.panels import Panel
    from dashboards.promql import Queries

SPANS = ("1h", "6h", "3d", "30d")
BUDGET = Steps(RED, ((0, ORANGE), (0.25, YELLOW), (0.5, GREEN)))
BURN = Steps(GREEN, ((1, YELLOW), (3, ORANGE), (6, RED)))


def slo(queries: Queries) -> Dashboard:
    """The board about the objectives; ValueError if there are none."""
    if not queries.objectives:
        raise ValueError("no service has an objective: found no `slo` under `services`, expected one; set it there")
    board = with_groups(frame("SLO", "Shares of good ratings against their objectives.", "now-1d"), queries)
    # Queries over a month of counters are expensive: not every 30 s.
    board.refresh("5m")
    return filled(board, [*_objectives(queries), *_burn_rates(queries), *_groups(queries)])


def _objectives(queries: Queries) -> list[Panel]:
    shares = [
        number(
            About(
                f"Good ratings, {span}",
                f"Share of good ratings in the last {span}, exact over groups and time. Below the objective over "
                "a long time: plan improvements. Below it over a short time only: investigate now.",
                SHARE,
                4,
                5,
            ),
            [Ask(queries.share(span), "{{service}}")],
            GOOD_SHARE,
        )
        for span in SPANS
    ]
    left = number(
        About(
            "Error budget left, 30d",
            "Part of the error budget of the last 30 days that is not used up. "
            "Below 0 the objective is missed: put fixes of quality before new features.",
            SHARE,
            4,
            5,
        ),
        [Ask(f"1 - {queries.burn('30d')}", "{{service}}")],
        BUDGET,
    )
    objective = number(
        About(
            "Objective",
            "Target share of good ratings, from `slo` in the configuration that these boards were generated from. "
            "After a change there, generate them again.",
            SHARE,
            4,
            5,
        ),
        [Ask(queries.objective(), "{{service}}")],
    )
    return [*shares, left, objective]


def _burn_rates(queries: Queries) -> list[Panel]:
    rates = About(
        "Burn rates",
        "Burn rate of the error budget. At 1 it lasts exactly 30 days. High over 1h and 6h: act now. Above 1 over "
        "3d: plan the work.",
        "none",
        12,
    )
    share = About(
        "Good ratings and objective",
        "Share of good ratings in the last hour. Below the objective, the budget is used up faster than allowed.",
        SHARE,
        12,
    )
    asks = [Ask(queries.burn(span), f"{{{{service}}}} {span}") for span in SPANS[:3]]
    goal = Ask(queries.objective(), "{{service}} objective")
    return [
        curves(rates, asks, BURN),
        curves(share, [Ask(queries.share("1h"), "{{service}}"), goal]),
    ]


def _groups(queries: Queries) -> list[Panel]:
    group = queries.group
    spent = f"{queries.increase(RATINGS, '1d', group)} - ({queries.good('1d', group)})"
    return [
        bars(
            About(
                "Budget used by group, 1d",
                "Ratings of the last day that were not good, by group. Fix the longest bars first.",
                COUNT,
                8,
            ),
            [Ask(f"topk(10, {spent})", queries.legend)],
        ),
        bars(
            About(
                "Lowest shares, 1h",
                "Groups with the smallest share of good ratings in the last hour. A small group uses little of the "
                "budget, even if its users have severe problems.",
                SHARE,
                8,
            ),
            [Ask(f"bottomk(10, {queries.share('1h', group)})", queries.legend)],
            GOOD_SHARE,
        ),
        ratings(queries, 8),
    ]

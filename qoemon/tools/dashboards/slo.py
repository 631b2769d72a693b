"""The board about service level objectives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qoemon.core.snapshot.feedback import PERIOD_DAYS
from qoemon.tools.dashboards.board import filled, frame, with_groups
from qoemon.tools.dashboards.overview import ratings
from qoemon.tools.dashboards.panels import (
    BLUE,
    COUNT,
    GOOD_SHARE,
    GREEN,
    MOS,
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
    states,
)
from qoemon.tools.dashboards.promql import EXPECTED, RATINGS, SAID, once

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders.dashboard import Dashboard

    from qoemon.tools.dashboards.panels import Panel
    from qoemon.tools.dashboards.promql import Queries

SPANS = ("1h", "6h", "3d", "30d")
BUDGET = Steps(RED, ((0, ORANGE), (0.25, YELLOW), (0.5, GREEN)))
BURN = Steps(GREEN, ((1, YELLOW), (3, ORANGE), (6, RED)))

FEEDBACK_SPAN = f"{PERIOD_DAYS}d"
"""Time that the daemon's own figures of feedback are of."""

MODEL_STATES = (("too few ratings", BLUE), ("holds", GREEN), ("off", ORANGE))


def slo(queries: Queries) -> Dashboard:
    """The board about the objectives; there must be one."""
    board = with_groups(frame("SLO", "Shares of good ratings against their objectives.", "now-1d"), queries)
    # Queries over a month of counters are expensive: not every 30 s.
    board.refresh("5m")
    return filled(board, [*_objectives(queries), *_burn_rates(queries), *_groups(queries), *_model(queries)])


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


def _model(queries: Queries) -> list[Panel]:
    """What users said, beside what was predicted for their sessions. Empty where nobody rates."""
    bias = "qoemon_feedback_bias"
    return [
        bars(
            About(
                f"Ratings of users and expected, {FEEDBACK_SPAN}",
                "Share of each rating among those who answered, and the share that was expected in the same "
                "sessions. If they differ, the shares of good ratings on this board are off as well.",
                SHARE,
                8,
            ),
            [
                Ask(queries.rating_shares(SAID, FEEDBACK_SPAN), "{{service}} {{rating}} users"),
                Ask(queries.rating_shares(EXPECTED, FEEDBACK_SPAN), "{{service}} {{rating}} expected"),
            ],
        ),
        curves(
            About(
                f"Bias, {FEEDBACK_SPAN}",
                "How much higher users rate than predicted, scale points, with its confidence interval over days. "
                "Below 0, users are less content than the figures say.",
                MOS,
                6,
            ),
            [
                Ask(once(queries.of_service(bias)), "{{service}}"),
                Ask(once(queries.of_service(f"{bias}_bound")), "{{service}} {{bound}}"),
            ],
        ),
        states(
            About(
                "Model",
                "Whether users rate as predicted. Off: they have not for days. `qoemon feedback fit SERVICE` "
                "proposes constants that fit their ratings.",
                "none",
                5,
            ),
            [Ask(queries.model_state(), "{{service}}")],
            MODEL_STATES,
        ),
        curves(
            About(
                f"Answers of those asked, {FEEDBACK_SPAN}",
                "Share of those asked who rated, by the prediction for their session. If few of those with a low "
                "prediction answer, little is known about them.",
                SHARE,
                5,
            ),
            [Ask(once(queries.of_service("qoemon_feedback_response_ratio")), "{{service}} {{class}}")],
        ),
    ]

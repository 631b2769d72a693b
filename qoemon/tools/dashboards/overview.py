"""The board about all users, and the groups with the worst quality."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qoemon.tools.dashboards.board import filled, frame, with_groups, with_windows
from qoemon.tools.dashboards.panels import (
    COUNT,
    GOOD_SHARE,
    GREEN,
    LIGHT_GREEN,
    MOS,
    OPINION,
    ORANGE,
    POOR_SHARE,
    RED,
    SHARE,
    YELLOW,
    About,
    Ask,
    Steps,
    areas,
    bars,
    curves,
    number,
    rows,
    states,
)
from qoemon.tools.dashboards.promql import once

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders.dashboard import Dashboard

    from qoemon.tools.dashboards.panels import Panel
    from qoemon.tools.dashboards.promql import Queries

COLOURS = (RED, ORANGE, YELLOW, LIGHT_GREEN, GREEN)
REGIMES = (("good", GREEN), ("degraded", YELLOW), ("bad", RED))
HERE = "{{service}} {{window}}"


def overview(queries: Queries) -> Dashboard:
    """The board to start with."""
    board = frame("Overview", "Ratings of all users, and the groups with the worst quality. Start here.", "now-3h")
    board = with_windows(with_groups(board, queries), queries)
    return filled(board, [*_now(queries), *_shares(queries), *_over_time(queries), *_worst(queries)])


def _now(queries: Queries) -> list[Panel]:
    firing = f"count({once(queries.of('qoemon_alert_state'))} == 3) or vector(0)"
    return [
        number(
            About(
                "Users now",
                "Sessions with a report in the last rating interval or an open stall. A sudden fall means an "
                "outage, or that reports no longer arrive: see the board Daemon.",
                COUNT,
                4,
                4,
            ),
            [Ask(queries.total("qoemon_active_sessions", "service"), "{{service}}")],
        ),
        number(
            About(
                "Good or better",
                "Share of users who would rate good or better, over all selected groups, weighted by observations. "
                "If it is low, see below for the groups that cause it.",
                SHARE,
                4,
                4,
            ),
            [Ask(queries.weighted("qoemon_gob_ratio"), HERE)],
            GOOD_SHARE,
        ),
        number(
            About(
                "Poor or worse",
                "Share of users who would rate poor or worse, over all selected groups, weighted by observations. "
                "These users are likely to leave: see below for their groups.",
                SHARE,
                4,
                4,
            ),
            [Ask(queries.weighted("qoemon_pow_ratio"), HERE)],
            POOR_SHARE,
        ),
        number(
            About(
                "MOS",
                "Mean opinion score, scale points. Half good and half bad gives the same MOS as all fair: prefer "
                "the shares next to it.",
                MOS,
                4,
                4,
            ),
            [Ask(queries.weighted("qoemon_mos"), HERE)],
            OPINION,
        ),
        number(
            About(
                "Open stalls",
                "Sessions that are stalled now; reacts sooner than ratings. A jump in many groups points to what "
                "they have in common: origin, CDN, network.",
                COUNT,
                4,
                4,
            ),
            [Ask(queries.total("qoemon_open_stalls", "service"), "{{service}}")],
        ),
        number(
            About(
                "Alerts firing",
                "Alerts of qoemon that are firing. The table below names their groups.",
                COUNT,
                4,
                4,
            ),
            [Ask(firing, "firing")],
            Steps(GREEN, ((1, RED),)),
        ),
    ]


def _shares(queries: Queries) -> list[Panel]:
    interval = (
        "with its confidence interval. The interval over several groups assumes that all deviate in the same "
        "direction, so it is rather too wide. A change within it may be chance: do not act on it."
    )
    charts = (
        (
            "Good or better, with bounds",
            f"Share of users who would rate good or better, {interval}",
            "gob",
            GOOD_SHARE,
        ),
        (
            "Poor or worse, with bounds",
            f"Share of users who would rate poor or worse, {interval}",
            "pow",
            POOR_SHARE,
        ),
    )
    return [
        curves(About(title, text, SHARE, 12), _bounded(queries, name), steps) for title, text, name, steps in charts
    ]


def _bounded(queries: Queries, name: str) -> list[Ask]:
    bounds = (
        Ask(queries.weighted(f"qoemon_{name}_ratio_bound", f'bound="{end}"'), f"{HERE} {end}")
        for end in ("lower", "upper")
    )
    return [Ask(queries.weighted(f"qoemon_{name}_ratio"), HERE), *bounds]


def ratings(queries: Queries, width: int) -> Panel:
    """The ratings as stacked areas, one panel a service: a rating of a video and of a page are not the same."""
    about = About(
        "Ratings of $service",
        "Expected ratings, as shares of all ratings of the service. If red grows while yellow stays, a few users "
        "have a severe problem: find their group. If all colours shift slowly, all users have a slight problem: "
        "check capacity.",
        SHARE,
        width,
    )
    colours = {str(rating): colour for rating, colour in enumerate(COLOURS, start=1)}
    panel = areas(about, Ask(queries.ratings("rating"), "{{rating}}", queries.base), colours)
    return panel.repeat("service").repeat_direction("v")


def regimes(queries: Queries, width: int) -> Panel:
    """The regime of each group."""
    about = About(
        "Regimes",
        "Regime of each group: good, degraded or bad by its share of poor ratings. Groups that change together "
        "probably have a common cause.",
        "none",
        width,
    )
    of_group = f"max by ({queries.group}) ({queries.of('qoemon_pow_regime')})"
    return states(about, [Ask(of_group, queries.legend)], REGIMES)


def _over_time(queries: Queries) -> list[Panel]:
    return [ratings(queries, 12), regimes(queries, 12)]


def _worst(queries: Queries) -> list[Panel]:
    worst = About(
        "Worst groups",
        "Poor ratings in the last rating interval that good conditions would have avoided. Fix the longest bar "
        "first; the board Group detail shows its factor.",
        COUNT,
        12,
    )
    firing = About(
        "Firing alerts",
        "Each firing alert of qoemon, with its group. /api/v1/snapshot has the reason, docs/alerting.md says what "
        "to do.",
        "none",
        12,
    )
    return [
        bars(worst, [Ask(f"topk(10, {queries.excess(queries.group)})", queries.legend)]),
        rows(firing, Ask(f"{once(queries.of('qoemon_alert_state'))} == 3"), ("job", "Value")),
    ]

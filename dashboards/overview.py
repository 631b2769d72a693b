"""Board on all users, with the groups that are affected most."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dashboards.board import filled, frame, with_groups, with_windows
from dashboards.panels import (
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

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders.dashboard import Dashboard

    from dashboards.panels import Panel
    from dashboards.promql import Queries

COLOURS = (RED, ORANGE, YELLOW, LIGHT_GREEN, GREEN)
REGIMES = (("good", GREEN), ("degraded", YELLOW), ("bad", RED))
HERE = "{{service}} {{window}}"


def overview(queries: Queries) -> Dashboard:
    """The board Overview."""
    board = frame("Overview", "Ratings of all users, and the groups that are affected. Start here.", "now-3h")
    board = with_windows(with_groups(board, queries), queries)
    return filled(board, [*_now(queries), *_shares(queries), *_over_time(queries), *_worst(queries)])


def _now(queries: Queries) -> list[Panel]:
    firing = f"count({queries.of('qoemon_alert_state')} == 3) or vector(0)"
    return [
        number(
            About(
                "Users now",
                "Sessions that reported in the last rating interval, or are stalled. A sudden fall is an outage or "
                "reports that no longer arrive: see the board Daemon.",
                COUNT,
                4,
                4,
            ),
            [Ask(queries.total("qoemon_active_sessions", "service"), "{{service}}")],
        ),
        number(
            About(
                "Good or better",
                "Share of users who would rate good or better, over all selected groups, weighted by "
                "observations. If it is low, look below for the groups that lower it.",
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
                "Share of users who would rate poor or worse, over all selected groups, weighted by "
                "observations. These users are likely to leave: look below for their groups.",
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
                "Mean opinion score, scale points. Half good and half bad looks like all fair here: look at the "
                "shares beside it.",
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
                "Sessions in a stall now, before ratings show it. A jump in many groups points to what they share: "
                "origin, CDN, network.",
                COUNT,
                4,
                4,
            ),
            [Ask(queries.total("qoemon_open_stalls", "service"), "{{service}}")],
        ),
        number(
            About(
                "Alerts firing", "Alerts of qoemon that fire now. The table below names their groups.", COUNT, 4, 4
            ),
            [Ask(firing, "firing")],
            Steps(GREEN, ((1, RED),)),
        ),
    ]


def _shares(queries: Queries) -> list[Panel]:
    why = (
        "with its confidence bounds. Over several groups they assume errors in the same direction, so the interval "
        "is rather too wide. A move within it may be chance: do not act on it."
    )
    panels = (
        ("Good or better, with bounds", f"Share of users who would rate good or better, {why}", "gob", GOOD_SHARE),
        ("Poor or worse, with bounds", f"Share of users who would rate poor or worse, {why}", "pow", POOR_SHARE),
    )
    return [
        curves(About(title, text, SHARE, 12), _bounded(queries, name), steps) for title, text, name, steps in panels
    ]


def _bounded(queries: Queries, name: str) -> list[Ask]:
    bounds = (
        Ask(queries.weighted(f"qoemon_{name}_ratio_bound", f'bound="{end}"'), f"{HERE} {end}")
        for end in ("lower", "upper")
    )
    return [Ask(queries.weighted(f"qoemon_{name}_ratio"), HERE), *bounds]


def ratings(queries: Queries, width: int) -> Panel:
    """Panel of the five ratings, stacked."""
    about = About(
        "Ratings",
        "Estimated ratings, as shares of all ratings. If red grows while yellow stays, few users are affected "
        "severely: look for a group. If all colours shift slowly, all users are affected slightly: check the "
        "capacity.",
        SHARE,
        width,
    )
    colours = {str(rating): colour for rating, colour in enumerate(COLOURS, start=1)}
    return areas(about, Ask(queries.ratings("rating"), "{{rating}}", queries.base), colours)


def regimes(queries: Queries, width: int) -> Panel:
    """Panel of the regime of each group."""
    about = About(
        "Regimes",
        "Regime of each group, good, degraded or bad by its share of poor ratings. Groups that change together "
        "share a cause.",
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
        "Poor ratings in the last rating interval beyond those under good conditions: many users slightly, or few "
        "severely affected. Fix the longest bar first; the board Group detail shows the factor.",
        COUNT,
        12,
    )
    firing = About(
        "Alerts that fire",
        "Each alert of qoemon that fires now, with its group. The reason is in /api/v1/snapshot; docs/alerting.md "
        "says what to do.",
        "none",
        12,
    )
    return [
        bars(worst, [Ask(f"topk(10, {queries.excess(queries.group)})", queries.legend)]),
        rows(firing, Ask(f"{queries.of('qoemon_alert_state')} == 3"), ("job", "instance", "Value")),
    ]

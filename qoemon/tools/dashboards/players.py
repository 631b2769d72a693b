"""The board about players that report to the collector: how they start, and whether what they say arrives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qoemon.tools.dashboards.board import choice, filled, frame, with_groups
from qoemon.tools.dashboards.panels import COUNT, PER_SECOND, SECONDS, SHARE, About, Ask, curves, density
from qoemon.tools.dashboards.promql import MINUTES

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders.dashboard import Dashboard

    from qoemon.tools.dashboards.panels import Panel
    from qoemon.tools.dashboards.promql import Queries

STARTED, FAILED = "qoemon_startup_seconds_count", "qoemon_start_failures_total"
PROBLEMS = (
    ("qoemon_cmcd_sessions_without_state_total", "sessions without state"),
    ("qoemon_cmcd_records_late_total", "records late"),
    ("qoemon_cmcd_records_unordered_total", "records unordered"),
    ("qoemon_collector_held_back_total", "held back"),
    ("qoemon_collector_unanswered_total", "unanswered"),
)


def players(queries: Queries) -> Dashboard:
    """The board about players."""
    board = frame("Players", "Players that report to the collector: how they start, and what arrives.", "now-3h")
    board = with_groups(board, queries).with_variable(choice("instance", "qoemon_build_info"))
    return filled(board, [*_starts(queries), *_arrivals()])


def _starts(queries: Queries) -> list[Panel]:
    quantiles = About(
        "Startup time",
        "Time from the start to the first picture, which half, and one in ten, of the viewings exceed. If it "
        "grows for one CDN, look at that CDN; if for all, at the playlists, the license server, or a new "
        "release of the page.",
        SECONDS,
        8,
    )
    failed = About(
        "Failed starts",
        "Share of viewings that tried to play and ended without a picture. Viewers who leave during a slow "
        "start are among them: compare with the startup time.",
        SHARE,
        8,
    )
    heat = About(
        "Startup times",
        "Startup times, one value per viewing. Brighter means more often. A second band far up means that "
        "some of the viewers have a separate problem.",
        SECONDS,
        8,
    )
    bucket = queries.of("qoemon_startup_seconds_bucket")
    by_service = f"sum by (service, le) (rate({bucket}[{MINUTES}]))"
    failures, started = (f"sum by (service) (rate({queries.of(name)}[{MINUTES}]))" for name in (FAILED, STARTED))
    return [
        curves(
            quantiles,
            [
                Ask(f"histogram_quantile({share}, {by_service})", f"{{{{service}}}} {name}", queries.base)
                for share, name in ((0.5, "half"), (0.9, "one in ten"))
            ],
        ),
        curves(failed, [Ask(f"{failures} / ({failures} + {started})", "{{service}}", queries.base)]),
        density(
            heat, Ask(queries.increase("qoemon_startup_seconds_bucket", MINUTES, "le"), "{{le}}", queries.base)
        ),
    ]


def _arrivals() -> list[Panel]:
    answers = About(
        "Requests by answer",
        "Requests to the collector per second by the status of the answer. 204 is stored; 429 means that the "
        "inbox is full, 4xx that URL or headers of a page do not fit the configuration. docs/players.md says "
        "what players do.",
        PER_SECOND,
        8,
    )
    waiting = About(
        "In flight",
        "Requests that wait until they are stored, and connections. If the requests in flight stay high, "
        "nothing is stored: look at the disk. At collector.connections, the longest idle connection is closed "
        "for a new one.",
        COUNT,
        8,
    )
    problems = About(
        "Problems of players",
        "Should all be near 0: players whose state is not sent, records that came too late or out of order, "
        "requests that were not read or answered. docs/operations.md says what to do about each.",
        PER_SECOND,
        8,
    )
    unknown = Ask(f"rate({_of('qoemon_cmcd_unknown_seconds_total')}[{MINUTES}])", "{{instance}} unknown seconds")
    by_code = f"sum by (code) (rate({_of('qoemon_collector_requests_total')}[{MINUTES}]))"
    return [
        curves(answers, [Ask(by_code, "{{code}}")]),
        curves(
            waiting,
            [
                Ask(_of("qoemon_collector_in_flight"), "{{instance}} in flight"),
                Ask(_of("qoemon_collector_connections"), "{{instance}} connections"),
            ],
        ),
        curves(
            problems,
            [
                *(Ask(f"rate({_of(name)}[{MINUTES}])", f"{{{{instance}}}} {words}") for name, words in PROBLEMS),
                unknown,
            ],
        ),
    ]


def _of(name: str) -> str:
    return f'{name}{{instance=~"$instance"}}'

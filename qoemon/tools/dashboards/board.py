"""What all boards have in common: name, variables, links to each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.builders.dashboard import (
    Dashboard,
    DashboardLink,
    DatasourceVariable,
    QueryVariable,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from qoemon.common import duration
from qoemon.tools.dashboards.panels import SOURCE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qoemon.tools.dashboards.panels import Panel
    from qoemon.tools.dashboards.promql import Queries

TAG = "qoemon"

ALL = VariableOption(selected=True, text=["All"], value=["$__all"])


def frame(name: str, description: str, since: str) -> Dashboard:
    """A board without panels, with the data source as its only variable. since: begin of its time range."""
    others = DashboardLink("qoemon").type(DashboardLinkType.DASHBOARDS).tags([TAG])
    board = Dashboard(f"qoemon: {name}").uid(f"qoemon-{name.lower().replace(' ', '-')}").description(description)
    board.tags([TAG]).time(since, "now").refresh("30s").timezone("browser").tooltip(DashboardCursorSync.CROSSHAIR)
    board.link(others.include_vars(True).keep_time(True).as_dropdown(False))
    source = DatasourceVariable("datasource").label("Data source").type("prometheus")
    return board.with_variable(source)


def with_groups(board: Dashboard, queries: Queries) -> Dashboard:
    """Add variables to select services and the values of each label."""
    earlier: list[str] = []
    for label in ("service", *queries.plan.labels):
        chosen = ",".join(f'{name}=~"${name}"' for name in earlier)
        metric = f"qoemon_expected_ratings_total{{{chosen}}}"
        board.with_variable(choice(label, metric))
        earlier.append(label)
    return board


def with_windows(board: Dashboard, queries: Queries) -> Dashboard:
    """Add a variable to select windows. Default: the second shortest, which is less noisy than the base window."""
    windows = [duration.text(length_s) for length_s in sorted(queries.plan.timing.windows_s)]
    usual = windows[min(1, len(windows) - 1)]
    chosen = VariableOption(selected=True, text=[usual], value=[usual])
    return board.with_variable(choice("window", "qoemon_observations").current(chosen))


def choice(label: str, metric: str) -> QueryVariable:
    """A variable to select some or all of the values of a metric's label."""
    variable = QueryVariable(label).label(label).datasource(SOURCE).query(f"label_values({metric}, {label})")
    variable.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).sort(VariableSort.ALPHABETICAL_ASC)
    # `.*` also matches groups without the label, whose topic has no such level.
    return variable.multi(True).include_all(True).all_value(".*").current(ALL)


def filled(board: Dashboard, panels: Sequence[Panel]) -> Dashboard:
    """The board with its panels, in reading order."""
    for number, panel in enumerate(panels, start=1):
        board.with_panel(panel.id(number))
    return board

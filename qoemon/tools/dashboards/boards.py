"""All boards for a configuration. They are made with Grafana's SDK, which is an extra."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from qoemon.config.plan import core_plan
from qoemon.tools.dashboards.daemon import daemon
from qoemon.tools.dashboards.group import group_detail
from qoemon.tools.dashboards.overview import overview
from qoemon.tools.dashboards.players import players
from qoemon.tools.dashboards.promql import Queries
from qoemon.tools.dashboards.slo import slo

if TYPE_CHECKING:
    from qoemon.config.config import Config


def boards(config: Config) -> dict[str, str]:
    """The boards as JSON, by file name; without that of objectives if no service has one."""
    objectives = {name: section.slo for name, section in config.services.items() if section.slo is not None}
    queries = Queries(core_plan(config), objectives)
    builders = [overview(queries), group_detail(queries), players(queries), daemon()]
    if objectives:
        builders.append(slo(queries))
    built = [builder.build() for builder in builders]
    return {
        f"{board.uid}.json": json.dumps(board, cls=JSONEncoder, indent=2, sort_keys=True) + "\n" for board in built
    }

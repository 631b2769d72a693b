"""Writes the boards for a configuration into this folder: `python -m dashboards.generate [CONFIG]`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from dashboards.daemon import daemon
from dashboards.group import group_detail
from dashboards.overview import overview
from dashboards.players import players
from dashboards.promql import Queries
from dashboards.slo import slo
from qoemon.config.config import load
from qoemon.config.plan import core_plan

if TYPE_CHECKING:
    from qoemon.config.config import Config

HERE = Path(__file__).parent
SAMPLE = HERE.parent / "config/qoemon.yaml"


def boards(config: Config) -> dict[str, str]:
    """The boards as JSON, by file name. ValueError if no service has an objective."""
    objectives = {name: section.slo for name, section in config.services.items() if section.slo is not None}
    queries = Queries(core_plan(config), objectives)
    builders = (overview(queries), group_detail(queries), slo(queries), players(queries), daemon())
    built = [builder.build() for builder in builders]
    return {
        f"{board.uid}.json": json.dumps(board, cls=JSONEncoder, indent=2, sort_keys=True) + "\n" for board in built
    }


def main() -> None:
    """Write all boards."""
    config = load(Path(sys.argv[1]) if len(sys.argv) > 1 else SAMPLE)
    for name, text in boards(config).items():
        (HERE / name).write_text(text)


if __name__ == "__main__":
    main()

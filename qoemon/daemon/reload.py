"""Reloads the configuration while the daemon runs: completely, or not at all."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from qoemon.common.metrics import Families
from qoemon.config import config as configuration
from qoemon.config.config import Config
from qoemon.config.digest import digests
from qoemon.config.sections.collector import Collector
from qoemon.config.yaml.errors import ConfigError
from qoemon.core.plan.fingerprint import IncompatibleStateError
from qoemon.daemon.metrics import reload_metrics
from qoemon.daemon.tick_loop import TickLoop
from qoemon.engine.engine import Engine

LOG = logging.getLogger("qoemon.daemon")

LIVE = {"services", "alerts", "regimes", "roll_ups", "quantiles", "confidence"}
"""Sections that can change while the daemon runs; the others need a restart."""

LIVE_OF_COLLECTOR = {"reorder_s", "heartbeat_s", "startup_service", "failed_starts", "hidden"}
"""Keys of the section `collector` that can: they are about counting. The listener has the others."""


class Reloader:
    """Holds the running configuration, and replaces it; sections: its digests."""

    def __init__(self, config: Config) -> None:
        self._config, self.sections = config, digests(config)
        self._successful = True

    def metrics(self) -> Families:
        """Whether the last reload succeeded."""
        return reload_metrics(successful=self._successful)

    async def reload(self, path: Path, overrides: Sequence[str], engine: Engine, tick_loop: TickLoop) -> None:
        """Continue with the configuration of the file and the overrides; if impossible, keep the running one."""
        try:
            wanted = configuration.load(path, overrides=overrides)
        except ConfigError as error:
            return self._fail("; ".join(str(error).splitlines()))
        changed = [name for name in Config.model_fields if getattr(wanted, name) != getattr(self._config, name)]
        fixed = [name for name in changed if name not in LIVE and name != "collector"]
        fixed += _fixed_of_collector(self._config.collector, wanted.collector)
        if fixed:
            names = ", ".join(name.removesuffix("_s") for name in fixed)
            return self._fail(f"{names} cannot change while qoemon runs: restart it")
        try:
            await tick_loop.between_ticks(engine.change(wanted))
        except (IncompatibleStateError, ValueError, LookupError) as error:
            return self._fail(str(error))
        self._config, self.sections, self._successful = wanted, digests(wanted), True
        LOG.info("configuration %s reloaded; changed: %s", path, ", ".join(changed) or "nothing")
        return None

    def _fail(self, reason: str) -> None:
        self._successful = False
        LOG.error("reload failed, keeping the running configuration: %s", reason)


def _fixed_of_collector(before: Collector | None, wanted: Collector | None) -> list[str]:
    """The keys of the section `collector` that have changed and need a restart."""
    if before is None or wanted is None:
        return [] if before is wanted else ["collector"]
    changed = [name for name in Collector.model_fields if getattr(before, name) != getattr(wanted, name)]
    return [f"collector.{name}" for name in changed if name not in LIVE_OF_COLLECTOR]

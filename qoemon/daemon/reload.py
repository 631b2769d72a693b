"""SIGHUP: a changed configuration while the daemon runs, whole or not at all."""

from __future__ import annotations

import logging
from pathlib import Path

from qoemon.config import config as configuration
from qoemon.config.config import Config
from qoemon.config.yaml.errors import ConfigError
from qoemon.core.plan.fingerprint import IncompatibleStateError
from qoemon.daemon.tick_loop import TickLoop
from qoemon.engine.engine import Work

LOG = logging.getLogger("qoemon.daemon")

LIVE = {"services", "alerts", "regimes", "quantiles", "confidence"}
"""Sections that can change while the daemon runs; the others need a restart."""


async def reload(path: Path, running: Config, work: Work, evaluator: TickLoop) -> Config:
    """The configuration that runs afterwards: the file's, or the one from before if that cannot be."""
    try:
        wanted = configuration.load(path)
    except ConfigError as error:
        return _refused(running, evaluator, "; ".join(str(error).splitlines()))
    changed = [name for name in Config.model_fields if getattr(wanted, name) != getattr(running, name)]
    if fixed := [name.removesuffix("_s") for name in changed if name not in LIVE]:
        return _refused(running, evaluator, f"{', '.join(fixed)} cannot change while qoemon runs: restart it")

    try:
        await evaluator.between_ticks(work.change(wanted))
    except (IncompatibleStateError, ValueError, KeyError) as error:
        return _refused(running, evaluator, str(error))
    evaluator.watchers.reloaded = True
    LOG.info("configuration %s reloaded; changed: %s", path, ", ".join(changed) or "nothing")
    return wanted


def _refused(running: Config, evaluator: TickLoop, why: str) -> Config:
    evaluator.watchers.reloaded = False
    LOG.error("the configuration is not reloaded, and the one from before goes on: %s", why)
    return running

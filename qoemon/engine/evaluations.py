"""Evaluations that continue an earlier one: of a stored state, or of another configuration."""

from __future__ import annotations

import logging

import msgspec

from qoemon.config.config import Config
from qoemon.config.plan import new_evaluation
from qoemon.core.arrays import Arrays
from qoemon.core.evaluation import Evaluation
from qoemon.core.plan.fingerprint import IncompatibleStateError

LOG = logging.getLogger("qoemon.engine")


def restored(config: Config, state: Arrays) -> Evaluation:
    """An evaluation with the stored state, as far as it is compatible."""
    evaluation = new_evaluation(config)
    try:
        reset = evaluation.load(state)
    except (IncompatibleStateError, LookupError, ValueError, msgspec.MsgspecError) as error:
        LOG.warning("windows, counters, alerts and regimes are reset: %s", error)
        return new_evaluation(config)
    if reset:
        LOG.warning("rated differently than before, so windows, alerts and regimes are reset: %s", ", ".join(reset))
    return evaluation


def successor(config: Config, before: Evaluation) -> Evaluation:
    """An evaluation of a changed configuration, with the state of the former one.

    raises  IncompatibleStateError if no service can keep its state
    """
    evaluation = new_evaluation(config)
    evaluation.load(before.dump())
    evaluation.adopt_alerts(before.adopted_alerts)
    return evaluation

"""The parts of a plan that the meaning of a dumped state depends on: under another plan it cannot be restored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from qoemon.core.plan.plan import Plan, Service

STATE_VERSION = 2
READABLE_VERSIONS = (1, STATE_VERSION)
"""1 held windows and totals with the sessions of each shard, not once for all shards."""


class IncompatibleStateError(ValueError):
    """A dumped state cannot be restored; says why."""


def fingerprint(plan: Plan) -> dict[str, Any]:
    """These parts of the plan, as JSON."""
    timing = plan.timing
    parts = {
        "services": {service.name: _rating_of(service) for service in plan.services},
        "labels": list(plan.labels),
        "timing": [timing.tick_s, timing.interval_s, list(timing.windows_s), timing.clock],
    }
    known: dict[str, Any] = json.loads(json.dumps(parts))
    return known


def reset_services(meta: Mapping[str, Any], plan: Plan) -> tuple[str, ...]:
    """The services of which nothing can be restored, as they are rated otherwise than they were; new ones excluded.

    meta    of the dump: its `version`, and `plan`, the fingerprint of that time
    raises  IncompatibleStateError if nothing at all can be restored
    """
    if meta["version"] not in READABLE_VERSIONS:
        raise IncompatibleStateError(
            f"the state has version {meta['version']}, this qoemon reads version {STATE_VERSION}"
        )
    was, now = meta["plan"], fingerprint(plan)
    if differ := [key for key in ("labels", "timing") if was.get(key) != now[key]]:
        raise IncompatibleStateError(
            f"the state was stored under another configuration: {' and '.join(differ)} differ"
        )
    return tuple(name for name, rating in now["services"].items() if was["services"].get(name, rating) != rating)


def _rating_of(service: Service) -> list[Any]:
    """The parts of a service that its counts depend on."""
    mapping, scale = service.mapping, service.scale
    formula = [mapping.name, list(mapping.inputs), dict(mapping.parameters)]
    return [*formula, service.counters, scale.low, scale.high, len(service.rated_at), service.bins.size]

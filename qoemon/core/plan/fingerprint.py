"""What the meaning of a dumped state depends on: under another configuration it cannot be taken over."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from qoemon.core.plan.plan import Plan, Service

STATE_VERSION = 1


class IncompatibleStateError(ValueError):
    """A dumped state that cannot be taken over; says why."""


def fingerprint(plan: Plan) -> dict[str, Any]:
    """The parts of the plan that count, as JSON knows them."""
    timing = plan.timing
    parts = {
        "services": {service.name: _judging(service) for service in plan.services},
        "labels": list(plan.labels),
        "timing": [timing.tick_s, timing.interval_s, list(timing.windows_s), timing.clock],
    }
    known: dict[str, Any] = json.loads(json.dumps(parts))
    return known


def begin_anew(meta: Mapping[str, Any], plan: Plan) -> tuple[str, ...]:
    """The services of which nothing can be taken over, as they are judged otherwise than they were; new ones apart.

    meta    of the dump: its `version`, and `plan`, the fingerprint of that time
    raises  StateError if nothing at all can be taken over
    """
    if meta["version"] != STATE_VERSION:
        raise IncompatibleStateError(
            f"the state has version {meta['version']}, this qoemon reads version {STATE_VERSION}"
        )
    was, now = meta["plan"], fingerprint(plan)
    if differ := [key for key in ("labels", "timing") if was.get(key) != now[key]]:
        raise IncompatibleStateError(
            f"the state was dumped under another configuration: {' and '.join(differ)} differ"
        )
    return tuple(name for name, judging in now["services"].items() if was["services"].get(name, judging) != judging)


def _judging(service: Service) -> list[Any]:
    """What the counts of a service depend on."""
    mapping, scale = service.mapping, service.scale
    formula = [mapping.name, list(mapping.inputs), dict(mapping.parameters)]
    return [*formula, service.counters, scale.low, scale.high, len(service.rated_at), service.bins.size]

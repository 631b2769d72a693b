"""The parts of a plan on which a dumped state depends: it cannot be restored under another plan."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from qoemon.core.plan.plan import Plan, Service
from qoemon.core.qoe.mapping import TABLE, MediaStall, QosMapping

STATE_VERSION = 3
READABLE_VERSIONS = (1, 2, STATE_VERSION)
"""Version 1 has windows and totals in the state of each shard, not once for all shards. Version 2 has whole stalls
in its slices, and no runs of sessions."""


class IncompatibleStateError(ValueError):
    """A dumped state cannot be restored; the message gives the reason."""


def fingerprint(plan: Plan) -> dict[str, Any]:
    """The parts of the plan on which a dumped state depends, as JSON."""
    timing = plan.timing
    parts = {
        "services": {service.name: rating_of(service) for service in plan.services},
        "points": {service.name: points for service in plan.services if (points := points_of(service.mapping))},
        "labels": list(plan.labels),
        "timing": [timing.tick_s, timing.interval_s, list(timing.windows_s)],
    }
    known: dict[str, Any] = json.loads(json.dumps(parts))
    return known


def reset_services(meta: Mapping[str, Any], plan: Plan) -> tuple[str, ...]:
    """The services that cannot be restored, because their rating parameters have changed; new services excluded.

    meta    of the dump: its `version`, and `plan`, its fingerprint
    raises  IncompatibleStateError if no service can be restored
    """
    if meta["version"] not in READABLE_VERSIONS:
        raise IncompatibleStateError(
            f"the state has version {meta['version']}, this qoemon reads version {STATE_VERSION}"
        )
    was, now = {**meta["plan"]}, fingerprint(plan)
    was["timing"] = was["timing"][:3]  # Earlier versions have the clock of reports here, too.
    if differ := [key for key in ("labels", "timing") if was.get(key) != now[key]]:
        raise IncompatibleStateError(
            f"the state was stored with another configuration: {' and '.join(differ)} differ"
        )
    # Earlier versions have no points.
    points = was.get("points", now["points"])
    return tuple(
        name
        for name, rating in now["services"].items()
        if name in was["services"]
        and (was["services"][name] != rating or points.get(name) != now["points"].get(name))
    )


def rating_of(service: Service) -> list[Any]:
    """The parts of a service on which its counts depend."""
    mapping, scale = service.mapping, service.scale
    formula = [mapping.name, list(mapping.inputs), dict(mapping.parameters)]
    if isinstance(mapping, MediaStall):
        formula.append(mapping.quality.name)
    return [*formula, service.counters, scale.low, scale.high, len(service.rated_at), service.bins.size]


def points_of(mapping: QosMapping) -> list[tuple[float, float]]:
    """The points of a table, or of the table that a mapping of quality is; none of other mappings."""
    table = mapping.quality if isinstance(mapping, MediaStall) else mapping
    if table.name != TABLE.name or table.extremes is None:
        return []
    x = np.array(table.extremes[0])
    return list(zip(x.tolist(), table(x).tolist(), strict=True))

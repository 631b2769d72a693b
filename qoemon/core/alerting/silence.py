"""Since when groups, or sums of groups, have sent no reports."""

from __future__ import annotations

import math
from collections.abc import Sequence

from qoemon.core.alerting.presence import Presence
from qoemon.core.counting.groups import Labels
from qoemon.core.plan.roll_up import RollUpKey
from qoemon.core.snapshot.roll_up import LEFT_OUT, RollUpGroups
from qoemon.core.snapshot.snapshot import ServiceSnapshot


def silent_since(service: ServiceSnapshot, presence: Presence) -> list[float | None]:
    """(G,) since when each group has sent no reports, seconds since the epoch; None while reports arrive."""
    silent = (service.counts.heard == 0).tolist()
    times = zip(silent, presence.since_s.tolist(), strict=True)
    return [_known(since_s) if one else None for one, since_s in times]


def sums_silent_since(
    service: ServiceSnapshot, presence: Presence, sums: ServiceSnapshot, key: RollUpKey, labels: Sequence[str]
) -> list[float | None]:
    """(R,) since when the last of each sum's groups has sent no reports; None while reports arrive.

    presence  of the groups
    sums      the service, rolled up by key
    labels    names of the groups' labels
    """
    silent = (sums.counts.heard == 0).tolist()
    if not any(silent):
        return [None] * len(silent)
    counts, newest_s = service.counts, dict[Labels, float]()
    places = RollUpGroups(key, labels, len(counts.groups)).places(counts.groups, counts.free)
    for place, since_s in zip(places.number.tolist(), presence.since_s.tolist(), strict=True):
        if place != LEFT_OUT and not math.isnan(since_s):
            group = places.groups[place]
            newest_s[group] = max(newest_s.get(group, since_s), since_s)
    return [newest_s.get(group) if one else None for one, group in zip(silent, sums.counts.groups, strict=True)]


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value

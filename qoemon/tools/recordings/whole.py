"""The ratings of each service over a whole recording, all its groups together, for --fail-if."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qoemon.core.arrays import to_dense
from qoemon.tools.fail_if import failures, figures_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qoemon.core.counting.counts import ClosedInterval
    from qoemon.core.plan.plan import Plan
    from qoemon.tools.fail_if import Condition


class Whole:
    """The counts of all rating intervals that have closed."""

    def __init__(self, plan: Plan) -> None:
        self._services = plan.services
        self._counts = [np.zeros(len(service.rated_at), np.int64) for service in plan.services]

    def add(self, interval: ClosedInterval) -> None:
        """Add a closed rating interval, with what came late for earlier ones."""
        for place, service in enumerate(interval.services):
            for part in (service, *service.late.values()):
                self._counts[place] += to_dense(part.levels).sum(axis=0)

    def failures(self, wanted: Sequence[Condition]) -> Iterator[str]:
        """A sentence for each condition that holds for a service; one that there are no ratings, if so."""
        if not any(counts.any() for counts in self._counts):
            yield "no ratings were estimated, so --fail-if cannot be evaluated"
        for service, counts in zip(self._services, self._counts, strict=True):
            if counts.any():
                yield from failures(wanted, service.name, figures_of(service.kernel().distribution(counts[None])))

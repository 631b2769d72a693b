"""From counts to what users answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qoemon.core.plan import Plan
from qoemon.core.rating import Distribution, Kernel
from qoemon.core.scale import Counts
from qoemon.core.snapshot import ServiceSnapshot, Snapshot
from qoemon.core.tally import Event, Tally


class Judge:
    """Turns tallies, of one Monitor or merged from several, into a Snapshot.

    The longer windows change only as rating intervals close: what was said of the same counts is said again.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.kernels: Mapping[str, Kernel] = {s.name: s.kernel(plan.quantiles) for s in plan.services}
        self._said: dict[tuple[str, int], tuple[Counts, Distribution]] = {}

    def snapshot(
        self, tallies: Sequence[Tally], *, time_s: int, events: Mapping[Event, int], sessions: int
    ) -> Snapshot:
        """The snapshot of tick time_s; tallies in the order of the plan's services."""
        return Snapshot(
            time_s=time_s,
            labels=self._plan.labels,
            quantiles=self._plan.quantiles,
            services=tuple(
                ServiceSnapshot(
                    tally=tally,
                    distributions={length: self._judge(tally, length) for length in tally.windows},
                    service=service,
                )
                for service, tally in zip(self._plan.services, tallies, strict=True)
            ),
            events=dict(events),
            sessions=sessions,
        )

    def _judge(self, tally: Tally, length: int) -> Distribution:
        counts = tally.windows[length]
        before, said = self._said.get((tally.service, length), (None, None))
        if said is None or before is not counts:
            said = self.kernels[tally.service].judge(counts)
            self._said[tally.service, length] = (counts, said)
        return said

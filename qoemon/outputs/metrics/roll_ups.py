"""Roll-ups as Prometheus metric families.

They have names of their own: with those of the groups, sum() would count every user twice. The label `by` names the
labels that remain, and `where` the groups that were summed, if a rule selects some.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from qoemon.common import duration
from qoemon.core.alerting.detector import Detections
from qoemon.core.arrays import Ints
from qoemon.core.plan.roll_up import RollUpKey
from qoemon.core.snapshot.snapshot import ServiceSnapshot, Snapshot
from qoemon.outputs.metrics.qoe import columns_of
from qoemon.outputs.metrics.text_format import PLAIN, Family, LabelTexts, Numbers, Rows

PREFIX = "qoemon_rollup_"

_IN_WINDOW = {
    "mos": ("mos", "Mean opinion score over all users of the roll-up, scale points."),
    "gob": ("gob_ratio", "Share of users of the roll-up who would rate good or better."),
    "pow": ("pow_ratio", "Share of users of the roll-up who would rate poor or worse."),
    "mos_bounds": ("mos_bound", "Confidence interval of qoemon_rollup_mos."),
    "gob_bounds": ("gob_ratio_bound", "Confidence interval of qoemon_rollup_gob_ratio."),
    "pow_bounds": ("pow_ratio_bound", "Confidence interval of qoemon_rollup_pow_ratio."),
    "observations": ("observations", "Rated conditions of the roll-up."),
}
"""By attribute of a Distribution: name and help text."""

_IN_RULES = {
    "quantiles": (
        "opinion_quantile",
        "Quantile of the opinions of the roll-up, if an alert rule uses the roll-up.",
    ),
    "band_gob": ("gob_ratio_theta", "qoemon_rollup_gob_ratio at another theta, if an alert rule uses the roll-up."),
    "band_pow": ("pow_ratio_theta", "qoemon_rollup_pow_ratio at another theta, if an alert rule uses the roll-up."),
}
"""What only alert rules need."""

_BY_COLUMN = {
    "mos_bounds": "bound",
    "gob_bounds": "bound",
    "pow_bounds": "bound",
    "quantiles": "quantile",
    "band_gob": "theta",
    "band_pow": "theta",
}


def roll_up_families(
    snapshot: Snapshot, detections: Detections, texts: LabelTexts | None = None
) -> Iterator[Family]:
    """The families of all roll-ups of a snapshot; texts as in qoe_families()."""
    families = _Families()
    for key, rolled_up in snapshot.roll_ups.items():
        for name, service in rolled_up.services.items():
            rows = _rows(key, service, texts or LabelTexts())
            families.add_windows(service, rows, snapshot, in_rules=name in rolled_up.in_rules)
            families.add_presence(service, rows, in_rules=name in rolled_up.in_rules)
            families.add_regimes(service, rows, detections, key)
    yield from families.all()


def _rows(key: RollUpKey, service: ServiceSnapshot, texts: LabelTexts) -> Rows:
    """The labels of each sum."""
    where = ("where",) if key.where else ()
    head = (service.service.name, key.name, *([key.selection] if key.where else []))
    return texts.rows(("service", "by", *where, *key.by), [(*head, *group) for group in service.counts.groups])


def _family(name: str, help_text: str, *more: str) -> Family:
    # As of groups: promtool accepts the label `quantile` of no other type.
    return Family(
        f"{PREFIX}{name}", help_text, "summary" if "quantile" in more else "gauge", ("service", "by", *more)
    )


def _in_window(attribute: str, name: str, help_text: str) -> Family:
    column = _BY_COLUMN.get(attribute)
    return _family(name, help_text, "window", *([column] if column else []))


@dataclass(frozen=True)
class _Families:
    """The families, and their samples so far."""

    windows: dict[str, Family] = field(
        default_factory=lambda: {at: _in_window(at, *text) for at, text in (_IN_WINDOW | _IN_RULES).items()}
    )
    users: Family = field(
        default_factory=lambda: _family(
            "window_users", "Distinct sessions of each group with a rated condition, summed.", "window"
        )
    )
    active: Family = field(
        default_factory=lambda: _family("active_sessions", "Sessions with a report in the base window, summed.")
    )
    stalls: Family = field(default_factory=lambda: _family("open_stalls", "Sessions that are stalled now, summed."))
    regime: Family = field(
        default_factory=lambda: _family("pow_regime", "PoW regime of the roll-up: 0 good, 1 degraded, 2 bad.")
    )

    def all(self) -> Iterator[Family]:
        """All families."""
        yield from self.windows.values()
        yield from (self.users, self.active, self.stalls, self.regime)

    def add_windows(self, service: ServiceSnapshot, rows: Rows, snapshot: Snapshot, *, in_rules: bool) -> None:
        """Add the samples of each window; those that only rules need, if a rule uses the roll-up."""
        columns = columns_of(service.service, snapshot.quantiles)
        for length_s, distribution in service.distributions.items():
            window, rated = duration.text(length_s), np.flatnonzero(distribution.observations > 0)
            rated_rows = rows.take(rated)
            self.users.add(rated_rows, service.counts.users[length_s][rated], window=window)
            for attribute in _IN_WINDOW | (_IN_RULES if in_rules else {}):
                values: Numbers = getattr(distribution, attribute)[rated]
                self.windows[attribute].add(rated_rows, values, columns.get(attribute, PLAIN), window=window)

    def add_presence(self, service: ServiceSnapshot, rows: Rows, *, in_rules: bool) -> None:
        """Add the numbers of sessions; of silent sums too, if a rule uses the roll-up."""
        visible = np.flatnonzero(service.visible)
        # Alerts of Prometheus continue on a sum that is silent, but known.
        known = np.flatnonzero(~service.counts.free) if in_rules else visible
        self.active.add(rows.take(known), service.counts.active_sessions[known])
        self.stalls.add(rows.take(visible), service.counts.open_stalls[visible])

    def add_regimes(self, service: ServiceSnapshot, rows: Rows, detections: Detections, key: RollUpKey) -> None:
        """Add the regimes that are known."""
        regimes = detections.of_roll_ups.get(key, {}).get(service.service.name)
        if regimes is not None:
            size = len(regimes.regime)
            known: Ints = np.flatnonzero(regimes.known & service.visible[:size])
            self.regime.add(rows.take(known), regimes.regime[known])

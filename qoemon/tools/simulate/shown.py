"""Measures of what simulated viewers are shown, of services that rate them together with stalls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from qoemon.core.qoe.mapping import QosMapping

Measures = Mapping[str, float]

TARGETS = (2.5, 3.5, 4.2, 4.6)
"""MOS of what is shown without stalls, the worst first: steps of a ladder of bitrates."""


def ladder(quality: QosMapping) -> Sequence[Measures]:
    """The measures of each step: those whose quality is nearest to that of TARGETS.

    All inputs have one value, such as two scores of 4. It is looked for from 0.01 to 100,000, evenly on a
    logarithmic scale, as the range of a measure is not known.
    """
    values = np.round(np.geomspace(0.01, 1e5, 20_001), 3)
    mos = quality(*(values for _ in quality.inputs))
    nearest = [float(values[np.argmin(np.abs(mos - target))]) for target in TARGETS]
    return [dict.fromkeys(quality.inputs, value) for value in nearest]


def step_of(session: int, stalls: int) -> int:
    """The step that a session is shown: each viewer has an own one, and a player that stalls goes a step down."""
    return max(1 + session % (len(TARGETS) - 1) - (stalls > 0), 0)

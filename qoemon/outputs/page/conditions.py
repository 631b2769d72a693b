"""What happened to a group's sessions, as few enough classes to be read: sums of the bins of its QoS histogram."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from qoemon.core.arrays import Counts, Floats, Ints
from qoemon.core.plan.plan import Service
from qoemon.core.qoe.bins import Axis
from qoemon.core.qoe.mapping import Qos

STALL_ENDS = {"n": (0, 1, 2, 3, 5, 9, 19), "t": (0, 1, 2, 5, 10, 20, 30, 60)}
"""Where classes of stalls and of stall seconds end; all of them are ends of bins."""

RESPONSE_STEP = 0.1
"""Decades that a class of response times spans: 26 %."""
RESPONSE_DECADES = (-2, 2)

_NAMES = {"n": "stalls", "t": "stall time", "x": "response time"}


def conditions(service: Service, counts: Counts) -> dict[str, Any] | None:
    """The histogram of one group, (B,) counts of the base window, in classes; None of measures, which have no bins.

    axes    name, unit and a label a class
    counts  nested as the axes are
    """
    axes = service.bins.axes
    if service.mapping.qos is Qos.MEASURES:
        return None
    classes = [_classes(axis) for axis in axes]
    cube = counts.reshape([len(axis.values) for axis in axes])
    for into, labels in classes:
        # Sums over the first axis, and puts its classes last: after all axes they are in order again.
        cube = np.tensordot(cube, np.eye(len(labels), dtype=np.int64)[into], axes=(0, 0))
    told = zip(axes, classes, strict=True)
    return {
        "axes": [{"name": _NAMES[axis.name], "unit": axis.unit, "labels": labels} for axis, (_, labels) in told],
        "counts": cube.tolist(),
    }


def _classes(axis: Axis) -> tuple[Ints, list[str]]:
    """The class of each bin, and what the classes are called."""
    if axis.name in STALL_ENDS:
        ends = np.array(STALL_ENDS[axis.name], np.float64)
        labels = _counted(ends) if axis.name == "n" else _measured(ends)
    else:
        first, last = RESPONSE_DECADES
        ends = 10.0 ** np.arange(first, last + RESPONSE_STEP / 2, RESPONSE_STEP)
        labels = _measured(ends)
    # The end of a bin is that of its class, but for rounding.
    return np.searchsorted(ends, axis.upper * (1 - 1e-9)), labels


def _counted(ends: Floats) -> list[str]:
    """Classes of whole numbers."""
    whole = [int(end) for end in ends]
    begins = [0, *(end + 1 for end in whole)]
    inner = [f"{a}" if a == b else f"{a}–{b}" for a, b in zip(begins, whole, strict=False)]
    return [*inner, f"{begins[-1]}+"]


def _measured(ends: Floats) -> list[str]:
    """Classes of lengths, each open below and closed above."""
    told = [f"{float(f'{end:.2g}'):g}" for end in ends]
    inner = [f"{a}–{b}" for a, b in pairwise(told)]
    return [told[0] if ends[0] == 0 else f"≤{told[0]}", *inner, f">{told[-1]}"]

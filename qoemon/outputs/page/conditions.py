"""The QoS histogram of a group in a few readable classes: sums of its bins."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from qoemon.core.arrays import Counts, Floats, Ints
from qoemon.core.plan.plan import Service
from qoemon.core.qoe.bins import Axis
from qoemon.core.qoe.mapping import Qos

STALL_ENDS = {"n": (0, 1, 2, 3, 5, 9, 19), "t": (0, 1, 2, 5, 10, 20, 30, 60)}
"""Upper ends of the classes of stalls and of stall seconds; each is the end of a bin."""

RESPONSE_STEP = 0.1
"""Width of a class of response times in decades: 26 %."""
RESPONSE_DECADES = (-2, 2)

_NAMES = {"n": "stalls", "t": "stall time", "x": "response time"}


def conditions(service: Service, counts: Counts) -> dict[str, Any] | None:
    """The histogram of one group in classes; None for measures, which have no bins.

    counts   (B,) of the base window
    returns  axes, each with name, unit and a label per class; counts, nested in the order of the axes
    """
    axes = service.bins.axes
    if service.mapping.qos is Qos.MEASURES:
        return None
    classes = [_classes(axis) for axis in axes]
    cube = counts.reshape([len(axis.values) for axis in axes])
    for class_of_bin, labels in classes:
        # Sums the bins of the first axis into classes and moves it last: after all axes the order is restored.
        cube = np.tensordot(cube, np.eye(len(labels), dtype=np.int64)[class_of_bin], axes=(0, 0))
    labelled = zip(axes, classes, strict=True)
    return {
        "axes": [
            {"name": _NAMES[axis.name], "unit": axis.unit, "labels": labels} for axis, (_, labels) in labelled
        ],
        "counts": cube.tolist(),
    }


def _classes(axis: Axis) -> tuple[Ints, list[str]]:
    """The class of each bin, and the labels of the classes."""
    if axis.name in STALL_ENDS:
        ends = np.array(STALL_ENDS[axis.name], np.float64)
        labels = _count_labels(ends) if axis.name == "n" else _range_labels(ends)
    else:
        first, last = RESPONSE_DECADES
        ends = 10.0 ** np.arange(first, last + RESPONSE_STEP / 2, RESPONSE_STEP)
        labels = _range_labels(ends)
    # Ends of bins equal ends of classes up to rounding.
    return np.searchsorted(ends, axis.upper * (1 - 1e-9)), labels


def _count_labels(ends: Floats) -> list[str]:
    """Labels of classes of whole numbers."""
    whole = [int(end) for end in ends]
    begins = [0, *(end + 1 for end in whole)]
    inner = [f"{a}" if a == b else f"{a}–{b}" for a, b in zip(begins, whole, strict=False)]
    return [*inner, f"{begins[-1]}+"]


def _range_labels(ends: Floats) -> list[str]:
    """Labels of classes of real numbers, each open below and closed above."""
    texts = [f"{float(f'{end:.2g}'):g}" for end in ends]
    inner = [f"{a}–{b}" for a, b in pairwise(texts)]
    return [texts[0] if ends[0] == 0 else f"≤{texts[0]}", *inner, f">{texts[-1]}"]

"""Classes of conditions: every session is in the class whose label contains its value."""

from __future__ import annotations

import re

import numpy as np
import pytest

from qoemon.core.plan.plan import Service
from qoemon.core.qoe.bins import response_bin, stall_bin
from qoemon.core.qoe.mapping import MAPPINGS, Qos
from qoemon.outputs.page.conditions import conditions
from tests.support.core import VIDEO, WEB


def holds(label: str, value: float, *, whole: bool) -> bool:
    """Whether the range in a label contains a value; its ends are rounded to two digits."""
    if label.startswith("≤"):
        return value <= float(label[1:]) * 1.01
    if label.startswith(">"):
        return value > float(label[1:]) * 0.99
    if label.endswith("+"):
        return value >= float(label[:-1])
    if match := re.fullmatch(r"([\d.]+)–([\d.]+)", label):
        low, high = map(float, match.groups())
        return low <= value <= high if whole else low * 0.98 < value <= high * 1.02
    return value == float(label)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 5, 6, 9, 10, 19, 20, 300])
@pytest.mark.parametrize("t", [0, 0.4, 1, 1.01, 2, 4.5, 30, 59.9, 60, 61, np.inf])
def test_a_session_is_in_the_classes_of_its_stalls(n: float, t: float) -> None:
    counts = np.bincount(stall_bin(np.array([float(n)]), np.array([t])), minlength=VIDEO.bins.size)
    classes = conditions(VIDEO, counts)
    assert classes is not None
    ((x, y),) = np.argwhere(np.array(classes["counts"]))
    stalls, length = classes["axes"]
    assert holds(stalls["labels"][x], n, whole=True)
    assert holds(length["labels"][y], t, whole=False)


@pytest.mark.parametrize("seconds", [0.0005, 0.01, 0.0101, 0.35, 1.0, 1.2, 2.1, 9.7, 99, 150, 1000])
def test_a_response_is_in_the_class_of_its_time(seconds: float) -> None:
    counts = np.bincount(response_bin(np.array([seconds])), minlength=WEB.bins.size)
    classes = conditions(WEB, counts)
    assert classes is not None
    (place,) = np.flatnonzero(classes["counts"])
    assert holds(classes["axes"][0]["labels"][place], seconds, whole=False)


def test_every_session_is_counted_and_every_class_has_a_unique_label() -> None:
    for service in (VIDEO, WEB):
        counts = np.random.default_rng(3).poisson(1, service.bins.size)
        classes = conditions(service, counts)
        assert classes is not None
        assert np.sum(classes["counts"]) == counts.sum()
        assert np.shape(classes["counts"]) == tuple(len(set(axis["labels"])) for axis in classes["axes"])


def test_measures_have_no_classes() -> None:
    mapping = next(mapping for mapping in MAPPINGS.values() if mapping.qos is Qos.MEASURES)
    service = Service("m", mapping, 0.2)
    assert conditions(service, np.zeros(service.bins.size, np.int64)) is None

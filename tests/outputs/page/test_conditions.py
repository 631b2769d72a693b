"""Classes of conditions: every session in the class that its label says."""

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
    """Whether a label, read as a person reads it, takes in a value; its ends are rounded to two digits."""
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
def test_a_session_is_in_the_classes_that_hold_its_stalls(n: float, t: float) -> None:
    counts = np.bincount(stall_bin(np.array([float(n)]), np.array([t])), minlength=VIDEO.bins.size)
    told = conditions(VIDEO, counts)
    assert told is not None
    ((x, y),) = np.argwhere(np.array(told["counts"]))
    stalls, length = told["axes"]
    assert holds(stalls["labels"][x], n, whole=True)
    assert holds(length["labels"][y], t, whole=False)


@pytest.mark.parametrize("seconds", [0.0005, 0.01, 0.0101, 0.35, 1.0, 1.2, 2.1, 9.7, 99, 150, 1000])
def test_a_response_is_in_the_class_that_holds_it(seconds: float) -> None:
    counts = np.bincount(response_bin(np.array([seconds])), minlength=WEB.bins.size)
    told = conditions(WEB, counts)
    assert told is not None
    (place,) = np.flatnonzero(told["counts"])
    assert holds(told["axes"][0]["labels"][place], seconds, whole=False)


def test_nobody_is_lost_and_every_class_has_a_name_of_its_own() -> None:
    for service in (VIDEO, WEB):
        counts = np.random.default_rng(3).poisson(1, service.bins.size)
        told = conditions(service, counts)
        assert told is not None
        assert np.sum(told["counts"]) == counts.sum()
        assert np.shape(told["counts"]) == tuple(len(set(axis["labels"])) for axis in told["axes"])


def test_measures_have_none() -> None:
    mapping = next(mapping for mapping in MAPPINGS.values() if mapping.qos is Qos.MEASURES)
    service = Service("m", mapping, 0.2)
    assert conditions(service, np.zeros(service.bins.size, np.int64)) is None

"""Conditions such as `pow > .2` under which a command fails, for pipelines."""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from qoemon.core.qoe.distribution import Distribution

METRICS = ("mos", "gob", "pow")
OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

_CONDITION = re.compile(r"\s*(\w+)\s*([<>]=?)\s*(\d+(?:\.\d*)?|\.\d+)\s*")


class FailIfError(ValueError):
    """A text that is no condition; the message says what was expected."""


@dataclass(frozen=True)
class Condition:
    """A metric, a comparison, and a threshold: a share for gob and pow, scale points for mos."""

    metric: str
    comparison: str
    threshold: float

    def __str__(self) -> str:
        return f"{self.metric} {self.comparison} {self.threshold:g}"

    def holds(self, figures: Mapping[str, float]) -> bool:
        """Whether the figure of the metric is beyond the threshold."""
        return OPERATORS[self.comparison](figures[self.metric], self.threshold)


def conditions(texts: Sequence[str]) -> tuple[Condition, ...]:
    """The conditions in the texts; FailIfError names the first that is none."""
    return tuple(map(_condition, texts))


def failures(wanted: Sequence[Condition], service: str, figures: Mapping[str, float]) -> Iterator[str]:
    """A sentence for each condition that holds for the figures of a service, by metric."""
    for condition in wanted:
        if condition.holds(figures):
            yield f"{service}: {condition.metric} is {figures[condition.metric]:.4g}, and --fail-if is {condition}"


def figures_of(distribution: Distribution) -> dict[str, float]:
    """The figures of the only group of a distribution, by metric."""
    return {metric: float(getattr(distribution, metric)[0]) for metric in METRICS}


def _condition(text: str) -> Condition:
    match = _CONDITION.fullmatch(text)
    if match is None or match[1] not in METRICS:
        raise FailIfError(
            f"--fail-if: found {text!r}, expected {', '.join(METRICS[:-1])} or {METRICS[-1]}, one of "
            f"{' '.join(OPERATORS)}, and a number, such as 'pow > .2'"
        )
    threshold = float(match[3])
    if match[1] != "mos" and threshold > 1:
        raise FailIfError(f"--fail-if: found {text!r}, expected a share from 0 to 1, such as 0.2 for 20 %")
    return Condition(match[1], match[2], threshold)

"""Tallies on their way to the parent: only the cells that are not zero, and nothing that it has already.

Of 1,000 groups a tally is 13 MB, nearly all of it zeros; and the longer windows change once a rating interval.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from qoemon.core.arrays import Counts, Ints
from qoemon.core.counting.counts import ServiceCounts


class Cells(NamedTuple):
    """An array of counts as the cells, counted flat, that are not zero."""

    shape: tuple[int, ...]
    cells: Ints
    counts: Ints


@dataclass(frozen=True)
class ThinTally:
    """A tally without its large arrays, and those: None is what it was before."""

    rest: ServiceCounts
    windows: Mapping[int, Cells | None]
    qos: Cells | None
    marginals: tuple[Cells | None, ...]


class Thinner:
    """The sender's end, of all tallies of one worker. It goes by identity: whoever counts makes new arrays."""

    def __init__(self) -> None:
        self._sent: dict[tuple[str, str], Counts] = {}

    def thin(self, tallies: Sequence[ServiceCounts]) -> tuple[ThinTally, ...]:
        """What the other end needs to know."""
        return tuple(map(self._thin, tallies))

    def _thin(self, tally: ServiceCounts) -> ThinTally:
        nothing = np.zeros((0, 0), np.int64)
        return ThinTally(
            rest=replace(tally, windows={}, qos=nothing, marginals=()),
            windows={length: self._news(tally, str(length), counts) for length, counts in tally.windows.items()},
            qos=self._news(tally, "qos", tally.qos),
            marginals=tuple(self._news(tally, f"axis {n}", axis) for n, axis in enumerate(tally.marginals)),
        )

    def _news(self, tally: ServiceCounts, name: str, counts: Counts) -> Cells | None:
        if self._sent.get((tally.service, name)) is counts:
            return None
        self._sent[tally.service, name] = counts
        cells = np.flatnonzero(counts)
        return Cells(counts.shape, _small(cells), _small(counts.ravel()[cells]))


class Thickener:
    """The receiver's end, of all tallies of one worker since it began: none may be left out, wanted or not."""

    def __init__(self) -> None:
        self._had: dict[tuple[str, str], Counts] = {}
        self._come: deque[Sequence[ThinTally]] = deque()

    def put(self, tallies: Sequence[ThinTally]) -> None:
        """What has come; to be made whole when it is time."""
        self._come.append(tallies)

    def newest(self) -> tuple[ServiceCounts, ...]:
        """What the other end had when it sent the last; an array that has not changed is the same as before."""
        whole: tuple[ServiceCounts, ...] = ()
        while self._come:
            whole = tuple(map(self._thick, self._come.popleft()))
        return whole

    def _thick(self, thin: ThinTally) -> ServiceCounts:
        service = thin.rest.service
        return replace(
            thin.rest,
            windows={length: self._whole(service, str(length), cells) for length, cells in thin.windows.items()},
            qos=self._whole(service, "qos", thin.qos),
            marginals=tuple(self._whole(service, f"axis {n}", axis) for n, axis in enumerate(thin.marginals)),
        )

    def _whole(self, service: str, name: str, news: Cells | None) -> Counts:
        if news is not None:
            counts = np.zeros(news.shape, np.int64)
            counts.ravel()[news.cells] = news.counts
            self._had[service, name] = counts
        return self._had[service, name]


def _small(numbers: Ints) -> Ints:
    """The same in fewer bytes, if they fit."""
    fits = not len(numbers) or (numbers.min() >= 0 and numbers.max() < 2**32)
    return numbers.astype(np.uint32) if fits else numbers

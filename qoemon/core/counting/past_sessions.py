"""The last conditions of sessions that are over, for as long as their users may still rate them.

A session is a number of 64 bits made of its id, a time and a condition: 20 bytes, where the id alone takes a
hundred. With a million sessions of eight minutes, and five minutes to rate, that is 12 MB.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qoemon.core.arrays import Arrays, Floats, Ints
from qoemon.core.counting.feedback_counts import DAY_S

_PRIME = np.uint64(0x9E3779B97F4A7C15)
_WORD = 8


class _Part(NamedTuple):
    """Sessions that were removed together, by their digests, ascending; of equal ones, the newest is last."""

    digest: NDArray[np.uint64]
    last_s: Floats
    condition: NDArray[np.int32]


class PastSessions:
    """Sessions for `within_s` after their last reports."""

    def __init__(self, within_s: float) -> None:
        self._within_s = within_s
        self._parts: list[_Part] = []
        """In the order in which they were added."""

    def __len__(self) -> int:
        return sum(len(part.digest) for part in self._parts)

    def add(self, sessions: Sequence[str], last_s: Floats, condition: Ints) -> None:
        """Remember the last reports and conditions of these sessions, (N,) each."""
        if not len(sessions):
            return
        digest = digests(sessions)
        order = np.lexsort((last_s, digest))
        self._parts.append(_Part(digest[order], last_s[order], condition[order].astype(np.int32)))

    def find(self, sessions: Sequence[str]) -> tuple[Floats, Ints]:
        """(N,) last report of each session, NaN where none is known, and (N,) its condition."""
        wanted = digests(sessions)
        last_s, condition = np.full(len(sessions), np.nan), np.full(len(sessions), -1)
        for part in self._parts:
            at = np.searchsorted(part.digest, wanted, side="right") - 1
            found = np.flatnonzero((at >= 0) & (part.digest[np.maximum(at, 0)] == wanted))
            newer = found[~(part.last_s[at[found]] < last_s[found])]
            last_s[newer], condition[newer] = part.last_s[at[newer]], part.condition[at[newer]]
        return last_s, condition

    def forget(self, now_s: float) -> None:
        """Forget the sessions that may no longer be rated."""
        self._parts = [part for part in self._parts if part.last_s.max() + self._within_s > now_s]

    def shift(self, by_s: int) -> None:
        """Move all times by so many seconds.

        Sessions whose day would be another are forgotten: they have been counted on the day that they had.
        """
        parts = []
        for part in self._parts:
            kept = part.last_s // DAY_S == (part.last_s + by_s) // DAY_S
            if kept.any():
                parts.append(_Part(part.digest[kept], part.last_s[kept] + by_s, part.condition[kept]))
        self._parts = parts

    def dump(self) -> Arrays:
        """The whole state, as arrays by name."""
        sizes = np.array([len(part.digest) for part in self._parts], np.int64)
        kinds = zip(_Part._fields, (np.uint64, np.float64, np.int32), strict=True)
        columns = {
            name: np.concatenate([*(getattr(part, name) for part in self._parts), np.zeros(0, kind)])
            for name, kind in kinds
        }
        return {"sizes": sizes, **columns}

    def load(self, state: Arrays) -> None:
        """Restore a dump()."""
        ends = np.cumsum(state["sizes"])[:-1]
        columns = [np.split(state[name], ends) for name in _Part._fields]
        self._parts = [_Part(*part) for part in zip(*columns, strict=True) if len(part[0])]


def digests(texts: Sequence[str]) -> NDArray[np.uint64]:
    """(N,) a number of 64 bits for each text, the same in every process."""
    if not texts:
        return np.zeros(0, np.uint64)
    encoded = [text.encode(errors="surrogatepass") for text in texts]
    lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
    width = int(lengths.max(initial=1) + _WORD - 1) // _WORD * _WORD
    words = np.frombuffer(b"".join(text.ljust(width, b"\0") for text in encoded), "<u8").reshape(len(texts), -1)
    digest = _mixed(lengths.astype(np.uint64))
    for place, word in enumerate(words.T):
        # What follows the text depends on the longest of the others.
        digest = np.where(place * _WORD < lengths, _mixed(digest ^ word), digest)
    return digest


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Each number as another one, so that close ones are far apart (splitmix64)."""
    numbers = numbers + _PRIME
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))

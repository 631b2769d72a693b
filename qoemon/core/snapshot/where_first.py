"""Where to look first: the combination of label values that best explains the excess poor ratings of a service.

Each combination, such as cdn=b, or region=eu and cdn=b, divides the users into those inside and those outside. The
best one is that which says most about who rates poor because of impairments: it has the highest log-likelihood
ratio of two rates of such ratings, one inside and one outside, against one rate for all. This is the scan statistic
of Kulldorff 1997 (A spatial scan statistic, Bernoulli model), and the information gain of a decision tree: it is
high for a combination that holds most of the excess poor ratings, but few users who are well. Of nearly equal
combinations the one with fewer labels is preferred.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import log

import numpy as np

from qoemon.core.arrays import Flags, Floats, Ints
from qoemon.core.counting.groups import Labels

SHORTER = 0.9
"""The ratio of a combination counts this much less for each label after the first."""

CHANCE = 0.01
"""A combination is named if one as good appears by chance in at most this share of ticks, of all combinations."""

TIMES_AS_MANY = 2.0
"""A combination is named if its users rate poor for impairments at least this many times as often as the others."""

EVERYWHERE = 0.05
"""From this share of users who rate poor for impairments, it is reported that no combination stands out."""


@dataclass(frozen=True)
class WhereFirst:
    """The labels to look at first; empty if the service is affected everywhere.

    labels        values by label
    excess_share  share of the service's excess poor ratings that these groups have
    users_share   share of the service's users in them, base window
    """

    labels: Mapping[str, str]
    excess_share: float
    users_share: float


def where_first(
    names: Sequence[str], groups: Sequence[Labels], excess: Floats, ratings: Ints | Floats, users: Ints
) -> WhereFirst | None:
    """The labels that best explain the excess poor ratings; None if there are hardly any.

    names    names of the labels
    groups   label values, one tuple a group
    excess   (G,) ratings that are poor or worse because of impairments, at most `ratings`
    ratings  (G,) of a window
    users    (G,) distinct sessions behind them
    """
    rated = np.flatnonzero(ratings > 0)
    total = float(excess[rated].sum())
    if not total > 0:
        return None
    cube = _Cube(names, [groups[at] for at in rated.tolist()], excess[rated], ratings[rated].astype(np.float64))
    best = cube.best(float(users[rated].sum()) / float(ratings[rated].sum()))
    if best is not None:
        inside = rated[best.inside]
        return WhereFirst(
            labels={names[place]: groups[inside[0]][place] for place in best.places},
            excess_share=float(excess[inside].sum()) / total,
            users_share=float(users[inside].sum()) / float(users[rated].sum()),
        )
    if total >= EVERYWHERE * float(ratings[rated].sum()):
        return WhereFirst({}, 1.0, 1.0)
    return None


@dataclass(frozen=True)
class _Found:
    """A combination: the places of its labels, and (G,) which groups have its values."""

    places: tuple[int, ...]
    inside: Flags


class _Cube:
    """All combinations of the labels of G groups with ratings.

    excess, ratings  (G,), excess at most ratings
    """

    def __init__(self, names: Sequence[str], groups: Sequence[Labels], excess: Floats, ratings: Floats) -> None:
        self._excess, self._ratings = np.minimum(excess, ratings), ratings
        self._all = float(self._excess.sum()), float(ratings.sum())
        columns = [np.unique(values, return_inverse=True)[1] for values in zip(*groups, strict=True)]
        # A label with a single value divides nothing.
        self._codes: dict[int, Ints] = {at: codes for at, codes in enumerate(columns) if codes.any()}

    def best(self, users_a_rating: float) -> _Found | None:
        """The best combination; None if chance explains it, or if its users are hardly worse off than the others.

        users_a_rating  several ratings of one user are no independent evidence
        """
        best: _Found | None = None
        # Many combinations are compared, and the best of them is high by chance (Bonferroni).
        least = log(max(self._number(), 1) / CHANCE) / users_a_rating
        for places, code, open_ in self._walk():
            size = int(code.max()) + 1
            excess: Floats = np.bincount(code, self._excess, size).astype(np.float64)
            ratings: Floats = np.bincount(code, self._ratings, size).astype(np.float64)
            score = np.where(self._stands_out(excess, ratings), self._ratio(excess, ratings), 0.0)
            score *= SHORTER ** (len(places) - 1)
            at = int(np.argmax(score))
            if score[at] > least:
                least, best = float(score[at]), _Found(places, code == at)
            # Combinations inside one are at most as good as if they had all its excess, and nobody who is well.
            most = self._ratio(excess, excess) * SHORTER ** len(places)
            np.logical_and(open_, (most > least)[code], out=open_)
        return best

    def _number(self) -> int:
        """Number of combinations of values that a label, or none, may have, at most."""
        cells = 1
        for codes in self._codes.values():
            cells *= int(codes.max()) + 2
        subsets = (1 << len(self._codes)) - 1
        return min(cells - 1, subsets * len(self._ratings))

    def _walk(self) -> Iterator[tuple[tuple[int, ...], Ints, Flags]]:
        """For each set of labels, fewest first: its places, (G,) the combination that each group is in, and flags.

        The caller clears the flags (G,) of groups whose combination need not be refined. Sets whose groups are all
        out are not walked.
        """
        everyone = np.ones(len(self._ratings), np.bool_)
        opened: dict[tuple[int, ...], tuple[Ints, Flags]] = {(): (np.zeros(len(everyone), np.int64), everyone)}
        for length in range(1, len(self._codes) + 1):
            before, opened = opened, {}
            for places in combinations(self._codes, length):
                parents = [places[:at] + places[at + 1 :] for at in range(length)]
                if not all(parent in before for parent in parents):
                    continue
                open_ = np.logical_and.reduce([before[parent][1] for parent in parents])
                if not open_.any():
                    continue
                codes = self._codes[places[-1]]
                # Renumbered, so that codes stay as few as there are groups.
                code = np.unique(before[places[:-1]][0] * (int(codes.max()) + 1) + codes, return_inverse=True)[1]
                yield places, code, open_
                if open_.any():
                    opened[places] = code, open_

    def _stands_out(self, excess: Floats, ratings: Floats) -> Flags:
        """Whether so much excess in so many ratings is a rate of several times that outside."""
        total, all_ratings = self._all
        outside = (total - excess) / np.maximum(all_ratings - ratings, 1e-9)
        return np.asarray((excess / ratings >= TIMES_AS_MANY * outside) & (ratings < all_ratings))

    def _ratio(self, excess: Floats, ratings: Floats) -> Floats:
        """The log-likelihood ratio of two rates against one.

        source  Kulldorff 1997, Communications in Statistics 26 (6), Bernoulli model
        """
        total, all_ratings = self._all
        inside = _entropy(excess, ratings) + _entropy(total - excess, all_ratings - ratings)
        return np.asarray(_entropy(np.array(total), np.array(all_ratings)) - inside)


def _entropy(some: Floats, of: Floats) -> Floats:
    """Negative log-likelihood of some of so many, at the rate that is most likely."""
    some, of = np.maximum(some, 0), np.maximum(of, 0)
    rest = np.maximum(of - some, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = [np.where(part > 0, part * np.log(part / of), 0.0) for part in (some, rest)]
    return np.asarray(-(parts[0] + parts[1]))

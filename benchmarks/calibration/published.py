"""Published studies of whole ratings, in tests/data/studies: what holds there of the claims of theta."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from benchmarks.calibration.row import Row
from qoemon.config.studies.ratings import Ratings
from qoemon.tools.calibrate import sos
from qoemon.tools.calibrate.goodness import choose, goodness_of_theta

STUDIES = Path(__file__).parents[2] / "tests/data/studies"
LISTS = ("nflx_public_ratings", "vqeghd3_ratings")
"""Files of a row for each rating, whose users are not known."""
MATRICES = ("p913_wide_matrix", "p913_wide_matrix_nan", "qoem_discreteRatings")
"""Files of a row for each condition and a column for each user."""

SPLITS, HELD = 40, 28
"""Halves of the users: two independent estimates are within one's 95 % interval in 83 % of cases, 33 of 40."""

MOST_OVER_FLOOR = 1.6
"""Errors of GoB and PoW are near their noise floor: at most this many times as large."""


def published() -> Mapping[str, Ratings]:
    """The ratings of each file by its name."""
    return {name: _list(name) for name in LISTS} | {name: _matrix(name) for name in MATRICES}


def rows() -> Iterator[Row]:
    """Print errors of GoB and PoW with the theta of ratings and that of opinions; yield what has a bar."""
    print("\npublished studies: mean absolute error of GoB and PoW with the theta of ratings, and of opinions")
    print("(the fragment has the latter), its bias and its noise floor; error of left-out shares by rating model\n")
    print("| file | of ratings | of opinions | GoB | GoB | PoW | PoW | bias | floor | beta, binomial, empirical |")
    print(f"|{'---|' * 10}")
    studies = published()
    for name, ratings in studies.items():
        found = sos.estimate(ratings)
        before, after = (goodness_of_theta(ratings, theta) for theta in (found.theta, found.of_opinions.value))
        choice = choose(ratings)
        assert before is not None and after is not None and choice is not None, "ratings are whole"  # noqa: PT018
        shares = f"{before.gob.mean:.4f} | {after.gob.mean:.4f} | {before.pow.mean:.4f} | {after.pow.mean:.4f}"
        about = f"{after.gob.bias:+.3f}, {after.pow.bias:+.3f} | {after.gob.floor:.3f}, {after.pow.floor:.3f}"
        models = f"{', '.join(f'{each:.4f}' for each in choice.errors.values())} ({choice.best})"
        thetas = f"{found.theta:.3f} | {found.of_opinions.value:.3f}"
        print(f"| {name} | {thetas} | {shares} | {about} | {models} |", flush=True)
        for of in ("gob", "pow"):
            old, new = getattr(before, of), getattr(after, of)
            yield Row(
                f"{of} of {name}: error with the theta of opinions over that of ratings",
                new.mean / old.mean,
                most=0.999,
            )
            yield Row(f"{of} of {name}: error over its noise floor", new.mean / new.floor, most=MOST_OVER_FLOOR)
    for name in MATRICES[:1]:
        yield Row(
            f"halves of the users of {name}: within the interval of the other, of {SPLITS}",
            halves(studies[name]),
            HELD,
        )


def halves(ratings: Ratings) -> int:
    """How many of SPLITS random halves of the users have an interval that holds theta of the other half."""
    assert ratings.user is not None, "a matrix says who rated"
    rng = np.random.default_rng(1)
    users, held = int(ratings.user.max()) + 1, 0
    for _ in range(SPLITS):
        half = np.isin(ratings.user, rng.permutation(users)[: users // 2])
        one, other = (sos.estimate(_part(ratings, each), resamples=1000) for each in (half, ~half))
        held += one.interval[0] <= other.theta <= one.interval[1]
    return held


def _part(ratings: Ratings, which: np.ndarray) -> Ratings:
    """The ratings that are marked; conditions without any are left out."""
    assert ratings.user is not None, "see above"
    there, condition = np.unique(ratings.condition[which], return_inverse=True)
    names = tuple(ratings.names[at] for at in there)
    return Ratings(ratings.low, ratings.high, names, condition, ratings.rating[which], ratings.user[which])


def _list(name: str) -> Ratings:
    cells = np.loadtxt(STUDIES / f"{name}.csv", delimiter=",", dtype=str, skiprows=1)
    names, condition = np.unique(cells[:, 0], return_inverse=True)
    return Ratings(1, 5, tuple(names.tolist()), condition, cells[:, 1].astype(np.float64))


def _matrix(name: str) -> Ratings:
    cells = np.genfromtxt(STUDIES / f"{name}.csv", delimiter=",")
    condition, user = np.nonzero(np.isfinite(cells))
    return Ratings(1, 5, tuple(map(str, range(1, len(cells) + 1))), condition, cells[condition, user], user)

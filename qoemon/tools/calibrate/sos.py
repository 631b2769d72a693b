"""Estimates the SOS parameter of a study: how far its ratings spread around their mean."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text
from scipy.special import ndtri

from qoemon.config.studies.ratings import Moments, Ratings
from qoemon.config.studies.study import StudyError
from qoemon.tools.calibrate.fragment import fragment, settings_of, unusable
from qoemon.tools.calibrate.goodness import Choice, Goodness, choose, goodness_of_theta
from qoemon.tools.calibrate.opinions import is_rounded, scale_of, theta_of_opinions
from qoemon.tools.calibrate.parabola import CentralMoments, beta_moments, moments, slope, standard_error
from qoemon.tools.calibrate.resampling import clipped, interval_of_ratings, interval_of_users

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qoemon.core.arrays import Floats, Ints

RESAMPLES = 2000
"""With this many, another seed moves the ends of the interval by some 2 % of its width."""

FEW_RATINGS, FEW_USERS = 6, 10
"""Below these, theta and its interval are too uncertain to be used without a warning."""


class Basis(StrEnum):
    """What was resampled for the interval, or was not."""

    USERS = "users"
    RATINGS = "ratings"
    MOMENTS = "moments"

    @property
    def text(self) -> str:
        """How the interval was made, as words after it."""
        return {
            Basis.USERS: "users resampled",
            Basis.RATINGS: "as if each rating came from another user",
            Basis.MOMENTS: "from means and variances, as if each rating came from another user",
        }[self]


@dataclass(frozen=True)
class RatedCondition:
    """Mean and variance of a condition's ratings; the variance of a single rating is NaN.

    variance  of the ratings (ddof 1), scale points squared
    on_curve  the variance that theta gives at this MOS
    """

    name: str
    ratings: int
    mos: float
    variance: float
    on_curve: float


@dataclass(frozen=True)
class Theta:
    """An SOS parameter, dimensionless, and the lower and upper end of its confidence interval, between 0 and 1."""

    value: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Sos:
    """The SOS parameter with its confidence interval.

    of_ratings   theta of the ratings of the study
    of_opinions  theta of the opinions behind them, for the configuration; the same if they were not rounded
    rounded      whether the ratings are opinions that were rounded
    confidence   level of the intervals
    basis        what they stand on
    users        number of users; None if the study does not say who gave which rating
    rmse         of the variances around the parabola, scale points squared
    low, high    ends of the scale
    goodness     errors of GoB and PoW with the theta of opinions; None if the ratings are not whole
    choice       of the rating model; None if the ratings are not whole, or of too few conditions
    """

    of_ratings: Theta
    of_opinions: Theta
    rounded: bool
    confidence: float
    basis: Basis
    users: int | None
    rmse: float
    low: float
    high: float
    conditions: tuple[RatedCondition, ...]
    goodness: Goodness | None
    choice: Choice | None
    warnings: tuple[str, ...]

    @property
    def theta(self) -> float:
        """Theta of the ratings, dimensionless."""
        return self.of_ratings.value

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end of its confidence interval."""
        return self.of_ratings.interval

    @property
    def used(self) -> tuple[RatedCondition, ...]:
        """Conditions with at least two ratings, which have a variance."""
        return tuple(condition for condition in self.conditions if condition.ratings > 1)

    def as_dict(self) -> dict[str, Any]:
        """The estimate as plain types, for JSON."""
        return {
            "theta": self.theta,
            "interval": list(self.interval),
            "confidence": self.confidence,
            "interval_by": str(self.basis),
            "users": self.users,
            "rounded": self.rounded,
            "theta_of_opinions": self.of_opinions.value,
            "interval_of_opinions": list(self.of_opinions.interval),
            "rmse": self.rmse,
            "goodness": None if self.goodness is None else self.goodness.as_dict(),
            "rating_model": None if self.choice is None else self.choice.as_dict(),
            "scale": {"low": self.low, "high": self.high},
            "ratings": sum(condition.ratings for condition in self.conditions),
            "conditions": [
                {
                    "condition": each.name,
                    "ratings": each.ratings,
                    "mos": each.mos,
                    "variance": each.variance if each.ratings > 1 else None,
                    "on_curve": each.on_curve,
                }
                for each in self.conditions
            ],
            "warnings": list(self.warnings),
        }


def estimate(
    study: Ratings | Moments, confidence: float = 0.95, *, seed: int = 1, resamples: int = RESAMPLES
) -> Sos:
    """The SOS parameter of a study.

    confidence  in (0, 1)
    raises      StudyError if no condition has a spread; ValueError if the confidence is out of range
    source      Hossfeld, Schatz, Egger 2011, SOS: The MOS is not enough!; Hossfeld et al. 2020, (7)
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}, expected 0 < confidence < 1")
    size = sizes(study)
    if not np.any(size > 1):
        raise StudyError(
            "no condition has two ratings, and a single rating has no variance: if they are means, theta "
            "needs their standard deviation and number, sd and n"
        )
    of = moments(list(study.conditions.values())) if isinstance(study, Ratings) else beta_moments(study)
    theta = float(slope(of, study.low, study.high))
    if np.isnan(theta):
        raise StudyError(f"all users agree on {study.low:g} or {study.high:g}, where theta has no effect")
    basis = _basis(study)
    interval = _interval(study, of, theta, basis, confidence, np.random.default_rng(seed), resamples)
    of_ratings = Theta(theta, interval)
    conditions = _rated_conditions(study.names, of, theta, study.low, study.high)
    of_opinions = _of_opinions(study, of_ratings, of.mean[size > 1])
    users = _users(study) if basis is Basis.USERS else None
    return Sos(
        of_ratings=of_ratings,
        of_opinions=of_opinions,
        rounded=is_rounded(study),
        confidence=confidence,
        basis=basis,
        users=users,
        rmse=float(np.sqrt(np.nanmean([(each.variance - each.on_curve) ** 2 for each in conditions]))),
        low=study.low,
        high=study.high,
        conditions=conditions,
        goodness=goodness_of_theta(study, of_opinions.value) if isinstance(study, Ratings) else None,
        choice=choose(study) if isinstance(study, Ratings) else None,
        warnings=tuple(_warnings(of_ratings, of_opinions, basis, users, conditions)),
    )


def sizes(study: Ratings | Moments) -> Ints:
    """(C,) number of ratings of each condition."""
    if isinstance(study, Moments):
        return study.size
    return np.bincount(study.condition, minlength=len(study.names))


def _basis(study: Ratings | Moments) -> Basis:
    if isinstance(study, Moments):
        return Basis.MOMENTS
    return Basis.USERS if _users(study) > 1 else Basis.RATINGS


def _users(study: Ratings | Moments) -> int:
    """Number of users who are known to differ; 0 if the study does not say who gave which rating."""
    return 0 if isinstance(study, Moments) or study.user is None else len(np.unique(study.user))


def _interval(
    study: Ratings | Moments,
    of: CentralMoments,
    theta: float,
    basis: Basis,
    confidence: float,
    rng: np.random.Generator,
    resamples: int,
) -> tuple[float, float]:
    if isinstance(study, Moments):
        # There is nothing to resample: the delta method, with the kurtosis of a Beta.
        reach = float(ndtri((1 + confidence) / 2) * standard_error(of, np.array(theta), study.low, study.high))
        return (clipped(theta - reach, 0.0), clipped(theta + reach, 1.0)) if reach > 0 else (0.0, 1.0)
    if basis is Basis.USERS:
        return interval_of_users(study, confidence, rng, resamples)
    spread = [opinions for opinions in study.conditions.values() if len(opinions) > 1]
    return interval_of_ratings(spread, study.low, study.high, confidence, rng, resamples)


def _of_opinions(study: Ratings | Moments, of_ratings: Theta, mos: Floats) -> Theta:
    scale = scale_of(study.low, study.high)
    if scale is None or not is_rounded(study):
        return of_ratings
    lower, upper = of_ratings.interval
    # An end that is unknown stays unknown. Rounding adds to theta at every theta, so ends stay in order.
    return Theta(
        theta_of_opinions(of_ratings.value, mos, scale),
        (
            0.0 if lower == 0 else theta_of_opinions(lower, mos, scale),
            1.0 if upper == 1 else theta_of_opinions(upper, mos, scale),
        ),
    )


def _rated_conditions(
    names: Sequence[str], of: CentralMoments, theta: float, low: float, high: float
) -> tuple[RatedCondition, ...]:
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.where(of.size > 1, of.second * of.size / (of.size - 1), np.nan)
    on_curve = theta * (high - of.mean) * (of.mean - low)
    columns = zip(names, of.size, of.mean, variance, on_curve, strict=True)
    return tuple(RatedCondition(name, int(n), *map(float, figures)) for name, n, *figures in columns)


def _warnings(
    of_ratings: Theta, of_opinions: Theta, basis: Basis, users: int | None, conditions: Sequence[RatedCondition]
) -> Iterator[str]:
    single = [each.name for each in conditions if each.ratings == 1]
    several = [each.ratings for each in conditions if each.ratings > 1]
    if single:
        yield f"left out, since a single rating has no variance: {cut(single)}"
    if len(several) == 1:
        yield "a single condition has a variance: whether the others lie on the parabola is unknown"
    if np.median(several) < FEW_RATINGS:
        yield (
            f"half of the conditions have fewer than {FEW_RATINGS} ratings: theta is corrected for that, but "
            "may still be off by a hundredth; have each condition rated by 15 users or more"
        )
    if users is not None and users < FEW_USERS:
        yield f"there are {users} users only: the interval is that of so few people, and may be too narrow"
    if basis is Basis.RATINGS:
        yield (
            "the interval is valid only if each rating came from another user; if the same people rated several "
            "conditions, it is 2 to 4 times too narrow: add a column with the user of each rating"
        )
    if of_ratings.interval == (0, 1):
        yield "the ratings are too few, or too alike, for an interval"
    if not settings_of(of_opinions.value, of_opinions.interval):
        yield unusable(of_opinions.value)


MOST_NAMES = 10
"""Names that a warning lists; of more, it has the number."""


def cut(names: Sequence[str]) -> str:
    """The names as text, the first MOST_NAMES of them."""
    rest = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {rest:,} more" if rest > 0 else "")


def table(sos: Sos) -> Group:
    """The parameter as text and its conditions as a table, for rich."""
    used = sum(condition.ratings for condition in sos.used)
    users = "" if sos.users is None else f" by {sos.users:,} users"
    basis = (
        f"From {used:,} ratings{users} of {len(sos.used):,} condition{'s' * (len(sos.used) != 1)}, on a scale "
        f"from {sos.low:g} to {sos.high:g}. RMSE of the variances around the parabola: {sos.rmse:.2f}."
    )
    out = Table("Condition", box=box.SIMPLE_HEAD)
    for heading in ("Ratings", "MOS", "SOS", "Variance", "On the parabola"):
        out.add_column(heading, justify="right")
    for each in sos.conditions:
        spread = (f"{each.variance**0.5:.2f}", f"{each.variance:.2f}") if each.ratings > 1 else ("-", "-")
        out.add_row(Text(each.name), f"{each.ratings:,}", f"{each.mos:.2f}", *spread, f"{each.on_curve:.2f}")
    about = [Text(each.text) for each in (sos.goodness, sos.choice) if each is not None]
    return Group(Text(summary(sos)), Text(basis), *about, out, *(Text(f"Warning: {each}") for each in sos.warnings))


def summary(sos: Sos) -> str:
    """Theta of ratings and of opinions with their intervals, as a line for each."""
    level = f"{100 * sos.confidence:g} % interval"
    of_ratings = f"theta of ratings  {_text(sos.of_ratings, level)}, {sos.basis.text}"
    if not sos.rounded:
        return f"{of_ratings}\ntheta of opinions: the same, as the ratings are not whole numbers on few steps"
    return f"{of_ratings}\ntheta of opinions {_text(sos.of_opinions, level)}: for the configuration"


def _text(theta: Theta, level: str) -> str:
    lower, upper = theta.interval
    return f"{theta.value:.3f} ({level} {lower:.3f} to {upper:.3f})"


def yaml_fragment(sos: Sos, service: str, mapping: str) -> str:
    """The service's part of the configuration; a comment with the reason if this theta is not allowed there."""
    settings = settings_of(sos.of_opinions.value, sos.of_opinions.interval)
    if not settings:
        return f"# {unusable(sos.of_opinions.value)}\n"
    return fragment(service, {"mapping": mapping, **settings})

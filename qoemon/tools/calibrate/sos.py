"""Estimates the SOS parameter of a study: how far its ratings spread around their mean.

The hypothesis is one parabola for all conditions of a service, s² = θ (H - m)(m - L), where m is the mean of the
ratings of a condition and s² their variance, on a scale from L to H. θ is its least-squares slope.

Its confidence interval is a bootstrap within conditions: the conditions were chosen, the raters are a sample.
Percentiles of θ alone cover too little, since resampling shrinks s² by (n - 1) / n and θ spreads more where it is
larger; so the deviation in standard errors is resampled (bootstrap-t). benchmarks/theta_coverage.py measures its
coverage and that of the rejected alternatives.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import yaml
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from qoemon.config.studies.study import StudyError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qoemon.config.studies.ratings import Ratings
    from qoemon.core.arrays import Floats

RESAMPLES = 2000
"""With this many, another seed moves the ends of the interval by some 2 % of its width."""


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
class Sos:
    """The SOS parameter with its confidence interval.

    theta       dimensionless
    interval    lower and upper end, between 0 and 1
    confidence  level of the interval
    rmse        of the variances around the parabola, scale points squared
    low, high   ends of the scale
    """

    theta: float
    interval: tuple[float, float]
    confidence: float
    rmse: float
    low: float
    high: float
    conditions: tuple[RatedCondition, ...]
    warnings: tuple[str, ...]

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
            "rmse": self.rmse,
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


class Moments(NamedTuple):
    """Moments of C conditions, from which theta and its standard error follow; (..., C) each.

    size    ratings
    mean    scale points
    second, third, fourth  central moments (ddof 0), scale points to that power
    """

    size: Floats
    mean: Floats
    second: Floats
    third: Floats
    fourth: Floats


def estimate(ratings: Ratings, confidence: float = 0.95, *, seed: int = 1, resamples: int = RESAMPLES) -> Sos:
    """The SOS parameter of a study.

    confidence  in (0, 1)
    raises      StudyError if no condition has a spread; ValueError if the confidence is out of range
    source      Hossfeld, Schatz, Egger 2011, SOS: The MOS is not enough!; Hossfeld et al. 2020, (7)
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}, expected 0 < confidence < 1")
    spread = [opinions for opinions in ratings.conditions.values() if len(opinions) > 1]
    if not spread:
        raise StudyError("no condition has two ratings: a single rating has no variance")
    ends = ratings.low, ratings.high
    observed = moments(spread)
    theta = float(slope(observed, *ends))
    if np.isnan(theta):
        raise StudyError(f"all users agree on {ratings.low:g} or {ratings.high:g}, where theta has no effect")
    conditions = tuple(_rated_condition(name, each, theta, *ends) for name, each in ratings.conditions.items())
    interval = bootstrap_t(spread, *ends, confidence, np.random.default_rng(seed), resamples)
    return Sos(
        theta=theta,
        interval=interval,
        confidence=confidence,
        rmse=float(np.sqrt(np.nanmean([(each.variance - each.on_curve) ** 2 for each in conditions]))),
        low=ratings.low,
        high=ratings.high,
        conditions=conditions,
        warnings=tuple(_warnings(theta, interval, conditions)),
    )


def moments(ratings: Sequence[Floats]) -> Moments:
    """The moments of each condition, (C,), from its ratings, (n,)."""
    resampled = [_moments(np.ones((1, len(each))), each) for each in ratings]
    return Moments(*np.concatenate(resampled, axis=2)[:, 0])


def slope(of: Moments, low: float, high: float, ddof: int = 1) -> Floats:
    """Least-squares SOS parameter of studies, (...); NaN where all users agree on an end of the scale."""
    parabola = (high - of.mean) * (of.mean - low)
    variance = of.second * of.size / (of.size - ddof)
    with np.errstate(invalid="ignore"):
        return np.asarray((parabola * variance).sum(axis=-1) / (parabola**2).sum(axis=-1))


def standard_error(of: Moments, theta: Floats, low: float, high: float) -> Floats:
    """Standard error of the SOS parameter of studies, (...), by the delta method.

    A rating moves theta by its squared deviation, through s², and by its deviation, through the parabola at m.
    """
    parabola = (high - of.mean) * (of.mean - low)
    by_square = parabola
    by_deviation = (of.second - 2 * theta[..., None] * parabola) * (high + low - 2 * of.mean)
    influence = (
        by_square**2 * (of.fourth - of.second**2)
        + 2 * by_square * by_deviation * of.third
        + by_deviation**2 * of.second
    )
    with np.errstate(invalid="ignore"):
        # Rounding may leave an influence of -1e-16 where all users agree.
        total = (np.maximum(influence, 0) / (of.size - 1)).sum(axis=-1)
        return np.asarray(np.sqrt(total) / (parabola**2).sum(axis=-1))


def bootstrap_t(
    ratings: Sequence[Floats], low: float, high: float, confidence: float, rng: np.random.Generator, resamples: int
) -> tuple[float, float]:
    """Lower and upper end of the confidence interval of theta, clipped to [0, 1].

    ratings  (n,) for each condition, n at least 2
    source   Efron, Tibshirani 1993, An Introduction to the Bootstrap, 12.5
    """
    observed = moments(ratings)
    theta = slope(observed, low, high)
    samples = Moments(*np.concatenate([resampled(each, rng, resamples) for each in ratings], axis=2))
    thetas = slope(samples, low, high)
    # The resampled population is the ratings themselves: its theta has the variance with ddof 0.
    deviation = thetas - slope(observed, low, high, ddof=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        deviation /= standard_error(samples, thetas, low, high)
    # A sample in which all users agree has no standard error: its deviation counts as infinite.
    deviation[np.isnan(deviation)] = inf
    tail = (1 - confidence) / 2
    least, most = np.quantile(deviation, [tail, 1 - tail], method="closest_observation")
    error = standard_error(observed, theta, low, high)
    with np.errstate(invalid="ignore"):
        return _clip(theta - most * error, 0.0), _clip(theta - least * error, 1.0)


def resampled(ratings: Floats, rng: np.random.Generator, resamples: int) -> Floats:
    """Moments of B resamples of the ratings (n,), each with n ratings; (5, B, 1)."""
    # Ratings have few distinct values, so it is cheaper to draw how often each value occurs.
    values, counts = np.unique(ratings, return_counts=True)
    return _moments(rng.multinomial(len(ratings), counts / len(ratings), size=resamples).astype(np.float64), values)


def table(sos: Sos) -> Group:
    """The parameter as text and its conditions as a table, for rich."""
    lower, upper = sos.interval
    summary = f"theta {sos.theta:.3f} ({100 * sos.confidence:g} % interval {lower:.3f} to {upper:.3f})"
    used = sum(condition.ratings for condition in sos.used)
    basis = (
        f"From {used:,} ratings of {len(sos.used):,} condition{'s' * (len(sos.used) != 1)}, on a scale from "
        f"{sos.low:g} to {sos.high:g}. RMSE of the variances around the parabola: {sos.rmse:.2f}."
    )
    out = Table("Condition", box=box.SIMPLE_HEAD)
    for heading in ("Ratings", "MOS", "SOS", "Variance", "On the parabola"):
        out.add_column(heading, justify="right")
    for each in sos.conditions:
        spread = (f"{each.variance**0.5:.2f}", f"{each.variance:.2f}") if each.ratings > 1 else ("-", "-")
        out.add_row(Text(each.name), f"{each.ratings:,}", f"{each.mos:.2f}", *spread, f"{each.on_curve:.2f}")
    return Group(Text(summary), Text(basis), out, *(Text(f"Warning: {each}") for each in sos.warnings))


def yaml_fragment(sos: Sos, service: str, mapping: str) -> str:
    """The service's part of the configuration; a comment with the reason if this theta is not allowed there."""
    settings = settings_of(sos.theta, sos.interval)
    if not settings:
        return f"# {_unusable(sos.theta)}\n"
    return fragment(service, {"mapping": mapping, **settings})


def fragment(service: str, settings: Mapping[str, Any]) -> str:
    """A service of the configuration as YAML, one line for each key as in the sample."""
    lines = [f"    {name}: {_flow(value)}\n" for name, value in settings.items()]
    return "".join(["services:\n", f"  {_flow(service)}:\n", *lines])


def settings_of(theta: float, interval: tuple[float, float]) -> Mapping[str, Any]:
    """The keys of a service that hold its theta; empty if the configuration does not allow this theta."""
    rounded, lower, upper = (round(value, 3) for value in (theta, *interval))
    if not 0 < rounded < 1:
        return {}
    band = {"theta_band": [lower, upper]} if 0 < lower <= rounded <= upper < 1 and lower < upper else {}
    return {"theta": rounded, **band}


def _flow(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=inf)
    return text.removesuffix("\n").removesuffix("\n...")


def _moments(times: Floats, values: Floats) -> Floats:
    """Moments of B samples of a condition, (5, B, 1).

    times   (B, n) how often each value is in the sample
    values  (n,)
    """
    # Relative to the first value, so that equal values have a variance of exactly 0.
    count, shifted = times.sum(axis=1), values - values[0]
    mean, square, cube, fourth = (times @ shifted**power / count for power in (1, 2, 3, 4))
    second = np.maximum(square - mean**2, 0)
    third = cube - 3 * mean * square + 2 * mean**3
    fourth = fourth - 4 * mean * cube + 6 * mean**2 * square - 3 * mean**4
    return np.array([count, mean + values[0], second, third, fourth])[:, :, None]


def _clip(end: Floats, unknown: float) -> float:
    """End of an interval, clipped to [0, 1], the range of theta; `unknown` if it is NaN."""
    return unknown if np.isnan(end) else float(np.clip(end, 0, 1))


def _rated_condition(name: str, ratings: Floats, theta: float, low: float, high: float) -> RatedCondition:
    mos = float(ratings.mean())
    variance = float(ratings.var(ddof=1)) if len(ratings) > 1 else np.nan
    return RatedCondition(name, len(ratings), mos, variance, theta * (high - mos) * (mos - low))


def _warnings(theta: float, interval: tuple[float, float], conditions: Sequence[RatedCondition]) -> list[str]:
    single = [each.name for each in conditions if each.ratings == 1]
    out = [f"left out, since a single rating has no variance: {', '.join(single)}"] if single else []
    if len(conditions) - len(single) == 1:
        out.append("a single condition has a variance: whether the others lie on the parabola is unknown")
    if interval == (0, 1):
        out.append("the ratings are too few, or too alike, for an interval")
    if not settings_of(theta, interval):
        out.append(_unusable(theta))
    return out


def _unusable(theta: float) -> str:
    if theta < 1:
        return f"theta is {theta:.3f}: all users agree, but the configuration requires a theta above 0"
    return f"theta is {theta:.3f}, which many users cannot reach: have each condition rated by more users"
